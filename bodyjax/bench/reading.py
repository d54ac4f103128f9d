"""Sampled reading beside other readers, on clips made for it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from bodyjax.bench.frame_readers import compare_readers
from bodyjax.bench.rows import Row, not_measured

CLIPS = {
    "720p, keyframe every 12": ("1280x720", 300, 12),
    "720p, keyframe every 250": ("1280x720", 300, 250),
    "240p, keyframe every 12": ("320x240", 300, 12),
}
OTHERS = ("decord", "OpenCV", "torchcodec")


def make_clip(path: Path, size: str, frames: int, group: int) -> Path:
    """A moving test picture at 30 frames a second, H.264, a keyframe every `group` frames."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y",
        "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=30", "-frames:v", str(frames),
        "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", "-crf", "26",
        "-x264-params", f"keyint={group}:min-keyint=12:scenecut=0:bframes=2", str(path),
    ]  # fmt: skip
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def reading(sampled: int = 8, repeats: int = 5) -> Iterator[Row]:
    """Milliseconds of `sampled` frames of 300 for each reader, and its share of a whole read."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (size, frames, group) in CLIPS.items():
            clip = make_clip(Path(folder) / "clip.mp4", size, frames, group)
            rows = compare_readers([clip], k=sampled, repeats=repeats)
            for row in rows:
                yield _row(name, row)
            clip.unlink()
        for reader in OTHERS:
            if reader not in {row["reader"] for row in rows}:
                yield not_measured("reading", reader, "not installed")


def _row(clip: str, row: dict[str, Any]) -> Row:
    name = f"{clip}: {row['reader']}"
    if row["error"]:
        return not_measured("reading", name, row["error"])
    note = f"{row['of_whole']:.2f} of whole, {row['wrong']} of {row['sampled']} frames wrong"
    return Row("reading", name, row["milliseconds"], "ms", note=note)
