"""Maps that a detector made once for a set of pictures, on disk; each picture is read by itself.

A store is a folder: record.json says which teacher and pictures the maps belong to, and is written
first; the shards 00000.zip, 00001.zip, ... hold ROWS pictures each in the set's order and are
written completely or not at all, so the same command resumes where it stopped. In a shard,
rows.json names its pictures, and the member N holds the maps of its N-th picture: float16, channels
first, every low byte before every high byte. Values are rounded to STEP, the resolution of float16
just below 1; so a map that is almost empty is also small on disk.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import files, skeleton
from bodyjax.data.pictures.clip_frames import ClipPictures
from bodyjax.data.pictures.images import Archive
from bodyjax.data.pictures.labelled import FilePath, Pictures
from bodyjax.data.prepared import Prepared
from bodyjax.errors import ConfigError, DataError
from bodyjax.files import remove_leftovers

RECORD = "record.json"
FORMAT = 1
ROWS = 64
STEP = 2.0**-11
LEVEL = 1
"""The level of zlib: higher ones take four times as long to save a tenth."""


@dataclass(frozen=True)
class Form:
    """The form of stored maps: joints and limbs of a skeleton, pixels per cell, side of the canvas
    in pixels. Each whole picture was centred in the canvas."""

    skeleton: str
    stride: int
    size: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, J + 2L): heat maps without background, then fields."""
        bones = skeleton.get(self.skeleton)
        cells = self.size // self.stride
        return cells, cells, len(bones.joints) + 2 * len(bones.limbs)


@dataclass(frozen=True)
class Record:
    """Whose maps a store holds: the teacher's name, the SHA-256 of its weights, the form of its
    maps and its test-time settings; the name of the set, its part, and fingerprint of the files."""

    teacher: str
    sha256: str
    form: Form
    settings: dict[str, Any]
    set: str
    part: str
    pictures: int
    fingerprint: str

    def lines(self) -> dict[str, Any]:
        """As JSON."""
        return {"format": FORMAT, **asdict(self)}


def pictures_of(source: Any) -> tuple[list[str], list[str]]:
    """Names of a source's pictures, and a stamp of each that a file of the same name would have to
    share (its size, or the fingerprint of a prepared set). Labels don't count.

    ConfigError for pictures that are drawn while training: there are new ones in every set.
    """
    if isinstance(source, Pictures):
        names, files = list(source.names), source.files
        if isinstance(files, Archive):
            return names, [str(files.sizes[name]) for name in names]
        return names, [str((files.path / name).stat().st_size) for name in names]
    if isinstance(source, ClipPictures):
        sizes = [file.stat().st_size for file in source.frames.clips.files]
        return list(source.names), [str(sizes[clip]) for clip in source.frames.clip]
    if isinstance(source, Prepared):
        return list(source.names), [source.fingerprint] * len(source)
    raise ConfigError("simulated pictures have no stored maps", hint="bodyjax prepare keeps some")


def fingerprint(names: list[str], stamps: list[str]) -> str:
    """SHA-256 of the pictures of a set, in their order."""
    return hashlib.sha256(json.dumps([names, stamps]).encode()).hexdigest()


def packed(maps: np.ndarray) -> bytes:
    """Maps (h, w, C) as a shard holds them, before its zip compresses them."""
    rounded = np.round(np.moveaxis(maps, -1, 0).astype(np.float32) / STEP) * STEP
    numbers = np.ascontiguousarray((rounded + 0.0).astype("<f2"))  # + 0: no negative zeros
    return numbers.view(np.uint8).reshape(-1, 2).T.tobytes()


def unpacked(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """The maps (h, w, C) float16 of such bytes; ValueError for another number of bytes."""
    height, width, channels = shape
    numbers = np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(2, -1).T).view("<f2")
    return np.ascontiguousarray(np.moveaxis(numbers.reshape(channels, height, width), 0, -1))


def begin(folder: Path, record: Record, names: list[str]) -> list[int]:
    """Makes a store's folder, or reuses an existing one; returns the shards that are still missing.

    A shard that is cut or has other rows counts as missing. DataError if something else is in the
    folder, or a store of another teacher, setting or set.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError("is a file", file=folder, hint="name another --out")
    remove_leftovers(folder)
    if (folder / RECORD).exists():
        old, new = read_record(folder).lines(), record.lines()
        # The same weights may be named by another path.
        different = [k for k in new if k != "teacher" and old[k] != new[k]]
        other = [f"{k} {_short(old[k])} -> {_short(new[k])}" for k in different]
        if other:
            what = f"holds other maps ({'; '.join(other)})"
            raise DataError(what, file=folder, hint="another --out or --name, or remove it")
    elif folder.exists() and any(folder.iterdir()):
        raise DataError("holds something else", file=folder, hint="name another --out")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / RECORD, json.dumps(record.lines(), indent=1) + "\n")
    return [
        number
        for number in range(-(-len(names) // ROWS))
        if not _holds(folder, number, [names[i] for i in rows_of(number, len(names))])
    ]


def rows_of(number: int, count: int) -> range:
    """Which of a set's `count` pictures are in a shard."""
    return range(number * ROWS, min((number + 1) * ROWS, count))


