"""Prepared sets hold exactly what was written, are read by TFDS alone, and need no tensorflow."""

import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from bodyjax import skeleton
from bodyjax.data import pictures, prepared, prepared_shards, sets, video
from bodyjax.data.clips import folder as clips
from bodyjax.data.prepared import Prepared
from bodyjax.data.stream import Stream
from bodyjax.errors import ConfigError, DataError
from tests.picture_sets import people_set


class Arrays:
    """Five rows of fixed shape."""

    fingerprint, labels, groups = "arrays", np.arange(5), np.array(list("aabbc"))
    classes = ("v", "w", "x", "y", "z")
    heldout = np.array([False, False, False, True, True])
    names = tuple("pqrst")
    bad = ()

    @property
    def left_out(self) -> dict:
        return {}

    def name(self, index: int) -> str:
        return self.names[index]

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict:
        return {"x": np.full((3, 2), index, np.float32), "label": np.int32(index)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def arrays(folder):
    return prepared.write({"train": Arrays()}, folder, "arrays")


def same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert np.asarray(one[name]).dtype == np.asarray(other[name]).dtype
        np.testing.assert_array_equal(one[name], other[name])


def test_arrays_come_back(folder, arrays):
    source = Prepared(arrays, "train")
    assert arrays == folder / "arrays" / "1.0.0"
    assert len(source) == 5
    assert sorted(source.names) == list("pqrst")
    for i in range(5):
        row = Arrays.names.index(source.names[i])
        same(source[i], Arrays()[row])
        assert source.labels[i] == row
        assert source.groups[i] == Arrays.groups[row]
        assert source.heldout[i] == Arrays.heldout[row]
    assert source.classes == Arrays.classes


class Stops(Arrays):
    """Rows that can be read only a few times, as by a run that is stopped."""

    def __init__(self, reads: int) -> None:
        self.reads, self.read = reads, []

    def __getitem__(self, index: int) -> dict:
        if len(self.read) == self.reads:
            raise KeyboardInterrupt
        self.read.append(index)
        return super().__getitem__(index)


def test_a_stopped_run_resumes_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_shards, "ROWS", 2)
    whole = prepared.write({"train": Arrays()}, tmp_path / "whole", "arrays")
    first, second = Stops(1 + 3), Stops(100)  # the first read is for the form
    with pytest.raises(KeyboardInterrupt):
        prepared.write({"train": first}, tmp_path, "arrays")
    unfinished = tmp_path / "arrays" / "1.0.0.unfinished"
    assert len(list(unfinished.glob("*.array_record-*"))) == 1
    assert not (tmp_path / "arrays" / "1.0.0").exists()

    class Other(Arrays):
        fingerprint = "other"

    with pytest.raises(DataError, match="is an unfinished set of other data"):
        prepared.write({"train": Other()}, tmp_path, "arrays")
    path = prepared.write({"train": second}, tmp_path, "arrays")
    order = prepared_shards.order("train", 5).tolist()
    assert first.read[1:] == order[:3]
    assert second.read[1:] == order[2:]  # the finished shard is not read again
    assert sorted(file.name for file in path.iterdir()) == sorted(
        file.name for file in whole.iterdir()
    )
    for file in whole.glob("*.array_record-*"):
        assert (path / file.name).read_bytes() == file.read_bytes()
    source = Prepared(path, "train")
    assert [int(source[i]["label"]) for i in range(5)] == order
    assert not unfinished.exists()


def test_features_lie_in_one_order_in_every_process(tmp_path):
    from array_record.python import array_record_module

    names = [f"feature_{letter}" for letter in "gbhadfce"]

    class Wide(Arrays):
        def __getitem__(self, index: int) -> dict:
            return {name: np.int32(index) for name in names}

    path = prepared.write({"train": Wide()}, tmp_path, "wide")
    reader = array_record_module.ArrayRecordReader(str(next(path.glob("*.array_record*"))))
    for record in reader.read_all():
        places = [record.index(name.encode()) for name in sorted(names)]
        assert places == sorted(places)


def test_pickled_sources_read_the_same(arrays):
    source = Prepared(arrays, "train")
    source[0]
    again = pickle.loads(pickle.dumps(source))
    same(again[2], source[2])
    assert again.fingerprint == source.fingerprint


def test_some_rows_of_a_prepared_set(arrays):
    source = Prepared(arrays, "train")
    some = source.take(np.array([3, 1]))
    same(some[0], source[3])
    same(some[1], source[1])
    assert some.names == (source.names[3], source.names[1])
    assert list(some.labels) == [source.labels[3], source.labels[1]]
    assert some.fingerprint != source.fingerprint


def test_held_out_rows_stay_held_out(arrays):
    with pytest.raises(DataError, match="2 held-out"):
        Stream(Prepared(arrays, "train"), lambda e, r: e, seed=0, batch_size=1)


