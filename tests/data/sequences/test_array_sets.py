"""The stored sets of joint sequences: what each holds, its splits and options, what is refused."""

import numpy as np
import pytest

from bodyjax.data.folds import TEST, TRAIN
from bodyjax.data.sequences import array_sets, source
from bodyjax.data.sequences.joint_tables import JointTable, write_joint_csv
from bodyjax.data.sequences.table_folders import array_set
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import get
from tests.shared import shared

FACTS = {
    # name: clips, joints, dimensions, labels, groups, conditions
    "penn_action": (2325, 13, 2, 15, None, 0),
    "pushfit": (209, 33, 2, 2, 42, 0),
    "ui_prmd": (1400, 22, 3, 2, 7, 10),
    "natops": (360, 8, 3, 6, None, 0),
    "pose_trainer": (112, 18, 2, 2, 12, 4),
    "jhmdb": (928, 17, 2, 21, 410, 0),
}


@pytest.mark.parametrize("name", FACTS)
def test_each_set_is_what_its_readme_says(loaded, name):
    clips = loaded(name)
    count, joints, dims, labels, groups, conditions = FACTS[name]
    assert len(clips) == count
    assert clips.joints.shape[1:] == (joints, dims)
    assert len(clips.classes) == labels == len(np.unique(clips.labels))
    assert (None if clips.groups is None else len(np.unique(clips.groups))) == groups
    assert len(clips.conditions) == conditions
    data = source.resampled(clips, 12)
    assert data.joints.shape == (count, 12, joints, dims)
    assert np.isfinite(data.joints).all()
    assert data.score.min() >= 0
    assert data.score.max() <= 1
    example = data[3]
    names = ["joints", "visible", "score", "length", "size", "condition", "label", "clip"]
    assert sorted(example) == sorted(names)
    assert example["joints"].shape == (12, joints, dims)


def test_official_splits_have_their_sizes(loaded):
    def sizes(name):
        splits = loaded(name).splits
        return {key: ((s == TRAIN).sum(), (s == TEST).sum()) for key, s in splits.items()}

    # one clip of Penn Action's training side shows no joint at all
    assert loaded("penn_action").left_out == {"without any joint": 1}
    assert sizes("penn_action") == {"official": (1257, 1068)}
    assert sizes("natops") == {"official": (180, 180)}
    assert sizes("jhmdb") == {"1": (660, 268), "2": (658, 270), "3": (663, 265)}
    clips = loaded("jhmdb")
    for split in clips.splits.values():
        assert not set(clips.groups[split == TRAIN]) & set(clips.groups[split == TEST])


def test_joint_names_of_the_files_are_those_of_our_skeletons():
    for name, file, body in (
        ("penn_action", "penn_action.npz", "penn13"),
        ("ui_prmd", "ui_prmd.npz", "uiprmd22"),
        ("pose_trainer", "pose_trainer.npz", "body18"),
    ):
        with np.load(shared(f"data/{name}/{file}"), allow_pickle=False) as table:
            names = [n.replace(" ", "_") for n in map(str, table["joint_names"])]
        assert len(names) == len(get(body).joints)
        same = [a == b for a, b in zip(names, get(body).joints, strict=True)]
        assert np.mean(same) > 0.6, (names, get(body).joints)


def test_pixels_and_options(loaded):
    with np.load(shared("data/pushfit/joints.npz"), allow_pickle=False) as table:
        first, size = table["movenet"][0].astype(np.float32), table["video_size"][0]
    clips = loaded("pushfit", joints="movenet")
    np.testing.assert_allclose(clips.joints[0], first[:, :2] * size - 0.5, rtol=1e-5)
    np.testing.assert_allclose(clips.score[0], first[:, 2])
    movements = loaded("ui_prmd", label="movement")
    assert len(movements.classes) == 10
    assert not movements.condition.any()
    angles = loaded("ui_prmd", joints="angles")
    assert np.abs(angles.joints).max() <= 1
    np.testing.assert_allclose(
        angles.joints[:, :18] ** 2 + angles.joints[:, 18:] ** 2, 1, atol=1e-5
    )


