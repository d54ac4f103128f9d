"""Joints without pictures: joint tables as CSV, and the stored joints of clips.

A joint table has the columns frame, person, joint, x, y, confidence and, for all rows or for none,
width, height, in any order: one row per joint. frame and person are whole numbers from 0 on, frames
in ascending order; joint is a name of the skeleton; x and y are pixels (centre of the first pixel =
(0, 0)); confidence is in [0, 1], and 0 says that the joint is missing; width and height are the
picture's, the same in all rows. Text by the rule of `table_text`. `read_joints` also reads the
tables of other programs (`foreign_tables`).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bodyjax import skeleton
from bodyjax.data.pictures.labelled import FilePath, read_arrays
from bodyjax.data.sequences import foreign_tables, linking
from bodyjax.data.sequences.table_text import Line, check_cells, number, rows_of
from bodyjax.errors import DataError
from bodyjax.files import Listing, listed, read_json
from bodyjax.skeleton import BODY18

Example = dict[str, np.ndarray]

COLUMNS = ("frame", "person", "joint", "x", "y", "confidence")
SIZE_COLUMNS = ("width", "height")
COCO17 = skeleton.get("coco17")
MOST_FRAMES = 1_000_000
"""The most frames from a table's first to its last, nine hours at 30 a second: a larger span is a
mistake, and rows for its frames would fill the memory."""


@dataclass(frozen=True)
class JointTable:
    """Joints of people over time.

    frames (F,) int64: the frame numbers that have rows, rising; people (P,) int64: their numbers;
    xy (F, P, J, 2) float32 pixels, or (F, P, J, 3) cm; visible (F, P, J) uint8 (2 where the table
    has the joint, else 0), score (F, P, J) float32; size (width, height) or None.
    """

    frames: np.ndarray
    people: np.ndarray
    xy: np.ndarray
    visible: np.ndarray
    score: np.ndarray
    size: tuple[float, float] | None


Size = tuple[float, float]
"""Width and height of a picture in pixels."""


def read_joints(
    file: FilePath, joints: skeleton.Skeleton = COCO17, *, normalized: Size | None = None
) -> JointTable:
    """A joint table of any format that is known: ours (`read_joint_csv`), or a file or folder of
    another program (`foreign_tables.read`), of which joints that the skeleton lacks are dropped.
    normalized: as for `in_pixels`. DataError for faults."""
    path = Path(file)
    if path.suffix.lower() == ".csv" and path.is_file() and is_own(rows_of(path)):
        return read_joint_csv(path, joints, normalized=normalized)
    found = foreign_tables.read(path)
    there = skeleton.make("table", list(dict.fromkeys(found.joints)), ())
    if len(there.joints) < len(found.joints):
        twice = next(name for name in there.joints if found.joints.count(name) > 1)
        raise DataError(f"joint {twice} is there twice", file=file)
    known = skeleton.convert_mask(np.ones(len(there.joints), bool), there, joints)
    if not known.any():
        hint = f"{joints.name} has {', '.join(joints.joints)}"
        raise DataError(f"no known joint among {', '.join(found.joints)}", file=file, hint=hint)
    poses = linking.linked(found.poses)
    if not any(linking.present(pose).any() for _, _, pose in poses):
        raise DataError("a joint table without joints", file=file)
    frames, f = np.unique([at for at, _, _ in poses], return_inverse=True)
    if frames[-1] - frames[0] >= MOST_FRAMES:
        raise DataError(f"spans more than {MOST_FRAMES} frames", file=file)
    people, p = np.unique([who for _, who, _ in poses], return_inverse=True)
    grid = np.full((len(frames), len(people), *poses[0][2].shape), np.nan)
    for row, column, (_, _, pose) in zip(f, p, poses, strict=True):
        grid[row, column] = pose
    seen = (linking.present(grid) * skeleton.SEEN).astype(np.uint8)
    moved, visible = skeleton.convert(
        np.where(seen[..., None] > 0, grid, 0).astype(np.float32), seen, there, joints
    )
    score = np.clip(moved[..., -1], 0, 1)
    return in_pixels(
        JointTable(frames, people, moved[..., :-1], visible, score, None), normalized, file
    )


def in_pixels(table: JointTable, normalized: Size | None, file: FilePath) -> JointTable:
    """The table in pixels, if `normalized` says that x and y are shares of a picture of that size
    (a size in the table itself is used instead). DataError if places are shares and it is None, or
    the other way round. Joints in space stay as they are."""
    places = table.xy[table.visible > 0]
    if table.xy.shape[-1] != 2 or not len(places):
        return table
    shares = bool(places.min() > -1 and places.max() < 2)  # some joints are out of the picture
    if normalized is None:
        if shares:
            what = "x and y all lie in 0 to 1: shares of the picture, not pixels"
            hint = "--normalized WIDTHxHEIGHT (in a config data.normalized) says of which size"
            raise DataError(what, file=file, hint=hint)
        return table
    if not shares:
        what = f"x and y reach {np.abs(places).max():g}: they are no shares of the picture"
        raise DataError(what, file=file, hint="leave --normalized (data.normalized) out")
    if (places < 0).mean() > 0.25:
        hint = "world landmarks are in metres; store the picture's"
        raise DataError("x and y are centred at 0: not places in a picture", file=file, hint=hint)
    size = table.size or normalized
    # the centre of the first pixel is half a pixel from the picture's edge
    xy = table.xy * np.array(size, np.float32) - np.float32(0.5)
    xy = np.where(table.visible[..., None] > 0, xy, 0)
    return replace(table, xy=xy.astype(np.float32), size=size)


def is_own(lines: list[Line]) -> bool:
    """Whether a table's header has the columns of a joint table."""
    return bool(lines) and set(COLUMNS) <= {name.lower() for name in lines[0].cells}


