"""Trained models on disk: a run's checkpoints (engine.run_folder) and exported weights.

Exported weights are one folder: params.npz, config.json with the sum of the arrays, card.md.
Nothing goes through pickle.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

import bodyjax
from bodyjax import config_history, files
from bodyjax.engine import run_folder, seals, trees
from bodyjax.engine.run_folder import FORMAT, KINDS, one_line
from bodyjax.errors import CheckpointError

WEIGHTS = Path(bodyjax.__file__).parent / "weights"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and everything needed to use it. `variables` hold the moving average of the
    parameters if the run had one."""

    variables: dict[str, Any]
    config: ml_collections.ConfigDict
    system: str
    skeleton: str | None = None
    labels: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    path: Path = Path()


# ---- loading what was trained ---------------------------------------------------------------


def load(
    path: str | os.PathLike[str], which: str = "best", system: str | None = None
) -> Checkpoint:
    """A trained model from a run's folder, one of its steps, or exported weights.

    path: DIR of a run (its `which` = "best" or "newest" checkpoint; newest if there is no best),
    DIR/STEP, a folder of exported weights, or the name of shipped ones ("small"; a folder of that
    name in the working directory comes first). With `system`, a checkpoint of another system is
    refused. A damaged checkpoint is skipped for the next older intact one, with a warning; a step
    named explicitly is not replaced. Errors are one-line CheckpointErrors.
    """
    if which not in KINDS:
        raise CheckpointError(f"which={which!r} is neither best nor newest")
    folder = _find(path)
    found = _load_exported(folder) if (folder / "params.npz").exists() else _load_run(folder, which)
    if system is not None and found.system != system:
        raise CheckpointError(
            f"is of system {found.system}, not {system}",
            file=folder,
            hint="name a checkpoint of that system",
        )
    return found


def check_variables(variables: Mapping[str, Any], expected: Any, place: str | Path = "") -> None:
    """CheckpointError unless `variables` have the names and shapes of `expected` (arrays or the
    result of jax.eval_shape(system.init, key)); dtypes may differ; they are cast on use."""
    shapes = [
        {name: (tuple(leaf.shape), "") for name, leaf in trees.flatten(tree).items()}
        for tree in (variables, expected)
    ]
    run_folder.expect(shapes[0], shapes[1], Path(place))


def _find(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, str | os.PathLike):
        what = f"{type(path).__name__} names none"
        raise CheckpointError(what, place="checkpoint", hint=_known())
    folder = Path(path)
    if folder.is_dir():
        return folder
    if folder.name == str(path) and (WEIGHTS / folder.name).is_dir():
        return WEIGHTS / folder.name
    if folder.name.isdigit():
        for kind in KINDS:
            if (folder.parent / kind / folder.name).is_dir():
                return folder.parent / kind / folder.name
    raise CheckpointError("there is no such checkpoint", file=folder, hint=_known())


def _known() -> str:
    shipped = sorted(p.parent.name for p in WEIGHTS.glob("*/params.npz"))
    return f"a run's folder, or one of the shipped weights: {', '.join(shipped) or 'none'}"


def _load_run(folder: Path, which: str) -> Checkpoint:
    if (folder / seals.SUMS).exists() or (folder.name.isdigit() and folder.parent.name in KINDS):
        seals.verify(folder)
        return _load_step(folder)
    kinds = ("best", "newest") if which == "best" else ("newest", "best")
    folders = [step for kind in kinds for step in run_folder.candidates(folder, (kind,))]
    if not folders:
        raise CheckpointError(
            "holds no checkpoint", file=folder, hint="train first, or name another folder"
        )
    for step in folders:
        try:
            seals.verify(step)
        except CheckpointError as error:
            log.warning("%s; trying another one", error)
        else:
            return _load_step(step)
    raise CheckpointError("every checkpoint of this run is damaged", file=folder)


def _load_step(folder: Path) -> Checkpoint:
    record = run_folder.read_record(folder)
    model = run_folder.read_arrays(folder, "model")
    params = model.get("ema") or model.get("params", {})
    statistics = model.get("ema_stats") or model.get("batch_stats", {})
    frozen: Any = {}
    if record["frozen"] is not None:
        frozen = run_folder.restore_frozen(folder.parent.parent, record["frozen"])
    return Checkpoint(
        variables={
            "params": params,
            "batch_stats": statistics,
            "frozen": frozen,
        },
        step=record["step"],
        path=folder,
        **_described(record, folder),
    )


