"""The one loop that predicts: order, padding, and the same answers side by side."""

from typing import Any

import jax
import numpy as np
import pytest

from bodyjax.engine import evaluate, mesh
from tests.engine.toy import Points, Toy


@pytest.fixture(scope="module")
def variables() -> Any:
    return jax.jit(Toy().init)(jax.random.key(0))


class Logits(Toy):
    """The toy with its outputs by name."""

    def predict(self, variables: Any, batch: Any) -> dict[str, Any]:
        return {"logits": super().predict(variables, batch)}


@pytest.mark.parametrize("at_once", [1, 3])
def test_every_example_counts_once_in_its_order(variables, at_once):
    points = Points(held_out=43)
    whole = points.make(10**6, 43)
    wanted = np.asarray(Toy().predict(variables, whole))
    predict = evaluate.make_predictor(Logits(), mesh.one_device(), at_once)
    rows = evaluate.predict_rows(predict, variables, points.eval_batches(), "logits")
    np.testing.assert_allclose(rows, wanted, rtol=1e-5, atol=1e-6)
    measure = evaluate.make_evaluator(Toy(), mesh.one_device(), at_once)
    found = measure(variables, points.eval_batches())
    assert found["n"] == 43
    assert found["accuracy"] == pytest.approx((wanted.argmax(-1) == whole["label"]).mean())
    assert measure(variables, iter(())) == {}


def test_an_error_of_the_data_ends_the_pass(variables):
    def broken() -> Any:
        yield from list(Points().eval_batches())[:2]
        raise OSError("gone")

    for at_once in (1, 2):
        with pytest.raises(OSError, match="gone"):
            evaluate.make_evaluator(Toy(), mesh.one_device(), at_once)(variables, broken())


def test_rows_of_arrays_come_in_batches_of_one_shape():
    arrays = {"x": np.arange(20)}
    batches = list(evaluate.batches_of(arrays, np.arange(3, 14), 4))
    assert [batch["x"].shape for batch in batches] == [(4,)] * 3
    told = np.concatenate([batch["x"][batch["mask"]] for batch in batches])
    np.testing.assert_array_equal(told, np.arange(3, 14))
