"""Results and dead letters of a shard: written completely or not at all, and read again.

    results/00000.jsonl     a line a clip: id, label, sure, result (Parquet: result as JSON text)
    dead/00000.jsonl        a line a clip that gave no result: id, error, text

The results are written last: a shard whose results are there is finished.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bodyjax import files
from bodyjax.archive import manifest as manifests
from bodyjax.archive.manifest import Manifest
from bodyjax.errors import DataError, UserError

KINDS = ("jsonl", "parquet")
GROUP = 64
"""Rows of a Parquet row group: what is in memory at a time."""

Line = dict[str, Any]
Add = Callable[[Mapping[str, Any]], None]


def file_of(out: Path, key: str, kind: str) -> Path:
    """The results of a shard."""
    return out / "results" / f"{key}.{kind}"


def finished(out: Path, key: str, kind: str) -> bool:
    """Whether the shard needs no more work."""
    return file_of(out, key, kind).exists()


def check_kind(kind: str) -> None:
    """UserError if results can't be written in this form."""
    if kind == "parquet":
        _parquet()


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        hint = "pip install 'bodyjax[parquet]', or write JSON lines"
        raise UserError("pyarrow is not installed", place="--format parquet", hint=hint) from None
    return pyarrow


@contextmanager
def writing(file: Path, kind: str) -> Iterator[Add]:
    """Gives a function that adds a row; the file appears under its name, flushed to the disk, when
    all are there. DataError if it can't be written."""
    try:
        with files.whole(file) as temporary:
            with _rows_to(temporary, kind) as add:
                yield add
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
    except OSError as error:
        raise files.unwritten(file, error) from None


@contextmanager
def _rows_to(file: Path, kind: str) -> Iterator[Add]:
    if kind == "jsonl":
        with file.open("w", encoding="utf-8") as lines:
            yield lambda row: print(text(row), file=lines)
        return
    arrow = _parquet()
    columns = {"id": arrow.string(), "label": arrow.string()}
    columns |= {"sure": arrow.float64(), "result": arrow.string()}
    schema, waiting = arrow.schema(list(columns.items())), list[Line]()
    # A stream: Arrow takes no names that are not UTF-8.
    with file.open("wb") as stream, arrow.parquet.ParquetWriter(stream, schema) as writer:

        def flush() -> None:
            writer.write_table(arrow.Table.from_pylist(waiting, schema))
            waiting.clear()

        def add(row: Mapping[str, Any]) -> None:
            waiting.append({**row, "id": printable(row["id"]), "result": text(row["result"])})
            if len(waiting) == GROUP:
                flush()

        yield add
        if waiting:
            flush()


def printable(name: str) -> str:
    """A clip's name in UTF-8, as Arrow and pages need it; other bytes become \\udcXX."""
    return name.encode("utf-8", "backslashreplace").decode()


def text(row: Mapping[str, Any]) -> str:
    """A row as one line of JSON, always the same for the same values."""
    return json.dumps(row, allow_nan=False, sort_keys=True, separators=(",", ":"))


def rows(out: Path, key: str, kind: str) -> Iterator[Line]:
    """The results of a finished shard. DataError if its file is damaged."""
    file = file_of(out, key, kind)
    if kind == "jsonl":
        yield from _lines(file, _RESULT)
        return
    arrow = _parquet()
    try:
        with file.open("rb") as stream, arrow.parquet.ParquetFile(stream) as opened:
            for group in opened.iter_batches(GROUP):
                for row in group.to_pylist():
                    yield _checked({**row, "result": _parsed(row["result"])}, _RESULT)
    # Arrow's errors are ValueErrors.
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise _damaged(file, error) from None


def dead(out: Path, key: str) -> Iterator[Line]:
    """The dead letters of a finished shard. DataError if its file is damaged."""
    yield from _lines(out / "dead" / f"{key}.jsonl", _LETTER)


_RESULT: dict[str, Any] = {
    "id": str, "label": str | None, "sure": float | int | None, "result": dict,
}  # fmt: skip
_LETTER: dict[str, Any] = {"id": str, "error": str, "text": str}


def _checked(row: Any, columns: Mapping[str, Any]) -> Line:
    """The row, or the TypeError of one that `do_shard` does not write."""
    if not isinstance(row, dict) or row.keys() != columns.keys():
        raise TypeError
    if not all(isinstance(row[name], kind) for name, kind in columns.items()):
        raise TypeError
    if not math.isfinite(row.get("sure") or 0):  # Arrow holds NaN
        raise TypeError
    return row


def _parsed(line: str) -> Any:
    """What a line of JSON says; ValueError also for NaN and infinities, which JSON has not."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(line, parse_constant=refuse)


def _lines(file: Path, columns: Mapping[str, Any]) -> Iterator[Line]:
    try:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                yield _checked(_parsed(line), columns)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> DataError:
    hint = "remove the shard's files from results/ and repeat the command"
    return DataError(f"can't be read ({type(error).__name__})", file=file, hint=hint)


class Shard(NamedTuple):
    """A finished shard: its clips' rows in the manifest, and their results and dead letters."""

    clips: list[manifests.Row]
    results: list[Line]
    dead: list[Line]


def checked(out: Path, manifest: Manifest) -> Iterator[Shard]:
    """The finished shards, one in memory at a time. DataError unless every clip of such a shard has
    exactly one result or one dead letter."""
    for key in manifest.shard_keys():
        if not finished(out, key, manifest.kind):
            continue
        clips = manifests.shard(out, key)
        good = list(rows(out, key, manifest.kind))
        bad = list(dead(out, key))
        there = sorted(printable(row["id"]) for row in [*good, *bad])
        if there != sorted(printable(row.id) for row in clips):
            file = file_of(out, key, manifest.kind)
            hint = "remove this file and repeat the command"
            raise DataError("results and dead letters are not the clips", file=file, hint=hint)
        yield Shard(clips, good, bad)


def digest(out: Path, manifest: Manifest) -> str:
    """SHA-256 over all results and dead letters, in the order of the manifest: the same whatever
    engine made them and however often it was stopped."""
    total = hashlib.sha256()
    for shard in checked(out, manifest):
        for row in [*shard.results, *shard.dead]:
            total.update(text(row).encode() + b"\n")
    return total.hexdigest()


class Totals(NamedTuple):
    """Clips with a result and dead letters in the finished shards, counted in their files."""

    clips: int
    dead: int


def totals(out: Path, manifest: Manifest) -> Totals:
    """How far the archive is. DataError as `checked`."""
    clips = letters = 0
    for shard in checked(out, manifest):
        clips, letters = clips + len(shard.results), letters + len(shard.dead)
    return Totals(clips, letters)
