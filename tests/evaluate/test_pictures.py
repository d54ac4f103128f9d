"""Figures of known detections on small sets: counted by hand, and equal to pycocotools' own."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from bodyjax import detect, metrics
from bodyjax.data import affine
from bodyjax.errors import ConfigError, DataError
from bodyjax.evaluate import coco_ap, pictures
from bodyjax.skeleton import BODY18, COCO17, LSP14
from tests.picture_sets import body, coco_set, knowing, lsp_body, lsp_set
from tests.shared import shared


def _lsp(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten pictures of 14 joints; torsos of more than 10 pixels but in picture 3; all labelled but
    the shoulder of picture 4 and an ankle of picture 5."""
    rng = np.random.default_rng(seed)
    joints = rng.uniform([5, 5], [45, 35], (10, 14, 2)).astype(np.float32)
    joints[:, LSP14.index("left_shoulder")] = (15, 10)
    joints[:, LSP14.index("right_hip")] = (30, 30)  # torso 25, 0.2 of it: 5
    joints[3, LSP14.index("right_hip")] = (18, 12)
    labelled = np.ones((10, 14), bool)
    labelled[4, LSP14.index("left_shoulder")] = False
    labelled[5, LSP14.index("left_ankle")] = False
    return joints, labelled, np.arange(8, 18)


def test_pck_counts_what_is_within_a_fifth_of_the_torso(tmp_path):
    joints, labelled, ids = _lsp()
    poses = {row: [lsp_body(joints[row])] for row in range(10)}
    poses[0][0][BODY18.index("right_wrist")] += (4.8, 0)  # right
    poses[1][0][BODY18.index("right_wrist")] += (5.2, 0)  # wrong
    poses[2][0][BODY18.index("left_knee")] = np.nan  # missing: wrong
    poses[6].append(poses[6][0] + 30)  # a worse person beside the best one
    data = lsp_set(tmp_path / "lsp", joints, labelled, ids)
    report = pictures.evaluate(knowing(poses), data, samples=50, progress=False)
    assert (report["n"], report["left_out"]) == (8, 2)
    assert report["n_limb_joints"] == 8 * 12 - 1
    assert report["pck_limbs"] == pytest.approx(93 / 95)
    assert report["per_joint"]["right_wrist"] == pytest.approx(7 / 8)
    assert report["per_joint"]["left_knee"] == pytest.approx(7 / 8)
    assert report["per_joint"]["head_top"] == 0
    assert report["left_out_reasons"] == {"torso not labelled": 1, "torso too short": 1}
    assert report["split"] == {"train": 9, "test": 1}  # id 10 is held out
    assert report["nobody"] == 0
    low, high = report["interval"]["pck_limbs"]
    assert low <= 93 / 95 <= high
    json.dumps(report)


def test_pck_takes_the_person_of_highest_score_and_the_maxima_where_nobody_is(tmp_path):
    joints, labelled, ids = _lsp()
    right = {row: lsp_body(joints[row]) for row in range(10)}
    data = lsp_set(tmp_path / "lsp", joints, labelled, ids)
    second_best = {row: [pose + 20, pose] for row, pose in right.items()}
    rising = knowing(second_best, score=lambda person: 0.5 + 0.1 * person)
    falling = knowing(second_best)
    assert pictures.evaluate(rising, data, samples=0)["pck_limbs"] == 1
    assert pictures.evaluate(falling, data, samples=0)["pck_limbs"] < 0.4
    nobody = pictures.evaluate(knowing({}), data, samples=0)
    assert nobody["nobody"] == 10
    middle = np.full((10, 14, 2), np.nan)
    middle[:, :13] = affine.move(
        np.full((1, 2), 32.0), affine.inverse(detect.canvas_map((40, 50), 64))
    )
    expected = metrics.lsp_pck(middle, joints, labelled)["pck_limbs"]
    assert nobody["pck_limbs"] == pytest.approx(expected)


def test_results_of_lsp_arrays_are_refused_before_the_work(tmp_path):
    data = lsp_set(tmp_path / "lsp", *_lsp())
    with pytest.raises(ConfigError, match="results: COCO results are of people"):
        pictures.evaluate("small", data, results=tmp_path / "a.json")


def test_splits_of_lsp_arrays(tmp_path):
    joints, labelled, ids = _lsp()
    data = lsp_set(tmp_path / "lsp", joints, labelled, ids)
    one = knowing({row: [lsp_body(joints[row])] for row in range(10)})
    test = pictures.evaluate(one, data, "test", samples=0)
    assert test["split"] == {"train": 0, "test": 1}
    assert test["n"] == 1
    assert pictures.evaluate(one, data, "valid", samples=0)["split"]["train"] == 1  # id 11
    with pytest.raises(ConfigError, match="no part"):
        pictures.evaluate(one, data, "tests", samples=0)


