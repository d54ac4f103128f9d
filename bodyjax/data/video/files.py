"""Opening videos: files, and folders of numbered pictures."""

from __future__ import annotations

import os
from pathlib import Path

from bodyjax.data.video.frame_folder import open_folder
from bodyjax.data.video.index import indexed
from bodyjax.data.video.opening import file_state
from bodyjax.data.video.video import Video
from bodyjax.data.video.writing import write_video
from bodyjax.errors import ConfigError

__all__ = ["Video", "open_video", "write_video"]


def open_video(path: str | os.PathLike[str], on_bad: str = "raise") -> Video:
    """Open a video file (mp4, mov, mkv, webm, avi, ts, mts, mpg, wmv, flv, gif) or a folder of
    numbered pictures (bodyjax.data.video.frame_folder) and count its frames.

    The first call reads through the file without decoding it if its packets define the frames (mp4,
    mov, mkv and webm with H.264, HEVC, VP9 or AV1); otherwise it decodes the file once. The result
    is remembered while size and modification time stay the same. Frames are counted, never taken
    from a header.

    on_bad="raise": a file that is cut off is refused here; a frame that the decoder marks as
    damaged, and those built on it, are refused when read. on_bad="skip" salvages: it decodes the
    whole file once, numbers the undamaged frames, and counts the others in `left_out`.

    Raises VideoError (one line) for a file that is missing, empty, not a regular file, not a video
    of these formats, without a picture track, without frames, or shorter than its structure says.
    """
    if on_bad not in ("raise", "skip"):
        raise ConfigError(f"on_bad is {on_bad!r}", hint="give raise or skip")
    full = Path(os.path.abspath(path))
    if full.is_dir():
        return open_folder(full)
    state = file_state(full)
    index = indexed(str(full), *state, on_bad)
    wide, height = index.wide, index.height
    span = int(index.pts[-1] - index.pts[0])
    n = len(index.pts)
    duration = float((span + index.last) * index.time_base)
    mean = float((n - 1) / (span * index.time_base)) if span else float(index.rate or 0)
    stated = float(index.rate or 0)
    fps = stated if stated and abs(stated - mean) <= 0.01 * mean else mean
    size = (height, wide) if index.turn[0] else (wide, height)
    return Video(full, n, fps, size, duration, index.left_out, index, state)


def forget_indexes() -> None:
    """Clear what `open_video` remembers: its next call reads through a file again."""
    indexed.cache_clear()
