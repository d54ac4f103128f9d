"""Cross-validation: all folds and seeds of a small array set, and their table.

The engine trains one model on a stream. These sets are a few megabytes, so here everything stays on
the device and many models are trained side by side (train.parallel_runs), by the engine's step.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bodyjax import config_history, files
from bodyjax.contract import System
from bodyjax.data import folds as folding
from bodyjax.data.folds import Fold
from bodyjax.data.sequences.source import Sequences, from_config, without_size
from bodyjax.engine import settings
from bodyjax.errors import ConfigError
from bodyjax.metrics.pooled import interval, pooled, scores, show, table
from bodyjax.systems.sequence import build, skeleton_of
from bodyjax.train import parallel_runs

Say = Callable[[str], None]
MOST_SEED = 1_000_000
"""The largest of `folds.seeds`: a run's own seed, 1000 times as large, fits 32 bits."""
UNUSED = ("eval_every", "save_every", "keep", "model_parallel", "compute_dtype", "best", "stop")
"""Fields of `train` that mean nothing where folds are trained."""


class Run(NamedTuple):
    """One training: a fold, the seed that also made the fold, and the member of an ensemble."""

    fold: Fold
    seed: int
    member: int = 0


def make_folds(data: Sequences, section: Mapping[str, Any], seed: int) -> list[Fold]:
    """The folds of a config: kind "group", "leave_one_group_out", "official" or "random".

    ConfigError for another kind, one that the set has not, or a count that makes no folds."""
    kind = section["kind"]
    if kind in ("group", "leave_one_group_out") and data.groups is None:
        what = "the set does not say whose clips are whose: one person could be on both sides"
        hint = "official, if it has a split, or random with folds.random_folds=True"
        raise ConfigError(what, place="folds.kind", hint=hint)
    groups = data.clip if data.groups is None else data.groups
    if kind in ("group", "random"):
        _whole(section["count"], 2, "folds.count")
    if kind == "official" and not data.splits:
        hint = "take group, leave_one_group_out or random"
        raise ConfigError("the set has no official split", place="folds.kind", hint=hint)
    if kind == "group":
        return folding.by_group(data.labels, groups, section["count"], seed)
    if kind == "leave_one_group_out":
        return folding.leave_one_group_out(groups)
    if kind == "official":
        return [folding.official(split, name) for name, split in data.splits.items()]
    if kind == "random":
        leaking = bool(section.get("random_folds", False))
        return folding.random(data.labels, data.clip, section["count"], seed, leaking=leaking)
    hint = "group, leave_one_group_out, official or random"
    raise ConfigError(f"no folds {kind!r}", place="folds.kind", hint=hint)


def check_numbers(config: Mapping[str, Any]) -> None:
    """ConfigError for folds.seeds, folds.members or data.batch that make no runs."""
    section = config["folds"]
    seeds = section["seeds"]
    if not seeds or len(set(seeds)) < len(seeds):
        what = f"{list(seeds)} should be one seed or more, each once"
        raise ConfigError(what, place="folds.seeds", hint="e.g. (0, 1, 2)")
    for seed in seeds:
        _whole(seed, 0, "folds.seeds")
        if seed > MOST_SEED:
            raise ConfigError(f"{seed} is above {MOST_SEED}", place="folds.seeds")
    _whole(section.get("members", 1), 1, "folds.members")
    _whole(config["data"]["batch"], 1, "data.batch")


def _whole(value: Any, least: int, place: str) -> None:
    if not isinstance(value, int) or value < least:
        raise ConfigError(f"{value!r} should be a whole number from {least} on", place=place)


def run_seeds(runs: Sequence[Run], seeds: int) -> list[int]:
    """What each run draws from: its seed, member and place among the runs of that seed, whatever
    other seeds are trained beside it."""
    each = len(runs) // seeds
    return [
        1000 * one.seed + 17 * one.member + each * one.seed + k % each for k, one in enumerate(runs)
    ]