def test_bad_pictures_raise_or_are_counted_and_named(tmp_path):
    joints, labelled, ids = _lsp()
    data = lsp_set(tmp_path / "lsp", joints, labelled, ids)
    (data / "images" / "im00009.png").write_bytes(b"broken")
    (data / "images" / "im00012.png").unlink()
    one = knowing({row: [lsp_body(joints[row])] for row in range(10)})
    with pytest.raises(DataError, match="12"):
        pictures.evaluate(one, data, samples=0)
    report = pictures.evaluate(one, data, on_bad="skip", samples=0)
    assert report["n"] == 7  # picture 12 is the one without a shoulder
    assert report["left_out"] == 3
    assert any("im00009" in line for line in report["bad"])
    assert any("12" in line for line in report["bad"])
    assert report["left_out_reasons"]["pictures that can't be read"] == 1
    assert report["pck_limbs"] == 1


def _coco(seed: int = 0) -> list[list[np.ndarray]]:
    """Six pictures of 1 to 3 people far apart."""
    rng = np.random.default_rng(seed)
    people = []
    for row in range(6):
        tables = []
        for person in range(1 + row % 3):
            xy = rng.uniform(0, 12, (17, 2)) + np.array([2 + 16 * person, 10])
            tables.append(np.concatenate([xy, np.full((17, 1), 2)], axis=1))
        people.append(tables)
    return people


def test_ap_of_perfect_and_of_missing_people(tmp_path):
    people = _coco()
    data = coco_set(tmp_path / "coco", people)
    poses = {row: [body(table) for table in tables] for row, tables in enumerate(people)}
    perfect = pictures.evaluate(knowing(poses), data, samples=20, progress=False)
    assert perfect["AP"] == pytest.approx(1)
    assert perfect["n"] == 6
    assert perfect["n_persons"] == 12
    assert set(perfect["per_joint"]) == set(COCO17.joints)
    assert all(value == pytest.approx(1, abs=1e-3) for value in perfect["per_joint"].values())
    del poses[2]
    missing = pictures.evaluate(knowing(poses), data, samples=0)
    assert missing["AR"] == pytest.approx(9 / 12)
    assert missing["AP"] < 0.8
    assert all(value == pytest.approx(9 / 12, abs=1e-3) for value in missing["per_joint"].values())


def test_pck_of_people_counts_limb_joints_within_a_fifth_of_the_torso(tmp_path):
    people = _coco()
    people[0][0][:, :2] *= 0.3  # a torso of less than ten pixels: left out
    people[1][0][COCO17.index("right_hip"), 2] = 0  # no torso
    data = coco_set(tmp_path / "coco", people, persons_complete=[True] * 5 + [False])
    rng = np.random.default_rng(1)
    moved = [[t + np.pad(rng.uniform(-3, 3, (17, 2)), ((0, 0), (0, 1))) for t in p] for p in people]
    poses = {row: [body(table) for table in tables] for row, tables in enumerate(moved)}
    del poses[3]
    right = total = persons = 0
    for row, tables in enumerate(people):
        for table, found in zip(tables, moved[row], strict=True):
            shoulder, hip = (table[COCO17.index(name)] for name in ("left_shoulder", "right_hip"))
            torso = np.hypot(*(shoulder - hip)[:2])
            if torso < 10 or not shoulder[2] * hip[2]:
                continue
            persons += 1
            for joint in range(5, 17):
                total += table[joint, 2] > 0
                away = np.hypot(*(found - table)[joint, :2])
                right += bool(row != 3 and table[joint, 2] > 0 and away <= 0.2 * torso)
    assert 0 < right < total
    assert persons < 12
    report = pictures.evaluate(knowing(poses), data, samples=0)
    assert report["n_pck_people"] == persons
    assert report["pck_people"] == pytest.approx(right / total)


def test_a_category_of_any_number_is_the_person(tmp_path):
    people = _coco()
    data = coco_set(tmp_path / "coco", people)
    content = json.loads((data / "annotations.json").read_text())
    content["categories"][0]["id"] = 7
    for label in content["annotations"]:
        label["category_id"] = 7
    (data / "annotations.json").write_text(json.dumps(content))
    poses = {row: [body(table) for table in tables] for row, tables in enumerate(people)}
    file = tmp_path / "results.json"
    report = pictures.evaluate(knowing(poses), data, samples=0, results=file)
    assert report["AP"] == pytest.approx(1)
    assert {person["category_id"] for person in json.loads(file.read_text())} == {7}


