"""Which clips an archive has, in which shards, and what it is made of: written once.

Clips are sorted by a hash of their names, so that a shard is a fair sample of the archive and all
shards take about as long. In the archive's folder:

    manifest.json           what it is made of, how many clips and shards; written last
    clips/00000.jsonl       the clips of shard 0: id, bytes, time (of the file's last change)
    results/ dead/ work/    bodyjax.archive.results, bodyjax.archive.marks
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bodyjax import files
from bodyjax.errors import ConfigError, DataError

FILE, LOCK = "manifest.json", ".lock"
FORMAT = 1
FOLDERS = ("clips", "results", "dead", "work")
SHARDS = 64
"""A small archive is cut into at least about so many shards."""
LARGEST = 256
"""Clips of a shard at most: what a killed worker loses."""
_LIST = re.compile(r"\d{5,}\.jsonl|\.\d{5,}\..*\.tmp\.jsonl")
"""A list of clips, or one that was being written."""
_UNNAMED = re.compile(r"\.manifest\..*\.tmp\.json")
"""A manifest that was being written."""


class Row(NamedTuple):
    """A clip: id, its path relative to the source's root ("/" between folders); bytes, -1 if it is
    missing; time: seconds since 1970 of the file's last change."""

    id: str
    bytes: int
    time: float


@dataclass(frozen=True)
class Manifest:
    """made_of: digests of the source list, the checkpoint, the options and the code; about: the
    same in words; kind: the form of the results, jsonl or parquet."""

    made_of: dict[str, str]
    about: dict[str, str]
    clips: int
    shards: int
    kind: str

    def shard_keys(self) -> Iterator[str]:
        """The shards' names, in order."""
        return (f"{number:05d}" for number in range(self.shards))


# ---- the source ----


class Listed(NamedTuple):
    """The clips of a source, in the order of the manifest, the folder that their ids start from,
    and what was passed over, in words."""

    rows: list[Row]
    root: Path
    passed_over: str


def listed(source: Path, endings: Sequence[str]) -> Listed:
    """The clips of a folder and the folders in it, or of a list: a text file with a path a line,
    relative to the list's folder or absolute. DataError if there are none, or one is named twice.
    """
    if source.is_dir():
        found = files.listed(source, endings)
        ids = [file.relative_to(source).as_posix() for file in found.files]
        counts = files.skipped_counts(found.skipped, source)
        passed = ", ".join(f"{count} {what}" for what, count in counts.items())
        root = source
    else:
        ids, root, passed = _of_list(source, endings), source.parent, ""
    if not ids:
        raise DataError("no clips", file=source, hint=f"endings: {' '.join(endings)}")
    rows = sorted((_row(root, one) for one in ids), key=lambda row: _hash(row.id))
    return Listed(rows, Path(os.path.abspath(root)), passed)


def _of_list(source: Path, endings: Sequence[str]) -> list[str]:
    if not source.is_file():
        raise DataError("no such folder or list", file=source)
    if source.suffix.lower() in endings:
        raise DataError(
            "is a clip", file=source, hint="name a folder, or a list with a path a line"
        )
    seen: dict[str, int] = {}
    with source.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            name = os.path.normpath(line.strip()) if line.strip() else ""
            if "\0" in name:
                hint = "a text file with a path a line"
                raise DataError("is not a list", file=source, place=f"line {number}", hint=hint)
            if name in seen:
                what = f"{name} stands in line {seen[name]} too"
                raise DataError(what, file=source, place=f"line {number}")
            if name.strip():
                seen[name] = number
    return list(seen)


def _row(root: Path, name: str) -> Row:
    try:
        status = os.stat(root / name)
    except OSError:
        return Row(name, -1, 0.0)  # reading it gives the dead letter
    return Row(name, status.st_size, status.st_mtime)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _hash(name: str) -> bytes:
    return hashlib.sha256(_bytes(name)).digest()


def fingerprint(rows: Iterable[Row]) -> str:
    """SHA-256 over the names and sizes of the clips."""
    total = hashlib.sha256()
    for row in rows:
        total.update(_bytes(row.id) + f"\0{row.bytes}\n".encode())
    return total.hexdigest()


# ---- the archive's folder ----


