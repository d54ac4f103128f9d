"""What systems, data and the engine agree on. Types only: nothing here imports jax.

A *system* turns batches into a loss and predictions; a *source* holds examples; a *feed* turns a
source into a reproducible stream of batches; the *engine* trains any system on any feed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

Batch = Mapping[str, Any]
"""Names to arrays, all with the same leading batch dimension."""

Variables = dict[str, Any]
"""{"params": ..., "batch_stats": ..., "frozen": ...}; `frozen` takes part but gets no update."""


class Aux(NamedTuple):
    """What a loss returns besides its scalar.

    `metrics`: name -> (value, weight), both scalars; the engine reports sum(value * weight) /
    sum(weight) over steps. The weight of "loss" (1 without it) is what the loss is a mean over:
    batches accumulated into one update are weighted by it. `batch_stats`: the updated statistics
    ({} if there are none).
    """

    metrics: dict[str, tuple[Any, Any]]
    batch_stats: Any


class ArraySpec(NamedTuple):
    """Shape and dtype of one array of a batch, leading batch dimension included."""

    shape: tuple[int, ...]
    dtype: str


class Metrics(Protocol):
    """Evaluation as a fold over batches; the state is a pytree of arrays."""

    def init(self) -> Any: ...

    def update(self, state: Any, outputs: Any, batch: Batch) -> Any:
        """Rows where batch["mask"] is False are padding and do not count."""

    def compute(self, state: Any) -> dict[str, Any]:
        """Host side: floats, and arrays such as a confusion matrix."""


class System(Protocol):
    """A frozen dataclass built by `systems.build(config)`; every method is a pure function."""

    def init(self, key: Any) -> Variables: ...

    def loss(self, variables: Variables, batch: Batch, key: Any) -> tuple[Any, Aux]: ...

    def predict(self, variables: Variables, batch: Batch) -> Any: ...

    def metrics(self) -> Metrics: ...

    def batch_spec(self, size: int) -> dict[str, ArraySpec]:
        """The arrays of a training batch, labels among them."""

    def input_spec(self, size: int) -> dict[str, ArraySpec]:
        """The arrays of a batch that `predict` needs."""


class Deployed(NamedTuple):
    """The function of a checkpoint that users call, and that is exported, timed and lowered:
    run(variables, *inputs) -> a pytree, pure; inputs: the shapes of everything but the variables.

    A task may give it (tasks/NAME.py, `deployed(config)`); without one it is the system's `predict`
    on a batch of `input_spec(1)`.

    batched: the first axis of every input and output counts examples, and is 1 here.
    """

    run: Callable[..., Any]
    inputs: tuple[Any, ...]
    batched: bool = False


class Network(NamedTuple):
    """The part of a deployed function that fits formats without our own steps (ONNX, tflite):
    run(variables, *arrays) -> {output: array}, pure.

    inputs: name -> shape, in the order of the arrays; the first axis counts examples and is 1 here.
    says: what each input and output is, and its unit.
    """

    run: Callable[..., dict[str, Any]]
    inputs: dict[str, Any]
    says: dict[str, str]


class Source(Protocol):
    """Random access to examples; the same index always gives the same arrays.

    Everything that feeds and commands read about the N rows (data.rows.Rows is a source of arrays
    in memory): labels (N,) and groups (N,), None if there are none; classes: the names of the
    labels, () if there are none; heldout (N,) bool: rows that must not be trained on; names: of the
    rows; bad: a line for each row that can't be used; left_out: how many were left out, by reason.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def labels(self) -> np.ndarray | None: ...

    @property
    def groups(self) -> np.ndarray | None: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def heldout(self) -> np.ndarray: ...

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def bad(self) -> tuple[str, ...]: ...

    @property
    def left_out(self) -> Mapping[str, int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, np.ndarray]: ...

    def name(self, index: int) -> str:
        """What errors call a row: its name, with the file or folder that it is in."""


class Feed(Protocol):
    """Batches for the engine: a pure function of (fingerprint, seed, global batch size, step)."""

    fingerprint: str
    batch_size: int

    def train_batches(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        """Without end, from global batch number `start` on; this host's slice of each."""

    def eval_batches(self) -> Iterator[dict[str, np.ndarray]]:
        """Every held-out example once; the last batch is padded, `mask` (B,) bool says where."""


class Prepared(NamedTuple):
    """What a training needs: initial variables ({} if all are random) replace the random ones part
    by part; a checkpoint records `meta` beside the config."""

    system: System
    feed: Feed
    initial: Variables
    meta: dict[str, Any]
