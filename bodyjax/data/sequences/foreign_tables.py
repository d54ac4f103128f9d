"""Joints of people over time as other programs write them, one reader a format: OpenPose,
AlphaPose, MediaPipe, DeepLabCut, TRC. docs/DATA.md lists the versions.

Every reader gives `Found`; joint_tables.read_joints makes a JointTable of it. Joints are known by
name. Formats that do not say who is who get people by place (`linking`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bodyjax import skeleton
from bodyjax.data.pictures.labelled import FilePath
from bodyjax.data.sequences.linking import Pose
from bodyjax.data.sequences.table_text import LARGEST, Line, cells_of, check_cells, number, rows_of
from bodyjax.errors import DataError
from bodyjax.files import read_json, read_text
from bodyjax.skeleton import COCO17, MEDIAPIPE33

OPENPOSE_FILE = re.compile(r"(.*?)_?(\d+)_keypoints\.json", re.IGNORECASE)
"""A frame that OpenPose writes: the video's name and the frame's number."""
ARMS = (
    *("neck", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_shoulder", "left_elbow", "left_wrist"),
)
LEGS = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
FEET = (
    *("left_big_toe", "left_small_toe", "left_heel"),
    *("right_big_toe", "right_small_toe", "right_heel"),
)
OPENPOSE = {
    25: ("nose", *ARMS, "mid_hip", *LEGS, *FACE, *FEET),
    18: ("nose", *ARMS, *LEGS, *FACE),
    15: ("head_top", *ARMS, *LEGS, "chest"),
}
"""Joints of OpenPose's models BODY_25, COCO and MPI, by their number."""
COCO_FIRST = (17, 26, 133, 136)
"""Numbers of keypoints of sets whose first 17 are COCO's: COCO, Halpe, COCO-WholeBody."""
IN_CM = {"mm": 0.1, "cm": 1.0, "m": 100.0}


class Found(NamedTuple):
    """joints: their names; poses: (frame, person, pose), person None where the format does not say
    who it is."""

    joints: tuple[str, ...]
    poses: list[tuple[int, int | None, Pose]]


def is_openpose(folder: Path) -> bool:
    """Whether OpenPose's frames, NAME_000000000012_keypoints.json, lie in a folder."""
    return folder.is_dir() and any(OPENPOSE_FILE.fullmatch(one.name) for one in folder.iterdir())


def read(file: FilePath) -> Found:
    """The people of a file or folder of a known format, recognised by its content; DataError for
    another format, or one that breaks its rules."""
    path = Path(file)
    try:
        found = _read(path)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        what = f"breaks the rules of its format ({type(error).__name__}: {error})"
        raise DataError(what[:200], file=file) from None
    largest = max((np.nanmax(np.abs(pose), initial=0) for _, _, pose in found.poses), default=0)
    if largest > LARGEST:
        raise DataError(f"a coordinate of {largest:g} is beyond {LARGEST:g}", file=file)
    return found


def _read(path: Path) -> Found:
    if path.is_dir():
        return openpose(path)
    ending = path.suffix.lower()
    if ending == ".trc":
        return trc(path)
    if ending == ".json":
        content = read_json(path)
        first = content[0] if isinstance(content, list) and content else None
        results = isinstance(first, dict) and "keypoints" in first
        return alphapose(content, path) if results else mediapipe_json(content, path)
    lines = rows_of(path)
    check_cells(lines, path)
    header = [name.lower() for name in lines[0].cells] if lines else []
    if header and header[0] == "scorer":
        return deeplabcut(lines, path)
    return mediapipe_csv(lines, path)


# ---- one reader a format ----


