"""Which of two limbs is nearer, on real pictures: what the eye says against what the lifter says.

    python -m bodyjax.bench.depth_order --data DATA --sheets FOLDER
    python -m bodyjax.bench.depth_order --data DATA --checkpoint NAME --verdicts TABLE

The first draws pictures of the held-out sides of multi and lspet by a seed, in their order, and
writes sheets: each picture plain, and beside it dots on the labelled wrists, knees and ankles of
one person (orange: the person's own left, blue: right). No lifter runs. Somebody writes what they
see into a table: number, set, name, pair, nearer ("left", "right", or "unclear" where the eye
cannot tell). The second lifts these people, as launch.lift does, fills the columns `lifted`,
`labelled` (from the labelled joints in place of the detector's) and `verdict` (right, wrong,
missed: nobody found there, unclear) and prints the shares, with the interval that holds 95 % of the
resampled pictures.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from bodyjax import camera, detect, draw, files, lift, skeleton
from bodyjax.bench import look, rows
from bodyjax.data import sets
from bodyjax.errors import DataError
from bodyjax.evaluate.lifting import matched
from bodyjax.lift import Lifter
from bodyjax.metrics.intervals import bootstrap
from bodyjax.skeleton import COCO17, H36M17

LOTS = {"multi": 20, "lspet": 40}
"""How many of each set are drawn, in this order; all of a set that has no more than that."""
PAIRS = ("wrist", "knee", "ankle")
SEED = 29
TALL = 0.4
"""A person's labelled joints span at least this share of the picture's longer side."""
AROUND = 1.4
"""What is shown: the joints' box enlarged by this, inside the picture."""
SIDE, ACROSS, DOWN = 420, 2, 3
"""Longest side of that on a sheet, and how many a sheet holds."""
LEVEL = 0.95
COLUMNS = ("number", "set", "name", "pair", "nearer", "lifted", "labelled", "verdict")
SIDES = ("left", "right")


class Person(NamedTuple):
    """The person of a picture (H, W, 3) who is judged: xy (17, 2) and visible (17,) of COCO's
    joints as labelled, box (4,) x0, y0, x1, y1."""

    image: np.ndarray
    xy: np.ndarray
    visible: np.ndarray
    box: np.ndarray


class Held:
    """The held-out pictures of multi and lspet whose largest person has all of PAIRS labelled and
    spans the share TALL of the picture."""

    def __init__(self, data: str | PathLike[str]) -> None:
        self._sets = {kind: sets.open_set(Path(data) / kind, "test") for kind in LOTS}
        self._who: dict[tuple[str, str], tuple[int, int]] = {}
        for kind, pictures in self._sets.items():
            for row, name in enumerate(pictures.names):
                who = _largest(pictures, row)
                if who is not None:
                    self._who[kind, name] = row, who

    def names(self, kind: str) -> list[str]:
        return [name for of, name in self._who if of == kind]

    def person(self, kind: str, name: str) -> Person:
        """DataError for a picture that is not among these."""
        if (kind, name) not in self._who:
            raise DataError("is not among the held-out pictures", file=f"{kind}: {name}")
        row, who = self._who[kind, name]
        pictures = self._sets[kind]
        xy, visible = _coco(pictures, row)
        return Person(
            pictures.image(row), xy[who], visible[who], np.asarray(pictures.people[row].boxes[who])
        )


def _coco(pictures: Any, row: int) -> tuple[np.ndarray, np.ndarray]:
    people = pictures.people[row]
    return skeleton.convert(people.xy, people.visible, pictures.skeleton, COCO17)


def _ends(pair: str, bones: skeleton.Skeleton) -> tuple[int, int]:
    left, right = (bones.index(f"{side}_{pair}") for side in SIDES)
    return left, right


def _largest(pictures: Any, row: int) -> int | None:
    """The number of the largest person of a picture, None if they don't fit."""
    xy, visible = _coco(pictures, row)
    spans = [
        float(np.ptp(one[seen > 0], axis=0).max()) if (seen > 0).any() else 0.0
        for one, seen in zip(xy, visible, strict=True)
    ]
    if not spans:
        return None
    who = int(np.argmax(spans))
    known = all((visible[who, list(_ends(pair, COCO17))] > 0).all() for pair in PAIRS)
    longest = max(pictures.sizes[row]) if pictures.sizes and pictures.sizes[row] else None
    longest = longest or max(pictures.image(row).shape[:2])
    return who if known and spans[who] >= TALL * longest else None


# ---- before the lifter is asked ----


def write_sheets(held: Held, drawn: Sequence[tuple[str, str]], out: str | PathLike[str]) -> None:
    """Sheets of the drawn (set, name) in their order: sheet_NN.png."""
    folder, tiles = Path(out), []
    folder.mkdir(parents=True, exist_ok=True)
    for number, (kind, name) in enumerate(drawn, 1):
        tile = plain_and_dotted(held.person(kind, name))
        tiles.append(draw.label(tile, [f"{number} {kind} {name}"]))
    each = ACROSS * DOWN
    for first in range(0, len(tiles), each):
        sheet = look.sheet(tiles[first : first + each], ACROSS)
        Image.fromarray(sheet).save(folder / f"sheet_{first // each + 1:02d}.png")


