"""`train.best.metric`: the evaluation metric that chooses the checkpoint to keep, checked early."""

from __future__ import annotations

import difflib
from typing import Any

import jax
import numpy as np

from bodyjax.contract import System
from bodyjax.errors import ConfigError


def check(name: str, system: System) -> None:
    """ConfigError if the metric is no number that an evaluation of the system gives: found from the
    metrics of no rows, before the first step. "" chooses none."""
    if not name:
        return
    metrics = system.metrics()
    try:
        with np.errstate(all="ignore"):
            known = dict(metrics.compute(jax.device_get(metrics.init())))
    except (ArithmeticError, ValueError):  # of somebody's own: the first evaluation tells
        return
    numbers = [key for key, value in known.items() if np.ndim(value) == 0 and is_number(value)]
    if name not in numbers:
        raise missing(name, numbers)


def is_number(value: Any) -> bool:
    """Whether a metric is a number, also one of NumPy or jax."""
    return hasattr(value, "dtype") or isinstance(value, int | float)


def missing(name: str, known: list[str]) -> ConfigError:
    """The message for a metric that evaluation does not give."""
    near = difflib.get_close_matches(name, known, 1)
    gives = f"it gives: {', '.join(known) or 'nothing (no held-out examples)'}"
    hint = f"did you mean {near[0]}? {gives}" if near else gives
    return ConfigError(f"evaluation gives no {name!r}", place="train.best.metric", hint=hint)
