"""Files that say, or are, more than memory holds: a line at once, or bounded memory."""

import io
import os
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bodyjax.data.pictures import images
from bodyjax.data.video import limits, video
from bodyjax.data.video.files import open_video
from bodyjax.errors import DataError, VideoError
from tests.data import make_videos

ROOT = Path(__file__).resolve().parents[2]


def test_a_picture_of_20000_by_20000_is_refused(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "large.png")
    assert (tmp_path / "large.png").stat().st_size < 100_000
    with pytest.raises(DataError, match=r"large\.png: not a readable picture \(Image size"):
        images.read_image(tmp_path / "large.png")


def test_a_picture_whose_decoder_stalls_is_an_error(monkeypatch, tmp_path):
    """The decoder is C code; what stands for it here sleeps."""
    Image.new("L", (8, 8)).save(tmp_path / "slow.png")
    monkeypatch.setattr(limits, "LIMIT", 0.1)
    monkeypatch.setattr(images, "opened", lambda source: time.sleep(1))
    with pytest.raises(DataError, match=r"slow\.png: reading stands still for 0\.1 s"):
        images.read_image(tmp_path / "slow.png")


def with_count(data: bytes, count: int) -> bytes:
    """An mp4 whose tables of samples say that it has so many frames, each of 1,000 bytes."""
    at = data.index(b"stsz") + 8
    data = data[:at] + struct.pack(">II", 1000, count) + data[at + 8 :]
    at = data.index(b"stts") + 8
    data = data[:at] + struct.pack(">III", 1, count, 512) + data[at + 12 :]
    at = data.index(b"stsc") + 8
    return data[:at] + struct.pack(">IIII", 1, 1, count, 1) + data[at + 16 :]


def child(program: str, *arguments: str, most: int) -> subprocess.CompletedProcess[str]:
    """A program in a process that may take so many bytes of memory; it prints at its end."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, preexec_fn=limited, text=True,
        capture_output=True, timeout=300, check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_a_million_frames_in_a_header_take_bounded_memory(tmp_path):
    path = make_videos.encode(tmp_path / "many.mp4", 8, *make_videos.X264, "-bf", "0")
    path.write_bytes(with_count(path.read_bytes(), 1_000_000))
    program = (
        "import sys; from bodyjax.data.video.files import open_video\n"
        "try:\n    open_video(sys.argv[1])\nexcept Exception as error:\n"
        "    print(type(error).__name__, error)"
    )
    done = child(program, str(path), most=2_000_000_000)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"VideoError {path}: "), done.stdout
    assert done.stdout.count("\n") == 1


@pytest.mark.slow
def test_an_8k_video_is_read_in_pieces_and_not_at_once(tmp_path, monkeypatch):
    # Drawing frames of that size takes minutes: a small film, scaled without blurring its code.
    fast = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-g", "2")
    scaled = ("-vf", "scale=7680:4320:flags=neighbor")
    path = make_videos.encode(tmp_path / "8k.mp4", 4, *scaled, *fast)
    film = open_video(path)
    monkeypatch.setattr(video, "MOST_BYTES", 2**28)
    with pytest.raises(VideoError, match=r"4 frames of 7680x4320 take 0\.4 GB at once; read fewer"):
        film.read(range(4))
    wanted, seen = [0, 1, 3], []
    for piece in film.pieces(wanted):
        assert piece.nbytes <= video.PIECE_BYTES
        seen += [make_videos.frame_number(frame) for frame in piece]
    assert seen == wanted


def test_pieces_are_what_one_read_gives(tmp_path, monkeypatch):
    path = make_videos.encode(tmp_path / "small.mp4", 12, *make_videos.X264_B, "-g", "6")
    film = open_video(path)
    monkeypatch.setattr(video, "PIECE_BYTES", 2 * film.frame_bytes)
    wanted = [0, 3, 3, 11, 5]
    pieces = list(film.pieces(wanted))
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(pieces), film.read(wanted))
    assert list(film.pieces([])) == []


COCO = """
import resource, sys
from bodyjax.data.pictures.coco_files import read_coco
try:
    found = read_coco(sys.argv[1])
    said = f"{len(found.images)} pictures"
except Exception as error:
    said = f"{type(error).__name__} {error}"
print(said)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def annotations(count: int) -> str:
    """A COCO file with so many pictures, 200 bytes each."""
    head = '{"categories": [{"id": 1, "name": "person", "keypoints": ["a"]}], "annotations": ['
    pad = "x" * 130
    images = ",".join(
        f'{{"id": {i}, "file_name": "{i:012d}{pad}.jpg", "width": 640, "height": 480}}'
        for i in range(count)
    )
    return f'{head}], "images": [{images}]}}'


@pytest.mark.slow
@pytest.mark.parametrize(("what", "said"), [("pictures", "1000000 pictures"), ("nested", "JSON")])
def test_a_json_of_200_mb_is_read_or_refused_in_bounded_memory(tmp_path, what, said):
    path = tmp_path / "annotations.json"
    if what == "pictures":
        path.write_text(annotations(1_000_000))
    else:
        path.write_bytes(b"[" * 200_000_000)
    assert path.stat().st_size >= 200_000_000
    done = child(COCO, str(path), most=4_000_000_000)
    assert done.returncode == 0, done.stderr
    line, peak = done.stdout.splitlines()
    assert said in line
    print(f"{what}: {path.stat().st_size / 1e6:.0f} MB of JSON, at most {int(peak) / 1e6:.0f} MB")


def test_a_picture_in_memory_has_the_limit_too(monkeypatch):
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "png")
    monkeypatch.setattr(limits, "LIMIT", 0.1)
    monkeypatch.setattr(images, "opened", lambda source: time.sleep(1))
    with pytest.raises(DataError, match="of a zip: reading stands still"):
        images.read_image(file.getvalue(), "of a zip")
