"""Reading and writing video files: exact frames from every kind of file, and refusals.

The reference for pixels is ffmpeg's own command line, the reference for frame numbers a bar code.
"""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodyjax.data.video.files import open_video
from bodyjax.errors import VideoError
from tests.data.make_videos import X264_B, ffmpeg, frame_number, recut
from tests.shared import shared

NAMES = (
    *("gop12", "one_gop", "no_b_frames", "open_gop", "intra_refresh", "interlaced", "matroska"),
    *("fragmented", "vp9", "vp8", "mpeg4", "mpeg4_b_frames", "h264_in", "hevc", "av1", "mjpeg"),
    *("irregular", "irregular_mkv", "edit_list", "transport", "open_gop_transport", "camera"),
    *("interlaced_transport", "hevc_transport", "mpeg2", "mpeg1", "windows", "flash", "flash_h264"),
    "animated",
)


def by_ffmpeg(path: Path, width: int, height: int) -> np.ndarray:
    """All frames as ffmpeg's command line decodes, turns and converts them."""
    raw = ffmpeg(
        *("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    )
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_is_exact(clips: dict[str, Path], name: str) -> None:
    clip = open_video(clips[name])
    reference = by_ffmpeg(clips[name], *clip.size)
    whole = np.stack(list(clip.iter_frames()))
    assert clip.frames == len(reference) == len(whole)
    codes = [frame_number(image) for image in whole]
    assert codes == list(range(codes[0], codes[0] + clip.frames))
    # ffmpeg scales the colour of interlaced fields apart; all else is equal to the last bit.
    tolerance = 4 if name.startswith("interlaced") else 0
    assert np.abs(whole.astype(int) - reference).mean() <= tolerance

    rng = np.random.default_rng(0)
    for k in (1, 2, 3, 8, 8, 8, clip.frames):
        numbers = np.sort(rng.choice(clip.frames, k, replace=False))
        for threads in (1, 3):
            assert (clip.read(numbers, threads) == whole[numbers]).all()
    start = clip.frames * 2 // 3
    assert (np.stack(list(clip.iter_frames(start, start + 5))) == whole[start : start + 5]).all()


def test_many_threads_give_the_same_frames(tmp_path: Path) -> None:
    """Large enough for several decoders (short groups) and for frame threads (one group)."""
    for group, numbers in (("12", [3, 17, 29, 31, 44, 58]), ("250", [3, 58])):
        path = tmp_path / f"{group}.mp4"
        ffmpeg(
            *("-f", "lavfi", "-i", "testsrc2=size=640x480", "-frames:v", "60", *X264_B),
            *("-g", group, path),
        )
        clip = open_video(path)
        whole = np.stack(list(clip.iter_frames()))
        for threads in (1, 2, 4, None):
            assert (clip.read(numbers, threads) == whole[numbers]).all()
        assert (clip.read(range(60)) == whole).all()


def test_any_order_repeats_and_none(clips: dict[str, Path]) -> None:
    clip = open_video(clips["gop12"])
    assert [frame_number(i) for i in clip.read([40, 3, 3, 17, 40])] == [40, 3, 3, 17, 40]
    assert [frame_number(i) for i in clip.read(np.array([7], np.uint8))] == [7]
    assert clip.read([]).shape == (0, 96, 192, 3)
    assert list(clip.iter_frames(5, 5)) == []


def test_times_rate_and_duration(clips: dict[str, Path]) -> None:
    steady = open_video(clips["gop12"])
    assert steady.size == (192, 96)
    assert steady.fps == pytest.approx(30)
    assert steady.duration == pytest.approx(50 / 30, abs=1e-3)
    np.testing.assert_allclose(steady.times, np.arange(50) / 30, atol=1e-3)
    number = np.arange(50)
    irregular = (number + 15 * (number // 7)) / 30
    for name in ("irregular", "irregular_mkv"):
        clip = open_video(clips[name])
        np.testing.assert_allclose(clip.times, irregular, atol=1.1e-3)
        assert clip.fps == pytest.approx(49 / irregular[-1], rel=1e-3)
    cut = open_video(clips["edit_list"])
    assert cut.times[0] == 0
    assert cut.frames < 50
    assert cut.duration == pytest.approx(cut.frames / 30, abs=1e-3)


@pytest.mark.parametrize(
    ("turn", "size"),
    [
        (("-display_rotation", "90"), (96, 192)),
        (("-display_rotation", "180"), (192, 96)),
        (("-display_rotation", "-90"), (96, 192)),
        (("-display_hflip",), (192, 96)),
        (("-display_rotation", "90", "-display_hflip"), (96, 192)),
    ],
)
def test_turned_as_the_file_asks(
    clips: dict[str, Path], tmp_path: Path, turn: tuple[str, ...], size: tuple[int, int]
) -> None:
    path = recut(clips["gop12"], tmp_path / "turned.mp4", before=turn)
    clip = open_video(path)
    assert clip.size == size
    reference = by_ffmpeg(path, *size)
    assert (clip.read([0, 30]) == reference[[0, 30]]).all()
    assert (next(clip.iter_frames(20)) == reference[20]).all()


def test_sound_that_outlasts_the_pictures_is_no_fault(
    clips: dict[str, Path], tmp_path: Path
) -> None:
    for ending in ("mp4", "mkv"):
        path = tmp_path / f"sound.{ending}"
        ffmpeg(
            *("-i", clips["gop12"], "-f", "lavfi", "-i", "sine=duration=4", "-c:v", "copy", path)
        )
        clip = open_video(path)
        assert clip.frames == 50
        assert frame_number(clip.read([33])[0]) == 33


def test_a_seek_that_lands_elsewhere_is_noticed(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an index whose keyframes are wrong, frames are counted and still exact."""
    clip = open_video(clips["gop12"])
    whole = np.stack(list(clip.iter_frames()))
    index = clip._index
    for wrong in (index.key_pts - 1, np.roll(index.key_pts, 1), index.key_pts + 1024):
        broken = replace(clip, _index=replace(index, key_pts=wrong))
        assert (broken.read([3, 30, 45]) == whole[[3, 30, 45]]).all()
        assert (next(broken.iter_frames(30)) == whole[30]).all()


def test_the_index_is_remembered_until_the_file_changes(
    clips: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips["gop12"].read_bytes())
    clip = open_video(path)
    assert open_video(path)._index is clip._index
    path.write_bytes(clips["no_b_frames"].read_bytes())
    os.utime(path, ns=(1, 1))
    with pytest.raises(VideoError, match="has changed"):
        clip.read([3])
    assert open_video(path)._index is not clip._index


def test_a_video_travels_to_another_process(clips: dict[str, Path]) -> None:
    clip = pickle.loads(pickle.dumps(open_video(clips["gop12"])))
    assert frame_number(clip.read([21])[0]) == 21


def test_reading_needs_no_jax() -> None:
    code = "import bodyjax.data.video, bodyjax.data.sampling, sys; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_real_clips_are_exact() -> None:
    paths = sorted(shared("data/jhmdb/clips").glob("*/*.mp4"))[::150]
    assert paths
    for path in paths:
        clip = open_video(path)
        reference = by_ffmpeg(path, *clip.size)
        numbers = np.linspace(0, clip.frames - 1, 8).astype(int)
        assert clip.frames == len(reference)
        assert (clip.read(numbers) == reference[numbers]).all()


# ------------------------------------------------------------------------------------- refusals


def refusal(path: str | Path) -> str:
    with pytest.raises(VideoError) as caught:
        open_video(path)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_files_that_are_no_video(clips: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all\n" * 100)
    os.mkfifo(tmp_path / "pipe.mp4")
    sound, picture = tmp_path / "sound.mp4", tmp_path / "picture.png"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", sound)
    ffmpeg("-f", "lavfi", "-i", "color=size=64x48", "-frames:v", "1", picture)
    covered = tmp_path / "cover.m4a"
    ffmpeg("-i", sound, "-i", picture, "-c", "copy", "-disposition:v", "attached_pic", covered)
    assert "No such file" in refusal(tmp_path / "missing.mp4")
    assert "the file is empty" in refusal(tmp_path / "empty.mp4")
    assert "can't be decoded" in refusal(tmp_path / "text.mp4")
    assert "not a regular file" in refusal(tmp_path / "pipe.mp4")
    (tmp_path / "folder").mkdir()
    assert "this is a folder" in refusal(tmp_path / "folder")
    assert "no picture track" in refusal(sound)
    assert "no picture track" in refusal(covered)
    assert "can't be decoded" in refusal(picture)
    assert "null byte" in refusal("a\0b.mp4")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    "name", ["gop12", "faststart", "fragmented", "matroska", "vp9", "mpeg4", "irregular_mkv"]
)
def test_files_cut_off(clips: dict[str, Path], tmp_path: Path, name: str, share: float) -> None:
    if name == "faststart":
        path = recut(clips["gop12"], tmp_path / "whole.mp4", "-movflags", "+faststart")
    else:
        path = clips[name]
    data = path.read_bytes()
    cut = tmp_path / f"cut{path.suffix}"
    cut.write_bytes(data[: int(len(data) * share)])
    assert re.search("cut off|damaged", refusal(cut))


@pytest.mark.parametrize("name", ["gop12", "fragmented", "matroska", "vp9", "mpeg4", "h264_in"])
def test_damaged_files_give_frames_or_one_line(
    clips: dict[str, Path], tmp_path: Path, name: str
) -> None:
    """Bytes changed, blanked or left out at random: no other error than VideoError, no hang; and
    most files can be salvaged."""
    rng = np.random.default_rng(7)
    data = clips[name].read_bytes()
    refused, salvaged = [], 0
    for attempt in range(9):
        damaged = bytearray(data)
        place, length = rng.integers(len(data)), rng.integers(1, 1000)
        if attempt % 3 == 0:
            for at in rng.integers(len(data), size=10):
                damaged[at] = rng.integers(256)
        elif attempt % 3 == 1:
            damaged[place : place + length] = bytes(len(damaged[place : place + length]))
        else:
            del damaged[place : place + length]
        path = tmp_path / f"{attempt}{clips[name].suffix}"
        path.write_bytes(damaged)
        try:
            clip = open_video(path)
            assert clip.read([0, clip.frames - 1]).shape[0] == 2
            assert sum(1 for _ in clip.iter_frames()) == clip.frames
        except VideoError as error:
            refused.append(str(error))
        try:
            clip = open_video(path, on_bad="skip")
            assert sum(1 for _ in clip.iter_frames()) == clip.frames
            salvaged += 1
        except VideoError as error:
            refused.append(str(error))
    assert not any("\n" in line for line in refused)
    assert salvaged >= 5


def test_untrusted_names_and_lists_open_nothing(clips: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "inner.mp4"
    target.write_bytes(clips["gop12"].read_bytes())
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile inner.mp4\n")
    (tmp_path / "list.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ninner.mp4\n#EXT-X-ENDLIST\n"
    )
    assert "can't be decoded" in refusal(tmp_path / "concat.mp4")
    assert "can't be decoded" in refusal(tmp_path / "list.mp4")
    assert "No such file" in refusal(f"concat:{target}|{target}")
    assert "No such file" in refusal("http://127.0.0.1:9/clip.mp4")


def test_odd_names_open(
    clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.mp4", "#1 100%.mp4", "-y.mp4", "clip é.mp4", os.fsdecode(b"\xff.mp4")):
        Path(name).write_bytes(clips["gop12"].read_bytes())
        assert frame_number(open_video(name).read([9])[0]) == 9


def test_frame_numbers_outside_the_video(clips: dict[str, Path]) -> None:
    clip = open_video(clips["gop12"])
    for numbers in ([50], [-1], [3, 70]):
        with pytest.raises(VideoError, match="it has 50"):
            clip.read(numbers)
    with pytest.raises(VideoError, match="it has 50"):
        next(clip.iter_frames(0, 51))
    with pytest.raises(TypeError, match="give integers"):
        clip.read([1.5])
