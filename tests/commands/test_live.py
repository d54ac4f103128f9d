"""launch.detect on a stream: lines of JSON, a page for this machine alone, what is refused."""

import http.client
import io
import json
import threading

import numpy as np
import pytest
from PIL import Image

from bodyjax import detect as detector_module
from bodyjax.commands import detect, live
from bodyjax.data.video import write_video
from bodyjax.errors import ConfigError
from tests.data.video.test_live import server  # noqa: F401 (a fixture)
from tests.picture_sets import body, colour, knowing

POSE = np.stack([np.linspace(8, 20, 17), np.linspace(5, 35, 17)], -1)


@pytest.fixture
def known(monkeypatch):
    poses = {1: [body(POSE)], 2: [body(POSE), body(POSE + np.array([22, 0]))]}
    monkeypatch.setattr(detector_module, "load", lambda name, **settings: knowing(poses))


def test_people_of_a_stream_are_lines_of_json(known, server, tmp_path, capsys):  # noqa: F811 (it again)
    write_video(tmp_path / "walk.mkv", np.full((6, 40, 50, 3), colour(2), np.uint8), 25)
    words = ["--input", f"{server}/walk.mkv", "--allow-network", "--page", "0"]
    file = tmp_path / "new" / "rows.jsonl"
    assert detect.main([*words, "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(len(rows)))
    for row in rows:
        assert [person["identity"] for person in row["people"]] == [0, 1]
        assert row["milliseconds"] > 0
    address, said = capsys.readouterr().err.splitlines()
    assert address.startswith("http://127.0.0.1:")
    assert "walk.mkv: median" in said
    assert f"{6 - len(rows)} pictures passed over" in said


def test_the_page_shows_the_newest_picture_to_this_machine_alone():
    with live._page(0) as page:
        port = page.server_address[1]

        def asked(path, host):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path, headers={"Host": host})
            return connection.getresponse()

        assert b"<img src='/stream'" in asked("/", f"localhost:{port}").read()
        assert asked("/", "elsewhere.example").status == 403
        assert asked("/etc/passwd", "127.0.0.1").status == 404
        shade = np.full((40, 50, 3), 120, np.uint8)
        shown = threading.Timer(0.2, page.show, [shade])
        shown.start()
        stream = asked("/stream", "127.0.0.1")
        assert "multipart/x-mixed-replace; boundary=frame" in stream.headers["Content-Type"]
        assert stream.readline() == b"--frame\r\n"
        stream.readline()
        length = int(stream.readline().split()[-1])
        stream.readline()
        with Image.open(io.BytesIO(stream.read(length))) as picture:
            np.testing.assert_allclose(np.asarray(picture), shade, atol=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["http://127.0.0.1/x"], "is on the network; --allow-network"),
        (["rtsp://h/x", "--allow-network", "--out", "o.mp4"], "--out is for files"),
        (["rtsp://h/x", "--allow-network", "--every", "3"], "belongs to a second look"),
        (["rtsp://h/x", "--allow-network", "--page", "70000"], "is no port"),
        (["gopher://h/x", "--allow-network"], "gopher:// is not read"),
    ],
)
def test_mistakes_are_said_before_anything_is_opened(words, message):
    with pytest.raises(ConfigError, match=message):
        detect.main(["--input", *words])


def test_a_page_is_not_for_files(tmp_path):
    with pytest.raises(ConfigError, match="--page is for cameras and streams"):
        detect.main(["--input", str(tmp_path), "--page", "0"])