def test_joints_in_another_order_are_known_by_their_names(tmp_path):
    people = _coco()
    data = coco_set(tmp_path / "coco", people)
    content = json.loads((data / "annotations.json").read_text())
    content["categories"][0]["keypoints"].reverse()
    for label in content["annotations"]:
        label["keypoints"] = np.reshape(label["keypoints"], (17, 3))[::-1].ravel().tolist()
    (data / "annotations.json").write_text(json.dumps(content))
    poses = {row: [body(table) for table in tables] for row, tables in enumerate(people)}
    report = pictures.evaluate(knowing(poses), data, samples=0)
    assert report["AP"] == pytest.approx(1)
    assert all(value == pytest.approx(1, abs=1e-3) for value in report["per_joint"].values())


def test_splits_of_other_names_are_counted_and_need_no_split(tmp_path):
    people = _coco()
    data = coco_set(tmp_path / "coco", people, split=["kept"] * 4 + ["val", "train"])
    poses = {row: [body(table) for table in tables] for row, tables in enumerate(people)}
    report = pictures.evaluate(knowing(poses), data, samples=0)
    assert report["AP"] == pytest.approx(1)
    assert report["split"] == {"train": 1, "test": 0, "kept": 4, "val": 1}
    with pytest.raises(DataError, match="no split 'kept'"):
        pictures.evaluate(knowing(poses), data, "test", samples=0)


def test_best_and_worst_pictures_are_drawn_in_order(tmp_path):
    people = _coco()
    data = coco_set(tmp_path / "coco", people)
    away = (2.6, 0.0, 0.3, 1.8, 1.2, 0.7)  # pixels that each picture's people are off
    poses = {row: [body(t) + away[row] for t in tables] for row, tables in enumerate(people)}
    report = pictures.evaluate(
        knowing(poses), data, samples=0, progress=False, pictures=tmp_path / "shown"
    )
    shown = report["pictures"]
    assert [name for name, _ in shown] == ["1.png", "2.png", "5.png", "4.png", "3.png", "0.png"] * 2
    assert shown[0][1] == pytest.approx(1, abs=1e-4)
    assert shown[5][1] < 0.6
    best = np.asarray(Image.open(tmp_path / "shown/best.jpg")).astype(int)
    assert best.shape == (240, 6 * 240, 3)
    # Picture 1, 4.8 times as large below a margin of 24 rows: two people between (2, 10), (30, 22).
    drawn = np.abs(best[:, :240] - 8).max(-1) > 60
    assert drawn[72:130, 10:144].mean() > 0.1
    drawn[66:136, 4:150] = False
    assert drawn[40:, :].mean() < 0.25  # the grey margin below, and nothing else


def test_written_results_give_the_same_figures(tmp_path):
    people = _coco(1)
    data = coco_set(tmp_path / "coco", people)
    rng = np.random.default_rng(0)
    poses = {
        row: [body(table) + rng.normal(0, 1.5, (18, 2)) for table in tables]
        for row, tables in enumerate(people)
    }
    report = pictures.evaluate(knowing(poses), data, samples=0, results=tmp_path / "found.json")
    again = coco_ap.evaluate(data / "annotations.json", tmp_path / "found.json", samples=0)
    assert 0.1 < report["AP"] < 1
    for name in coco_ap.STATS:
        assert report[name] == again[name]


def test_shown_people_origins_and_another_detector_are_told(tmp_path):
    people = _coco()
    sources = ["coco2017-val", "coco2017-train", "coco2017-val", "mine", "mine", "mine"]
    data = coco_set(tmp_path / "coco", people, source=sources)
    poses = {row: [body(table) for table in tables] for row, tables in enumerate(people)}
    worse = {row: poses[row] for row in (0, 1, 2)}
    file = tmp_path / "worse.json"
    pictures.evaluate(knowing(worse), data, samples=0, results=file)
    one = knowing(poses)  # a picture's second person has score 0.9
    shy = dataclasses.replace(one, settings=dataclasses.replace(one.settings, min_person=0.95))
    report = pictures.evaluate(shy, data, samples=20, against=file)
    count = sum(len(tables) for tables in people)
    assert report["shown"]["min_score"] == 0.95
    assert report["shown"]["precision"] == 1
    assert report["shown"]["n_persons"] == count
    assert report["shown"]["recall"] == sum(bool(tables) for tables in people) / count
    assert {name: part["n"] for name, part in report["by_origin"].items()} == {
        "unknown": 3, "val2017": 2, "train2017": 1,
    }  # fmt: skip
    assert report["against"]["results"] == str(file)
    assert report["against"]["difference"] == pytest.approx(report["AP"] - report["against"]["AP"])
    assert report["against"]["difference"] > 0.2
    found = sum(len(people[row]) for row in worse)
    assert report["against"]["at_our_precision"]["recall"] == found / count
    json.dumps(report)


def test_results_of_others_are_not_for_joints_of_lsp(tmp_path):
    joints, labelled, ids = _lsp()
    data = lsp_set(tmp_path / "lsp", joints, labelled, ids)
    with pytest.raises(ConfigError, match="against: COCO results"):
        pictures.evaluate(knowing({}), data, against=tmp_path / "other.json")


