"""What tools/fuzz.py damages and reads: whole files of every kind, damage by seed, readers.

A reader returns one outcome for each damaged file: "right" (the same as from the intact file) or
"other" (it reads, but gives something else: the damage made a different valid file). Frames of
videos carry their number as a bar code. Then "other" means fewer frames in the right order,
"silent" a frame that differs from every intact one although no decoder complained, and "wrong
frame" a frame in place of another. A UserError is the outcome "error"; anything else is a fault.
"""

from __future__ import annotations

import io
import itertools
import json
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from tests.data import make_videos

KINDS = ("videos", "pictures", "coco", "csv", "checkpoints")
UNMARKED = ("mjpeg.avi", "vp9.webm")
"""Videos without checksums whose codes have a meaning after some damage too: other pictures."""
FRAMES = 24
FAR = 12.0
"""Mean difference of a frame from the whole file's (0 to 255) beyond which it is another picture;
lossy decoders agree to about 1."""


# ---- whole files ----


def make_bases(kind: str, folder: Path) -> None:
    """The whole files of a kind, in a new folder."""
    folder.mkdir(parents=True)
    MAKERS[kind](folder)


def _videos(folder: Path) -> None:
    b = make_videos.X264_B
    for name, *words in (
        ("mp4.mp4", *b, "-g", "12"),
        ("fragmented.mp4", *b, "-g", "12", "-movflags", "frag_keyframe+empty_moov"),
        ("matroska.mkv", *b, "-g", "12"),
        ("vp9.webm", *make_videos.VP9, "-g", "12"),
        ("mpeg4.avi", "-c:v", "mpeg4", "-q:v", "3", "-g", "12", "-bf", "2"),
        ("mjpeg.avi", "-c:v", "mjpeg", "-q:v", "3"),
        ("transport.ts", *b, "-g", "12"),
        ("mpeg2.mpg", "-c:v", "mpeg2video", "-q:v", "3", "-g", "12", "-bf", "2"),
        ("windows.wmv", "-c:v", "wmv2", "-q:v", "3", "-g", "12"),
        ("flash.flv", "-c:v", "flv", "-q:v", "3", "-g", "12"),
        ("animated.gif",),
    ):
        # The same bytes on every machine: no number of its cores, no random identifiers.
        make_videos.encode(folder / name, FRAMES, *words, "-threads", "1", "-fflags", "+bitexact")


def _pictures(folder: Path) -> None:
    picture = Image.fromarray(make_videos.frame(5, 96, 64))
    grey16 = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    picture.save(folder / "photo.jpg", quality=90)
    picture.save(folder / "progressive.jpg", progressive=True)
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.save(folder / "picture.png")
    picture.convert("P").save(folder / "palette.png")
    grey16.save(folder / "grey16.png")
    picture.save(folder / "picture.gif")
    picture.save(folder / "picture.webp")
    picture.save(folder / "picture.bmp")
    picture.save(folder / "plain.tiff")
    picture.save(folder / "packed.tiff", compression="tiff_lzw")
    words = PngImagePlugin.PngInfo()
    words.add_text("note", "x" * 1000, zip=True)
    picture.save(folder / "text.png", pnginfo=words)


def _coco(folder: Path) -> None:
    names = ["nose", "left_hand", "right_hand"]
    images = [
        {"id": i, "file_name": f"{i}.png", "width": 96, "height": 64, "split": "train"}
        for i in (1, 2, 3)
    ]
    people = [
        {
            "id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "area": 800.0,
            "bbox": [10, 10, 40, 20], "num_keypoints": 3,
            "keypoints": [20, 15, 2, 12.5, 28, 1, 45, 25, 2],
        }
        for i in (1, 2, 3)
    ]  # fmt: skip
    kind = {"id": 1, "name": "person", "keypoints": names, "skeleton": [[1, 2], [1, 3]]}
    content = {"images": images, "annotations": people, "categories": [kind]}
    (folder / "annotations.json").write_text(json.dumps(content))


def _csv(folder: Path) -> None:
    from bodyjax import skeleton

    joints = skeleton.get("coco17").joints
    rng = np.random.default_rng(0)
    rows = ["frame,person,joint,x,y,confidence"]
    rows += [
        f"{frame},0,{joint},{x:.2f},{y:.2f},0.9"
        for frame in range(4)
        for joint, (x, y) in zip(joints, rng.uniform(0, 100, (len(joints), 2)), strict=True)
    ]
    (folder / "own.csv").write_text("\n".join(rows) + "\n")
    columns = ",".join(f"x{i},y{i},v{i}" for i in range(33))
    lines = [
        ",".join([str(frame), *(f"{v:.4f}" for v in rng.uniform(0, 1, 99))]) for frame in range(4)
    ]
    (folder / "mediapipe.csv").write_text(f"frame,{columns}\n" + "\n".join(lines) + "\n")
    scorer = ["scorer" + ",net" * 9]
    scorer += ["bodyparts" + "".join(f",{one}" * 3 for one in joints[:3])]
    scorer += ["coords" + ",x,y,likelihood" * 3]
    scorer += [f"{frame}" + ",10.5,20.5,0.9" * 3 for frame in range(4)]
    (folder / "deeplabcut.csv").write_text("\n".join(scorer) + "\n")


