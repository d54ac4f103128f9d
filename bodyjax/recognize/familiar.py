"""Is a clip like those that a classifier was trained on? If not, nothing is recognised.

A softmax is confident about much that it has never seen. Two measures are better: how far the
summary of a clip (the mean of the LSTM's outputs) lies outside the subspace of the training clips'
summaries (virtual logits, Wang et al., CVPR 2022, use the same distance), and how well joints are
seen. Both are in standard deviations over correctly recognised validation clips. The two weights
were chosen on training clips of JHMDB's split 1, which show none of the nine commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax import files
from bodyjax.contract import Variables
from bodyjax.errors import CheckpointError

Array = jax.Array

FILE = "familiar.npz"
"""The file beside a classifier's checkpoints, or its shipped parameters."""
DIMENSIONS = 32
DISTANCE, SCORE = 0.6, 0.4
"""Weights of the two measures, in deviations."""
KEPT = 0.95
"""The share of correctly recognised validation clips that count as familiar."""

NOBODY, UNLIKE = "nobody is found", "unlike the clips of training"
SEEN, LEAST_JOINTS = 0.3, 4
"""Somebody is found if, on average over the frames, this many joints of 18 have this score."""


class Familiar(NamedTuple):
    """middle (D,) and basis (K, D) of training summaries; usual (2, 2): mean and deviation of the
    log distance and of the joints' mean score; limit () of strangeness."""

    middle: Any
    basis: Any
    usual: Any
    limit: Any


def strangeness(known: Familiar, summary: Array, score: Array) -> Array:
    """(...,): above 1 a clip is unlike those of training. summary (..., D); score (..., T, J) of
    the joints. 0 is a perfectly usual clip; device code."""
    seen = features(known, summary, score)
    z = (seen - known.usual[0]) / known.usual[1]
    total = DISTANCE * z[..., 0] - SCORE * z[..., 1]
    # From the usual 0 to the limit; below that, more usual than usual.
    return jnp.maximum(total / known.limit, 0.0)


def strange_of(variables: Variables, out: Mapping[str, Array]) -> Array:
    """(B,) strangeness of the output of `system.predict`; 0 if there is nothing to compare with."""
    if "familiar" not in variables:
        return jnp.zeros(len(out["logits"]))
    known = Familiar(**variables["familiar"])
    return strangeness(known, out["summary"], out["score"])


def unrecognised(score: Any, strange: Any) -> str:
    """Why a clip can't be recognised, "" if it can. score (T, J) of its joints, its strangeness."""
    if (np.asarray(score) >= SEEN).sum(-1).mean() < LEAST_JOINTS:
        return NOBODY
    return UNLIKE if float(strange) > 1 else ""


def features(known: Familiar, summary: Array, score: Array) -> Array:
    """(..., 2): log of the distance from the subspace, mean score of the joints."""
    away = summary - known.middle
    away = away - (away @ known.basis.T) @ known.basis
    distance = jnp.log(jnp.sqrt(jnp.square(away).sum(-1) + 1e-12))
    return jnp.stack([distance, score.mean((-2, -1))], axis=-1)


def fit(
    training: np.ndarray, summary: np.ndarray, score: np.ndarray, right: np.ndarray
) -> Familiar | None:
    """From the summaries of training clips (N, D), and summaries (M, D), scores (M, T, J) and
    answers (M,) bool of validation clips. None if fewer than twenty of these are right: too few to
    learn from."""
    if right.sum() < 20:
        return None
    middle = training.mean(0)
    basis = np.linalg.svd(training - middle, full_matrices=False)[2][:DIMENSIONS]
    plain = Familiar(middle, basis, np.array([[0.0, 0.0], [1.0, 1.0]]), np.array(1.0))
    seen = np.asarray(features(plain, jnp.asarray(summary), jnp.asarray(score)))[right]
    usual = np.stack([seen.mean(0), np.maximum(seen.std(0), 1e-6)])
    z = (seen - usual[0]) / usual[1]
    limit = np.quantile(DISTANCE * z[:, 0] - SCORE * z[:, 1], KEPT)
    found = Familiar(middle, basis, usual, np.maximum(limit, 1e-3))
    return Familiar(*(np.asarray(part, np.float32) for part in found))


def save(folder: Path, known: Familiar) -> Path:
    """Writes FILE in a folder, completely or not at all."""
    file = folder / FILE
    with files.whole(file) as temporary, temporary.open("wb") as out:
        np.savez(out, allow_pickle=False, **known._asdict())
    return file


def of_checkpoint(checkpoint: Any) -> Familiar | None:
    """The file beside shipped parameters, or in a run's folder for its last checkpoint."""
    place = checkpoint.path
    return load(place) or load(place.parent.parent if place.name.isdigit() else None)


def load(folder: Path | None) -> Familiar | None:
    """The file in a folder; None if there is none. CheckpointError for a damaged file."""
    if folder is None or not (folder / FILE).is_file():
        return None
    try:
        with np.load(folder / FILE, allow_pickle=False) as stored:
            found = Familiar(*(np.asarray(stored[name], np.float32) for name in Familiar._fields))
        fits = found.middle.ndim == found.basis.ndim - 1 == 1
        fits &= found.basis.shape[-1:] == found.middle.shape
        fits &= found.usual.shape == (2, 2) and found.limit.shape == ()
        finite = all(np.isfinite(part).all() for part in found)
    except files.BAD_ARRAYS as error:
        raise CheckpointError(f"can't be read ({error})", file=folder / FILE) from None
    if not (fits and finite):
        raise CheckpointError("holds other arrays", file=folder / FILE, hint="train again")
    return found