def test_tfds_reads_the_set_and_no_tensorflow_is_loaded(arrays):
    program = f"""
import sys, tensorflow_datasets as tfds
data = tfds.builder_from_directory({str(arrays)!r}).as_data_source("train")
assert sorted(int(data[i]["label"]) for i in range(len(data))) == list(range(5))
from bodyjax.data import prepared, sets, pictures, clips, augment, sequences, stream
assert len(prepared.Prepared({str(arrays)!r}, "train")) == 5
assert not {{"tensorflow", "jax", "grain"}} & set(sys.modules), "too much is loaded"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_pictures_keep_their_bytes(folder, tmp_path):
    rng = np.random.default_rng(0)
    joints = rng.uniform(5, 40, (6, 14, 2)).astype(np.float32)
    np.savez(tmp_path / "labels.npz", ids=np.arange(6), joints=joints, labelled=joints[..., 0] > 10)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for i in range(6):
            size = (30 + i, 50)
            picture = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))
            with archive.open(f"im{i}.webp", "w") as file:
                picture.save(file, "WEBP", quality=70)
    parts = {part: pictures.lsp(tmp_path, part) for part in ("train", "valid", "test")}
    path = prepared.write(parts, folder, "lsp")
    for part, original in parts.items():
        source = Prepared(path, part)
        assert sorted(source.names) == sorted(original.names)
        assert source.heldout.all() == (part == "test")
        for i in range(len(source)):
            same(source[i], original[original.names.index(source.names[i])])
    assert sets.recognise(path) == "prepared"
    assert len({Prepared(path, part).fingerprint for part in parts}) == 3
    assert len(Prepared(path, "all")) == 6
    assert Prepared(path, "all").heldout.sum() == len(parts["test"])
    assert sets.parts(path) == {"test": "test", "train": "train", "valid": "valid"}
    with pytest.raises(DataError, match=r"no split 'other'.*there are test, train, valid, all"):
        Prepared(path, "other")


def test_clips_keep_their_bytes_and_joints(folder, tmp_path):
    for i, label in enumerate(("wave", "clap")):
        (tmp_path / label).mkdir()
        frames = np.random.default_rng(i).integers(0, 256, (6 + i, 16, 32, 3), np.uint8)
        video.write_video(tmp_path / label / "0.mp4", frames, 10)
        shape = (6 + i, 1 + i, 17)  # lengths and numbers of people differ
        stored = {
            "joints": list(skeleton.get("coco17").joints),
            "xy": np.random.default_rng(i).uniform(0, 30, (*shape, 2)).tolist(),
            "visible": np.full(shape, 2).tolist(),
        }
        (tmp_path / label / "0.json").write_text(json.dumps(stored))
    original = clips.clips(tmp_path, "all", joints=True)
    source = Prepared(prepared.write({"train": original}, folder, "clips"), "train")
    assert source.classes == ("clap", "wave")
    for i in range(2):
        row = original.names.index(source.names[i])
        one, other = source[i], original[row]
        expected = clips.sample(other, 3, "middle")
        got = clips.sample(one, 3, "middle")
        same(got, expected)


def test_what_can_not_be_prepared_or_read(folder, arrays, tmp_path):
    with pytest.raises(DataError, match="is there already"):
        prepared.write({"train": Arrays()}, folder, "arrays")

    with pytest.raises(DataError, match="splits can't be called"):
        prepared.write({"all": Arrays()}, folder, "other")

    class Other(Arrays):
        def __getitem__(self, index: int) -> dict:
            return {"y": np.zeros(3)}

    with pytest.raises(DataError, match="differ in form"):
        prepared.write({"train": Arrays(), "test": Other()}, tmp_path, "mixed")
    with pytest.raises(DataError, match="0 prepared sets"):
        Prepared(tmp_path, "train")


def test_a_damaged_record_is_named(tmp_path):
    path = prepared.write({"train": Arrays()}, tmp_path, "arrays")
    file = next(path.glob("*.array_record*"))
    data = bytearray(file.read_bytes())
    for place in range(64, min(len(data), 6000), 97):
        data[place] ^= 0xFF
    file.write_bytes(data)
    source = Prepared(path, "train")
    with pytest.raises(DataError, match="arrays"):
        [source[i] for i in range(5)]


def test_pictures_keep_their_skeleton_and_are_converted_when_read(tmp_path):
    lens = np.tile([50.0, 50.0, 25.5, 20.5], (4, 1))
    xyz = np.random.default_rng(0).normal(size=(4, 17, 3))
    people_set(tmp_path / "set", coco_3d=xyz, image_K=lens)
    source = pictures.people(tmp_path / "set", "train")
    written = prepared.write({"train": source}, tmp_path, "rendered")
    stored = Prepared(written, "train")
    assert stored.skeleton is skeleton.COCO17
    moved = stored.to(skeleton.BODY18)
    assert moved.fingerprint != stored.fingerprint
    again = pickle.loads(pickle.dumps(moved))
    for i, name in enumerate(stored.names):
        row = source.names.index(name)
        same(stored[i], source[row])
        same(again[i], source.to(skeleton.BODY18)[row])
    with pytest.raises(ConfigError, match="joints of coco17, none of which"):
        stored.to(skeleton.make("claws", "left_claw right_claw", "left_claw-right_claw"))


def test_sets_that_do_not_say_their_skeleton_are_of_body18(tmp_path):
    people_set(tmp_path / "set")
    source = pictures.people(tmp_path / "set", "train").to(skeleton.BODY18)
    written = prepared.write({"train": source}, tmp_path, "older")
    rows = written / prepared.ROWS_FILE.format(split="train")
    arrays = dict(np.load(rows))
    del arrays["skeleton"]
    np.savez(rows, **arrays)
    stored = Prepared(written, "train")
    assert stored.skeleton is skeleton.BODY18
    assert stored.to(skeleton.BODY18).fingerprint == stored.fingerprint