def plain_and_dotted(person: Person) -> np.ndarray:
    """The picture around the person, enlarged, and beside it with dots on the joints of PAIRS:
    orange left, blue right."""
    joints = person.xy[person.visible > 0]
    low, high = joints.min(0), joints.max(0)
    spare = (AROUND - 1) / 2 * float((high - low).max())
    x0, y0 = np.floor(np.maximum(low - spare, 0)).astype(int)
    x1, y1 = np.ceil(high + spare).astype(int) + 1
    part = person.image[y0:y1, x0:x1]
    plain = look.enlarged(part, SIDE)
    scale = np.array(plain.shape[1::-1]) / np.array(part.shape[1::-1])
    dotted = Image.fromarray(plain)
    pen = ImageDraw.Draw(dotted)
    for pair in PAIRS:
        for joint, colour in zip(_ends(pair, COCO17), ((255, 140, 0), (30, 110, 255)), strict=True):
            x, y = (person.xy[joint] - [x0, y0] + 0.5) * scale - 0.5
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour, outline=(255, 255, 255))
    return np.concatenate([plain, np.asarray(dotted)], axis=1)


# ---- after that ----


def judged(held: Held, lifter: Lifter, table: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The rows of a table with the lifter's answers and the verdicts."""
    answers: dict[tuple[str, str], tuple[np.ndarray | None, np.ndarray]] = {}
    out = []
    for row in table:
        key = row["set"], row["name"]
        if key not in answers:
            answers[key] = poses(lifter, held.person(*key))
        found, labelled = answers[key]
        said = "" if found is None else nearer(found, row["pair"])
        verdict = "unclear" if row["nearer"] == "unclear" else "missed"
        if said and verdict == "missed":
            verdict = "right" if said == row["nearer"] else "wrong"
        labels_say = nearer(labelled, row["pair"])
        out.append({**row, "lifted": said, "labelled": labels_say, "verdict": verdict})
    return out


def poses(lifter: Lifter, person: Person) -> tuple[np.ndarray | None, np.ndarray]:
    """xyz (17, 3) mm of the person as found in the picture, None if they are missed, and from the
    labelled joints."""
    lens = camera.assumed(person.image.shape[:2])
    found = detect.find(lifter.detector, person.image, joints=COCO17)
    label, visible, box = person.xy[None], person.visible[None], person.box[None]
    (which,) = matched(found.xy, label, visible, box)
    exact = lift.poses(lifter, label, (visible > 0).astype(float), camera=lens)[0]
    if which < 0:
        return None, exact
    at = slice(which, which + 1)
    return lift.poses(lifter, found.xy[at], found.scores[at], camera=lens)[0], exact


def nearer(xyz: np.ndarray, pair: str) -> str:
    """Which joint of a pair is nearer to the camera in a pose (17, 3): "left" or "right"."""
    left, right = _ends(pair, H36M17)
    return SIDES[int(xyz[right, 2] < xyz[left, 2])]


def shares(table: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Counts of verdicts, and the share of right ones among the pairs that the eye can tell, a
    missed person being wrong; from detected joints, by pair, and from labelled joints."""
    clear = [row for row in table if row["verdict"] != "unclear"]
    each = {pair: [row for row in clear if row["pair"] == pair] for pair in PAIRS}
    found = [row for row in clear if row["lifted"]]
    return {
        "verdicts": dict(Counter(row["verdict"] for row in table)),
        "pictures": len({row["name"] for row in clear}),
        "right": share(clear, "lifted"),
        "right_of_found": share(found, "lifted"),
        "right_from_labelled_joints": share(clear, "labelled"),
        **{pair: share(part, "lifted") for pair, part in each.items() if part},
    }


def share(table: Sequence[dict[str, str]], by: str) -> dict[str, Any]:
    """The share of rows in which column `by` says what the eye says, resampled by picture."""
    names = sorted({row["name"] for row in table})
    right = np.array([sum(r[by] == r["nearer"] for r in table if r["name"] == n) for n in names])
    count = np.array([sum(r["name"] == n for r in table) for n in names])
    bounds = bootstrap(lambda at: right[at].sum() / count[at].sum(), len(names), level=LEVEL)
    return {"n": int(count.sum()), **bounds._asdict()}


def read(file: str | PathLike[str]) -> list[dict[str, str]]:
    """A table of what the eye says. DataError, with the line, for an unknown pair or answer."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", file=file) from None
    table = list(csv.DictReader(io.StringIO(text)))
    for line, row in enumerate(table, 2):
        if row.get("pair") not in PAIRS or row.get("nearer") not in (*SIDES, "unclear"):
            hint = f"pair: {', '.join(PAIRS)}; nearer: left, right or unclear"
            raise DataError("an unknown pair or answer", file=file, place=f"line {line}", hint=hint)
    return table


def write(file: str | PathLike[str], table: Sequence[dict[str, str]]) -> None:
    """The table with all of COLUMNS."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    files.write_text(file, text.getvalue())


def _compare(held: Held, file: str, checkpoint: str) -> dict[str, Any]:
    table = judged(held, lift.load(checkpoint), read(file))
    write(file, table)
    return shares(table)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bodyjax.bench.depth_order", description=__doc__)
    parser.add_argument("--data", required=True, help="the folder of multi and lspet")
    parser.add_argument("--checkpoint", help="of lift.load, with --verdicts")
    parser.add_argument("--seed", type=int, default=SEED)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--sheets", help="a folder for the sheets")
    task.add_argument("--verdicts", help="a table of what the eye says; gets the lifter's columns")
    options = parser.parse_args(arguments)
    if options.verdicts and not options.checkpoint:
        parser.error("--verdicts compares with a lifter: name one by --checkpoint")

    def work() -> dict[str, Any]:
        held = Held(options.data)
        if options.verdicts:
            return _compare(held, options.verdicts, options.checkpoint)
        drawn = look.lots({kind: held.names(kind) for kind in LOTS}, LOTS, options.seed)
        write_sheets(held, drawn, options.sheets)
        return {"seed": options.seed, "drawn": drawn, "of": {k: len(held.names(k)) for k in LOTS}}

    rows.print_json(parser, work, None)


if __name__ == "__main__":
    main(sys.argv[1:])
