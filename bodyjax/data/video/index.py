"""Which frames a video file has, and when each is shown: one pass over its packets.

If one packet is known to be one frame with its own time, only the first frame is decoded; otherwise
(AVI stores no times, VP8 has packets that show nothing, interlaced H.264 may split a frame,
transport streams start anywhere) the frames are counted by decoding once. Packets before the first
keyframe can't be decoded and count only in `left_out`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from bodyjax.data.video import limits
from bodyjax.data.video.gif_check import GifCheck
from bodyjax.data.video.jpeg_check import JpegCheck
from bodyjax.data.video.opening import NOTICES, SALVAGE, opened
from bodyjax.data.video.whole import missing_bytes
from bodyjax.errors import VideoError

_ONE_A_PACKET = {
    ("mov,mp4,m4a,3gp,3g2,mj2", "h264"),
    ("mov,mp4,m4a,3gp,3g2,mj2", "hevc"),
    ("mov,mp4,m4a,3gp,3g2,mj2", "av1"),
    ("matroska,webm", "h264"),
    ("matroska,webm", "hevc"),
    ("matroska,webm", "vp9"),
    ("matroska,webm", "av1"),
    ("avi", "mjpeg"),
}

CHECKS: dict[str, Callable[[], Callable[[bytes], str]]] = {"gif": GifCheck, "mjpeg": JpegCheck}
"""What looks for damage that the decoder passes over."""


@dataclass(frozen=True, eq=False)
class Index:
    """The result of one pass over the packets. Times are in ticks of `time_base`."""

    pts: NDArray[np.int64]  # (n,) presentation time of frame i, ascending
    order: NDArray[np.int64]  # (n,) position of frame i in the file, in decoding order
    key_order: NDArray[np.int64]  # (keys,) positions of the keyframes, ascending
    key_pts: NDArray[np.int64]  # (keys,) their presentation times
    time_base: Fraction
    seekable: bool  # False: frames are known by their number among what is decoded, not by time
    last: int  # ticks that the last frame is shown
    rate: Fraction | None  # the rate that the file states
    width: int  # of the stored picture, before turning
    height: int
    wide: int  # width with square pixels
    turn: tuple[bool, bool, bool]  # transpose, then flip left-right, then flip top-bottom
    kept: NDArray[np.int64] | None  # (n,) on_bad = "skip": numbers of the whole frames, as decoded
    left_out: int  # pictures that can't be decoded


@lru_cache(maxsize=1024)
def indexed(name: str, size: int, changed: int, on_bad: str) -> Index:
    """The index of a file; `size` and `changed` are part of its cache key."""
    path = Path(name)
    return limits.finished(path, lambda beat: _index(path, on_bad == "skip", beat))


def _index(path: Path, salvage: bool, beat: limits.Beat) -> Index:
    listed = _list_packets(path, salvage, beat)
    pts, keys, shown, seekable = listed.pts, listed.keys, listed.shown, listed.distinct
    left_out, kept = listed.before_first_key, None
    if salvage or not (listed.one_frame_a_packet and listed.starts_whole and seekable):
        found = _decode_all(path, salvage, any(keys), listed.damaged, beat)
        counted = [time for time, _ in found]
        if salvage:
            whole = [number for number, (_, sound) in enumerate(found) if sound]
            kept, counted = np.array(whole, np.int64), [counted[number] for number in whole]
            left_out += max(sum(shown), len(found)) - len(whole)
        elif listed.one_frame_a_packet:
            left_out += max(sum(shown) - len(counted), 0)
        if salvage or not seekable or counted != sorted(_true(pts, shown)):
            n, seekable = len(counted), False
            rising = None not in counted and counted == sorted(counted)
            pts = counted if rising else [i * listed.step for i in range(n)]
            keys = shown = [True] * n
    every = np.array(pts, np.int64)
    position = np.flatnonzero(shown)
    position = position[np.argsort(every[position], kind="stable")]
    key_order = np.flatnonzero(keys)
    if not len(position):
        raise VideoError("it has no frames", file=path)
    return Index(
        pts=every[position],
        order=position,
        key_order=key_order,
        key_pts=every[key_order],
        time_base=listed.time_base,
        seekable=seekable and len(key_order) > 0,
        last=listed.last,
        rate=listed.rate,
        width=listed.first.width,
        height=listed.first.height,
        wide=_square(listed.first.width, listed.aspect),
        turn=_turn(listed.first),
        kept=kept,
        left_out=left_out,
    )


def _true(values: list[Any], chosen: list[bool]) -> list[Any]:
    return [value for value, taken in zip(values, chosen, strict=True) if taken]


@dataclass
class _Packets:
    """The picture packets of a file from its first keyframe on, in file order."""

    time_base: Fraction
    rate: Fraction | None
    aspect: Fraction | None  # width of a pixel in its heights, as the file states it
    step: int  # ticks a frame, by the stated rate
    last: int  # ticks that the last packet lasts
    one_frame_a_packet: bool
    starts_whole: bool = True  # False: not all from the first keyframe on may be decodable
    first: Any = None  # the first frame, decoded
    before_first_key: int = 0  # packets left out
    pts: list[Any] = field(default_factory=list)  # presentation time; None where there is none
    keys: list[bool] = field(default_factory=list)  # keyframe?
    shown: list[bool] = field(default_factory=list)  # False: an edit list leaves it out
    # What is wrong with each, also those before the first keyframe; "" if nothing.
    damaged: list[str] = field(default_factory=list)

    @property
    def distinct(self) -> bool:
        return None not in self.pts and len(set(self.pts)) == len(self.pts)


def _list_packets(path: Path, salvage: bool, beat: limits.Beat) -> _Packets:
    """One pass over the file. A file that ends inside a frame, or before its structure does, is
    refused unless it is salvaged: decoding alone often reports nothing."""
    with opened(path, strict=salvage) as (container, stream, decoder):
        rate, codec = stream.average_rate, stream.codec_context.name
        step = max(round(1 / (rate * stream.time_base)), 1) if rate else 1
        kind = (container.format.name, codec)
        listed = _Packets(
            stream.time_base, rate, stream.sample_aspect_ratio, step, step, kind in _ONE_A_PACKET
        )
        check = CHECKS[codec]() if codec in CHECKS else None
        latest, cut = None, False
        for packet in packets(container, stream, salvage):
            beat()
            if listed.first is None and (True in listed.keys or packet.is_keyframe):
                listed.first = _first_frame(decoder, packet, salvage)
            wrong = "its container says so" if packet.is_corrupt else ""
            if check is not None and packet.size and not wrong:
                wrong = check(bytes(packet))
            listed.damaged.append(wrong)
            if not packet.size:
                continue
            cut = packet.is_corrupt
            time = packet.pts if packet.pts is not None else packet.dts
            listed.pts.append(packet.pts)
            listed.keys.append(packet.is_keyframe)
            listed.shown.append(not packet.is_discard)
            if time is not None and (latest is None or time > latest):
                latest, listed.last = time, packet.duration or step
        missing = 0 if salvage else missing_bytes(path, stream)
    if not salvage:
        _refuse_damage(path, listed, missing, cut)
    if not any(listed.keys):  # the container marks none
        with opened(path, strict=salvage) as (container, stream, decoder):
            frames = decoded(container, stream, decoder, salvage, from_key=False)
            listed.first = next((one for one in frames if not isinstance(one, av.Packet)), None)
    if listed.first is None:
        raise VideoError(
            "no frame can be decoded", file=path, hint="the file is damaged or cut off"
        )
    if listed.first.interlaced_frame:  # a frame may be split into two packets
        listed.one_frame_a_packet = False
    _start_at_first_key(listed)
    return listed


def _first_frame(decoder: Any, packet: Any, salvage: bool) -> Any:
    try:
        return next(iter(decoder.decode(packet if packet.size else None)), None)
    except av.error.InvalidDataError:
        if not salvage:
            raise
        return None


def _refuse_damage(path: Path, listed: _Packets, missing: int, cut: bool) -> None:
    hint = f"copy it again; {SALVAGE}"
    if missing or cut:
        what = f"{missing} bytes are missing at its end" if missing else "it ends inside a frame"
        raise VideoError(what, file=path, hint=f"the file is cut off; {hint}")
    if any(listed.damaged):
        number, why = next((n, why) for n, why in enumerate(listed.damaged) if why)
        place = f"picture {number} in the file"
        raise VideoError(f"it is damaged: {why}", file=path, place=place, hint=hint)


def _start_at_first_key(listed: _Packets) -> None:
    """Leave out the packets before the first keyframe, which no decoder can show. If what comes out
    first is not what is shown first (pictures shown before the keyframe and stored after it, or a
    stream that recovers bit by bit), decoding must count."""
    if not any(listed.keys):
        return
    first = listed.keys.index(True)
    listed.before_first_key = sum(listed.shown[:first])
    for column in (listed.pts, listed.keys, listed.shown):
        del column[:first]
    times = [time for time in _true(listed.pts, listed.shown) if time is not None]
    if listed.first.pts is None or listed.first.pts != min(times, default=None):
        listed.starts_whole = False


def _decode_all(
    path: Path, salvage: bool, from_key: bool, damaged: Sequence[str], beat: limits.Beat
) -> list[tuple[Any, bool]]:
    """(presentation time, whether it is whole) of all frames, as the decoder gives them; `damaged`:
    what is wrong with each packet."""
    with opened(path, strict=salvage) as (container, stream, decoder):
        decoder.thread_type = "NONE" if salvage else "AUTO"
        found = []
        frames = decoded(container, stream, decoder, salvage, from_key, damaged)
        for frame, sound in marked(frames):
            beat()
            found.append((frame.pts, sound))
        return found


# ------------------------------------------------------------------------- decoding in file order


def packets(container: Any, stream: Any, salvage: bool = False) -> Iterator[Any]:
    """The packets of a stream; with `salvage` up to where the container breaks."""
    try:
        yield from container.demux(stream)
    except IndexError:
        pass  # at the end of a file in which streams began later: PyAV knows the first ones alone
    except av.error.InvalidDataError:
        if not salvage:
            raise


def decoded(
    container: Any,
    stream: Any,
    decoder: Any,
    salvage: bool = False,
    from_key: bool = True,
    damaged: Sequence[str] = (),
) -> Iterator[Any]:
    """Decoded frames from where the container stands, in display order; with `salvage` also the
    packets that are damaged (also by `damaged`, what is wrong with each) or can't be decoded.
    `from_key`: packets before the first keyframe are not given to the decoder."""
    started, keyless = not from_key, decoder.name in NOTICES.values()
    wrongs = chain(damaged, repeat(""))
    for packet, wrong in zip(packets(container, stream, salvage), wrongs, strict=False):
        started = started or packet.is_keyframe
        if not started:
            continue
        if salvage and (packet.is_corrupt or wrong):
            yield packet
        try:
            for frame in decoder.decode(packet if packet.size else None):
                if keyless:  # it gives each frame before it takes the next packet
                    frame.key_frame = packet.is_keyframe
                yield frame
        except av.error.InvalidDataError:
            if not salvage:
                raise
            yield packet


def marked(found: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """(frame, sound) of what `decoded` gives: False from a frame that the decoder marks as damaged,
    or a packet that is damaged, up to the next whole keyframe: those in between build on it."""
    sound, after = True, None
    for one in found:
        if isinstance(one, av.Packet):
            sound, after = False, one.pts
            continue
        if one.is_corrupt:
            sound = False
        elif one.key_frame and (after is None or one.pts is None or one.pts > after):
            sound = True
        yield one, sound


# ----------------------------------------------------------------------------------------- pixels


def _square(width: int, aspect: Fraction | None) -> int:
    """The width of a picture when its pixels are made square. An aspect within one hundredth of 1
    is rounding, and one beyond 4 is a damaged header: both are ignored."""
    if not aspect or abs(aspect - 1) < Fraction(1, 100) or not Fraction(1, 4) <= aspect <= 4:
        return width
    return max(round(width * aspect), 1)


def _turn(frame: Any) -> tuple[bool, bool, bool]:
    """How the file's display matrix turns the picture: (transpose, left-right, top-bottom).

    Right angles and mirrors; another angle is taken as the nearest right one.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):  # x' = a x, y' = d y
        return False, a < 0, d < 0
    return True, c < 0, b < 0  # x' = c y, y' = b x