def write(tmp_path, **changes):
    """A small file of Pose Trainer's layout, with changes (None leaves an array out)."""
    rng = np.random.default_rng(0)
    table = {
        "joints": rng.normal(size=(30, 18, 2)).astype(np.float32),
        "score": np.ones((30, 18), np.float16),
        "offsets": np.array([0, 10, 20, 30]),
        "exercise": np.array([0, 0, 1], np.int8),
        "exercises": np.array(["curl", "press"]),
        "standard": np.array([0, 1, 1], np.int8),
        "group": np.array([0, 1, 2], np.int8),
    }
    table = {k: v for k, v in {**table, **changes}.items() if v is not None}
    np.savez(tmp_path / "pose_trainer.npz", **table)
    return tmp_path


def test_another_set_of_the_same_layout(tmp_path):
    score = np.ones((30, 18), np.float16)
    score[10:20] = 0
    clips = array_sets.pose_trainer(write(tmp_path, score=score))
    assert clips.left_out == {"without any joint": 1}
    assert clips.names == ("0", "2")
    assert clips.labels.tolist() == [0, 1]
    assert clips.groups.tolist() == [0, 2]
    assert clips.frames(1)[0].shape == (10, 18, 2)
    by_file = array_sets.pose_trainer(tmp_path / "pose_trainer.npz")
    np.testing.assert_array_equal(by_file.joints, clips.joints)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"standard": None}, "has no array standard"),
        ({"standard": np.array([0, 1, 5])}, "label 5 is not in 0 to 1"),
        ({"exercise": np.array([0, 0, 2])}, "condition 2 is not in 0 to 1"),
        ({"group": np.array([0, 1])}, "2 groups for 3 clips"),
        ({"offsets": np.array([0, 10, 20, 31])}, "offsets must rise"),
        ({"offsets": np.array([0, 20, 10, 30])}, "offsets must rise"),
        ({"joints": np.zeros((30, 17, 2), np.float32)}, "not"),
        ({"score": np.zeros((30, 18), np.float16)}, "no clip has a joint"),
    ],
)
def test_broken_files_are_one_line(tmp_path, change, message):
    if "joints" in change:
        change["score"] = np.ones((30, 17), np.float16)
    with pytest.raises(DataError, match=message) as caught:
        array_sets.pose_trainer(write(tmp_path, **change))
    assert "pose_trainer.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_said(tmp_path):
    with pytest.raises(ConfigError, match="no joint set"):
        array_sets.load("coco", tmp_path)
    with pytest.raises(ConfigError, match="mediapipe, mediapipe17, movenet"):
        array_sets.pushfit(tmp_path, joints="openpose")
    with pytest.raises(DataError, match="no such file"):
        array_sets.natops(tmp_path)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("natops", "joints", "movenet"), ("pushfit", "label", "paper"), ("exercises", "joints", "x")],
)
def test_options_that_a_set_has_not_are_named(tmp_path, name, option, value):
    message = f"{option}: {name} has no {option} to choose, here '{value}'; leave it empty"
    with pytest.raises(ConfigError, match=rf"data\.{message}"):
        source.from_config({"kind": name, "path": tmp_path, "steps": 8, option: value})
    if name != "exercises":
        with pytest.raises(ConfigError, match=message):
            array_set(name, tmp_path, **{option: value})


def small_pushfit(folder, seed=0):
    """Three clips of pushfit's layout: 4, 5 and 6 frames."""
    rng = np.random.default_rng(seed)
    table = {
        "mediapipe": rng.uniform(size=(15, 33, 4)).astype(np.float16),
        "movenet": rng.uniform(size=(15, 17, 3)).astype(np.float16),
        "offsets": np.array([0, 4, 9, 15]),
        "clip": np.array(["p000.mp4", "p001.mp4", "p002.mp4"]),
        "standard": np.array([1, 0, 1], np.int8),
        "group": np.array([0, 1, 2]),
        "fps": np.full(3, 15.0),
        "video_size": np.full((3, 2), (320, 240)),
    }
    np.savez(folder / "joints.npz", **table)
    return table


