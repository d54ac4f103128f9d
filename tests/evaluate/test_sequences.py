"""Evaluation on joint sets: which set, which part, the measures, and what does not fit."""

import json
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from bodyjax import systems
from bodyjax.data.sequences import array_sets, source
from bodyjax.data.sequences.joint_tables import JointTable, read_joint_csv, write_joint_csv
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import DataError
from bodyjax.evaluate import sequences as sequence_eval
from bodyjax.evaluate.sequences import evaluate
from bodyjax.metrics import Classification
from bodyjax.train import cross_validation
from configs.sequence import get_config
from tests.shared import shared

JOINTS = 22


@pytest.fixture(scope="module")
def ui_prmd(tmp_path_factory):
    """A file in the form of UI-PRMD: 3 subjects x 2 movements x (2 correct, 2 not)."""
    rng = np.random.default_rng(0)
    rows = [(m, s, c) for m in (1, 2) for s in (1, 2, 3) for c in (0, 0, 1, 1)]
    movement, subject, correct = (np.array(column) for column in zip(*rows, strict=True))
    lengths = rng.integers(5, 9, len(rows))
    path = tmp_path_factory.mktemp("ui") / "ui_prmd.npz"
    np.savez(
        path,
        joints=rng.normal(0, 50, (lengths.sum(), JOINTS, 3)).astype(np.float32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        movement=movement,
        subject=subject,
        correct=correct,
        movement_names=np.array(["deep squat", "hurdle step"]),
    )
    return path


def tiny(variant: str, data: source.Sequences, **changes: Any) -> Checkpoint:
    """The variant, small, with random parameters, for the set."""
    config = get_config(variant)
    config.data.update({"steps": 8, **changes})
    config.model.update({"steps": 4, "width": 8, "layers": 1, "projection": 8})
    config.test.samples = 1
    return checkpoint(cross_validation.complete(config, data))


def checkpoint(values: dict[str, Any]) -> Checkpoint:
    from ml_collections import ConfigDict

    settings = ConfigDict(values)
    variables = jax.jit(systems.build(settings).init)(jax.random.key(1))
    return Checkpoint(variables, settings, "sequence")


@pytest.fixture(scope="module")
def scorer(ui_prmd):
    data = source.resampled(array_sets.ui_prmd(ui_prmd), 8)
    return tiny("ui_prmd", data)


def test_measures_are_those_of_the_predictions(scorer, ui_prmd):
    found = evaluate(scorer, ui_prmd.parent, samples=50)
    json.dumps(found, allow_nan=False)
    data = source.resampled(array_sets.ui_prmd(ui_prmd), 8)
    out = systems.build(scorer.config).predict(scorer.variables, data.arrays())
    guess = np.asarray(out["probability"]).argmax(-1)
    right = guess == data.labels
    assert found["n"] == found["windows"] == 24
    assert found["left_out"] == 0
    assert found["split"] == {}
    assert found["accuracy"] == pytest.approx(right.mean())
    recalls = [right[data.labels == k].mean() for k in (0, 1)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert list(found["per_class"].values()) == pytest.approx(recalls)
    assert np.sum(found["confusion"]) == 24
    assert np.trace(found["confusion"]) == right.sum()
    cells = [
        np.mean([right[inside & (data.labels == k)].mean() for k in (0, 1)])
        for s in (1, 2, 3)
        for m in (0, 1)
        for inside in [(data.groups == s) & (data.condition == m)]
    ]
    assert len(found["cells"]) == 6
    assert found["mean_cell_balanced_accuracy"] == pytest.approx(np.mean(cells))
    for m, name in enumerate(("deep squat", "hurdle step")):
        assert found["per_condition"][name]["n"] == 12
        assert found["per_condition"][name]["accuracy"] == right[data.condition == m].mean()
    assert found["per_group"]["2"]["accuracy"] == right[data.groups == 2].mean()
    one = found["per_condition"]["deep squat"]
    assert one["accuracy_interval"]["low"] <= one["accuracy"] <= one["accuracy_interval"]["high"]
    assert found["accuracy_interval"]["over"] == "groups"
    interval = found["balanced_accuracy_interval"]
    assert interval["over"] == "groups"
    assert interval["low"] <= found["balanced_accuracy"] <= interval["high"]


def test_the_file_and_its_folder_are_the_same_set(scorer, ui_prmd):
    system = systems.build(scorer.config)
    opened = [
        sequence_eval.open_set(scorer.config, system, path) for path in (ui_prmd, ui_prmd.parent)
    ]
    assert opened[0].fingerprint == opened[1].fingerprint


def test_clips_are_the_mean_of_their_windows():
    probability = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.6, 0.4]])
    clips = source.Sequences(
        None, None, None, None, None, np.array([0, 0, 0, 1]), (), np.array([1, 1, 1, 0]),
        ("no", "yes"), None, np.zeros(4, int), (), None, {"official": np.array([1, 1, 1, 2])},
        {"without any joint": 2}, "made here",
    )  # fmt: skip
    metrics = Classification(("no", "yes"))
    found = sequence_eval.report(metrics, clips, np.arange(4), probability, 10)
    assert (found["n"], found["windows"], found["left_out"]) == (2, 4, 2)
    assert found["accuracy"] == 1.0  # 0.433 against 0.567 of the first clip
    assert found["split"] == {"train": 1, "test": 1}
    assert "top3" not in found
    assert "per_group" not in found
    probability[3] = np.nan  # the second clip's: a wrong answer, of no class
    found = sequence_eval.report(metrics, clips, np.arange(4), probability, 10)
    assert (found["accuracy"], found["without_prediction"]) == (0.5, 1)
    assert found["balanced_accuracy"] == 0.5
    assert found["confusion"] == [[0, 0], [0, 1]]