def read_joint_csv(
    file: FilePath,
    joints: skeleton.Skeleton = COCO17,
    *,
    one_person: bool = False,
    normalized: Size | None = None,
) -> JointTable:
    """A joint table. Every fault is a DataError with the file and the line.

    Faults: missing or further columns, a wrong number of cells, invalid numbers, NaN or beyond
    LARGEST, negative or too large confidence, an unknown joint, frames that go back or lie
    MOST_FRAMES after the first, a joint given twice, sizes that change, and with `one_person` a
    second person. x and y of a joint with confidence 0 are not read. normalized: as for
    `in_pixels`.
    """
    rows: list[Row] = []
    size, last, seen = None, -1, set()
    lines = rows_of(file)
    header = [name.lower() for name in lines[0].cells] if lines else []
    if sorted(header) not in (sorted(COLUMNS), sorted(COLUMNS + SIZE_COLUMNS)):
        raise DataError(
            f"columns are {', '.join(header) or 'none'}",
            file=file,
            place="line 1",
            hint=f"want {', '.join(COLUMNS)} and perhaps {', '.join(SIZE_COLUMNS)}",
        )
    check_cells(lines, file)
    column = {name: k for k, name in enumerate(header)}
    for line in lines[1:]:
        at = {"file": str(file), "place": line.place}
        frame = _whole(line, column["frame"], "frame", file)
        person = _whole(line, column["person"], "person", file)
        joint = line.cells[column["joint"]]
        if joint not in joints.joints:
            hint = f"{joints.name} has {', '.join(joints.joints)}"
            raise DataError(f"unknown joint {joint!r}", **at, hint=hint)
        confidence = number(line, column["confidence"], "confidence", file)
        if not 0 <= confidence <= 1:
            raise DataError(f"confidence {confidence:g} is not in [0, 1]", **at)
        x = y = 0.0
        if confidence > 0:
            x, y = (number(line, column[name], name, file) for name in ("x", "y"))
        if frame < last:
            raise DataError(f"frame {frame} comes after frame {last}", **at)
        if rows and frame - rows[0][0][0] >= MOST_FRAMES:
            hint = f"a table spans {MOST_FRAMES} frames at most"
            raise DataError(f"frame {frame} lies {frame - rows[0][0][0]} after the first", **at,
                            hint=hint)  # fmt: skip
        key = (frame, person, joints.joints.index(joint))
        if key in seen:
            raise DataError(f"{joint} of person {person}, frame {frame}, twice", **at)
        if one_person and rows and person != rows[0][0][1]:
            what = f"person {person} beside person {rows[0][0][1]}: one is expected"
            raise DataError(what, **at)
        if "width" in column:
            width, height = (number(line, column[name], name, file) for name in SIZE_COLUMNS)
            if min(width, height) <= 0 or (width, height) != (size or (width, height)):
                raise DataError("the size is not positive or changes", **at)
            size = width, height
        last = frame
        seen.add(key)
        rows.append((key, (x, y, confidence)))
    if not rows:
        raise DataError("a joint table without rows", file=file)
    return in_pixels(_table(rows, len(joints.joints), size), normalized, file)


