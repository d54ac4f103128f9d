"""The work of one shard, from its list of clips to its file of results. No engine in here: local
workers, Beam and a plain loop call the same function."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bodyjax.archive import manifest as manifests
from bodyjax.archive import marks, results
from bodyjax.archive.manifest import Manifest, Row
from bodyjax.archive.work import Answer, Work
from bodyjax.data.read_ahead import taken_ahead
from bodyjax.data.video import forget_indexes
from bodyjax.errors import DataError, UserError


class Counts(NamedTuple):
    """Clips of a shard with a result, and without; skipped: it was finished before."""

    clips: int = 0
    dead: int = 0
    skipped: bool = False


def do_shard(out: Path, key: str, manifest: Manifest, root: Path, work: Work) -> Counts:
    """Reads the clips of a shard, computes them and writes results and dead letters, unless they
    are there.

    A thread decodes ahead of the network, but not in a shard on which a worker has died: there one
    thing happens at a time, so that the next crash has one clip to blame. `root`: where ids start.
    A clip whose reading raises anything is a dead letter, and so is one that has ended
    marks.TRIES workers. Two workers on one shard write the same bytes. Raises what the network
    raises, and DataError if nothing can be written.
    """
    if results.finished(out, key, manifest.kind):
        return Counts(skipped=True)
    crashed, hand = marks.crashes(out, key), marks.Hand(out, key)
    stream = _read(manifests.shard(out, key), root, work, hand, crashed)
    if not crashed:
        stream = taken_ahead(stream, work.batch)
    dead: list[dict[str, str]] = []
    count = 0
    # A shard whose results are there is finished, so they get their name after the dead letters.
    with results.writing(results.file_of(out, key, manifest.kind), manifest.kind) as add:
        for row, found in _answered(stream, work, hand):
            answer = _for_json(found)
            if isinstance(answer, Answer):
                add({"id": row.id, **answer._asdict()})
                count += 1
            else:
                dead.append({"id": row.id, "error": type(answer).__name__, "text": _said(answer)})
        with results.writing(out / "dead" / f"{key}.jsonl", "jsonl") as add_dead:
            for letter in dead:
                add_dead(letter)
    marks.forget(out, key)
    _give_back()
    return Counts(count, len(dead))


def _give_back() -> None:
    """Returns memory that nobody needs any more: a worker lives for thousands of shards."""
    forget_indexes()
    # glibc keeps what many threads have freed, in pieces, and so grows for hours.
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


class Crashed(DataError):
    """A clip that has ended the processes that read it."""


def _read(
    rows: list[Row], root: Path, work: Work, hand: marks.Hand, crashed: dict[str, list[str]]
) -> Iterator[tuple[Row, Any]]:
    """Each clip as `run` takes it, or the exception that makes it a dead letter."""
    for row in rows:
        how = crashed.get(row.id, [])
        if len(how) >= marks.TRIES:
            yield row, Crashed(f"it ended {len(how)} workers ({', '.join(how)})")
            continue
        yield row, _guarded(partial(work.read, root / row.id, hand.beat), row, hand)


def _guarded(call: Callable[[], Any], row: Row, hand: marks.Hand) -> Any:
    """What the call returns, or the exception that is the clip's own fault, while the clip is noted
    as in hand."""
    hand.take(row.id)
    try:
        return call()
    except DataError as error:
        return error
    except UserError:  # a mistake in the command, not in the clip
        raise
    except Exception as error:  # a decoder's own; one clip must not end the work on a million
        return error
    finally:
        hand.drop(row.id)


def _answered(
    stream: Iterator[tuple[Row, Any]], work: Work, hand: marks.Hand
) -> Iterator[tuple[Row, Answer | Exception]]:
    """Rows with their answers, in batches of those that could be read."""
    waiting: list[tuple[Row, Any]] = []
    for row, clip in stream:
        if isinstance(clip, Exception):
            yield row, clip
            continue
        waiting.append((row, clip))
        if len(waiting) == work.batch:
            yield from _computed(waiting, work, hand)
            waiting = []
    if waiting:
        yield from _computed(waiting, work, hand)


def _computed(
    batch: list[tuple[Row, Any]], work: Work, hand: marks.Hand
) -> Iterator[tuple[Row, Answer | Exception]]:
    rows, clips = [row for row, _ in batch], [clip for _, clip in batch]
    if work.batch > 1:
        hand.beat()
        yield from zip(rows, work.run(clips, hand.beat), strict=True)
        return
    # Such work may decode while it computes: the clip can be blamed.
    answer = _guarded(lambda: work.run(clips, hand.beat)[0], rows[0], hand)
    yield rows[0], answer


def _for_json(answer: Answer | Exception) -> Answer | Exception:
    """The answer, or the ValueError of one that JSON can't hold (NaN)."""
    try:
        results.text(answer._asdict() if isinstance(answer, Answer) else {})
    except ValueError as error:
        return error
    return answer


def _said(error: Exception) -> str:
    """An exception's text without the file, on one line."""
    text = error.message if isinstance(error, UserError) else str(error)
    return " ".join(text.split())[:500]
