"""Labelled pictures: what a set holds, what is held out, and what is refused or left out."""

import copy
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from bodyjax import skeleton
from bodyjax.data import pictures, sets
from bodyjax.data.labelled import PARTS
from bodyjax.data.stream import Stream
from bodyjax.errors import ConfigError, DataError
from tests.shared import shared

BODY18, COCO17, LSP14 = (skeleton.get(name) for name in ("body18", "coco17", "lsp14"))


# ------------------------------------------------------------------------------------------- COCO


def person(x: float = 10.0, **changes) -> dict:
    points = np.zeros((17, 3))
    points[:] = np.stack([x + np.arange(17), 20 + 2 * np.arange(17), np.full(17, 2)], 1)
    return {
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": 17,
        "bbox": [x, 20, 17, 34],
        "area": 500,
        "keypoints": points.reshape(-1).tolist(),
        **changes,
    }


def write_coco(folder, annotations: list[dict], images: int = 1) -> None:
    content = {
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
        "images": [
            {"id": i + 1, "file_name": f"{i + 1}.png", "width": 80, "height": 60}
            for i in range(images)
        ],
        "annotations": annotations,
    }
    (folder / "labels.json").write_text(json.dumps(content))
    for i in range(images):
        Image.fromarray(np.full((60, 80, 3), i, np.uint8)).save(folder / f"{i + 1}.png")


def test_coco_people_crowds_and_unlabelled(tmp_path):
    crowd = person(30, iscrowd=1)
    nobody = person(50, keypoints=[0] * 51, num_keypoints=0, bbox=[50, 20, 5, 5])
    write_coco(tmp_path, [person(), crowd, nobody])
    example = pictures.coco(tmp_path, "all")[0]
    assert example["image"].shape == (60, 80, 3)
    assert example["xy"].shape == (1, 18, 2)
    np.testing.assert_array_equal(example["boxes"], [[10, 20, 27, 54]])
    np.testing.assert_array_equal(example["ignore"], [[30, 20, 47, 54], [50, 20, 55, 25]])
    left = COCO17.index("left_wrist")
    np.testing.assert_array_equal(
        example["xy"][0, BODY18.index("left_wrist")], (10 + left, 20 + 2 * left)
    )
    neck = example["xy"][0, BODY18.index("neck")]
    np.testing.assert_array_equal(neck, (10 + 5.5, 20 + 11))  # middle of joints 5 and 6
    assert example["complete"]


BAD_PEOPLE = {
    "unknown category": person(category_id=9),
    "48 joint values instead of 51": person(keypoints=[1.0] * 48),
    "joints that are not numbers": person(keypoints=[float("nan")] * 51),
    "a joint flag": person(keypoints=[7.0] * 51),
    "a box outside": person(bbox=[90, 20, 10, 10]),
    "a box that is none": person(bbox=[10, 20, 0, 34]),
}


@pytest.mark.parametrize("reason", BAD_PEOPLE)
def test_coco_faults_raise_or_are_left_out_and_named(tmp_path, reason):
    bad = {**copy.deepcopy(BAD_PEOPLE[reason]), "image_id": 2}
    write_coco(tmp_path, [person(), bad], images=2)
    with pytest.raises(DataError, match=f"2.png: {reason}"):
        pictures.coco(tmp_path, "all")
    source = pictures.coco(tmp_path, "all", on_bad="skip")
    assert source.names == ("1.png",)
    assert sum(source.left_out.values()) == 1
    assert len(source.bad) == 1
    assert source.bad[0].startswith(f"2.png: {reason}")


def test_coco_missing_and_broken_pictures(tmp_path):
    write_coco(tmp_path, [person()], images=3)
    (tmp_path / "2.png").unlink()
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"2\.png: no such picture"):
        pictures.coco(tmp_path, "all")
    source = pictures.coco(tmp_path, "all", on_bad="skip", check_pictures=True)
    assert source.names == ("1.png",)
    assert len(source.bad) == 2
    unchecked = pictures.coco(tmp_path, "all", on_bad="skip")
    with pytest.raises(DataError, match=r"3\.png: not a readable picture"):
        unchecked[1]


def test_coco_labels_of_a_picture_that_is_not_listed(tmp_path):
    write_coco(tmp_path, [person(), person(image_id=77)])
    with pytest.raises(DataError, match="picture 77"):
        pictures.coco(tmp_path, "all")
    assert pictures.coco(tmp_path, "all", on_bad="skip").left_out == {
        "the picture is not listed": 1
    }


def test_coco_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match=r"0 \.json files"):
        pictures.coco(tmp_path, "all")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match="not a COCO keypoint file"):
        pictures.coco(tmp_path, "all")
    write_coco(tmp_path, [])
    (tmp_path / "a.json").unlink()
    text = (tmp_path / "labels.json").read_text().replace('"nose"', '"beak"')
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(DataError, match="unknown joints beak"):
        pictures.coco(tmp_path, "all")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"file_name": "1.png"}, "not a COCO keypoint file .*id"),
        ({"id": 1}, "not a COCO keypoint file .*file_name"),
        ({"id": 1, "file_name": "1.png", "split": "val"}, "no split 'val'"),
    ],
)
def test_coco_pictures_with_wrong_fields(tmp_path, image, message):
    write_coco(tmp_path, [person()])
    content = json.loads((tmp_path / "labels.json").read_text())
    content["images"] = [image]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        pictures.coco(tmp_path, "all")


