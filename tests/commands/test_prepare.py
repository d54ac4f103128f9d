"""launch.prepare: clips, joint tables, arrays and videos become sets that read back the same."""

import json
import shutil

import numpy as np
import pytest

from bodyjax import detect
from bodyjax.commands import prepare
from bodyjax.data import pictures, prepared
from bodyjax.data.clips.folder import clips
from bodyjax.data.pictures.labelled import seeded_share
from bodyjax.data.pictures.simulated import SimulatedPictures
from bodyjax.data.sequences.joint_tables import JointTable, read_joint_csv, write_joint_csv
from bodyjax.data.video.files import open_video, write_video
from bodyjax.detect import video_tables, videos
from bodyjax.detect.results import PicturePeople
from bodyjax.errors import ConfigError, DataError, UserError, VideoError
from bodyjax.skeleton import COCO17
from tests.data import make_videos
from tests.picture_sets import coco_set, people_set


def test_clips_become_a_set(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "mine" / part / label
            folder.mkdir(parents=True)
            frames = rng.integers(0, 255, (6, 32, 48, 3)).astype(np.uint8)
            write_video(folder / "one.mp4", frames, 10)
    arguments = ["--source", str(tmp_path / "mine"), "--out", str(tmp_path / "out")]
    assert prepare.main(arguments) == 0
    assert "train 2, test 2" in capsys.readouterr().out
    stored = prepared.Prepared(tmp_path / "out" / "mine" / "1.0.0", "test")
    original = clips(tmp_path / "mine", "test")
    assert sorted(stored.labels) == sorted(original.labels)
    with pytest.raises(DataError, match="there already"):
        prepare.main(arguments)


def test_nothing_to_prepare_is_one_line(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="no set of a known layout"):
        prepare.main(["--source", str(tmp_path / "in"), "--out", str(tmp_path / "out")])


# ---- what is left out ----


def test_bad_clips_are_named_counted_and_left_out(tmp_path, capsys):
    frames = np.random.default_rng(0).integers(0, 255, (6, 32, 48, 3)).astype(np.uint8)
    for label in ("a", "b"):
        (tmp_path / "mine" / label).mkdir(parents=True)
        write_video(tmp_path / "mine" / label / "good.mp4", frames, 10)
    (tmp_path / "mine" / "a" / "empty.mp4").write_bytes(b"")
    arguments = ["--source", str(tmp_path / "mine"), "--out", str(tmp_path / "out")]
    assert prepare.main(arguments) == 0
    said = capsys.readouterr()
    assert "train 2" in said.out
    assert "left out: 1 the file is empty" in said.out
    assert "empty.mp4: the file is empty" in said.err
    with pytest.raises(VideoError, match="empty"):
        prepare.main([*arguments, "--name", "other", "--on-bad", "raise"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "nothing"], "no such file or folder"),
        (["--source", ".", "--every", "3"], "belong to --detect"),
        (["--source", ".", "--detect", "x", "--every", "3", "--rate", "2"], "not both"),
        (["--source", "simulated", "--name", "Two words"], "can't be called"),
    ],
)
def test_wrong_flags_are_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        prepare.main([*arguments, "--out", "out"])
    assert "\n" not in str(caught.value)


# ---- pictures ----


def test_rendered_people_become_a_set(tmp_path, capsys):
    people_set(tmp_path / "renders")
    (tmp_path / "renders" / "images" / "1.png").write_bytes(b"no picture")
    arguments = ["--source", str(tmp_path / "renders"), "--out", str(tmp_path / "out")]
    assert prepare.main(arguments) == 0
    said = capsys.readouterr()
    assert "people: train 2, test 1" in said.out  # of these none is in the third for validation
    assert "left out: 1.png: not a readable picture" in said.err
    assert said.out.count("not a readable picture") == 1
    stored = prepared.Prepared(tmp_path / "out" / "renders", "train")
    original = pictures.people(tmp_path / "renders", "trainvalid")
    for i, name in enumerate(stored.names):
        row = original.names.index(name)
        np.testing.assert_array_equal(stored[i]["xy"], original[row]["xy"])
        np.testing.assert_array_equal(stored[i]["image"], original[row]["image"])
    with pytest.raises(DataError, match=r"1\.png: not a readable picture"):
        prepare.main([*arguments, "--name", "other", "--on-bad", "raise"])


