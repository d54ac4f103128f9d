"""Files in; overlays, prompts, bones and tables out; exit codes of launch.lift."""

import csv
import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from bodyjax import lift as lifting
from bodyjax import systems
from bodyjax.commands import lift
from bodyjax.data.video.files import open_video
from bodyjax.data.video.writing import write_video
from bodyjax.errors import ConfigError, DataError, UserError
from configs import lifter
from tests.lift.simulated_motion import SIZE, simulated
from tests.picture_sets import body, colour, knowing

FRAMES = 24


@pytest.fixture(scope="module")
def system():
    """A small untrained lifter of joints: its answers are finite and mean nothing."""
    config = ConfigDict(lifter.get_config("maps"))
    config.model.update({"width": 16, "blocks": 1})
    built = systems.build(config)
    return built, built.init(jax.random.key(0))


@pytest.fixture
def folder(tmp_path, monkeypatch, system):
    """squat.mp4 with one person, two.mp4 with two, empty.mp4 with none, and pictures."""
    motion, _ = simulated("squat", seed=2, frames=FRAMES, fps=12.0)
    small = motion.xy * (40 / SIZE[1]) * 0.9
    poses = {n + 1: [body(pose)] for n, pose in enumerate(small)}
    poses |= {1: [body(small[0]), body(small[0] + np.array([18, 0]))]}
    monkeypatch.setattr(lifting, "load", lambda **more: lifting.make(*system, knowing(poses)))
    frames = [np.full((40, 50, 3), colour(n), np.uint8) for n in range(FRAMES + 2)]
    write_video(tmp_path / "squat.mp4", np.stack(frames[2 : FRAMES + 1]), 12)
    write_video(tmp_path / "two.mp4", np.stack([frames[1]] * 8), 12)
    write_video(tmp_path / "empty.mp4", np.stack([frames[0]] * 8), 12)
    (tmp_path / "in").mkdir()
    Image.fromarray(frames[1]).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "mine.json").write_text(json.dumps({"rules": [
        {"parameter": "trunk_lean", "comparison": ">=", "value": 0, "hold": 0.5, "text": "Hello"}
    ]}))  # fmt: skip
    return tmp_path


def run(folder, *words):
    return lift.main([word.replace("@", f"{folder}/") for word in words])


def test_a_video_becomes_everything(folder, capsys):
    outputs = ("--out", "@o.mp4", "--json", "@r.json", "--bvh", "@b.bvh", "--trc", "@t.trc",
               "--npz", "@n.npz", "--angles", "@a.csv")  # fmt: skip
    assert run(folder, "--video", "@squat.mp4", "--rules", "@mine.json", *outputs) == 0
    result = json.loads((folder / "r.json").read_text())
    assert (result["length"], len(result["people"])) == (FRAMES - 1, 1)
    (event,) = result["events"]
    assert (event["text"], event["person"], event["start"]) == ("Hello", 1, 0)
    assert result["scale"] == "mean adult"
    assert result["camera_from"] == "assumed: 50 degrees"
    assert np.shape(result["people"][0]["xyz"]) == (FRAMES - 1, 17, 3)
    overlay = open_video(folder / "o.mp4")
    assert (overlay.frames, overlay.size) == (FRAMES - 1, (50 + 38, 40))
    assert np.load(folder / "n.npz")["xyz"].shape == (FRAMES - 1, 17, 3)
    assert len(list(csv.DictReader((folder / "a.csv").open()))) == FRAMES - 1
    assert Image.open(folder / "a.png").size[0] > 100
    assert (folder / "b.bvh").read_text().startswith("HIERARCHY")
    assert (folder / "t.trc").read_text().startswith("PathFileType")
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{FRAMES - 1} frames, 1 person, 1 prompt" in said.err


def test_each_of_several_people_gets_a_file(folder, capsys):
    assert run(folder, "--input", "@two.mp4", "--bvh", "@b.bvh", "--height", "1500") == 0
    assert sorted(file.name for file in folder.glob("*.bvh")) == ["b_1.bvh", "b_2.bvh"]
    said = capsys.readouterr()
    assert "person 2: " in said.err
    result = json.loads(said.out)
    assert (result["height"], result["scale"]) == (1500, "given height")
    assert result["events"] == []


