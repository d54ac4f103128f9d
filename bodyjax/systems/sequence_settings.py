"""The config of system D, checked field by field: a mistake is one line that names its field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from bodyjax import sections
from bodyjax.errors import ConfigError
from bodyjax.models.sequence import Pooling, SequenceClassifier
from bodyjax.sections import check


@dataclass(frozen=True)
class Model:
    """`config.model`: the fields of models.sequence.SequenceClassifier; stored: steps of a clip;
    dims: dimensions of its joints; steps: the number of times at which the model sees it, 0: the
    stored ones."""

    stored: int
    steps: int = 0
    dims: int = 2
    width: int = 128
    layers: int = 2
    bidirectional: bool = False
    pooling: str = "attention"
    projection: int = 0
    conditions: int = 0
    dropout: float = 0.0
    input_dropout: float = 0.0
    unroll: int = 1

    def network(self, classes: int) -> SequenceClassifier:
        """The network for this many labels."""
        return SequenceClassifier(
            classes,
            width=self.width,
            layers=self.layers,
            bidirectional=self.bidirectional,
            pooling=self.pooling,  # type: ignore[arg-type]  # `model` checks it
            projection=self.projection,
            conditions=self.conditions,
            dropout=self.dropout,
            input_dropout=self.input_dropout,
            unroll=self.unroll,
        )


@dataclass(frozen=True)
class Test:
    """`config.test`: what prediction averages over (systems.sequence.SequenceSystem)."""

    samples: int = 1
    mirror: bool = False


@dataclass(frozen=True)
class Loss:
    """`config.loss`; class_weights: one per label, None or (): all the same."""

    label_smoothing: float = 0.0
    class_weights: Any = None


LEAST = {"width": 1, "layers": 1, "unroll": 1, "projection": 0, "conditions": 0, "steps": 0}


def model(section: Any) -> Model:
    """`config.model`."""
    found = sections.read(Model, section, "model")
    for name, least in LEAST.items():
        value = getattr(found, name)
        check(value >= least, f"model.{name}", value, f"a whole number from {least} on")
    for name in ("dropout", "input_dropout"):
        value = getattr(found, name)
        check(0 <= value < 1, f"model.{name}", value, "from 0 to below 1")
    if found.pooling not in get_args(Pooling):
        known = ", ".join(get_args(Pooling))
        raise ConfigError(f"no pooling {found.pooling!r}", place="model.pooling", hint=known)
    if found.conditions and not found.projection:
        raise ConfigError(
            f"0 units have no place for the input of {found.conditions} exercises",
            place="model.projection",
            hint="give it 1 or more",
        )
    return found


def test(section: Any) -> Test:
    """`config.test`."""
    found = sections.read(Test, section, "test")
    check(found.samples >= 1, "test.samples", found.samples, "a whole number from 1 on")
    return found


def loss(section: Mapping[str, Any], labels: tuple[str, ...]) -> tuple[float, tuple[float, ...]]:
    """`config.loss`: label smoothing, and one weight per label, () for all the same."""
    found = sections.read(Loss, section, "loss")
    smoothing = found.label_smoothing
    check(0 <= smoothing < 1, "loss.label_smoothing", smoothing, "from 0 to below 1")
    return smoothing, class_weights(found.class_weights, labels)


def class_weights(weights: Any, labels: tuple[str, ...]) -> tuple[float, ...]:
    """One weight per label, or none for all the same; ConfigError for anything else."""
    if weights is None or (isinstance(weights, list | tuple) and not weights):
        return ()
    place = "loss.class_weights"
    if not isinstance(weights, list | tuple) or len(weights) != len(labels):
        count = len(weights) if isinstance(weights, list | tuple) else repr(weights)
        hint = f"one a label: {', '.join(labels)}"
        raise ConfigError(f"{count} weights for {len(labels)} labels", place=place, hint=hint)
    if any(not isinstance(weight, int | float) or not weight > 0 for weight in weights):
        raise ConfigError(f"{weights!r} should be numbers above 0", place=place)
    return tuple(map(float, weights))
