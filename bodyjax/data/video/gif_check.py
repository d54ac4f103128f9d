"""Whether the pictures of a GIF are whole, without decoding their pixels.

GIF has no checksums, and decoders show what they get. But its LZW codes say how many pixels they
stand for: those of a whole picture give exactly width x height, and none of them is beyond the
table that its own codes have built. How many bits a code has depends on its place alone, so the
codes are unpacked by NumPy, and the lengths of their strings follow by pointer doubling.
(W3C, GIF89a specification, appendix F.) What can't be seen: another colour for the same pixels.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_LARGEST = 4096  # codes have 12 bits at most
_WIDTH = np.array([min(n.bit_length(), 12) for n in range(_LARGEST + 1)], np.int32)
_HEADERS = (b"GIF87a", b"GIF89a")
_LABELS = {0x01: 12, 0xF9: 4, 0xFE: 0, 0xFF: 11}
"""Extensions, and how long their first block must be: text, control, comment (any), application."""


class Damage(Exception):
    """What is wrong with a GIF."""


class GifCheck:
    """Checks a GIF, whole or in pieces that end after a picture, as FFmpeg cuts it into packets."""

    def __init__(self) -> None:
        self._screen = (0, 0)
        self._begun = self._ended = False

    def __call__(self, data: bytes, alone: bool = False) -> str:
        """What is wrong with the next bytes of the file, "" if nothing. `alone`: only the first
        picture matters, and may go beyond the screen that the file states: readers of pictures
        enlarge it."""
        try:
            self._check(data, alone)
        except Damage as damage:
            return str(damage)
        except (IndexError, struct.error):
            return "it ends too early"
        return ""

    def _check(self, data: bytes, alone: bool) -> None:
        at = 0
        if not self._begun:
            if data[:6] not in _HEADERS:
                raise Damage("it does not begin as a GIF")
            self._screen, at = _header(data, 0)
            self._begun = True
        while at < len(data) and not self._ended:
            kind = data[at]
            if kind == 0x21:
                at = _extension(data, at + 1)
            elif kind == 0x2C:
                at = _picture(data, at + 1, None if alone else self._screen)
                self._ended = alone
            elif data[at : at + 6] in _HEADERS:  # Pillow repeats it before pictures that are empty.
                screen, at = _header(data, at)
                if screen != self._screen:
                    raise Damage(f"a second screen, of {screen[0]}x{screen[1]}")
            elif kind == 0x3B:  # Some files lack it. What follows it is no part of the GIF.
                self._ended = True
            else:
                raise Damage(f"a block of an unknown kind (0x{kind:02x})")


def _header(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Width and height of the screen, and where the block after the header begins."""
    width, height, flags = struct.unpack_from("<HHB", data, at + 6)
    return (width, height), at + 13 + _palette(flags)


def _picture(data: bytes, at: int, screen: tuple[int, int] | None) -> int:
    """Checks a picture whose descriptor begins at `at`; where the block after it begins."""
    left, top, width, height, flags = struct.unpack_from("<4HB", data, at)
    across, down = screen or (left + width, top + height)
    if not (0 < width <= across - left and 0 < height <= down - top):
        raise Damage(f"{width}x{height} pixels at {left}, {top} of a {across}x{down} screen")
    at += 9 + _palette(flags)
    bits = data[at]
    if not 2 <= bits <= 8:
        raise Damage(f"{bits} bits a pixel")
    codes, at = _blocks(data, at + 1)
    found, ended = _pixels(codes, bits)
    # Without the code that ends it, the last byte's spare bits are up to two codes of a pixel.
    if not 0 <= found - width * height <= (0 if ended else 2):
        raise Damage(f"{found} pixels instead of {width} x {height}")
    return at


def _palette(flags: int) -> int:
    """The bytes of a palette, by the flags before it."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _extension(data: bytes, at: int) -> int:
    label = data[at]
    if label not in _LABELS:
        raise Damage(f"an unknown extension (0x{label:02x})")
    first = _LABELS[label]
    if first and data[at + 1] != first:
        raise Damage(f"an extension (0x{label:02x}) of {data[at + 1]} bytes")
    if label == 0xF9 and data[at + 2 + first] != 0:
        raise Damage("a control block that goes on")
    return _blocks(data, at + 1)[1]


def _blocks(data: bytes, at: int) -> tuple[bytes, int]:
    """The joined bytes of a chain of blocks, and where it ends."""
    parts = []
    while (size := data[at]) != 0:
        parts.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return b"".join(parts), at + 1


def _pixels(data: bytes, bits: int) -> tuple[int, bool]:
    """How many pixels the LZW codes of a picture stand for, and whether the code that ends them is
    there. Damage if one of them is no code."""
    packed = np.frombuffer(data + bytes(3), np.uint8).astype(np.int32)
    # The 24 bits from each byte on: they hold any code of 12 bits that begins in it.
    words = packed[:-2] | packed[1:-1] << 8 | packed[2:] << 16
    at: int | None = 0
    count, size, ended = 0, 256, False
    before: list[NDArray[np.int32]] = []
    while at is not None:
        codes, at, ended = _run(words, at, 8 * len(data), bits, size)
        size = len(codes) + 2  # most encoders clear the table at the same length each time
        # A code beyond the colours stands for the string of an earlier code and one pixel more.
        earlier = codes - ((1 << bits) + 2)
        if (earlier >= np.arange(len(codes))).any():
            raise Damage("a code that its table does not hold")
        before.append(np.where(earlier < 0, -1, earlier + count))
        count += len(codes)
    return _lengths(np.concatenate(before)), ended


def _run(
    words: NDArray[np.int32], at: int, end: int, bits: int, size: int
) -> tuple[NDArray[np.int32], int | None, bool]:
    """The codes from bit `at` up to the next one that clears the table or ends the picture; the bit
    after one that clears the table; whether it is one that ends the picture. `size`: about how many
    there may be."""
    clear, first = 1 << bits, 0
    parts = []
    while True:
        # The first code adds nothing to the table, each other one an entry.
        held = clear + 1 + first
        width = _WIDTH[held : held + size]
        width = np.append(width, np.full(size - len(width), 12, np.int32))
        after = at + np.cumsum(width, dtype=np.int64)
        fits = int(np.searchsorted(after, end, side="right"))
        width, after = width[:fits], after[:fits]
        place = after - width
        codes = words[place >> 3] >> (place & 7) & (1 << width) - 1
        stops = np.flatnonzero((codes == clear) | (codes == clear + 1))
        if len(stops):
            stop = int(stops[0])
            parts.append(codes[:stop])
            ended = bool(codes[stop] == clear + 1)
            return np.concatenate(parts), None if ended else int(after[stop]), ended
        parts.append(codes)
        if fits < size:
            return np.concatenate(parts), None, False
        first, at, size = first + size, int(after[-1]), 2 * size


def _lengths(before: NDArray[np.int32]) -> int:
    """The sum of the lengths of all chains: `before[i]` is what i goes on from, -1 nothing."""
    count = len(before)
    lengths = np.append(np.ones(count, np.int64), 0)
    before = np.append(np.where(before < 0, count, before), count)
    while (before != count).any():
        lengths += lengths[before]
        before = before[before]
    return int(lengths.sum())
