"""Several classes at once: against scikit-learn, batch by batch, without padding."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from bodyjax.metrics.classes import SeveralAtOnce


def test_f1_and_exact_rows_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    held = rng.integers(0, 2, (40, 3)).astype(np.float32)
    probability = np.where(rng.random((40, 3)) < 0.8, 0.2 + 0.6 * held, rng.random((40, 3)))
    held[:, 2] = 0  # does not occur
    measure = SeveralAtOnce(("a", "b", "c"))
    state = measure.init()
    for rows in (slice(0, 25), slice(25, 40)):
        batch = {"label": np.zeros((25, 3), np.float32), "mask": np.zeros(25, bool)}
        padded = np.full((25, 3), 0.9)
        count = len(held[rows])
        batch["label"][:count], batch["mask"][:count] = held[rows], True
        padded[:count] = probability[rows]
        state = measure.update(state, {"probability": padded}, batch)
    found = measure.compute(state)
    told = probability >= 0.5
    each = f1_score(held, told, average=None, zero_division=0)
    assert found["per_class"] == pytest.approx({"a": each[0], "b": each[1]})
    assert found["f1"] == pytest.approx(each[:2].mean())
    assert found["accuracy"] == pytest.approx(accuracy_score(held, told))
    assert found["n"] == 40
