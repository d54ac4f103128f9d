"""Small test clips whose frames carry their number as a bar code, made by imageio-ffmpeg.

The code is 12 bars in the top third, least bit on the left, white = 1. Under it a pattern moves.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np

BITS = 12
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "veryfast", "-threads", "1")
X264_B = (*X264, "-bf", "3", "-x264-params", "b-pyramid=normal:scenecut=0")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "300k")


def frame(number: int, width: int = 192, height: int = 96) -> np.ndarray:
    """(height, width, 3) uint8 picture of frame `number`."""
    y, x = np.mgrid[:height, :width]
    pattern = (np.sin((x + 3 * number) / 9.0) + np.cos((y - 2 * number) / 7.0)) * 50 + 128
    image = np.stack([pattern, np.roll(pattern, number, 1), 255 - pattern], axis=-1)
    bar = np.minimum(np.arange(width) * BITS // width, BITS - 1)
    image[: height // 3] = (((number >> bar) & 1) * 255)[None, :, None]
    return image.astype(np.uint8)


def frame_number(image: np.ndarray) -> int:
    """The number in the bar code of a picture (height, width, 3)."""
    height, width = image.shape[:2]
    bars = image[2 : height // 3 - 2].mean(axis=(0, 2))
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    return int(sum(1 << bit for bit, centre in enumerate(centres) if bars[centre] > 127))


def frames(count: int, width: int = 192, height: int = 96) -> Iterator[np.ndarray]:
    return (frame(i, width, height) for i in range(count))


def ffmpeg(*arguments: str | Path, data: bytes | None = None) -> bytes:
    """Run ffmpeg; what it writes to its output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


@lru_cache(maxsize=2)
def _raw(count: int, width: int, height: int) -> bytes:
    return b"".join(image.tobytes() for image in frames(count, width, height))


def encode(
    path: Path, count: int, *arguments: str, size: tuple[int, int] = (192, 96), rate: str = "30"
) -> Path:
    """A clip of `count` coded frames at `rate`; `arguments` are the encoder's."""
    width, height = size
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate)
    ffmpeg(*source, "-i", "pipe:0", *arguments, path, data=_raw(count, width, height))
    return path


def recut(source: Path, path: Path, *arguments: str, before: tuple[str, ...] = ()) -> Path:
    """The same packets in another file; `before` stands in front of the input."""
    ffmpeg(*before, "-i", source, "-c", "copy", *arguments, path)
    return path


def variants(folder: Path, count: int = 50) -> dict[str, Path]:
    """Clips of every kind that readers trip over, by name."""
    made = {}

    def make(name: str, *arguments: str) -> None:
        made[name.partition(".")[0]] = encode(folder / name, count, *arguments)

    make("gop12.mp4", *X264_B, "-g", "12")
    make("one_gop.mp4", *X264_B, "-g", "250")
    make("no_b_frames.mp4", *X264, "-g", "12", "-bf", "0")
    make("open_gop.mp4", *X264, "-bf", "3", "-g", "12", "-x264-params", _OPEN)
    make("intra_refresh.mkv", *X264, "-g", "12", "-x264-params", "intra-refresh=1:bframes=0")
    make("interlaced.mkv", *X264, "-g", "12", "-x264-params", "tff=1")
    make("matroska.mkv", *X264_B, "-g", "12")
    make("fragmented.mp4", *X264_B, "-g", "12", "-movflags", "frag_keyframe+empty_moov")
    make("vp9.webm", *VP9, "-g", "12")
    make("vp8.webm", *_VP8, "-g", "12")
    make("mpeg4.avi", "-c:v", "mpeg4", "-q:v", "3", "-g", "12")
    make("mpeg4_b_frames.avi", "-c:v", "mpeg4", "-q:v", "3", "-g", "12", "-bf", "2")
    make("h264_in.avi", *X264, "-g", "12", "-bf", "2")
    make("hevc.mkv", "-c:v", "libx265", "-preset", "ultrafast", *_HEVC)
    make("av1.mp4", "-c:v", "libsvtav1", "-preset", "12", "-crf", "40", "-g", "12")
    make("mjpeg.avi", "-c:v", "mjpeg", "-q:v", "3")
    make("transport.ts", *X264_B, "-g", "12")
    make("open_gop_transport.ts", *X264, "-bf", "3", "-g", "12", "-x264-params", _OPEN)
    make("interlaced_transport.ts", *X264, "-bf", "2", "-g", "12", "-x264-params", "tff=1")
    make("hevc_transport.ts", "-c:v", "libx265", "-preset", "ultrafast", *_HEVC)
    make("camera.mts", *X264_B, "-g", "12", "-f", "mpegts", "-mpegts_m2ts_mode", "1")
    make("mpeg2.mpg", "-c:v", "mpeg2video", "-q:v", "3", "-g", "12", "-bf", "2")
    make("mpeg1.mpg", "-c:v", "mpeg1video", "-q:v", "3", "-g", "12", "-bf", "2")
    make("windows.wmv", "-c:v", "wmv2", "-q:v", "3", "-g", "12")
    make("flash.flv", "-c:v", "flv", "-q:v", "3", "-g", "12")
    make("flash_h264.flv", *X264_B, "-g", "12")
    make("animated.gif")
    make("irregular.mp4", *IRREGULAR, *X264_B, "-g", "12")
    made["irregular_mkv"] = recut(made["irregular"], folder / "irregular_mkv.mkv")
    made["edit_list"] = recut(
        made["gop12"], folder / "edit_list.mp4", before=("-ss", "0.55", "-noaccurate_seek")
    )
    return made


_OPEN = "open-gop=1:scenecut=0"
_VP8 = ("-c:v", "libvpx", "-b:v", "300k", "-auto-alt-ref", "1", "-lag-in-frames", "16")
_HEVC = ("-x265-params", "keyint=12:min-keyint=12:open-gop=1:bframes=3:log-level=error")
# Every seventh frame comes half a second late: a variable frame rate.
IRREGULAR = ("-vf", "setpts=N+15*floor(N/7)", "-fps_mode", "passthrough")