def test_estimators_of_the_same_clips_go_together(tmp_path):
    table = small_pushfit(tmp_path)
    section = {"kind": "pushfit", "path": tmp_path, "steps": 8}
    both = source.from_config({**section, "joints": "mediapipe17+movenet"})
    alone = source.from_config({**section, "joints": "movenet"})
    assert len(both) == 6
    assert both.clip.tolist() == [0, 1, 2, 0, 1, 2]
    assert both.labels.tolist() == [1, 0, 1] * 2
    np.testing.assert_array_equal(both.joints[3:], alone.joints)
    # MediaPipe's left wrist is its joint 15, COCO's is 9.
    clips = array_sets.pushfit(tmp_path, "mediapipe17")
    wrist = table["mediapipe"][:, 15, :2].astype(np.float32) * (320, 240) - 0.5
    np.testing.assert_allclose(clips.joints[:, 9], wrist, rtol=1e-5)
    with pytest.raises(DataError, match="don't go together"):
        source.from_config({**section, "joints": "mediapipe+movenet"})


def test_clips_that_estimators_lack_are_counted_once(tmp_path):
    """MoveNet has nothing of the first clip, MediaPipe of the first and the second."""
    table = small_pushfit(tmp_path)
    table["movenet"][:4] = np.nan
    table["mediapipe"][:9] = np.nan
    np.savez(tmp_path / "joints.npz", **table)
    lines = []
    section = {"kind": "pushfit", "path": tmp_path, "steps": 8, "joints": "mediapipe17+movenet"}
    both = source.from_config(section, lines.append)
    assert both.names == ("p002.mp4", "p001.mp4", "p002.mp4")
    assert both.left_out == {"without joints of any estimator": 1}
    assert lines == [
        "left out: 1 without joints of any estimator",
        "left out: the joints of estimator 1 of 2 for 1 clips",
    ]


def test_joint_tables_of_the_videos_take_the_place_of_stored_joints(tmp_path):
    """The surest person counts; a clip without a table is left out and counted."""
    small_pushfit(tmp_path)
    folder = tmp_path / "csv" / "standard"
    folder.mkdir(parents=True)
    xy = np.arange(2 * 2 * 17 * 2, dtype=np.float32).reshape(2, 2, 17, 2)
    score = np.stack([np.full((2, 17), 0.2), np.full((2, 17), 0.9)], axis=1).astype(np.float32)
    visible = np.full((2, 2, 17), 2, np.uint8)
    table = JointTable(np.array([1, 3]), np.arange(2), xy, visible, score, (320.0, 240.0))
    for name in ("p000", "p002"):
        write_joint_csv(folder / f"{name}.csv", table)
    clips = array_sets.pushfit(tmp_path, str(tmp_path / "csv"))
    assert clips.names == ("p000.mp4", "p002.mp4")
    assert clips.left_out == {"without any joint": 1}
    np.testing.assert_array_equal(clips.joints[[1, 3]], xy[:, 1])
    assert np.isnan(clips.joints[[0, 2]]).all()
    assert len(clips.notes) == 1
    assert clips.notes[0].startswith("2 people beside the surest in 2 joint tables (first: ")
    one = JointTable(np.array([2]), np.arange(1), xy[:1, :1], visible[:1, :1], score[:1, :1], None)
    write_joint_csv(folder / "p000.csv", one)
    fewer = array_sets.pushfit(tmp_path, str(tmp_path / "csv"))
    assert fewer.names == ("p002.mp4",)
    assert sum(fewer.left_out.values()) == 2
    assert fewer.left_out["with one frame in the joint table"] == 1
    assert f"one frame alone: {folder / 'p000.csv'}" in fewer.notes[0]
    long = JointTable(np.array([1, 9]), np.arange(2), xy, visible, score, None)
    (tmp_path / "csv" / "again").mkdir()
    write_joint_csv(tmp_path / "csv" / "again" / "p000.csv", one)
    with pytest.raises(DataError, match=r"p000\.csv: has the name of .*p000\.csv"):
        array_sets.pushfit(tmp_path, str(tmp_path / "csv"))
    (tmp_path / "csv" / "again" / "p000.csv").unlink()
    write_joint_csv(folder / "p000.csv", long)
    with pytest.raises(DataError, match="frame 9 of a clip of 4"):
        array_sets.pushfit(tmp_path, str(tmp_path / "csv"))
