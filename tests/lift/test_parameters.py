"""Movement parameters: against NumPy on simulated exercises; peaks, ranges, CSV and plot."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from bodyjax.lift import parameters
from bodyjax.skeleton import COCO17, H36M17
from tests.lift.simulated_motion import simulated


def test_angles_and_speeds_are_numpy_s():
    motion, _ = simulated("squat", "trunk_forward", 2, frames=50)
    values = parameters.measure(motion)
    assert set(values) == set(parameters.PARAMETERS)
    at = {name: motion.xyz[:, i] for i, name in enumerate(H36M17.joints)}
    thigh, shin = at["left_knee"] - at["left_hip"], at["left_ankle"] - at["left_knee"]
    cosine = (thigh * shin).sum(1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(shin, axis=1)
    np.testing.assert_allclose(values["left_knee_flexion"], np.degrees(np.arccos(cosine)), atol=0.1)
    both = (values["left_knee_flexion"] + values["right_knee_flexion"]) / 2
    np.testing.assert_allclose(values["knee_flexion"], both, atol=1e-3)
    moved = np.linalg.norm(at["left_wrist"][2:] - at["left_wrist"][:-2], axis=1)
    np.testing.assert_allclose(values["left_wrist_speed"][1:-1], moved * 15 / 2, rtol=2e-3, atol=1)
    last = np.linalg.norm(at["left_wrist"][-1] - at["left_wrist"][-2])
    assert values["left_wrist_speed"][-1] == pytest.approx(last * 15, rel=2e-3, abs=1)
    fall = np.linalg.norm(motion.root[2:] - motion.root[:-2], axis=1) * 15 / 2
    np.testing.assert_allclose(values["pelvis_speed"][1:-1], fall, rtol=2e-3, atol=1)


def test_what_is_unknown_is_nan_and_nothing_else():
    motion, _ = simulated("squat", seed=2, frames=33)
    xyz = motion.xyz.copy()
    xyz[5, H36M17.index("left_wrist")] = np.nan
    values = parameters.measure(motion._replace(xyz=xyz, root=np.full((33, 3), np.nan)))
    assert np.flatnonzero(np.isnan(values["left_elbow_flexion"])).tolist() == [5]
    assert np.flatnonzero(np.isnan(values["left_wrist_speed"])).tolist() == [4, 6]
    assert np.isfinite(values["right_elbow_flexion"]).all()
    assert np.isnan(values["pelvis_speed"]).all()
    assert len(values["knee_gap"]) == 33


def test_joints_that_are_not_seen_give_no_parameters():
    motion, _ = simulated("push_up", seed=2, frames=33)
    score = motion.score.copy()
    score[4:, COCO17.index("left_ankle")] = 0
    values = parameters.measure(motion._replace(score=score))
    for name in ("left_knee_flexion", "knee_flexion", "knee_gap", "hip_offset"):
        assert np.isfinite(values[name][:4]).all()
        assert np.isnan(values[name][4:]).all()
    assert np.isfinite(values["left_hip_flexion"]).all()
    assert np.isfinite(values["trunk_lean"]).all()


def test_peaks_of_repetitions():
    times = np.arange(120) / 20
    curve = 30 + 50 * np.sin(np.pi * times / 2) ** 2  # tops of 80 at 1, 3 and 5 s
    found = parameters.peaks(times, curve)
    for second in (1, 3, 5):
        assert found[second * 20] == pytest.approx(80, abs=1)
    assert np.isnan(found[[0, 40, 80]]).all()
    assert np.isnan(parameters.peaks(times, 30 + 0.1 * curve)).all()  # too small a swing
    curve[18:23] = np.nan
    found = parameters.peaks(times, curve)
    assert found[25] == pytest.approx(80, abs=4)
    assert np.isnan(found[18:23]).all()
    assert np.isnan(parameters.peaks(times[:3], curve[:3])).all()
    assert np.isnan(parameters.peaks(times, np.full(120, np.nan))).all()


def test_ranges_of_motion():
    motion, _ = simulated("raise_arms", seed=1, frames=60)
    values = parameters.measure(motion)
    found = parameters.ranges(values)
    assert found["left_shoulder_flexion"] == pytest.approx(
        np.ptp(values["left_shoulder_flexion"]), 1e-3
    )
    assert found["left_shoulder_flexion"] > 120
    assert "knee_gap" not in found
    assert parameters.ranges(values | {"trunk_lean": np.full(60, np.nan)})["trunk_lean"] is None


def test_csv_and_plot(tmp_path):
    motion, _ = simulated("squat", seed=2, frames=20)
    values = parameters.measure(motion)
    values["knee_gap"] = np.where(np.arange(20) == 3, np.nan, values["knee_gap"])
    other = motion._replace(identity=4, frames=motion.frames + 7)
    parameters.write_csv(tmp_path / "a.csv", [motion, other], [values, values])
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert len(rows) == 40
    assert [rows[20][name] for name in ("person", "frame", "time")] == ["5", "7", "0.0000"]
    assert rows[3]["knee_gap"] == ""
    assert float(rows[9]["knee_flexion"]) == pytest.approx(values["knee_flexion"][9], rel=1e-3)
    parameters.plot(tmp_path / "a.png", motion, values)
    picture = np.array(Image.open(tmp_path / "a.png").convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
