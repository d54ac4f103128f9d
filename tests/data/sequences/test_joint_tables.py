"""Joint tables as CSV: round trip, and every fault with its file and line."""

import numpy as np
import pytest

from bodyjax import skeleton
from bodyjax.data.folds import TEST, TRAIN
from bodyjax.data.sequences import source
from bodyjax.data.sequences.joint_tables import (
    COLUMNS,
    JointTable,
    read_joint_csv,
    write_joint_csv,
)
from bodyjax.data.sequences.table_folders import joint_tables, table_sequences
from bodyjax.errors import ConfigError, DataError

HEADER = ",".join(COLUMNS)


def write(tmp_path, *rows: str, header: str = HEADER):
    file = tmp_path / "joints.csv"
    file.write_text("\n".join((header, *rows)) + "\n")
    return file


@pytest.mark.parametrize("size", [None, (640.0, 480.0)])
def test_what_is_written_is_read(tmp_path, size):
    rng = np.random.default_rng(0)
    visible = (rng.random((4, 2, 17)) < 0.8).astype(np.uint8) * 2
    visible[:, :, 0] = 2  # every frame and person has a row
    xy = rng.uniform(-5, 700, (4, 2, 17, 2)).astype(np.float32) * (visible[..., None] > 0)
    score = rng.random((4, 2, 17)).astype(np.float32) * (visible > 0)
    table = JointTable(np.array([0, 6, 12, 30]), np.array([1, 4]), xy, visible, score, size)
    write_joint_csv(tmp_path / "t.csv", table)
    again = read_joint_csv(tmp_path / "t.csv")
    for name in ("frames", "people", "xy", "visible", "score"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
    assert again.size == size


def test_other_skeletons(tmp_path):
    file = write(tmp_path, "0,0,head,5,6,1")
    table = read_joint_csv(file, skeleton.get("penn13"))
    np.testing.assert_array_equal(table.xy[0, 0, 0], (5, 6))
    with pytest.raises(DataError, match="coco17 has nose"):
        read_joint_csv(file)


GOOD = "3,0,nose,10,20,0.5"
FAULTS = {
    "line 3: frame 2 comes after frame 3": (GOOD, "2,0,nose,1,1,1"),
    "line 2: x is nan": ("3,0,nose,nan,20,0.5",),
    "line 2: y is inf": ("3,0,nose,1,inf,0.5",),
    "line 2: x '' is not a number": ("3,0,nose,,20,0.5",),
    "line 3: confidence -0.1 is not in": (GOOD, "4,0,nose,1,1,-0.1"),
    "line 2: confidence 20 is not in": ("3,0,nose,0.5,10,20",),
    "line 2: unknown joint 'beak'": ("3,0,beak,1,1,1",),
    "line 2: frame '1.5' is not a whole number": ("1.5,0,nose,1,1,1",),
    "line 2: person '-1' is not a whole number": ("1,-1,nose,1,1,1",),
    "line 3: 5 cells instead of 6": (GOOD, "4,0,nose,1,1"),
    "line 3: nose of person 0, frame 3, twice": (GOOD, GOOD),
    "line 3: frame 3000000000 lies 2999999997 after the first": (GOOD, "3000000000,0,nose,1,1,1"),
    "line 2: x 1e39 is beyond 1e\\+09": ("3,0,nose,1e39,20,1",),
    "without rows": (),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_name_file_and_line(tmp_path, message):
    file = write(tmp_path, *FAULTS[message])
    with pytest.raises(DataError, match=f"joints.csv.*{message}"):
        read_joint_csv(file)


@pytest.mark.parametrize(
    "header",
    [
        "frame,person,joint,x,y",
        "frame,person,joint,x,y,confidence,x",
        "frame,person,joint,x,y,confidence,width",
        "3,0,nose,10,20,0.5",
        "",
    ],
)
def test_missing_and_further_columns(tmp_path, header):
    with pytest.raises(DataError, match=r"joints\.csv: line 1: columns are"):
        read_joint_csv(write(tmp_path, GOOD, header=header))


def test_two_people_where_one_is_expected(tmp_path):
    file = write(tmp_path, GOOD, "3,1,nose,1,1,1")
    assert len(read_joint_csv(file).people) == 2
    with pytest.raises(DataError, match="line 3: person 1 beside person 0"):
        read_joint_csv(file, one_person=True)


def by_class(tmp_path, **tables):
    """CLASS/t.csv of each class, from its rows."""
    for name, rows in tables.items():
        (tmp_path / name).mkdir()
        write(tmp_path, *rows).rename(tmp_path / name / "t.csv")
    return tmp_path


def test_people_beside_the_surest_are_counted_and_said(tmp_path):
    alone = ("0,0,nose,1,1,1", "6,0,nose,2,2,1")
    three = ("0,0,nose,1,1,0.2", "0,4,nose,5,5,1", "6,4,nose,6,6,1", "6,7,nose,2,2,0.2")
    folder = by_class(tmp_path, alone=alone, three=three)
    lines = []
    data = source.from_config({"kind": "tables", "path": folder, "steps": 2}, lines.append)
    assert lines == [
        f"left out: 2 people beside the surest in 1 joint tables (first: {folder}/three/t.csv: "
        "line 3)"
    ]
    assert len(data) == 2
    np.testing.assert_array_equal(data.joints[1, :, 0], [[5, 5], [6, 6]])


def test_a_table_of_one_frame_is_named(tmp_path):
    folder = by_class(tmp_path, good=("0,0,nose,1,1,1", "6,0,nose,2,2,1"), lone=(GOOD,))
    with pytest.raises(DataError, match=r"lone/t\.csv: line 2: has one frame alone"):
        table_sequences(folder)
    found = joint_tables(folder, on_bad="skip")["train"]
    assert found.names == ("good/t",)
    assert found.left_out == {"has one frame alone": 1}
    assert found.bad == (f"{folder}/lone/t.csv: line 2: has one frame alone",)


def test_sizes_that_change(tmp_path):
    header = HEADER + ",width,height"
    file = write(tmp_path, GOOD + ",64,48", "4,0,nose,1,1,1,64,50", header=header)
    with pytest.raises(DataError, match="line 3: the size"):
        read_joint_csv(file)


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="can't be read"):
        read_joint_csv(tmp_path / "gone.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x81" * 9)
    with pytest.raises(DataError, match=r"b\.csv"):
        read_joint_csv(tmp_path / "b.csv")


def test_tables_by_class_are_clips_of_the_surest_person(tmp_path):
    """Rows keep their frames; train and valid stand against test."""
    xy = np.arange(3 * 2 * 17 * 2, dtype=np.float32).reshape(3, 2, 17, 2)
    score = np.broadcast_to(np.array([0.3, 0.8], np.float32)[:, None], (3, 2, 17))
    visible = np.full((3, 2, 17), 2, np.uint8)
    visible[1, 1, 4] = 0
    table = JointTable(np.array([0, 6, 12]), np.arange(2), xy, visible, score, (64.0, 48.0))
    for part, label in (("train", "bad"), ("train", "good"), ("test", "bad"), ("test", "good")):
        folder = tmp_path / part / label
        folder.mkdir(parents=True)
        write_joint_csv(folder / f"{part}.csv", table)
    clips = table_sequences(tmp_path)
    assert clips.classes == ("bad", "good")
    assert clips.labels.tolist() == [0, 1, 0, 1]
    assert clips.splits["official"].tolist() == [TRAIN, TRAIN, TEST, TEST]
    np.testing.assert_array_equal(np.diff(clips.offsets), 13)
    joints, sure = clips.frames(0)
    np.testing.assert_array_equal(joints[[0, 12]], xy[[0, 2], 1])
    assert np.isnan(joints[6, 4]).all()
    assert np.isnan(joints[[1, 5, 11]]).all()
    assert sure[6, 3] == np.float32(0.8)
    cut = {"kind": "tables", "path": tmp_path, "window": 2, "hop": 1}
    with pytest.raises(ConfigError, match=r"data\.fps: joint tables don't say"):
        source.from_config(cut)
    found = source.from_config({**cut, "fps": 30})
    assert len(found) == 8  # every 6th frame: 3 of them, two windows a clip
    assert (found.visible[:, :, 4] > 0).all()  # filled from the frames beside it
    for file in tmp_path.rglob("*.csv"):
        file.rename(tmp_path / f"{file.parent.parent.name}-{file.parent.name}.csv")
    for part in ("train", "test"):
        for label in ("bad", "good"):
            (tmp_path / part / label).rmdir()
        (tmp_path / part).rmdir()
    with pytest.raises(DataError, match="without classes"):
        table_sequences(tmp_path)
