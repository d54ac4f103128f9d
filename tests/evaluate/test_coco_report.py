"""Reports beside AP: checked against hand counts on made people and against pycocotools."""

import copy
import gzip
import json

import numpy as np
import pytest

from bodyjax.errors import ConfigError, DataError
from bodyjax.evaluate import coco_ap, coco_report
from bodyjax.evaluate.coco_labels import read_labels
from bodyjax.skeleton import COCO17, make, with_sigmas
from tests.shared import GOLDENS


def joints(x: float, y: float) -> list[float]:
    """A person of 100 pixels around a place, all joints seen."""
    xy = np.random.default_rng(0).uniform(-50, 50, (17, 2)) + np.array([x, y])
    return np.concatenate([xy, np.full((17, 1), 2.0)], axis=1).ravel().tolist()


def label(number: int, image: int, x: float, y: float, **changes) -> dict:
    box = [x - 50, y - 50, 100, 100]
    person = {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": box}
    person |= {"area": 5300.0, "keypoints": joints(x, y), "num_keypoints": 17}
    return person | changes


def found(image: int, x: float, y: float, score: float) -> dict:
    return {"image_id": image, "category_id": 1, "keypoints": joints(x, y), "score": score}


@pytest.fixture
def labels():
    """Two labelled people, one without joints and a crowd on picture 1, one person on 2, and one on
    3, which is not complete."""
    none = {"keypoints": [0] * 51, "num_keypoints": 0}
    images = [
        {"id": 1, "file_name": "a.png", "source": "coco2017-val"},
        {"id": 2, "file_name": "b.png", "origin_image": "who:train2017/b.png"},
        {"id": 3, "file_name": "c.png", "persons_complete": False, "source": "coco2017-val"},
    ]
    people = [
        label(1, 1, 100, 100), label(2, 1, 300, 100), label(3, 1, 500, 100, **none),
        label(4, 1, 700, 100, iscrowd=1), label(5, 2, 100, 100), label(6, 3, 100, 100),
    ]  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints)}
    return {"images": images, "annotations": people, "categories": [category]}


@pytest.fixture
def people():
    return [
        found(1, 100, 100, 0.9),  # right
        found(1, 101, 100, 0.8),  # the same person again: wrong
        found(1, 500, 110, 0.7),  # on somebody without joints: ignored
        found(1, 700, 100, 0.6),  # in a crowd: ignored
        found(1, 900, 100, 0.5),  # nobody is there
        found(2, 100, 101, 0.4),  # right
        found(3, 900, 900, 0.95),  # not a complete picture
    ]


def test_precision_and_recall_are_those_counted_by_hand(labels, people):
    judged = coco_report.judge(coco_ap.read_labels(labels), people)
    np.testing.assert_array_equal(judged.score, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    np.testing.assert_array_equal(judged.right, [1, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(judged.ignored, [0, 0, 1, 1, 0, 0])
    assert coco_report.at_score(judged, 0.6) == {
        "min_score": 0.6, "precision": 1 / 2, "precision_ignored_right": 3 / 4, "recall": 1 / 3,
        "n_shown": 4, "n_shown_ignored": 2, "n_persons": 3,
    }  # fmt: skip
    every = coco_report.at_score(judged, 0.0)
    assert (every["precision"], every["recall"]) == (2 / 4, 2 / 3)
    nobody = coco_report.at_score(judged, 0.99)
    assert (nobody["precision"], nobody["recall"], nobody["n_shown"]) == (None, 0, 0)
    empty = coco_report.at_score(coco_report.judge(coco_ap.read_labels(labels), []), 0.0)
    assert (empty["precision"], empty["recall"]) == (None, 0)


def test_the_lowest_score_of_a_precision_has_the_highest_recall(labels, people):
    judged = coco_report.judge(coco_ap.read_labels(labels), people)
    assert coco_report.at_precision(judged, 0.5)["min_score"] == 0.4
    assert coco_report.at_precision(judged, 0.5)["recall"] == 2 / 3
    assert coco_report.at_precision(judged, 0.51)["min_score"] == 0.9
    last = coco_report.judge(coco_ap.read_labels(labels), people[4:5])
    assert coco_report.at_precision(last, 0.5)["recall"] == 0
    assert coco_report.at_precision(last, 0.5)["min_score"] is None


def test_all_people_have_the_recall_of_pycocotools():
    truth = json.loads(gzip.decompress((GOLDENS / "coco_gt.json.gz").read_bytes()))
    results = json.loads(gzip.decompress((GOLDENS / "coco_dt.json.gz").read_bytes()))
    figures = coco_report.at_score(coco_report.judge(coco_ap.read_labels(truth), results), -np.inf)
    report = coco_ap.evaluate(truth, results, samples=0)
    assert figures["n_persons"] == report["n_persons"]
    assert figures["recall"] == pytest.approx(report["AR50"], abs=0.01)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"source": "coco2017-val"}, "val2017"),
        ({"source": "coco2017-train", "file_name": "val2017/1.jpg"}, "train2017"),
        ({"source": "coco2017", "origin_image": "who/coco:x/val2017/1.jpg"}, "val2017"),
        ({"file_name": "train2017/1.jpg"}, "train2017"),
        ({"coco_url": "http://images.cocodataset.org/val2017/1.jpg"}, "val2017"),
        ({"file_name": "my_val2017/1.jpg", "source": "mine"}, "unknown"),
        ({"file_name": "val2017.jpg"}, "unknown"),
    ],
)
def test_the_part_of_coco_is_told_by_source_or_folder(image, expected):
    assert coco_report.origin(image) == expected