def test_a_file_of_one_of_several_people_replaces_no_other_output(folder):
    with pytest.raises(UserError, match="--bvh would replace what --json writes") as caught:
        run(folder, "--input", "@two.mp4", "--bvh", "@b.bvh", "--json", "@b_2.bvh")
    assert str(caught.value.file).endswith("b_2.bvh")
    assert not list(folder.glob("b_*"))


def test_a_video_without_people_is_said(folder, capsys):
    outputs = ("--out", "@o.mp4", "--npz", "@n.npz", "--angles", "@a.csv", "--bvh", "@b.bvh")
    assert run(folder, "--video", "@empty.mp4", "--rules", "squat", *outputs) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (result["people"], result["events"]) == ([], [])
    assert result["note"] == "nothing to lift: no person was found"
    assert "nothing to lift" in said.err
    assert open_video(folder / "o.mp4").frames == 8
    assert not (folder / "b.bvh").exists()


def test_pictures_of_a_folder(folder, capsys):
    code = run(folder, "--input", "@in", "--json", "@r.json", "--out", "@drawn")
    assert code == lift.EXIT_SOME_BAD
    first, second = json.loads((folder / "r.json").read_text())
    assert first["file_name"] == second["file_name"] == "a.png"
    assert np.shape(first["xyz"]) == (17, 3)
    assert Image.open(folder / "drawn" / "a.png.png").size == (50 + 38, 40)
    said = capsys.readouterr().err
    assert "1 of 2 pictures read, 2 people" in said
    assert "error: " in said


def test_mistakes_are_found_before_the_model_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(lifting, "load", lambda **more: pytest.fail("was loaded"))
    (folder / "bad.json").write_text('{"rules": [\n{"parameter": "knee_gp", "comparison": "<",'
                                     ' "value": 1, "text": "x"}]}')  # fmt: skip
    wrong = {
        ("--video", "@none.mp4"): (DataError, "none.mp4: no such file"),
        ("--video", "@squat.mp4", "--rules", "@bad.json"): (DataError, "line 2: no parameter 'kn"),
        ("--video", "@squat.mp4", "--rules", "sqat"): (DataError, "sqat: no such rule file"),
        ("--video", "@squat.mp4", "--bvh", "@b.txt"): (UserError, "does not end in .bvh"),
        ("--video", "@squat.mp4", "--out", "@squat.mp4"): (UserError, "would replace the input"),
        ("--video", "@squat.mp4", "--rules", "@mine.json", "--json", "@mine.json"): (
            UserError,
            "--json would replace the rules",
        ),
        ("--video", "@in/broken.jpg"): (DataError, "broken.jpg"),
        ("--video", "@squat.mp4", "--height", "tall"): (ConfigError, "'tall' is no number"),
        ("--video", "@squat.mp4", "--json", ""): (ConfigError, "--json: is empty"),
        ("--input", "@in", "--rules", "squat"): (UserError, "--rules: is for videos"),
        ("--input", "@none"): (DataError, "no such file or folder"),
    }
    for words, (kind, said) in wrong.items():
        with pytest.raises(kind) as error:
            run(folder, *words)
        assert said in str(error.value), words


def test_a_height_in_metres_is_refused(folder):
    for height in ("1.7", "0", "nan"):
        with pytest.raises(DataError, match=r"1\.7 m are 1700 mm"):
            run(folder, "--video", "@squat.mp4", "--height", height)


def test_what_a_file_of_bones_lacks_is_counted_and_said():
    motion, _ = simulated("squat", frames=12)
    assert lift.missing(motion, "empty") == ""
    xyz, root = motion.xyz.copy(), motion.root.copy()
    xyz[3], root[3:5] = np.nan, np.nan
    lost = motion._replace(xyz=xyz, root=root)
    assert lift.missing(lost, "empty") == ", 2 of 12 frames unknown: empty"
    root[:] = np.nan
    assert lift.missing(motion._replace(root=root), "empty").endswith("the pelvis stays at 0")