def shard(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / f"{number:05d}.zip"


def write_shard(folder: Path, number: int, rows: list[dict[str, Any]], maps: list[bytes]) -> None:
    """Writes a shard completely or not at all: rows (name, stamp, id, matrix) and their `packed`
    maps. Equal contents are equal bytes."""
    file = shard(folder, number)
    members = [("rows.json", json.dumps(rows).encode()), *((str(i), m) for i, m in enumerate(maps))]
    try:
        with files.whole(file) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, data in members:
                entry = zipfile.ZipInfo(name)
                archive.writestr(entry, data, zipfile.ZIP_DEFLATED, LEVEL)
    except OSError as error:
        raise files.unwritten(file, error) from None


def size_on_disk(folder: Path) -> int:
    """Bytes of a store's shards."""
    return sum(file.stat().st_size for file in folder.glob("*.zip"))


def read_record(folder: Path) -> Record:
    """The record of a store; DataError if there is none or it is damaged."""
    file = folder / RECORD
    try:
        found = json.loads(file.read_text("utf-8"))
        number = found.pop("format")
        if number != FORMAT:
            raise DataError(f"is of format {number}, not {FORMAT}", file=file)
        return Record(**{**found, "form": Form(**found["form"])})
    except FileNotFoundError:
        hint = "bodyjax prepare --teacher NAME makes them"
        raise DataError("holds no stored maps", file=folder, hint=hint) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"not a readable record ({error})", file=file) from None


class MapStore:
    """An opened store. Maps are read on request, from any thread or process."""

    def __init__(self, folder: FilePath) -> None:
        self.folder = Path(folder)
        self.record = read_record(self.folder)
        self._shards: list[Archive] = []
        self._rows: dict[str, tuple[int, int]] = {}
        self._stamps: dict[str, str] = {}
        self._matrices: dict[str, np.ndarray] = {}
        for file in sorted(self.folder.glob("[0-9]*.zip")):
            archive = Archive(file)
            for i, row in enumerate(_read_rows(archive)):
                name = str(row["name"])
                self._rows[name] = len(self._shards), i
                self._stamps[name] = str(row["stamp"])
                self._matrices[name] = np.array(row["matrix"], np.float64)
            self._shards.append(archive)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of teacher, settings and pictures."""
        return hashlib.sha256(json.dumps(self.record.lines()).encode()).hexdigest()

    def check(self, names: list[str], stamps: list[str]) -> None:
        """DataError unless all these pictures are in the store."""
        missing = [name for name in names if name not in self._rows]
        if len(missing) == len(names):
            what = "are maps of another set: they know none of its pictures"
            raise DataError(what, file=self.folder, hint=f"made of {self.record.set}")
        other = [
            name
            for name, stamp in zip(names, stamps, strict=True)
            if self._stamps.get(name, stamp) != stamp
        ]
        if other:
            what = f"are maps of another version of the set ({len(other)} pictures differ)"
            raise DataError(what, file=self.folder, place=other[0], hint="make them anew")
        if missing:
            what = f"maps of {len(missing)} of {len(names)} pictures are missing"
            hint = "the command that made the others goes on"
            raise DataError(what, file=self.folder, place=missing[0], hint=hint)

    def read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The maps (h, w, J + 2L) float16 of a picture, and the (2, 3) map from the picture's
        pixels to the canvas. DataError if they are damaged."""
        number, row = self._rows[name]
        archive = self._shards[number]
        try:
            maps = unpacked(archive.read(str(row)), self.record.form.shape)
        except ValueError:
            shape = self.record.form.shape
            raise DataError(f"maps are not {shape}", file=archive.path, place=name) from None
        return maps, self._matrices[name]


def _read_rows(archive: Archive) -> list[dict[str, Any]]:
    """What rows.json of a shard says."""
    data = archive.read("rows.json")
    try:
        rows = json.loads(data)
        if all(np.shape(row["matrix"]) == (2, 3) and {"name", "stamp"} <= row.keys()
               for row in rows):  # fmt: skip
            return list(rows)
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise DataError("not a shard of stored maps", file=archive.path)


def _holds(folder: Path, number: int, names: list[str]) -> bool:
    """Whether a shard is there, with these pictures."""
    try:
        archive = Archive(shard(folder, number))
        rows = _read_rows(archive)
    except DataError:
        return False
    there = all(str(i) in archive for i in range(len(names)))
    return there and [row["name"] for row in rows] == names


def _short(value: Any) -> str:
    """A value of a record, shortened."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:12]}..."
