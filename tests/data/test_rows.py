"""Rows of arrays in memory as a source."""

import numpy as np
import pytest

from bodyjax.data.rows import Rows
from bodyjax.data.stream import Stream
from bodyjax.errors import DataError

ARRAYS = {"x": np.arange(6.0).reshape(3, 2), "label": np.array([1, 0, 1])}


def test_rows_are_served_by_a_stream():
    feed = Stream(Rows(ARRAYS), lambda example, rng: example, seed=0, batch_size=3)
    batch = next(feed.train_batches(0))
    order = np.argsort(batch["x"][:, 0])
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(batch[key][order], array)


def test_names_and_fingerprint_are_made_where_they_are_left_out():
    rows = Rows(ARRAYS, "people.npz")
    assert (len(rows), rows.names[2], rows.name(2)) == (3, "row 2", "people.npz/row 2")
    assert rows.fingerprint == Rows(ARRAYS).fingerprint
    changed = {**ARRAYS, "label": np.array([1, 1, 1])}
    renamed = {"y": ARRAYS["x"], "label": ARRAYS["label"]}
    assert len({Rows(a).fingerprint for a in (ARRAYS, changed, renamed)}) == 3


def test_held_out_rows_train_nothing():
    rows = Rows(ARRAYS, heldout=np.array([False, True, False]))
    with pytest.raises(DataError, match="1 held-out"):
        Stream(rows, lambda example, rng: example, seed=0, batch_size=1)


def test_no_rows_and_rows_of_several_numbers_are_errors():
    with pytest.raises(DataError, match=r"people\.npz: has no rows"):
        Rows({"x": np.zeros((0, 2))}, "people.npz")
    with pytest.raises(DataError, match=r"people\.npz: arrays differ in rows: x 3, label 2"):
        Rows({"x": np.zeros((3, 2)), "label": np.zeros(2)}, "people.npz")
