"""Labelled pictures: what a set holds, what is held out, and what is refused or left out."""

import hashlib
import pickle

import numpy as np
import pytest
from PIL import Image

from bodyjax import skeleton
from bodyjax.data import pictures, sets
from bodyjax.data.pictures import lsp_arrays
from bodyjax.data.pictures.labelled import PARTS, named_part
from bodyjax.data.stream import Stream
from bodyjax.errors import ConfigError, DataError
from tests.picture_sets import coco_set, people_set
from tests.shared import shared

BODY18, COCO17, LSP14 = (skeleton.get(name) for name in ("body18", "coco17", "lsp14"))


# ------------------------------------------------------------------------------------ LSP arrays


def write_lsp(folder, count: int = 12, **changes) -> None:
    ids = np.arange(1, count + 1)
    joints = np.random.default_rng(0).uniform(5, 50, (count, 14, 2)).astype(np.float32)
    labelled = np.ones((count, 14), bool)
    labelled[0, LSP14.index("left_wrist")] = False
    arrays = {"ids": ids, "joints": joints, "labelled": labelled, **changes}
    np.savez(folder / "labels.npz", **arrays)
    (folder / "images").mkdir(exist_ok=True)
    for number in arrays["ids"]:
        Image.new("RGB", (60, 56)).save(folder / "images" / f"im{number:04}.png")


def test_lsp_labels_and_what_is_not_labelled_is_masked(tmp_path):
    write_lsp(tmp_path)
    source = pictures.lsp(tmp_path, "all")
    assert source.skeleton is LSP14
    own = source[0]
    np.testing.assert_array_equal(own["xy"][0], own["lsp_xy"])
    np.testing.assert_array_equal(own["joint_mask"], own["lsp_visible"] > 0)
    example = source.to(BODY18)[0]
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
    assert source.skeleton.joints[:14] == LSP14.joints
    assert "head_top" in source.skeleton.joints
    source = source.to(BODY18)
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


def test_hidden_pictures_are_passed_over(tmp_path):
    write_lsp(tmp_path, 2)
    (tmp_path / "images" / "._im0002.png").write_bytes(b"what a Mac leaves on a stick")
    (tmp_path / "images" / "im0002.png").unlink()
    with pytest.raises(DataError, match="picture 2: no such picture"):
        pictures.lsp(tmp_path, "all")


def test_near_copies_are_left_out_of_the_set_that_has_them_alone(tmp_path, monkeypatch):
    numbers = (457, 1672, 4433, 7354)
    write_lsp(tmp_path, 4, ids=np.array(numbers))
    own = pictures.lsp(tmp_path, "trainvalid")
    assert tuple(own.ids.tolist()) == numbers
    assert own.left_out == {}
    joints = np.load(tmp_path / "labels.npz")["joints"]
    known = {hashlib.sha256(joints.tobytes()).hexdigest(): (457,)}
    monkeypatch.setattr(lsp_arrays, "NEAR_COPIES", known)
    one_less = pictures.lsp(tmp_path, "trainvalid")
    assert tuple(one_less.ids.tolist()) == numbers[1:]
    assert one_less.left_out == {"near copies of held-out pictures": 1}
    assert len(pictures.lsp(tmp_path, "all")) == 4


# -------------------------------------------------------------------------------- rendered people


def test_rendered_people_that_cannot_be_used(tmp_path):
    people_set(tmp_path)
    stored = dict(np.load(tmp_path / "labels.npz"))
    joints, visible = stored["coco_2d"].copy(), stored["coco_vis"].copy()
    joints[:2, 3], visible[0, 3] = np.nan, 0  # an absent joint of picture 0 needs no numbers
    people_set(tmp_path, coco_2d=joints, coco_vis=visible, person_image=np.array([0, 1, 2, 9]))
    (tmp_path / "images" / "2.png").unlink()
    with pytest.raises(DataError, match="person 3: the picture is not listed"):
        pictures.people(tmp_path, "all")
    source = pictures.people(tmp_path, "all", on_bad="skip")
    assert source.names == ("0.png", "3.png")
    assert [len(people.xy) for people in source.people] == [1, 0]
    assert source.left_out == {
        "the picture is not listed": 1,
        "joints that are not numbers": 1,
        "no such picture": 1,
    }
    people_set(tmp_path, coco_2d=joints[:3])
    with pytest.raises(DataError, match=r"want coco_2d \(4, 17, 2\), got \(3, 17, 2\)"):
        pictures.people(tmp_path, "all")


