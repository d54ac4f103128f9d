"""Pictures of a Motion JPEG without their ends are noticed, and padding is not."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import av
import pytest
from PIL import Image

from bodyjax.data.video import open_video
from bodyjax.data.video.jpeg_check import JpegCheck
from bodyjax.errors import VideoError
from tests.data import make_videos
from tests.data.make_videos import ffmpeg, frame_number


def pictures(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def checked(packets: list[bytes]) -> list[int]:
    check = JpegCheck()
    return [number for number, packet in enumerate(packets) if check(packet)]


def test_whole_pictures_of_several_recorders_are_whole(tmp_path: Path) -> None:
    for name, *words in (
        ("plain.avi", "-q:v", "3"), ("fine.mkv", "-q:v", "1", "-huffman", "default"),
        ("small.mov", "-q:v", "20"), ("colours.avi", "-pix_fmt", "yuvj444p", "-q:v", "2"),
    ):  # fmt: skip
        found = pictures(make_videos.encode(tmp_path / name, 10, "-c:v", "mjpeg", *words))
        assert len(found) == 10
        assert checked(found) == []
        # Padding to a multiple of eight, with what was in the memory; two fields in a packet.
        assert checked([one + found[0][300:][: -len(one) % 8] for one in found]) == []
        assert checked([one + bytes(9) for one in found]) == []
        assert checked([one + other for one, other in itertools.pairwise(found)]) == []
        assert checked([one[:-2] for one in found]) == []  # a recorder that marks no end
    image = Image.fromarray(make_videos.frame(3))
    for options in ({"progressive": True}, {"quality": 100}, {"restart_marker_rows": 1}):
        file = io.BytesIO()
        image.save(file, "JPEG", **options)
        assert checked([file.getvalue()] * 3) == []


def test_missing_ends_are_found(tmp_path: Path) -> None:
    found = pictures(make_videos.encode(tmp_path / "a.avi", 6, "-c:v", "mjpeg", "-q:v", "3"))
    assert checked([*found[:3], found[3][:-200], *found[4:]]) == [3]
    assert checked([*found[:3], found[3] + found[4][:900]]) == [3]
    assert checked([*found[:3], found[3] + b"\x0000dc\x1a\x0b"]) == [3]


def test_a_picture_without_its_end_is_refused_or_left_out(tmp_path: Path) -> None:
    path = make_videos.encode(tmp_path / "a.avi", 12, "-c:v", "mjpeg", "-q:v", "3")
    data = bytearray(path.read_bytes())
    place = data.index(pictures(path)[5][-50:])
    data[place + 10 : place + 50] = bytes(40)
    bad = tmp_path / "bad.avi"
    bad.write_bytes(data)
    with pytest.raises(VideoError, match="picture 5 in the file: it is damaged: the end of its"):
        open_video(bad)
    clip = open_video(bad, on_bad="skip")
    assert (clip.frames, clip.left_out) == (11, 1)
    assert [frame_number(image) for image in clip.read(range(11))] == [*range(5), *range(6, 12)]
    ffmpeg("-i", path, "-c", "copy", tmp_path / "whole.mkv")
    assert open_video(tmp_path / "whole.mkv").frames == 12