def test_ap_by_origin_is_that_of_the_pictures_alone(labels, people):
    report = coco_report.by_origin(labels, people)
    assert list(report) == ["train2017", "val2017"]  # one complete picture each
    for name, image in (("val2017", 1), ("train2017", 2)):
        alone = {**labels, "images": [labels["images"][image - 1]]}
        alone["annotations"] = [a for a in labels["annotations"] if a["image_id"] == image]
        mine = [person for person in people if person["image_id"] == image]
        expected = coco_ap.evaluate(alone, mine, samples=0)
        figures = {"AP": expected["AP"], "n": 1, "n_persons": expected["n_persons"]}
        assert report[name] == figures
    assert 0 < report["val2017"]["AP"] < 1 == pytest.approx(report["train2017"]["AP"])


def test_another_detector_stands_beside_ours(labels, people):
    other = [person for person in people if person["image_id"] != 2]
    report = coco_report.against(labels, people, other, 0.9, samples=50)
    ours, theirs = (coco_ap.evaluate(labels, r, samples=0)["AP"] for r in (people, other))
    assert report["AP"] == theirs
    assert report["difference"] == pytest.approx(ours - theirs)
    assert report["difference"] > 0
    low, high = report["interval"]["difference"]
    assert low <= report["difference"] <= high
    assert report["at_our_precision"]["recall"] == 1 / 3
    assert report["at_our_precision"]["min_score"] == 0.9
    short = coco_report.against(labels, people, other, 1.0, samples=0)
    assert "interval" not in short
    assert short["difference"] == pytest.approx(report["difference"])
    assert short["at_our_precision"] is None  # nobody of ours is shown


def test_other_results_are_read_and_checked(labels, people, tmp_path):
    file = tmp_path / "other.json"
    elsewhere = [{**people[0], "image_id": 77}]

    def read(content) -> list:
        file.write_text(json.dumps(content))
        return coco_report.read_other(file, labels)

    assert read(people + elsewhere) == people
    broken = copy.deepcopy(people)
    broken[1]["keypoints"].pop()
    for content, message in (
        (elsewhere, "nobody in it is on these pictures"),
        ([], "nobody in it is on these pictures"),
        ({"images": []}, "results are a list"),
        (broken, "result 1: 50 numbers for 17 joints"),
        (["text"], "result 0: not a COCO result"),
        ([{**people[0], "image_id": [1]}], "result 0: "),
    ):
        with pytest.raises(DataError, match=message) as error:
            read(content)
        assert str(file) in str(error.value)
    with pytest.raises(DataError, match="can't be read"):
        coco_report.read_other(tmp_path / "none.json", labels)


def test_joints_without_sigmas_have_pck_alone():
    dog = make("dog", ("nose", "eye", "tail"), [("nose", "eye"), ("nose", "tail")])
    points = np.array([[10.0, 10, 2], [20, 12, 2], [70, 40, 2]])
    label = {
        "id": 1, "image_id": 1, "category_id": 4, "iscrowd": 0, "num_keypoints": 3,
        "keypoints": points.ravel().tolist(), "bbox": [10, 10, 60, 30],
    }  # fmt: skip
    labels = {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": [label, {**label, "id": 2, "image_id": 2}],
        "categories": [{"id": 4, "name": "dog", "keypoints": list(dog.joints)}],
    }
    moved = points + np.array([[0, 11.9, 0], [12.1, 0, 0], [0, 0, 0]])  # a fifth of 60 is 12
    found = {"image_id": 1, "category_id": 4, "score": 0.9, "keypoints": moved.ravel().tolist()}
    report = coco_report.people_pck(labels, [found], "raise", dog)
    assert report == {"pck_people": pytest.approx(2 / 6), "n_pck_people": 2}
    with pytest.raises(ConfigError, match="'dog' has no sigmas"):
        coco_report.judge(read_labels(labels, dog), [found], dog)
    same = coco_report.judge(read_labels(labels, dog), [found], with_sigmas(dog, (0.2,) * 3))
    assert same.right.tolist() == [True]
    assert same.persons == 2
