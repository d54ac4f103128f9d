"""Streams from a server on this machine: the newest picture, the end, what is refused."""

import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from bodyjax.data.video import live, write_video
from bodyjax.errors import ConfigError, DataError, VideoError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture
def server(tmp_path):
    """An address under which a folder is served: 12 frames that become brighter, and a text."""
    frames = [np.full((48, 64, 3), 20 * number, np.uint8) for number in range(12)]
    write_video(tmp_path / "v.mkv", frames, 25)
    (tmp_path / "text.mkv").write_text("no video")
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    http.server_close()


def test_a_slow_taker_gets_the_newest_pictures_and_the_others_are_counted(server):
    source = live.Live(f"{server}/v.mkv", allow_network=True)
    shades, times = [], []
    for arrived, image in source.frames():
        assert image.shape == (48, 64, 3)
        shades.append(float(image.mean()))
        times.append(arrived)
        time.sleep(0.2)  # the rest arrives meanwhile
    assert shades == sorted(shades)
    assert shades[-1] == pytest.approx(220, abs=4)  # the last one is never passed over
    assert times == sorted(times)
    assert len(shades) + source.skipped == 12


def test_what_can_t_be_read_is_one_line_without_the_password(server):
    address = server.replace("http://", "http://me:secret@")
    for name in ("none.mkv", "text.mkv"):
        with pytest.raises(VideoError, match="can't be opened") as caught:
            live.Live(f"{address}/{name}", allow_network=True)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
        assert name in str(caught.value)


def test_a_stream_that_stands_still_ends_in_an_error(server, monkeypatch):
    source = live.Live(f"{server}/v.mkv", allow_network=True)
    monkeypatch.setattr(live, "PATIENCE", 0.1)
    monkeypatch.setattr(source, "_decode", lambda: None)
    source._thread = threading.Thread(target=source._decode, daemon=True)
    with pytest.raises(VideoError, match=r"no picture for 0\.1 s"):
        next(source.frames())


def test_addresses_are_read_only_if_that_is_allowed():
    for source in ("http://127.0.0.1/x", "rtsp://me:secret@127.0.0.1/x"):
        with pytest.raises(ConfigError, match="--allow-network") as caught:
            live.place(source, False)
        assert "secret" not in str(caught.value)
        assert live.place(source, True) == (source, None)
    for source in ("file:///etc/passwd", "concat://a", "ftp://x/y"):
        with pytest.raises(ConfigError, match="is not read; one of rtsp, http, https"):
            live.place(source, True)


def test_a_camera_that_is_not_there_is_one_line():
    with pytest.raises(DataError, match=r"no such camera|cameras are not read|can't be opened"):
        live.Live("987")