def checked_training(config: Mapping[str, Any]) -> settings.TrainSettings:
    """`config.train` for folds; ConfigError for a field that would have no effect."""
    training, plain = settings.train(config["train"]), settings.TrainSettings()
    settings.check_together(settings.optimizer(config["optimizer"]), training)
    for name in UNUSED:
        if getattr(training, name) != getattr(plain, name):
            what = f"{dataclasses.asdict(training)[name]!r} has no effect on folds"
            hint = "leave it out, or folds.kind='' for one model"
            raise ConfigError(what, place=f"train.{name}", hint=hint)
    return training


def complete(config: Mapping[str, Any], data: Sequences) -> dict[str, Any]:
    """The config as plain values, with what only the data know: labels, joints, sizes.

    ConfigError for features that the data can't give.
    """
    values = settings.plain(config)
    unknown = without_size(values["features"], data)
    if unknown:
        what = f"'paper' needs the size of the picture, which {unknown} clips don't have"
        hint = "tables say it in the columns width, height; or take position"
        raise ConfigError(what, place="features", hint=hint)
    body = data.skeleton
    if values.get("skeleton") and skeleton_of(values["skeleton"]).joints != body.joints:
        what = f"the joints of the data are {body.name}'s: {', '.join(body.joints)}"
        raise ConfigError(what, place="skeleton", hint="leave it empty")
    limbs = " ".join(f"{body.joints[a]}-{body.joints[b]}" for a, b in body.limbs)
    known = {"name": body.name, "joints": " ".join(body.joints), "limbs": limbs}
    values["skeleton"] = values.get("skeleton") or known
    values["labels"] = list(data.classes)
    values["model"] = {
        **values["model"],
        "stored": data.joints.shape[1],
        "dims": data.joints.shape[-1],
        "conditions": len(data.conditions),
    }
    return values


def run(
    config: Mapping[str, Any],
    workdir: str | Path | None = None,
    *,
    say: Say = print,
    data: Sequences | None = None,
) -> dict[str, Any]:
    """Trains every fold and seed of `config.folds` and gives the table of
    `metrics.pooled.scores`, and the interval of the pooled balanced accuracy over groups.

    folds: kind, count, seeds (each also the seed of its folds), members (models whose mean
    probability makes one prediction; 1 = none), inner (choose settings: every fold's training side
    is split into so many folds by group and one of them is tested, the fold's own test side never).
    With a workdir, predictions.npz and metrics.json are written at the end; a finished run is only
    read, where config and data are the same, else refused (ConfigError). A stopped run starts anew.
    """
    config_history.refuse(config)
    if config.get("seed"):
        raise ConfigError("is for one model", place="seed", hint="folds have folds.seeds")
    done = None if workdir is None else Path(workdir) / "metrics.json"
    data = from_config(config["data"], say) if data is None else data
    values = complete(config, data)
    made_of = {"config": settings.expanded(values), "data": data.fingerprint}
    if done is not None and done.exists():
        result = finished(done, made_of)
        show(result, say)
        return result
    check_numbers(values)
    system, training = build(values), checked_training(values)
    runs = planned(data, values["folds"], say)
    say(f"{len(runs)} runs of {training.steps} steps, {len(data)} rows")
    began = time.monotonic()
    probability = trained_and_tested(system, values, training, data, runs, say)
    result = {
        **figures(data, values["folds"], runs, probability),
        "made_of": made_of,
        "seconds": round(time.monotonic() - began, 1),
    }
    if done is not None:
        keep(done, result, runs, probability)
    show(result, say)
    return result


def planned(data: Sequences, section: Mapping[str, Any], say: Say) -> list[Run]:
    """Every fold and member of every seed; with `inner`, a part of each fold's training side is
    tested in the place of its test side."""
    groups = data.clip if data.groups is None else data.groups
    inner, members = section.get("inner", 0), section.get("members", 1)
    if inner and data.groups is None:
        say("folds.inner goes by clip: the set does not say whose clips are whose")
    runs = []
    for seed in section["seeds"]:
        folds = make_folds(data, section, seed)
        if inner:
            folds = [
                folding.validation(fold, data.labels, groups, inner, seed)[0] for fold in folds
            ]
        runs += [Run(fold, seed, m) for fold in folds for m in range(members)]
    return runs


