"""The folder of a run: what a training writes on disk, and how it finds its way back.

    newest/STEP/   the last `train.keep` checkpoints
    best/STEP/     the checkpoint with the best `train.best.metric`
    frozen/0/      the parameters that training never changes, saved once
Every STEP holds `model` (parameters, statistics, moving average), `train` (optimiser, key, step),
both written by Orbax, `record` (JSON: config, system, labels, metrics, versions, progress) and
SHA256SUMS over all its files, written last (`sha256sum -c SHA256SUMS` checks it by hand). Orbax
restores a flipped bit silently, so a folder is trusted only if its sums match; one without sums
was never finished. Nothing goes through pickle.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import bodyjax
from bodyjax import config_history, files
from bodyjax.engine import mesh as meshes
from bodyjax.engine import orbax_noise, seals, trees
from bodyjax.errors import CheckpointError

KINDS = ("newest", "best")
FORMAT = 1


class Run:
    """Writes the checkpoints of one run; every process makes one and makes the same calls."""

    def __init__(self, workdir: Path, keep: int) -> None:
        import orbax.checkpoint as ocp

        orbax_noise.hide()
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
        parts = ocp.args.Composite(
            model=ocp.args.StandardSave(trees.nest(flat["model"])),
            train=ocp.args.StandardSave(trees.nest(flat["train"])),
            record=ocp.args.JsonSave(full),
        )
        try:
            written = manager.save(step, args=parts)
            manager.wait_until_finished()
        except (OSError, ValueError) as error:
            raise _unwritten(folder, error) from error
        if not written:
            raise CheckpointError(
                "was not written: a checkpoint of this or a later step is there",
                file=folder,
                hint="start again in another folder",
            )
        _seal(folder)
        for old in sorted(manager.all_steps())[: -self._keep if kind == "newest" else -1]:
            manager.delete(old)
        return folder

    def close(self) -> None:
        for manager in self._managers.values():
            manager.close()


def save_frozen(workdir: Path, frozen: Any) -> str | None:
    """Writes `frozen` once for a run; returns what identifies it, None if there is none."""
    import orbax.checkpoint as ocp

    orbax_noise.hide()
    flat = trees.flatten(frozen)
    if not flat:
        return None
    folder = workdir.absolute() / "frozen" / "0"
    if meshes.is_first():
        shutil.rmtree(folder.parent, ignore_errors=True)
    meshes.barrier("frozen removed")
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    record = {"format": FORMAT, "arrays": {"model": trees.specs(flat)}}
    parts = ocp.args.Composite(
        model=ocp.args.StandardSave(trees.nest(flat)), record=ocp.args.JsonSave(record)
    )
    try:
        with ocp.CheckpointManager(folder.parent, options=options) as manager:
            written = manager.save(0, args=parts)
    except (OSError, ValueError) as error:
        raise _unwritten(folder, error) from error
    if not written:
        raise CheckpointError("was not written", file=folder)
    _seal(folder)
    return files.sha256(folder / seals.SUMS)


def _seal(folder: Path) -> None:
    try:
        seals.seal(folder)
    except OSError as error:
        raise _unwritten(folder, error) from error


def _unwritten(folder: Path, error: Exception) -> CheckpointError:
    """The error of a checkpoint that could not be written. Waits for Orbax's threads, which go on
    writing into a folder that the next start removes."""
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("orbax."):
            threading.Thread.join(thread, 10)  # Orbax's own raises what the thread raised
    found = files.why_unwritten(error)
    if found is None:
        what = f"could not be written: {one_line(error)}"
        return CheckpointError(what, file=folder, hint="is the disk full?")
    what, hint = found
    hint = f"{hint}; the checkpoints before it stay, and the same command goes on from there"
    return CheckpointError(f"could not be written ({what})", file=folder, hint=hint)


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
        raise CheckpointError(f"has no readable record: {one_line(error)}", file=folder) from error
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
            has = "{} {}".format(*stored[name]).strip() if name in stored else "nothing"
            needs = "{} {}".format(*wanted[name]).strip() if name in wanted else "nothing"
            raise CheckpointError(
                f"is of another model: {name} is {has}, needed is {needs}", file=place
            )


def _orbax_restore(folder: Path, flat: Mapping[str, Any], alone: bool = False) -> dict[str, Any]:
    """alone: by this process, whatever the others of the run do; Orbax would wait for them."""
    if not flat:
        return {}
    import orbax.checkpoint as ocp

    orbax_noise.hide()
    me = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )
    given = {"multiprocessing_options": options} if alone and jax.process_count() > 1 else {}
    try:
        with ocp.StandardCheckpointer(**given) as checkpointer:
            return trees.flatten(checkpointer.restore(folder.absolute(), trees.nest(flat)))
    except Exception as error:  # Orbax raises many kinds; each is one line to the user
        raise CheckpointError(f"can't be restored: {one_line(error)}", file=folder) from error


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
    return trees.nest(_orbax_restore(folder / item, flat, alone=True))


def versions() -> dict[str, str]:
    """Code and library versions, saved with every checkpoint."""
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"bodyjax": bodyjax.__version__, "python": platform.python_version(), **found}


def one_line(error: BaseException) -> str:
    """Kind and text of a library's error, on one line, at most 200 characters of it."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
