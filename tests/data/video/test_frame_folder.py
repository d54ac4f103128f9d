"""Folders of numbered pictures read as videos: exact by number, gaps and strangers refused."""

import pickle

import numpy as np
import pytest
from PIL import Image

from bodyjax.data.video import open_video, write_overlay
from bodyjax.errors import VideoError
from tests.data import make_videos
from tests.data.make_videos import frame_number


def folder_of(path, names, size=(192, 96)):
    path.mkdir()
    for number, name in enumerate(names):
        Image.fromarray(make_videos.frame(number, *size)).save(path / name)
    return path


@pytest.mark.parametrize(
    "names",
    [
        [f"frame_{n:04d}.png" for n in range(1, 16)],
        [f"{n}.PNG" for n in range(15)],  # 2 comes before 10
        [f"walk 2 cam1-{n}.bmp" for n in range(95, 110)],
    ],
)
def test_numbers_give_the_order(tmp_path, names):
    clip = open_video(folder_of(tmp_path / "frames", names))
    assert (clip.frames, clip.size, clip.fps, clip.duration) == (15, (192, 96), 25, 15 / 25)
    np.testing.assert_allclose(clip.times, np.arange(15) / 25)
    whole = np.stack(list(clip.iter_frames()))
    assert (whole == np.stack(list(make_videos.frames(15)))).all()
    clip = pickle.loads(pickle.dumps(clip))
    assert [frame_number(image) for image in clip.read([14, 3, 3, 0])] == [14, 3, 3, 0]
    assert [frame_number(image) for image in clip.iter_frames(4, 7)] == [4, 5, 6]
    with pytest.raises(VideoError, match="it has 15"):
        clip.read([15])
    write_overlay(tmp_path / "out.mp4", clip.iter_frames(), clip)
    assert open_video(tmp_path / "out.mp4").frames == 15


def test_other_files_are_passed_over(tmp_path):
    folder = folder_of(tmp_path / "frames", ["1.png", "2.png", ".3.png"])
    (folder / "notes.txt").write_text("x")
    (folder / "more").mkdir()
    assert open_video(folder).frames == 2


def test_what_cannot_be_counted_is_refused(tmp_path):
    for name, names, why in (
        ("gap", ["1.png", "2.png", "4.png"], "number 3 is missing"),
        ("twice", ["1.png", "01.png"], "another series"),
        ("two", ["a1.png", "b2.png"], "another series"),
        ("kinds", ["1.png", "2.bmp"], "another series"),
        ("one", ["1.png", "a.png"], "has no number"),
        ("none", ["a.png", "b.png"], "this is a folder"),
    ):
        with pytest.raises(VideoError, match=why):
            open_video(folder_of(tmp_path / name, names))
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="this is a folder"):
        open_video(tmp_path / "empty")


def test_changes_are_noticed(tmp_path):
    folder = folder_of(tmp_path / "frames", ["1.png", "2.png", "3.png"])
    clip = open_video(folder)
    Image.fromarray(make_videos.frame(3, 96, 48)).save(folder / "3.png")
    with pytest.raises(VideoError, match=r"3\.png: is 96x48, the first 192x96"):
        clip.read([0, 2])
    (folder / "2.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"2\.png"):
        list(clip.iter_frames())
    (folder / "2.png").unlink()
    with pytest.raises(VideoError, match="number 2 is missing"):
        clip.read([0])