def _checkpoints(folder: Path) -> None:
    """A run's checkpoint and exported weights, tiny ones of the shipped kind."""
    from bodyjax.engine import checkpoint, run_folder

    config = {"system": "sequence", "seed": 0}
    params = {"a": np.arange(60, dtype=np.float32).reshape(6, 10), "b": np.ones(3, np.float32)}
    record = {
        "system": "sequence", "config": config, "meta": {"labels": ["x", "y"]}, "metrics": {},
        "fingerprint": "f", "frozen": None, "progress": {}, "batches_served": 3,
    }  # fmt: skip
    run = run_folder.Run(folder / "run", 2)
    for step in (2, 3):
        run.save("newest", step, {"params": params}, {"train": {"step": np.int32(step)}}, record)
    run.close()
    checkpoint.export(checkpoint.load(folder / "run"), folder / "weights", "a card\n")


MAKERS: dict[str, Callable[[Path], None]] = {
    "videos": _videos, "pictures": _pictures, "coco": _coco, "csv": _csv,
    "checkpoints": _checkpoints,
}  # fmt: skip


# ---- damage ----


def damaged(kind: str, bases: Path, seed: int, out: Path) -> Path:
    """Writes a damaged copy of one of the whole files below `out`, the same for the same seed;
    returns its path."""
    rng = random.Random(f"{kind} {seed}")
    base = rng.choice(sorted(bases.iterdir()))
    target = out / f"{seed}-{base.name}"
    if kind == "checkpoints":
        return _damaged_folder(rng, base, target)
    data = base.read_bytes()
    if kind == "coco":
        target = out / f"{seed}" / base.name
        target.parent.mkdir()
        for number in (1, 2, 3):
            Image.new("RGB", (96, 64)).save(target.parent / f"{number}.png")
        if rng.random() < 0.7:
            target.write_text(json.dumps(_other_json(rng, json.loads(data))))
            return target
    if kind == "csv" and rng.random() < 0.5:
        target.write_text(_other_table(rng, data.decode()))
        return target
    data = damage(rng, data)
    if base.suffix == ".png" and rng.random() < 0.5:
        data = _right_sums(data)
    target.write_bytes(data)
    return target


def damage(rng: random.Random, data: bytes) -> bytes:
    """One to three kinds of damage: bits, bytes, holes, cuts, insertions, copies, large numbers;
    half of them in the first kilobyte, where the structure is."""
    for _ in range(rng.randint(1, 3)):
        if not data:
            return data
        place = rng.randrange(min(len(data), 1024) if rng.random() < 0.5 else len(data))
        size = rng.choice((1, 4, 16, 200, 2000))
        end = min(place + size, len(data))
        kind = rng.randrange(8)
        if kind == 0:
            middle = bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 : end]
        elif kind == 1:
            middle = rng.randbytes(end - place)
        elif kind == 2:
            middle = bytes(end - place)
        elif kind == 3:
            return data[:place]
        elif kind == 4:
            middle = rng.randbytes(size) + data[place:end]
        elif kind == 5:
            middle = b""
        elif kind == 6:
            other = rng.randrange(len(data))
            middle = data[other : other + size]
        else:
            large = rng.choice((0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x10000, 0))
            middle = large.to_bytes(4, rng.choice(("big", "little"))) + data[place + 4 : end]
        data = data[:place] + middle + data[end:]
    return data