def test_incomplete_pictures_count_for_recall_only(tmp_path):
    people = _coco()
    complete = [True, True, False, True, False, True]
    data = coco_set(
        tmp_path / "coco", people, persons_complete=complete, split=["train"] * 3 + ["test"] * 3
    )
    poses = {row: [body(table) for table in tables] for row, tables in enumerate(people)}
    poses[2].append(poses[2][0] + 20)
    report = pictures.evaluate(knowing(poses), data, samples=0)
    assert report["AP"] == pytest.approx(1)
    assert (report["n"], report["left_out"]) == (4, 2)
    assert report["left_out_reasons"] == {"not complete, recall only": 2}
    assert report["incomplete_pictures"]["AR"] == pytest.approx(1)
    assert report["split"] == {"train": 3, "test": 3}
    test = pictures.evaluate(knowing(poses), data, "test", samples=0)
    assert test["split"] == {"train": 0, "test": 3}
    assert test["n_persons"] == 1 + 3


def test_faults_of_coco_files_raise_or_are_counted(tmp_path):
    people = _coco()
    data = coco_set(tmp_path / "coco", people)
    content = json.loads((data / "annotations.json").read_text())
    content["annotations"][0]["keypoints"][4] = float("nan")
    content["annotations"] += ["text", {**content["annotations"][0], "image_id": None}]
    content["images"][5]["width"] = None
    (data / "annotations.json").write_text(json.dumps(content))
    (data / "images" / "3.png").unlink()
    poses = {row: [body(table) for table in tables] for row, tables in enumerate(people)}
    with pytest.raises(DataError):
        pictures.evaluate(knowing(poses), data, samples=0)
    report = pictures.evaluate(knowing(poses), data, on_bad="skip", samples=0)
    assert report["n"] == 3
    assert len(report["bad"]) == 5
    assert report["AP"] == pytest.approx(1)


def test_rendered_people_give_ap_and_pck(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    joints = rng.uniform([5, 5], [45, 35], (3, 17, 2))
    joints[:, COCO17.index("left_shoulder")] = (15, 10)
    joints[:, COCO17.index("right_hip")] = (30, 30)
    for row in range(2):
        Image.fromarray(np.full((40, 50, 3), 8 * row, np.uint8)).save(
            tmp_path / "images" / f"{row}.png"
        )
    low, high = joints.min(1), joints.max(1)
    np.savez(
        tmp_path / "labels.npz",
        image_name=np.array(["0.png", "1.png"]), image_split=np.array(["train", "test"]),
        person_image=np.array([0, 1, 1]), coco_2d=(joints + 0.5).astype(np.float32),
        coco_vis=np.full((3, 17), 2, np.uint8), person_area=np.full(3, 500.0),
        person_box=np.concatenate([low, high], 1) + 0.5,
    )  # fmt: skip
    poses = {0: [body(joints[0])], 1: [body(joints[1]), body(joints[2])]}
    report = pictures.evaluate(knowing(poses), tmp_path, samples=0)
    assert report["AP"] == pytest.approx(1)
    assert report["pck_limbs"] == pytest.approx(1)
    assert (report["pck_pictures"], report["pck_left_out"]) == (1, 1)
    assert report["split"] == {"train": 1, "test": 1}


def test_sets_that_are_no_pictures_are_refused(tmp_path):
    np.savez(tmp_path / "natops.npz", x=np.zeros(3))
    with pytest.raises(ConfigError, match="natops"):
        pictures.evaluate(knowing({}), tmp_path)
    with pytest.raises(DataError, match="no such"):
        pictures.evaluate(knowing({}), tmp_path / "nothing")


def test_the_held_out_tenth_of_lspet_has_the_counts_of_its_readme():
    """706 pictures and 7,929 limb joints: the stored predictions of the public model give 0.709."""
    data = shared("data/lspet")
    with np.load(data / "labels.npz") as labels, np.load(data / "teacher.npz") as teacher:
        held = labels["heldout"]
        order = {int(i): row for row, i in enumerate(teacher["ids"])}
        rows = [order[int(i)] for i in labels["ids"][held]]
        xy = teacher["xy"][rows].astype(float)
        joints, labelled = labels["joints"][held], labels["labelled"][held]
    found = np.stack([np.full((14, 2), np.nan) for _ in rows])
    for j, joint in enumerate(LSP14.joints[:12]):
        found[:, j] = xy[:, COCO17.index(joint)]
    report = pictures._pck(found, joints, labelled, LSP14, samples=100)
    assert (report["n"], report["n_limb_joints"], report["left_out"]) == (706, 7929, 294)
    assert report["pck_limbs"] == pytest.approx(0.709, abs=0.002)
    low, high = report["interval"]["pck_limbs"]
    assert low < report["pck_limbs"] < high
