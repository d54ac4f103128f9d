"""Damaged, cut and odd files: one number is one picture, else one line says what is wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from bodyjax.data.video import limits, open_video, reading
from bodyjax.errors import ConfigError, VideoError
from tests.data import make_videos
from tests.data.make_videos import X264, X264_B, ffmpeg, frame_number, recut

CASES = Path(__file__).parents[1] / "cases"


def codes(images: Iterable[np.ndarray]) -> list[int]:
    return [frame_number(image) for image in images]


def case_number(image: np.ndarray) -> int:
    """The number of a picture of the cases, drawn in eight squares."""
    squares = (image[14:18, 10 + bit * 18 : 14 + bit * 18].mean() for bit in range(8))
    return sum(1 << bit for bit, square in enumerate(squares) if square > 128)


# ------------------------------------------------------------------------ what a file starts with


def test_without_its_first_keyframe_one_number_is_one_picture() -> None:
    """Frames 0 to 11 can't be decoded; frame 12 of the recording is frame 0."""
    clip = open_video(CASES / "first_keyframe_lost.mkv")
    assert (clip.frames, clip.left_out) == (48, 11)
    for numbers in ([0], [11], [3], [20], [0, 20, 40], [47]):
        assert [case_number(image) for image in clip.read(numbers)] == [12 + n for n in numbers]
    assert [case_number(image) for image in clip.iter_frames()] == list(range(12, 60))
    assert case_number(next(clip.iter_frames(30))) == 42


@pytest.mark.parametrize("ending", ["mkv", "avi", "ts", "mpg", "wmv", "flv"])
@pytest.mark.parametrize("drop", [1, 5])
def test_recordings_that_start_anywhere(tmp_path: Path, ending: str, drop: int) -> None:
    """The first `drop` packets are lost, as in recordings of a camera that already runs."""
    codec = {"mpg": "mpeg2video", "wmv": "wmv2", "avi": "mpeg4"}.get(ending)
    encoder = ("-c:v", codec, "-q:v", "3", "-bf", "0") if codec else X264_B
    whole = make_videos.encode(tmp_path / f"whole.{ending}", 50, *encoder, "-g", "12")
    path = recut(whole, tmp_path / f"cut.{ending}", "-bsf:v", f"noise=drop=lt(n\\,{drop})")
    clip = open_video(path)
    found = codes(clip.iter_frames())
    assert len(found) == clip.frames
    assert found == list(range(50 - clip.frames, 50))
    assert 12 <= found[0] <= 14  # with B-frames those before the keyframe may be lost as well
    for number in (0, 3, 11, 30, clip.frames - 1):
        assert codes(clip.read([number])) == [found[number]]
    assert codes(clip.read([0, 20, 30])) == [found[0], found[20], found[30]]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("gop12.mp4", 12), ("vp9.webm", 12), ("vp8.webm", 12), ("hevc.mkv", 12), ("av1.mp4", 12),
        ("open_gop.mp4", 12), ("interlaced.mkv", 12), ("intra_refresh.mkv", 22),
    ],
)  # fmt: skip
def test_every_codec_starts_at_what_can_be_shown(
    clips: dict[str, Path], tmp_path: Path, name: str, first: int
) -> None:
    """The first packet alone is lost, with it all up to the next keyframe; what recovers bit by bit
    is whole ten frames after it."""
    path = recut(clips[name.partition(".")[0]], tmp_path / name, "-bsf:v", "noise=drop=eq(n\\,0)")
    clip = open_video(path)
    assert (clip.frames, clip.left_out) == (50 - first, first - 1)
    assert codes(clip.iter_frames()) == list(range(first, 50))
    for numbers in ([0], [11], [25], [0, 14, 27]):
        assert codes(clip.read(numbers)) == [first + n for n in numbers]


