"""The sequence model: training steps per second beside PyTorch, runs of a cross-validation together
and one by one, and one frame of a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bodyjax import systems
from bodyjax.bench import timing
from bodyjax.bench.rows import Row, attempt, not_measured
from bodyjax.engine import settings
from bodyjax.models.sequence import SequenceClassifier
from bodyjax.train import parallel_runs

BATCH, STEPS, FEATURES, CLASSES = 128, 10, 68, 12
WIDTHS = (128, 256)
PART = "sequence model"


def sequence(config: Any, platform: str) -> Iterator[Row]:
    """Batch 128 of 10 x 68, two layers of 128 and 256, attention: Adam steps per second; and four
    runs of the model of `config`."""
    timing.use_platform(platform)
    rows, rate = timing.matmul_rows(PART)
    yield from rows
    for width in WIDTHS:
        for unroll in (1, STEPS):
            yield from attempt(PART, f"H = {width}", partial(_ours, width, unroll, rate))
        yield from attempt(PART, f"torch, H = {width}", partial(_torch, width))
    for width in WIDTHS:
        yield from attempt(PART, f"stream, H = {width}", partial(_stream, width))
    for together in (True, False):
        yield from attempt(PART, "four runs", partial(_runs, config, together))


def example(batch: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
    """Random features (batch, 10, 68) and labels (batch,)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, STEPS, FEATURES)).astype(np.float32)
    return x, rng.integers(0, CLASSES, batch)


def _ours(width: int, unroll: int, rate: float) -> Iterator[Row]:
    model = SequenceClassifier(CLASSES, width, layers=2, unroll=unroll)
    x, label = example()
    mask = np.ones(x.shape[:2], bool)
    params = jax.jit(model.init)(jax.random.key(0), x, mask)
    optimizer = optax.adam(1e-4)  # PyTorch's counterpart below has the same

    def train(params: Any, state: Any, x: jax.Array, label: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            out: Any = model.apply(params, x, jnp.ones(x.shape[:2], bool))
            return optax.softmax_cross_entropy_with_integer_labels(out.logits, label).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    timed = timing.measure(train, params, optimizer.init(params), x, label)
    name = f"training, H = {width}, unroll {unroll}"
    note = timing.share(timed, rate)
    yield Row(PART, name, 1 / timed.seconds, "steps/s", timed.compile_seconds, note)


def _torch(width: int) -> Iterator[Row]:
    name = f"training in torch, H = {width}"
    try:
        import torch
    except ImportError:
        yield not_measured(PART, name, "torch is not installed")
        return
    from torch import nn

    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"

    class Net(nn.Module):
        """The same network: LSTM twice, attention of equations 9-12, output layer."""

        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(FEATURES, width, 2, batch_first=True)
            self.query = nn.Parameter(torch.zeros(width))
            self.left, self.right = nn.Linear(width, width), nn.Linear(width, width, bias=False)
            self.score, self.head = nn.Linear(width, 1, bias=False), nn.Linear(width, CLASSES)

        def forward(self, x: Any) -> Any:
            h, _ = self.lstm(x)
            alpha = torch.softmax(self.score(torch.tanh(self.left(self.query) + self.right(h))), 1)
            return self.head((alpha * h).sum(1))

    net = Net().to(device)
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)
    x, label = (torch.from_numpy(array).to(device) for array in example())

    def train() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), label).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    note = f"torch {torch.__version__} on {device}, {torch.get_num_threads()} threads"
    yield Row(PART, name, 1 / _fastest(train), "steps/s", note=note)


def _runs(config: Any, together: bool) -> Iterator[Row]:
    """Training steps per second over all of four runs, the first part, which compiles, left out."""
    system, batch, chunk, count = systems.build(config), int(config["data"]["batch"]), 20, 4
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.uniform(0, 100, spec.shape).astype(spec.dtype)
        if name in ("joints", "score")
        else np.ones(spec.shape, spec.dtype)
        for name, spec in system.batch_spec(batch).items()
    }
    arrays["length"] = np.full(batch, arrays["joints"].shape[1], np.int32)
    steps = 2 * chunk if together else chunk
    plans = rng.integers(0, batch, (count, steps, batch)).astype(np.int32)
    times: list[float] = []
    parallel_runs.train_runs(
        system, arrays, plans, np.ones((count, batch), np.float32), range(count),
        settings.optimizer(settings.plain(config["optimizer"])), chunk=chunk, together=together,
        say=lambda line: times.append(time.perf_counter()),
    )  # fmt: skip
    done = count * chunk if together else (count - 1) * chunk
    name = f"four runs {'together by vmap' if together else 'one by one on two threads'}"
    yield Row(PART, name, done / (times[-1] - times[0]), "steps/s", note="exercises, batch 64")


def _fastest(task: Callable[[], None], runs: int = 100) -> float:
    """The smallest of `runs` times in seconds, after ten runs to warm up."""
    times = []
    for _ in range(runs + 10):
        begin = time.perf_counter()
        task()
        times.append(time.perf_counter() - begin)
    return min(times[10:])


def _stream(width: int) -> Iterator[Row]:
    model = SequenceClassifier(CLASSES, width, layers=2)
    x, _ = example(1)
    params = jax.jit(model.init)(jax.random.key(0), x, np.ones((1, STEPS), bool))

    def update(params: Any, carry: Any, frame: jax.Array) -> Any:
        return model.apply(params, carry, frame, jnp.ones(1, bool), method="step")

    timed = timing.measure(update, params, model.start(1), x[:, 0], budget=0.5)
    name = f"one frame of a stream, H = {width}"
    yield Row(PART, name, timed.seconds * 1e3, "ms", timed.compile_seconds)
