"""COCO keypoint files: what is read of them, and what is refused or left out."""

import copy
import json

import numpy as np
import pytest

from bodyjax import skeleton
from bodyjax.data import pictures
from bodyjax.data.pictures.coco_files import coco_file
from bodyjax.errors import ConfigError, DataError
from tests.data.pictures.coco_folders import person, rewrite, write_coco

BODY18, COCO17 = skeleton.get("body18"), skeleton.get("coco17")


def test_coco_people_crowds_and_unlabelled(tmp_path):
    crowd = person(30, iscrowd=1)
    nobody = person(50, keypoints=[0] * 51, num_keypoints=0, bbox=[50, 20, 5, 5])
    write_coco(tmp_path, [person(), crowd, nobody])
    source = pictures.coco(tmp_path, "all")
    assert source.skeleton is COCO17
    assert source[0]["xy"].shape == (1, 17, 2)
    example = source.to(BODY18)[0]
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


BAD_PEOPLE = [
    ("unknown category", person(category_id=9)),
    ("unknown category", person(category_id=[1])),
    ("48 joint values instead of 51", person(keypoints=[1.0] * 48)),
    ("joints that are not numbers", person(keypoints=[float("nan")] * 51)),
    ("joints that are not numbers", person(keypoints=["1"] * 51)),
    ("a joint flag", person(keypoints=[7.0] * 51)),
    ("a box outside", person(bbox=[90, 20, 10, 10])),
    ("invalid bounding box", person(bbox=[10, 20, 0, 34], keypoints=[0] * 51, num_keypoints=0)),
    ("num_keypoints without keypoints", person(keypoints=None)),
    ("51 joint values instead of 51, in rows 3 x 17", person(keypoints=np.ones((3, 17)).tolist())),
    ("invalid bounding box", person(bbox=[10, 20, "wide", 34])),
    ("invalid bounding box", person(bbox=["10", "20", "17", "34"])),
    ("invalid bounding box", person(bbox={"x": 10})),
    ("iscrowd other than 0, 1", person(iscrowd="no")),
]


@pytest.mark.parametrize(("reason", "bad"), BAD_PEOPLE)
def test_coco_faults_raise_or_are_left_out_and_named(tmp_path, reason, bad):
    bad = {**copy.deepcopy(bad), "image_id": 2}
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


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("id", None, "invalid picture id"),
        ("width", None, "invalid width or height"),
        ("height", "60", "invalid width or height"),
    ],
)
def test_coco_pictures_whose_fields_are_none(tmp_path, field, value, reason):
    write_coco(tmp_path, [person()], images=2)
    content = json.loads((tmp_path / "labels.json").read_text())
    content["images"][1][field] = value
    (tmp_path / "labels.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"2.png: {reason}"):
        pictures.coco(tmp_path, "all")
    source = pictures.coco(tmp_path, "all", on_bad="skip")
    assert source.names == ("1.png",)
    assert source.left_out == {reason: 1}


@pytest.mark.parametrize("stray", ["text", None, [1], {**person(), "image_id": [1]}])
def test_coco_annotations_that_belong_nowhere(tmp_path, stray):
    write_coco(tmp_path, [person(), stray])
    with pytest.raises(DataError, match=r"not an object|not listed") as caught:
        pictures.coco(tmp_path, "all")
    assert "\n" not in str(caught.value)
    source = pictures.coco(tmp_path, "all", on_bad="skip")
    assert len(source.people[0].xy) == len(source.bad) == sum(source.left_out.values()) == 1


def test_coco_files_with_splits_of_other_names_are_read_whole(tmp_path):
    write_coco(tmp_path, [person()], images=3)
    content = json.loads((tmp_path / "labels.json").read_text())
    for image, split in zip(content["images"], ("train", "val", "kept"), strict=True):
        image["split"] = split
    (tmp_path / "labels.json").write_text(json.dumps(content))
    assert pictures.coco(tmp_path, "all").heldout.tolist() == [False, True, True]
    for part in ("train", "valid", "test"):
        with pytest.raises(DataError, match="no split 'kept'"):
            pictures.coco(tmp_path, part)


@pytest.mark.parametrize("name", ["val", "valid"])
def test_coco_files_may_name_what_is_for_validation(tmp_path, name):
    write_coco(tmp_path, [person()], images=6)
    content = json.loads((tmp_path / "labels.json").read_text())
    for image, split in zip(content["images"], ["train"] * 3 + [name] * 2 + ["test"], strict=True):
        image["split"] = split
    (tmp_path / "labels.json").write_text(json.dumps(content))

    def rows(part):
        source = pictures.coco(tmp_path, part)
        return [int(name[0]) - 1 for name in source.names], source.heldout.tolist()

    assert rows("train") == ([0, 1, 2], [False] * 3)
    assert rows("valid") == ([3, 4], [False] * 2)
    assert rows("trainvalid") == ([0, 1, 2, 3, 4], [False] * 5)
    assert rows("test") == ([5], [True])
    assert rows("all") == ([0, 1, 2, 3, 4, 5], [False] * 3 + [True] * 3)


def test_coco_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match=r"0 \.json files"):
        pictures.coco(tmp_path, "all")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match="not a COCO keypoint file"):
        pictures.coco(tmp_path, "all")
    write_coco(tmp_path, [])
    (tmp_path / "a.json").unlink()
    for names in ('"nose"', '["nose", "nose"]', "[1, 2]"):
        category = f'{{"id": 1, "keypoints": {names}}}'
        content = f'{{"images": [], "annotations": [], "categories": [{category}]}}'
        (tmp_path / "labels.json").write_text(content)
        with pytest.raises(DataError, match=r"categories, 1: .*(named twice|not a list of names)"):
            pictures.coco(tmp_path, "all")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not lists of objects"),
        ('{"images": null, "annotations": [], "categories": []}', "not lists of objects"),
        ("{}", "there is no 'images'"),
    ],
)
def test_what_a_coco_file_lacks_is_said_in_plain_words(tmp_path, content, message):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(DataError, match=f"not a COCO keypoint file .*{message}") as caught:
        pictures.coco(tmp_path, "all")
    assert "Error" not in str(caught.value)