def test_what_an_open_group_shows_before_its_keyframe(tmp_path: Path) -> None:
    """A recording cut at a keyframe: pictures stored after it and shown before it build on what is
    gone."""
    whole = make_videos.encode(
        tmp_path / "whole.mkv", 50, *X264, "-bf", "3", "-g", "12", "-x264-params",
        "open-gop=1:scenecut=0",
    )  # fmt: skip
    path = recut(whole, tmp_path / "cut.mkv", "-bsf:v", "noise=drop=lt(n\\,12)")
    clip = open_video(path)
    found = codes(clip.iter_frames())
    assert found == list(range(50 - clip.frames, 50))
    for numbers in ([0], [2], [20], [0, 9, 25]):
        assert codes(clip.read(numbers)) == [found[n] for n in numbers]


# ------------------------------------------------------------------------- headers and the content


def overstate(path: Path, out: Path, name: bytes, at: int, factor: int) -> Path:
    """`path` with the 32-bit number `at` bytes after each `name` multiplied."""
    data = bytearray(path.read_bytes())
    place = data.find(name)
    assert place >= 0
    order: Literal["little", "big"] = "little" if path.suffix == ".avi" else "big"
    while place >= 0:
        value = int.from_bytes(data[place + at : place + at + 4], order)
        data[place + at : place + at + 4] = (value * factor).to_bytes(4, order)
        place = data.find(name, place + at)
    out.write_bytes(data)
    return out


def test_durations_in_headers_are_not_believed(tmp_path: Path) -> None:
    clip = open_video(CASES / "duration_overstated.mkv")
    assert (clip.frames, clip.duration) == (60, pytest.approx(2.0, abs=1e-3))
    for ending, name, at in (
        ("mp4", b"mvhd", 20), ("mp4", b"mdhd", 20), ("avi", b"avih", 24), ("avi", b"vids", 32),
    ):  # fmt: skip
        whole = make_videos.encode(tmp_path / f"whole.{ending}", 50, *X264_B, "-g", "12")
        clip = open_video(overstate(whole, tmp_path / f"long.{ending}", name, at, 3))
        assert clip.frames == 50
        assert clip.duration == pytest.approx(50 / 30, abs=0.01)
        assert codes(clip.read([0, 49])) == [0, 49]


@pytest.mark.parametrize("ending", ["mkv", "avi", "ts", "flv", "wmv", "fragmented.mp4"])
def test_a_cut_file_can_be_salvaged(tmp_path: Path, ending: str) -> None:
    encoder = ("-c:v", "wmv2", "-q:v", "3") if ending == "wmv" else X264_B
    if ending.startswith("fragmented"):
        encoder = (*encoder, "-movflags", "frag_keyframe+empty_moov")
    data = make_videos.encode(tmp_path / f"w.{ending}", 50, *encoder, "-g", "12").read_bytes()
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(data[: int(len(data) * 0.6)])
    clip = open_video(path, on_bad="skip")
    found = codes(clip.iter_frames())
    assert len(found) == clip.frames
    assert found == sorted(set(found))  # of those that refer to the last whole one some may miss
    assert found[:12] == list(range(12))
    assert 12 <= clip.frames < 45
    assert codes(clip.read([clip.frames - 1, 3, 3])) == [found[-1], 3, 3]
    with pytest.raises(ConfigError, match="give raise or skip"):
        open_video(path, on_bad="maybe")


