"""A small system and feed for the tests of the engine; as a program, one run in a process.

python -m tests.engine.toy WORKDIR [--delay S] [--processes PORT COUNT INDEX] [field=value ...]
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import linen as nn

from bodyjax.contract import ArraySpec, Aux
from bodyjax.engine import loop, mesh

FEATURES, CLASSES = 6, 4


class Net(nn.Module):
    """Dense, batch norm, dropout, dense: statistics and randomness as real systems have them."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        # no bias before the norm: its gradient is rounding noise, which Adam makes whole steps of
        x = nn.Dense(16, use_bias=False, name="first")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        x = nn.Dropout(0.1, deterministic=not train)(nn.relu(x))
        return nn.Dense(CLASSES, name="last")(x)


class Accuracy:
    def init(self) -> dict[str, Any]:
        return {"right": jnp.float32(0), "count": jnp.float32(0)}

    def update(self, state: Any, outputs: Any, batch: Any) -> Any:
        right = (outputs.argmax(-1) == batch["label"]) & batch["mask"]
        return {
            "right": state["right"] + right.sum(),
            "count": state["count"] + batch["mask"].sum(),
        }

    def compute(self, state: Any) -> dict[str, Any]:
        count = float(state["count"])
        return {"accuracy": float(state["right"]) / count if count else float("nan"), "n": count}


@dataclass(frozen=True)
class Toy:
    """Classes of points after a frozen linear map; `bad_step` poisons the loss of one batch."""

    bad_value: float = 0.0

    def init(self, key: jax.Array) -> dict[str, Any]:
        a, b = jax.random.split(key)
        variables = Net().init(a, jnp.zeros((2, FEATURES)), train=False)
        frozen = {"map": {"kernel": jax.random.normal(b, (FEATURES, FEATURES))}}
        return {**variables, "frozen": frozen}

    def loss(self, variables: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Aux]:
        x = batch["x"] @ variables["frozen"]["map"]["kernel"]
        held = {name: variables[name] for name in ("params", "batch_stats")}
        logits, changed = Net().apply(
            held, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        loss = jnp.where(batch["x"][0, 0] == self.bad_value, jnp.nan, loss)
        right = (logits.argmax(-1) == batch["label"]).mean()
        weight = batch["label"].shape[0]
        return loss, Aux({"accuracy": (right, weight)}, changed["batch_stats"])

    def predict(self, variables: Any, batch: Any) -> jax.Array:
        x = batch["x"] @ variables["frozen"]["map"]["kernel"]
        held = {name: variables[name] for name in ("params", "batch_stats")}
        return Net().apply(held, x, train=False)

    def metrics(self) -> Accuracy:
        return Accuracy()

    def input_spec(self, size: int) -> dict[str, ArraySpec]:
        return {"x": ArraySpec((size, FEATURES), "float32")}

    def batch_spec(self, size: int) -> dict[str, ArraySpec]:
        return {**self.input_spec(size), "label": ArraySpec((size,), "int32")}


@dataclass
class Points:
    """A feed of made points: batch n depends on n alone; `bad_step` marks one for Toy."""

    batch_size: int = 8
    delay: float = 0.0
    bad_step: int = -1
    held_out: int = 21
    fingerprint: str = "points"

    def make(self, seed: int, size: int) -> dict[str, np.ndarray]:
        rng = np.random.Generator(np.random.Philox(seed))
        x = rng.normal(size=(size, FEATURES)).astype(np.float32)
        label = (x[:, 0] > 0) * 2 + (x[:, 1] > x[:, 2])
        return {"x": x, "label": label.astype(np.int32)}

    def mine(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        size = self.batch_size // jax.process_count()
        first = jax.process_index() * size
        return {name: value[first : first + size] for name, value in batch.items()}

    def train_batches(self, start: int) -> Any:
        number = start
        while True:
            time.sleep(self.delay)
            batch = self.make(number, self.batch_size)
            if number == self.bad_step:
                batch["x"][0, 0] = 77.0
            yield self.mine(batch)
            number += 1

    def eval_batches(self) -> Any:
        whole = self.make(10**6, self.held_out)
        for first in range(0, self.held_out, self.batch_size):
            batch = {name: value[first : first + self.batch_size] for name, value in whole.items()}
            count = len(batch["label"])
            pad = self.batch_size - count
            batch = {n: np.concatenate([v, np.repeat(v[:1], pad, 0)]) for n, v in batch.items()}
            yield self.mine({**batch, "mask": np.arange(self.batch_size) < count})


def config(**train: Any) -> ml_collections.ConfigDict:
    """A run of 12 steps with everything on: clipping, EMA, weight decay, warm-up, cosine."""
    return ml_collections.ConfigDict(
        {
            "system": "toy",
            "seed": 3,
            "model": {"widths": (16, 4)},
            "optimizer": {
                "name": "adamw",
                "rate": 0.02,
                "warmup": 3,
                "decay": "cosine",
                "clip": 1.0,
                "weight_decay": 0.01,
                "ema": 0.9,
            },
            "train": {
                "steps": 12,
                "log_every": 5,
                "eval_every": 4,
                "best": {"metric": "accuracy", "mode": "max"},
                **train,
            },
        }
    )


def main(arguments: list[str]) -> int:
    workdir, *rest = arguments
    delay = 0.0
    if rest[:1] == ["--delay"]:
        delay, rest = float(rest[1]), rest[2:]
    if rest[:1] == ["--processes"]:
        port, count, index = (int(value) for value in rest[1:4])
        mesh.initialize_processes(f"127.0.0.1:{port}", count, index)
        rest = rest[4:]
    train = {name: json.loads(value) for name, value in (item.split("=") for item in rest)}
    try:
        result = loop.fit(Toy(bad_value=77.0), Points(delay=delay), config(**train), workdir)
    except loop.Interrupted:
        return loop.EXIT_INTERRUPTED
    print(json.dumps({"step": result.step, "reason": result.reason}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