def openpose(folder: Path) -> Found:
    """A folder of OpenPose's frames, one file each; other files in it are a DataError."""
    files = sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    poses: list[tuple[int, int | None, Pose]] = []
    names: set[str] = set()
    counts: set[int] = set()
    for file in files:
        match = OPENPOSE_FILE.fullmatch(file.name)
        if match is None:
            hint = "a folder holds the frames of one video alone"
            raise DataError(
                "no frame of OpenPose (NAME_000012_keypoints.json)", file=file, hint=hint
            )
        names.add(match[1])
        if len(names) > 1:
            what, hint = f"frames of two videos ({', '.join(sorted(names))})", "a folder for each"
            raise DataError(what, file=folder, hint=hint)
        content = read_json(file)
        people = content.get("people") if isinstance(content, dict) else None
        if not isinstance(people, list):
            raise DataError("there is no list 'people'", file=file)
        for place, one in enumerate(people):
            flat = one.get("pose_keypoints_2d", one.get("pose_keypoints")) if one else None
            pose = _triples(flat, file, f"person {place}")
            if len(pose) not in OPENPOSE:
                known = ", ".join(map(str, OPENPOSE))
                what = f"{len(pose)} joints; OpenPose's models have {known}"
                raise DataError(what, file=file, place=f"person {place}")
            counts.add(len(pose))
            who = one.get("person_id")
            who = who[0] if isinstance(who, list) and who else who
            known_who = isinstance(who, int) and who >= 0
            poses.append((int(match[2]), who if known_who else None, pose))
    if len(counts) > 1:
        raise DataError("frames of different models", file=folder)
    return Found(OPENPOSE[counts.pop()] if counts else COCO17.joints, poses)


def alphapose(content: Any, file: Path) -> Found:
    """AlphaPose's results list (alphapose-results.json), or COCO results of a video's frames as
    bodyjax detect writes them: keypoints, image_id or frame, and idx, track_id or identity."""
    poses: list[tuple[int, int | None, Pose]] = []
    for row, one in enumerate(content):
        place = f"result {row}"
        if not isinstance(one, dict) or not {"image_id", "frame"} & set(one):
            raise DataError("has no image_id", file=file, place=place)
        pose = _triples(one.get("keypoints"), file, place)
        if len(pose) not in COCO_FIRST:
            what = f"{len(pose)} joints, not {', '.join(map(str, COCO_FIRST))}"
            raise DataError(what, file=file, place=place)
        who = next((one[key] for key in ("idx", "track_id", "identity") if key in one), None)
        who = who[0] if isinstance(who, list) and who else who
        frame = _frame_number(one.get("frame", one.get("image_id")), file, place)
        number_of = int(who) if isinstance(who, int | float) and who >= 0 else None
        poses.append((frame, number_of, pose[: len(COCO17.joints)]))
    return Found(COCO17.joints, poses)


def mediapipe_json(content: Any, file: Path) -> Found:
    """MediaPipe Pose's 33 landmarks frame by frame: a list of frames (or an object with that list),
    each a list of landmarks, a list of people, or an object that holds them."""
    if isinstance(content, dict):
        lists = [content[key] for key in ("frames", "results", *LANDMARKS) if key in content]
        content = lists[0] if lists else None
    if not isinstance(content, list):
        hint = "formats: docs/DATA.md, Joint tables"
        raise DataError("is no table of joints of a known format", file=file, hint=hint)
    poses: list[tuple[int, int | None, Pose]] = []
    for row, frame in enumerate(content):
        at = row
        if isinstance(frame, dict):
            keys = ("frame", "frame_number", "frame_index", "frame_id")
            given = next((frame[key] for key in keys if key in frame), row)
            at = _frame_number(given, file, f"frame {row}")
        for pose in _landmarks(frame, file, f"frame {row}"):
            poses.append((at, None, pose))
    return Found(MEDIAPIPE33.joints, poses)


LANDMARKS = ("landmarks", "pose_landmarks", "poseLandmarks", "pose", "landmark")


