"""Files in, JSON and overlays out, exit codes of launch.detect."""

import json

import numpy as np
import pytest
from PIL import Image

from bodyjax import detect as detector_module
from bodyjax.data.encode import write_video
from bodyjax.data.video import open_video
from bodyjax.errors import DataError, UserError
from launch import detect
from tests.picture_sets import body, colour, knowing


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two pictures, a video, a broken picture and a text; the detector sees one person in
    picture 1 and two in picture 2, who walk through the video."""
    pose = np.stack([np.linspace(8, 20, 17), np.linspace(5, 35, 17)], -1)
    poses = {1: [body(pose)], 2: [body(pose), body(pose + np.array([22, 0]))]}
    monkeypatch.setattr(detector_module, "load", lambda name, **settings: knowing(poses))
    root = tmp_path / "in"
    (root / "deep").mkdir(parents=True)
    frame = {n: np.full((40, 50, 3), colour(n), np.uint8) for n in (1, 2)}
    Image.fromarray(frame[1]).save(root / "a.png")
    Image.fromarray(frame[2]).save(root / "deep" / "a.png")
    write_video(root / "v.mp4", np.stack([frame[2]] * 5), 25)
    (root / "broken.jpg").write_bytes(b"no picture")
    (root / "notes.txt").write_text("text")
    return root


def test_a_folder_gives_every_good_file_and_names_the_bad_one(folder, tmp_path, capsys):
    out, result = tmp_path / "over", tmp_path / "r.json"
    words = ["--input", str(folder), "--out", str(out), "--json", str(result)]
    assert detect.main(words) == 1
    said = capsys.readouterr().err
    assert "3 of 4 files read" in said
    assert "1 files that are no pictures" in said
    assert "broken.jpg: not a readable picture" in said
    people = json.loads(result.read_text())
    names = [person["file_name"] for person in people]
    assert [names.count(n) for n in ("a.png", "deep/a.png", "v.mp4")] == [1, 2, 10]
    assert all(len(person["keypoints"]) == 51 for person in people)
    still = [person for person in people if person["file_name"] != "v.mp4"]
    assert len({person["image_id"] for person in still}) == 2
    moving = [person for person in people if person["file_name"] == "v.mp4"]
    assert {person["identity"] for person in moving} == {0, 1}
    assert sorted({person["frame"] for person in moving}) == list(range(5))
    with Image.open(out / "a.png.png") as picture:
        drawn = np.asarray(picture)
    assert drawn.shape == (40, 50, 3)
    assert (drawn != colour(1)).any()
    video = open_video(out / "v.mp4.mp4")
    assert (video.frames, video.size) == (5, (50, 40))


def test_one_picture_to_a_named_file_and_the_json_to_the_screen(folder, tmp_path, capsys):
    out = tmp_path / "one.jpg"
    assert detect.main(["--input", str(folder / "a.png"), "--out", str(out)]) == 0
    (person,) = json.loads(capsys.readouterr().out)
    assert person["category_id"] == 1
    assert person["file_name"] == "a.png"
    with Image.open(out) as picture:
        assert picture.size == (50, 40)


def test_only_bad_files_are_an_error(folder):
    assert detect.main(["--input", str(folder / "broken.jpg")]) == 2


def test_input_and_output_are_checked_first(folder, tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        detect.main(["--input", str(tmp_path / "nothing")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures or videos"):
        detect.main(["--input", str(tmp_path / "empty")])
    picture = str(folder / "a.png")
    with pytest.raises(UserError, match="would replace its input"):
        detect.main(["--input", picture, "--out", picture])
    with pytest.raises(UserError, match="ending does not fit"):
        detect.main(["--input", picture, "--out", str(tmp_path / "x.mp4")])
    with pytest.raises(UserError, match="is a file"):
        detect.main(["--input", str(folder), "--out", picture])
    with pytest.raises(UserError, match="folder is missing"):
        detect.main(["--input", picture, "--json", str(tmp_path / "no" / "r.json")])
    with pytest.raises(UserError, match="is a folder; name a file"):
        detect.main(["--input", picture, "--json", str(tmp_path)])
