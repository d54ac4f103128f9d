"""Results as JSON and .npz."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from bodyjax.errors import DataError
from bodyjax.lift import parameters, records, rules
from bodyjax.lift.motions import Lifted
from bodyjax.skeleton import H36M17
from tests.lift.simulated_motion import simulated


def everyone():
    motion, camera = simulated("squat", "shallow", 1)
    other = motion._replace(
        identity=3, frames=motion.frames[:20] + 5, times=motion.times[:20], xy=motion.xy[:20],
        score=motion.score[:20], xyz=motion.xyz[:20], root=np.full((20, 3), np.nan),
    )  # fmt: skip
    values = parameters.measure(motion)
    prompts = rules.events(rules.read("squat"), 1, motion.times, values)
    assert prompts
    return Lifted([motion, other], 2, camera, 1700.0), values, prompts


def test_npz_has_a_row_for_every_frame_of_everyone(tmp_path):
    lifted, _, prompts = everyone()
    records.write_npz(tmp_path / "a.npz", lifted, prompts)
    with zipfile.ZipFile(tmp_path / "a.npz") as opened:
        assert not opened.testzip()
    found = np.load(tmp_path / "a.npz", allow_pickle=False)
    first, second = lifted.motions
    assert found["person"].tolist() == [1] * 90 + [4] * 20
    assert found["frame"][90:].tolist() == second.frames.tolist()
    np.testing.assert_allclose(found["xyz"][:90], first.xyz, rtol=1e-5, atol=0.01)
    np.testing.assert_allclose(found["xy"][90:], second.xy, rtol=1e-5)
    assert np.isnan(found["root"][90:]).all()
    assert tuple(found["joints"]) == H36M17.joints
    assert found["event_text"].tolist() == [event.rule.text for event in prompts]
    records.write_npz(tmp_path / "none.npz", Lifted([], 0, lifted.camera, 1700.0))
    empty = np.load(tmp_path / "none.npz", allow_pickle=False)
    assert empty["xyz"].shape == (0, 17, 3)
    assert empty["person"].shape == (0,)
    with pytest.raises(DataError, match="can't be written"):
        records.write_npz(tmp_path / "no" / "a.npz", lifted)


def test_a_person_for_json_has_null_where_nothing_is_known():
    lifted, values, _ = everyone()
    motion = lifted.motions[0]
    xyz = motion.xyz.copy()
    xyz[2, 4] = np.nan
    said = json.dumps(records.person(motion._replace(xyz=xyz), values), allow_nan=False)
    found = json.loads(said)
    assert found["person"] == 1
    assert found["xyz"][2][4] == [None] * 3
    np.testing.assert_allclose(found["xyz"][3], xyz[3], atol=0.051)
    np.testing.assert_allclose(found["root"], motion.root, atol=0.051)
    assert found["ranges"]["knee_flexion"] == pytest.approx(
        np.ptp(values["knee_flexion"]), abs=0.01
    )
