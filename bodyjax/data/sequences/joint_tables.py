"""Joints without pictures: joint tables as CSV, and the stored joints of clips.

A joint table has the columns frame, person, joint, x, y, confidence and, for all rows or for none,
width, height: one row per found joint. frame and person are whole numbers from 0 on, frames in
ascending order; joint is a name of the skeleton; x and y are pixels (centre of the first pixel =
(0, 0)); confidence is in [0, 1]; width and height are the picture's, the same in all rows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bodyjax import skeleton
from bodyjax.data.pictures.labelled import FilePath, read_arrays
from bodyjax.errors import DataError
from bodyjax.files import listed, read_json
from bodyjax.skeleton import BODY18

Example = dict[str, np.ndarray]

COLUMNS = ("frame", "person", "joint", "x", "y", "confidence")
SIZE_COLUMNS = ("width", "height")
COCO17 = skeleton.get("coco17")
LARGEST = 1e9
"""Limit of x, y and sizes, in pixels: squares of larger numbers don't fit into float32."""
MOST_FRAMES = 1_000_000
"""The most frames from a table's first to its last, nine hours at 30 a second: a larger span is a
mistake, and rows for its frames would fill the memory."""


@dataclass(frozen=True)
class JointTable:
    """Joints of people over time.

    frames (F,) int64: the frame numbers that have rows, rising; people (P,) int64: their numbers;
    xy (F, P, J, 2) float32 pixels, visible (F, P, J) uint8 (2 where the table has a row, else 0),
    score (F, P, J) float32; size (width, height) or None.
    """

    frames: np.ndarray
    people: np.ndarray
    xy: np.ndarray
    visible: np.ndarray
    score: np.ndarray
    size: tuple[float, float] | None


def read_joint_csv(
    file: FilePath, joints: skeleton.Skeleton = COCO17, *, one_person: bool = False
) -> JointTable:
    """A joint table. Every fault is a DataError with the file and the line.

    Faults: other columns or another order of them, a wrong number of cells, invalid numbers, NaN or
    beyond LARGEST, negative or too large confidence, an unknown joint, frames that go back or lie
    MOST_FRAMES after the first, a joint given twice, sizes that change, and with `one_person` a
    second person.
    """
    rows: list[Row] = []
    size, last, seen = None, -1, set()
    for line, cells, header in _lines(Path(file)):
        row = dict(zip(header, cells, strict=True))
        frame = _whole(row["frame"], "frame", file, line)
        person = _whole(row["person"], "person", file, line)
        if row["joint"] not in joints.joints:
            raise DataError(
                f"unknown joint {row['joint']!r}",
                file=file,
                place=f"line {line}",
                hint=f"{joints.name} has {', '.join(joints.joints)}",
            )
        x, y, confidence = (_number(row[name], name, file, line) for name in COLUMNS[3:])
        if not 0 <= confidence <= 1:
            raise DataError(f"confidence {confidence:g} is not in [0, 1]", **_at(file, line))
        if frame < last:
            raise DataError(f"frame {frame} comes after frame {last}", **_at(file, line))
        if rows and frame - rows[0][0][0] >= MOST_FRAMES:
            raise DataError(
                f"frame {frame} lies {frame - rows[0][0][0]} after the first",
                **_at(file, line),
                hint=f"a table spans {MOST_FRAMES} frames at most",
            )
        key = (frame, person, joints.joints.index(row["joint"]))
        if key in seen:
            raise DataError(
                f"{row['joint']} of person {person}, frame {frame}, twice", **_at(file, line)
            )
        if one_person and rows and person != rows[0][0][1]:
            raise DataError(
                f"person {person} beside person {rows[0][0][1]}: one is expected", **_at(file, line)
            )
        if "width" in row:
            here = (
                _number(row["width"], "width", file, line),
                _number(row["height"], "height", file, line),
            )
            if min(here) <= 0 or here != (size or here):
                raise DataError("the size is not positive or changes", **_at(file, line))
            size = here
        last = frame
        seen.add(key)
        rows.append((key, (x, y, confidence)))
    if not rows:
        raise DataError("a joint table without rows", file=file)
    return _table(rows, len(joints.joints), size)


def write_joint_csv(file: FilePath, table: JointTable, joints: skeleton.Skeleton = COCO17) -> None:
    """Write a joint table; absent joints (visible 0) get no row."""
    with open(file, "w", newline="") as stream:
        out = csv.writer(stream, lineterminator="\n")
        out.writerow(COLUMNS + (SIZE_COLUMNS if table.size else ()))
        for f, p, j in np.argwhere(table.visible > 0):
            values = (*table.xy[f, p, j], table.score[f, p, j], *(table.size or ()))
            cells = [f"{value:.9g}" for value in values]
            out.writerow([table.frames[f], table.people[p], joints.joints[j], *cells])