def test_two_pictures_of_one_id_are_refused(tmp_path):
    write_coco(tmp_path, [person()], images=2)
    content = json.loads((tmp_path / "labels.json").read_text())
    content["images"][1]["id"] = content["images"][0]["id"]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="picture id 1 is listed more than once"):
        pictures.coco(tmp_path, "all")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"file_name": "1.png"}, "not a COCO keypoint file .*id"),
        ({"id": 1}, "not a COCO keypoint file .*file_name"),
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
    assert pictures.coco(tmp_path, "all").to(BODY18)[0]["xy"].shape == (0, 18, 2)
    content = json.loads((tmp_path / "labels.json").read_text())
    content["categories"][0]["keypoints"] = ["right_knee", "nose"]
    content["annotations"] = [person(keypoints=[11, 12, 2, 13, 14, 1], num_keypoints=2)]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    source = pictures.coco(tmp_path, "all")
    assert source.skeleton.joints == ("right_knee", "nose")
    example = source.to(BODY18)[0]
    np.testing.assert_array_equal(example["xy"][0, BODY18.index("right_knee")], (11, 12))
    assert example["visible"][0, BODY18.index("nose")] == 1
    taught = {BODY18.joints[j] for j in np.flatnonzero(example["joint_mask"])}
    assert taught == {"right_knee", "nose"}


DOG = {
    "id": 1,
    "name": "dog",
    "keypoints": ["nose", "L_Eye", "R_Eye", "tail"],
    "skeleton": [[1, 2], [1, 3], [1, 4]],
}


def dog(**changes) -> dict:
    points = [11, 12, 2, 13, 14, 1, 0, 0, 0, 30, 31, 2]
    return person(keypoints=points, num_keypoints=3, **changes)


def write_categories(folder, categories: list[dict], annotations: list[dict]) -> None:
    write_coco(folder, annotations)
    content = json.loads((folder / "labels.json").read_text())
    content["categories"] = categories
    (folder / "labels.json").write_text(json.dumps(content))


def test_categories_of_their_own_joints_are_read_as_they_are(tmp_path):
    write_categories(tmp_path, [DOG], [dog()])
    source = pictures.coco(tmp_path, "all")
    bones = source.skeleton
    assert (bones.name, bones.joints) == ("dog", ("nose", "L_Eye", "R_Eye", "tail"))
    assert bones.limbs == ((0, 1), (0, 2), (0, 3))
    assert bones.mirror == (0, 2, 1, 3)
    assert bones.sigmas is None
    example = source[0]
    np.testing.assert_array_equal(example["xy"], [[[11, 12], [13, 14], [0, 0], [30, 31]]])
    np.testing.assert_array_equal(example["visible"], [[2, 1, 0, 2]])
    np.testing.assert_array_equal(example["joint_mask"], [True, True, False, True])
    with_sigmas = {**DOG, "sigmas": [0.1, 0.2, 0.2, 0.3]}
    write_categories(tmp_path, [with_sigmas], [dog()])
    assert pictures.coco(tmp_path, "all").skeleton.sigmas == (0.1, 0.2, 0.2, 0.3)
    with pytest.raises(ConfigError, match=r"none of which is a joint of uiprmd22.*nose, L_Eye"):
        source.to(skeleton.get("uiprmd22"))


