"""Whether a file ends before its own structure does: then it was cut off.

Lengths of boxes and tables of samples are compared with the length of the file. The duration in a
header is ignored: recorders and editors write it too long, and only frames count.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO, Any

_SEGMENT = b"\x18\x53\x80\x67"
_EBML = b"\x1a\x45\xdf\xa3"


def missing_bytes(path: Path, stream: Any) -> int:
    """How many bytes the file is shorter than its structure says; 0 where nothing is known to be
    missing. `stream`: its picture stream, read to the end."""
    size = os.path.getsize(path)
    form = stream.container.format.name
    with open(path, "rb") as file:
        if form.startswith("mov"):
            end = max(_boxes(file, size), _samples(stream))
        elif form.startswith("matroska"):
            end = _segment(file)
        elif form == "avi":
            end = _movi(file, size)
        else:  # streams of packets, which may end after any of them
            end = 0
    return max(end - size, 0)


def _boxes(file: IO[bytes], size: int) -> int:
    """Where the last box ends that lists samples: moov, or the moof of a fragment."""
    at = end = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16).ljust(16, b"\0")
        length, kind = struct.unpack_from(">I4s", head)
        if length == 1:
            (length,) = struct.unpack_from(">Q", head, 8)
        if length < 8:  # 0: up to the end of the file
            break
        at += length
        if kind in (b"moov", b"moof"):
            end = at
    return end


def _samples(stream: Any) -> int:
    """Where the last picture ends that the tables of samples list."""
    return max((entry.pos + entry.size for entry in stream.index_entries), default=0)


def _segment(file: IO[bytes]) -> int:
    """Where a Matroska segment ends; 0 where it does not say (live recordings)."""
    if file.read(4) != _EBML:
        return 0
    skipped = _length(file)
    file.seek(skipped or 0, 1)
    if skipped is None or file.read(4) != _SEGMENT:
        return 0
    length = _length(file)
    return 0 if length is None else file.tell() + length


def _length(file: IO[bytes]) -> int | None:
    """An EBML length of 1 to 8 bytes; None if all its bits are 1: unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    count = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(count - 1), "big") & ((1 << 7 * count) - 1)
    return None if value == (1 << 7 * count) - 1 else value


def _movi(file: IO[bytes], size: int) -> int:
    """Where the last list of an AVI's frames ends; what follows is its index."""
    at = end = 0
    while at + 12 <= size:
        file.seek(at)
        name, length, kind = struct.unpack("<4sI4s", file.read(12))
        if name == b"RIFF":
            at += 12
            continue
        if length in (0, 2**32 - 1):  # the recorder never came to write it
            break
        at += 8 + length + length % 2
        if name == b"LIST" and kind == b"movi":
            end = at - length % 2
    return end
