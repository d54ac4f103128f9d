"""Cross-validation on the device: plans, weights, and a whole run that learns."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from bodyjax.data.sequences.source import Clips, resampled
from bodyjax.engine import settings
from bodyjax.errors import ConfigError, UserError
from bodyjax.skeleton import make
from bodyjax.systems.sequence import build
from bodyjax.train import cross_validation

BODY = make("four", "left_hip right_hip left_shoulder right_shoulder", "left_hip-left_shoulder")


@pytest.fixture(scope="module")
def data():
    """60 clips of 12 people: the shoulders go up (1) or down (0); each person has a place."""
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 2, 60), np.repeat(np.arange(12), 5)
    base = np.array([[-1, 0], [1, 0], [-1, -3], [1, -3]], np.float32)
    rise = np.linspace(0, 1, 10)[:, None, None] * np.array([0, 1.0])
    clips = []
    for label, group in zip(labels, groups, strict=True):
        shoulders = np.arange(4)[:, None] >= 2
        move = base + rise * shoulders * (1 if label else -1) + rng.normal(0, 0.1, (10, 4, 2))
        clips.append(move * 20 + 30 * group)
    return resampled(
        Clips(
            "made",
            BODY,
            np.concatenate(clips).astype(np.float32),
            np.ones((600, 4), np.float32),
            np.arange(61) * 10,
            tuple(map(str, range(60))),
            labels.astype(np.int32),
            ("down", "up"),
            groups.astype(np.int32),
            np.zeros(60, np.int32),
            size=np.zeros((60, 2), np.float32),
            fps=np.zeros(60, np.float32),
        ),
        8,
    )


def config(**changes):
    base = {
        "system": "sequence",
        "features": ("position", "velocity"),
        "model": {"steps": 5, "width": 8, "layers": 1, "projection": 8},
        "augment": {"noise": 0.01, "flip": 0.5},
        "optimizer": {"name": "adamw", "rate": 0.03, "decay": "onecycle"},
        "train": {"steps": 60, "log_every": 30},
        "data": {"batch_size": 16},
        "folds": {"kind": "group", "count": 2, "seeds": (0, 1), "members": 1},
    }
    return {**base, **changes}


def test_plan_sees_every_row_once_an_epoch():
    rows = np.arange(3, 25)
    plan = cross_validation.plan(rows, 4, 11, seed=1)
    assert plan.shape == (11, 4)
    epochs = plan.ravel().reshape(2, 22)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), rows)
    assert (epochs[0] != epochs[1]).any()
    np.testing.assert_array_equal(plan, cross_validation.plan(rows, 4, 11, seed=1))
    assert (plan != cross_validation.plan(rows, 4, 11, seed=2)).any()


def test_balanced_weights():
    labels = np.array([0, 0, 0, 1, 0, 1, 1])
    condition = np.array([0, 0, 0, 0, 1, 1, 1])
    train = np.array([0, 1, 2, 3, 4, 5])
    weights = cross_validation.balanced(labels, condition, train)
    np.testing.assert_allclose(weights[:3].sum(), weights[3], rtol=1e-6)
    np.testing.assert_allclose(weights[4], weights[5], rtol=1e-6)
    np.testing.assert_allclose(weights[train].mean(), 1, rtol=1e-6)


def test_members_answer_together_and_settings_never_see_the_test_side(data, tmp_path):
    """Figures recomputed from the stored predictions; every inner fold lies in a training side."""
    section = {"kind": "group", "count": 2, "seeds": (3,), "members": 2, "inner": 2}
    short = {"steps": 3, "log_every": 3}
    result = cross_validation.run(
        config(folds=section, train=short), tmp_path, say=lambda line: None, data=data
    )
    assert (result["runs"], result["members"], result["validation"]) == (4, 2, True)
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as kept:
        outer = cross_validation.make_folds(data, section, 3)
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


def test_accumulated_batches_are_one_large_batch_of_weighted_rows(data):
    steady = config(augment={})
    values = cross_validation.complete(steady, data)
    system, rng = build(values), np.random.default_rng(3)
    large = cross_validation.plan(np.arange(60), 16, 4, 0)[None]
    weights = rng.uniform(0.1, 3, (1, 60)).astype(np.float32)
    found = []
    for every in (1, 2):
        optimizer = settings.optimizer({**values["optimizer"], "ema": 0.9, "accumulate": every})
        plans = large.reshape(1, 4 * every, 16 // every)
        found.append(
            cross_validation.train_runs(
                system, data.arrays(), plans, weights, [3], optimizer, chunk=8, together=False
            )
        )
    for one, two in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True])
def test_a_loss_that_is_no_number_ends_the_runs(data, together):
    wild = {"name": "sgd", "rate": 1e30, "clip": 0.0}
    folds = {"kind": "group", "count": 2, "seeds": (0,), "together": together}
    with pytest.raises(UserError, match=r"loss of run 1 is not a finite number by step"):
        cross_validation.run(config(optimizer=wild, folds=folds), say=lambda line: None, data=data)


def test_a_run_learns_repeats_and_is_not_done_twice(data, tmp_path, monkeypatch):
    lines = []
    result = cross_validation.run(config(), tmp_path, say=lines.append, data=data)
    assert result["balanced_accuracy"]["mean"] > 0.9
    assert result["runs"] == 4
    assert not result["leaking"]
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored["accuracy"] == result["accuracy"]
    bounds = stored["balanced_accuracy_interval"]
    assert bounds["over"] == "groups"
    assert 0.8 < bounds["low"] <= result["balanced_accuracy"]["mean"] <= bounds["high"] <= 1
    assert any(f"{bounds['low']:.3f} to {bounds['high']:.3f} (80 % of" in line for line in lines)
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as kept:
        assert sorted(np.concatenate([kept["test_0"], kept["test_1"]])) == list(range(60))
    monkeypatch.setattr(
        cross_validation, "train_runs", None
    )  # the same again reads, it trains nothing
    again = cross_validation.run(config(), tmp_path, say=lines.append, data=data)
    assert again["accuracy"] == result["accuracy"]
    later = config(data={"batch_size": 16, "window": None})  # a field newer than the run
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


@pytest.mark.slow
def test_one_by_one_is_together(data):
    values = cross_validation.complete(config(), data)
    system = build(values)
    plans = np.stack([cross_validation.plan(np.arange(40), 8, 6, seed) for seed in (0, 1)])
    weights = np.ones((2, 60), np.float32)
    optimizer = settings.optimizer(values["optimizer"])
    both = [
        cross_validation.train_runs(
            system, data.arrays(), plans, weights, [3, 4], optimizer, chunk=3, together=together
        )
        for together in (True, False)
    ]
    for one, two in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(one, two, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": {"kind": "official"}}, "folds.kind: the set has no official split; take group"),
        ({"folds": {"kind": "cross"}}, "folds.kind: no folds 'cross'; group"),
        ({"folds": {"seeds": ()}}, r"folds.seeds: \[\] should be one seed or more"),
        ({"folds": {"seeds": (1, 1)}}, "folds.seeds: .* each once"),
        ({"folds": {"seeds": (-1,)}}, "folds.seeds: -1 should be"),
        ({"folds": {"members": 0}}, "folds.members: 0 should be"),
        ({"folds": {"count": 1}}, "folds.count: 1 should be a whole number from 2 on"),
        ({"data": {"batch_size": 0}}, "data.batch_size: 0 should be"),
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
    folds = cross_validation.make_folds(data, {**random, "random_folds": True}, 0)
    assert all(fold.leaking for fold in folds)
