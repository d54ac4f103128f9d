"""launch.recognize: what is printed, written and drawn; what is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from bodyjax import detect, score, systems
from bodyjax.commands import flags, recognize
from bodyjax.data.video.files import open_video
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.errors import UserError
from configs.sequence import get_config
from tests import tiny_classifier as tiny
from tests.data import make_videos


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.export(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos.encode(tmp_path_factory.mktemp("video") / "clip.mp4", 30, *make_videos.X264)


def call(capsys: Any, *arguments: Any) -> tuple[int, Any, str]:
    code = recognize.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def test_a_video_is_recognised_and_drawn(weights, video, capsys, tmp_path):
    out, result = tmp_path / "overlay.mp4", tmp_path / "result.json"
    code, found, _ = call(
        capsys, "--checkpoint", weights, "--video", video, "--out", out, "--json", result
    )
    assert code == 0
    assert json.loads(result.read_text()) == found
    assert found["video"] == str(video)
    assert found["movement"] == "stop"
    assert found["top"][0] == {name: found[name] for name in ("movement", "probability")}
    assert len(found["top"]) == 3
    assert found["operation"] == "stop at the line"
    assert found["frames"] == [3, 11, 18, 26]
    assert found["duration"] == pytest.approx(1.0, abs=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["overlay.mp4", "result.json"]

    drawn, original = open_video(out), open_video(video)
    assert (drawn.frames, drawn.size) == (30, (192, 96))
    assert drawn.fps == pytest.approx(30)
    gap = np.abs(drawn.read([0, 29]).astype(int) - original.read([0, 29]))
    assert (gap.max(-1) > 60).mean() > 0.005  # the label
    assert (gap.max(-1) > 60).mean() < 0.6  # and yet the video is seen


def test_a_folder_of_numbered_pictures_is_one_video(weights, capsys, tmp_path):
    (tmp_path / "frames").mkdir()
    for number, image in enumerate(make_videos.frames(20)):
        Image.fromarray(image).save(tmp_path / "frames" / f"{number}.png")
    out = tmp_path / "o.mp4"
    words = ["--checkpoint", weights, "--video", tmp_path / "frames", "--out", out]
    code, found, _ = call(capsys, *words)
    assert (code, found["length"], found["fps"]) == (0, 20, 25)
    assert open_video(out).frames == 20
    (tmp_path / "frames" / "7.png").unlink()
    with pytest.raises(UserError, match="number 7 is missing"):
        call(capsys, *words)


def test_windows_of_a_long_video(weights, video, capsys):
    code, found, _ = call(capsys, "--checkpoint", weights, "--video", video, "--window", 0.5)
    assert code == 0
    assert [window["start"] for window in found["windows"]] == [0.0, 0.25, 0.5]
    assert [window["operation"] for window in found["windows"]] == [
        None, "stop at the line", "stop at the line",
    ]  # fmt: skip
    assert found["operations"][0]["start"] == 0.0


def test_a_folder_gives_all_and_names_the_bad_ones(weights, video, capsys, tmp_path, monkeypatch):
    folder, out = tmp_path / "clips", tmp_path / "drawn"
    (folder / "inner").mkdir(parents=True)
    whole = video.read_bytes()
    (folder / "a.mp4").write_bytes(whole)
    (folder / "inner" / "b.mp4").write_bytes(whole)
    (folder / "cut.mp4").write_bytes(whole[:-2000])
    make_videos.ffmpeg("-f", "lavfi", "-i", "sine=d=1", folder / "sound.mp4")
    arguments = ("--checkpoint", weights, "--video", folder)
    code, found, said = call(capsys, *arguments, "--out", out)
    assert code == recognize.EXIT_SOME_BAD
    assert (found["videos"], found["recognized"]) == (4, 2)
    assert [Path(row["video"]).name for row in found["bad"]] == ["cut.mp4", "sound.mp4"]
    assert "no picture track" in found["bad"][1]["error"]
    assert said.count("left out: ") == 2
    assert sorted(path.name for path in out.rglob("*.mp4")) == ["a.mp4.mp4", "b.mp4.mp4"]

    monkeypatch.chdir(tmp_path)
    code, again, _ = call(
        capsys, "--checkpoint", weights, "--video", Path("clips"), "--out", Path("again")
    )
    assert again["results"] == found["results"]
    assert sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*.mp4"))
    assert [row["video"] for row in again["bad"]] == [row["video"] for row in found["bad"]]

    for name in ("a.mp4", "inner/b.mp4"):
        (folder / name).unlink()
    with pytest.raises(UserError, match="none of 2 videos"):
        recognize.main([str(argument) for argument in arguments])


def files(folder: Path, video: Path) -> dict[str, Path]:
    """Files that are no whole video, by name."""
    whole = video.read_bytes()
    made = {
        "missing": folder / "missing.mp4",
        "empty": folder / "empty.mp4",
        "cut": folder / "cut.mp4",
        "text": folder / "text.mp4",
        "sound": folder / "sound.mp4",
        "no clips": folder / "folder",
    }
    made["empty"].write_bytes(b"")
    made["cut"].write_bytes(whole[: len(whole) // 2])
    made["text"].write_text("not a video\n" * 100)
    make_videos.ffmpeg("-f", "lavfi", "-i", "sine=d=1", made["sound"])
    made["no clips"].mkdir()
    return made


@pytest.mark.parametrize("name", ["missing", "empty", "cut", "text", "sound", "no clips"])
def test_what_is_no_video_is_one_line_and_exit_2(
    weights, video, capsys, tmp_path, monkeypatch, name
):
    path = files(tmp_path, video)[name]
    line = ["recognize", "--checkpoint", str(weights), "--video", str(path)]
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit) as done:
        flags.run(recognize.main)
    assert done.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {path}")
    assert said.err.count("\n") == 1


def test_flags_that_can_not_work_are_refused_before_anything_is_loaded(video, tmp_path):
    folder = video.parent
    for extra, message in (
        (["--window", "0"], "above 0"),
        (["--out", str(tmp_path / "x.txt")], "not the name of a video"),
        (["--out", str(video)], "--out would replace a video"),
        (["--json", str(video)], "--json would replace a video"),
        (["--video", str(folder), "--json", str(video)], "--json lies in the input"),
        (["--out", str(video / "none" / "x.mp4")], "folder can't be made"),
        (["--json", str(video / "none" / "x.json")], "folder can't be made"),
        (["--video", str(folder), "--out", str(folder / "drawn")], "--out lies in the input"),
        (["--video", str(folder), "--out", str(video)], "is a file; name a folder"),
    ):
        with pytest.raises(UserError, match=message):
            recognize.main(["--checkpoint", "none", "--video", str(video), *extra])
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_of_other_models_are_refused(weights, video, tmp_path):
    detector = dataclasses.replace(checkpoints.load(weights), system="pose")
    checkpoints.export(detector, tmp_path / "pose", "A test.")
    for name, message in (
        (tmp_path / "none", "no such checkpoint"),
        (tmp_path / "pose", "system pose recognises nothing"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            recognize.main(["--checkpoint", str(name), "--video", str(video)])
        assert "\n" not in str(caught.value)


def test_flags_of_the_detector_are_for_scorers(weights, scorer, video, monkeypatch):
    words = ["--video", str(video), "--second", "large", "--turns"]
    with pytest.raises(UserError, match=r"--second is not for .*movement") as caught:
        recognize.main(["--checkpoint", str(weights), *words])
    assert "\n" not in str(caught.value)
    given: list[Any] = []

    def load(*names: str, **settings: Any) -> Any:
        given.append((names, settings))
        raise UserError("enough")

    monkeypatch.setattr(detect, "load", load)
    with pytest.raises(UserError, match="enough"):
        recognize.main(["--checkpoint", str(scorer), "--exercise", "squat", *words])
    assert given == [(("small",), {"second": "large", "turns": True})]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small scorer with random weights that takes one of two exercises as input."""
    config = get_config("exercises_standard")
    config.update({"skeleton": "coco17", "labels": ("not standard", "standard")})
    config.model.update({"stored": 8, "steps": 5, "width": 8, "layers": 1, "conditions": 2})
    variables = jax.jit(systems.build(config).init)(jax.random.key(0))
    meta = {"labels": list(config.labels), "conditions": ["squat", "sit_up"]}
    trained = checkpoints.Checkpoint(variables, config, "sequence", meta=meta)
    return checkpoints.export(trained, tmp_path_factory.mktemp("scorer") / "two", "A test.")


