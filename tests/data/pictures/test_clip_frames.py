"""Frames of clips as labelled pictures: frames, joints, parts, exact reading, faults."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bodyjax import skeleton
from bodyjax.data import feeds, video
from bodyjax.data.clips.folder import group
from bodyjax.data.pictures.clip_frames import clip_pictures
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import BODY18
from configs.pose import get_config
from tests.shared import shared

COCO17 = skeleton.get("coco17")
FRAMES = 20
LEVELS = np.linspace(20, 210, FRAMES).astype(np.uint8)
"""Brightness of each frame: a frame's colour tells its number."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The bytes of a clip of 20 frames, 64 x 48, that get brighter; a keyframe each 12."""
    file = tmp_path_factory.mktemp("clip") / "a.mp4"
    video.write_video(file, [np.full((48, 64, 3), level, np.uint8) for level in LEVELS], 30)
    return file.read_bytes()


def write(root, data, films=24):
    """Two clips a film, walk and sit; every third film is of the test side."""
    names, split = [], {}
    for film in range(films):
        for label in ("sit", "walk"):
            stem = f"film{film}_{label}_f_0"
            names.append(f"{label}/{stem}")
            split[stem] = 2 if film % 3 == 0 else 1
            (root / "clips" / label).mkdir(parents=True, exist_ok=True)
            (root / "clips" / label / f"{stem}.mp4").write_bytes(data)
    names.sort()
    (root / "splits.json").write_text(json.dumps({"classes": ["sit", "walk"], "1": split}))
    rng = np.random.default_rng(0)
    xy = rng.uniform(5, 45, (len(names) * FRAMES, 17, 2)).astype(np.float16)
    score = rng.choice([0.1, 0.29, 0.31, 0.9], (len(xy), 17)).astype(np.float16)
    offsets = np.arange(len(names) + 1) * FRAMES
    store(root, xy=xy, score=score, offsets=offsets, names=np.array(names))
    return root


def store(root, **arrays):
    """Writes teacher.npz, with the given arrays replacing its own."""
    file = root / "teacher.npz"
    kept = dict(np.load(file)) if file.exists() else {}
    np.savez(file, **{**kept, **arrays})


@pytest.fixture
def root(tmp_path, clip):
    return write(tmp_path / "films", clip)


def test_joints_are_the_stored_ones_that_are_sure(root):
    source = clip_pictures(root, "trainvalid").to(BODY18)
    table = np.load(root / "teacher.npz")
    known = table["score"] >= 0.3
    shoulders = [COCO17.index("left_shoulder"), COCO17.index("right_shoulder")]
    for row in range(0, len(source), 7):
        example, stored = source[row], int(source.ids[row])
        name = str(table["names"][stored // FRAMES])
        assert source.frames.clips.names[source.frames.clip[row]] == name
        assert source.frames.frame[row] == stored % FRAMES
        assert example["image"].shape == (48, 64, 3)
        assert example["xy"].shape == (1, 18, 2)
        assert example["xy"].dtype == np.float32
        for joint, called in enumerate(BODY18.joints):
            if called == "neck":
                there = known[stored, shoulders].all()
                place = table["xy"][stored, shoulders].astype(np.float32).mean(0) - 0.5
            else:
                there = known[stored, COCO17.index(called)]
                place = table["xy"][stored, COCO17.index(called)].astype(np.float32) - 0.5
            assert example["joint_mask"][joint] == there
            assert example["visible"][0, joint] == (2 if there else 0)
            np.testing.assert_allclose(example["xy"][0, joint], place if there else 0, atol=1e-4)
        seen = example["xy"][0][example["visible"][0] > 0]
        margin = 0.1 * np.ptp(seen, axis=0).max()
        expected = [*(seen.min(0) - margin), *(seen.max(0) + margin)]
        np.testing.assert_allclose(example["boxes"], [expected], atol=1e-4)
        assert not example["complete"]
        assert example["ignore"].shape == (0, 4)


def test_every_eighth_frame_of_training_clips(root):
    score = np.load(root / "teacher.npz")["score"]
    score[:] = 0.9
    score[1 * FRAMES + 8, 3:] = 0.1
    score[1 * FRAMES + 16, 4:] = 0.1
    store(root, score=score)
    source = clip_pictures(root, "trainvalid")
    names = [source.frames.clips.names[row] for row in source.frames.clip]
    films = {int(name.partition("film")[2].partition("_")[0]) for name in names}
    assert films == {film for film in range(24) if film % 3}
    assert source.left_out == {"frames with fewer than 4 known joints": 1}
    assert len(source) == 16 * 2 * 3 - 1
    assert sorted(set(source.frames.frame.tolist())) == [0, 8, 16]
    one = names.index("sit/film10_sit_f_0")  # clip 1: film 0 is of the test side
    assert source.frames.frame[
        [i for i, name in enumerate(names) if name == names[one]]
    ].tolist() == [
        0,
        16,
    ]
    assert len(set(source.ids.tolist())) == len(source)
    assert not source.heldout.any()


def test_parts_are_by_film(root):
    parts = {part: clip_pictures(root, part) for part in ("train", "valid", "trainvalid")}
    films = {
        part: {
            source.frames.clips.names[row].split("/")[1].split("_")[0] for row in source.frames.clip
        }
        for part, source in parts.items()
    }
    assert films["train"]
    assert films["valid"]
    assert not films["train"] & films["valid"]
    assert films["train"] | films["valid"] == films["trainvalid"]
    assert len(parts["train"]) + len(parts["valid"]) == len(parts["trainvalid"])
    assert len({source.fingerprint for source in parts.values()}) == 3
    assert clip_pictures(root, "train").fingerprint == parts["train"].fingerprint
    for part in ("test", "all", "1:test"):
        with pytest.raises(ConfigError, match="no part") as caught:
            clip_pictures(root, part)
        assert "\n" not in str(caught.value)


def test_frames_are_exact_in_any_order_and_thread(root):
    source = clip_pictures(root, "train")
    rows = np.random.default_rng(0).permutation(np.arange(len(source)).repeat(3))
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda row: source[row]["image"], rows))
    for row, image in zip(rows, images, strict=True):
        found = np.abs(image.mean() - LEVELS.astype(float)).argmin()
        assert found == source.frames.frame[row]