def trained_and_tested(
    system: System,
    values: Mapping[str, Any],
    training: settings.TrainSettings,
    data: Sequences,
    runs: Sequence[Run],
    say: Say,
) -> list[np.ndarray]:
    """probability (rows of the fold's test side, C) of each run, trained on its training side."""
    batch, section = values["data"]["batch"], values["folds"]
    numbers = run_seeds(runs, len(section["seeds"]))
    plans = [
        parallel_runs.plan(one.fold.train, batch, training.steps, number)
        for one, number in zip(runs, numbers, strict=True)
    ]
    even = np.ones(len(data), np.float32)
    weights = [
        parallel_runs.balanced(data.labels, data.condition, one.fold.train)
        if values.get("balance")
        else even
        for one in runs
    ]
    variables = parallel_runs.train_runs(
        system,
        data.arrays(),
        np.stack(plans),
        np.stack(weights),
        numbers,
        settings.optimizer(values["optimizer"]),
        chunk=training.log_every,
        # On a CPU one by one takes 0.8 of the time (launch.benchmark measures both).
        together=bool(section.get("together", jax.default_backend() != "cpu")),
        say=say,
    )
    tested = [one.fold.test for one in runs]
    return parallel_runs.predict_runs(system, variables, data.arrays(), tested)


def figures(
    data: Sequences,
    section: Mapping[str, Any],
    runs: Sequence[Run],
    probability: Sequence[np.ndarray],
) -> dict[str, Any]:
    """The table of the runs' probabilities; those of a fold's members are averaged."""
    members = section.get("members", 1)
    by_seed, answered = {}, []
    for seed in section["seeds"]:
        firsts = [k for k, one in enumerate(runs) if (one.seed, one.member) == (seed, 0)]
        means = [np.mean(probability[k : k + members], axis=0) for k in firsts]
        pairs = [(runs[k].fold, mean) for k, mean in zip(firsts, means, strict=True)]
        by_seed[seed] = scores(data, pairs)
        answered.append(pooled(data, pairs))
    return {
        **table(by_seed),
        "balanced_accuracy_interval": interval(data, answered),
        "n": by_seed[section["seeds"][0]]["n"],
        "by_seed": {str(seed): one for seed, one in by_seed.items()},
        "members": members,
        "leaking": any(one.fold.leaking for one in runs),
        "validation": bool(section.get("inner")),
        "left_out": dict(data.left_out),
        "notes": [f"left out: {note}" for note in data.notes],
        "runs": len(runs),
    }


def keep(
    file: Path, result: Mapping[str, Any], runs: Sequence[Run], probability: Sequence[np.ndarray]
) -> None:
    """Writes predictions.npz and, when that is whole, metrics.json."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {f"probability_{k}": p for k, p in enumerate(probability)}
    kept |= {f"test_{k}": one.fold.test for k, one in enumerate(runs)}
    np.savez_compressed(file.parent / "predictions.npz", **kept)
    files.write_text(file, json.dumps(result, indent=1, allow_nan=False))


def finished(file: Path, made_of: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a finished run; ConfigError where they were made of something else."""
    try:
        result = json.loads(file.read_text())
    except ValueError:
        hint = "another --workdir, or remove the file"
        raise ConfigError("is not JSON", file=file, hint=hint) from None
    if "made_of" not in result:
        hint = "another --workdir, or remove the file"
        raise ConfigError("does not say which settings it was made of", file=file, hint=hint)
    then = {**result["made_of"], "config": config_history.upgraded(result["made_of"]["config"])}
    changed = settings.differences(then, made_of, free=("config.data.path",))
    if changed:
        shown = "; ".join(changed[:3]) + ("; ..." if len(changed) > 3 else "")
        hint = "another --workdir, or remove the file"
        raise ConfigError(f"holds the figures of other settings ({shown})", file=file, hint=hint)
    return dict(result)