# ----------------------------------------------------------------------------- damage in the middle


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts", "mpg", "webm"])
def test_damage_that_the_decoder_marks_is_refused_or_counted(tmp_path: Path, ending: str) -> None:
    """The bytes of one frame are noise: it and what builds on it are damaged, the groups before and
    after it are whole."""
    codec = {"mpg": "mpeg2video", "avi": "mpeg4"}.get(ending)
    encoder = ("-c:v", codec, "-q:v", "3", "-bf", "0") if codec else (*X264, "-bf", "0")
    encoder = make_videos.VP9 if ending == "webm" else encoder
    whole = make_videos.encode(tmp_path / f"whole.{ending}", 60, *encoder, "-g", "12")
    noise = "noise=amount=eq(n\\,27)*20"
    path = recut(whole, tmp_path / f"bad.{ending}", "-bsf:v", noise)
    with pytest.raises(VideoError, match=r"(frame 2[78].*damaged|can't be decoded).*on_bad"):
        list(open_video(path).iter_frames())
    if ending != "avi":  # its frames are counted by decoding: refused when it is opened
        clip = open_video(path)
        assert codes(clip.read([3, 20, 40, 59])) == [3, 20, 40, 59]
        with pytest.raises(VideoError, match="damaged"):
            clip.read([5, 30])
    if ending != "avi":
        with pytest.raises(VideoError, match="damaged"):
            open_video(path).check()
    open_video(whole).check()
    salvaged = open_video(path, on_bad="skip")
    salvaged.check()
    found = codes(salvaged.iter_frames())
    assert found == [*range(found.index(36)), *range(36, 60)]
    assert 24 <= found.index(36) <= 28
    assert salvaged.frames + salvaged.left_out == 60
    assert codes(salvaged.read([40, 2])) == [found[40], 2]


def test_vp8_tells_some_damage(clips: dict[str, Path], tmp_path: Path) -> None:
    path = recut(clips["vp8"], tmp_path / "bad.webm", "-bsf:v", "noise=amount=eq(n\\,28)*5")
    with pytest.raises(VideoError, match=r"can't be decoded.*on_bad"):
        open_video(path).check()
    salvaged = open_video(path, on_bad="skip")
    assert (salvaged.frames, salvaged.left_out) == (42, 8)
    assert codes(salvaged.iter_frames()) == [*range(28), *range(36, 50)]


def test_vp9_of_ten_bits_is_read(tmp_path: Path) -> None:
    """Not by the decoder that tells damage."""
    deep = ("-pix_fmt", "yuv420p10le", "-profile:v", "2")
    path = make_videos.encode(tmp_path / "deep.webm", 14, *make_videos.VP9, "-g", "12", *deep)
    clip = open_video(path)
    assert codes(clip.read(range(14))) == list(range(14))
    assert codes(open_video(path, on_bad="skip").iter_frames()) == list(range(14))


# ------------------------------------------------------------------------ streams, pixels, no hang


def test_the_default_stream_is_read_not_a_preview(tmp_path: Path) -> None:
    small = make_videos.encode(tmp_path / "small.mkv", 10, *X264, size=(96, 48))
    large = make_videos.encode(tmp_path / "large.mkv", 50, *X264)
    both = ("-i", large, "-map", "0", "-map", "1", "-c", "copy")
    for name, marks in (
        ("default.mkv", ("-disposition:v:0", "0", "-disposition:v:1", "default")),
        ("none.mkv", ("-disposition:v:0", "0", "-disposition:v:1", "0")),
        ("both.mp4", ("-disposition:v:0", "default", "-disposition:v:1", "default")),
    ):
        ffmpeg("-i", small, *both, *marks, tmp_path / name)
        clip = open_video(tmp_path / name)
        assert (clip.size, clip.frames) == ((192, 96), 50)
        assert codes(clip.read([44])) == [44]
    ffmpeg("-i", small, *both, "-disposition:v:0", "default", "-disposition:v:1", "0",
           tmp_path / "small_default.mkv")  # fmt: skip
    assert open_video(tmp_path / "small_default.mkv").size == (96, 48)


@pytest.mark.parametrize(
    ("ending", "aspect", "size"),
    [
        *((ending, "4/3", (256, 96)) for ending in ("mp4", "mkv", "ts")),
        *((ending, "8/9", (171, 96)) for ending in ("mp4", "mkv", "ts", "mpg")),
    ],
)
def test_pixels_are_made_square(
    tmp_path: Path, ending: str, aspect: str, size: tuple[int, int]
) -> None:
    codec = ("-c:v", "mpeg2video", "-q:v", "3") if ending == "mpg" else X264
    path = make_videos.encode(tmp_path / f"a.{ending}", 20, *codec, "-vf", f"setsar={aspect}")
    if ending == "mp4":
        path = recut(path, tmp_path / "turned.mp4", before=("-display_rotation", "90"))
        size = size[::-1]
    clip = open_video(path)
    assert clip.size == size
    image = clip.read([9])[0]
    assert image.shape == (size[1], size[0], 3)
    assert frame_number(np.rot90(image, -1) if ending == "mp4" else image) == 9
    assert (next(clip.iter_frames(9)) == image).all()


