"""Readers of sampled frames side by side: time and right frames, on clips of your own.

Every reader gets the same task: k frames of one clip by number, as RGB arrays. "whole" decodes the
clip from end to end and turns only the wanted frames into RGB; it is the reference for the frames
and the measure for the time. decord, OpenCV and torchcodec are included if they can be imported.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from bodyjax.data.sampling import segment_frames
from bodyjax.data.video.files import forget_indexes, open_video

Read = Callable[[str, NDArray[np.int64]], NDArray[np.uint8]]


def compare_readers(
    clips: Iterable[str | os.PathLike[str]], k: int = 8, repeats: int = 5
) -> list[dict[str, Any]]:
    """One row per clip and reader: how long k frames from the middles of k segments take.

    Rows: `clip`, `reader`, `frames` (in the clip), `sampled` (k), `milliseconds` (wall) and
    `cpu_milliseconds` (all threads), each the smallest of `repeats` runs; `of_whole` and
    `cpu_of_whole`, the shares of reading the whole clip; `wrong`, how many of the k frames look
    more like another frame of the clip; `error`, None or why the reader gave up (times are then
    None). "bodyjax, first time" includes making the index; the other rows use the cached one.
    """
    rows = []
    for clip in clips:
        path = os.path.abspath(clip)
        numbers = segment_frames(open_video(path).frames, k)
        thumbnails = _thumbnails(path)
        clip_rows: list[dict[str, Any]] = []
        for name, read in available_readers().items():
            row: dict[str, Any] = {
                "clip": os.path.basename(path),
                "reader": name,
                "frames": len(thumbnails),
                "sampled": k,
            }
            try:
                frames = read(path, numbers)
                wall, cpu = _smallest(partial(read, path, numbers), repeats)
                row |= {"milliseconds": wall, "cpu_milliseconds": cpu}
                row |= {"wrong": _count_wrong(frames, numbers, thumbnails), "error": None}
            except Exception as error:  # another library's failure is a result
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                row |= {"milliseconds": None, "cpu_milliseconds": None}
                row |= {"wrong": None, "error": reason}
            clip_rows.append(row)
        whole = clip_rows[0]
        for row in clip_rows:
            for share, field in (("of_whole", ""), ("cpu_of_whole", "cpu_")):
                value, reference = row[f"{field}milliseconds"], whole[f"{field}milliseconds"]
                row[share] = value / reference if value is not None and reference else None
        rows += clip_rows
    return rows


def available_readers() -> dict[str, Read]:
    """The readers that can be imported here, "whole" first."""
    readers: dict[str, Read] = {
        "whole": read_whole,
        "bodyjax": lambda path, numbers: open_video(path).read(numbers),
        "bodyjax, one thread": lambda path, numbers: open_video(path).read(numbers, threads=1),
        "bodyjax, first time": _first_time,
    }
    for name, module, read in (
        ("decord", "decord", _decord),
        ("OpenCV", "cv2", _opencv),
        ("torchcodec", "torchcodec.decoders", _torchcodec),
    ):
        try:
            import_module(module)
        except (ImportError, OSError, RuntimeError):  # torchcodec without FFmpeg raises the last
            continue
        readers[name] = read
    return readers


def read_whole(path: str, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Frames `numbers` (k,), ascending, as (k, H, W, 3) RGB; decodes the clip from end to end."""
    wanted = set(numbers.tolist())
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        return np.stack(
            [
                frame.to_ndarray(format="rgb24")
                for number, frame in enumerate(container.decode(stream))
                if number in wanted
            ]
        )


def _first_time(path: str, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    forget_indexes()
    return open_video(path).read(numbers)


def _decord(path: str, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    batch = import_module("decord").VideoReader(path).get_batch(numbers)
    frames: NDArray[np.uint8] = batch.asnumpy()
    return frames


def _opencv(path: str, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    cv2 = import_module("cv2")
    capture = cv2.VideoCapture(path)
    frames = []
    for number in numbers.tolist():
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        found, image = capture.read()
        if not found:
            raise OSError(f"frame {number} was not found")
        frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(frames)


def _torchcodec(path: str, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    decoder = import_module("torchcodec.decoders").VideoDecoder(path, dimension_order="NHWC")
    frames: NDArray[np.uint8] = decoder.get_frames_at(numbers.tolist()).data.numpy()
    return frames


def _smallest(task: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Smallest wall and processor milliseconds of some runs."""
    wall, cpu = [], []
    for _ in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        task()
        wall.append(1e3 * (time.perf_counter() - wall_start))
        cpu.append(1e3 * (time.process_time() - cpu_start))
    return min(wall), min(cpu)


def _thumbnails(path: str) -> NDArray[np.float32]:
    """Every frame at a quarter of the size: (n, h, w, 3)."""
    return np.stack([_thumbnail(frame) for frame in open_video(path).iter_frames()])


def _thumbnail(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    return frame[1::4, 1::4].astype(np.float32)


def _count_wrong(
    frames: NDArray[np.uint8], numbers: NDArray[np.int64], thumbnails: NDArray[np.float32]
) -> int:
    """Frames that another frame of the clip explains better. Libraries differ in their colours by a
    few levels, so bit equality is not required.
    """
    wrong = 0
    for frame, number in zip(frames, numbers.tolist(), strict=True):
        image = _thumbnail(frame)
        if image.shape != thumbnails.shape[1:]:
            wrong += 1  # not turned as the file asks
            continue
        distance = np.array([np.abs(image - thumbnail).mean() for thumbnail in thumbnails])
        wrong += bool(distance[number] > distance.min() + 1e-3)
    return wrong
