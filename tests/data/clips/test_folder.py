"""Clip folders: layouts, splits, bad clips, joints, sampled frames, validation by group."""

import functools
import json

import numpy as np
import pytest

from bodyjax import skeleton
from bodyjax.data import sampling, sets, video
from bodyjax.data.clips.folder import ClipFolder, clips, group, read_frames, sample
from bodyjax.data.sequences import array_sets
from bodyjax.data.stream import Stream
from bodyjax.errors import ConfigError, DataError, VideoError
from tests import labelled_clips
from tests.data import make_videos
from tests.shared import shared


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The bytes of a clip of 12 frames, 32 x 24, that get brighter."""
    file = tmp_path_factory.mktemp("clip") / "a.mp4"
    levels = np.linspace(20, 220, 12).astype(np.uint8)
    video.write_video(file, [np.full((24, 32, 3), level, np.uint8) for level in levels], 10)
    return file.read_bytes()


def fill(root, data: bytes, *names: str):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_plain_folder(tmp_path, clip):
    fill(tmp_path, clip, "wave/a.mp4", "wave/b.mp4", "clap/c.mp4")
    (tmp_path / "wave" / "notes.txt").write_text("not a clip")
    source = clips(tmp_path, "all")
    assert source.names == ("clap/c", "wave/a", "wave/b")
    assert source.classes == ("clap", "wave")
    np.testing.assert_array_equal(source.labels, [0, 1, 1])
    np.testing.assert_array_equal(source.lengths, 12)
    np.testing.assert_array_equal(source.sizes, [[32, 24]] * 3)
    assert not source.heldout.any()
    with pytest.raises(ConfigError, match="no splits"):
        clips(tmp_path, "train")


def test_parts_in_folders(tmp_path, clip):
    fill(tmp_path, clip, "train/wave/0.mp4", "train/clap/1.mp4", "valid/wave/2.mp4")
    fill(tmp_path, clip, "test/clap/3.mp4")
    assert clips(tmp_path, "train").names == ("clap/1", "wave/0")
    test = clips(tmp_path, "test")
    np.testing.assert_array_equal(test.labels, [0])  # classes are those of all parts
    assert test.heldout.all()
    np.testing.assert_array_equal(clips(tmp_path, "all").heldout, [False, False, False, True])
    with pytest.raises(ConfigError, match=r"no part '1:test'.*there are train, valid, test"):
        clips(tmp_path, "1:test")


def test_numbered_splits(tmp_path, clip):
    fill(tmp_path, clip, "clips/wave/a.mp4", "clips/wave/b.mp4", "clips/clap/c.mp4")
    splits = {"classes": ["clap", "wave"], "1": {"a": 1, "b": 2, "c": 1}, "2": {"a": 2, "b": 1}}
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    assert clips(tmp_path, "1:train").names == ("clap/c", "wave/a")
    second = clips(tmp_path, "2:test")
    assert second.names == ("wave/a",)
    assert second.heldout.all()
    assert second.left_out == {"not in splits.json": 1}
    np.testing.assert_array_equal(clips(tmp_path, "all").heldout, [False, True, True])
    np.testing.assert_array_equal(clips(tmp_path, "1:all").heldout, [False, False, True])
    np.testing.assert_array_equal(clips(tmp_path, "2:all").heldout, [False, True, False])
    with pytest.raises(ConfigError, match="1:train"):
        clips(tmp_path, "3:train")
    with pytest.raises(ConfigError, match="no part 'test'"):
        clips(tmp_path, "test")
    del splits["2"]
    splits["1"]["gone"] = 1
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    assert clips(tmp_path, "test").names == ("wave/b",)  # one split needs no number
    with pytest.raises(DataError, match=r"gone: in splits\.json, but no such clip"):
        clips(tmp_path, "1:train")
    assert len(clips(tmp_path, "1:train", on_bad="skip").bad) == 1
    (tmp_path / "splits.json").write_text('{"1": {"a": 5}}')
    with pytest.raises(DataError, match=r"splits\.json: a: a side other than"):
        clips(tmp_path, "1:train")


def test_bad_clips_are_named_once_and_counted(tmp_path, clip):
    fill(tmp_path, clip, "wave/good.mp4", "clap/fine.mp4")
    fill(tmp_path, clip[: len(clip) // 3], "wave/cut.mp4")
    fill(tmp_path, b"", "wave/empty.mp4")
    fill(tmp_path, b"hello", "clap/text.avi")
    with pytest.raises(VideoError, match=r"text\.avi.*data\.on_bad=\"skip\""):
        clips(tmp_path, "all")
    source = clips(tmp_path, "all", on_bad="skip")
    assert source.names == ("clap/fine", "wave/good")
    assert sum(source.left_out.values()) == 3
    for name in ("cut.mp4", "empty.mp4", "text.avi"):
        assert sum(name in line for line in source.bad) == 1
    assert source.fingerprint == source.take(np.arange(2)).fingerprint  # the good list alone


def test_damage_in_the_middle_of_a_clip_is_found_before_training(tmp_path, clip):
    fill(tmp_path, clip, "wave/good.mp4", "clap/fine.mp4")
    whole = make_videos.encode(tmp_path / "whole.mp4", 60, *make_videos.X264, "-g", "12")
    noise = ("-bsf:v", "noise=amount=eq(n\\,27)*20")
    make_videos.recut(whole, tmp_path / "wave" / "damaged.mp4", *noise)
    whole.unlink()
    source = clips(tmp_path, "all", on_bad="skip")
    assert source.names == ("clap/fine", "wave/good")
    (line,) = source.bad
    assert "damaged.mp4" in line
    with pytest.raises(VideoError, match=r"damaged\.mp4: frame 2\d: is damaged"):
        list(video.open_video(clips(tmp_path, "all").files[1]).iter_frames())


def test_empty_classes_unknown_labels_and_no_folders(tmp_path, clip):
    with pytest.raises(DataError, match="no class folders"):
        clips(tmp_path, "all")
    with pytest.raises(DataError, match="no such folder"):
        clips(tmp_path / "gone", "all")
    fill(tmp_path, clip, "wave/a.mp4")
    (tmp_path / "clap").mkdir()
    with pytest.raises(DataError, match="clap: a class without clips"):
        clips(tmp_path, "all")
    fill(tmp_path, clip, "clap/b.mp4")
    with pytest.raises(DataError, match="unknown class clap"):
        clips(tmp_path, "all", classes=("wave", "jump"))
    known = clips(tmp_path, "all", classes=("wave", "jump", "clap"))
    np.testing.assert_array_equal(known.labels, [2, 0])
    for label in ("wave", "clap"):
        for file in (tmp_path / label).iterdir():
            file.write_bytes(b"broken")
    with pytest.raises(DataError, match="no clips are left"):
        clips(tmp_path, "all", on_bad="skip")


def test_sampled_frames_are_those_of_the_clip(tmp_path, clip):
    source = clips(fill(tmp_path, clip, "wave/a.mp4"), "all")
    whole = read_frames(source[0], np.arange(12))
    for mode in ("start", "middle", "end", "random", "frames"):
        out = sample(source[0], 4, mode, np.random.default_rng(1))
        np.testing.assert_array_equal(out["frames"], whole[out["numbers"]])
        assert (np.diff(out["numbers"]) > 0).all()
        assert "path" not in out
    middle = sampling.segment_frames(12, 4, "middle")
    np.testing.assert_array_equal(sample(source[0], 4, "middle")["numbers"], middle)
    assert "frames" not in sample(source[0], 4, "middle", pixels=False)
    stored = {**source[0], "video": np.frombuffer(clip, np.uint8)}
    np.testing.assert_array_equal(read_frames(stored, np.array([3, 9])), whole[[3, 9]])


def test_a_clip_that_breaks_later_names_itself(tmp_path, clip):
    source = clips(fill(tmp_path, clip, "wave/a.mp4", "wave/b.mp4"), "all")
    (tmp_path / "wave" / "b.mp4").write_bytes(b"broken now")
    transform = functools.partial(_middle, count=2)
    with pytest.raises(DataError, match=r"wave/b\.mp4"):
        next(Stream(source, transform, seed=0, batch_size=2).train_batches(0))


def _middle(example: dict, rng: np.random.Generator, count: int) -> dict:
    return sample(example, count, "random", rng)


def test_groups_are_class_and_source_video():
    assert group("wave/Film_1_wave_u_nm_np1") == "wave/Film_1"
    assert group("wave/a_wave_b_wave_c") == "wave/a_wave_b"
    assert group("wave/00012") == "wave/00012"
    assert group("clap/Film_1_wave_u") == "clap/Film_1_wave_u"


def test_validation_shares_no_group(tmp_path, clip):
    names = [f"{c}/s{s}_{c}_{i}.mp4" for c in ("wave", "clap") for s in range(7) for i in range(2)]
    source = clips(fill(tmp_path, clip, *names), "all")
    for seed in range(3):
        train, valid = sets.validation_split(source, 1 / 6, seed)
        assert len(train) + len(valid) == len(source)
        assert not set(train.groups) & set(valid.groups)
        assert set(valid.labels) == {0, 1}
        assert 2 <= len(valid) <= 8
    again = sets.validation_split(source, 1 / 6, 0)[1]
    assert again.names == sets.validation_split(source, 1 / 6, 0)[1].names
    with pytest.raises(ConfigError):
        sets.validation_split(source, 0.9)


def test_joints_of_labelled_clips(tmp_path, clip):
    source_of = functools.partial(clips, fill(tmp_path, clip, "wave/a.mp4"), "all", joints=True)
    with pytest.raises(DataError, match=r"a\.json: no such label file"):
        source_of()[0]
    label = {
        "joints": list(skeleton.get("coco17").joints),
        "xy": np.arange(12 * 17 * 2).reshape(12, 1, 17, 2).tolist(),
        "visible": np.full((12, 1, 17), 2).tolist(),
    }
    (tmp_path / "wave" / "a.json").write_text(json.dumps(label))
    example = source_of()[0]
    assert example["xy"].shape == (12, 1, 18, 2)
    out = sample(example, 3, "start", pixels=False)
    np.testing.assert_array_equal(out["xy"], example["xy"][out["numbers"]])
    label["xy"] = label["xy"][:5]
    label["visible"] = label["visible"][:5]
    (tmp_path / "wave" / "a.json").write_text(json.dumps(label))
    with pytest.raises(DataError, match="12 frames and joints of 5"):
        source_of()[0]


def test_joints_that_lie_beside_all_clips_or_none_are_found(tmp_path, clip):
    bare = clips(fill(tmp_path / "bare", clip, "wave/a.mp4"), "all")
    assert bare.with_joints() is bare
    root = labelled_clips.write(tmp_path / "labelled", "wave/a", "wave/b")
    plain = clips(root, "all")
    found = plain.take(np.array([1])).with_joints()
    assert found[0]["xy"].shape == (8, 1, 18, 2)
    assert found.fingerprint != plain.take(np.array([1])).fingerprint
    (root / "wave/b.json").unlink()
    with pytest.raises(DataError, match=r"b\.mp4: this clip and 0 more have no joints"):
        plain.with_joints()


def test_movements_of_a_clip_stand_in_labels_json(tmp_path, clip):
    fill(tmp_path, clip, "train/wave/0.mp4", "train/clap/1.mp4", "train/clap/2.mp4")
    fill(tmp_path, clip, "test/wave/0.mp4")
    file = tmp_path / "train/labels.json"
    file.write_text(json.dumps({"wave/0": ["wave", "clap"], "clap/2": []}))
    source = clips(tmp_path, "train", several=True)
    np.testing.assert_array_equal(source.several, [[1, 0], [0, 0], [1, 1]])
    np.testing.assert_array_equal(source.take(np.array([2, 0]))[0]["label"], [1, 1])
    np.testing.assert_array_equal(clips(tmp_path, "test", several=True).several, [[0, 1]])
    np.testing.assert_array_equal(
        clips(tmp_path, "all", several=True).several, [[1, 0], [0, 0], [1, 1], [0, 1]]
    )
    assert source.fingerprint != clips(tmp_path, "train").fingerprint
    for content, message in (
        ('{"wave/9": []}', "wave/9: no such clip"),
        ('{"wave/0": ["jump"]}', "wave/0: unknown class 'jump'; known: clap, wave"),
        ("[1]", "not a file of labels"),
    ):
        file.write_text(content)
        with pytest.raises(DataError, match=message):
            clips(tmp_path, "train", several=True)


def test_labels_lie_beside_the_class_folders_of_clips(tmp_path, clip):
    fill(tmp_path, clip, "clips/wave/a.mp4", "clips/clap/b.mp4")
    (tmp_path / "clips/labels.json").write_text('{"clap/b": ["clap", "wave"]}')
    np.testing.assert_array_equal(clips(tmp_path, "all", several=True).several, [[1, 1], [0, 1]])


@pytest.mark.parametrize("name", ["val/wave/c.mp4", "train/wave/deep/c.mp4"])
def test_clips_where_none_are_looked_for_are_not_lost_in_silence(tmp_path, clip, name):
    fill(tmp_path, clip, "train/wave/a.mp4", "train/clap/b.mp4", name)
    with pytest.raises(DataError, match=r"holds clips beside the parts|not deeper"):
        clips(tmp_path, "train")


def test_joints_beside_clips_belong_to_the_data(tmp_path):
    root = labelled_clips.write(tmp_path, "wave/a", "wave/b")
    before = clips(root, "all", joints=True).fingerprint
    assert clips(root, "all", joints=True).fingerprint == before
    file = root / "wave/b.json"
    file.write_text(file.read_text() + "\n")
    assert clips(root, "all", joints=True).fingerprint != before


def test_labels_of_split_clips_may_be_of_the_other_side(tmp_path, clip):
    fill(tmp_path, clip, "clips/wave/a.mp4", "clips/clap/b.mp4")
    (tmp_path / "splits.json").write_text('{"1": {"a": 1, "b": 2}}')
    (tmp_path / "labels.json").write_text('{"clap/b": ["clap", "wave"]}')
    np.testing.assert_array_equal(clips(tmp_path, "1:train", several=True).several, [[0, 1]])
    np.testing.assert_array_equal(clips(tmp_path, "1:test", several=True).several, [[1, 1]])


# ------------------------------------------------------------------------------------- real clips


@pytest.fixture(scope="module")
def jhmdb() -> ClipFolder:
    return clips(shared("data/jhmdb"), "1:test", joints=True)


def test_jhmdb_as_its_readme_has_it(jhmdb):
    folder = shared("data/jhmdb")
    assert len(jhmdb) == 268
    assert len(jhmdb.classes) == 21
    assert jhmdb.heldout.all()
    splits = json.loads((folder / "splits.json").read_text())
    names = [file.stem for file in (folder / "clips").glob("*/*.mp4")]
    groups = {group(f"{f.parent.name}/{f.stem}") for f in (folder / "clips").glob("*/*.mp4")}
    assert (len(names), len(groups)) == (928, 410)
    stems = {name.partition("/")[2] for name in jhmdb.names}
    assert stems == {name for name, side in splits["1"].items() if side == 2}


def test_jhmdb_teacher_joints_are_half_a_pixel_lower(jhmdb):
    folder = shared("data/jhmdb")
    table = np.load(folder / "teacher.npz")
    names = [str(name) for name in table["names"]]
    row = names.index(jhmdb.names[7])
    first, last = table["offsets"][row : row + 2]
    example = jhmdb[7]
    assert len(example["xy"]) == last - first == example["length"]
    nose = table["xy"][first:last, 0].astype(np.float32) - 0.5
    np.testing.assert_array_equal(example["xy"][:, 0, 0], nose)
    np.testing.assert_array_equal(
        example["score"][:, 0, 0], table["score"][first:last, 0].astype(np.float32)
    )


def test_pushfit_videos_have_a_frame_for_every_row_of_joints():
    source = array_sets.VIDEOS["pushfit"](shared("data/pushfit"))
    table = np.load(shared("data/pushfit") / "joints.npz")
    assert len(source) == 209
    assert int(source.labels.sum()) == 111
    assert len(set(source.groups.tolist())) == 42
    np.testing.assert_array_equal(source.lengths, np.diff(table["offsets"]))
