"""Cameras and streams: the newest picture whenever it is asked for, older ones are dropped."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
from numpy.typing import NDArray

from bodyjax.data.video.opening import FORMATS
from bodyjax.errors import ConfigError, DataError, VideoError

PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "http": "http,tcp",
    "https": "https,http,tls,tcp",
}
"""Which of FFmpeg's protocols an address may use, by its scheme."""
STREAMED = f"{FORMATS},rtsp,mpjpeg,mjpeg,h264,hevc"
"""FFmpeg's names of what is read from the network: none of them names further addresses."""
PATIENCE = 10.0
"""Seconds to wait for a connection or the next picture."""


def is_live(text: str) -> bool:
    """Whether an input is a camera's number or an address, not a file."""
    return text.isdecimal() or "://" in text


class Live:
    """A camera or stream whose newest picture is taken; `skipped` counts those passed over.

    source: the number of a camera (Linux: /dev/videoN), or an address (rtsp, http, https), which
    needs `allow_network`. DataError if there is no such camera, ConfigError for an address that is
    not allowed, VideoError if it can't be opened. Errors don't show passwords of addresses.
    """

    def __init__(self, source: str, *, allow_network: bool = False) -> None:
        self.name = _shown(source)
        self.skipped = 0
        self._container = _opened(source, self.name, allow_network)
        self._ready = threading.Condition()
        self._newest: tuple[float, Any] | None = None
        self._ended = False
        self._error: str | None = None
        self._thread = threading.Thread(target=self._decode, daemon=True)

    def frames(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """(seconds on the clock of time.monotonic when it arrived, (H, W, 3) uint8 RGB), up to the
        end of the stream. VideoError if it breaks, or nothing comes for PATIENCE seconds."""
        self._thread.start()
        try:
            while (taken := self._take()) is not None:
                arrived, frame = taken
                yield arrived, frame.to_ndarray(format="rgb24")
        finally:
            with self._ready:
                self._ended = True

    def _take(self) -> tuple[float, Any] | None:
        with self._ready:
            end = time.monotonic() + PATIENCE
            while self._newest is None and not self._ended:
                if not self._ready.wait(end - time.monotonic()):
                    raise VideoError(f"no picture for {PATIENCE:g} s", file=self.name)
            taken, self._newest = self._newest, None
            if taken is None and self._error is not None:
                raise VideoError(f"can't be read: {self._error}", file=self.name)
            return taken

    def _decode(self) -> None:
        """The thread: decodes as fast as pictures come."""
        error = None
        try:
            for frame in self._container.decode(video=0):
                with self._ready:
                    if self._ended:
                        break
                    self.skipped += self._newest is not None
                    self._newest = time.monotonic(), frame
                    self._ready.notify()
        except (av.error.FFmpegError, UnicodeError) as problem:
            error = getattr(problem, "strerror", None) or str(problem)
        with self._ready:
            self._ended, self._error = True, error
            self._ready.notify()
        self._container.close()


def place(source: str, allow_network: bool) -> tuple[str, str | None]:
    """What FFmpeg calls a source, and the format that it must have. DataError, ConfigError as for
    `Live`; opens nothing."""
    if source.isdecimal():
        return _camera(source)
    try:
        scheme = urlsplit(source).scheme
    except ValueError as error:
        raise ConfigError(f"is no address ({error})", file=_shown(source)) from None
    if scheme not in PROTOCOLS:
        hint = f"one of {', '.join(PROTOCOLS)}"
        raise ConfigError(f"{scheme}:// is not read", file=_shown(source), hint=hint)
    if not allow_network:
        hint = "--allow-network permits it"
        raise ConfigError("is on the network", file=_shown(source), hint=hint)
    return source, None


def _opened(source: str, name: str, allow_network: bool) -> Any:
    where, form = place(source, allow_network)
    options: dict[str, str] = {}
    if form is None:
        scheme = urlsplit(source).scheme
        options = {"protocol_whitelist": PROTOCOLS[scheme], "format_whitelist": STREAMED}
        if scheme == "rtsp":
            options["rtsp_transport"] = "tcp"
    try:
        container = av.open(where, format=form, options=options, timeout=PATIENCE)
    except (av.error.FFmpegError, UnicodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(f"can't be opened: {reason}", file=name) from None
    if not container.streams.video:
        container.close()
        raise VideoError("it has no pictures", file=name)
    return container


def _camera(number: str) -> tuple[str, str]:
    """What FFmpeg calls a camera, and the format that reads it."""
    if sys.platform == "darwin":
        return number, "avfoundation"
    if sys.platform != "linux":
        raise DataError(f"cameras are not read on {sys.platform}", file=number)
    device = Path(f"/dev/video{number}")
    if not device.exists():
        there = ", ".join(sorted(str(path) for path in device.parent.glob("video*"))) or "none"
        raise DataError("no such camera", file=device, hint=f"there: {there}")
    return str(device), "v4l2"


def _shown(source: str) -> str:
    """A source without the user and password of its address."""
    if "://" not in source:
        return f"camera {source}"
    scheme, _, rest = source.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