def test_what_does_not_fit_is_one_line(scorer, ui_prmd, tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        evaluate(scorer, tmp_path / "nothing")
    with pytest.raises(DataError, match=r"no set of joint sequences.*ui_prmd.npz"):
        evaluate(scorer, tmp_path)
    with pytest.raises(DataError, match=r"there is no part 'test'.*leave it out"):
        evaluate(scorer, ui_prmd, "test")
    (tmp_path / "natops.npz").write_bytes(b"")
    (tmp_path / "ui_prmd.npz").write_bytes(ui_prmd.read_bytes())
    with pytest.raises(DataError, match="holds several sets"):
        evaluate(scorer, tmp_path)


def test_another_set_is_refused(scorer):
    with pytest.raises(DataError, match=r"its joints are 8 .*model has 22"):
        evaluate(scorer, shared("data/natops"))


def test_joint_tables_by_class_are_evaluated(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("up", "down"):
        for number in range(3):
            frames, seen = np.arange(9), np.full((9, 1, 17), 2, np.uint8)
            xy = rng.uniform(0, 100, (9, 1, 17, 2)).astype(np.float32)
            table = JointTable(frames, np.arange(1), xy, seen, np.ones((9, 1, 17)), None)
            (tmp_path / label).mkdir(exist_ok=True)
            write_joint_csv(tmp_path / label / f"{number}.csv", table)
    data = source.from_config({"kind": "tables", "path": str(tmp_path), "steps": 8})
    found = evaluate(tiny("tables", data), tmp_path, samples=0)
    assert found["n"] == 6
    assert found["labels"] == ["down", "up"]
    assert sum(map(sum, found["confusion"])) == 6
    shares = tmp_path / "shares"
    for file in sorted(tmp_path.glob("*/*.csv")):
        table = read_joint_csv(file)
        place = shares / file.relative_to(tmp_path)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_joint_csv(place, replace(table, xy=(table.xy + 0.5) / np.float32(100)))
    with pytest.raises(DataError, match="--normalized"):
        evaluate(tiny("tables", data), shares, samples=0)
    again = evaluate(tiny("tables", data), shares, samples=0, normalized="100x100")
    assert again["confusion"] == found["confusion"]


def write_tables(folder, size):
    for label in ("up", "down"):
        (folder / label).mkdir(parents=True)
        xy = np.arange(5 * 17 * 2, dtype=np.float32).reshape(5, 1, 17, 2)
        seen = np.full((5, 1, 17), 2, np.uint8)
        table = JointTable(np.arange(5), np.arange(1), xy, seen, np.ones((5, 1, 17)), size)
        write_joint_csv(folder / label / "a.csv", table)
    return folder


def test_the_papers_features_need_the_size_of_the_picture(tmp_path):
    known = write_tables(tmp_path / "known", (64.0, 48.0))
    data = source.from_config({"kind": "tables", "path": str(known), "steps": 8})
    config = get_config("tables")
    config.features = ("paper",)
    config.model.projection = 0
    config.data.steps = 8
    paper = checkpoint(cross_validation.complete(config, data))
    assert evaluate(paper, known, samples=0)["n"] == 2
    unknown = write_tables(tmp_path / "unknown", None)
    with pytest.raises(DataError, match=r"unknown: 2 clips lack the size of the picture"):
        evaluate(paper, unknown)


def test_the_shipped_scorer_says_what_it_was_trained_on(tmp_path):
    """Its config is that of its card's command; of new clips it takes the stored joints alone."""
    shipped = checkpoints.load("pushup")
    joints = shipped.config.data.joints
    card = " ".join((shipped.path / "card.md").read_text().split())
    assert f"--config.data.joints={joints}`" in card
    assert not shipped.config.balance
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "joints.npz",
        mediapipe=rng.uniform(size=(12, 33, 4)),
        movenet=rng.uniform(size=(12, 17, 3)),
        offsets=np.array([0, 6, 12]),
        standard=np.array([1, 0]),
        group=np.array([0, 1]),
        fps=np.full(2, 15.0),
        video_size=np.full((2, 2), (320, 240)),
    )
    found = evaluate(shipped, tmp_path, samples=0)
    assert (found["n"], found["windows"]) == (2, 4)
    assert found["notes"] == ["left out: the joint tables runs/pushfit/csv/second of training"]


SETS = [
    ("penn_action", "penn_action", 2326, {"train": 1257, "test": 1068}),
    ("natops", "natops", 360, {"train": 180, "test": 180}),
    ("pose_trainer", "pose_trainer", 112, {}),
    ("pushfit", "pushfit", 209, {}),
    ("ui_prmd", "ui_prmd", 1400, {}),
    ("jhmdb_joints", "jhmdb", 928, None),
]


@pytest.mark.parametrize(("variant", "name", "count", "split"), SETS)
def test_every_set_is_known_by_its_folder(variant, name, count, split):
    """The stored sets, as a checkpoint of their variant reads them (no model is run)."""
    folder = shared(f"data/{name}")
    section = get_config(variant).data
    options = {name: section[name] for name in ("label", "joints") if section.get(name)}
    data = source.resampled(array_sets.load(name, folder, **options), 4)
    values = cross_validation.complete(get_config(variant), data)
    values["data"] = {**values["data"], "steps": 4, "path": "elsewhere"}
    opened = sequence_eval.open_set(values_dict(values), systems.build(values), folder)
    assert opened.fingerprint == data.fingerprint
    assert len(opened) + sum(opened.left_out.values()) == count
    counts = sequence_eval.split_counts(opened)
    if split is None:
        assert list(counts) == ["1", "2", "3"]
        assert all(side["train"] > side["test"] > 200 for side in counts.values())
        rows = sequence_eval.chosen_rows(opened, "2:test", folder)
        assert len(rows) == counts["2"]["test"]
        with pytest.raises(DataError, match="1:train, 1:test"):
            sequence_eval.chosen_rows(opened, "test", folder)
    else:
        assert counts == split
        if split:
            assert len(sequence_eval.chosen_rows(opened, "test", folder)) == split["test"]


def values_dict(values: dict[str, Any]) -> Any:
    from ml_collections import ConfigDict

    return ConfigDict(values)
