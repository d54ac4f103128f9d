"""The benchmark of joints in space: its NumPy counterparts are ours, and parts are measured."""

from __future__ import annotations

import numpy as np
import pytest

from bodyjax import geometry
from bodyjax.bench import space
from bodyjax.skeleton import H36M17
from configs import lifter


def test_the_counterparts_in_numpy_give_our_values():
    rng = np.random.default_rng(3)
    target = rng.normal(0, 300, (20, 17, 3))
    points = 0.8 * target + rng.normal(0, 60, target.shape)
    points[:10] *= [-1, 1, 1]  # mirror images, which an alignment must not use
    np.testing.assert_allclose(
        space.aligned(points, target), geometry.procrustes(points, target), atol=0.2
    )
    np.testing.assert_allclose(space.flexions(points), geometry.flexions(points, H36M17), atol=1e-2)


def test_programs_run_in_turn_and_rates_add_up():
    calls = []

    def program(name):
        calls.append(name)
        return np.zeros(1)

    took = space.spent({"a": lambda: program("a"), "b": lambda: program("b")}, 0.0)
    assert calls == ["a", "b"] * 6  # one to compile, five to measure
    assert set(took) == {"a", "b"}
    row = space._rate("x", (0.2, space.Spent(0.1, 0.05)), (1, space.Spent(0.02, 0.01)))
    assert row.value == pytest.approx(25)
    assert row.note == "by CPU 50"


def test_poses_are_timed_beside_numpy_and_scipy():
    rows = list(space.poses("cpu", count=8, budget=0.0))
    assert [row.name for row in rows] == [
        f"8 poses, {name}"
        for name in ("alignment: ours", "alignment: NumPy", "alignment: SciPy", "angles: ours",
                     "angles: NumPy")
    ]  # fmt: skip
    assert all(row.value > 0 for row in rows)


@pytest.mark.slow
def test_every_part_of_the_way_to_space_is_measured():
    config = lifter.get_config("tiny")
    rows = {row.name: row for row in space.space("lifter", config, "cpu", (64,), budget=0.0)}
    assert rows["64: joints in space"].unit == "frames/s"
    assert rows["64: depth over the 2D detector"].value > 0
    assert rows["depth: parameters"].value == pytest.approx(1.1, abs=0.1)
    assert rows["crops of 64: joints in space of a person"].value > 0
    assert not [row.note for row in rows.values() if row.note.startswith("not measured")]