def _lines(file: Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """(line number, cells, header) of every row."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next(reader, [])]
            if tuple(header) not in (COLUMNS, COLUMNS + SIZE_COLUMNS):
                raise DataError(
                    f"columns are {', '.join(header) or 'none'}",
                    file=file,
                    place="line 1",
                    hint=f"want {', '.join(COLUMNS)} and perhaps {', '.join(SIZE_COLUMNS)}",
                )
            for cells in reader:
                if len(cells) != len(header):
                    raise DataError(
                        f"{len(cells)} cells instead of {len(header)}", **_at(file, reader.line_num)
                    )
                yield reader.line_num, [cell.strip() for cell in cells], header
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"can't be read ({error})", file=file) from None


def _at(file: FilePath, line: int) -> dict[str, str]:
    return {"file": str(file), "place": f"line {line}"}


def _whole(cell: str, name: str, file: FilePath, line: int) -> int:
    if not cell.isascii() or not cell.isdigit() or len(cell) > 12:
        raise DataError(f"{name} {cell!r} is not a whole number from 0 on", **_at(file, line))
    return int(cell)


def _number(cell: str, name: str, file: FilePath, line: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise DataError(f"{name} {cell!r} is not a number", **_at(file, line)) from None
    if not np.isfinite(value):
        raise DataError(f"{name} is {cell}", **_at(file, line))
    if abs(value) > LARGEST:
        raise DataError(f"{name} {cell} is beyond {LARGEST:g}", **_at(file, line))
    return value


Row = tuple[tuple[int, int, int], tuple[float, float, float]]


def _table(rows: list[Row], joints: int, size: tuple[float, float] | None) -> JointTable:
    keys = np.array([key for key, _ in rows], np.int64)
    values = np.array([value for _, value in rows], np.float32)
    frames, f = np.unique(keys[:, 0], return_inverse=True)
    people, p = np.unique(keys[:, 1], return_inverse=True)
    grid = np.zeros((len(frames), len(people), joints, 3), np.float32)
    visible = np.zeros(grid.shape[:3], np.uint8)
    grid[f, p, keys[:, 2]] = values
    visible[f, p, keys[:, 2]] = skeleton.SEEN
    return JointTable(frames, people, grid[..., :2], visible, grid[..., 2], size)


def surest_person(
    xy: np.ndarray, visible: np.ndarray, score: np.ndarray, rows: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Only the person with the highest sum of scores, one row per frame.

    xy (F, P, J, 2), visible and score (F, P, J) of the frames `rows` (F,) of 0 .. count - 1.
    Returns places (count, J, 2) float32, NaN where a joint is absent, and score (count, J).
    """
    person = int(score.sum(axis=(0, 2)).argmax())
    there = visible[:, person] > 0
    places = np.full((count, *xy.shape[2:]), np.nan, np.float32)
    places[rows] = np.where(there[..., None], xy[:, person], np.nan)
    surety = np.zeros(places.shape[:2], np.float32)
    surety[rows] = np.where(there, score[:, person], 0)
    return places, surety


def people_beside(
    others: Mapping[Path, int], joints: skeleton.Skeleton = COCO17
) -> tuple[str, ...]:
    """The message if one person is expected and tables hold more (`surest_person` is kept). others:
    how many people of each table are left out. One line, or none."""
    some = {file: count for file, count in others.items() if count}
    if not some:
        return ()
    first = next(iter(some))
    try:
        read_joint_csv(first, joints, one_person=True)
        place = ""
    except DataError as error:
        place = f": {error.place}"
    total, tables = sum(some.values()), len(some)
    return (f"{total} people beside the surest in {tables} joint tables (first: {first}{place})",)


class ClipTables(NamedTuple):
    """places (R, 17, 2), NaN where absent, and score (R, 17), one row per frame of all clips; lone:
    how many clips are left out because their table has only one frame; notes: lines to print."""

    places: np.ndarray
    score: np.ndarray
    lone: int
    notes: tuple[str, ...]


def clip_tables(folder: Path, names: list[str], offsets: np.ndarray) -> ClipTables:
    """The joint tables FOLDER/**/NAME.csv of clips, clip i the rows offsets[i] to offsets[i + 1]:
    if there are several people, the most certain one. A clip without a table, or with a table of
    one frame, has no joint."""
    places = np.full((int(offsets[-1]), len(COCO17.joints), 2), np.nan, np.float32)
    score = np.zeros(places.shape[:2], np.float32)
    files: dict[str, Path] = {}
    for path in listed(folder, (".csv",)).files:
        if path.stem in files:
            message, hint = f"has the name of {files[path.stem]}", "name the folder of one of them"
            raise DataError(message, file=path, hint=hint)
        files[path.stem] = path
    found = [files.get(Path(name).stem) for name in names]
    if not any(found):
        raise DataError("no joint table of the set's clips", file=folder)
    lone, others = [], {}
    for file, first, last in zip(found, offsets[:-1], offsets[1:], strict=True):
        if file is None:  # nobody was found in this clip: it is left out and counted with the rest
            continue
        table = read_joint_csv(file)
        if table.frames[-1] >= last - first:
            raise DataError(f"frame {table.frames[-1]} of a clip of {last - first}", file=file)
        if len(table.frames) < 2:
            lone.append(file)
            continue
        others[file] = len(table.people) - 1
        people = table.xy, table.visible, table.score
        places[first:last], score[first:last] = surest_person(*people, table.frames, last - first)
    notes = [f"joint tables of one frame alone: {', '.join(map(str, lone))}"] if lone else []
    return ClipTables(places, score, len(lone), (*notes, *people_beside(others)))


@dataclass(frozen=True)
class Teacher:
    """Stored COCO-17 joints of clips (JHMDB's teacher.npz), in pixels of centres at integers."""

    xy: np.ndarray
    score: np.ndarray
    rows: dict[str, tuple[int, int]]

    def of(self, name: str) -> Example:
        """xy (F, 1, 18, 2), visible (F, 1, 18) and score (F, 1, 18) of a clip CLASS/NAME."""
        first, last = self.rows[name]
        stacked = np.concatenate([self.xy[first:last], self.score[first:last, :, None]], -1)
        visible = np.full(stacked.shape[:2], skeleton.SEEN, np.uint8)
        body, visible = skeleton.convert(stacked, visible, COCO17, BODY18)
        return {
            "xy": body[:, None, :, :2],
            "visible": visible[:, None],
            "score": body[:, None, :, 2],
        }


def open_teacher(root: Path, names: list[str]) -> Teacher | None:
    """The stored joints of clips by name, from root/teacher.npz; None if it is missing.

    DataError if it is damaged or lacks one of the clips."""
    file = root / "teacher.npz"
    if not file.exists():
        return None
    table = read_arrays(file, ("xy", "score", "offsets", "names"))
    xy, score, ends = table["xy"], table["score"], table["offsets"].astype(int)
    whole = xy.shape == (len(xy), 17, 2) and score.shape == xy.shape[:2]
    rising = ends.shape == (len(table["names"]) + 1,) and (np.diff(ends) >= 0).all()
    if not (whole and rising and ends[0] == 0 and ends[-1] == len(xy)):
        raise DataError("xy, score, offsets and names don't fit together", file=file)
    rows = {str(n): (int(ends[i]), int(ends[i + 1])) for i, n in enumerate(table["names"])}
    missing = [name for name in names if name not in rows]
    if missing:
        raise DataError(f"has no joints of {missing[0]} and {len(missing) - 1} more", file=file)
    return Teacher(xy.astype(np.float32) - np.float32(0.5), score.astype(np.float32), rows)


def label_file(clip: Path) -> Path:
    """NAME.json beside a clip; DataError if it is missing."""
    file = clip.with_suffix(".json")
    if not file.exists():
        raise DataError("no such label file; the clips have no joints", file=file)
    return file


def labelled_joints(file: Path) -> Example:
    """BODY18 joints of a clip's people from the JSON beside it: xy (T, P, 18, 2), visible."""
    try:
        label = read_json(file)
        xy, visible = np.array(label["xy"], np.float32), np.array(label["visible"], np.uint8)
        names = tuple(label["joints"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a label file ({error!r})", file=file) from None
    if names != COCO17.joints or xy.shape[2:] != (17, 2) or visible.shape != xy.shape[:3]:
        raise DataError(f"joints are not COCO-17 of every frame: {xy.shape}", file=file)
    xy, visible = skeleton.convert(xy, visible, COCO17, BODY18)
    return {"xy": xy, "visible": visible, "score": (visible > 0).astype(np.float32)}
