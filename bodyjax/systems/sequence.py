"""Scoring sport poses: joints of a clip -> features -> stacked LSTM with attention -> probability.

System D (Zhang et al., "Sports Pose Estimation Based on LSTM and Attention Mechanism"). Training
changes each clip at random on the device (`bodyjax.deform`), so the engine and
`train.parallel_runs` train the same program. Prediction averages probabilities over samples in time
and, if requested, the mirror image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax import deform, sections, skeleton
from bodyjax.contract import ArraySpec, Aux, Batch, Variables
from bodyjax.deform import Clip, Deformation, Limits
from bodyjax.errors import ConfigError
from bodyjax.features import PARTS, Features, angle_pairs, sequence_features
from bodyjax.losses import cross_entropy, row_weights
from bodyjax.metrics import Classification
from bodyjax.models.sequence import SequenceClassifier, SequenceOutput
from bodyjax.skeleton import Skeleton
from bodyjax.systems import sequence_settings

Array = jax.Array


@dataclass(frozen=True)
class SequenceSystem:
    """Built by `build(config)`.

    A batch holds joints (B, S, J, D), visible (B, S, J) in {0, 1, 2}, score (B, S, J), length (B,)
    int (steps that count), size (B, 2) (0 where not known), condition (B,) int, label (B,) int and,
    if rows weigh differently, weight (B,).

    steps: times at which the model sees a clip; 0: the stored steps as they are, `length` of them.
    samples: shifted samplings in time that prediction averages; mirror: their mirror images too.
    """

    model: SequenceClassifier
    skeleton: Skeleton
    labels: tuple[str, ...]
    parts: tuple[str, ...]
    limits: Limits
    stored: int
    dims: int
    steps: int = 0
    samples: int = 1
    mirror: bool = False
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    def init(self, key: Array) -> Variables:
        """Random parameters; no statistics, nothing frozen."""
        specs = self.input_spec(1)
        batch = {name: jnp.zeros(spec.shape, spec.dtype) for name, spec in specs.items()}

        def first(key: Array) -> Any:
            return self.model.init(key, *self._inputs(batch), **self._known(batch))["params"]

        return {"params": first(key), "batch_stats": {}, "frozen": {}}

    def loss(self, variables: Variables, batch: Batch, key: Array) -> tuple[Array, Aux]:
        """Cross-entropy of randomly changed clips, mean over rows by weight."""
        change_key, drop_key = jax.random.split(key)
        changed = self.augment(batch, change_key)
        x, mask, present = self._inputs(changed)
        out: Any = self.model.apply(
            {"params": variables["params"]},
            x,
            mask,
            present,
            **self._known(batch),
            deterministic=False,
            rngs={"dropout": drop_key},
        )
        weight = jnp.asarray(batch.get("weight", jnp.ones(len(x))), jnp.float32)
        if "mask" in batch:
            weight = weight * batch["mask"]
        label = batch["label"]
        weights = jnp.asarray(self.class_weights) if self.class_weights else None
        value = cross_entropy(out.logits, label, weights, self.label_smoothing, weight)
        right = (out.logits.argmax(axis=-1) == label) * weight
        total = weight.sum()
        accuracy = right.sum() / jnp.where(total > 0, total, 1.0)
        counted = row_weights(label, len(self.labels), weights, weight).sum()
        return value, Aux({"loss": (value, counted), "accuracy": (accuracy, total)}, {})

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """logits (B, C), the log of the mean probability; probability (B, C); attention (B, T)."""
        flips = (False, True) if self.mirror else (False,)
        kinds = [self._sampling(batch, k, flip) for k in range(self.samples) for flip in flips]
        changes = jax.tree.map(lambda *leaves: jnp.stack(leaves), *kinds)

        def one(change: Deformation) -> tuple[Array, Array]:
            out = self.apply(variables, self._sampled(batch, change))
            return jax.nn.softmax(out.logits), out.attention

        mean, attention = (part.mean(axis=0) for part in jax.lax.map(one, changes))
        low = jnp.finfo(jnp.float32).tiny
        return {"logits": jnp.log(mean + low), "probability": mean, "attention": attention}

    def metrics(self) -> Classification:
        return Classification(self.labels)

    def input_spec(self, size: int) -> dict[str, ArraySpec]:
        joints = (size, self.stored, len(self.skeleton.joints))
        return {
            "joints": ArraySpec((*joints, self.dims), "float32"),
            "visible": ArraySpec(joints, "uint8"),
            "score": ArraySpec(joints, "float32"),
            "length": ArraySpec((size,), "int32"),
            "size": ArraySpec((size, 2), "float32"),
            "condition": ArraySpec((size,), "int32"),
        }

    def batch_spec(self, size: int) -> dict[str, ArraySpec]:
        return {**self.input_spec(size), "label": ArraySpec((size,), "int32")}

    def apply(self, variables: Variables, batch: Batch) -> SequenceOutput:
        """Logits and attention of the steps given, without averaging or dropout."""
        params = {"params": variables["params"]}
        out: Any = self.model.apply(params, *self._inputs(batch), **self._known(batch))
        return out

    def features(self, batch: Batch) -> Features:
        """What the model sees of a batch: (B, S, F)."""
        steps = jnp.arange(batch["joints"].shape[1])
        return sequence_features(
            jnp.asarray(batch["joints"]),
            jnp.asarray(batch["visible"]),
            jnp.asarray(batch["score"]),
            self.skeleton,
            self.parts,
            mask=steps < jnp.asarray(batch["length"])[:, None],
            size=jnp.asarray(batch["size"]),
        )

    def augment(self, batch: Batch, key: Array) -> dict[str, Array]:
        """Each clip changed at random within `limits`, at `steps` times.

        With `steps` 0 the stored steps stay: only space changes.
        """
        joints = jnp.asarray(batch["joints"])
        size, stored, count, dims = joints.shape
        steps = self.steps or stored
        first, second = jax.random.split(key)
        uniform = jax.random.uniform(first, (size, deform.UNIFORMS + steps + count))
        normal = jax.random.normal(second, (size, steps + 1, count, dims))
        changes = jax.vmap(partial(deform.deformation, self.limits))(uniform, normal)
        return self._changed(batch, changes)

    def _sampling(self, batch: Batch, sample: int, flipped: bool) -> Deformation:
        """The sample-th even sampling in time, of the mirror image where `flipped`."""
        _, stored, count, dims = batch["joints"].shape
        steps = self.steps or stored
        return Deformation(
            np.array(deform.even_times(steps, sample, self.samples), np.float32),
            np.diag([-1.0 if flipped else 1.0] + [1.0] * (dims - 1)).astype(np.float32),
            np.zeros(dims, np.float32),
            np.array(flipped),
            np.zeros((steps, 1, 1), np.float32),
            np.ones(count, bool),
        )

    def _sampled(self, batch: Batch, change: Deformation) -> dict[str, Array]:
        """The same change for every clip."""
        rows = len(batch["joints"])
        changes = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape)), change)
        return self._changed(batch, changes)

    def _changed(self, batch: Batch, changes: Deformation) -> dict[str, Array]:
        length = jnp.asarray(batch["length"])
        if not self.steps:
            stored = batch["joints"].shape[1]
            at = jnp.arange(stored) / jnp.maximum(length - 1, 1)[:, None]
            changes = changes._replace(times=at)
        clips = Clip(*(jnp.asarray(batch[name]) for name in Clip._fields))
        mirror = jnp.asarray(self.skeleton.mirror)
        clips = jax.vmap(deform.apply, in_axes=(0, 0, 0, None))(clips, length, changes, mirror)
        new = {"length": jnp.full_like(length, self.steps)} if self.steps else {}
        return {**batch, **clips._asdict(), **new}

    def _inputs(self, batch: Batch) -> tuple[Array, Array, Array]:
        seen = self.features(batch)
        steps = jnp.arange(seen.values.shape[1])
        return seen.values, steps < jnp.asarray(batch["length"])[:, None], seen.present

    def _known(self, batch: Batch) -> dict[str, Any]:
        return {"condition": batch["condition"]} if self.model.conditions else {}


def joint_share(system: SequenceSystem, variables: Variables, batch: Batch, label: int) -> Array:
    """How much of the decision for or against `label` depends on each joint: (B, J), sums to 1.

    The gradient of the label's log-odds with respect to each joint's position, times the joint's
    distance from its own mean position in the clip; its magnitude, for or against, is summed over
    steps. An absent joint has no share. bodyjax.evaluate.faulty_joints measures the value of the
    shares.
    """
    batch = system._sampled(batch, system._sampling(batch, 0, False))

    def log_odds(joints: Array) -> Array:
        logits = system.apply(variables, {**batch, "joints": joints}).logits
        others = jnp.where(jnp.arange(logits.shape[-1]) == label, -jnp.inf, logits)
        return (logits[:, label] - jax.nn.logsumexp(others, axis=-1)).sum()

    joints = jnp.asarray(batch["joints"])
    there = (jnp.asarray(batch["visible"]) > 0)[..., None]
    count = jnp.maximum(there.sum(axis=1, keepdims=True), 1)
    mean = jnp.where(there, joints, 0.0).sum(axis=1, keepdims=True) / count
    moved = jnp.where(there, jax.grad(log_odds)(joints) * (joints - mean), 0.0)
    share = jnp.abs(moved.sum(axis=-1)).sum(axis=1)
    return share / jnp.maximum(share.sum(axis=-1, keepdims=True), 1e-12)


def build(config: Mapping[str, Any]) -> SequenceSystem:
    """A system from a config with the sections model, features, augment, test and loss.

    `config.skeleton` is a name of `bodyjax.skeleton`, or a section as `skeleton.of` takes it (name,
    joints, limbs). ConfigError names the wrong field.
    """
    body = skeleton.of(config["skeleton"])
    labels = tuple(map(str, config["labels"]))
    model = sequence_settings.model(config["model"])
    test = sequence_settings.test(config.get("test", {}))
    smoothing, weights = sequence_settings.loss(config.get("loss", {}), labels)
    return SequenceSystem(
        model.network(len(labels)),
        body,
        labels,
        _parts(config["features"], body, model.dims),
        sections.read(Limits, config.get("augment", {}), "augment"),
        model.stored,
        model.dims,
        model.steps,
        test.samples,
        test.mirror,
        smoothing,
        weights,
    )


def _parts(features: Any, body: Skeleton, dims: int) -> tuple[str, ...]:
    """The parts of the features; ConfigError for unknown parts, or parts that these joints can't
    give."""
    parts = tuple(features)
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        known = ", ".join(PARTS)
        raise ConfigError(f"no part {unknown}", place="features", hint=f"known: {known}")
    if "paper" in parts and dims != 2:
        hint = "raw has 3D places"
        raise ConfigError("'paper' is of 2D joints, these are 3D", place="features", hint=hint)
    missing = {"bone": not body.limbs, "angle": not angle_pairs(body.limbs)}
    if all(missing.get(part, False) for part in parts):
        what = f"{body.name} has too few limbs for {', '.join(parts)}"
        raise ConfigError(what, place="features", hint="add position or raw")
    return parts