def test_a_small_coco_set_has_no_part_for_validation(tmp_path, capsys):
    table = np.stack([np.arange(17) + 10, np.arange(17) + 10, np.full(17, 2)], 1)
    split = ["test" if row in (4, 7) else "train" for row in range(8)]
    names = [f"{row}.png" for row in range(8) if split[row] == "train"]
    assert not seeded_share(names, 3).any()
    coco_set(tmp_path / "few", [[table]] * 8, split=split)
    (tmp_path / "few" / "images" / "2.png").unlink()
    file = tmp_path / "few" / "annotations.json"
    content = json.loads(file.read_text())
    content["annotations"].append({**content["annotations"][0], "image_id": 7})
    file.write_text(json.dumps(content))
    assert prepare.main(["--source", str(tmp_path / "few"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "coco: train 5, test 2" in said.out
    # Labels of no picture belong to both parts, and are one fault.
    assert "left out: 1 the picture is not listed; 1 no such picture" in said.out
    assert said.err.count("annotations of picture 7") == 1


def test_simulated_pictures_become_a_set(tmp_path, capsys):
    arguments = ["--source", "simulated", "--out", str(tmp_path)]
    assert prepare.main([*arguments, "--count", "3"]) == 0
    assert "simulated: train 3, valid 1, test 1" in capsys.readouterr().out
    stored = prepared.Prepared(tmp_path / "simulated", "train")
    drawn = SimulatedPictures("train")
    for i in range(3):
        for name, value in drawn[int(stored[i]["id"])].items():  # the first seed is 0
            np.testing.assert_array_equal(stored[i][name], value)
    assert prepared.Prepared(tmp_path / "simulated", "test").heldout.all()
    with pytest.raises(ConfigError, match="0 pictures"):
        prepare.main([*arguments, "--name", "none", "--count", "0"])
    with pytest.raises(ConfigError, match="joints say nothing about simulated"):
        prepare.main([*arguments, "--name", "none", "--joints", "x"])
    with pytest.raises(ConfigError, match="count belongs to simulated"):
        prepare.main(["--source", str(tmp_path), "--out", f"{tmp_path}_", "--count", "3"])


# ---- joints ----


def table(frames, people=1):
    shape = (len(frames), people, 17)
    rng = np.random.default_rng(len(frames))
    visible = (rng.random(shape) < 0.8).astype(np.uint8) * 2
    visible[:, :, 0] = 2
    xy = rng.uniform(0, 90, (*shape, 2)).astype(np.float32) * (visible > 0)[..., None]
    score = rng.random(shape).astype(np.float32) * (visible > 0)
    return JointTable(np.array(frames), np.arange(people), xy, visible, score, (320.0, 240.0))


def test_folders_of_joint_tables_become_a_set(tmp_path, capsys):
    source = tmp_path / "tables"
    tables = {
        "train/up/one": table([0, 6, 12]),
        "train/down/two": table([0, 6], people=2),
        "test/up/three": table([3, 4, 5, 9]),
    }
    for name, content in tables.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        write_joint_csv(source / f"{name}.csv", content)
    (source / "train" / "up" / "bad.csv").write_text("frame,person\n1,2\n")
    assert prepare.main(["--source", str(source), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "bad.csv: line 1: columns are frame, person" in said.err
    assert "train 2, test 1" in said.out
    folder = tmp_path / "out" / "tables" / "1.0.0"
    for part, count in (("train", 2), ("test", 1)):
        stored = prepared.Prepared(folder, part)
        assert len(stored) == count
        assert stored.classes == ("down", "up")
        assert stored.heldout.tolist() == [part == "test"] * count
        for i in range(count):
            example, original = stored[i], tables[stored.names[i]]
            assert stored.classes[int(example["label"])] == stored.names[i].split("/")[1]
            np.testing.assert_array_equal(example["xy"], original.xy)
            np.testing.assert_array_equal(example["visible"], original.visible)
            np.testing.assert_array_equal(example["score"], original.score)
            np.testing.assert_array_equal(example["numbers"], original.frames)
            np.testing.assert_array_equal(example["size"], original.size)
    words = json.loads((folder / "bodyjax_joints.json").read_text())
    assert words["joints"] == list(COCO17.joints)


def test_tables_of_other_programs_become_a_set(tmp_path, capsys):
    source, out = tmp_path / "mine", tmp_path / "out"
    landmarks = [{"x": 0.25 + k / 100, "y": 0.5, "visibility": 0.9} for k in range(33)]
    for label in ("a", "b"):
        (source / label).mkdir(parents=True)
        (source / label / "m.json").write_text(json.dumps([landmarks, [], landmarks]))
    (source / "b" / "read.me").write_text("")
    words = ["--source", str(source), "--out", str(out)]
    with pytest.raises(DataError, match="--normalized WIDTHxHEIGHT"):
        prepare.main([*words, "--on-bad", "raise"])
    assert prepare.main([*words, "--normalized", "200x100"]) == 0
    said = capsys.readouterr().out
    assert "joint tables: train 2" in said
    assert "left out: 1 files of other kinds (b/read.me)" in said
    stored = prepared.Prepared(out / "mine" / "1.0.0", "train")
    np.testing.assert_allclose(stored[0]["xy"][0, 0, 0], (49.5, 49.5), atol=1e-4)
    assert stored[0]["numbers"].tolist() == [0, 2]
    with pytest.raises(ConfigError, match="is no size"):
        prepare.main([*words, "--name", "again", "--normalized", "200"])
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in ("1.json", "2.json"):
        shutil.copy(source / "a" / "m.json", flat / name)
    assert prepare.main(["--source", str(flat), *words[2:], "--normalized", "200x100"]) == 0
    assert "joint tables: train 2" in capsys.readouterr().out


def test_tables_at_different_depths_are_refused(tmp_path):
    (tmp_path / "in" / "up").mkdir(parents=True)
    for name in ("up/one", "two"):
        write_joint_csv(tmp_path / "in" / f"{name}.csv", table([0]))
    with pytest.raises(DataError, match="another depth"):
        prepare.main(["--source", str(tmp_path / "in"), "--out", str(tmp_path / "out")])


def test_an_array_set_keeps_its_official_split(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.normal(size=(4, 5, 24)).astype(np.float32),
        "x_test": rng.normal(size=(3, 5, 24)).astype(np.float32),
        "y_train": np.array([0, 1, 0, 1]),
        "y_test": np.array([1, 0, 1]),
        "classes": np.array(["left", "right"]),
    }
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    np.savez(source / "natops.npz", **arrays)
    assert prepare.main(["--source", str(source), "--out", str(out), "--name", "n"]) == 0
    stored = prepared.Prepared(out / "n" / "1.0.0", "test")
    assert sorted(stored.labels) == [0, 1, 1]
    assert stored.heldout.all()
    order = [int(name.partition("-")[2]) - 4 for name in stored.names]
    for i, row in enumerate(order):
        np.testing.assert_array_equal(stored[i]["xy"].reshape(5, 24), arrays["x_test"][row])


# ---- videos through a detector ----


def test_frames_are_taken_by_number_or_by_rate(tmp_path):
    video = open_video(make_videos.encode(tmp_path / "v.mp4", 60, *make_videos.X264))
    assert video_tables.frame_numbers(video).tolist() == list(range(0, 60, 6))
    assert video_tables.frame_numbers(video, rate=10).tolist() == list(range(0, 60, 3))
    assert video_tables.frame_numbers(video, rate=1000).tolist() == list(range(60))
    late = make_videos.encode(tmp_path / "late.mp4", 30, *make_videos.IRREGULAR, *make_videos.X264)
    video = open_video(late)
    numbers = video_tables.frame_numbers(video, rate=2)
    wanted = np.arange(0, video.times[-1] + 1e-6, 0.5)
    nearest = np.abs(video.times[:, None] - wanted).argmin(0)
    assert numbers.tolist() == sorted(set(nearest.tolist()))
    with pytest.raises(UserError, match="above 0"):
        video_tables.frame_numbers(video, every=0)


class FoundPeople:
    """Stands for the network: the joints of one person move right by a pixel a frame."""

    skeleton, follow = COCO17, None

    def __init__(self, people: int) -> None:
        self.people = people

    def __call__(self, detector, image):
        number = make_videos.frame_number(image)
        base = np.stack([np.linspace(40, 60, 17), np.linspace(20, 80, 17)], -1)
        xy = np.stack([base + np.array([number + 60 * p, 0]) for p in range(self.people)] or [base])
        xy, score = xy[: self.people], np.full((self.people, 17), 0.9)
        xy[:, 3] = np.nan
        score[:, 3] = 0
        return PicturePeople(xy, score, score > 0, np.ones(self.people), 0, base, np.ones(17))


@pytest.fixture
def marked_person(monkeypatch):
    """A detector of somebody whose joints are 17 white dots on black, in any cut-out."""

    def detected(detector, image):
        y, x = np.nonzero(np.asarray(image)[..., 0] > 127)
        corners = [[x.min(), y.min()], [x.max(), y.max()]] if len(x) else []
        xy = np.linspace(*corners, 17)[None] if corners else np.zeros((0, 17, 2))
        score = np.full(xy.shape[:2], 0.9)
        return PicturePeople(
            xy, score, score > 0, np.ones(len(xy)), 0, np.zeros((17, 2)), np.ones(17)
        )

    monkeypatch.setattr(detect, "load", lambda name, **settings: FoundPeople(1))
    monkeypatch.setattr(videos, "detect", detected)


def person_film(file, rising):
    """A white square of 40 pixels that rises or sinks by two pixels a frame, in 160 x 120."""
    frames = np.zeros((12, 120, 160, 3), np.uint8)
    for number, frame in enumerate(frames):
        top = 60 - 2 * number if rising else 20 + 2 * number
        frame[top : top + 40, 60:100] = 255
    file.parent.mkdir(parents=True, exist_ok=True)
    write_video(file, frames, 12.0)


def test_the_main_person_is_cut_out_and_training_clips_get_random_crops(
    tmp_path, capsys, marked_person
):
    for part, label in (("train", "up"), ("train", "down"), ("test", "up"), ("test", "down")):
        person_film(tmp_path / "v" / part / label / "clip.mp4", label == "up")
    arguments = ["--source", str(tmp_path / "v"), "--detect", "small", "--every", "3", "--out"]
    assert prepare.main([*arguments, str(tmp_path / "whole")]) == 0
    assert prepare.main([*arguments, str(tmp_path / "out"), "--crop", "2"]) == 0
    assert "joint tables: 8, videos without: 0" in capsys.readouterr().out
    root, tables = tmp_path / "out" / "csv" / "v", {}
    for file in sorted(root.rglob("*.csv")):
        tables[file.relative_to(root).as_posix()] = read_joint_csv(file)
    crops = [f"train/{label}/clip_crop{k}.csv" for label in ("down", "up") for k in (1, 2)]
    plain = [f"{part}/{label}/clip.csv" for part in ("test", "train") for label in ("down", "up")]
    assert sorted(tables) == sorted(crops + plain)
    whole = read_joint_csv(tmp_path / "whole" / "csv" / "v" / "train" / "up" / "clip.csv")
    assert whole.size == (160, 120)
    sizes = set()
    for name, table in tables.items():
        assert table.people.tolist() == [0]
        assert table.frames.tolist() == [0, 3, 6, 9]
        assert max(table.size) < 90  # joints reach over 40 x 58 pixels; 8 % of 58 around them
        sizes.add(table.size)
        if "up" in name and name in plain:
            # One box for the whole video: the same movement, less the box's corner.
            corner = (whole.xy - table.xy).reshape(-1, 2)
            np.testing.assert_allclose(corner, np.broadcast_to(corner[:1], corner.shape), atol=1)
    assert len(sizes) >= 4  # crops differ from each other and from the whole person
    assert len(prepared.Prepared(tmp_path / "out" / "v" / "1.0.0", "train")) == 6
    assert len(prepared.Prepared(tmp_path / "out" / "v" / "1.0.0", "test")) == 2

    # the same again makes a missing crop as it was; another number is another set of tables
    file = root / crops[0]
    content = file.read_bytes()
    file.unlink()
    shutil.rmtree(tmp_path / "out" / "v")
    prepare.main([*arguments, str(tmp_path / "out"), "--crop", "2"])
    assert file.read_bytes() == content
    with pytest.raises(ConfigError, match="crop: 2 -> 1"):
        prepare.main([*arguments, str(tmp_path / "out"), "--crop", "1"])


def test_crops_that_make_no_sense_are_refused(tmp_path, marked_person):
    person_film(tmp_path / "v" / "up" / "clip.mp4", True)
    person_film(tmp_path / "v" / "up" / "clip_crop1.mp4", True)
    arguments = ["--source", str(tmp_path / "v"), "--out", str(tmp_path / "out")]
    with pytest.raises(ConfigError, match="--crop belongs to --detect"):
        prepare.main([*arguments, "--crop", "1"])
    with pytest.raises(ConfigError, match="-1 is below 0"):
        prepare.main([*arguments, "--detect", "small", "--crop", "-1"])
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="clip_crop1 has the name of a crop"):
        prepare.main([*arguments, "--detect", "small", "--crop", "1"])
    (tmp_path / "videos").mkdir()
    np.savez(tmp_path / "joints.npz", clip=np.array(["p000"]))
    with pytest.raises(ConfigError, match="pushfit is split by folds later"):
        video_tables.check_crops(1, tmp_path)
    video_tables.check_crops(0, tmp_path)


def test_nobody_in_a_video_gives_no_cut_out(tmp_path, capsys, marked_person):
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v" / "black.mp4", np.zeros((6, 64, 64, 3), np.uint8), 12.0)
    arguments = ["--source", str(tmp_path / "v"), "--out", str(tmp_path / "out")]
    with pytest.raises(DataError, match="none of 1 videos gave joints"):
        prepare.main([*arguments, "--detect", "small", "--crop", "0"])
    assert "nobody is found" in capsys.readouterr().err


def test_videos_become_tables_and_a_set(tmp_path, capsys, monkeypatch):
    for label in ("up", "down"):
        (tmp_path / "v" / label).mkdir(parents=True)
        make_videos.encode(tmp_path / "v" / label / "clip.mp4", 20, *make_videos.X264)
    (tmp_path / "v" / "up" / "bad.mp4").write_bytes(b"")
    stand_in = FoundPeople(2)
    given: dict = {}

    def load(name, **settings):
        given.update(settings)
        return stand_in

    monkeypatch.setattr(detect, "load", load)
    monkeypatch.setattr(videos, "detect", stand_in)
    arguments = ["--source", str(tmp_path / "v"), "--detect", "small", "--out"]
    assert prepare.main([*arguments, str(tmp_path / "out"), "--every", "5"]) == 0
    said = capsys.readouterr()
    assert "bad.mp4: the file is empty" in said.err
    assert "joint tables: 2, videos without: 1" in said.out
    assert "left out: 1 videos without joints" in said.out
    found = read_joint_csv(tmp_path / "out" / "csv" / "v" / "up" / "clip.csv")
    assert found.frames.tolist() == [0, 5, 10, 15]
    assert found.people.tolist() == [0, 1]
    assert found.size == (192, 96)
    assert not found.visible[:, :, 3].any()
    np.testing.assert_allclose(found.xy[:, 1, 0, 0], 100 + found.frames, atol=1e-4)
    assert len(prepared.Prepared(tmp_path / "out" / "v" / "1.0.0", "train")) == 2

    # again: tables that are there are kept, those of other settings refused
    monkeypatch.setattr(videos, "detect", None)
    shutil.rmtree(tmp_path / "out" / "v")
    prepare.main([*arguments, str(tmp_path / "out"), "--every", "5"])
    with pytest.raises(ConfigError, match="every: 5 -> 4"):
        prepare.main([*arguments, str(tmp_path / "out"), "--every", "4"])
    with pytest.raises(ConfigError, match="second: None -> large"):
        prepare.main([*arguments, str(tmp_path / "out"), "--every", "5", "--second", "large"])
    assert given == {"second": "large"}
    with pytest.raises(ConfigError, match="--second belongs to --detect"):
        prepare.main(["--source", str(tmp_path), "--out", str(tmp_path), "--second", "large"])
    # a mistake leaves nothing behind that the corrected command would stumble over
    with pytest.raises(ConfigError, match="above 0"):
        prepare.main([*arguments, str(tmp_path / "mistaken"), "--every", "0"])
    assert not (tmp_path / "mistaken").exists()
    monkeypatch.setattr(videos, "detect", FoundPeople(0))
    with pytest.raises(DataError, match="none of 3 videos"):
        prepare.main([*arguments, str(tmp_path / "nobody")])
    assert "nobody is found" in capsys.readouterr().err
