"""What decides whether a file is written: differences relative to ranges, and inputs to try on."""

import jax
import numpy as np
import pytest
from PIL import Image

from bodyjax.errors import DataError, UserError
from bodyjax.export import parity
from bodyjax.export.program import Shape

EXAMPLES = [{"x": np.array([0.0, 4.0])}, {"x": np.array([1.0, 10.0])}]


def apart(change):
    return parity.differences(
        lambda e: {"y": e["x"]}, lambda e: {"y": change(e["x"])}, iter(EXAMPLES)
    )


def test_differences_are_relative_to_the_range_over_all_examples():
    assert apart(lambda x: x) == {"y": 0.0}
    assert apart(lambda x: x + np.array([0.0, 0.5]))["y"] == pytest.approx(0.05)


def test_another_shape_or_a_nan_is_an_infinite_difference():
    assert apart(lambda x: x[None])["y"] == np.inf
    assert apart(lambda x: np.where(x > 9, np.nan, x))["y"] == np.inf


def test_a_constant_output_that_differs_is_refused():
    found = parity.differences(
        lambda e: {"y": np.ones(2)}, lambda e: {"y": np.zeros(2)}, iter(EXAMPLES)
    )
    with pytest.raises(UserError):
        parity.check(found, "float32", "f.onnx")


def test_missing_outputs_are_named():
    with pytest.raises(UserError, match="z"):
        parity.differences(lambda e: {"z": e["x"]}, lambda e: {}, iter(EXAMPLES))


def test_the_limit_depends_on_the_precision_and_the_line_names_the_output():
    parity.check({"a": 0.0, "b": 5e-3}, "float16", "f.onnx")
    with pytest.raises(UserError, match=r"f\.onnx: output b differs by 0\.005 of its range"):
        parity.check({"a": 0.0, "b": 5e-3}, "float32", "f.onnx")
    with pytest.raises(UserError):
        parity.check({"a": float("nan")}, "float16", "f.onnx")


def test_noise_is_the_same_in_every_run_and_fits_what_its_name_says():
    specs = {
        "pixels": Shape(("batch", 16, 16, 3), "float32"), "maps": Shape((1, 2, 8, 8, 4), "float32"),
        "joints": Shape((1, 5, 4, 2), "float32"), "visible": Shape((1, 5, 4), "uint8"),
        "length": Shape((1,), "int32"),
    }  # fmt: skip
    first, again = (list(parity.examples(specs, count=2)) for _ in range(2))
    for one, two in zip(first, again, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, two)
    one = first[0]
    assert one["pixels"].shape == (1, 16, 16, 3)
    assert one["pixels"].min() >= 0
    assert one["pixels"].max() <= 255
    assert one["maps"].max() > 0.1  # each map has a peak
    assert set(np.unique(one["visible"])) <= {0, 2}
    assert one["length"] > 5
    assert not np.array_equal(first[0]["joints"], first[1]["joints"])


def test_pictures_lie_on_the_canvas(tmp_path):
    Image.fromarray(np.full((20, 40, 3), 200, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("text")
    specs = {"pixels": jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)}
    (one,) = parity.examples(specs, parity.listed(tmp_path))
    assert one["pixels"][0, 8].min() == 200.0  # the picture in the middle, a bar above it
    assert one["pixels"][0, 0].max() < 200.0


def test_a_folder_without_pictures_is_one_line(tmp_path):
    with pytest.raises(DataError, match="no pictures"):
        parity.listed(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        parity.listed(tmp_path / "missing")
