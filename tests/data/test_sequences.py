"""Array sets as sequences: what is read, filled in time, resampled, cut in windows, refused."""

import subprocess
import sys

import numpy as np
import pytest

from bodyjax.data import sequences
from bodyjax.data.folds import TEST, TRAIN
from bodyjax.deform import Limits
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


@pytest.fixture(scope="module")
def loaded():
    cache = {}

    def load(name, **options):
        key = (name, *sorted(options.items()))
        if key not in cache:
            cache[key] = sequences.load(name, shared(f"data/{name}"), **options)
        return cache[key]

    return load


@pytest.mark.parametrize("name", FACTS)
def test_each_set_is_what_its_readme_says(loaded, name):
    clips = loaded(name)
    count, joints, dims, labels, groups, conditions = FACTS[name]
    assert len(clips) == count
    assert clips.joints.shape[1:] == (joints, dims)
    assert len(clips.classes) == labels == len(np.unique(clips.labels))
    assert (None if clips.groups is None else len(np.unique(clips.groups))) == groups
    assert len(clips.conditions) == conditions
    data = sequences.resampled(clips, 12)
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


def test_fill_in_time():
    nan = np.nan
    x = np.array([[nan, nan, 1], [2, nan, 1], [nan, nan, 1], [6, nan, 1], [nan, nan, 1]], float)
    joints = np.stack([x, 10 * x], axis=-1)
    filled, visible = sequences.fill_in_time(joints)
    np.testing.assert_allclose(filled[:, 0, 0], [2, 2, 4, 6, 6])
    np.testing.assert_allclose(filled[:, 0, 1], [20, 20, 40, 60, 60])
    assert visible[:, 0].tolist() == [1, 2, 1, 2, 1]
    assert not visible[:, 1].any()
    assert not filled[:, 1].any()
    assert (visible[:, 2] == 2).all()


def test_resampling_keeps_first_and_last_and_natops_at_its_own_length(loaded):
    clips = loaded("natops")
    data = sequences.resampled(clips, 51)
    np.testing.assert_allclose(data.joints.reshape(-1, 8, 3), clips.joints, atol=1e-6)
    short = sequences.resampled(loaded("ui_prmd"), 7)
    places, _ = loaded("ui_prmd").frames(11)
    np.testing.assert_allclose(short.joints[11, [0, -1]], places[[0, -1]], atol=1e-4)


def test_windows_are_ten_frames_at_about_five_a_second(loaded):
    clips = loaded("pushfit")
    data = sequences.windows(clips, 10, rate=5.0)
    assert data.joints.shape[1] == 10
    assert set(data.clip) == set(range(209))
    for i in (0, 7, 100):
        mine = np.flatnonzero(data.clip == i)
        stride = round(float(clips.fps[i]) / 5)
        places, _ = clips.frames(i)
        filled, _ = sequences.fill_in_time(places)
        taken = filled[::stride]
        if len(taken) < 10:
            assert len(mine) == 1
            np.testing.assert_allclose(data.joints[mine[0], [0, -1]], filled[[0, -1]], atol=1e-4)
            continue
        np.testing.assert_allclose(data.joints[mine[0]], taken[:10], atol=1e-4)
        np.testing.assert_allclose(data.joints[mine[-1]], taken[-10:], atol=1e-4)
    assert (data.groups == clips.groups[data.clip]).all()


def test_augmented_examples_repeat_and_differ(loaded):
    data = sequences.resampled(loaded("penn_action"), 20)
    limits = Limits(flip=0.5, rotation=0.2, noise=0.01, crop=0.2, bend=0.3)
    mirror = np.array(data.skeleton.mirror)

    def draw(seed):
        return sequences.augmented(data[5], np.random.default_rng(seed), limits, mirror, 16)

    one, two = draw(0), draw(1)
    assert one["joints"].shape == (16, 13, 2)
    assert one["joints"].dtype == np.float32
    assert one["visible"].dtype == np.uint8
    assert one["length"] == 16
    assert set(one) == set(data[5])
    np.testing.assert_array_equal(one["joints"], draw(0)["joints"])
    assert np.abs(one["joints"] - two["joints"]).max() > 0.1


def test_rows_and_fingerprints(loaded):
    data = sequences.resampled(loaded("natops"), 10)
    half = data.rows(data.splits["official"] == TEST)
    assert len(half) == 180
    np.testing.assert_array_equal(half.joints, data.joints[180:])
    again = sequences.resampled(loaded("natops"), 10)
    assert again.fingerprint == data.fingerprint != half.fingerprint
    assert sequences.resampled(loaded("natops"), 11).fingerprint != data.fingerprint
    with pytest.raises(DataError, match="no sequence is left"):
        data.rows(np.zeros(len(data), bool))


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
    clips = sequences.pose_trainer(write(tmp_path, score=score))
    assert clips.left_out == {"without any joint": 1}
    assert clips.names == ("0", "2")
    assert clips.labels.tolist() == [0, 1]
    assert clips.groups.tolist() == [0, 2]
    assert clips.frames(1)[0].shape == (10, 18, 2)
    by_file = sequences.pose_trainer(tmp_path / "pose_trainer.npz")
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
        sequences.pose_trainer(write(tmp_path, **change))
    assert "pose_trainer.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_said(tmp_path):
    with pytest.raises(ConfigError, match="no joint set"):
        sequences.load("coco", tmp_path)
    with pytest.raises(ConfigError, match="mediapipe or movenet"):
        sequences.pushfit(tmp_path, joints="openpose")
    with pytest.raises(DataError, match="no such file"):
        sequences.natops(tmp_path)


def test_reading_imports_no_jax():
    code = "import sys, bodyjax.data.sequences, bodyjax.data.folds; print('jax' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
