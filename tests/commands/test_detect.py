"""Files in, JSON and overlays out, exit codes of launch.detect."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from bodyjax import detect as detector_module
from bodyjax.commands import detect
from bodyjax.data.video.files import open_video
from bodyjax.data.video.writing import write_video
from bodyjax.engine import checkpoint
from bodyjax.errors import ConfigError, DataError, UserError
from bodyjax.evaluate import coco_ap
from bodyjax.skeleton import COCO17
from tests.picture_sets import body, colour, knowing
from tests.tiny_detector import untrained

LOAD = detector_module.load
ROOT = Path(__file__).resolve().parents[2]
POSE = np.stack([np.linspace(8, 20, 17), np.linspace(5, 35, 17)], -1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two pictures, a video, a broken picture and a text; the detector sees one person in
    picture 1 and two in picture 2, who walk through the video."""
    poses = {1: [body(POSE)], 2: [body(POSE), body(POSE + np.array([22, 0]))]}
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
    assert "1 file that is no picture or video" in said
    assert "broken.jpg: not a readable picture" in said
    people = json.loads(result.read_text())
    names = [person["file_name"] for person in people]
    assert [names.count(n) for n in ("a.png", "deep/a.png", "v.mp4")] == [1, 2, 10]
    assert all(len(person["keypoints"]) == 51 for person in people)
    for person in people:
        x, y, width, height = person["bbox"]
        joints = np.reshape(person["keypoints"], (17, 3))[:, :2]
        assert (joints >= [x - 1, y - 1]).all()  # joints of videos are smoothed
        assert (joints <= [x + width + 1, y + height + 1]).all()
        assert 0 <= x < x + width <= 50
        assert 0 <= y < y + height <= 40
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


def test_batches_give_what_single_pictures_give(folder, tmp_path, capsys, monkeypatch):
    """A broken picture and a video between them; the last batch is not full."""
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"b{number}.png")
    trained = untrained()
    monkeypatch.setattr(detector_module, "load", lambda name, **more: LOAD(trained, **more))
    results = {}
    for batch in ("1", "2", "4"):
        result = tmp_path / f"{batch}.json"
        words = ["--input", str(folder), "--json", str(result), "--batch", batch]
        assert detect.main([*words, "--min-score", "0"]) == 1
        assert "6 of 7 files read" in capsys.readouterr().err
        results[batch] = json.loads(result.read_text())
    alone = results.pop("1")
    assert {"a.png", "b0.png", "b2.png"} <= {person["file_name"] for person in alone}
    for people in results.values():
        for mine, single in zip(people, alone, strict=True):
            np.testing.assert_allclose(mine["keypoints"], single["keypoints"], atol=0.05)
            assert (mine["file_name"], mine["image_id"]) == (
                single["file_name"],
                single["image_id"],
            )
    with pytest.raises(ConfigError, match="--batch: '0' is none"):
        detect.main(["--input", str(folder), "--batch", "0"])


def test_ids_of_a_coco_file_by_name(folder, tmp_path, capsys):
    labels, result = tmp_path / "labels.json", tmp_path / "r.json"
    names = {71: "val/deep/a.png", 30: "elsewhere.png"}
    images = [{"id": key, "file_name": name} for key, name in names.items()]
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints)}
    content = {"images": images, "annotations": [], "categories": [category]}
    labels.write_text(json.dumps(content))
    words = ["--input", str(folder), "--json", str(result), "--ids", str(labels)]
    assert detect.main(words) == 0
    people = json.loads(result.read_text())
    assert [(one["image_id"], one["file_name"]) for one in people] == [(71, "deep/a.png")] * 2
    assert f"3 files that {labels} does not list passed over" in capsys.readouterr().err
    content["images"].pop()
    report = coco_ap.evaluate(content, result, samples=0)
    assert (report["n"], report["left_out"]) == (1, 0)
    with pytest.raises(UserError, match="--json would replace the file of ids"):
        detect.main([*words[:2], "--ids", str(labels), "--json", str(labels)])
    content["images"][0]["file_name"] = "b.png"
    labels.write_text(json.dumps(content))
    with pytest.raises(DataError, match="lists none of the pictures"):
        detect.main(words)
    with pytest.raises(ConfigError, match="ids are of pictures"):
        detect.main(["--input", str(folder / "v.mp4"), "--ids", str(labels)])


def test_one_picture_to_a_named_file_and_the_json_to_the_screen(folder, tmp_path, capsys):
    out = tmp_path / "one.jpg"
    assert detect.main(["--input", str(folder / "a.png"), "--out", str(out)]) == 0
    (person,) = json.loads(capsys.readouterr().out)
    assert person["category_id"] == 1
    assert person["file_name"] == "a.png"
    with Image.open(out) as picture:
        assert picture.size == (50, 40)


