"""Stored maps on disk: rows read back as written; damaged and foreign files are refused."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from bodyjax.data import affine, feeds
from bodyjax.data.pictures import map_store
from bodyjax.data.pictures.map_store import Form, MapStore, Record
from bodyjax.data.pictures.simulated import SimulatedPictures
from bodyjax.data.pictures.teacher import TaughtByMaps, with_maps
from bodyjax.errors import ConfigError, DataError
from tests.data.test_feeds import write_lsp
from tests.picture_sets import coco_set

FORM = Form("body18", 8, 32)
SETTINGS = {"flip": False, "scales": [1.0]}
CANVAS = affine.fit((60, 64), (32, 32))


def drawn(number):
    """Maps of numbers that are no multiples of the step."""
    return np.random.default_rng(number).uniform(-1, 1, FORM.shape).astype(np.float32)


def record_of(source, **changes):
    names, stamps = map_store.pictures_of(source)
    whole = Record("small", "ab" * 32, FORM, SETTINGS, "lspet", "train", len(names),
                   map_store.fingerprint(names, stamps))  # fmt: skip
    return dataclasses.replace(whole, **changes)


def fill(folder, source, shards):
    names, stamps = map_store.pictures_of(source)
    for number in shards:
        chosen = map_store.rows_of(number, len(names))
        rows = [
            {"name": names[i], "stamp": stamps[i], "id": i, "matrix": CANVAS.tolist()}
            for i in chosen
        ]
        maps = [map_store.packed(drawn(i)) for i in chosen]
        map_store.write_shard(folder, number, rows, maps)


@pytest.fixture
def source(tmp_path):
    write_lsp(tmp_path / "lspet", [number for number in range(1, 128) if number % 10])
    return feeds.picture_source("lspet", tmp_path, "trainvalid")


@pytest.fixture
def folder(tmp_path, source, monkeypatch):
    """A whole store of two full shards and one of the rest."""
    monkeypatch.setattr(map_store, "ROWS", 50)
    folder = tmp_path / "maps" / "lspet"
    names, _ = map_store.pictures_of(source)
    missing = map_store.begin(folder, record_of(source), names)
    assert missing == [0, 1, 2]
    fill(folder, source, missing)
    return folder


def test_what_is_written_is_read_by_row(folder, source):
    store = pickle.loads(pickle.dumps(MapStore(folder)))  # as worker processes get it
    names, _ = map_store.pictures_of(source)
    assert len(names) == 115
    for i in (114, 0, 49, 50):
        maps, matrix = store.read(names[i])
        assert maps.dtype == np.float16
        assert np.abs(maps - drawn(i)).max() <= map_store.STEP / 2
        assert (maps * 2048 % 1 == 0).all()
        np.testing.assert_array_equal(matrix, CANVAS)
    assert store.record == record_of(source)


def test_empty_maps_take_no_room():
    maps = drawn(0) / 5000
    assert not np.any(np.frombuffer(map_store.packed(maps), np.uint8))
    assert np.array_equal(map_store.unpacked(map_store.packed(maps), FORM.shape), 0 * maps)


def test_equal_maps_are_equal_files(folder, source):
    before = map_store.shard(folder, 1).read_bytes()
    fill(folder, source, [1])
    assert map_store.shard(folder, 1).read_bytes() == before


def test_a_stopped_run_goes_on_where_it_was(folder, source):
    names, _ = map_store.pictures_of(source)
    assert map_store.begin(folder, record_of(source), names) == []
    map_store.shard(folder, 0).unlink()
    whole = map_store.shard(folder, 2).read_bytes()
    map_store.shard(folder, 2).write_bytes(whole[:-100])
    elsewhere = record_of(source, teacher="runs/the_same_weights")
    assert map_store.begin(folder, elsewhere, names) == [0, 2]
    fill(folder, source, [0, 2])
    assert map_store.shard(folder, 2).read_bytes() == whole
    with_maps(source, MapStore(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "cd" * 32}, r"holds other maps \(sha256 abababababab... -> cdcdcdcdcdcd"),
        ({"form": dataclasses.replace(FORM, size=64)}, r"'size': 32\} -> .*'size': 64\}\)"),
        ({"settings": {**SETTINGS, "flip": True}}, "'flip': False.* -> .*'flip': True"),
        ({"fingerprint": "ef" * 32}, "fingerprint .* -> efefefefefef"),
    ],
)
def test_other_maps_are_not_mixed_in(folder, source, changes, message):
    names, _ = map_store.pictures_of(source)
    with pytest.raises(DataError, match=message) as caught:
        map_store.begin(folder, record_of(source, **changes), names)
    assert "\n" not in str(caught.value)


def test_folders_of_other_things_are_left_alone(tmp_path, source):
    names, _ = map_store.pictures_of(source)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        map_store.begin(tmp_path / "notes", record_of(source), names)
    with pytest.raises(DataError, match="is a file"):
        map_store.begin(tmp_path / "notes" / "mine.txt", record_of(source), names)
    with pytest.raises(DataError, match="holds no stored maps"):
        MapStore(tmp_path / "notes")


def test_maps_of_other_pictures_are_refused(tmp_path, folder, source):
    coco_set(tmp_path / "multi", [[]] * 4)
    other = feeds.picture_source("multi", tmp_path, "all")
    with pytest.raises(DataError, match=r"maps of another set.*made of lspet"):
        with_maps(other, MapStore(folder))
    map_store.shard(folder, 1).unlink()
    with pytest.raises(DataError, match=r"im00056.png: maps of 50 of 115 pictures are missing"):
        with_maps(source, MapStore(folder))
    names, stamps = map_store.pictures_of(source)
    with pytest.raises(DataError, match=r"im00001.png: .*another version .*\(1 pictures differ"):
        MapStore(folder).check(names, ["1", *stamps[1:]])


def test_damage_is_told_with_file_and_picture(folder, source):
    names, _ = map_store.pictures_of(source)
    file = map_store.shard(folder, 0)
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 64]) + whole[middle + 1 :])
    store = MapStore(folder)
    with pytest.raises(DataError, match=r"00000\.zip/\d+: damaged"):
        [store.read(name) for name in names[:50]]
    file.write_bytes(whole[:-1000])
    with pytest.raises(DataError, match=r"00000\.zip: not a readable zip archive"):
        MapStore(folder)
    map_store.write_shard(folder, 0, [{"name": "a"}], [b""])
    with pytest.raises(DataError, match=r"00000\.zip: not a shard of stored maps"):
        MapStore(folder)
    row = {"name": names[0], "stamp": "1", "id": 0, "matrix": CANVAS.tolist()}
    map_store.write_shard(folder, 0, [row], [b"few"])
    with pytest.raises(DataError, match=r"im00001.png: maps are not \(4, 4, 56\)"):
        MapStore(folder).read(names[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable record"),
        ("[]", "not a readable record"),
        ('{"format": 2}', "is of format 2, not 1"),
        ('{"format": 1, "form": {}}', "not a readable record"),
    ],
)
def test_damaged_records(folder, text, message):
    (folder / map_store.RECORD).write_text(text)
    with pytest.raises(DataError, match=rf"record.json: {message}"):
        MapStore(folder)


def test_the_record_says_all_of_itself(folder, source):
    lines = json.loads((folder / map_store.RECORD).read_text())
    assert lines["form"] == {"skeleton": "body18", "stride": 8, "size": 32}
    assert (lines["set"], lines["part"], lines["pictures"]) == ("lspet", "train", 115)


def test_pictures_that_are_drawn_anew_have_none():
    with pytest.raises(ConfigError, match="simulated pictures have no stored maps"):
        map_store.pictures_of(SimulatedPictures("train", 4))


def test_examples_bring_maps_and_how_they_move(folder, source):
    taught = with_maps(source, MapStore(folder))
    assert taught.fingerprint != source.fingerprint
    assert not taught.heldout.any()
    crop = feeds.TrainPicture((64, 64), 8, 1, {})
    transform = TaughtByMaps(crop, FORM)
    out = transform(taught[7], np.random.default_rng(0))
    np.testing.assert_array_equal(out["teacher_maps"], MapStore(folder).read(taught.names[7])[0])
    assert out["teacher_known"]
    corner = affine.move(np.array([[3.0, 5.0]]), CANVAS)
    expected = affine.move(np.array([[3.0, 5.0]]), out["matrix"])
    np.testing.assert_allclose(affine.move(corner, out["teacher_matrix"]), expected, atol=1e-3)
    none = transform(source[7], np.random.default_rng(0))
    assert not none["teacher_known"]
    assert not none["teacher_maps"].any()
    for name, array in out.items():
        assert (array.shape, array.dtype) == (none[name].shape, none[name].dtype), name
