"""COCO's AP against the ten numbers and the OKS that pycocotools stored, and its rules."""

from __future__ import annotations

import copy
import gzip
import json

import numpy as np
import pytest

from bodyjax import metrics, skeleton
from bodyjax.errors import ConfigError, DataError
from bodyjax.evaluate import coco_ap
from tests.shared import GOLDENS, shared


@pytest.fixture(scope="module")
def golden():
    return json.loads((GOLDENS / "coco_stats.json").read_text())


@pytest.fixture(scope="module")
def truth():
    return json.loads(gzip.decompress((GOLDENS / "coco_gt.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def found():
    return json.loads(gzip.decompress((GOLDENS / "coco_dt.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def evaluation(truth, found):
    labels = coco_ap.read_labels(truth)
    people, left_out = coco_ap.read_results(found, labels, 17)
    assert not left_out
    return coco_ap.match(labels, people, metrics.sigmas(skeleton.COCO17))


def test_statistics_equal_golden(golden, truth, found):
    before = copy.deepcopy((truth, found))
    report = coco_ap.evaluate(truth, found, samples=20)
    for name, value in golden["stats"].items():
        assert report[name.replace("_", "")] == pytest.approx(value, abs=1e-6), name
    low, high = report["interval"]["AP"]
    assert low < report["AP"] < high
    assert report["n"] == golden["n_images"]
    assert report["n_persons"] + report["n_ignored"] == golden["n_gt"]
    assert (truth, found) == before


def test_oks_and_recall_equal_golden(golden, evaluation):
    assert len(golden["oks"]) > 10
    for record in golden["oks"]:
        got = coco_ap.picture_oks(evaluation, record["image_id"])
        assert got.results == record["dt_index"]
        assert got.labels == record["gt_ids"]
        expected = np.reshape(record["oks"], got.oks.shape)
        np.testing.assert_allclose(got.oks, expected, atol=1e-6)
    np.testing.assert_allclose(evaluation.eval["recall"][:, 0, :, 0], golden["recall"], atol=1e-6)
    precision = evaluation.eval["precision"][:, :, 0, :, 0].mean(axis=1)
    np.testing.assert_allclose(precision, golden["mean_precision"], atol=1e-6)


def test_perfect_and_empty_results(truth):
    people = [a for a in truth["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    perfect = [
        {k: a[k] for k in ("image_id", "category_id", "keypoints")} | {"score": 0.5} for a in people
    ]
    report = coco_ap.evaluate(truth, perfect, samples=0)
    assert report["AP50"] > 0.9
    crowded = report["left_out_reasons"].get("results beyond 20 in a picture", 0)
    assert report["AR"] == pytest.approx(1 - crowded / len(people), abs=0.02)
    empty = coco_ap.evaluate(truth, [], samples=10)
    assert empty["AP"] == empty["AR"] == 0
    nobody = coco_ap.evaluate({**truth, "annotations": []}, perfect)
    assert nobody["AP"] is None
    assert nobody["n_persons"] == 0
    assert "interval" not in nobody
    json.dumps([report, empty, nobody], allow_nan=False)


def test_results_without_numbers_are_counted(truth, found):
    clean = coco_ap.evaluate(truth, found, samples=0)
    broken = copy.deepcopy(found)
    nothing = dict(found[0], keypoints=[float("nan")] * 51)
    broken += [nothing, dict(found[0], score=float("nan"))]
    report = coco_ap.evaluate(truth, broken, samples=0)
    assert {k: report[k] for k in coco_ap.STATS} == {k: clean[k] for k in coco_ap.STATS}
    assert report["left_out_reasons"]["results without joints"] == 1
    assert report["left_out_reasons"]["results without score"] == 1
    # One joint without a number is a missing joint: 0, 0 as COCO writes it.
    one, zero = copy.deepcopy(found), copy.deepcopy(found)
    one[0]["keypoints"][:2] = [float("nan"), 7.0]
    zero[0]["keypoints"][:3] = [0.0, 0.0, 0.0]
    one, zero = (coco_ap.evaluate(truth, r, samples=0) for r in (one, zero))
    assert {k: one[k] for k in coco_ap.STATS} == {k: zero[k] for k in coco_ap.STATS}
    assert one["left_out_reasons"]["joints without number, written as 0, 0"] == 1


def test_incomplete_pictures_count_for_recall_only(truth, found):
    apart = copy.deepcopy(truth)
    ids = sorted(image["id"] for image in apart["images"])
    for image in apart["images"]:
        image["persons_complete"] = image["id"] not in ids[:10]
        image["split"] = "test" if image["id"] in ids[5:] else "train"
    report = coco_ap.evaluate(apart, found, samples=0)

    def only(wanted):
        return {
            **truth,
            "images": [i for i in truth["images"] if i["id"] in wanted],
            "annotations": [a for a in truth["annotations"] if a["image_id"] in wanted],
        }, [d for d in found if d["image_id"] in wanted]

    rest, first = (coco_ap.evaluate(*only(w), samples=0) for w in (ids[10:], ids[:10]))
    assert {k: report[k] for k in coco_ap.STATS} == {k: rest[k] for k in coco_ap.STATS}
    assert (report["n"], report["left_out"]) == (20, 10)
    others = report["incomplete_pictures"]
    assert [others[k] for k in ("AR", "AR50", "AR75")] == [first[k] for k in ("AR", "AR50", "AR75")]
    # A wrong detection costs precision in a complete picture, nothing in the others.
    wrong = [dict(found[0], image_id=i, score=9.0, keypoints=[1.0] * 51) for i in (ids[1], ids[12])]
    costless = coco_ap.evaluate(apart, found + wrong[:1], samples=0)
    assert costless["AP"] == report["AP"]
    assert costless["incomplete_pictures"]["AR"] == others["AR"]
    assert coco_ap.evaluate(apart, found + wrong[1:], samples=0)["AP"] < report["AP"]
    test = coco_ap.evaluate(apart, found, split="test", samples=0)
    assert test["split"] == {"test": 25}
    assert report["split"] == {"test": 25, "train": 5}
    assert (test["n"], test["left_out"]) == (20, 5)
    assert test["left_out_reasons"]["results on other pictures"] > 0
    with pytest.raises(DataError, match="no picture is of split"):
        coco_ap.evaluate(apart, found, split="valid")


def test_ids_and_areas_that_pycocotools_would_misread(truth, found):
    clean = coco_ap.evaluate(truth, found, samples=0)
    from_zero = copy.deepcopy(truth)
    for number, person in enumerate(from_zero["annotations"]):
        person["id"] = number
    again = coco_ap.evaluate(from_zero, found, samples=0)
    assert {k: again[k] for k in coco_ap.STATS} == {k: clean[k] for k in coco_ap.STATS}
    # A box beside the joints would change the detection's area in pycocotools.
    boxed = [dict(person, bbox=[0, 0, 1, 1]) for person in found]
    again = coco_ap.evaluate(truth, boxed, samples=0)
    assert {k: again[k] for k in coco_ap.STATS} == {k: clean[k] for k in coco_ap.STATS}
    bare = copy.deepcopy(truth)
    del bare["annotations"][0]["area"]
    label = coco_ap.read_labels(bare).dataset["annotations"][0]
    assert label["area"] == pytest.approx(0.53 * label["bbox"][2] * label["bbox"][3])


AREAS = "areas missing or not above 0: taken from the box"
BOXES = "boxes missing or without extent: taken from the joints"
COUNTS = "num_keypoints other than the joints: counted anew"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("area", 0, AREAS),
        ("area", -5.0, AREAS),
        ("area", float("nan"), AREAS),
        ("area", None, AREAS),
        ("bbox", None, BOXES),
        ("bbox", [3, 4, -1, 0], BOXES),
        ("num_keypoints", 0, COUNTS),
        ("num_keypoints", 400, COUNTS),
    ],
)
def test_what_contradicts_the_joints_is_taken_from_them_and_counted(
    truth, found, field, value, reason
):
    changed = copy.deepcopy(truth)
    chosen = [k for k, a in enumerate(changed["annotations"]) if a["num_keypoints"] > 2][:3]
    for number in chosen:
        changed["annotations"][number][field] = value
    labels = coco_ap.read_labels(changed)
    assert labels.left_out == {reason: 3}
    for number in chosen:
        label, was = labels.dataset["annotations"][number], truth["annotations"][number]
        points = np.reshape(was["keypoints"], (17, 3))
        points = points[points[:, 2] > 0, :2]
        assert label["num_keypoints"] == len(points)
        if field == "bbox":
            np.testing.assert_allclose(label["bbox"][:2], points.min(0))
            np.testing.assert_allclose(label["bbox"][2:], np.ptp(points, axis=0))
        if field == "area":
            assert label["area"] == pytest.approx(0.53 * np.prod(was["bbox"][2:]))
    if field == "num_keypoints":  # nothing else decides
        clean, same = (coco_ap.evaluate(t, found, samples=0) for t in (truth, changed))
        assert {k: same[k] for k in coco_ap.STATS} == {k: clean[k] for k in coco_ap.STATS}


def test_joints_in_rows_of_three(truth, found):
    rows = copy.deepcopy(truth)
    for person in rows["annotations"]:
        person["keypoints"] = np.reshape(person["keypoints"], (17, 3)).tolist()
    results = [p | {"keypoints": np.reshape(p["keypoints"], (17, 3)).tolist()} for p in found]
    clean, nested = (
        coco_ap.evaluate(t, r, samples=0) for t, r in ((truth, found), (rows, results))
    )
    assert {k: nested[k] for k in coco_ap.STATS} == {k: clean[k] for k in coco_ap.STATS}


def test_results_whose_names_and_ids_contradict_each_other(truth, found):
    named = copy.deepcopy(truth)
    for image in named["images"]:
        image["file_name"] = f"val/{image['id']}.jpg"
    good = [person | {"file_name": f"{person['image_id']}.JPG"} for person in found]
    clean, same = (coco_ap.evaluate(t, r, samples=0) for t, r in ((truth, found), (named, good)))
    assert {k: same[k] for k in coco_ap.STATS} == {k: clean[k] for k in coco_ap.STATS}
    other = next(p["image_id"] for p in found if p["image_id"] != found[0]["image_id"])
    wrong = [good[0] | {"file_name": f"val/{other}.jpg"}, *good[1:]]
    with pytest.raises(DataError, match=rf"result 0: is of val/{other}\.jpg, but picture"):
        coco_ap.evaluate(named, wrong, samples=0)


def test_pictures_with_an_id_of_several(truth, found):
    twice = {**truth, "images": [*truth["images"], dict(truth["images"][0])]}
    with pytest.raises(DataError, match="is listed more than once"):
        coco_ap.read_labels(twice)
    labels = coco_ap.read_labels(twice, on_bad="skip")
    assert labels.left_out["pictures with an id of several"] == 2
    assert len(labels.dataset["images"]) == len(truth["images"]) - 1


def test_paired_bootstrap_of_ap(truth, found):
    rng = np.random.default_rng(0)
    worse = copy.deepcopy(found)
    for person in worse:
        noise = rng.normal(scale=6, size=(17, 2))
        points = np.reshape(person["keypoints"], (17, 3))
        points[:, :2] += noise
        person["keypoints"] = points.ravel().tolist()
    got = coco_ap.compare(truth, found, worse, samples=40)
    assert 0 < got.low < got.difference < got.high
    assert got.share_above == 1
    same = coco_ap.compare(truth, found, found, samples=5)
    assert same == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(keypoints=a["keypoints"][:-3]), "48 joint values instead of 51"),
        (lambda a: a.update(keypoints=[float("nan")] * 51), "joints that are not numbers"),
        (lambda a: a.update(bbox=[0, 0, float("inf"), 1]), "invalid bounding box"),
        (lambda a: a.update(bbox=[0, 0, "wide", 1]), "invalid bounding box"),
        (lambda a: a.update(keypoints="none"), "joints that are not numbers"),
        (lambda a: a.update(keypoints=["1"] * 51), "joints that are not numbers"),
        (lambda a: a.update(area="large"), "area or num_keypoints is not a number"),
        (lambda a: a.update(num_keypoints="all"), "area or num_keypoints is not a number"),
        (lambda a: a.update(iscrowd="no"), "iscrowd other than 0, 1"),
        (lambda a: a.update(image_id=-1), "the picture is not listed"),
        (lambda a: a.update(image_id=[1]), "is not listed"),
        (lambda a: a.update(category_id=77), "unknown category 77"),
    ],
)
def test_broken_labels(truth, found, change, message):
    broken = copy.deepcopy(truth)
    change(broken["annotations"][0])
    with pytest.raises(DataError, match=message) as error:
        coco_ap.evaluate(broken, found)
    assert "annotation 1" in str(error.value)
    if "listed" in message or "category" in message:
        report = coco_ap.evaluate(broken, found, on_bad="skip", samples=0)
        assert report["left_out_reasons"]["labels without a listed picture or category"] == 1
        return
    # Skipped: like the same person without labelled joints.
    ignored = copy.deepcopy(truth)
    person = ignored["annotations"][0]
    person.update(keypoints=[0] * 51, num_keypoints=0)
    report = coco_ap.evaluate(broken, found, on_bad="skip", samples=0)
    assert report["left_out_reasons"]["persons with broken labels, ignored"] == 1
    if broken["annotations"][0]["bbox"] == truth["annotations"][0]["bbox"]:
        expected = coco_ap.evaluate(ignored, found, samples=0)
        assert {k: report[k] for k in coco_ap.STATS} == {k: expected[k] for k in coco_ap.STATS}


def test_labels_and_pictures_that_are_none(truth, found):
    stray = {**truth, "annotations": [*truth["annotations"], "text", None]}
    number = len(truth["annotations"])
    with pytest.raises(DataError, match=f"annotation {number}: an annotation is not an object"):
        coco_ap.evaluate(stray, found)
    nameless = {**truth, "images": [*truth["images"], {"id": None}]}
    with pytest.raises(DataError, match="invalid picture id"):
        coco_ap.evaluate(nameless, found)
    mixed = {**truth, "images": [*truth["images"], {"id": "a"}]}
    with pytest.raises(DataError, match="numbers and texts"):
        coco_ap.evaluate(mixed, found)
    clean = coco_ap.evaluate(truth, found, samples=0)
    for broken, reason, count in (
        (stray, "labels without a listed picture or category", 2),
        (nameless, "pictures without an id", 1),
    ):
        report = coco_ap.evaluate(broken, found, on_bad="skip", samples=0)
        assert {k: report[k] for k in coco_ap.STATS} == {k: clean[k] for k in coco_ap.STATS}
        assert report["left_out_reasons"][reason] == count


def test_joints_are_known_by_their_names(truth, found):
    """Labels whose category lists the joints backwards give the same figures."""
    backwards = copy.deepcopy(truth)
    (category,) = (c for c in backwards["categories"] if c.get("keypoints"))
    category["keypoints"].reverse()
    for person in backwards["annotations"]:
        person["keypoints"] = np.reshape(person["keypoints"], (17, 3))[::-1].ravel().tolist()
    clean, report = (coco_ap.evaluate(t, found, samples=0) for t in (truth, backwards))
    assert {k: report[k] for k in coco_ap.STATS} == {k: clean[k] for k in coco_ap.STATS}
    category["keypoints"][0] = "neck"
    with pytest.raises(DataError, match="no joint is called right_ankle"):
        coco_ap.evaluate(backwards, found)


def test_broken_results_and_files(truth, found, tmp_path):
    for change, message in (
        ({"image_id": -5}, "picture -5 is not in the labels"),
        ({"image_id": [1]}, "not a COCO result"),
        ({"category_id": 3}, "category 3 is not 1"),
        ({"keypoints": [1.0] * 50}, "50 numbers for 17 joints"),
        ({"score": "high"}, "not a COCO result"),
    ):
        with pytest.raises(DataError, match=message):
            coco_ap.evaluate(truth, [found[0] | change])
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(truth)[:-40])
    with pytest.raises(DataError, match=r"labels\.json: can't be read as JSON"):
        coco_ap.evaluate(file, found)
    file.write_text("{}")
    with pytest.raises(DataError, match="not a COCO keypoint file"):
        coco_ap.evaluate(file, found)
    file.write_text(json.dumps(truth))
    results = tmp_path / "results.json"
    results.write_text(json.dumps(found))
    assert coco_ap.evaluate(file, results, samples=0)["n"] == len(truth["images"])
    with pytest.raises(ConfigError, match="'lsp14' has no sigmas"):
        coco_ap.evaluate(truth, found, skeleton=skeleton.get("lsp14"))
    custom = skeleton.make("two", "a b", "a-b", sigmas=(0.1, 0.1))
    with pytest.raises(DataError, match="17 joints, two has 2"):
        coco_ap.evaluate(truth, found, skeleton=custom)


def test_multi_counts():
    """The counts that the set's own README gives for its test pictures."""
    report = coco_ap.evaluate(shared("data/multi/annotations.json"), [], split="test", samples=0)
    assert (report["n"], report["n_persons"], report["n_ignored"]) == (76, 246, 136)
    assert report["incomplete_pictures"]["n"] == 55
    assert report["n_persons"] + report["incomplete_pictures"]["n_persons"] == 416