def test_coco_pictures_without_people_and_other_joint_orders(tmp_path):
    write_coco(tmp_path, [])
    assert pictures.coco(tmp_path, "all")[0]["xy"].shape == (0, 18, 2)
    content = json.loads((tmp_path / "labels.json").read_text())
    content["categories"][0]["keypoints"] = ["right_knee", "nose"]
    content["annotations"] = [person(keypoints=[11, 12, 2, 13, 14, 1], num_keypoints=2)]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    example = pictures.coco(tmp_path, "all")[0]
    np.testing.assert_array_equal(example["xy"][0, BODY18.index("right_knee")], (11, 12))
    assert example["visible"][0, BODY18.index("nose")] == 1
    taught = {BODY18.joints[j] for j in np.flatnonzero(example["joint_mask"])}
    assert taught == {"right_knee", "nose"}


def test_parts_that_are_not_there(tmp_path):
    write_coco(tmp_path, [person()])
    with pytest.raises(ConfigError, match="no part 'testing'"):
        pictures.coco(tmp_path, "testing")
    with pytest.raises(DataError, match="marked as test"):
        pictures.coco(tmp_path, "test")
    with pytest.raises(ConfigError, match="on_bad"):
        pictures.coco(tmp_path, "all", on_bad="ignore")


def test_fingerprints_tell_labels_and_pictures_apart(tmp_path):
    write_coco(tmp_path, [person()])
    one = pictures.coco(tmp_path, "all").fingerprint
    assert one == pictures.coco(tmp_path, "all").fingerprint
    write_coco(tmp_path, [person(11)])
    assert one != pictures.coco(tmp_path, "all").fingerprint


# ------------------------------------------------------------------------------------ LSP arrays


def write_lsp(folder, count: int = 12, **changes) -> None:
    ids = np.arange(1, count + 1)
    joints = np.random.default_rng(0).uniform(5, 50, (count, 14, 2)).astype(np.float32)
    labelled = np.ones((count, 14), bool)
    labelled[0, LSP14.index("left_wrist")] = False
    arrays = {"ids": ids, "joints": joints, "labelled": labelled, **changes}
    np.savez(folder / "labels.npz", **arrays)
    (folder / "images").mkdir(exist_ok=True)
    for number in ids:
        Image.new("RGB", (60, 56)).save(folder / "images" / f"im{number:04}.png")


def test_lsp_labels_become_body18_and_what_is_not_labelled_is_masked(tmp_path):
    write_lsp(tmp_path)
    source = pictures.lsp(tmp_path, "all")
    example = source[0]
    table = np.load(tmp_path / "labels.npz")
    for name in ("left_hip", "right_ankle", "right_wrist"):
        stored = table["joints"][0, LSP14.index(name)]
        np.testing.assert_array_equal(example["xy"][0, BODY18.index(name)], stored)
    assert not example["joint_mask"][BODY18.index("left_wrist")]
    assert not example["joint_mask"][BODY18.index("nose")]
    assert example["joint_mask"][BODY18.index("left_knee")]
    assert not example["complete"]
    np.testing.assert_array_equal(source.heldout, source.ids % 10 == 0)
    assert len(pictures.lsp(tmp_path, "train")) == 9  # 12 less 10 held out, less 1 and 11 valid


def test_lsp_faces_come_from_a_teacher_that_saw_the_same_person(tmp_path):
    write_lsp(tmp_path)
    table = np.load(tmp_path / "labels.npz")
    body, _ = skeleton.convert(table["joints"], np.ones((12, 14)), LSP14, COCO17)
    body[:, :5] = 30.0
    score = np.full((12, 17), 0.9, np.float32)
    score[1, 0], score[2, 0] = 0.2, 0.05
    swapped = np.array(COCO17.mirror)
    body[3] = body[3, swapped]  # left for right
    np.savez(tmp_path / "teacher.npz", ids=table["ids"], xy=body, score=score)
    source = pictures.lsp(tmp_path, "all")
    nose = BODY18.index("nose")
    said = [(int(p.visible[0, nose]), bool(p.joint_mask[nose])) for p in source.people[:4]]
    assert said == [(2, True), (0, False), (0, True), (0, False)]
    np.testing.assert_array_equal(source.people[0].xy[0, nose], (30, 30))


