"""The detector's benchmark: parts add up, and ONNX Runtime runs the same network."""

import sys

import jax
import numpy as np
import pytest

from bodyjax import detect
from bodyjax.bench import onnx_network, people


def test_medians_are_those_of_programs_run_in_turn():
    calls = []

    def program(name):
        calls.append(name)
        return np.zeros(1)

    measured = people.medians({"a": lambda: program("a"), "b": lambda: program("b")}, 0.0)
    assert calls == ["a", "b"] * 6  # one to compile, five to measure
    assert all(seconds >= 0 for seconds in measured.values())


def test_a_part_without_onnx_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (row,) = people._onnx(64, 0.0)
    assert row.value is None
    assert row.note == 'not measured: pip install "bodyjax[onnx]" for it'


@pytest.mark.slow
def test_every_part_of_a_shipped_detector_is_measured():
    rows = {row.name: row for row in people.people("cpu", (64,), budget=0.0)}
    for name in ("network", "grouping", "canvas to people", "product"):
        assert rows[f"64: {name}"].value > 0
    assert rows["second look, crops of 256"].unit == "ms/person"
    assert rows["64: canvas to people"].value > rows["64: network"].value


def test_the_graph_gives_our_maps():
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    detector = detect.load("small", size=96)
    ours = jax.jit(onnx_network.ours(detector.system.model))
    pixels = people.picture(96)[None].astype(np.float32)
    session = onnx_network.session(onnx_network.onnx_bytes(detector.variables, 96), 1)
    assert people.difference(detector, ours, session, pixels) <= people.CLOSE
    maps = session(pixels)
    assert [m.shape for m in maps] == [(1, c, 24, 24) for c in (17, 1, 34, 34)]
    other = session(255 - pixels)
    assert max(np.abs(a - b).max() for a, b in zip(maps, other, strict=True)) > 0.1


@pytest.mark.slow
def test_the_graph_s_counterpart_is_the_detector_s_own_network():
    """What is timed beside ONNX Runtime are the maps that `detect` reads."""
    detector = detect.load("small", size=64)
    model, pixels = detector.system.model, people.picture(64)[None]
    maps = detector.system.maps(detector.variables, pixels)
    heat, center, regress, _ = onnx_network.ours(model)(detector.variables, pixels)
    np.testing.assert_allclose(center[..., 0], maps.center, atol=1e-5)
    known = [j for j, channel in enumerate(model.order) if channel >= 0]
    channels = [model.order[j] for j in known]
    np.testing.assert_allclose(
        np.asarray(maps.heatmaps[-1])[..., known], heat[..., channels], atol=1e-5
    )
    assert regress.shape == (1, 16, 16, 34)