def test_aspects_that_are_rounding_or_damage_change_nothing(tmp_path: Path) -> None:
    for aspect in ("1280/1279", "100/1"):
        path = make_videos.encode(tmp_path / "a.mkv", 5, *X264, "-vf", f"setsar={aspect}")
        assert open_video(path).size == (192, 96)


@pytest.mark.parametrize("setting", ["set_level(av.logging.ERROR)", "set_level(av.logging.DEBUG)"])
def test_no_setting_of_the_library_makes_reading_hang(tmp_path: Path, setting: str) -> None:
    """With PyAV's logging on, threads of a decoder that is left half-way want Python's lock."""
    late = recut(
        make_videos.encode(tmp_path / "whole.mkv", 60, *X264_B, "-g", "250"),
        tmp_path / "late.mkv", "-avoid_negative_ts", "disabled", "-output_ts_offset", "-0.5",
    )  # fmt: skip
    program = f"""
import faulthandler, sys
faulthandler.dump_traceback_later(50, exit=True)
import av
av.logging.{setting}
from bodyjax.data.video import open_video
for path in sys.argv[1:]:
    for _ in range(15):
        clip = open_video(path)
        clip.read([3])
        next(clip.iter_frames(2))
        sum(1 for _ in clip.iter_frames())
print("read")
"""
    files = [str(CASES / "b_frames.avi"), str(late)]
    done = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr[-2000:]


def test_a_decoder_that_stands_still_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = open_video(make_videos.encode(tmp_path / "a.mp4", 20, *X264_B, "-g", "12"))
    monkeypatch.setattr(limits, "LIMIT", 0.3)
    made = reading.rgb

    def slow(*arguments: Any) -> np.ndarray:
        time.sleep(2)
        return made(*arguments)

    monkeypatch.setattr(reading, "rgb", slow)
    for read in (lambda: clip.read([3, 9]), lambda: next(clip.iter_frames(4))):
        with pytest.raises(VideoError, match=r"a\.mp4: reading stands still for 0\.3 s"):
            read()
    monkeypatch.setattr(reading, "rgb", made)
    assert codes(clip.read([3, 9])) == [3, 9]
    frames = clip.iter_frames(2)
    assert frame_number(next(frames)) == 2
    time.sleep(0.5)  # whoever takes the frames may be slow
    assert codes(frames) == list(range(3, 20))


# -------------------------------------------------------------------- frames lost without a mark


def test_frames_that_are_lost_leave_room_in_the_times(tmp_path: Path) -> None:
    """Intra frames alone: the decoder misses nothing; but the rate is steady, apart from holes."""
    whole = make_videos.encode(tmp_path / "whole.mkv", 40, "-c:v", "mjpeg", "-q:v", "3")
    holes = tmp_path / "holes.mkv"
    dropped = r"noise=drop=eq(n\,7)+eq(n\,20)+eq(n\,21)"
    ffmpeg("-i", whole, "-c", "copy", "-bsf:v", dropped, holes)
    assert (open_video(whole).frames, open_video(whole).gaps) == (40, 0)
    assert (open_video(holes).frames, open_video(holes).gaps) == (37, 3)


def test_a_varying_rate_is_no_loss(tmp_path: Path) -> None:
    varying = make_videos.encode(
        tmp_path / "varying.mp4", 30, *make_videos.IRREGULAR, *make_videos.X264
    )
    assert open_video(varying).gaps == 0