def test_lsp_faults(tmp_path):
    write_lsp(tmp_path)
    good = dict(np.load(tmp_path / "labels.npz"))
    bad = good["joints"].copy()
    bad[4, 2] = np.nan
    np.savez(tmp_path / "labels.npz", **{**good, "joints": bad})
    (tmp_path / "images" / "im0003.png").unlink()
    with pytest.raises(DataError, match="picture 3: no such picture"):
        pictures.lsp(tmp_path, "all")
    source = pictures.lsp(tmp_path, "all", on_bad="skip")
    assert len(source) == 10
    assert source.left_out == {"no such picture": 1, "joints that are not numbers": 1}
    np.savez(tmp_path / "labels.npz", **{**good, "joints": bad[:, :13]})
    with pytest.raises(DataError, match=r"want ids .*\(12, 13, 2\)"):
        pictures.lsp(tmp_path, "all")
    np.savez(tmp_path / "labels.npz", ids=good["ids"])
    with pytest.raises(DataError, match="no array joints"):
        pictures.lsp(tmp_path, "all")
    np.savez(tmp_path / "labels.npz", ids=np.array([{}], object), joints=bad)
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        pictures.lsp(tmp_path, "all")


def test_held_out_rows_train_nothing(tmp_path):
    write_lsp(tmp_path)
    for part in ("test", "all"):
        with pytest.raises(DataError, match="held-out examples in a training source"):
            Stream(pictures.lsp(tmp_path, part), lambda e, r: e, seed=0, batch_size=1)
    with pytest.raises(DataError, match="held-out"):
        sets.validation_split(pictures.lsp(tmp_path, "all"))


# -------------------------------------------------------------------------------------- real sets


def test_lspet_as_its_readme_has_it():
    folder = shared("data/lspet")
    parts = {part: pictures.lsp(folder, part) for part in PARTS}
    counts = {part: len(source) for part, source in parts.items()}
    assert counts["all"] == 9500
    assert counts["test"] == 1000
    assert counts["trainvalid"] == 8500 - 4 == counts["train"] + counts["valid"]
    training = set(parts["trainvalid"].ids.tolist())
    assert not training & {457, 1672, 4433, 7354}
    assert not any(number % 10 == 0 for number in training)
    assert set(parts["valid"].ids % 10) == {1}
    assert parts["train"].left_out == {"near copies of held-out pictures": 4}
    assert sum(int((p["lsp_visible"] > 0).sum()) for p in _labels(parts["all"])) == 117_055
    example = pickle.loads(pickle.dumps(parts["test"]))[3]
    assert example["image"].dtype == np.uint8


def _labels(source):
    return (source.labels_of(i) for i in range(len(source)))


def test_multi_as_its_readme_has_it():
    folder = shared("data/multi")
    everything = pictures.coco(folder, "all")
    assert len(everything) == 492
    assert sum(len(people.boxes) for people in everything.people) == 1427
    assert sum(len(people.ignore) for people in everything.people) == 410 + 27
    test = pictures.coco(folder, "test")
    assert len(test) == 76 + 55
    assert sum(people.complete for people in test.people) == 76
    assert sum(len(people.boxes) for people in test.people) == 416
    train, valid = pictures.coco(folder, "train"), pictures.coco(folder, "valid")
    assert len(train) + len(valid) == 361
    assert 20 <= len(valid) <= 55
    assert not set(train.names) & set(valid.names)
    image = everything[0]["image"]
    assert image.shape == (383, 512, 3)


def test_people_as_its_readme_has_it():
    folder = shared("data/people")
    test = pictures.people(folder, "test")
    everything = pictures.people(folder, "all", least_area=0)
    assert (len(test), len(everything)) == (400, 4000)
    boxes = sum(len(people.boxes) + len(people.ignore) for people in everything.people)
    assert boxes == 6030
    table = np.load(folder / "labels.npz")
    first = int(np.flatnonzero(table["image_split"] == "test")[0])
    row = int(table["image_first_person"][first])
    joint = COCO17.index("left_knee")
    stored = table["coco_2d"][row, joint] - 0.5
    assert table["coco_vis"][row, joint] == 2
    np.testing.assert_allclose(test.people[0].xy[0, BODY18.index("left_knee")], stored, atol=1e-4)
    assert test[0]["image"].shape == (256, 256, 3)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("jhmdb", "clips"),
        ("jhmdb/teacher.npz", "jhmdb"),
        ("lspet", "lsp"),
        ("multi", "coco"),
        ("multi/annotations.json", "coco"),
        ("people", "people"),
        ("penn_action", "penn_action"),
        ("pushfit", "pushfit"),
        ("ui_prmd", "ui_prmd"),
        ("natops/natops.npz", "natops"),
        ("pose_trainer", "pose_trainer"),
    ],
)
def test_sets_are_known_by_their_layout(path, kind):
    assert sets.recognise(shared(f"data/{path}")) == kind


def test_unknown_layouts(tmp_path):
    with pytest.raises(DataError, match="known layout"):
        sets.recognise(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        sets.recognise(tmp_path / "gone")
    (tmp_path / "natops.npz").write_bytes(b"")
    with pytest.raises(ConfigError, match="set of joints"):
        sets.open_set(tmp_path)
