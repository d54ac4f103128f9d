"""The page about an archive: counts, classes over time, the least sure clips, dead letters."""

from __future__ import annotations

import base64
import heapq
import html
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bodyjax import files
from bodyjax.archive import results
from bodyjax.archive.contact_sheet import thumbnails
from bodyjax.archive.manifest import Manifest, Row

FILE = "summary.html"
UNSURE = 24
"""Clips on the contact sheet."""
LETTERS = 200
"""Dead letters on the page; all are in dead/."""
BINS = 24
"""Bars of classes over time."""
NONE = "(none)"
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")


@dataclass
class Told:
    """What the page tells, gathered shard by shard: memory grows with the number of classes and
    days, not of clips.

    classes: label -> clips; days: day -> label -> clips, a day as a number since 1970 (UTC);
    unsure: the clips with the lowest `sure`; letters: the first dead ones; reasons: error -> clips.
    """

    clips: int = 0
    dead: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    days: dict[int, Counter[str]] = field(default_factory=dict)
    unsure: list[tuple[float, str, str]] = field(default_factory=list)
    letters: list[tuple[str, str]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)


def gathered(out: Path, manifest: Manifest) -> Told:
    """Everything but pictures. DataError if a shard does not account for each of its clips once."""
    told, heap = Told(), list[tuple[float, str, str]]()
    for shard in results.checked(out, manifest):
        times = {results.printable(row.id): row for row in shard.clips}
        for one in shard.results:
            told.clips += 1
            label, name = one["label"] or NONE, one["id"]
            told.classes[label] += 1
            day = _day(times[results.printable(name)])
            told.days.setdefault(day, Counter())[label] += 1
            if one["sure"] is not None:
                heapq.heappush(heap, (-one["sure"], name, label))
                if len(heap) > UNSURE:
                    heapq.heappop(heap)
        for letter in shard.dead:
            told.dead += 1
            told.reasons[letter["error"]] += 1
            if len(told.letters) < LETTERS:
                told.letters.append((letter["id"], f"{letter['error']}: {letter['text']}"))
    told.unsure = sorted((-low, name, label) for low, name, label in heap)
    return told


def _day(row: Row) -> int:
    return int(row.time // 86400)


def write(out: Path, root: Path, manifest: Manifest, told: Told, digest: str) -> Path:
    """OUT/summary.html, one file with its pictures in it. `root`: where ids start."""
    parts = [
        f"<h1>{told.clips + told.dead} of {manifest.clips} clips</h1>",
        _table(
            {
                "with a result": told.clips,
                "dead letters": told.dead,
                "not done yet": manifest.clips - told.clips - told.dead,
                "shards": manifest.shards,
                "SHA-256 of all rows": digest,
                **manifest.about,
            }
        ),
        "<h2>Classes</h2>",
        _classes(told.classes),
        "<h2>Classes over time</h2>",
        "<p>By the day (UTC) on which the file was last changed.</p>",
        _over_time(told),
        "<h2>The least sure clips</h2>",
        *_tiles(root, told.unsure),
        "<h2>Dead letters</h2>",
        _letters(told),
    ]
    file = out / FILE
    page = results.printable("\n".join(parts))
    files.write_text(file, f"{_HEAD}{page}\n</html>\n")
    return file


_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Archive</title>
<style>
body { font: 15px sans-serif; margin: 2em; max-width: 75em }
td, th { padding: 2px 12px 2px 0; text-align: left; vertical-align: top }
figure { display: inline-block; margin: 4px; width: 240px; font-size: 12px; overflow-wrap: anywhere;
  vertical-align: top }
</style>
"""


def _table(rows: Mapping[str, object]) -> str:
    cells = (f"<tr><th>{_(name)}<td>{_(str(value))}" for name, value in rows.items())
    return f"<table>{''.join(cells)}</table>"


def _(text: str) -> str:
    return html.escape(text)


def _classes(counts: Counter[str]) -> str:
    most = max(counts.values(), default=1)
    rows = (
        f"<tr><th>{_(label)}<td>{count}<td>"
        f'<svg width="300" height="12"><rect width="{300 * count / most:.1f}" height="12" '
        f'fill="{COLOURS[0]}"/></svg>'
        for label, count in counts.most_common()
    )
    return f"<table>{''.join(rows)}</table>"


def _over_time(told: Told) -> str:
    """Stacked bars of equal spans of days; the classes beyond the colours count as one."""
    if not told.days:
        return "<p>nothing</p>"
    first, last = min(told.days), max(told.days)
    span = max(1, -(-(last - first + 1) // BINS))
    bars = [Counter[str]() for _ in range((last - first) // span + 1)]
    known = [label for label, _ in told.classes.most_common(len(COLOURS) - 1)]
    for day, counts in told.days.items():
        for label, count in counts.items():
            bars[(day - first) // span][label if label in known else "others"] += count
    named = [*known, "others"] if len(told.classes) > len(known) else known
    most, drawn = max(sum(bar.values()) for bar in bars), []
    for column, bar in enumerate(bars):
        low = 200.0
        for label, colour in zip(named, COLOURS, strict=False):
            high = 200.0 * bar[label] / most
            low -= high
            where = f'x="{column * 36}" y="{low:.1f}" width="32" height="{high:.1f}"'
            begin = _date(first + column * span)
            drawn.append(
                f'<rect {where} fill="{colour}"><title>{_(label)}: {bar[label]} from {begin}'
                "</title></rect>"
            )
    keys = " ".join(
        f'<span style="color:{colour}">&#9632;</span> {_(label)}'
        for label, colour in zip(named, COLOURS, strict=False)
    )
    each = "day" if span == 1 else f"{span} days"
    return (
        f'<svg width="{36 * len(bars)}" height="200">{"".join(drawn)}</svg>'
        f"<p>{_date(first)} to {_date(last)}, a bar for each {each}, the highest {most} clips</p>"
        f"<p>{keys}</p>"
    )


def _date(day: int) -> str:
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(day * 86400))
    except (OSError, OverflowError):  # a clock that was wrong by billions of years
        return f"day {day}"


def _tiles(root: Path, unsure: list[tuple[float, str, str]]) -> Iterator[str]:
    """Each clip's middle picture and what was found in it."""
    pictures = thumbnails([root / name for _sure, name, _label in unsure])
    for (sure, name, label), picture in zip(unsure, pictures, strict=True):
        said = f"<figcaption>{_(label)} {sure:.2f}<br>{_(name)}</figcaption>"
        if isinstance(picture, str):
            yield f"<figure>(no picture: {_(picture)}){said}</figure>"
            continue
        data = base64.b64encode(picture).decode()
        yield f'<figure><img alt="" src="data:image/jpeg;base64,{data}">{said}</figure>'


def _letters(told: Told) -> str:
    if not told.dead:
        return "<p>none</p>"
    more = f"<p>The first {LETTERS} of {told.dead}; all are in dead/.</p>"
    return "".join(
        (
            _table(dict(told.reasons.most_common())),
            more if told.dead > len(told.letters) else "",
            _table(dict(told.letters)),
        )
    )
