"""Pictures drawn by a seed to be looked at: what is drawn, and what the sheets show."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from bodyjax.bench import look
from bodyjax.data import video
from tests.documents import ROOT
from tests.picture_sets import body, coco_set, colour, knowing, lsp_set
from tests.shared import shared

TABLE = np.random.default_rng(0).uniform(8, 32, (17, 3))
TABLE[:, 2] = 2


def write_clip(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write_video(path, [np.full((40, 50, 3), colour(row), np.uint8) for row in rows], 10)


@pytest.fixture
def data(tmp_path):
    """Three tiny sets as ../shared/data has them."""
    people = [[TABLE]] * 4
    complete, splits = [True, False, True, True], ["test", "test", "test", "train"]
    coco_set(tmp_path / "multi", people, persons_complete=complete, split=splits)
    joints = np.random.default_rng(1).uniform(5, 35, (3, 14, 2)).astype(np.float32)
    lsp_set(tmp_path / "lspet", joints, np.ones((3, 14), bool), np.array([10, 11, 20]))
    for name in ("a", "b"):
        write_clip(tmp_path / "jhmdb" / "clips" / "walk" / f"{name}.mp4", [9] * 10)
    content = {"classes": ["walk"], "1": {"a": 1, "b": 2}}
    (tmp_path / "jhmdb" / "splits.json").write_text(json.dumps(content))
    return tmp_path


def test_held_out_sides_alone_are_drawn(data):
    there = look.candidates(data)
    assert {kind: sorted(files) for kind, files in there.items()} == {
        "multi": ["0.png", "2.png"],
        "lspet": ["im00010.png", "im00020.png"],
        "jhmdb": ["walk/b"],
    }


def test_lots_are_numpy_s_and_depend_on_names_and_seed_alone():
    names = {"one": [f"{i:02d}" for i in range(30)], "two": ["c", "a", "b"]}
    drawn = look.lots(names, {"one": 4, "two": 5}, 17)
    rng = np.random.default_rng(17)
    first = [("one", f"{i:02d}") for i in rng.choice(30, 4, replace=False)]
    assert drawn == first + [("two", "abc"[i]) for i in rng.choice(3, 3, replace=False)]
    backwards = {"one": names["one"][::-1], "two": ["b", "c", "a"]}
    assert look.lots(backwards, {"one": 4, "two": 5}, 17) == drawn
    assert look.lots(names, {"one": 4, "two": 5}, 18) != drawn


def test_people_are_drawn_where_they_are_on_the_enlarged_picture():
    image = np.zeros((40, 50, 3), np.uint8)
    xy, score = TABLE[None, :, :2], np.ones((1, 17))
    large = look.shown(image, xy, score, 500)
    assert large.shape == (400, 500, 3)
    for x, y, _ in TABLE[[0, 9, 10]]:  # nose, left and right wrist
        u, v = round(10 * x + 4.5), round(10 * y + 4.5)
        assert large[v, u].max() > 200
    assert not look.shown(image, xy, 0 * score, 500).any()
    assert (look.shown(image, xy, score, 500, [3]) != large).any()  # the number


def test_the_files_show_pictures_without_and_with_people(data, tmp_path, capsys):
    there = look.candidates(data)
    detector = knowing({0: [body(TABLE)], 2: [], 9: [body(TABLE)]})
    drawn = [("multi", "0.png"), ("multi", "2.png"), ("jhmdb", "walk/b")]
    out = tmp_path / "out"
    look.write(detector, there, drawn, out)
    names = ["01_multi_0", "02_multi_2", "03_jhmdb_b", "03_jhmdb_b_all", "sheet_01"]
    assert sorted(file.name for file in out.iterdir()) == [f"{name}.jpg" for name in names]
    assert capsys.readouterr().out.splitlines()[2] == "03 jhmdb walk/b"
    some, none = (np.asarray(Image.open(out / f"{name}.jpg")) for name in names[:2])
    assert some.shape == (576, 2 * look.PICTURE, 3)
    halves = np.split(some.astype(int), 2, axis=1)
    assert np.abs(halves[0] - colour(0)).max() < 40 < np.abs(halves[1] - colour(0)).max()
    assert np.abs(none.astype(int) - colour(2)).max() < 40  # nobody: both halves alike
    few, every = (np.asarray(Image.open(out / f"{name}.jpg")) for name in names[2:4])
    assert few.shape == (2 * (307 + 4), 4 * (look.FRAME + 4), 3)  # eight of ten frames
    assert every.shape == (2 * (154 + 4), 8 * (look.SMALL + 4), 3)
    assert few[:307, : look.FRAME].max() > 200  # the person is drawn


def test_missing_sets_are_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        look.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no such file or folder" in line


def test_verdicts_are_of_the_pictures_that_seed_17_draws():
    there = look.candidates(shared("data"))
    with (ROOT / "docs" / "verdicts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["set"], row["name"]) for row in rows] == look.lots(there, look.LOTS, 17)
    assert {row["verdict"] for row in rows} <= {"good", "usable", "wrong"}
