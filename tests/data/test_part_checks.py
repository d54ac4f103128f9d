"""What ends a training before it begins: classes that nothing teaches, clips on two sides."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from bodyjax.data import folds, part_checks
from bodyjax.data.clips import feed as clip_feed
from bodyjax.data.sequences.source import from_config
from bodyjax.errors import DataError
from bodyjax.tasks import movement, sequence
from configs.classifier import get_config
from tests import labelled_clips

HOST = (0, 1)


def clip_config(root, *names, on_bad="raise"):
    """Clips of 8, 9, 10 ... frames, so that no two files are the same."""
    for number, name in enumerate(names):
        labelled_clips.write(root, name, frames=8 + number)
    config = get_config("tiny")
    config.data.update(path=str(root), on_bad=on_bad, holdout=0.0)
    return config


def write_table(file, seed):
    rng, rows = np.random.default_rng(seed), ["frame,person,joint,x,y,confidence"]
    for frame in range(4):
        for joint in ("left_hip", "right_hip"):
            x, y = rng.uniform(10, 90, 2)
            rows.append(f"{frame},0,{joint},{x:.2f},{y:.2f},0.9")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(rows) + "\n")


def tables(root, *names):
    for number, name in enumerate(names):
        write_table(root / f"{name}.csv", number)
    return {"kind": "tables", "path": str(root), "steps": 4}


def test_classes_are_taught_or_named():
    assert part_checks.check_classes(("a", "b"), np.array([1, 2])) == []
    with pytest.raises(DataError, match=r'no training clips of b, c; .* data.on_bad="skip"'):
        part_checks.check_classes(("a", "b", "c"), np.array([1, 0, 0]))
    lines = part_checks.check_classes(("a", "b"), np.array([1, 0]), on_bad="skip")
    assert lines == ["no training clips of b: it is not taught"]
    for on_bad in ("raise", "skip"):
        with pytest.raises(DataError, match=r"a single class \(up\)"):
            part_checks.check_classes(("up",), np.array([5]), on_bad=on_bad)


def test_a_part_that_lacks_classes_says_what_its_figures_cover(tmp_path, capsys):
    assert part_checks.not_judged(("a", "b"), np.array([1, 2]), "test") == []
    names = ("train/up/1", "train/up/2", "train/side/1", "train/odd/1", "test/up/1", "test/side/1")
    data = from_config(tables(tmp_path / "parts", *names[:-1], "test/side/2"), lambda line: None)
    section = {"path": str(tmp_path / "parts")}
    sequence.checked_split(data, section, HOST)
    line = "no clips for test of odd: its figures cover the other classes only"
    assert line in capsys.readouterr().out
    config = clip_config(tmp_path / "clips", "train/up/1", "train/odd/1", "test/up/1")
    movement.open_all(config, HOST)
    assert line in capsys.readouterr().out


def test_clips_of_a_later_part_leave_the_earlier_ones():
    keys = {"train": ["1", "2", "3", "2"], "valid": ["4", "3"], "test": ["2", "5"]}
    names = {part: [f"{part}{i}" for i in range(len(rows))] for part, rows in keys.items()}
    said = r"3 of train are in another part: train1 \(test: test0\), train2 \(valid: valid1\)"
    with pytest.raises(DataError, match=said):
        part_checks.rows_apart(keys, names)
    kept, (line,) = part_checks.rows_apart(keys, names, on_bad="skip")
    assert {part: list(rows) for part, rows in kept.items()} == {
        "train": [0], "valid": [0, 1], "test": [0, 1],
    }  # fmt: skip
    assert line.startswith("left out: 3 of train")


def test_folders_of_clips(tmp_path, capsys):
    names = ("train/up/0", "train/side/0", "train/up/1", "test/up/0", "test/odd/0")
    config = clip_config(tmp_path, *names)
    with pytest.raises(DataError, match=f"{tmp_path}: no training clips of odd"):
        movement.open_all(config, HOST)
    config.data.on_bad = "skip"
    assert movement.open_all(config, HOST)["train"].classes == ("odd", "side", "up")
    assert "no training clips of odd: it is not taught" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "test" / "odd")
    copied = tmp_path / "train" / "up" / "copied.mp4"
    for ending in (".mp4", ".json"):
        original = (tmp_path / "test" / "up" / "0").with_suffix(ending)
        shutil.copy(original, copied.with_suffix(ending))
    config.data.on_bad = "raise"
    with pytest.raises(DataError, match=r"1 of train is in another part: up/copied \(test: up/0\)"):
        movement.open_all(config, HOST)
    config.data.on_bad = "skip"
    assert movement.open_all(config, HOST)["train"].names == ("side/0", "up/0", "up/1")
    assert "left out: 1 of train is in another part: up/copied" in capsys.readouterr().out
    copied.unlink()
    config.data.on_bad = "raise"
    assert len(movement.open_all(config, HOST)["train"]) == 3
    said = "no clips for test of side: its figures cover the other classes only\n"
    assert capsys.readouterr().out == said


def test_a_single_class_of_clips(tmp_path):
    config = clip_config(tmp_path, "train/up/0", "train/up/1", "test/up/0", on_bad="skip")
    with pytest.raises(DataError, match=r"a single class \(up\)"):
        movement.open_all(config, HOST)
    several = clip_feed.open_parts(config.data, several=True)["train"]
    config.model.several = True
    movement.check_taught(several, config, HOST)  # it holds, or it does not


def test_tables_of_joints(tmp_path, capsys):
    names = ("train/up/0", "train/side/0", "train/side/1", "test/up/0", "test/odd/0")
    section = tables(tmp_path, *names)
    data = from_config(section)
    with pytest.raises(DataError, match=r"no training clips of odd"):
        sequence.checked_split(data, section, HOST)
    fold = sequence.checked_split(data, {**section, "on_bad": "skip"}, HOST)
    assert (len(fold.train), len(fold.test)) == (3, 2)
    assert "no training clips of odd" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "test" / "odd")
    shutil.copy(tmp_path / "test" / "up" / "0.csv", tmp_path / "train" / "up" / "copied.csv")
    data = from_config(section)
    said = r"1 of train is in another part: train/up/copied \(test: test/up/0\)"
    with pytest.raises(DataError, match=said):
        sequence.checked_split(data, section, HOST)
    fold = sequence.checked_split(data, {**section, "on_bad": "skip"}, HOST)
    assert sorted(data.names[i] for i in fold.train) == [
        "train/side/0",
        "train/side/1",
        "train/up/0",
    ]


def test_tables_without_parts_and_bad_ones(tmp_path):
    section = tables(tmp_path, "up/0", "up/1")
    with pytest.raises(DataError, match=r"a single class \(up\)"):
        sequence.checked_split(from_config(section), section, HOST)
    write_table(tmp_path / "side" / "0.csv", 7)
    (tmp_path / "side" / "1.csv").write_text("frame,person,joint,x,y,confidence\n0,0,hip,one,2,1\n")
    with pytest.raises(DataError, match=r"side/1\.csv"):
        from_config(section)
    said = []
    data = from_config({**section, "on_bad": "skip"}, said.append)
    assert len(data) == 3
    assert any("side/1.csv" in line for line in said)
    assert sequence.checked_split(data, section, HOST) is None


def test_folds_name_the_class_that_their_training_lacks():
    """Nine clips of two classes and two of one person of a third, in folds by person."""
    labels = np.array([0, 1] * 5 + [2, 2])
    groups = np.array([*np.repeat(np.arange(5), 2), 5, 5])
    data = SimpleNamespace(
        labels=labels, classes=("a", "b", "c"), names=[f"clip {i}" for i in range(12)]
    )
    keys = [str(i) for i in range(12)]
    lines = []
    for fold in folds.leave_one_group_out(groups):
        if fold.name == "5":
            with pytest.raises(DataError, match="fold 5 has no training clips of c"):
                part_checks.checked_fold(fold, data, keys)
            kept, lines = part_checks.checked_fold(fold, data, keys, on_bad="skip")
            assert list(kept.train) == list(range(10))
        else:
            kept, none = part_checks.checked_fold(fold, data, keys)
            np.testing.assert_array_equal(kept.train, fold.train)
            assert none == []
    assert lines == ["fold 5 has no training clips of c: it is not taught"]
    keys[0] = keys[3]  # the same clip under two people
    first = folds.leave_one_group_out(groups)[0]
    with pytest.raises(DataError, match=r"1 of train is in another part: clip 3 \(test: clip 0\)"):
        part_checks.checked_fold(first, data, keys)
    kept, _ = part_checks.checked_fold(first, data, keys, on_bad="skip")
    assert 3 not in kept.train
    leaking = first._replace(leaking=True)
    assert part_checks.checked_fold(leaking, data, keys)[0] is leaking