def write_joint_csv(file: FilePath, table: JointTable, joints: skeleton.Skeleton = COCO17) -> None:
    """Write a joint table; absent joints (visible 0) get no row."""
    with open(file, "w", newline="") as stream:
        out = csv.writer(stream, lineterminator="\n")
        out.writerow(COLUMNS + (SIZE_COLUMNS if table.size else ()))
        for f, p, j in np.argwhere(table.visible > 0):
            values = (*table.xy[f, p, j], table.score[f, p, j], *(table.size or ()))
            cells = [f"{value:.9g}" for value in values]
            out.writerow([table.frames[f], table.people[p], joints.joints[j], *cells])


def _whole(line: Line, column: int, name: str, file: FilePath) -> int:
    cell = line.cells[column]
    if not cell.isascii() or not cell.isdigit() or len(cell) > 12:
        what = f"{name} {cell!r} is not a whole number from 0 on"
        raise DataError(what, file=str(file), place=line.place)
    return int(cell)


Row = tuple[tuple[int, int, int], tuple[float, float, float]]


def _table(rows: list[Row], joints: int, size: tuple[float, float] | None) -> JointTable:
    keys = np.array([key for key, _ in rows], np.int64)
    values = np.array([value for _, value in rows], np.float32)
    frames, f = np.unique(keys[:, 0], return_inverse=True)
    people, p = np.unique(keys[:, 1], return_inverse=True)
    grid = np.zeros((len(frames), len(people), joints, 3), np.float32)
    visible = np.zeros(grid.shape[:3], np.uint8)
    grid[f, p, keys[:, 2]] = values
    visible[f, p, keys[:, 2]] = np.where(values[:, 2] > 0, skeleton.SEEN, skeleton.ABSENT)
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
    place = ""
    if first.suffix.lower() == ".csv" and is_own(rows_of(first)):  # others have no lines to name
        try:
            read_joint_csv(first, joints, one_person=True)
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


TABLES = (".csv", ".json", ".trc")
"""Endings of joint tables; a folder of OpenPose's frames is one too."""


def tables_in(folder: FilePath) -> Listing:
    """The joint tables in a folder and the folders in it, sorted: files, and folders of OpenPose's
    frames. What `bodyjax prepare --detect` notes beside a folder of tables (NAME.json) is none."""
    found = listed(folder, TABLES)
    frames = {path: foreign_tables.is_openpose(path) for path in {f.parent for f in found.files}}
    tables = {file.parent if frames[file.parent] else file for file in found.files}
    notes = {file for file in tables if file.suffix == ".json" and file.with_suffix("").is_dir()}
    return found._replace(files=sorted(tables - notes))


def clip_tables(folder: Path, names: list[str], offsets: np.ndarray) -> ClipTables:
    """The joint tables FOLDER/**/NAME.csv of clips, in any format of `tables_in`, clip i the rows
    offsets[i] to offsets[i + 1]: if there are several people, the most certain one. A clip without
    a table, or with a table of one frame, has no joint."""
    places = np.full((int(offsets[-1]), len(COCO17.joints), 2), np.nan, np.float32)
    score = np.zeros(places.shape[:2], np.float32)
    files: dict[str, Path] = {}
    for path in tables_in(folder).files:
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
        table = read_joints(file)
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
