"""All folds and seeds of a small array set at once: data on the device, one program for many runs.

The engine trains one model on a stream. These sets are a few megabytes, so here everything stays on
the device: a run is a plan of row numbers, one scan makes the steps, and runs (fold, seed, member)
are a leading axis under `vmap` or, where that is slower, go one after another on a few threads.
Changes of the clips, loss and prediction are the system's own: the same as under the engine.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax import files, skeleton
from bodyjax.contract import System
from bodyjax.data import folds as folding
from bodyjax.data.folds import Fold
from bodyjax.data.sequences.source import Sequences, from_config, without_size
from bodyjax.engine import settings
from bodyjax.engine.evaluate import predict_rows
from bodyjax.engine.optim import make_optimizer, moving_average
from bodyjax.errors import ConfigError, UserError
from bodyjax.metrics.pooled import interval, pooled, scores, show, table
from bodyjax.systems.sequence import build

Array = jax.Array
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


def plan(rows: np.ndarray, batch: int, steps: int, seed: int) -> np.ndarray:
    """(steps, batch) row numbers: every row once an epoch, in an order drawn anew each time."""
    rng = np.random.default_rng(seed)
    epochs = -(-steps * batch // len(rows))
    order = np.concatenate([rng.permutation(rows) for _ in range(epochs)])
    return order[: steps * batch].reshape(steps, batch).astype(np.int32)


def balanced(labels: np.ndarray, condition: np.ndarray, train: np.ndarray) -> np.ndarray:
    """(N,) float32 weights that let each label weigh the same within each condition of `train`.

    Their mean over the training rows is 1; rows of (condition, label) not seen there weigh 0.
    """
    kinds = condition.astype(np.int64) * (labels.max() + 1) + labels
    counts = np.bincount(kinds[train], minlength=kinds.max() + 1)
    share = np.where(counts > 0, 1.0 / np.maximum(counts, 1), 0.0)
    size = np.bincount(condition[train], minlength=condition.max() + 1)
    weights = share[kinds] * size[condition]
    return (weights / weights[train].mean()).astype(np.float32)


def train_runs(
    system: System,
    arrays: Mapping[str, np.ndarray],
    plans: np.ndarray,
    weights: np.ndarray,
    seeds: Sequence[int],
    optimizer: settings.OptimizerSettings,
    *,
    chunk: int = 100,
    together: bool = True,
    threads: int = 2,
    say: Say = lambda line: None,
) -> Any:
    """Variables of R trained models, every leaf with a leading axis R.

    plans: (R, steps, B) row numbers into `arrays`. weights: (R, N) of rows. seeds: R, for first
    parameters, changes and dropout. together: one program for all runs by vmap; else one program a
    run, `threads` at a time. The result is the same up to rounding. `optimizer.ema` gives the
    moving average of the parameters instead of the last ones. UserError where a loss is no number.
    """
    steps = plans.shape[1]
    transform = make_optimizer(optimizer, steps)
    stored = {name: jnp.asarray(array) for name, array in arrays.items()}

    def start(seed: Array) -> Any:
        variables = system.init(jax.random.key(seed))
        params = variables["params"]
        return params, transform.init(params), params, variables

    def advance(
        state: Any, rows: Array, first: Array, seed: Array, weight: Array, data: Any
    ) -> Any:
        params, moments, average, variables = state
        base = jax.random.fold_in(jax.random.key(seed), 1)

        def step(carry: Any, inputs: Any) -> tuple[Any, Array]:
            params, moments, average = carry
            chosen, number = inputs
            batch = {name: array[chosen] for name, array in data.items()}
            batch["weight"] = weight[chosen]
            key = jax.random.fold_in(base, number)

            def loss(params: Any) -> Any:
                return system.loss({**variables, "params": params}, batch, key)

            (value, _), grads = jax.value_and_grad(loss, has_aux=True)(params)
            updates, moments = transform.update(grads, moments, params)
            params = jax.tree.map(lambda p, u: p + u, params, updates)
            if optimizer.ema:
                average = moving_average(average, params, optimizer.ema, number)
            else:
                average = params
            return (params, moments, average), value

        numbers = first + jnp.arange(rows.shape[0])
        carry, losses = jax.lax.scan(step, (params, moments, average), (rows, numbers))
        return (*carry, variables), losses.mean()

    def finish(state: Any) -> Any:
        return {**state[3], "params": state[2]}

    numbers = jnp.asarray(seeds, jnp.uint32)
    if together:
        states = jax.jit(jax.vmap(start))(numbers)
        forward = jax.jit(jax.vmap(advance, in_axes=(0, 0, None, 0, 0, None)), donate_argnums=0)
        began = time.monotonic()
        for first in range(0, steps, chunk):
            rows = jnp.asarray(plans[:, first : first + chunk])
            states, losses = forward(states, rows, first, numbers, jnp.asarray(weights), stored)
            done, spent = min(first + chunk, steps), time.monotonic() - began
            bad = np.flatnonzero(~np.isfinite(losses))
            if len(bad):
                raise diverged(int(bad[0]), done)
            say(f"step {done}/{steps}  loss {float(losses.mean()):.4f}  {spent:.0f} s")
        return finish(states)

    begin, forward = jax.jit(start), jax.jit(advance, donate_argnums=0)
    began = time.monotonic()

    def one(r: int) -> Any:
        state = begin(numbers[r])
        for first in range(0, steps, chunk):
            rows = jnp.asarray(plans[r, first : first + chunk])
            weight = jnp.asarray(weights[r])
            state, value = forward(state, rows, first, numbers[r], weight, stored)
            if not np.isfinite(value):
                raise diverged(r, min(first + chunk, steps))
        loss, spent = float(value), time.monotonic() - began
        say(f"run {r + 1}/{len(plans)}  loss {loss:.4f}  {spent:.0f} s")
        return finish(state)

    ready = [one(0)]  # compiles, once for all
    with ThreadPoolExecutor(threads) as pool:
        ready += pool.map(one, range(1, len(plans)))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *ready)


def diverged(run: int, step: int) -> UserError:
    """What is said of a run whose loss is no number by this step."""
    return UserError(
        f"the loss of run {run + 1} is not a finite number by step {step}",
        hint="lower optimizer.rate or set optimizer.clip",
    )


def predict_runs(
    system: System,
    variables: Any,
    arrays: Mapping[str, np.ndarray],
    rows: Sequence[np.ndarray],
    batch: int = 256,
) -> list[np.ndarray]:
    """probability (rows of the run, C) of R models, each on its own rows."""
    predict, size = jax.jit(system.predict), min(batch, max(map(len, rows)))
    results = []
    for r, mine in enumerate(rows):
        model = jax.tree.map(lambda leaf, r=r: leaf[r], variables)
        results.append(predict_rows(predict, model, arrays, mine, size)["probability"])
    return results


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
    """ConfigError for folds.seeds, folds.members or data.batch_size that make no runs."""
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
    _whole(config["data"]["batch_size"], 1, "data.batch_size")


def _whole(value: Any, least: int, place: str) -> None:
    if not isinstance(value, int) or value < least:
        raise ConfigError(f"{value!r} should be a whole number from {least} on", place=place)


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
    `metrics.pooled.scores`, and the interval of the pooled balanced accuracy over groups.

    folds: kind, count, seeds (each also the seed of its folds), members (models whose mean
    probability makes one prediction; 1 = none), inner (choose settings: every fold's training side
    is split into so many folds by group and one of them is tested, the fold's own test side never).
    With a workdir, predictions.npz and metrics.json are written at the end; a finished run is only
    read, where config and data are the same, else refused (ConfigError). A stopped run starts anew.
    """
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
    system = build(values)
    section, training = values["folds"], checked_training(values)
    members = int(section.get("members", 1))
    groups = data.clip if data.groups is None else data.groups
    if section.get("inner") and data.groups is None:
        say("folds.inner goes by clip: the set does not say whose clips are whose")
    runs = []
    for seed in section["seeds"]:
        folds = make_folds(data, section, seed)
        if section.get("inner"):
            folds = [
                folding.validation(fold, data.labels, groups, section["inner"], seed)[0]
                for fold in folds
            ]
        runs += [Run(fold, seed, m) for fold in folds for m in range(members)]
    batch = int(values["data"]["batch_size"])
    numbers = [1000 * one.seed + 17 * one.member + k for k, one in enumerate(runs)]
    plans = np.stack(
        [
            plan(one.fold.train, batch, training.steps, n)
            for one, n in zip(runs, numbers, strict=True)
        ]
    )
    even = np.ones(len(data), np.float32)
    weights = np.stack(
        [
            balanced(data.labels, data.condition, one.fold.train) if values.get("balance") else even
            for one in runs
        ]
    )
    arrays = data.arrays()
    say(f"{len(runs)} runs of {training.steps} steps, {len(data)} rows")
    began = time.monotonic()
    variables = train_runs(
        system,
        arrays,
        plans,
        weights,
        numbers,
        settings.optimizer(values["optimizer"]),
        chunk=training.log_every,
        # On a CPU one by one takes 0.8 of the time (launch.benchmark measures both).
        together=bool(section.get("together", jax.default_backend() != "cpu")),
        say=say,
    )
    probability = predict_runs(system, variables, arrays, [one.fold.test for one in runs])
    by_seed, answered = {}, []
    for seed in section["seeds"]:
        mine = [k for k, one in enumerate(runs) if one.seed == seed]
        firsts = [k for k in mine if runs[k].member == 0]
        means = [np.mean(probability[k : k + members], axis=0) for k in firsts]
        pairs = [(runs[k].fold, mean) for k, mean in zip(firsts, means, strict=True)]
        by_seed[seed] = scores(data, pairs)
        answered.append(pooled(data, pairs))
    result = {
        **table(by_seed),
        "balanced_accuracy_interval": interval(data, answered),
        "n": by_seed[section["seeds"][0]]["n"],
        "by_seed": {str(seed): one for seed, one in by_seed.items()},
        "members": members,
        "leaking": any(one.fold.leaking for one in runs),
        "validation": bool(section.get("inner")),
        "left_out": dict(data.left_out),
        "notes": [f"left out: {note}" for note in data.notes],
        "made_of": made_of,
        "seconds": round(time.monotonic() - began, 1),
        "runs": len(runs),
    }
    if done is not None:
        done.parent.mkdir(parents=True, exist_ok=True)
        kept: dict[str, Any] = {f"probability_{k}": p for k, p in enumerate(probability)}
        kept |= {f"test_{k}": one.fold.test for k, one in enumerate(runs)}
        with files.whole(done.parent / "predictions.npz") as temporary:
            np.savez_compressed(temporary, **kept)
        files.write_text(done, json.dumps(result, indent=1, allow_nan=False))
    show(result, say)
    return result


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
    changed = settings.differences(result["made_of"], made_of, free=("config.data.path",))
    if changed:
        shown = "; ".join(changed[:3]) + ("; ..." if len(changed) > 3 else "")
        hint = "another --workdir, or remove the file"
        raise ConfigError(f"holds the figures of other settings ({shown})", file=file, hint=hint)
    return dict(result)
