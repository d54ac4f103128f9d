"""Person scores that rank people and are probabilities: how likely it is that a found person is
right.

A logistic model of a few evidence values, fitted on validation pictures that nothing was trained on
(`fit`). A person is right if their OKS with a labelled one is at least 0.5. Without weights the
score is MoveNet's product: middle x mean joint.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax.detect.centers import Bodies
from bodyjax.detect.second_look import Look
from bodyjax.errors import ConfigError

Array = jax.Array

LONE = 0.15
"""The middle's score of a person that fields alone assembled."""
LEAST = 1e-6
"""The least score of a slot that holds a person: 0 means an empty one."""
FIRST = ("one", "log middle", "mean joint", "share found", "log size")
SECOND = ("one", "logit of the first score", "mean joint", "apart", "taken")
"""Names of the evidence values, in the order of their weights."""


def first_score(evidence: Array, there: Array, weights: Sequence[float]) -> Array:
    """Score (P,) of people with `first_evidence`, 0 in empty slots (there (P,) False)."""
    if weights:
        score = probability(evidence, weights, FIRST)
    else:
        score = jnp.exp(evidence[:, 1]) * evidence[:, 2]
    return jnp.where(there, jnp.maximum(score, LEAST), 0.0)


def first_evidence(bodies: Bodies, size: int) -> Array:
    """(P, len(FIRST)) float32 of bodies on a canvas of `size` pixels."""
    middle = jnp.where(bodies.center > 0, bodies.center, LONE)
    box = (bodies.xy.max(1) - bodies.xy.min(1)).max(-1)
    columns = (
        jnp.ones_like(middle),
        jnp.log(jnp.maximum(middle, 1e-3)),
        bodies.score.mean(-1),
        bodies.found.mean(-1),
        jnp.log(jnp.maximum(box, 1.0) / size),
    )
    return jnp.stack(columns, axis=-1)


def second_score(evidence: Array, there: Array, weights: Sequence[float]) -> Array:
    """Score (P,) of people with `second_evidence`, 0 in empty slots (there (P,) False)."""
    if weights:
        score = probability(evidence, weights, SECOND)
    else:
        first = jax.nn.sigmoid(evidence[:, 1])
        score = jnp.sqrt(first) * evidence[:, 2] * (1 - evidence[:, 3])
    return jnp.where(there, jnp.maximum(score, LEAST), 0.0)


def second_evidence(first: Array, looked: Look) -> Array:
    """(P, len(SECOND)) float32; first (P,): the score before the second look."""
    p = jnp.clip(first, 1e-4, 1 - 1e-4)
    apart = jnp.clip(looked.apart, 0.0, 0.5)
    taken = looked.taken.astype(jnp.float32)
    return jnp.stack([jnp.ones_like(p), jnp.log(p / (1 - p)), looked.mean, apart, taken], axis=-1)


def check(weights: Sequence[float], names: Sequence[str], place: str = "detect.ranking") -> None:
    """ConfigError unless there is one weight for each evidence value; place: the name of the
    setting."""
    if len(weights) != len(names):
        what = f"{len(weights)} weights for {len(names)} evidences ({', '.join(names)})"
        raise ConfigError(what, place=place)


def probability(evidence: Array, weights: Sequence[float], names: Sequence[str]) -> Array:
    """Logistic of the weighted sum: (P, F) -> (P,) in 0..1."""
    check(weights, names)
    return jax.nn.sigmoid(evidence @ jnp.asarray(weights, jnp.float32))


def fit(evidence: np.ndarray, right: np.ndarray, groups: np.ndarray) -> tuple[float, ...]:
    """Weights (F,) of a logistic model: evidence (N, F) whose first column is 1, right (N,) in 0..1
    (a share: how many OKS thresholds a person passes), groups (N,): the people of each picture have
    the same total weight.

    L2 of 1 on standardised columns, except the first: a few hundred people don't support more
    freedom. Newton's method, to convergence.
    """
    x = np.asarray(evidence, np.float64)
    y = np.asarray(right, np.float64)
    _, index, count = np.unique(groups, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(count[index])
    weight = weight / weight.mean()
    middle, spread = x.mean(0), x.std(0)
    middle[0], spread[0] = 0.0, 1.0
    spread = np.where(spread > 1e-6, spread, 1.0)
    z = (x - middle) / spread
    ridge = np.diag([0.0, *np.ones(x.shape[1] - 1)])
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(z @ beta, -30, 30)))
        gradient = z.T @ (weight * (p - y)) + ridge @ beta
        hessian = (z * (weight * p * (1 - p))[:, None]).T @ z + ridge
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(beta)), gradient)
        beta -= step
        if np.abs(step).max() < 1e-8:
            break
    raw = beta / spread
    raw[0] = beta[0] - (beta[1:] * middle[1:] / spread[1:]).sum()
    return tuple(round(float(value), 5) for value in raw)
