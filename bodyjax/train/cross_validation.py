"""Cross-validation: all folds and seeds of a small array set, and their table.

The engine trains one model on a stream. These sets are a few megabytes, so here everything stays on
the device and many models are trained side by side (train.parallel_runs), with the engine's step.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bodyjax import config_history, files, skeleton
from bodyjax.contract import System
from bodyjax.data import folds as folding
from bodyjax.data import part_checks
from bodyjax.data.folds import Fold
from bodyjax.data.sequences.source import Sequences, from_config, without_size
from bodyjax.engine import settings
from bodyjax.errors import ConfigError
from bodyjax.metrics.pooled import accuracy, interval, pooled, scores, show, table
from bodyjax.sections import check
from bodyjax.systems.sequence import build
from bodyjax.train import fold_settings, parallel_runs
from bodyjax.train.fold_settings import Folds

Say = Callable[[str], None]


class Run(NamedTuple):
    """One training: a fold, the seed that also made the fold, and the member of an ensemble."""

    fold: Fold
    seed: int
    member: int = 0


def make_folds(data: Sequences, section: Folds, seed: int) -> list[Fold]:
    """The folds of a config; ConfigError for a kind that the set lacks."""
    if section.kind in ("group", "leave_one_group_out") and data.groups is None:
        what = "the set does not say whose clips are whose: one person could be on both sides"
        hint = "official, if it has a split, or random with folds.random_folds=True"
        raise ConfigError(what, place="folds.kind", hint=hint)
    if section.kind == "official" and not data.splits:
        hint = "take group, leave_one_group_out or random"
        raise ConfigError("the set has no official split", place="folds.kind", hint=hint)
    groups = data.clip if data.groups is None else data.groups
    if section.kind == "group":
        return folding.by_group(data.labels, groups, section.count, seed)
    if section.kind == "leave_one_group_out":
        return folding.leave_one_group_out(groups)
    if section.kind == "official":
        return [folding.official(split, name) for name, split in data.splits.items()]
    return folding.random(data.labels, data.clip, section.count, seed, leaking=section.random_folds)


def run_seeds(runs: Sequence[Run], seeds: int) -> list[int]:
    """The random inputs of each run: its seed, member and position among the runs of that seed,
    whatever other seeds are trained beside it."""
    each = len(runs) // seeds
    return [
        1000 * one.seed + 17 * one.member + each * one.seed + k % each for k, one in enumerate(runs)
    ]


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
    if values.get("skeleton") and skeleton.of(values["skeleton"]).joints != body.joints:
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
    `metrics.pooled.scores`, and the intervals over groups of the two pooled accuracies.

    folds: fold_settings.Folds. With a workdir, predictions.npz and metrics.json are written at the
    end; a finished run is only read if config and data are the same, otherwise refused
    (ConfigError). A stopped run starts over.
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
    section = fold_settings.read(values["folds"])
    check(values["data"]["batch"] >= 1, "data.batch", values["data"]["batch"], "at least 1")
    system, training = build(values), fold_settings.training(values)
    place = {"on_bad": values["data"].get("on_bad") or "raise", "file": values["data"].get("path")}
    runs = planned(data, section, place, say)
    say(f"{len(runs)} runs of {training.steps} steps, {len(data)} rows")
    began = time.monotonic()
    probability = trained_and_tested(system, values, training, data, runs, say)
    result = {
        **figures(data, section, runs, probability),
        "made_of": made_of,
        "seconds": round(time.monotonic() - began, 1),
    }
    if done is not None:
        keep(done, result, runs, probability)
    show(result, say)
    return result


def planned(data: Sequences, section: Folds, place: Mapping[str, Any], say: Say) -> list[Run]:
    """Every fold and member of every seed, checked (part_checks; place: its on_bad and file); with
    `inner`, a part of each fold's training side is tested instead of its test side."""
    groups = data.clip if data.groups is None else data.groups
    if section.inner and data.groups is None:
        say("folds.inner goes by clip: the set does not say whose clips are whose")
    counts = np.bincount(data.labels, minlength=len(data.classes))
    said = dict.fromkeys(part_checks.check_classes(data.classes, counts, **place))
    runs, keys = [], part_checks.row_keys(data.arrays())
    for seed in section.seeds:
        folds = make_folds(data, section, seed)
        if section.inner:
            folds = [
                folding.validation(fold, data.labels, groups, section.inner, seed)[0]
                for fold in folds
            ]
        checked = [part_checks.checked_fold(fold, data, keys, **place) for fold in folds]
        said |= dict.fromkeys(line for _, lines in checked for line in lines)
        said |= dict.fromkeys(part_checks.folds_not_judged([fold for fold, _ in checked], data))
        runs += [Run(fold, seed, m) for fold, _ in checked for m in range(section.members)]
    for line in said:
        say(line)
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
    together = fold_settings.read(values["folds"]).together
    if together is None:  # on a CPU one by one takes 0.8 of the time (launch.benchmark has both)
        together = jax.default_backend() != "cpu"
    numbers = run_seeds(runs, len(values["folds"]["seeds"]))
    plans = [
        parallel_runs.plan(one.fold.train, values["data"]["batch"], training.steps, number)
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
        together=together,
        say=say,
    )
    tested = [one.fold.test for one in runs]
    return parallel_runs.predict_runs(system, variables, data.arrays(), tested)


def figures(
    data: Sequences,
    section: Folds,
    runs: Sequence[Run],
    probability: Sequence[np.ndarray],
) -> dict[str, Any]:
    """The table of the runs' probabilities; those of a fold's members are averaged."""
    by_seed, answered = {}, []
    for seed in section.seeds:
        firsts = [k for k, one in enumerate(runs) if (one.seed, one.member) == (seed, 0)]
        means = [np.mean(probability[k : k + section.members], axis=0) for k in firsts]
        pairs = [(runs[k].fold, mean) for k, mean in zip(firsts, means, strict=True)]
        by_seed[seed] = scores(data, pairs)
        answered.append(pooled(data, pairs))
    return {
        **table(by_seed),
        "accuracy_interval": interval(data, answered, figure=accuracy),
        "balanced_accuracy_interval": interval(data, answered),
        "n": by_seed[section.seeds[0]]["n"],
        "by_seed": {str(seed): one for seed, one in by_seed.items()},
        "members": section.members,
        "leaking": any(one.fold.leaking for one in runs),
        "validation": bool(section.inner),
        "left_out": dict(data.left_out),
        "notes": [f"left out: {note}" for note in data.notes],
        "runs": len(runs),
    }


def keep(
    file: Path, result: Mapping[str, Any], runs: Sequence[Run], probability: Sequence[np.ndarray]
) -> None:
    """Writes predictions.npz and, once that is complete, metrics.json."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {f"probability_{k}": p for k, p in enumerate(probability)}
    kept |= {f"test_{k}": one.fold.test for k, one in enumerate(runs)}
    with files.whole(file.parent / "predictions.npz") as temporary:
        np.savez_compressed(temporary, **kept)
    files.write_text(file, json.dumps(result, indent=1, allow_nan=False))


def finished(file: Path, made_of: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a finished run; ConfigError if they were made from something else."""
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