def test_the_detector_learns_from_them(root):
    config = get_config("tiny")
    config.data.path, config.data.valid = str(root.parent), "films"
    config.data.unlock()
    config.data.sets = {"films": 0.5, "simulated": 0.5}
    feed = feeds.open_feed(config)
    batch = next(feed.train_batches(0))
    mine = ~batch["joint_mask"].all(1)
    assert mine.sum() == 2
    assert (batch["visible"][mine].any(1) <= batch["joint_mask"][mine]).all()
    assert not batch["area_mask"][mine].all((1, 2)).any()  # the surroundings of the person alone
    assert sum(int(held["mask"].sum()) for held in feed.eval_batches()) > 0


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"xy": np.zeros((960, 15, 2))}, "don't fit together"),
        ({"score": np.zeros((960, 15))}, "don't fit together"),
        ({"offsets": np.arange(48) * FRAMES}, "don't fit together"),
        ({"offsets": np.arange(49) * 30}, "don't fit together"),
        ({"offsets": np.r_[0, 19, np.arange(2, 49) * FRAMES]}, "another number of frames"),
        ({"names": np.array([f"sit/{i}" for i in range(48)])}, "has no joints of sit/film10"),
        ({"xy": np.full((960, 17, 2), np.nan)}, "joints that are not numbers"),
        ({"score": np.zeros((960, 17))}, "no frames are left"),
    ],
)
def test_joints_of_something_else_are_one_line(root, arrays, message):
    store(root, **arrays)
    with pytest.raises(DataError, match=message) as caught:
        feeds.picture_source("films", root.parent, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("splits.json", None, r"without splits\.json"),
        ("teacher.npz", None, r"without teacher\.npz"),
        ("splits.json", b"{", "be read as JSON"),
        ("splits.json", b'{"2": {"a": 1}}', "no part '1:train'"),
        ("splits.json", b'{"1": {"other_sit_f_0": 1}}', "in splits.json, but no such clip"),
        ("splits.json", b'{"1": {"film1_sit_f_0": 2}}', "no clips are left"),
        ("teacher.npz", b"PK", r"not a readable \.npz file"),
        ("clips/sit/film10_sit_f_0.mp4", b"no video", "film10_sit_f_0"),
    ],
)
def test_missing_and_damaged_files_are_one_line(root, file, content, message):
    (root / file).unlink()
    if content is not None:
        (root / file).write_bytes(content)
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        feeds.picture_source("films", root.parent, "train")
    assert "\n" not in str(caught.value)


def test_bad_clips_are_left_out_where_that_is_asked_for(root):
    whole = clip_pictures(root, "trainvalid")
    (root / "clips" / "sit" / "film10_sit_f_0.mp4").write_bytes(b"no video")
    table = np.load(root / "teacher.npz")
    row = table["names"].tolist().index("walk/film10_walk_f_0") * FRAMES
    xy = table["xy"].copy()
    xy[row : row + FRAMES] = np.inf
    store(root, xy=xy)
    source = clip_pictures(root, "trainvalid", on_bad="skip")
    assert {name.split("/")[1] for name in whole.frames.clips.names} - {
        source.frames.clips.names[row].split("/")[1] for row in source.frames.clip
    } == {"film10_sit_f_0", "film10_walk_f_0"}
    assert len(source.bad) == 2
    assert source.left_out["joints that are not numbers"] == 1


def test_no_test_clip_of_jhmdb_gives_a_picture():
    root = shared("data/jhmdb")
    split = json.loads((root / "splits.json").read_text())["1"]
    train, valid = clip_pictures(root, "train"), clip_pictures(root, "valid")
    used = [
        source.frames.clips.names[row] for source in (train, valid) for row in source.frames.clip
    ]
    assert {split[name.partition("/")[2]] for name in used} == {1}
    held = {group(f"{name.partition('/')[0]}/{name.partition('/')[2]}") for name in used}
    test = {f"{f.parent.name}/{f.stem}" for f in root.glob("clips/*/*.mp4") if split[f.stem] == 2}
    assert not held & {group(name) for name in test}
    assert (len(train), len(valid)) == (2440, 299)
    films = [
        {source.frames.clips.groups[row].split("/")[1] for row in source.frames.clip}
        for source in (train, valid)
    ]
    assert not films[0] & films[1]
    row = 1234
    example = train[row]
    frames = list(video.open_video(train.frames.clips.files[train.frames.clip[row]]).iter_frames())
    np.testing.assert_array_equal(example["image"], frames[train.frames.frame[row]])
