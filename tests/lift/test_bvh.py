"""BVH files read back by a parser of their own: forward kinematics gives the joints again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodyjax.lift import bvh
from bodyjax.skeleton import H36M17
from tests.lift.simulated_motion import simulated


def parsed(text):
    """[(name, parent, offset, channels)] in the order of the file, frame time, and the table."""
    words = iter(text[: text.index("MOTION")].split())
    nodes, open_nodes, name = [], [], None
    for word in words:
        if word in ("ROOT", "JOINT"):
            name = next(words)
        elif word == "End":
            assert next(words) == "Site"
            name = f"end of {nodes[open_nodes[-1]][0]}"
        elif word == "{":
            nodes.append([name, open_nodes[-1] if open_nodes else None, None, []])
            open_nodes.append(len(nodes) - 1)
        elif word == "}":
            open_nodes.pop()
        elif word == "OFFSET":
            nodes[open_nodes[-1]][2] = np.array([float(next(words)) for _ in range(3)])
        elif word == "CHANNELS":
            nodes[open_nodes[-1]][3] = [next(words) for _ in range(int(next(words)))]
    assert not open_nodes
    lines = text[text.index("MOTION") :].splitlines()
    frames, step = int(lines[1].split(":")[1]), float(lines[2].split(":")[1])
    table = np.array([[float(word) for word in line.split()] for line in lines[3:]])
    assert len(table) == frames
    return nodes, step, table


def kinematics(nodes, table):
    """name -> places (F, 3) in the file's unit and axes."""
    column, places, turns = 0, [], []
    for _, parent, offset, channels in nodes:
        values = table[:, column : column + len(channels)]
        column += len(channels)
        turn = Rotation.identity(len(table))
        move = np.zeros((len(table), 3))
        for channel, value in zip(channels, values.T, strict=True):
            axis = "XYZ".index(channel[0])
            if channel.endswith("position"):
                move[:, axis] = value
            else:
                turn = turn * Rotation.from_rotvec(np.radians(value)[:, None] * np.eye(3)[axis])
        if parent is None:
            places.append(offset + move)
            turns.append(turn)
        else:
            places.append(places[parent] + turns[parent].apply(offset) + move)
            turns.append(turns[parent] * turn)
    assert column == table.shape[1]
    return {name: place for (name, *_), place in zip(nodes, places, strict=True)}


def read(file):
    """Joints (F, 17, 3) mm in the camera's axes, and seconds a frame."""
    nodes, step, table = parsed(file.read_text())
    at = kinematics(nodes, table)
    ends = {"right_ankle": "end of right_knee", "left_ankle": "end of left_knee",
            "head_top": "end of neck", "left_wrist": "end of left_elbow",
            "right_wrist": "end of right_elbow"}  # fmt: skip
    places = np.stack([at[ends.get(joint, joint)] for joint in H36M17.joints], 1)
    return places * 10 * [1, -1, -1], step


@pytest.mark.parametrize("name", ["squat", "raise_arms", "push_up"])
def test_forward_kinematics_gives_the_joints_back(name, tmp_path):
    motion, _ = simulated(name, seed=3)
    bvh.write(tmp_path / "one.bvh", motion)
    found, step = read(tmp_path / "one.bvh")
    assert step == pytest.approx(1 / 15)
    constant = bvh.with_lengths(motion.xyz, bvh.lengths(motion.xyz)) + motion.root[:, None]
    assert np.abs(found - constant).max() < 1
    # The simulator's bones keep their lengths, but for collar bones and neck.
    kept = [H36M17.index(f"{side}_{joint}") for side in ("left", "right")
            for joint in ("hip", "knee", "ankle")]  # fmt: skip
    assert np.abs(found - motion.xyz - motion.root[:, None])[:, kept].max() < 1


def test_lengths_are_medians_the_same_on_both_sides():
    motion, _ = simulated("squat", seed=4, frames=30)
    xyz = motion.xyz.copy()
    knee, hip = H36M17.index("left_knee"), H36M17.index("left_hip")
    before = bvh.lengths(xyz)
    xyz[3, knee] += 500  # one bad frame
    assert bvh.lengths(xyz)["left_knee"] == pytest.approx(before["left_knee"], rel=1e-3)
    xyz = motion.xyz.copy()
    xyz[:, knee] = xyz[:, hip] + 1.2 * (xyz[:, knee] - xyz[:, hip])
    found = bvh.lengths(xyz)
    assert (
        found["left_knee"] == found["right_knee"] == pytest.approx(1.1 * before["left_knee"], 1e-3)
    )
    rebuilt = bvh.with_lengths(xyz, found)
    sizes = np.linalg.norm(rebuilt[:, knee] - rebuilt[:, hip], axis=-1)
    np.testing.assert_allclose(sizes, found["left_knee"], rtol=1e-6)


def test_gaps_uneven_times_and_joints_in_one_place(tmp_path):
    motion, _ = simulated("raise_arms", seed=5, frames=40)
    xyz, root = motion.xyz.copy(), np.full((40, 3), np.nan)
    xyz[7:9] = np.nan
    xyz[20, H36M17.index("left_wrist")] = xyz[20, H36M17.index("left_elbow")]
    times = motion.times + np.where(np.arange(40) % 2, 0.01, 0)
    bvh.write(tmp_path / "one.bvh", motion._replace(xyz=xyz, root=root, times=times))
    found, step = read(tmp_path / "one.bvh")
    assert step == pytest.approx((times[-1] - times[0]) / 39)
    assert np.isfinite(found).all()
    assert (found[:, 0] == 0).all()


def test_half_turns_are_turned():
    rest = np.array([0.0, 1, 0])
    ways = np.array([[0, -1.0, 0], [0, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(bvh._short_way(rest, ways).apply(rest), ways, atol=1e-12)
