"""People of a camera or stream as they come: a line of JSON a picture, and a page that shows them.

The page is served to this machine alone (127.0.0.1), as pictures that replace each other (MJPEG).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import IO, TYPE_CHECKING, Any

from bodyjax.commands import outputs
from bodyjax.commands.outputs import Output
from bodyjax.data.video.live import Live, place
from bodyjax.errors import ConfigError, DataError

if TYPE_CHECKING:
    from bodyjax.detect.detector import Detector

HERE = "127.0.0.1"
PAGE = b"<!doctype html><title>bodyjax</title><img src='/stream' alt='' style='max-width:100%'>"
LAST_PORT = 65535


def check(options: argparse.Namespace) -> None:
    """UserError for a source that may not be read or does not exist, flags that say nothing about
    what is live, and outputs that can't be written."""
    place(options.input, options.allow_network)
    port(options.page)
    for flag in ("out", "gallery", "ids"):
        if getattr(options, flag) is not None:
            raise ConfigError(f"--{flag} is for files", hint="--page shows what is live")
    if options.every is not None and options.second is None:
        raise ConfigError("--every of what is live belongs to a second look", hint="--second large")
    outputs.check([Output("--json", options.json)], outputs.of_checkpoint(options.checkpoint))


def port(text: str | None) -> int | None:
    """The value of --page; ConfigError if it is not the number of a port."""
    if text is None:
        return None
    if not text.isdecimal() or int(text[:6]) > LAST_PORT:
        hint = f"a number from 0 (any free one) to {LAST_PORT}"
        raise ConfigError(f"{text!r} is no port", place="--page", hint=hint)
    return int(text)


def run(detector: Detector, options: argparse.Namespace, every: int | None, least: float) -> int:
    """Shows the people of the source until it ends or Ctrl-C; then one line on stderr."""
    from bodyjax import skeleton
    from bodyjax.commands.detect import drawn
    from bodyjax.detect import live, videos

    source = Live(options.input, allow_network=options.allow_network)
    bones = skeleton.reported(detector.skeleton)
    latencies: list[float] = []
    last = 0.0
    with _lines(options.json) as lines, _page(port(options.page)) as page:
        try:
            for one in live.watched(detector, source.frames(), every=every, min_score=least):
                size = one.image.shape[1], one.image.shape[0]
                people = videos.coco_frame(one.people, one.number, one.time, size)
                milliseconds = round(1e3 * one.latency, 1)
                row = {
                    "frame": one.number, "time": round(one.time, 4),
                    "milliseconds": milliseconds, "people": people,
                }  # fmt: skip
                print(json.dumps(row), file=lines, flush=True)
                if page is not None:
                    page.show(drawn(one.image, one.people, bones))
                latencies = [*latencies[-999:], milliseconds]
                last = one.time
        except KeyboardInterrupt:  # how a camera ends
            pass
    if not latencies:
        raise DataError("no picture came", file=source.name)
    rate = f", {len(latencies) / last:.1f} a second" if last > 0 and len(latencies) < 1000 else ""
    print(
        f"{source.name}: median {median(latencies):.0f} ms from a picture to its people{rate}, "
        f"{source.skipped} pictures passed over for newer ones",
        file=sys.stderr,
    )
    return 0


@contextmanager
def _lines(name: str | None) -> Iterator[IO[str]]:
    """Where the lines go: a file, which grows with every picture, or the screen."""
    with nullcontext(sys.stdout) if name is None else open(name, "w", encoding="utf-8") as file:
        yield file


class Page(ThreadingHTTPServer):
    """Serves the newest picture to all who look."""

    daemon_threads = True

    def __init__(self, number: int) -> None:
        super().__init__((HERE, number), _Handler)
        self.news = threading.Condition()
        self.picture, self.count = b"", 0

    def show(self, image: Any) -> None:
        """A new picture, (H, W, 3) uint8."""
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "jpeg", quality=80)
        with self.news:
            self.picture, self.count = stream.getvalue(), self.count + 1
            self.news.notify_all()


class _Handler(BaseHTTPRequestHandler):
    server: Page

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").partition(":")[0]
        if host not in (HERE, "localhost"):  # a page of another site must not look in here
            self.send_error(403)
        elif self.path == "/":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)
        elif self.path == "/stream":
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with suppress(OSError):  # whoever looked has gone
                self._stream()
        else:
            self.send_error(404)

    def _stream(self) -> None:
        page, seen = self.server, 0
        while True:
            with page.news:
                while page.count == seen:
                    page.news.wait()
                picture, seen = page.picture, page.count
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(head.encode() + picture + b"\r\n")

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing: stderr is for errors."""


@contextmanager
def _page(number: int | None) -> Iterator[Page | None]:
    """A page on this port while the work lasts, None without one."""
    if number is None:
        yield None
        return
    try:
        page = Page(number)
    except OSError as error:
        what = f"port {number} can't be used ({error.strerror})"
        raise ConfigError(what, place="--page", hint="0: any free one") from None
    print(f"http://{HERE}:{page.server_address[1]}/", file=sys.stderr, flush=True)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    try:
        yield page
    finally:
        page.shutdown()
        page.server_close()