def test_a_cut_video_is_salvaged_where_it_is_asked_for(folder, capsys):
    """As a recording that was broken off: refused, or what is whole is read, the rest counted."""
    write_video(folder / "v.mkv", np.stack([np.full((40, 50, 3), colour(2), np.uint8)] * 30), 25)
    data = (folder / "v.mkv").read_bytes()
    (folder / "v.mkv").write_bytes(data[: len(data) * 8 // 10])
    assert detect.main(["--input", str(folder / "v.mkv")]) == 2
    assert "v.mkv: " in (said := capsys.readouterr().err)
    assert "--on-bad skip" in said
    out = folder.parent / "o.mkv"
    words = ["--input", str(folder / "v.mkv"), "--on-bad", "skip", "--out", str(out)]
    assert detect.main(words) == 0
    read = capsys.readouterr()
    assert 5 < len({person["frame"] for person in json.loads(read.out)}) < 30
    assert open_video(out).frames == len({person["frame"] for person in json.loads(read.out)})


def test_only_bad_files_are_an_error(folder):
    assert detect.main(["--input", str(folder / "broken.jpg")]) == 2


def test_the_detector_says_which_people_are_shown(folder, capsys, monkeypatch):
    """Scores are 1.0 and 0.9, in the video as well."""
    two = detector_module.load("small")
    settings = dataclasses.replace(two.settings, min_person=0.95)
    strict = dataclasses.replace(two, settings=settings)
    monkeypatch.setattr(detector_module, "load", lambda name, **settings: strict)
    for name, counts in (("deep/a.png", (1, 2)), ("v.mp4", (5, 10))):
        for extra, count in zip(([], ["--min-score", "0"]), counts, strict=True):
            assert detect.main(["--input", str(folder / name), *extra]) == 0
            assert len(json.loads(capsys.readouterr().out)) == count


def test_input_and_output_are_checked_first(folder, tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        detect.main(["--input", str(tmp_path / "nothing")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures or videos"):
        detect.main(["--input", str(tmp_path / "empty")])
    picture = str(folder / "a.png")
    with pytest.raises(UserError, match="--out would replace an input"):
        detect.main(["--input", picture, "--out", picture])
    with pytest.raises(UserError, match="ending does not fit"):
        detect.main(["--input", picture, "--out", str(tmp_path / "x.mp4")])
    with pytest.raises(UserError, match="is a file"):
        detect.main(["--input", str(folder), "--out", picture])
    with pytest.raises(UserError, match="is a folder; name a file"):
        detect.main(["--input", picture, "--json", str(tmp_path)])


def test_people_below_the_least_score_are_left_out_and_counted(folder, tmp_path, capsys):
    """Scores are 1.0 and 0.9."""
    file, out = folder / "deep" / "a.png", tmp_path / "o.png"
    words = ["--input", str(file), "--out", str(out)]
    assert detect.main([*words, "--min-score", "0.95"]) == 0
    said = capsys.readouterr()
    (person,) = json.loads(said.out)
    assert person["score"] == 1.0
    assert said.err == "1 of 1 file read, 1 result, 1 person below the least score left out\n"
    with Image.open(out) as drawn:
        changed = (np.asarray(drawn) != colour(2)).any(-1)
    assert changed[:, :25].any()
    assert not changed[:, 30:].any()
    for least, count in (("0", 2), ("0.9", 2), ("1", 1)):
        assert detect.main(["--input", str(file), "--min-score", least]) == 0
        assert len(json.loads(capsys.readouterr().out)) == count


def test_a_weak_person_leaves_a_whole_video(folder, capsys):
    assert detect.main(["--input", str(folder / "v.mp4"), "--min-score", "0.95"]) == 0
    said = capsys.readouterr()
    people = json.loads(said.out)
    assert [person["frame"] for person in people] == list(range(5))
    assert len({person["identity"] for person in people}) == 1
    assert "5 results, 1 person below the least score left out" in said.err


def test_nobody_is_no_results_and_the_picture_as_it_is(folder, tmp_path, capsys):
    picture = np.full((40, 50, 3), colour(3), np.uint8)
    picture[:5, :7] = [200, 10, 60]
    Image.fromarray(picture).save(tmp_path / "none.png")
    words = ["--input", str(tmp_path / "none.png"), "--out", str(tmp_path / "o.png")]
    assert detect.main(words) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == []
    assert said.err == "1 of 1 file read, 0 results\n"
    with Image.open(tmp_path / "o.png") as drawn:
        assert (np.asarray(drawn) == picture).all()


def test_more_people_than_are_kept_are_said(folder, monkeypatch, capsys):
    one, given = detector_module.load("small"), {}

    def load(name, **settings):
        given.update(settings)

        def predict(variables, canvas):
            return one.predict(variables, canvas)._replace(overflow=np.int32(2))

        return dataclasses.replace(one, predict=predict)

    monkeypatch.setattr(detector_module, "load", load)
    words = ["--input", str(folder / "a.png"), "--max-people"]
    assert detect.main([*words, "7"]) == 0
    said = capsys.readouterr()
    assert given == {"max_people": 7}
    assert json.loads(said.out)[0]["overflow"] == 2
    assert "1 picture with more people or peaks than are kept" in said.err
    assert detect.main([*words, "30"]) == 0
    assert given == {"max_people": 30, "max_peaks": 30}


@pytest.mark.parametrize("score", ["-0.1", "1.01", "nan", "inf", "half", ""])
def test_a_least_score_that_is_none(folder, score):
    with pytest.raises(ConfigError, match=r"--min-score: .* from 0 to 1$"):
        detect.main(["--input", str(folder / "a.png"), f"--min-score={score}"])


@pytest.mark.parametrize("count", ["0", "-3", "2.5", "many", "201", "9" * 5000])
def test_a_number_of_people_that_is_none(folder, count):
    with pytest.raises(ConfigError, match="whole number from 1 to 200"):
        detect.main(["--input", str(folder / "a.png"), f"--max-people={count}"])


def test_a_wrong_score_is_one_line(folder):
    done = subprocess.run(
        [sys.executable, "-m", "launch.detect", "--input", folder / "a.png", "--min-score", "2"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "error: --min-score: 2 is no score; give a number from 0 to 1\n"


@pytest.mark.slow
def test_the_second_call_traces_and_compiles_nothing(tmp_path):
    """An untrained detector; the environment is a user's, without a folder of jax's own."""
    weights = checkpoint.export(untrained(), tmp_path / "weights", "")
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(tmp_path / "a.png")
    own = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    words = ["--checkpoint", str(weights), "--input", str(tmp_path / "a.png"), "--min-score", "0"]

    def start() -> tuple[str, dict[Path, int]]:
        """What it says, and when each program, traced and compiled, was written."""
        done = subprocess.run(
            [sys.executable, "-m", "launch.detect", *words],
            cwd=ROOT, capture_output=True, text=True, timeout=300, check=True,
            env={**own, "JAX_PLATFORMS": "cpu", "BODYJAX_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
        assert done.stderr.count("\n") == 1
        names = ("predict-*.program", "jit_predict-*-cache")
        files = [file for name in names for file in (tmp_path / "cache").rglob(name)]
        return done.stdout, {file: file.stat().st_mtime_ns for file in files}

    said, kept = start()
    assert len(kept) == 2
    assert start() == (said, kept)
    traced, compiled = kept
    traced.write_bytes(b"damaged")
    damaged = traced.stat().st_mtime_ns
    said_again, rewritten = start()
    assert said_again == said
    assert rewritten[traced] > damaged
    assert rewritten.keys() == kept.keys()
    assert rewritten[compiled] == kept[compiled]


def test_the_json_never_replaces_a_picture_or_an_overlay(folder, tmp_path):
    picture, out = folder / "a.png", tmp_path / "o.png"
    before = picture.read_bytes()
    for words in (["--input", str(picture)], ["--input", str(folder)]):
        with pytest.raises(UserError, match="--json would replace an input"):
            detect.main([*words, "--json", str(picture)])
    assert picture.read_bytes() == before
    with pytest.raises(UserError, match="--out would replace what --json writes"):
        detect.main(["--input", str(picture), "--out", str(out), "--json", str(out)])
    assert not out.exists()


@pytest.mark.parametrize("flag", ["input", "out", "json", "checkpoint", "second"])
def test_an_empty_name_is_not_the_folder_where_one_stands(folder, flag):
    with pytest.raises(ConfigError, match=f"--{flag}: is empty"):
        detect.main(["--input", str(folder / "a.png"), f"--{flag}="])


def test_an_overlay_that_can_t_be_written_is_said_before_the_work(folder, tmp_path, capsys):
    out = tmp_path / "over"
    (out / "a.png.png").mkdir(parents=True)  # in the way
    (folder / "broken.jpg").unlink()
    words = ["--input", str(folder), "--out", str(out)]
    with pytest.raises(UserError, match=r"a.png.png: is a folder; name a file"):
        detect.main(words)
    (out / "a.png.png").rmdir()
    (out / "deep").write_text("in the way")
    with pytest.raises(UserError, match="deep: the folder can't be made"):
        detect.main(words)
    (out / "deep").unlink()
    assert detect.main(words) == 0
    assert sorted(file.name for file in out.rglob("*.*")) == ["a.png.png", "a.png.png", "v.mp4.mp4"]


def test_names_with_spaces_and_umlauts_and_upper_case_endings(folder, tmp_path, capsys):
    odd = tmp_path / "Bilder für mich"
    odd.mkdir()
    name = "Übung (1) – 50%.PNG"
    (folder / "a.png").rename(odd / name)
    out = tmp_path / "aus gabe"
    assert detect.main(["--input", str(odd), "--out", str(out)]) == 0
    (person,) = json.loads(capsys.readouterr().out)
    assert person["file_name"] == name
    assert [file.name for file in out.iterdir()] == [f"{name}.png"]


@pytest.mark.parametrize("ending", ["webp", "tif", "png"])
def test_of_several_frames_the_first_is_read_and_this_is_said(folder, tmp_path, capsys, ending):
    first = Image.fromarray(np.full((40, 50, 3), colour(1), np.uint8))
    other = Image.fromarray(np.full((40, 50, 3), colour(2), np.uint8))
    file = tmp_path / f"moves.{ending}"
    lossless = {"lossless": True} if ending == "webp" else {}
    first.save(file, save_all=True, append_images=[other], **lossless)
    assert detect.main(["--input", str(file)]) == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 1
    assert "1 picture of several frames or pages, only the first read" in said.err


def test_a_gif_that_moves_is_a_video_and_a_still_one_a_picture(folder, tmp_path, capsys):
    frame = Image.fromarray(np.full((40, 50, 3), colour(1), np.uint8))
    other = Image.fromarray(np.full((40, 50, 3), colour(2), np.uint8))
    for file in (folder / "still.GIF", tmp_path / "still.gif"):
        frame.save(file, "GIF")
    for file in (folder / "moves.gif", tmp_path / "moves.gif"):
        frame.save(file, save_all=True, append_images=[other, frame], duration=100)
    (folder / "broken.jpg").unlink()
    out = tmp_path / "over"
    assert detect.main(["--input", str(folder), "--out", str(out)]) == 0
    people = json.loads(capsys.readouterr().out)
    frames = [one["frame"] for one in people if one["file_name"] == "moves.gif"]
    assert sorted(frames) == [0, 1, 1, 2]
    assert open_video(out / "moves.gif.mp4").frames == 3
    assert (out / "still.GIF.png").is_file()
    alone = ["--out", str(tmp_path / "o.mp4")]
    assert detect.main(["--input", str(tmp_path / "moves.gif"), *alone]) == 0
    assert detect.main(["--input", str(tmp_path / "still.gif")]) == 0
    assert "several frames" not in capsys.readouterr().err


def test_the_gallery_links_every_overlay(folder, tmp_path, capsys):
    (folder / "deep" / "a.png").rename(folder / "deep" / "<b> & c.png")
    page, out = tmp_path / "page" / "g.html", tmp_path / "over"
    words = ["--input", str(folder), "--gallery", str(page)]
    with pytest.raises(ConfigError, match=r"--gallery shows overlays; .* --out FOLDER"):
        detect.main(words)
    with pytest.raises(UserError, match="--gallery lies in the input"):
        detect.main([*words[:-1], str(folder / "g.html"), "--out", str(out)])
    assert detect.main([*words, "--out", str(out)]) == 1
    text = page.read_text()
    links = [unquote(link) for link in re.findall(r'href="([^"]+)"', text)]
    assert len(links) == 3  # the broken one has none
    assert all((page.parent / link).is_file() for link in links)
    assert '<video src="../over/v.mp4.mp4"' in text
    assert "deep/&lt;b&gt; &amp; c.png: 2 people<" in text
    assert "a.png: 1 person<" in text
    assert "v.mp4: 2 people<" in text


def test_frames_between_two_looks_are_interpolated(folder, capsys):
    assert detect.main(["--input", str(folder / "v.mp4"), "--every", "4"]) == 0
    people = json.loads(capsys.readouterr().out)
    assert [one["frame"] for one in people if one["bridged"]] == [1, 1, 2, 2, 3, 3]
    with pytest.raises(ConfigError, match="--every: '0' is none; give a whole number"):
        detect.main(["--input", str(folder / "v.mp4"), "--every", "0"])
