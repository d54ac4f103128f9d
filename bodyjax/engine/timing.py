"""Where the time of a run goes: training, waiting for data, and everything else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax


class Timer:
    """Training time leaves out the first step (compilation and the start of the readers, reported
    as `start`), evaluations and checkpoints.

    `before` seconds passed in earlier processes of this run; `first` is the step that starts.
    """

    def __init__(self, before: float, first: int) -> None:
        self._begin = time.perf_counter() - before
        self._entered = time.perf_counter()
        self.start = 0.0
        self._from: float | None = None
        self._aside = self._waited = 0.0
        self._lap = (0.0, 0.0, first)

    def seconds(self) -> float:
        """Since the run began, over all its resumes."""
        return time.perf_counter() - self._begin

    def fetch(self, batches: Iterator[Any], token: jax.Array | None) -> Any:
        """The next batch. Its time counts as waiting if the device, whose last step gave `token`,
        ran out of work before the batch was ready."""
        begin = time.perf_counter()
        batch = next(batches)
        if self._from is not None and token is not None:
            idle = token.is_ready()  # type: ignore[attr-defined]  # not in the stubs
            self._waited += (time.perf_counter() - begin) * idle
        return batch

    def stepped(self, token: jax.Array) -> None:
        """After a step was started; waits for the very first one."""
        if self._from is None:
            token.block_until_ready()
            self._from = time.perf_counter()
            self.start = self._from - self._entered

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Code that runs inside is not training time."""
        begin = time.perf_counter()
        yield
        self._aside += time.perf_counter() - begin

    def training(self) -> float:
        """Seconds of training in this process."""
        return time.perf_counter() - (self._from or 0.0) - self._aside

    def waited_share(self) -> float:
        """The share of the training time in which the device waited for data."""
        return min(self._waited / max(self.training(), 1e-9), 1.0)

    def lap(self, step: int) -> tuple[float, float]:
        """(share of waiting, steps/s) since the last lap."""
        now = (self.training(), self._waited, step)
        seconds = max(now[0] - self._lap[0], 1e-9)
        share = min((now[1] - self._lap[1]) / seconds, 1.0)
        rate = (step - self._lap[2]) / seconds
        self._lap = now
        return share, rate
