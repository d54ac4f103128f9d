"""Everything on disk: the checkpoints of a run, exported weights, and what guards them.

A run's folder:
    newest/STEP/   the last `train.keep` checkpoints
    best/STEP/     the checkpoint with the best `train.best.metric`
    frozen/0/      the parameters that training never changes, saved once
Every STEP holds `model` (parameters, statistics, moving average), `train` (optimiser, key, step),
both written by Orbax, `record` (JSON: config, system, labels, metrics, versions, progress) and
SHA256SUMS over all its files, written last (`sha256sum -c SHA256SUMS` checks it by hand). Orbax
restores a flipped bit silently, so a folder is trusted only if its sums match; one without sums
was never finished. Exported weights are one folder: params.npz, config.json, card.md.
Nothing goes through pickle.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

import bodyjax
from bodyjax import config_history, files
from bodyjax.engine import mesh as meshes
from bodyjax.engine import seals, trees
from bodyjax.errors import CheckpointError

WEIGHTS = Path(bodyjax.__file__).parent / "weights"
KINDS = ("newest", "best")
FORMAT = 1

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


# ---- the folder of a run: writing -----------------------------------------------------------


class Run:
    """Writes the checkpoints of one run; every process makes one and makes the same calls."""

    def __init__(self, workdir: Path, keep: int) -> None:
        import orbax.checkpoint as ocp

        self.workdir, self._keep = workdir.absolute(), keep
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._managers = {
            kind: ocp.CheckpointManager(self.workdir / kind, options=options) for kind in KINDS
        }

    def save(self, kind: str, step: int, model: Any, train: Any, record: Mapping[str, Any]) -> Path:
        """Writes one checkpoint and its sums, and only then removes the oldest ones.

        Returns its folder; CheckpointError if it was not written.
        """
        import orbax.checkpoint as ocp

        manager = self._managers[kind]
        folder = self.workdir / kind / str(step)
        flat = {"model": trees.flatten(model), "train": trees.flatten(train)}
        arrays = {name: trees.specs(item) for name, item in flat.items()}
        full = {"format": FORMAT, "step": step, **record, "versions": versions(), "arrays": arrays}
        try:
            written = manager.save(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(trees.nest(flat["model"])),
                    train=ocp.args.StandardSave(trees.nest(flat["train"])),
                    record=ocp.args.JsonSave(full),
                ),
            )
            manager.wait_until_finished()
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"could not be written: {_line(error)}", file=folder, hint="is the disk full?"
            ) from error
        if not written:
            raise CheckpointError(
                "was not written: a checkpoint of this or a later step is there",
                file=folder,
                hint="start again in another folder",
            )
        seals.seal(folder)
        for old in sorted(manager.all_steps())[: -self._keep if kind == "newest" else -1]:
            manager.delete(old)
        return folder

    def close(self) -> None:
        for manager in self._managers.values():
            manager.close()


def save_frozen(workdir: Path, frozen: Any) -> str | None:
    """Writes `frozen` once for a run; returns what identifies it, None if there is none."""
    import orbax.checkpoint as ocp

    flat = trees.flatten(frozen)
    if not flat:
        return None
    folder = workdir.absolute() / "frozen" / "0"
    if meshes.is_first():
        shutil.rmtree(folder.parent, ignore_errors=True)
    meshes.barrier("frozen removed")
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    with ocp.CheckpointManager(folder.parent, options=options) as manager:
        written = manager.save(
            0,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(trees.nest(flat)),
                record=ocp.args.JsonSave(
                    {"format": FORMAT, "arrays": {"model": trees.specs(flat)}}
                ),
            ),
        )
    if not written:
        raise CheckpointError("was not written", file=folder)
    seals.seal(folder)
    return files.sha256(folder / seals.SUMS)


# ---- the folder of a run: reading -----------------------------------------------------------


def candidates(workdir: Path, kinds: tuple[str, ...] = KINDS) -> list[Path]:
    """The step folders of a run, latest first; at the same step the newest comes before the
    best."""
    found = [
        (int(folder.name), -order, folder)
        for order, kind in enumerate(kinds)
        for folder in (workdir / kind).glob("*")
        if folder.name.isdigit() and folder.is_dir()
    ]
    return [folder for _, _, folder in sorted(found, reverse=True)]


def latest_good(workdir: Path, say: Callable[[str], None]) -> Path | None:
    """Where a run resumes: its latest intact checkpoint; None if there is none yet.

    Reports the damaged ones it skips. CheckpointError if all are damaged.
    """
    folders = candidates(workdir)
    for folder in folders:
        try:
            seals.verify(folder)
        except CheckpointError as error:
            say(f"{error}; trying an earlier one")
        else:
            return folder
    if any((folder / seals.SUMS).exists() for folder in folders):
        raise CheckpointError(
            "every checkpoint of this run is damaged",
            file=workdir,
            hint="delete the folder to start again",
        )
    return None


def discard(workdir: Path, good: Path | None) -> None:
    """Removes what a run that resumes from `good` will write again: all later checkpoints, and an
    unusable one of the same step."""
    step = int(good.name) if good else -1
    meshes.barrier(f"chosen in {workdir}")
    if meshes.is_first():
        for folder in candidates(workdir):
            if int(folder.name) > step or (int(folder.name) == step and not seals.holds(folder)):
                shutil.rmtree(folder)
    meshes.barrier(f"discarded {workdir}")


def read_record(folder: Path) -> dict[str, Any]:
    """The JSON part of a checkpoint whose sums match."""
    try:
        record = json.loads((folder / "record" / "metadata").read_text("utf-8"))
        format_ = record["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"has no readable record: {_line(error)}", file=folder) from error
    if format_ != FORMAT:
        raise CheckpointError(f"is of format {format_}, this program reads {FORMAT}", file=folder)
    if "config" in record:  # that of frozen parameters has none
        record["config"] = config_history.upgraded(record["config"])
    return record


def restore(folder: Path, item: str, target: Any) -> Any:
    """An item of a checkpoint in the structure of `target`: ShapeDtypeStructs with shardings.

    CheckpointError names the first array that is missing or of another shape or dtype.
    """
    wanted = trees.flatten(target)
    stored = {
        name: (tuple(shape), dtype)
        for name, (shape, dtype) in read_record(folder)["arrays"][item].items()
    }
    expect(stored, {name: (leaf.shape, str(leaf.dtype)) for name, leaf in wanted.items()}, folder)
    values = _orbax_restore(folder / item, wanted)
    return jax.tree_util.tree_map_with_path(lambda path, _: values[trees.leaf_name(path)], target)


def expect(stored: Mapping[str, Any], wanted: Mapping[str, Any], place: Path) -> None:
    """CheckpointError unless both hold the same names with the same (shape, dtype)."""
    for name in sorted({*stored, *wanted}):
        if stored.get(name) != wanted.get(name):
            has = "{} {}".format(*stored[name]) if name in stored else "nothing"
            needs = "{} {}".format(*wanted[name]) if name in wanted else "nothing"
            raise CheckpointError(
                f"is of another model: {name} is {has}, needed is {needs}", file=place
            )


def _orbax_restore(folder: Path, flat: Mapping[str, Any]) -> dict[str, Any]:
    if not flat:
        return {}
    import orbax.checkpoint as ocp

    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return trees.flatten(checkpointer.restore(folder.absolute(), trees.nest(flat)))
    except Exception as error:  # Orbax raises many kinds; each is one line to the user
        raise CheckpointError(f"can't be restored: {_line(error)}", file=folder) from error


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
    expect(shapes[0], shapes[1], Path(place))


def _find(path: str | os.PathLike[str]) -> Path:
    folder = Path(path)
    if folder.is_dir():
        return folder
    if folder.name == str(path) and (WEIGHTS / folder.name).is_dir():
        return WEIGHTS / folder.name
    if folder.name.isdigit():
        for kind in KINDS:
            if (folder.parent / kind / folder.name).is_dir():
                return folder.parent / kind / folder.name
    shipped = sorted(p.parent.name for p in WEIGHTS.glob("*/params.npz"))
    raise CheckpointError(
        "there is no such checkpoint",
        file=folder,
        hint=f"a run's folder, or one of the shipped weights: {', '.join(shipped) or 'none'}",
    )


def _load_run(folder: Path, which: str) -> Checkpoint:
    if (folder / seals.SUMS).exists() or (folder.name.isdigit() and folder.parent.name in KINDS):
        seals.verify(folder)
        return _load_step(folder)
    kinds = ("best", "newest") if which == "best" else ("newest", "best")
    folders = [step for kind in kinds for step in candidates(folder, (kind,))]
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
    record = read_record(folder)
    model = read_arrays(folder, "model")
    params = model.get("ema") or model.get("params", {})
    statistics = model.get("ema_stats") or model.get("batch_stats", {})
    frozen: Any = {}
    if record["frozen"] is not None:
        frozen = restore_frozen(folder.parent.parent, record["frozen"])
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


def restore_frozen(workdir: Path, digest: str) -> Any:
    """The frozen parameters of a run, as host arrays, after checking their sums."""
    folder = workdir / "frozen" / "0"
    seals.verify(folder)
    if files.sha256(folder / seals.SUMS) != digest:
        raise CheckpointError("the frozen parameters are of another run", file=folder)
    return read_arrays(folder, "model")


def read_arrays(folder: Path, item: str) -> dict[str, Any]:
    """An item ("model" or "train") as nested dicts, whole, on this process's first device."""
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    flat = {
        name: jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype), sharding=one)
        for name, (shape, dtype) in read_record(folder)["arrays"][item].items()
    }
    return trees.nest(_orbax_restore(folder / item, flat))


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
        raise CheckpointError(f"is incomplete: {_line(error)}", file=place) from error


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
        digest, dtypes = config["sha256"], config["dtypes"]
        references, step = config["frozen_from"], config["step"]
        config["config"] = config_history.upgraded(config["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        place = folder / "config.json"
        raise CheckpointError(f"can't be read: {_line(error)}", file=place) from error
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
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"can't be read: {_line(error)}", file=arrays) from error
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


# ---- small things ---------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Code and library versions, saved with every checkpoint."""
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"bodyjax": bodyjax.__version__, "python": platform.python_version(), **found}


def _tuples(value: Any) -> Any:
    """Lists of a JSON config as tuples, which models can hash."""
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
