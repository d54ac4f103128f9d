"""From a config to batches of pictures: shapes, shares, held-out parts, stored teachers."""

import itertools
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from bodyjax import skeleton
from bodyjax.data import affine, feeds
from bodyjax.data.pictures.teacher import Taught, with_teacher
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import BODY18
from bodyjax.systems import build
from configs.pose import get_config

NOSE, WRIST = BODY18.index("nose"), BODY18.index("left_wrist")
COCO17 = skeleton.get("coco17")


def write_lsp(folder, ids, teacher=()):
    """LSP arrays whose pictures hold their number as colour; teachers of some of them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    joints = rng.uniform(10, 50, (len(ids), 14, 2)).astype(np.float32)
    np.savez(
        folder / "labels.npz", ids=np.array(ids), joints=joints,
        labelled=np.ones((len(ids), 14), bool), heldout=np.array(ids) % 10 == 0,
    )  # fmt: skip
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number in ids:
            with archive.open(f"im{number:05d}.png", "w") as file:
                Image.fromarray(np.full((60, 64, 3), number, np.uint8)).save(file, "PNG")
    if teacher:
        xy = np.zeros((len(teacher), 17, 2), np.float16)
        xy[:] = 20 + np.arange(17)[:, None]
        score = np.full((len(teacher), 17), 0.9, np.float16)
        score[:, COCO17.index("nose")] = 0.2
        score[:, COCO17.index("left_wrist")] = 0.05
        np.savez(folder / "teacher.npz", ids=np.array(teacher), xy=xy, score=score)


def write_coco(folder, count=4):
    folder.mkdir(parents=True)
    points = np.stack([np.arange(17) + 20, np.arange(17) + 20, np.full(17, 2)], 1)
    content = {
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in range(count)
        ],
        "annotations": [
            {"image_id": i, "category_id": 1, "iscrowd": 0, "num_keypoints": 17,
             "bbox": [18, 18, 22, 22], "keypoints": points.reshape(-1).tolist()}
            for i in range(count)
        ],
    }  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(content))
    for i in range(count):
        Image.fromarray(np.full((64, 64, 3), 200 + i, np.uint8)).save(folder / f"{i}.png")


@pytest.fixture
def config(tmp_path):
    """tiny, on two sets made here: lspet (with a teacher of some pictures) and multi."""
    write_lsp(tmp_path / "lspet", [2, 3, 4, 11, 12, 13, 20, 21], teacher=[2, 3])
    write_coco(tmp_path / "multi")
    config = get_config("tiny")
    config.data.path = str(tmp_path)
    config.data.valid = "lspet"
    config.data.unlock()
    config.data.sets = {"lspet": 0.75, "multi": 0.25}
    return config


def test_batches_match_the_system_s_batch_spec(config):
    feed = feeds.open_feed(config)
    batch = next(feed.train_batches(0))
    for name, spec in build(config).batch_spec(4).items():
        assert (batch[name].shape, str(batch[name].dtype)) == (spec.shape, spec.dtype), name
    held = list(feed.eval_batches())
    assert sum(int(batch["mask"].sum()) for batch in held) == 2  # 11 and 21 are "valid"
    for batch in held:
        for name, spec in build(config).batch_spec(4).items():
            assert batch[name].shape == spec.shape, name


def test_sets_are_mixed_in_their_shares_and_each_brings_its_masks(config):
    batches = list(itertools.islice(feeds.open_feed(config).train_batches(0), 10))
    eyes = np.concatenate([batch["joint_mask"][:, BODY18.index("left_eye")] for batch in batches])
    assert eyes.mean() == 0.25  # LSP has no eyes, COCO has
    wrists = np.concatenate([batch["joint_mask"][:, WRIST] for batch in batches])
    assert wrists.all()


def test_batches_depend_on_the_seed_and_the_step_alone(config):
    feed = feeds.open_feed(config)
    second = next(itertools.islice(feed.train_batches(0), 1, None))
    again = next(feeds.open_feed(config).train_batches(1))
    for name, array in second.items():
        np.testing.assert_array_equal(array, again[name])
    config.seed = 1
    other = next(feeds.open_feed(config).train_batches(1))
    assert not np.array_equal(other["image"], second["image"])


def test_no_held_out_or_validation_picture_trains(config):
    source = feeds.open_feed(config).source
    lsp = source.sources[0]
    assert sorted(lsp.ids.tolist()) == [2, 3, 4, 12, 13]
    assert not source.heldout.any()


def test_fingerprint_knows_data_and_transform(config):
    prints = {feeds.open_feed(config).fingerprint}
    config.data.augment.rotation = 10.0
    prints.add(feeds.open_feed(config).fingerprint)
    config.data.sets.lspet = 0.5
    prints.add(feeds.open_feed(config).fingerprint)
    config.data.sets.multi = 0.0
    prints.add(feeds.open_feed(config).fingerprint)
    assert len(prints) == 4


def test_simulated_pictures_need_no_folder(config):
    config.data.path = "nowhere"
    config.data.sets = {"simulated": 1.0}
    config.data.valid = "simulated"
    batch = next(feeds.open_feed(config).train_batches(0))
    assert batch["visible"].any()
    assert batch["joint_mask"].all()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sets", {"lsp": 1.0}, "no set 'lsp'"),
        ("sets", {"lspet": 0.0}, "no set has a share"),
        ("valid", "coco", "no set 'coco'"),
        ("kind", "videos", "no kind of data 'videos'"),
        ("sets", {"lspet": "all"}, "data.sets.lspet: 'all' should be a share"),
        ("batch", 0, "data.batch: 0 should be a whole number from 1 on"),
        ("augment", {"flop": 1}, "data.augment.flop: there is no such field; did you mean flip"),
    ],
)
def test_mistakes_are_one_line(config, field, value, message):
    config.data[field] = value
    with pytest.raises(ConfigError, match=message) as caught:
        feeds.open_feed(config)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_used_ends_the_run_or_is_left_out_and_said(config, tmp_path, capsys):
    (tmp_path / "multi" / "1.png").unlink()
    (tmp_path / "multi" / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1\.png: no such picture"):
        feeds.open_feed(config)
    config.data.on_bad = "skip"
    source = feeds.open_feed(config).source.sources[1]
    assert sorted(source.names) == ["0.png", "3.png"]
    said = capsys.readouterr().err
    assert "left out of multi, train: 1.png: no such picture" in said
    assert "left out of multi, train: 2.png: not a readable picture" in said
    assert "left out of multi, train: 1 no such picture; 1 not a readable picture" in said
    assert "lspet" not in said
    feeds.open_feed(config, host=(1, 2))
    assert not capsys.readouterr().err  # the first host said it
    config.data.on_bad = "ignore"
    with pytest.raises(ConfigError, match="on_bad"):
        feeds.open_feed(config)


def test_folders_of_other_things_are_refused(config, tmp_path):
    (tmp_path / "gestures").mkdir()
    np.savez(tmp_path / "gestures" / "natops.npz", a=np.zeros(3))
    with pytest.raises(ConfigError, match="holds natops, not labelled pictures"):
        feeds.picture_source("gestures", tmp_path, "train")


# ---- stored joints of a teacher


def taught(config):
    config.unlock()
    config.distill = get_config("imagenet_distilled").distill
    return config


def test_stored_joints_come_with_the_pictures_that_have_them(config):
    feed = feeds.open_feed(taught(config))
    batches = list(itertools.islice(feed.train_batches(0), 10))
    for name, spec in build(config).batch_spec(4).items():
        found = batches[0][name]
        assert (found.shape, str(found.dtype)) == (spec.shape, spec.dtype), name
    known = np.concatenate([batch["teacher_mask"].any(-1) for batch in batches])
    ids = np.concatenate([batch["id"] for batch in batches])
    complete = np.concatenate([b["joint_mask"][:, BODY18.index("left_eye")] for b in batches])
    lsp = ~complete | known
    np.testing.assert_array_equal(known[lsp], np.isin(ids[lsp], [2, 3]))
    assert known.any()


def test_stored_joints_are_scored_moved_and_mirrored(tmp_path):
    write_lsp(tmp_path / "set", [2, 4], teacher=[2])
    source = feeds.picture_source("set", tmp_path, "train", bones=BODY18, teacher=True)
    plain = feeds.picture_source("set", tmp_path, "train", bones=BODY18)
    assert source.fingerprint != plain.fingerprint
    crop = feeds.TrainPicture((64, 64), 8, 1, {"flip": 0.0})
    flipped = feeds.TrainPicture((64, 64), 8, 1, {"flip": 1.0})
    for transform, mirrored in ((crop, False), (flipped, True)):
        out = Taught(transform)(source[0], np.random.default_rng(0))
        order = np.array(BODY18.mirror) if mirrored else np.arange(18)
        wrist = order[WRIST]
        assert out["teacher_visible"][wrist] == 0  # its score is low: it is not to be seen
        assert out["teacher_mask"][wrist]
        assert out["teacher_visible"][NOSE] == 0  # between: nothing is said
        assert not out["teacher_mask"][NOSE]
        knee = BODY18.index("left_knee")
        stored = 20.0 + COCO17.index("left_knee")
        expected = affine.move(np.array([stored, stored]), out["matrix"])
        np.testing.assert_allclose(out["teacher_xy"][order[knee]], expected, atol=1e-3)
        shoulders = [20.0 + COCO17.index(f"{side}_shoulder") for side in ("left", "right")]
        neck = affine.move(np.full(2, np.mean(shoulders)), out["matrix"])
        np.testing.assert_allclose(out["teacher_xy"][BODY18.index("neck")], neck, atol=1e-3)
    none = Taught(crop)(source[1], np.random.default_rng(0))
    assert not none["teacher_mask"].any()
    assert not none["teacher_visible"].any()
    assert np.isfinite(none["teacher_xy"]).all()


def test_teachers_that_are_none(config, tmp_path):
    config = taught(config)
    config.data.sets = {"multi": 1.0}
    with pytest.raises(ConfigError, match="no set has a teacher"):
        feeds.open_feed(config)
    source = feeds.picture_source("lspet", tmp_path, "train")
    file = tmp_path / "other.npz"
    np.savez(file, ids=np.array([77]), xy=np.zeros((1, 17, 2)), score=np.ones((1, 17)))
    with pytest.raises(DataError, match="joints of none of the pictures"):
        with_teacher(source, file)
    np.savez(file, ids=np.array([2]), xy=np.zeros((1, 14, 2)), score=np.ones((1, 14)))
    with pytest.raises(DataError, match="want xy"):
        with_teacher(source, file)
    np.savez(file, ids=np.array([2]))
    with pytest.raises(DataError, match="has no array xy, score"):
        with_teacher(source, file)