def _right_sums(data: bytes) -> bytes:
    """A PNG with the checksums of what it holds, so that damage reaches the decoder."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunk = data[at + 4 : at + 8 + size]
        if at + 12 + size > len(data):
            break
        out += data[at : at + 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        at += 12 + size
    return bytes(out + data[at:])


ODD: tuple[Any, ...] = (
    None, -1, 0, 1e308, 10**30, "", "x", "../../etc/passwd", [], {}, [[]], True, float("nan"),
    float("inf"), -0.5, [1, 2], {"id": 1}, "\u0000", 2**63,
)  # fmt: skip


def _other_json(rng: random.Random, content: Any) -> Any:
    """JSON with one to three values replaced, removed or doubled."""
    for _ in range(rng.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        todo = [content]
        while todo:
            one = todo.pop()
            keys = list(one) if isinstance(one, dict) else range(len(one))
            for key in keys:
                places.append((one, key))
                if isinstance(one[key], dict | list):
                    todo.append(one[key])
        if not places:
            return content
        holder, key = rng.choice(places)
        act = rng.randrange(4)
        if act == 0:
            del holder[key]
        elif act == 1 and isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[key] = rng.choice(ODD)
    return content


def _other_table(rng: random.Random, text: str) -> str:
    """A table with one to three cells or rows replaced, removed or doubled."""
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        act = rng.randrange(5)
        if act == 0:
            rows.append(list(row))
        elif act == 1 and len(rows) > 1:
            rows.remove(row)
        elif act == 2 and row:
            row.pop(rng.randrange(len(row)))
        elif row:
            row[rng.randrange(len(row))] = str(rng.choice((*ODD, "1e999", '"', "٣", "0x10")))
    return "\n".join(",".join(row) for row in rows) + "\n"


def _damaged_folder(rng: random.Random, base: Path, target: Path) -> Path:
    """A copy of a checkpoint with one damaged file; half of those of exported weights say so: their
    sum is made to fit, as a stranger would."""
    import hashlib

    shutil.copytree(base, target)
    file = rng.choice(sorted(one for one in target.rglob("*") if one.is_file()))
    file.write_bytes(damage(rng, file.read_bytes()))
    config = target / "config.json"
    if file.name == "params.npz" and rng.random() < 0.7:
        words = json.loads(config.read_text())
        words["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        config.write_text(json.dumps(words))
    elif file == config:
        config.write_text(json.dumps(_other_json(rng, json.loads((base / file.name).read_text()))))
    return target


# ---- reading ----


def read(kind: str, path: Path, base: Path) -> str:
    """What became of a damaged file. Raises what its reader raises."""
    return READERS[kind](path, base)


def _read_video(path: Path, base: Path) -> str:
    from bodyjax.data.video.files import open_video

    video = open_video(path)
    count = min(video.frames, 4 * FRAMES)
    frames = video.read(range(count))
    in_order = [frame for frame, _ in zip(video.iter_frames(0, count), range(count), strict=False)]
    if not all(np.array_equal(one, other) for one, other in zip(frames, in_order, strict=True)):
        return "wrong frame"
    whole = open_video(base)
    known = whole.read(range(whole.frames))
    if frames.shape[1:] != known.shape[1:]:
        return "other"
    shown = [_nearest(frame, known) for frame in frames]
    if shown == list(range(whole.frames)):
        return "right"
    if -1 in shown:
        return "silent"
    # A file may leave frames out: those that are there must come in their order.
    return "other" if all(a < b for a, b in itertools.pairwise(shown)) else "wrong frame"


def _nearest(frame: np.ndarray, known: np.ndarray) -> int:
    """Which of the whole video's frames this one is, by its bar code and its pixels; -1: none."""
    number = make_videos.frame_number(frame)
    if number >= len(known):
        return -1
    far = np.abs(frame.astype(np.int16) - known[number]).mean()
    return number if far < FAR else -1


def _read_picture(path: Path, base: Path) -> str:
    from bodyjax.data.pictures.images import read_image

    pixels, whole = read_image(path), read_image(base)
    return "right" if np.array_equal(pixels, whole) else "other"


def _read_coco(path: Path, base: Path) -> str:
    from bodyjax.data.pictures.coco_keypoints import coco

    try:
        source = coco(path, "all")
    except Exception:
        coco(path, "all", on_bad="skip")  # must say the same, or leave out
        raise
    for index in range(len(source)):
        source[index]
    same = json.loads(path.read_text()) == json.loads(base.read_text())
    return "right" if same else "other"


def _read_csv(path: Path, base: Path) -> str:
    from bodyjax.data.sequences.joint_tables import read_joints

    size = (640.0, 480.0) if base.name == "mediapipe.csv" else None
    table, whole = (read_joints(one, normalized=size) for one in (path, base))
    if not np.isfinite(table.xy).all():
        raise AssertionError("a coordinate that is not finite")
    same = table.xy.shape == whole.xy.shape and np.array_equal(table.xy, whole.xy)
    return "right" if same else "other"


def _read_checkpoint(path: Path, base: Path) -> str:
    from bodyjax.engine import checkpoint, trees

    found, whole = checkpoint.load(path), checkpoint.load(base)
    flat, known = trees.flatten(found.variables), trees.flatten(whole.variables)
    same = flat.keys() == known.keys() and all(
        np.array_equal(np.asarray(flat[name]), np.asarray(known[name])) for name in known
    )
    return "right" if same and found.config == whole.config else "other"


READERS: dict[str, Callable[[Path, Path], str]] = {
    "videos": _read_video, "pictures": _read_picture, "coco": _read_coco, "csv": _read_csv,
    "checkpoints": _read_checkpoint,
}  # fmt: skip


def memory_picture(side: int) -> bytes:
    """A PNG of side x side grey pixels, small because they are all equal."""
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "png")
    return file.getvalue()
