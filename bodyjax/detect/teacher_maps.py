"""A detector's maps of a set of pictures, stored once: a teacher that makes training little slower.

The maps are the network's own, with the settings of `detect` that affect them (canvas size, mirror,
scales). data.pictures.map_store describes their layout on disk, systems.moved_maps how they
follow the random changes of a picture.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from bodyjax import detect
from bodyjax.data import feeds
from bodyjax.data.pictures import map_store
from bodyjax.data.pictures.labelled import FilePath
from bodyjax.data.pictures.map_store import Form, Record
from bodyjax.data.read_ahead import taken_ahead
from bodyjax.detect import canvas
from bodyjax.detect.detector import Detector
from bodyjax.engine import checkpoint
from bodyjax.engine.digest import digest
from bodyjax.errors import ConfigError
from bodyjax.systems.teaching import of_network

SETTINGS = ("size", "flip", "scales")
"""The fields of detect.Settings that change the maps."""


@dataclass(frozen=True)
class Report:
    """What was stored: the folder, the number of pictures in the set, how many were made now and in
    how many seconds, bytes on disk, and what the set left out, as a source reports it."""

    folder: Path
    pictures: int
    made: int
    seconds: float
    size: int
    left_out: dict[str, int]
    bad: tuple[str, ...]


def store(
    teacher: FilePath,
    source: FilePath,
    out: FilePath,
    name: str = "",
    *,
    part: str = "train",
    on_bad: str = "skip",
    **settings: Any,
) -> Report:
    """Writes the maps of every picture of a part of a set to OUT/NAME (default: the set's folder,
    as `data.sets` of a config calls it).

    teacher: shipped weights or a run of a detector; settings: those of `SETTINGS`. Call again to
    resume. Shows progress. Raises CheckpointError if the teacher is not a detector, DataError if
    something else is at OUT/NAME, and whatever opening the set raises; on_bad: as in
    feeds.picture_source.
    """
    loaded = checkpoint.load(teacher, system="pose")
    detector = detect.load(loaded, **settings)
    path = Path(source).resolve()
    pictures = feeds.picture_source(path.name, path.parent, part, on_bad=on_bad)
    names, stamps = map_store.pictures_of(pictures)
    name = name or path.name
    used = {k: v for k, v in vars(detector.settings).items() if k in SETTINGS and k != "size"}
    record = Record(
        str(teacher), digest(of_network(loaded.variables)), form_of(detector),
        {k: list(v) if isinstance(v, tuple) else v for k, v in used.items()},
        path.name, part, len(names), map_store.fingerprint(names, stamps),
    )  # fmt: skip
    folder = Path(out) / name
    missing = map_store.begin(folder, record, names)
    begun = time.perf_counter()
    made = make(detector, pictures, names, stamps, folder, missing) if missing else 0
    return Report(
        folder, len(names), made, time.perf_counter() - begun, map_store.size_on_disk(folder),
        dict(pictures.left_out), tuple(pictures.bad),
    )  # fmt: skip


def form_of(detector: Detector) -> Form:
    """The form of a detector's maps."""
    assert detector.system is not None
    stride = int(detector.system.model.stride)
    return Form(detector.skeleton.name, stride, detector.side)


def make(
    detector: Detector,
    pictures: Any,
    names: list[str],
    stamps: list[str],
    folder: Path,
    missing: list[int],
) -> int:
    """Writes the shards numbered `missing` and returns how many pictures they hold. One thread
    reads ahead and one compresses and writes, beside the network."""
    system = detector.system
    assert system is not None

    @jax.jit
    def maps_of(variables: Any, pixels: Any) -> Any:
        maps = canvas.averaged_maps(system, variables, pixels, detector.settings)
        return jnp.concatenate([maps.heatmaps, maps.pafs], axis=-1)

    def read() -> Iterator[tuple[int, np.ndarray, dict[str, Any]]]:
        for number in missing:
            for i in map_store.rows_of(number, len(names)):
                example = pictures[i]
                pixels, matrix = detect.on_canvas(detector, example["image"])
                row = {"name": names[i], "stamp": stamps[i], "id": int(example["id"])}
                yield number, pixels, {**row, "matrix": matrix.tolist()}

    def write(number: int, rows: list[dict[str, Any]], maps: list[np.ndarray]) -> None:
        map_store.write_shard(folder, number, rows, [map_store.packed(one) for one in maps])

    total = sum(len(map_store.rows_of(number, len(names))) for number in missing)
    bar = tqdm(total=len(names), initial=len(names) - total, desc=f"maps of {folder.name}",
               unit="picture", disable=None)  # fmt: skip
    pool, writing = ThreadPoolExecutor(1), None
    rows: list[dict[str, Any]] = []
    maps: list[np.ndarray] = []
    try:
        for number, pixels, row in taken_ahead(read()):
            rows.append(row)
            maps.append(np.asarray(maps_of(detector.variables, pixels)))
            bar.update()
            if len(rows) == len(map_store.rows_of(number, len(names))):
                done(writing)
                bar.set_postfix_str(f"{map_store.size_on_disk(folder) / 1e6:.0f} MB on disk")
                writing, rows, maps = pool.submit(write, number, rows, maps), [], []
        done(writing)
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()
    return total


def done(writing: Future[None] | None) -> None:
    """Waits for a shard; raises its error, if any."""
    if writing is not None:
        writing.result()


def take_form(config: ConfigDict) -> None:
    """Fills in `config.distill.maps`, the form of the stored maps that `distill.stored` names, so
    that a checkpoint is complete by itself. ConfigError if `distill.teacher` names a network other
    than the one that made them."""
    distill = config.distill
    shares = [name for name, share in config.data.sets.items() if share]
    record = next(iter(feeds.open_stores(Path(distill.stored), shares).values())).record
    if distill.teacher:
        named = checkpoint.load(distill.teacher, system="pose").variables
        if digest(of_network(named)) != record.sha256:
            what = f"{distill.teacher!r} is not the network that made the stored maps"
            hint = f'they are of {record.teacher}; "" takes them as they are'
            raise ConfigError(what, file=distill.stored, place="distill.teacher", hint=hint)
    form = record.form
    with config.unlocked(), config.ignore_type():
        distill.maps = ConfigDict(
            {"skeleton": form.skeleton, "stride": form.stride, "size": form.size}
        )


def say(report: Report) -> None:
    """Prints what was stored, and to stderr what was left out."""
    for line in report.bad:
        print(f"left out: {line}", file=sys.stderr)
    left_out = "; ".join(f"{count} {reason}" for reason, count in report.left_out.items())
    print(f"left out: {left_out or 'nothing'}")
    rate = f", {report.made / report.seconds:.1f} a second" if report.made else ""
    print(f"maps: {report.pictures} pictures, {report.made} of them made now{rate}")
    each = report.size / report.pictures / 1e3
    print(f"stored: {report.folder} ({report.size / 1e6:.1f} MB, {each:.0f} kB a picture)")