def test_the_exercise_is_named_on_the_line(scorer, video, capsys, monkeypatch):
    seen = []
    with monkeypatch.context() as patch:  # what is seen in the video does not matter here
        patch.setattr(
            score, "recognize", lambda loaded, file, *rest: seen.append(loaded) or {"people": []}
        )
        line = ("--checkpoint", scorer, "--video", video, "--exercise", "sit_up")
        assert call(capsys, *line)[0] == 0
    assert seen[0].condition == 1


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([], r"two: needs to know the exercise; --exercise NAME, one of squat, sit_up"),
        (["--exercise", "jump"], r"no exercise 'jump'; one of squat, sit_up"),
        (["--exercise", "²"], r"no exercise '²'; one of squat, sit_up"),
    ],
)
def test_an_exercise_that_is_missing_or_unknown(scorer, video, extra, message):
    with pytest.raises(UserError, match=message) as caught:
        recognize.main(["--checkpoint", str(scorer), "--video", str(video), *extra])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["classifier", "pushup"])
def test_an_exercise_is_refused_where_the_model_takes_none(weights, video, model):
    checkpoint = str(weights) if model == "classifier" else model
    with pytest.raises(
        UserError, match=r"--exercise is not for .*movement|has no exercise as input"
    ):
        recognize.main(["--checkpoint", checkpoint, "--video", str(video), "--exercise", "squat"])


def test_a_real_clip_gets_joints_on_every_frame(weights, capsys, tmp_path):
    """The shape of the whole on a real clip; which movement is a question of training."""
    from tests.shared import shared

    clip = sorted(shared("data/jhmdb/clips").glob("*/*.mp4"))[0]
    out = tmp_path / "o.mp4"
    code, found, _ = call(capsys, "--checkpoint", weights, "--video", clip, "--out", out)
    assert code == 0
    assert open_video(out).frames == found["length"] == open_video(clip).frames
