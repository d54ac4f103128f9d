"""TRC files read back by a parser of their own."""

from __future__ import annotations

import numpy as np

from bodyjax.lift import trc
from bodyjax.skeleton import H36M17
from tests.lift.simulated_motion import simulated


def read(file):
    """Header by name, marker names, times (F,), places (F, M, 3)."""
    lines = file.read_text().split("\n")
    assert lines[0].split("\t")[:3] == ["PathFileType", "4", "(X/Y/Z)"]
    head = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    names = [word for word in lines[3].split("\t")[2:] if word]
    axes = lines[4].split("\t")[2:]
    assert axes == [f"{axis}{i + 1}" for i in range(len(names)) for axis in "XYZ"]
    rows = np.array(  # as OpenSim reads: every tab ends a cell, an empty one is NaN
        [[float(w) if w else np.nan for w in line.split("\t")] for line in lines[6:] if line]
    )
    assert (rows[:, 0] == np.arange(1, len(rows) + 1)).all()
    return head, names, rows[:, 1], rows[:, 2:].reshape(len(rows), len(names), 3)


def test_markers_are_the_joints_in_mm_with_y_up(tmp_path):
    motion, _ = simulated("squat", seed=1, frames=40)
    trc.write(tmp_path / "one.trc", motion)
    head, names, times, places = read(tmp_path / "one.trc")
    assert names == list(H36M17.joints)
    assert head["Units"] == "mm"
    assert (head["NumFrames"], head["NumMarkers"]) == ("40", "17")
    assert float(head["DataRate"]) == 15
    np.testing.assert_allclose(times, motion.times, atol=1e-5)
    wanted = (motion.xyz + motion.root[:, None]) * [1, -1, -1]
    np.testing.assert_allclose(places, wanted, atol=1e-3)
    head_top, ankle = places[:, names.index("head_top")], places[:, names.index("left_ankle")]
    assert (head_top[:, 1] > ankle[:, 1]).all()


def test_what_is_not_known_has_empty_cells(tmp_path):
    motion, _ = simulated("squat", seed=1, frames=40)
    xyz, root = motion.xyz.copy(), motion.root.copy()
    xyz[[0, 9, 10]], root[[20, 39]] = np.nan, np.nan
    lost = [0, 9, 10, 20, 39]
    trc.write(tmp_path / "gaps.trc", motion._replace(xyz=xyz, root=root))
    _, _, times, places = read(tmp_path / "gaps.trc")
    assert np.flatnonzero(np.isnan(places).any((1, 2))).tolist() == lost
    assert np.isnan(places[lost]).all()
    known = np.setdiff1d(np.arange(40), lost)
    wanted = (motion.xyz + motion.root[:, None]) * [1, -1, -1]
    np.testing.assert_allclose(places[known], wanted[known], atol=1e-3)
    np.testing.assert_allclose(times, motion.times, atol=1e-5)
    table = np.genfromtxt(tmp_path / "gaps.trc", delimiter="\t", skip_header=6)
    np.testing.assert_allclose(table[:, 2:], places.reshape(40, -1), atol=1e-9)


def test_a_place_that_is_never_known_leaves_places_from_the_pelvis(tmp_path):
    motion, _ = simulated("squat", seed=1, frames=20)
    trc.write(tmp_path / "a.trc", motion._replace(root=np.full((20, 3), np.nan)))
    _, names, _, places = read(tmp_path / "a.trc")
    assert (places[:, names.index("pelvis")] == 0).all()
    np.testing.assert_allclose(places, motion.xyz * [1, -1, -1], atol=1e-3)
