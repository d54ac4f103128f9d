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
    rows = np.array([[float(w) for w in line.split("\t")] for line in lines[6:] if line])
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