def begin(
    out: Path,
    rows: Sequence[Row],
    made_of: Mapping[str, str],
    about: Mapping[str, str],
    kind: str,
    batch: int,
) -> Manifest:
    """The manifest of `out`, written now if the archive is new: shards of at most LARGEST clips, a
    multiple of `batch`. ConfigError if the folder holds an archive that is made of something else,
    DataError if it holds other files."""
    if (out / FILE).exists():
        known = read(out)
        _check_same(known, out, made_of, about, kind)
        _check_lists(known, out)
        return known
    _check_empty(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in FOLDERS:
            (out / name).mkdir(exist_ok=True)
        size = min(LARGEST, -(-len(rows) // SHARDS))
        size = -(-size // batch) * batch
        found = Manifest(dict(made_of), dict(about), len(rows), -(-len(rows) // size), kind)
        for number, key in enumerate(found.shard_keys()):
            part = rows[number * size : (number + 1) * size]
            lines = [json.dumps(row._asdict()) + "\n" for row in part]
            files.write_text(out / "clips" / f"{key}.jsonl", "".join(lines))
    except OSError as error:
        raise files.unwritten(out, error) from None
    words = {"format": FORMAT, **asdict(found)}
    files.write_text(out / FILE, json.dumps(words, indent=1) + "\n")
    return found


def _check_empty(out: Path) -> None:
    """DataError if a folder without a manifest holds more than what a start that was killed leaves:
    a lock and lists of clips, but no results: nothing tells what they are of."""
    for other in sorted(out.iterdir()) if out.is_dir() else ():
        inside = sorted(other.iterdir()) if other.name in FOLDERS and other.is_dir() else []
        if other.name not in (*FOLDERS, LOCK) and not _UNNAMED.fullmatch(other.name):
            inside = [other]
        elif other.name == "clips":
            inside = [file for file in inside if not _LIST.fullmatch(file.name)]
        if inside:
            what = f"holds other files ({inside[0].relative_to(out)})"
            raise DataError(what, file=out, hint="name a new folder")


def _check_lists(known: Manifest, out: Path) -> None:
    rows = (row for key in known.shard_keys() for row in shard(out, key))
    if fingerprint(rows) != known.made_of.get("source"):
        hint = "name another --out; what is in results/ stays"
        raise DataError("are not the clips it was begun with", file=out / "clips", hint=hint)


def _check_same(
    known: Manifest, out: Path, made_of: Mapping[str, str], about: Mapping[str, str], kind: str
) -> None:
    changed = [name for name in made_of if known.made_of.get(name) != made_of[name]]
    told = [_change(name, known.about.get(name), about.get(name)) for name in changed]
    if known.kind != kind:
        told.append(f"format: {known.kind}, now {kind}")
    if told:
        what = f"was begun with something else ({'; '.join(told)})"
        raise ConfigError(what, file=out, hint="name another --out, or go on with what was")


def _change(name: str, before: str | None, now: str | None) -> str:
    words = f"{before}, now {now}" if before != now else f"{now} has changed"
    return f"{name}: {words}"


def read(out: Path) -> Manifest:
    """The manifest of a folder. DataError if it is missing or damaged."""
    file = out / FILE
    try:
        words: dict[str, Any] = json.loads(file.read_text("utf-8"))
        if words.pop("format") != FORMAT:
            raise ValueError
        found = Manifest(**words)
        if not isinstance(found.made_of, dict) or not isinstance(found.about, dict):
            raise TypeError
        if type(found.clips) is not int or type(found.shards) is not int or found.shards < 1:
            raise TypeError
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        hint = "name an archive's folder"
        raise DataError("can't be read as a manifest", file=file, hint=hint) from None


def shard(out: Path, key: str) -> list[Row]:
    """The clips of a shard. DataError if the list is damaged."""
    file = out / "clips" / f"{key}.jsonl"
    try:
        with file.open(encoding="utf-8") as lines:
            return [_checked(Row(**json.loads(line))) for line in lines]
    except (OSError, ValueError, TypeError, RecursionError):
        raise DataError("can't be read as a list of clips", file=file) from None


def _checked(row: Row) -> Row:
    """The row, or the TypeError of one that is not what `begin` writes."""
    if not isinstance(row.id, str) or type(row.bytes) is not int or not math.isfinite(row.time):
        raise TypeError
    return row


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Holds the archive's folder for this process; ends with the process, however that ends.
    DataError if another process holds it, or if it holds other files, which are left alone."""
    try:
        if not (out / FILE).exists() and not (out / LOCK).exists():
            _check_empty(out)
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("a")
    except OSError as error:
        raise files.unwritten(out, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            hint = "wait for it, or end it"
            raise DataError("another process works in this folder", file=out, hint=hint) from None
        yield