def test_rendered_people_whose_names_are_words(tmp_path):
    people_set(tmp_path)
    for i, name in enumerate("abcd"):
        (tmp_path / "images" / f"{i}.png").rename(tmp_path / "images" / f"{name}.png")
    people_set(tmp_path, image_name=np.array([f"{name}.png" for name in "abcd"]))
    assert pictures.people(tmp_path, "all").ids.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["lsp", "people", "coco"])
def test_broken_pictures_are_found_where_every_picture_is_checked(tmp_path, kind):
    if kind == "lsp":
        write_lsp(tmp_path, count=2)
    elif kind == "people":
        people_set(tmp_path)
    else:
        coco_set(tmp_path, [[], []])
    read = sets.PICTURES[kind]
    names = read(tmp_path, "all").names
    sets.open_set(tmp_path).files._file(names[1]).write_bytes(b"no picture")
    with pytest.raises(DataError, match=f"{names[1]}: not a readable picture"):
        read(tmp_path, "all", check_pictures=True)
    source = read(tmp_path, "all", on_bad="skip", check_pictures=True)
    assert set(names) - set(source.names) == {names[1]}
    assert len(source.bad) == 1


def test_joints_in_space_go_with_those_in_the_picture(tmp_path):
    rng = np.random.default_rng(1)
    xyz, lens = rng.normal(size=(4, 17, 3)), np.tile([50.0, 50.0, 25.5, 20.5], (4, 1))
    outside = np.full((4, 17), 2, np.uint8)
    outside[1, COCO17.index("left_wrist")] = 0
    xyz[1, COCO17.index("nose")] = np.nan
    people_set(tmp_path, coco_3d=xyz, image_K=lens, coco_vis=outside)
    source = pictures.people(tmp_path, "all")
    example = source[1]
    np.testing.assert_array_equal(example["xyz"][0], xyz[1].astype(np.float32))
    np.testing.assert_array_equal(example["camera"], [[50, 50, 25, 20]])
    moved = source.to(BODY18)[1]
    shoulders = [COCO17.index(f"{side}_shoulder") for side in ("left", "right")]
    middle = xyz[1, shoulders].mean(0)
    np.testing.assert_allclose(moved["xyz"][0, BODY18.index("neck")], middle, atol=1e-6)
    assert moved["visible"][0, BODY18.index("left_wrist")] == 0
    wrist = xyz[1, COCO17.index("left_wrist")].astype(np.float32)
    np.testing.assert_array_equal(moved["xyz"][0, BODY18.index("left_wrist")], wrist)
    assert np.isnan(moved["xyz"][0, BODY18.index("nose")]).all()
    people_set(tmp_path)
    flat = pictures.people(tmp_path, "all")
    assert "xyz" not in flat[1]
    assert flat.fingerprint != source.fingerprint
    people_set(tmp_path, coco_3d=xyz[:2], image_K=lens)
    with pytest.raises(DataError, match=r"want coco_3d \(4, 17, 3\), got \(2, 17, 3\)"):
        pictures.people(tmp_path, "all")


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


@pytest.mark.parametrize(("training", "one_of"), [(999, 3), (1000, 10)])
def test_small_training_sides_give_a_third_for_validation_others_a_tenth(training, one_of):
    names = [f"{row}.png" for row in range(training + 500)]
    heldout = np.arange(len(names)) >= training
    parts = {part: named_part(part, names, heldout) for part in PARTS}
    share = parts["valid"].sum() / training
    assert abs(share - 1 / one_of) < 0.04
    assert not (parts["valid"] & (parts["train"] | heldout)).any()
    np.testing.assert_array_equal(parts["train"] | parts["valid"], ~heldout)
    # Each by its name alone: it stays where it is whatever stands beside it.
    order = np.random.default_rng(0).permutation(len(names))
    shuffled = named_part("valid", [names[row] for row in order], heldout[order])
    np.testing.assert_array_equal(shuffled, parts["valid"][order])


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
    assert 100 <= len(valid) <= 140  # a third of 361
    assert not set(train.names) & set(valid.names)
    image = everything[0]["image"]
    assert image.shape == (383, 512, 3)


def test_people_as_its_readme_has_it():
    folder = shared("data/people")
    test = pictures.people(folder, "test")
    for people in test.people[
        :50
    ]:  # the camera sees the joints in space where the picture has them
        assert people.xyz is not None
        assert people.camera is not None
        seen = people.visible > 0
        flat = people.xyz[..., :2] / np.where(seen, people.xyz[..., 2], 1)[..., None]
        drawn = flat * people.camera[:, None, :2] + people.camera[:, None, 2:]
        np.testing.assert_allclose(drawn[seen], people.xy[seen], atol=0.01)
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
    np.testing.assert_allclose(
        test.to(BODY18).people[0].xy[0, BODY18.index("left_knee")], stored, atol=1e-4
    )
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