def test_joints_of_several_categories_are_one_skeleton(tmp_path):
    cat = {**DOG, "id": 2, "name": "cat"}
    write_categories(tmp_path, [DOG, cat], [dog(), dog(category_id=2)])
    source = pictures.coco(tmp_path, "all")
    assert source.skeleton.name == "dog"
    assert source.people[0].xy.shape == (2, 4, 2)
    paw = {"id": 3, "name": "paw", "keypoints": ["claw", "nose"], "skeleton": [[2, 1]]}
    claw = person(category_id=3, keypoints=[50, 51, 2, 52, 53, 2], num_keypoints=2)
    write_categories(tmp_path, [DOG, paw], [claw, dog()])
    source = pictures.coco(tmp_path, "all")
    assert source.skeleton.joints == ("nose", "L_Eye", "R_Eye", "tail", "claw")
    assert source.skeleton.limbs == ((0, 1), (0, 2), (0, 3), (0, 4))
    np.testing.assert_array_equal(source.people[0].xy[1, [0, 4]], [[52, 53], [50, 51]])
    np.testing.assert_array_equal(source.people[0].visible, [[2, 1, 0, 2, 0], [2, 0, 0, 0, 2]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skeleton": [[0, 1]]}, "pairs of joint numbers from 1 to 4"),
        ({"skeleton": [[1, 5]]}, "pairs of joint numbers from 1 to 4"),
        ({"skeleton": [1, 2]}, "pairs of joint numbers from 1 to 4"),
        ({"skeleton": "nose-tail"}, "pairs of joint numbers from 1 to 4"),
        ({"sigmas": [0.1]}, "1 sigmas for 4 joints"),
        ({"sigmas": 0.1}, "sigmas is not a list"),
        ({"sigmas": ["a"] * 4}, "numbers above 0"),
    ],
)
def test_skeletons_that_are_none(tmp_path, change, message):
    write_categories(tmp_path, [{**DOG, **change}], [dog()])
    with pytest.raises(DataError, match=rf"labels\.json: categories, dog: .*{message}") as caught:
        pictures.coco(tmp_path, "all")
    assert "\n" not in str(caught.value)


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


def test_hidden_files_beside_the_labels_are_passed_over(tmp_path):
    for name in ("mine.json", "._mine.json"):
        (tmp_path / name).write_text("{}")
    assert coco_file(tmp_path) == tmp_path / "mine.json"


BOXED = "boxes missing or without extent: taken from the joints"


@pytest.mark.parametrize("box", [None, [], [10, 20, 0, 34], [30, 60, -20, -40], [0, 0, 0, 0]])
def test_a_box_that_is_missing_or_empty_is_that_of_the_joints(tmp_path, box):
    write_coco(tmp_path, [person(bbox=box)])
    source = pictures.coco(tmp_path, "all")
    np.testing.assert_array_equal(source.people[0].boxes, [[10, 20, 26, 52]])
    assert source.left_out == {BOXED: 1}
    without = person()
    del without["bbox"]
    write_coco(tmp_path, [without])
    assert pictures.coco(tmp_path, "all").left_out == {BOXED: 1}


def test_the_number_of_joints_is_counted_anew(tmp_path):
    write_coco(tmp_path, [person(num_keypoints=0), person(30, num_keypoints=3), person(50)])
    source = pictures.coco(tmp_path, "all")
    assert len(source.people[0].xy) == 3
    assert source.left_out == {"num_keypoints other than the joints: counted anew": 2}


def test_joints_may_be_rows_of_three(tmp_path):
    write_coco(tmp_path, [person()])
    flat = pictures.coco(tmp_path, "all").people[0]
    write_coco(tmp_path, [person(keypoints=np.reshape(person()["keypoints"], (17, 3)).tolist())])
    nested = pictures.coco(tmp_path, "all").people[0]
    np.testing.assert_array_equal(flat.xy, nested.xy)


def test_labels_of_categories_without_joints_are_counted(tmp_path):
    write_coco(tmp_path, [person(), person(category_id=2)])
    rewrite(tmp_path, lambda content: content["categories"].append({"id": 2, "name": "chair"}))
    assert pictures.coco(tmp_path, "all").left_out == {"labels of categories without joints": 1}
    rewrite(tmp_path, lambda content: content["categories"].append({"id": 1, "name": "dog"}))
    with pytest.raises(DataError, match="category id 1 is listed more than once"):
        pictures.coco(tmp_path, "all")
