"""Cross-validation: a whole run that learns, its folds, and mistakes in its config."""

import dataclasses
import json

import numpy as np
import pytest

from bodyjax.engine import settings
from bodyjax.errors import ConfigError
from bodyjax.train import cross_validation, parallel_runs
from bodyjax.train.fold_settings import Folds
from tests.train.rising_clips import config, made


@pytest.fixture(scope="module")
def data():
    return made()


def test_members_answer_together_and_settings_never_see_the_test_side(data, tmp_path):
    """Figures recomputed from the stored predictions; every inner fold lies in a training side."""
    section = {"kind": "group", "count": 2, "seeds": (3,), "members": 2, "inner": 2}
    short = {"steps": 3, "log_every": 3}
    result = cross_validation.run(
        config(folds=section, train=short), tmp_path, say=lambda line: None, data=data
    )
    assert (result["runs"], result["members"], result["validation"]) == (4, 2, True)
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as kept:
        outer = cross_validation.make_folds(data, Folds(**section), 3)
        right = []
        for k, fold in enumerate(outer):
            one, two = 2 * k, 2 * k + 1
            np.testing.assert_array_equal(kept[f"test_{one}"], kept[f"test_{two}"])
            assert not set(kept[f"test_{one}"]) & set(fold.test)
            mean = (kept[f"probability_{one}"] + kept[f"probability_{two}"]) / 2
            assert (kept[f"probability_{one}"] != kept[f"probability_{two}"]).any()
            right.append(mean.argmax(1) == data.labels[kept[f"test_{one}"]])
    assert result["accuracy"]["mean"] == pytest.approx(np.concatenate(right).mean())


def test_a_seed_is_the_same_alone_and_beside_others(data, tmp_path):
    kept = {}
    for seeds in ((0, 1), (1,)):
        folds = {"kind": "group", "count": 2, "seeds": seeds, "members": 1}
        place = tmp_path / str(len(seeds))
        cross_validation.run(
            config(folds=folds, train={"steps": 3, "log_every": 3}),
            place, say=lambda line: None, data=data,
        )  # fmt: skip
        with np.load(place / "predictions.npz", allow_pickle=False) as file:
            kept[seeds] = {name: file[name] for name in file.files}
    for fold in (0, 1):
        for what in ("test", "probability"):
            beside, alone = kept[0, 1][f"{what}_{fold + 2}"], kept[1,][f"{what}_{fold}"]
            np.testing.assert_allclose(alone, beside, atol=1e-5)


def test_a_run_learns_repeats_and_is_not_done_twice(data, tmp_path, monkeypatch):
    lines = []
    result = cross_validation.run(config(), tmp_path, say=lines.append, data=data)
    assert result["balanced_accuracy"]["mean"] > 0.9
    assert result["runs"] == 4
    assert not result["leaking"]
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored["accuracy"] == result["accuracy"]
    assert stored["accuracy"]["std"] == pytest.approx(np.std(stored["accuracy"]["seeds"], ddof=1))
    assert stored["accuracy_interval"]["low"] <= result["accuracy"]["mean"]
    bounds = stored["balanced_accuracy_interval"]
    assert bounds["over"] == "groups"
    assert 0.8 < bounds["low"] <= result["balanced_accuracy"]["mean"] <= bounds["high"] <= 1
    assert any(f"{bounds['low']:.3f} to {bounds['high']:.3f} (80 % of" in line for line in lines)
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as kept:
        assert sorted(np.concatenate([kept["test_0"], kept["test_1"]])) == list(range(60))
    monkeypatch.setattr(
        parallel_runs, "train_runs", None
    )  # the same again reads, it trains nothing
    again = cross_validation.run(config(), tmp_path, say=lines.append, data=data)
    assert again["accuracy"] == result["accuracy"]
    later = config(data={"batch": 16, "window": None})  # a field newer than the run
    assert cross_validation.run(later, tmp_path, data=data)["accuracy"] == result["accuracy"]
    other = config()
    other["train"] = {**other["train"], "steps": 7}
    with pytest.raises(ConfigError, match=r"other settings .*train.steps: \d+ -> 7"):
        cross_validation.run(other, tmp_path, data=data)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "metrics.json").write_text('{"accuracy": {}}')
    with pytest.raises(ConfigError, match="does not say which settings"):
        cross_validation.run(config(), tmp_path / "old", data=data)
    with pytest.raises(ConfigError, match="seed: is for one model"):
        cross_validation.run({**config(), "seed": 1}, tmp_path, data=data)
    assert any("balanced_accuracy" in line and "±" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": {"kind": "official"}}, "folds.kind: the set has no official split; take group"),
        ({"folds": {"kind": "cross"}}, "folds.kind: no folds 'cross'; group"),
        ({"folds": {"seeds": ()}}, r"folds.seeds: \(\) should be one seed or more"),
        ({"folds": {"seeds": (1, 1)}}, "folds.seeds: .* each once"),
        ({"folds": {"seeds": (-1,)}}, "folds.seeds: -1 should be"),
        ({"folds": {"memebrs": 2}}, "folds.memebrs: there is no such field; did you mean members"),
        ({"folds": {"members": 0}}, "folds.members: 0 should be"),
        ({"folds": {"count": 1}}, "folds.count: 1 should be a whole number from 2 on"),
        ({"data": {"batch": 0}}, "data.batch: 0 should be"),
        ({"data": {"batch_size": 8}}, "data.batch_size: .* it is called data.batch now"),
        ({"features": ("paper",)}, "features: 'paper' needs the size .* which 60 clips"),
        ({"folds": {"seeds": (2_000_000,)}}, "folds.seeds: 2000000 is above"),
        ({"skeleton": "coco17"}, "skeleton: the joints of the data are four's: left_hip"),
        ({"train": {"steps": 9, "stop": {"steps": 5}}}, "train.stop: .* has no effect on folds"),
        ({"train": {"steps": 9, "eval_every": 3}}, "train.eval_every: 3 has no effect on folds"),
    ],
)
def test_mistakes_in_the_config_are_one_line(data, change, message):
    base = config()
    if "folds" in change:
        change = {"folds": {**base["folds"], **change["folds"]}}
    with pytest.raises(ConfigError, match=message) as caught:
        cross_validation.run({**base, **change}, data=data)
    assert "\n" not in str(caught.value)


def test_folds_by_group_need_groups(data):
    """Without them a person could be on both sides, and the figure would not say so."""
    unknown = dataclasses.replace(data, groups=None, fingerprint="")
    for kind in ("group", "leave_one_group_out"):
        folds = {"kind": kind, "count": 2, "seeds": (0,)}
        with pytest.raises(ConfigError, match=r"folds\.kind: the set does not say whose clips"):
            cross_validation.run(config(folds=folds), data=unknown)


def test_leaks_are_refused_or_said(data):
    random = {"kind": "random", "count": 2, "seeds": (0,)}
    with pytest.raises(ConfigError, match="random_folds"):
        cross_validation.run(config(folds=random), data=data)
    folds = cross_validation.make_folds(data, Folds(**random, random_folds=True), 0)
    assert all(fold.leaking for fold in folds)


def test_figures_of_before_are_read_under_the_names_of_today(data, tmp_path):
    values = settings.expanded(cross_validation.complete(config(), data))
    values["data"] = {"batch_size": 16}
    made_of = {"config": values, "data": data.fingerprint}
    (tmp_path / "metrics.json").write_text(json.dumps({"accuracy": 1, "made_of": made_of}))
    now = {**made_of, "config": {**values, "data": {"batch": 16}}}
    assert cross_validation.finished(tmp_path / "metrics.json", now)["accuracy"] == 1
