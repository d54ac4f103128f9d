"""Rules on labelled clips: parts by group, what speaks up in a clip, and the summary."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bodyjax import camera as cameras
from bodyjax import lift
from bodyjax.bench import clip_rules
from bodyjax.bench.clip_rules import Clip, Told
from bodyjax.data.sequences import array_sets
from bodyjax.errors import ConfigError
from bodyjax.lift import rules
from bodyjax.skeleton import COCO17
from tests.lift.simulated_motion import SIZE, simulated


def test_parts_are_by_group_and_near_copies_are_few(tmp_path):
    np.savez(
        tmp_path / "joints.npz",
        clip=[f"p{i}" for i in range(7)], standard=[1, 1, 1, 0, 1, 0, 1],
        group=[1, 1, 1, 1, 5, 10, 4],
    )  # fmt: skip
    rest = clip_rules.clips(tmp_path, "rest", 2)
    assert [one.name for one in rest] == ["p0", "p1", "p3", "p6"]
    assert clip_rules.clips(tmp_path, "held", 9) == [Clip("p4", True, 5), Clip("p5", False, 10)]
    for words in (("all", 1), ("rest", 0)):
        with pytest.raises(ConfigError, match=r"--part: no part 'all'|--most: 0 clips"):
            clip_rules.clips(tmp_path, *words)


def test_a_shallow_push_up_and_nobody(monkeypatch):
    motion, camera = simulated("push_up", "shallow", 3, "side")
    everyone = [motion]
    monkeypatch.setattr(lift, "video", lambda *at, **more: lift.Lifted(everyone, 0, camera, 1700.0))
    chosen = rules.read("push_up")
    told = clip_rules.told(clip_rules.filmed(None, Path("a.mp4")), chosen)
    assert told.spoke == {0}
    assert 50 < told.peaks["elbow_flexion_peak"] < 80
    everyone.clear()
    assert clip_rules.told(clip_rules.filmed(None, Path("a.mp4")), chosen) is None


def test_stored_joints_go_into_space_as_those_of_a_video(tmp_path):
    motion, _ = simulated("push_up", None, 3, "side", frames=20)
    joints = np.concatenate([(motion.xy + 0.5) / SIZE, np.full((20, 17, 1), 0.9)], -1)
    joints[:, 0, 2] = 0.1  # hardly seen
    np.savez(
        tmp_path / "joints.npz", clip=["other", "p1"], movenet=np.concatenate([joints[:4], joints]),
        offsets=[0, 4, 24], fps=[10.0, 15.0], video_size=[SIZE, SIZE], standard=[1, 0],
        group=[1, 2],
    )  # fmt: skip
    source = array_sets.pushfit(tmp_path, "movenet")
    lifter = lift.load("lifter", detector=SimpleNamespace(skeleton=COCO17))
    found = clip_rules.stored(lifter, source, "p1")
    np.testing.assert_allclose(found.times, motion.times)
    stored = joints[0, 1:, :2].astype(np.float32) * np.float32(SIZE) - np.float32(0.5)
    np.testing.assert_allclose(found.xy[0, 1:], stored, atol=1e-6)
    np.testing.assert_allclose(stored, motion.xy[0, 1:], rtol=1e-6, atol=1e-4)
    assert (found.score[:, 0] == 0).all()
    lens = cameras.assumed(SIZE[::-1])
    wanted = lift.poses(lifter, found.xy, found.score, camera=lens)
    np.testing.assert_allclose(found.xyz, wanted, atol=1e-2)
    assert np.isfinite(found.root).all()


def test_the_summary_counts_each_label_apart():
    chosen = rules.read("push_up")
    every = [
        (Clip("a", True, 1), Told(frozenset({0, 2}), {"elbow_flexion_peak": 60.0})),
        (Clip("b", True, 1), Told(frozenset(), {"elbow_flexion_peak": 100.0})),
        (Clip("c", True, 2), None),
        (Clip("d", False, 2), Told(frozenset({2}), {})),
    ]
    report = clip_rules.summary(every, chosen)
    standard, other = report["standard"], report["not standard"]
    assert (standard["clips"], standard["with somebody"]) == (3, 2)
    assert list(standard["rules"].values()) == [1, 0, 1]
    assert standard["peaks"]["elbow_flexion_peak"] == {
        "clips": 2, "10": 64.0, "25": 70.0, "50": 80.0, "75": 90.0, "90": 96.0,
    }  # fmt: skip
    assert list(other["rules"].values()) == [0, 0, 1]
    assert other["peaks"] == {}
