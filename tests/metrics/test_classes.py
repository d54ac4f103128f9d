"""Measures of classes: against scikit-learn, batch by batch, and one rule for NaN."""

import jax
import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.metrics import accuracy_score, f1_score

from bodyjax import metrics
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


def test_classification_against_scikit_learn():
    rng = np.random.default_rng(5)
    names = tuple("abcde")
    labels = rng.choice(5, size=37, p=[0.5, 0.2, 0.2, 0.1, 0.0])
    logits = rng.normal(size=(37, 5)).astype(np.float32)
    logits[np.arange(37), labels] += 1
    fold = metrics.Classification(names, top=2)
    update = jax.jit(fold.update)
    state = fold.init()
    for start in range(0, 37, 8):
        rows = np.arange(start, start + 8)
        batch = {"label": labels[rows % 37], "mask": rows < 37}
        state = update(state, {"logits": logits[rows % 37]}, batch)
    result = fold.compute(state)
    best = logits.argmax(1)
    assert result["accuracy"] == reference.accuracy_score(labels, best)
    top = reference.top_k_accuracy_score(labels, logits, k=2, labels=range(5))
    assert result["top2"] == pytest.approx(top)
    balanced = reference.recall_score(labels, best, labels=range(4), average="macro")
    assert result["balanced_accuracy"] == result["mean_class_accuracy"] == pytest.approx(balanced)
    matrix = reference.confusion_matrix(labels, best, labels=range(5))
    np.testing.assert_array_equal(result["confusion"], matrix)
    np.testing.assert_array_equal(metrics.confusion_matrix(labels, best, 5)[:, :-1], matrix)
    np.testing.assert_array_equal(
        metrics.confusion_matrix(labels, best, 5, np.arange(37) < 9)[:, :-1],
        reference.confusion_matrix(labels[:9], best[:9], labels=range(5)),
    )
    assert result["n"] == 37
    assert float(metrics.accuracy(labels, logits)) == pytest.approx(result["accuracy"])
    assert float(metrics.accuracy(labels, logits, 2)) == pytest.approx(result["top2"])
    assert list(result["per_class"]) == ["a", "b", "c", "d"]  # "e" does not occur


def test_rows_with_nan_are_wrong_and_counted():
    """The functions and both folds follow one rule; labels that are none are left out."""
    logits = np.array([[2, 1, 0, 0], [np.nan, 1, 0, 0], [1, 2, 0, 0], [2, 1, 0, 0]], np.float32)
    label = np.array([0, 1, -1, 7])
    fold = metrics.Classification(("a", "b", "c", "d"))
    result = fold.compute(fold.update(fold.init(), logits, {"label": label}))
    assert (result["n"], result["left_out"], result["without_prediction"]) == (2, 2, 1)
    assert result["accuracy"] == result["balanced_accuracy"] == result["top3"] == 0.5
    assert result["per_class"] == {"a": 1.0, "b": 0.0}
    assert float(metrics.accuracy(label[:2], logits[:2], top=9)) == 0.5
    assert float(metrics.accuracy([-1], logits[1:2])) == 0.0
    np.testing.assert_array_equal(
        metrics.confusion_matrix([0, 1, 1], [1, -1, 7], 2), [[0, 1, 0], [0, 0, 2]]
    )

    several = metrics.SeveralAtOnce(("a", "b"))
    probability = np.array([[0.9, 0.1], [0.1, np.nan], [np.nan, 0.9]], np.float32)
    held = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    state = several.update(several.init(), {"probability": probability}, {"label": held})
    result = several.compute(state)
    assert (result["n"], result["without_prediction"]) == (3, 2)
    assert result["accuracy"] == pytest.approx(1 / 3)
    assert result["per_class"] == {"a": 1.0, "b": 0.0}


def test_top_k_of_so_few_classes_that_it_cant_be_wrong_is_left_out():
    fold = metrics.Classification(("a", "b", "c"))
    logits = np.eye(3, dtype=np.float32)
    result = fold.compute(fold.update(fold.init(), logits, {"label": np.array([0, 1, 0])}))
    assert not [name for name in result if name.startswith("top")]
    assert float(metrics.accuracy([0, 1, 0], logits, top=5)) == 1.0


@pytest.mark.parametrize("fold", [metrics.Classification, metrics.SeveralAtOnce])
def test_of_no_rows_shares_are_nan(fold):
    measure = fold(("a", "b"))
    nothing = measure.compute(measure.init())
    assert nothing["n"] == 0
    assert nothing["per_class"] == {}
    for name in {"accuracy", "balanced_accuracy", "f1"} & set(nothing):
        assert np.isnan(nothing[name])
    assert np.isnan(metrics.accuracy(np.zeros(0, int), np.zeros((0, 2))))