def _landmarks(value: Any, file: Path, place: str) -> list[Pose]:
    """The poses of a frame of MediaPipe, however deep its lists are."""
    if isinstance(value, dict) and not {"x", "y"} <= set(value):
        inner = [value[key] for key in LANDMARKS if key in value]
        if not inner and value:
            what = f"has none of {', '.join(LANDMARKS)}"
            raise DataError(what, file=file, place=place)
        return _landmarks(inner[0], file, place) if inner else []
    if not value:
        return []
    first = value[0] if isinstance(value, list) else None
    one = isinstance(first, dict) and {"x", "y"} <= set(first)
    if one or (isinstance(first, list) and first and isinstance(first[0], int | float)):
        return [_mediapipe_pose(value, file, place)]
    if not isinstance(value, list):
        raise DataError("is no list of landmarks", file=file, place=place)
    return [pose for person in value for pose in _landmarks(person, file, place)]


def _mediapipe_pose(landmarks: list[Any], file: Path, place: str) -> Pose:
    if len(landmarks) != len(MEDIAPIPE33.joints):
        raise DataError(f"{len(landmarks)} landmarks, not 33", file=file, place=place)
    try:
        rows = [
            (one["x"], one["y"], one.get("visibility", 1.0))
            if isinstance(one, dict)
            else (one[0], one[1], one[3] if len(one) > 3 else 1.0)
            for one in landmarks
        ]
        return np.array(rows, np.float64)
    except (KeyError, IndexError, TypeError, ValueError):
        raise DataError("a landmark without numbers x, y", file=file, place=place) from None


def mediapipe_csv(lines: Sequence[Line], file: Path) -> Found:
    """MediaPipe's landmarks as a table: a row for each landmark, or a row a frame with columns for
    each (nose_x, nose_y, nose_visibility; x0, y0, v0; landmark_0_x)."""
    header = [name.lower() for name in lines[0].cells] if lines else []
    frame = next((header.index(name) for name in FRAME_COLUMNS if name in header), None)
    which = next((header.index(name) for name in LANDMARK_COLUMNS if name in header), None)
    if which is not None and frame is not None and {"x", "y"} <= set(header):
        return _long(lines, header, frame, which, file)
    columns = _wide_columns(header)
    if len(columns) < len(COCO17.joints):
        what = f"columns are {', '.join(lines[0].cells[:8]) if lines else 'none'}"
        hint = "want frame, person, joint, x, y, confidence; other formats: docs/DATA.md"
        raise DataError(what, file=file, place="line 1", hint=hint)
    poses: list[tuple[int, int | None, Pose]] = []
    for row, line in enumerate(lines[1:]):
        at = row if frame is None else _frame_number(line.cells[frame], file, line.place)
        pose = np.full((len(MEDIAPIPE33.joints), 3), np.nan)
        for joint, (x, y, surety) in columns.items():
            there = line.cells[x] and line.cells[y]
            if there:
                score = 1.0 if surety is None else number(line, surety, "visibility", file)
                pose[joint] = number(line, x, "x", file), number(line, y, "y", file), score
        if np.isfinite(pose).any():
            poses.append((at, None, pose))
    return Found(MEDIAPIPE33.joints, poses)


FRAME_COLUMNS = ("frame", "frame_number", "frame_index", "frame_id", "frame_idx")
LANDMARK_COLUMNS = ("landmark", "landmark_name", "landmark_id", "landmark_index", "landmark_idx")
PERSON_COLUMNS = ("person", "person_id", "pose", "pose_id", "pose_index")
SURETY_COLUMNS = ("visibility", "confidence", "score")


def _long(lines: Sequence[Line], header: list[str], frame: int, which: int, file: Path) -> Found:
    x, y = header.index("x"), header.index("y")
    surety = next((header.index(name) for name in SURETY_COLUMNS if name in header), None)
    person = next((header.index(name) for name in PERSON_COLUMNS if name in header), None)
    found: dict[tuple[int, int], Pose] = {}
    for line in lines[1:]:
        at = _frame_number(line.cells[frame], file, line.place)
        who = 0 if person is None else _frame_number(line.cells[person], file, line.place)
        joint = _landmark(line.cells[which])
        if joint is None:
            what = f"{line.cells[which]!r} is none of MediaPipe's 33 landmarks"
            raise DataError(what, file=file, place=line.place)
        pose = found.setdefault((at, who), np.full((len(MEDIAPIPE33.joints), 3), np.nan))
        if np.isfinite(pose[joint]).any():
            what = f"{line.cells[which]} of frame {at}, person {who}, twice"
            raise DataError(what, file=file, place=line.place)
        score = 1.0 if surety is None else number(line, surety, "visibility", file)
        pose[joint] = number(line, x, "x", file), number(line, y, "y", file), score
    return Found(MEDIAPIPE33.joints, [(at, who, pose) for (at, who), pose in found.items()])