def _described(record: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """The fields of a Checkpoint that come from its record or config.json."""
    try:
        meta = dict(record["meta"])
        return {
            "config": ml_collections.ConfigDict(_tuples(record["config"])),
            "system": str(record["system"]),
            "skeleton": meta.get("skeleton"),
            "labels": tuple(meta.get("labels") or ()),
            "metrics": dict(record["metrics"]),
            "versions": dict(record["versions"]),
            "meta": meta,
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"is incomplete: {one_line(error)}", file=place) from error


# ---- exported weights -----------------------------------------------------------------------


def export(
    checkpoint: Checkpoint,
    name_or_dir: str | os.PathLike[str],
    card: str,
    dtype: str = "float16",
    frozen_from: Mapping[str, str] | None = None,
) -> Path:
    """Writes params.npz, config.json and card.md; returns their folder.

    A plain name is a folder of bodyjax/weights/. Parameters are stored in `dtype` (float32,
    float16, bfloat16), statistics in float32. `frozen_from` {"detector": "small"}: instead of a
    copy of frozen["detector"], refer to the shipped weights `small`, whose {"params",
    "batch_stats"} it must equal.
    """
    folder = Path(name_or_dir)
    if str(folder) == folder.name:
        folder = WEIGHTS / folder.name
    references = {}
    frozen = dict(checkpoint.variables.get("frozen", {}))
    for part, weights in (frozen_from or {}).items():
        references[part] = _reference(part, weights, frozen.pop(part, None))
    flat = trees.flatten({**checkpoint.variables, "frozen": frozen})
    stored: dict[str, Any] = {}
    dtypes: dict[str, str] = {}
    for name, leaf in flat.items():
        value = np.asarray(leaf)
        if value.dtype == np.float32 and "batch_stats" not in name.split("/"):
            with np.errstate(over="ignore"):
                value = value.astype(jnp.dtype(dtype))
            if not np.isfinite(value.astype(np.float32)).all():
                raise CheckpointError(f"{name} does not fit into {dtype}", hint="use float32")
        if value.dtype == jnp.bfloat16:
            dtypes[name], value = "bfloat16", value.view(np.uint16)
        stored[name] = value
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "params.npz", **stored)
    config = {
        "format": FORMAT,
        "system": checkpoint.system,
        "config": json.loads(json.dumps(checkpoint.config.to_dict())),
        "meta": checkpoint.meta,
        "metrics": checkpoint.metrics,
        "versions": checkpoint.versions,
        "step": checkpoint.step,
        "sha256": files.sha256(folder / "params.npz"),
        "dtypes": dtypes,
        "frozen_from": references,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    (folder / "card.md").write_text(card, "utf-8")
    return folder


def _reference(part: str, weights: str, value: Any) -> dict[str, str]:
    other = load(weights).variables
    same = {"params": other["params"], "batch_stats": other["batch_stats"]}
    mine, theirs = trees.flatten(value), trees.flatten(same)
    if mine.keys() != theirs.keys() or not all(
        np.array_equal(np.asarray(mine[name]), np.asarray(theirs[name])) for name in mine
    ):
        raise CheckpointError(f"frozen {part!r} is not the weights {weights!r}")
    return {"weights": weights, "sha256": files.sha256(_find(weights) / "params.npz")}


def _load_exported(folder: Path) -> Checkpoint:
    arrays = folder / "params.npz"
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        digest, dtypes = config["sha256"], dict(config["dtypes"])
        references, step = dict(config["frozen_from"]), int(config["step"])
        config["config"] = config_history.upgraded(config["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        place = folder / "config.json"
        raise CheckpointError(f"can't be read: {one_line(error)}", file=place) from error
    if not arrays.exists() or files.sha256(arrays) != digest:
        raise CheckpointError("is damaged: it is not the file that config.json names", file=arrays)
    flat = {}
    try:
        with np.load(arrays, allow_pickle=False) as file:
            for name in file.files:
                value = file[name]
                value = value.view(jnp.bfloat16) if dtypes.get(name) == "bfloat16" else value
                # half the bytes on disk, but parameters in memory are always float32
                floating = jnp.issubdtype(value.dtype, jnp.floating)
                flat[name] = value.astype(np.float32) if floating else value
    except files.BAD_ARRAYS as error:
        raise CheckpointError(f"can't be read: {one_line(error)}", file=arrays) from error
    # all at once: jnp.asarray compiles a program for every shape
    placed = trees.nest(jax.device_put(flat))
    variables = {"params": {}, "batch_stats": {}, "frozen": {}, **placed}
    for part, reference in references.items():
        weights = _find(reference["weights"])
        if files.sha256(weights / "params.npz") != reference["sha256"]:
            raise CheckpointError(
                f"was made with other weights {reference['weights']!r} than those here",
                file=folder,
                hint="take both from the same version",
            )
        other = _load_exported(weights).variables
        variables["frozen"][part] = {name: other[name] for name in ("params", "batch_stats")}
    return Checkpoint(
        variables=variables, step=step, path=folder, **_described(config, folder / "config.json")
    )


def _tuples(value: Any) -> Any:
    """Lists of a JSON config as tuples, which models can hash."""
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
