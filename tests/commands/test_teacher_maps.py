"""From a detector to its stored maps to a student that learns from them, by the launchers."""

import json
import zipfile

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from bodyjax import detect
from bodyjax.commands import prepare, train
from bodyjax.data import feeds
from bodyjax.data.pictures import map_store
from bodyjax.data.pictures.map_store import MapStore
from bodyjax.data.pictures.teacher import TaughtByMaps, with_maps
from bodyjax.detect import canvas
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.errors import CheckpointError, ConfigError, DataError, UserError
from bodyjax.systems import moved_maps
from bodyjax.train import start, stored_maps
from tests import tiny_classifier
from tests.picture_sets import coco_set, lsp_set, people_set
from tests.tiny_classifier import DETECTOR

STUDENT = """
from configs import pose

def get_config(variant=""):
    config = pose.get_config("tiny")
    config.unlock()
    config.distill = pose._teacher("", {})
    config.data.valid = "one"
    config.data.sets = {"one": 0.6, "simulated": 0.4}
    config.optimizer.warmup = 1
    config.train.steps = 2
    config.train.log_every = 1
    return config
"""


def weights(folder, seed):
    """A random detector of stride 8 whose maps depend on the picture."""
    config = ConfigDict({"system": "pose", "model": dict(DETECTOR), "train": {}})
    known = tiny_classifier.variables()["frozen"]["detector"]
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda leaf: leaf + 0.01 * rng.normal(size=leaf.shape).astype(leaf.dtype), known["params"]
    )
    variables = {**known, "params": params, "frozen": {}}
    made = checkpoints.Checkpoint(variables, config, "pose", meta={"skeleton": "body18"})
    return checkpoints.export(made, folder, "A test.", dtype="float32")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return weights(tmp_path_factory.mktemp("weights") / "teacher", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """`one`: six pictures, of which the four to train on are stored; `two` are rendered people,
    `three` LSP arrays."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    tables = [[np.concatenate([rng.uniform(5, 35, (17, 2)), np.full((17, 1), 2)], 1)]] * 6
    coco_set(root / "one", tables, split=["train"] * 4 + ["val"] * 2)
    people_set(root / "two")
    joints = rng.uniform(5, 35, (5, 14, 2)).astype(np.float32)
    lsp_set(root / "three", joints, np.ones((5, 14), bool), np.arange(5))
    return root


def words(teacher, data, out, *more):
    return ["--teacher", str(teacher), "--data", str(data), "--out", str(out), *more]


@pytest.fixture(scope="module")
def maps(teacher, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("maps")
    assert prepare.main(words(teacher, data / "one", out, "--size", "64")) == 0
    return out


def test_stored_are_the_network_s_own_maps(teacher, data, maps):
    store, detector = MapStore(maps / "one"), detect.load(teacher, size=64)
    own = checkpoints.load(teacher).variables
    assert store.record.sha256 == stored_maps.digest(start.of_network(own))
    assert store.record.form == map_store.Form("body18", 8, 64)
    source = feeds.picture_source("one", data, "train")
    assert store.record.pictures == len(source) == 4
    run, rng = jax.jit(detector.system.maps), np.random.default_rng(0)
    taught = with_maps(source, store)
    whole_pictures = TaughtByMaps(feeds.WholePicture((64, 64), 8, 3), store.record.form)
    bones, form = detector.skeleton, moved_maps.MapForm(8, 64)
    moved = jax.jit(lambda m, matrix: moved_maps.moved(m, matrix, bones, form, (8, 8), 8))
    for i in range(4):
        found, matrix = store.read(source.names[i])
        pixels, expected = detect.on_canvas(detector, source[i]["image"])
        np.testing.assert_array_equal(matrix, expected)
        own_maps = run(detector.variables, pixels[None])
        whole = canvas.last_stage(own_maps, detector.skeleton)
        both = np.concatenate([whole.heatmaps[0], whole.pafs[0]], -1)
        np.testing.assert_allclose(found, both, atol=2 * map_store.STEP, rtol=2e-3)
        assert np.ptp(found) > 0.01
        # Fitted into the same canvas and not changed otherwise, the student's picture has them too.
        out = whole_pictures(taught[i], rng)
        stays = moved(out["teacher_maps"][None], out["teacher_matrix"][None])
        np.testing.assert_allclose(np.concatenate(stays[:2], -1)[0], found, atol=1e-4)
        assert stays.seen.all()


def test_prepare_says_what_it_stored_and_goes_on(teacher, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(map_store, "ROWS", 3)
    arguments = words(teacher, data / "one", tmp_path, "--size", "64", "--split", "trainvalid")
    assert prepare.main(arguments) == 0
    said = capsys.readouterr().out
    assert "maps: 6 pictures, 6 of them made now" in said
    assert f"stored: {tmp_path / 'one'}" in said
    assert "kB a picture" in said
    shards = sorted((tmp_path / "one").glob("*.zip"))
    before = [file.read_bytes() for file in shards]
    shards[1].unlink()
    assert prepare.main(arguments) == 0
    assert "maps: 6 pictures, 3 of them made now" in capsys.readouterr().out
    assert [file.read_bytes() for file in shards] == before
    assert prepare.main(arguments) == 0
    assert "maps: 6 pictures, 0 of them made now\n" in capsys.readouterr().out


def test_pictures_that_cannot_be_read_are_counted_or_end_it(teacher, tmp_path, capsys):
    people_set(tmp_path / "two")
    (tmp_path / "two" / "images" / "1.png").write_bytes(b"no picture")
    arguments = words(teacher, tmp_path / "two", tmp_path / "maps", "--split", "trainvalid")
    arguments += ["--size", "64"]
    with pytest.raises(DataError, match=r"1\.png: not a readable picture"):
        prepare.main([*arguments, "--on-bad", "raise", "--name", "raised"])
    assert prepare.main(arguments) == 0
    said = capsys.readouterr()
    assert "left out: 1.png: not a readable picture" in said.err
    assert "left out: 1 not a readable picture" in said.out
    assert "maps: 2 pictures" in said.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--size", "128"], r"holds other maps \(form"),
        (["--size", "64", "--flip"], r"holds other maps \(settings"),
        (["--size", "64", "--split", "trainvalid"], r"holds other maps \(part"),
        (["--second", "large"], "--second says nothing about a teacher's maps"),
        (["--count", "4"], "--count says nothing about a teacher's maps"),
        (["--detect", "small"], "--detect says nothing about a teacher's maps"),
        (["--refine", "dark"], "--refine says nothing about a teacher's maps"),
        (["--size", "30"], "30 is less than 32"),
        (["--split", "holdout"], "no part 'holdout'"),
    ],
)
def test_wrong_flags_of_a_teacher_are_one_line(teacher, data, maps, more, message):
    with pytest.raises(UserError, match=message) as caught:
        prepare.main(words(teacher, data / "one", maps, *more))
    assert "\n" not in str(caught.value)


def test_teachers_and_sets_that_are_none(teacher, data, tmp_path):
    with pytest.raises(CheckpointError, match="is of system movement, not pose"):
        prepare.main(words("commands", data / "one", tmp_path))
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        prepare.main(words("smalll", data / "one", tmp_path))
    with pytest.raises(DataError, match="no such file or folder"):
        prepare.main(words(teacher, data / "four", tmp_path))
    with pytest.raises(ConfigError, match="--split belongs to --teacher"):
        prepare.main(["--source", str(data / "one"), "--out", str(tmp_path), "--split", "train"])


@pytest.fixture
def student(data, maps, tmp_path):
    """The flags of a student's training."""
    file = tmp_path / "student.py"
    file.write_text(STUDENT)
    return [
        f"--config={file}", f"--config.data={data}", f"--config.distill.stored={maps}",
        f"--workdir={tmp_path / 'run'}",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_student_learns_from_stored_maps(student, teacher, tmp_path, capsys):
    assert train.main([*student, f"--config.distill.teacher={teacher}"]) == 0
    assert "no stored maps of simulated: labels alone" in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    losses = [line for line in lines if "teacher" in line]
    assert len(losses) == 2
    assert all(line["teacher"] > 0 for line in losses)
    trained = checkpoints.load(tmp_path / "run")
    assert trained.config.distill.maps.to_dict() == {"skeleton": "body18", "stride": 8, "size": 64}
    assert not trained.variables["frozen"]
    assert detect.load(tmp_path / "run").side == 64  # it needs no stored maps any more
    assert "distill" not in start.without_teacher(trained).config


@pytest.mark.parametrize("case", ["network", "missing", "sizes", "set", "cut", "no maps"])
def test_maps_that_do_not_fit_the_training_end_it_at_once(case, student, data, maps, teacher,
                                                         tmp_path):  # fmt: skip
    more, message = [], ""
    if case == "network":
        other = weights(tmp_path / "other", 1)
        more = [f"--config.distill.teacher={other}"]
        message = "distill.teacher: .* is not the network that made the stored maps; they are of"
    elif case == "missing":
        more = ["--config.data.sets={'one': 0.5, 'simulated': 0.5, 'two': 0.0}"]
        (tmp_path / "few").mkdir()
        store = copied(maps / "one", tmp_path / "few" / "one")
        rows = json.loads(zipfile.ZipFile(store / "00000.zip").read("rows.json"))
        blocks = [zipfile.ZipFile(store / "00000.zip").read(str(i)) for i in range(len(rows))]
        map_store.write_shard(store, 0, rows[1:], blocks[1:])
        more += [f"--config.distill.stored={tmp_path / 'few'}"]
        message = "maps of 1 of 4 pictures are missing"
    elif case == "sizes":
        root = tmp_path / "sizes"
        root.mkdir()
        copied(maps / "one", root / "one")
        prepare.main(words(teacher, data / "two", root, "--size", "128"))
        more = [f"--config.distill.stored={root}", "--config.data.sets={'one': 1.0, 'two': 1.0}"]
        message = "has maps of different teachers or sizes"
    elif case == "set":
        root = tmp_path / "set"
        root.mkdir()
        copied(maps / "one", root / "three")
        more = [f"--config.distill.stored={root}", "--config.data.sets={'three': 1.0}"]
        message = "are maps of another set: .*; made of one"
    elif case == "cut":
        root = tmp_path / "cut"
        root.mkdir()
        file = copied(maps / "one", root / "one") / "00000.zip"
        file.write_bytes(file.read_bytes()[:-50])
        more = [f"--config.distill.stored={root}"]
        message = "00000.zip: not a readable zip archive"
    else:
        more = [f"--config.distill.stored={tmp_path / 'nothing'}"]
        message = "has no maps of one, simulated"
    with pytest.raises(UserError, match=message) as caught:
        train.main([*student, *more])
    assert "\n" not in str(caught.value)


def copied(folder, to):
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to