def _landmark(text: str) -> int | None:
    """The number of a landmark by its number or name (LEFT_SHOULDER, mouth_left)."""
    if text.isdecimal():
        return int(text) if int(text) < len(MEDIAPIPE33.joints) else None
    name = joint_name(text.rpartition(".")[2])  # PoseLandmark.NOSE
    return MEDIAPIPE33.joints.index(name) if name in MEDIAPIPE33.joints else None


WIDE = re.compile(
    r"(?P<before>.*?)[ _.\-]*(?P<axis>visibility|confidence|score|vis|x|y|v)[ _.\-]*(?P<number>\d*)"
)
NUMBERED = re.compile(r"^(pose|landmark|lm|kp|point)+[ _.\-]*(?=\d)")


def _wide_columns(header: Sequence[str]) -> dict[int, tuple[int, int, int | None]]:
    """The columns of x, y and visibility of each landmark."""
    named: dict[str, dict[str, int]] = {}
    for column, name in enumerate(header):
        match = WIDE.fullmatch(name)
        if match is None or not (match["before"] or match["number"]):
            continue
        who = match["number"] or NUMBERED.sub("", match["before"])
        axis = match["axis"] if match["axis"] in ("x", "y") else "v"
        named.setdefault(who, {}).setdefault(axis, column)
    whole = {who: columns for who, columns in named.items() if {"x", "y"} <= set(columns)}
    numbered = [int(who) for who in whole if who.isdecimal()]
    first = min(numbered, default=0)  # some count from 1
    out = {}
    for who, columns in whole.items():
        joint = _landmark(str(int(who) - min(first, 1)) if who.isdecimal() else who)
        if joint is not None:
            out[joint] = (columns["x"], columns["y"], columns.get("v"))
    return out


def deeplabcut(lines: Sequence[Line], file: Path) -> Found:
    """DeepLabCut's table: rows scorer, (individuals,) bodyparts, coords above the frames. Labelled
    frames (CollectedData) have a picture's name and no likelihood."""
    rows = ("scorer", "individuals", "bodyparts", "coords")
    above = {line.cells[0].lower(): line.cells for line in lines[:4]}
    heads = {name: above[name] for name in rows if name in above}
    missing = [name for name in ("bodyparts", "coords") if name not in heads]
    if missing:
        raise DataError(f"has no row {missing[0]}", file=file, hint="rows of DeepLabCut's header")
    parts, coords = heads["bodyparts"], [name.lower() for name in heads["coords"]]
    several = heads.get("individuals", [""] * len(parts))
    people = list(
        dict.fromkeys(who for who, axis in zip(several, coords, strict=True) if axis == "x")
    )
    joints = list(dict.fromkeys(p for p, axis in zip(parts, coords, strict=True) if axis == "x"))
    data = [k for k, axis in enumerate(coords) if axis in ("x", "y", "likelihood")]
    poses: list[tuple[int, int | None, Pose]] = []
    for line in lines[len(heads) :]:
        at = _frame_number("/".join(filter(None, line.cells[: data[0]])), file, line.place)
        found = np.full((len(people), len(joints), 3), np.nan)
        found[..., 2] = 1.0
        for k in data:
            place = people.index(several[k]), joints.index(parts[k]), "xyl".index(coords[k][0])
            text = line.cells[k]
            found[place] = (
                np.nan if text.lower() in ("", "nan") else number(line, k, coords[k], file)
            )
        for who, pose in enumerate(found):
            if np.isfinite(pose).all(-1).any():
                poses.append((at, who, pose))
    return Found(tuple(map(joint_name, joints)), poses)


