"""Writing videos: frames, timing and sound come back, errors leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from bodyjax.data.video import open_video, write_overlay, write_video
from bodyjax.errors import VideoError
from tests.data import make_videos
from tests.data.make_videos import IRREGULAR, X264_B, ffmpeg, frame_number


@pytest.mark.parametrize("size", [(192, 96), (191, 96), (192, 95), (191, 95)])
def test_written_frames_come_back(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    frames = np.stack(list(make_videos.frames(30, width, height)))
    path = tmp_path / "out.mp4"
    write_video(path, frames, 29.97)
    clip = open_video(path)
    assert clip.frames == 30
    assert clip.fps == pytest.approx(30000 / 1001, rel=1e-3)
    assert clip.size == (width + width % 2, height + height % 2)
    back = clip.read(range(30))
    assert np.abs(back[:, :height, :width].astype(int) - frames).mean() < 6  # colour at half size
    assert [frame_number(image) for image in back] == list(range(30))
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_writing_takes_an_iterator_and_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mkv", "d.avi", "e.mov"):
        write_video(tmp_path / name, make_videos.frames(20), 25)
        clip = open_video(tmp_path / name)
        assert [frame_number(image) for image in clip.read([0, 7, 19])] == [0, 7, 19]
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_writing_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    good = make_videos.frame(0)
    path = tmp_path / "out.mp4"

    def fails_late() -> object:
        yield good
        raise RuntimeError("the caller's own error")

    for frames, message in (
        ([], "no frames"),
        ([good.astype(np.float32)], "frame 0: shape .* float32 is no picture"),
        ([good[..., 0]], "is no picture"),
        ([good, good[:50]], "frame 1: shape"),
    ):
        with pytest.raises(VideoError, match=message):
            write_video(path, frames, 25)
    with pytest.raises(RuntimeError, match="own error"):
        write_video(path, fails_late(), 25)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(VideoError, match="the ending"):
        write_video(tmp_path / "out.gif", [good], 25)
    with pytest.raises(VideoError, match="fps is 0"):
        write_video(path, [good], 0)
    with pytest.raises(VideoError, match="the folder is missing"):
        write_video(tmp_path / "no" / "out.mp4", [good], 25)
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write_video(path, make_videos.frames(5), 25)
    before = path.read_bytes()
    with pytest.raises(VideoError):
        write_video(path, [make_videos.frame(0), make_videos.frame(0)[:40]], 25)
    assert path.read_bytes() == before


# ------------------------------------------------------------------------- overlays on other videos


def sound(path: Path) -> tuple[np.ndarray, str]:
    """Loudness of the sound in hundredths of a second from the first picture on, and its codec."""
    video = open_video(path)
    start = video.start
    loud, end = np.zeros(600), 0.0
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        for part in container.decode(track):
            samples = np.abs(part.to_ndarray().astype(float)).reshape(-1)
            if part.format.is_packed:
                samples = samples.reshape(-1, len(part.layout.channels))[:, 0]
            else:
                samples = samples[: part.samples]
            if part.pts is not None:
                end = float(part.pts * part.time_base) - start
            at = end + np.arange(len(samples)) / part.rate
            end += len(samples) / part.rate
            for cell in range(600):
                inside = samples[(at >= cell / 100) & (at < (cell + 1) / 100)]
                if len(inside):
                    loud[cell] = inside.max()
        return loud / loud.max(), track.codec_context.codec.canonical_name


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("sounds", ["aac", "wmav2", "none"])
def test_overlays_keep_timing_and_sound(tmp_path: Path, ending: str, sounds: str) -> None:
    """A variable rate, and a beep at 1.5 seconds after the first picture."""
    pictures = make_videos.encode(tmp_path / "p.mkv", 50, *IRREGULAR, *X264_B, "-g", "12")
    original = tmp_path / "original.mkv"
    beep = "aevalsrc=exprs=sin(2000*t)*between(t\\,1.5\\,1.7):duration=4:sample_rate=16000"
    tracks = () if sounds == "none" else ("-f", "lavfi", "-i", beep, "-c:a", sounds)
    ffmpeg("-i", pictures, *tracks, "-c:v", "copy", original)
    video = open_video(original)
    out = tmp_path / f"out.{ending}"
    write_overlay(out, video.iter_frames(), video)
    drawn = open_video(out)
    np.testing.assert_allclose(drawn.times, video.times, atol=1.1e-3)
    assert drawn.duration == pytest.approx(video.duration, abs=0.05)
    assert [frame_number(image) for image in drawn.iter_frames()] == list(range(50))
    if sounds == "none":
        with av.open(str(out)) as container:
            assert not container.streams.audio
        return
    before, _ = sound(original)
    after, codec = sound(out)
    assert codec == "aac"
    first = [int(np.argmax(loud > 0.3)) for loud in (before, after)]
    assert abs(first[0] - 150) <= 3
    assert abs(first[1] - first[0]) <= 3


def test_pictures_that_begin_after_the_sound_still_do(tmp_path: Path) -> None:
    pictures = make_videos.encode(tmp_path / "p.mp4", 50, *X264_B, "-g", "12")
    original = tmp_path / "original.mp4"
    beep = "aevalsrc=exprs=sin(2000*t)*between(t\\,1.5\\,1.7):duration=4:sample_rate=16000"
    ffmpeg("-itsoffset", "0.8", "-i", pictures, "-f", "lavfi", "-i", beep, "-c:v", "copy", original)
    video = open_video(original)
    assert video.start == pytest.approx(0.8, abs=0.03)
    for ending in ("mp4", "avi"):
        out = tmp_path / f"out.{ending}"
        write_overlay(out, video.iter_frames(), video)
        assert open_video(out).frames == 50
        loud, codec = sound(out)
        assert codec == {"mp4": "aac", "avi": "mp3"}[ending]
        assert abs(int(np.argmax(loud > 0.3)) - 70) <= 6


def test_a_steady_overlay_without_sound_is_what_write_video_writes(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", make_videos.frames(20), 25)
    video = open_video(tmp_path / "a.mp4")
    write_overlay(tmp_path / "b.mp4", make_videos.frames(20), video)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_frames_of_one_time_are_all_written(tmp_path: Path) -> None:
    path = make_videos.encode(tmp_path / "fast.mkv", 60, *X264_B, rate="2000")
    video = open_video(path)
    assert len(np.unique(video.times)) < 60
    write_overlay(tmp_path / "out.mp4", video.iter_frames(), video)
    drawn = open_video(tmp_path / "out.mp4")
    assert [frame_number(image) for image in drawn.iter_frames()] == list(range(60))
