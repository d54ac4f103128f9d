"""Opening video files as untrusted: only regular local files, only known formats, no format that
names other files or addresses; and closing them without hanging."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from bodyjax.data.video import limits
from bodyjax.errors import VideoError

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,gif"
"""FFmpeg's names of the containers that are read; no other is ever opened."""

_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
MARKS_NOTHING = ("hevc", "mjpeg")
"""Decoders that fill what they can't decode with old pixels, and don't say so."""
MARKS_OVERRUNS = ("wmv1", "wmv2", "msmpeg4", "msmpeg4v1", "msmpeg4v2")
"""Decoders that mark a picture whose data end too early only if asked to."""
NOTICES = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that find no damage, and others that give the same pixels and do. They read 8 bits a
colour, and mark no frame as a keyframe."""
SALVAGE = 'on_bad="skip" (--on-bad skip) reads what is whole'
_HINT = (
    "it is damaged, cut off, or no mp4, mov, mkv, webm, avi, ts, mts, mpg, wmv, flv or gif video; "
    + SALVAGE
)


def file_state(path: Path) -> tuple[int, int]:
    """Size and modification time. A FIFO would block on opening, so only regular files pass."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise VideoError(f"can't open the video: {reason}", file=path) from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise VideoError(f"this is {kind}", file=path, hint="name a video file")
    if status.st_size == 0:
        raise VideoError("the file is empty", file=path)
    return status.st_size, status.st_mtime_ns


@contextmanager
def opened(path: Path, strict: bool = False) -> Iterator[tuple[Any, Any, Any]]:
    """The container, its picture stream and the stream's decoder; FFmpeg's errors become one
    VideoError.

    strict: the decoder refuses every packet in which it finds an error. Otherwise it conceals what
    it can and marks the frame; decoders that mark nothing (`MARKS_NOTHING`) are always strict.
    """
    try:
        # "file:" keeps a colon in the name from being read as a protocol.
        with av.open(
            f"file:{path}", options=_OPTIONS, metadata_errors="replace", timeout=limits.LIMIT
        ) as container:
            stream = _pictures(container, path)
            decoder = _decoder(stream)
            if strict or decoder.name in MARKS_NOTHING:
                decoder.options = {"err_detect": "explode"}
            elif decoder.name in MARKS_OVERRUNS:
                decoder.options = {"err_detect": "buffer"}
            try:
                yield container, stream, decoder
            finally:
                _settle(decoder)
    except (av.error.FFmpegError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(
            f"can't be decoded: {reason}",
            file=path,
            hint=_HINT,
        ) from None


def _pictures(container: Any, path: Path) -> Any:
    """The stream that a player would show: first one that the file marks as default, then the
    largest, then the first. Covers of sound files and previews in stills are not videos."""
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    streams = [s for s in container.streams.video if not s.disposition & still]
    if not streams:
        raise VideoError("it has no picture track", file=path, hint="name a video file")
    known = [s for s in streams if s.codec_context is not None]
    if not known:
        raise VideoError("its pictures are in an unknown or damaged format", file=path)

    def rank(stream: Any) -> tuple[bool, int]:
        default = bool(stream.disposition & av.stream.Disposition.default)
        return default, stream.codec_context.width * stream.codec_context.height

    return max(known, key=rank)


def _decoder(stream: Any) -> Any:
    decoder = stream.codec_context
    name = NOTICES.get(decoder.name)
    if name not in av.codecs_available or decoder.format is None:
        return decoder
    if decoder.format.components[0].bits != 8:
        return decoder
    return av.CodecContext.create(name, "r")


def _settle(decoder: Any) -> None:
    """Wait until the decoder's threads are idle, before Python closes it.

    Python holds its lock while it closes a decoder, which waits for the decoder's threads. Once
    av.logging.set_level was called anywhere in the process, FFmpeg's logging takes the same lock: a
    thread that is still running after a read that stopped early would wait forever to log a
    message. Flushing the decoder waits without the lock.
    """
    if not decoder.is_open:
        return
    try:
        while decoder.decode(None):
            pass
    except (av.error.FFmpegError, UnicodeError):
        pass  # it was empty, or what is left can't be decoded
    decoder.flush_buffers()