def trc(file: Path) -> Found:
    """A TRC file of one person's markers in space, in cm: 0, 0, 0 and empty cells are missing."""
    text = [(k, cells_of(line, "\t")) for k, line in enumerate(read_text(file).splitlines(), 1)]
    full = [(k, cells) for k, cells in text if any(cells)]
    try:
        fields = dict(zip(full[1][1], full[2][1], strict=False))
        unit, names = fields["Units"].lower(), [name for name in full[3][1][2:] if name]
        if full[3][1][0].lower() not in ("frame#", "frame"):
            raise KeyError("Frame#")
        scale = IN_CM[unit]
    except (IndexError, KeyError) as error:
        what = f"no TRC header ({error.args[0] if error.args else 'too short'})"
        hint = f"units are {', '.join(IN_CM)}"
        raise DataError(what, file=file, place="lines 1 to 5", hint=hint) from None
    poses: list[tuple[int, int | None, Pose]] = []
    for k, cells in full[5:]:
        line = Line(k, [*cells, *[""] * (2 + 3 * len(names) - len(cells))])
        if any(line.cells[2 + 3 * len(names) :]):
            raise DataError(
                f"more cells than {len(names)} markers need", file=file, place=line.place
            )
        at = _frame_number(line.cells[0], file, line.place)
        pose = np.ones((len(names), 4))
        for cell in range(3 * len(names)):
            empty = line.cells[2 + cell].lower() in ("", "nan")
            value = np.nan if empty else number(line, 2 + cell, names[cell // 3], file)
            pose[cell // 3, cell % 3] = scale * value
        poses.append((at, 0, pose))
    return Found(tuple(map(joint_name, names)), poses)


# ---- numbers and names ----


def _triples(values: Any, file: Path, place: str) -> Pose:
    """(J, 3) of a flat list of x, y, score."""
    try:
        flat = np.array(values, np.float64).reshape(-1)
    except (TypeError, ValueError):
        flat = np.zeros(0)
    if not len(flat) or len(flat) % 3:
        raise DataError("keypoints are no list of x, y, score", file=file, place=place)
    return flat.reshape(-1, 3)


def _frame_number(value: Any, file: Path, place: str) -> int:
    """A frame's number: whole, or the last number in a picture's name (img0012.png)."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12:
        return value
    if isinstance(value, float | bool) and value != int(value):
        raise DataError(f"{value!r} has no frame number", file=file, place=place)
    stem = re.sub(r"\.[A-Za-z]\w*$", "", str(value))
    found = re.findall(r"\d+", re.sub(r"\.0+$", "", stem))
    if not found or str(value).startswith("-"):
        raise DataError(f"{value!r} has no frame number", file=file, place=place)
    return int(found[-1][-12:])


PARTS = {
    re.sub(r"^(left|right)_", "", joint)
    for bones in skeleton.SKELETONS.values()
    for joint in bones.joints
}
"""The names of joints without their side."""


def joint_name(text: str) -> str:
    """A joint's name as bodyjax writes it: left_shoulder for LShoulder, l-shoulder, shoulder_left,
    "Left Shoulder" or leftshoulder; the words of other names in small letters."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", text)
    words = [word.lower() for word in words]
    sides = {"left": "left", "l": "left", "right": "right", "r": "right"}
    side = next((sides[word] for word in words if word in sides), "")
    rest = [word for word in words if word not in sides]
    joined = "_".join(rest)
    if not side and len(rest) == 1:
        for start in ("left", "right", "l", "r"):
            part = joined.removeprefix(start)
            if part != joined and part in PARTS and joined not in PARTS:
                return f"{sides[start]}_{part}"
    return f"{side}_{joined}" if side else joined
