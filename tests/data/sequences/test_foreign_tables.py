"""Joint tables of other programs: one motion, in every format, is read as the same joints."""

import json

import numpy as np
import pytest

from bodyjax.data.sequences import foreign_tables, source
from bodyjax.data.sequences.foreign_tables import OPENPOSE, joint_name
from bodyjax.data.sequences.joint_tables import COLUMNS, read_joint_csv, read_joints, tables_in
from bodyjax.data.sequences.table_folders import joint_tables, table_sequences
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import COCO17, MEDIAPIPE33, get
from tests.data.sequences.foreign_writers import (
    FRAMES,
    RNG,
    SIZE,
    WRIST,
    XY,
    alphapose,
    check,
    deeplabcut,
    mediapipe_json,
    mediapipe_long,
    mediapipe_wide,
    openpose,
)


@pytest.mark.parametrize("count", [25, 18])
@pytest.mark.parametrize("field", ["pose_keypoints_2d", "pose_keypoints"])
def test_openpose(tmp_path, count, field):
    table = read_joints(openpose(tmp_path, OPENPOSE[count], field))
    check(table)
    assert table.xy.shape[:2] == (3, 2)  # people keep their number, whatever their order
    np.testing.assert_allclose(np.diff(table.xy[:, 1, 0, 0]), [2, 2], atol=1e-3)


def test_openpose_frames_without_anybody(tmp_path):
    folder = openpose(tmp_path)
    (folder / "clip_000000000005_keypoints.json").write_text('{"people": []}')
    (folder / ".DS_Store").write_text("")
    check(read_joints(folder))
    (folder / "other_000000000009_keypoints.json").write_text('{"people": []}')
    with pytest.raises(DataError, match=r"clip: frames of two videos \(clip, other\)"):
        read_joints(folder)
    (folder / "other_000000000009_keypoints.json").write_text('{"people": [{}]}')
    (folder / "clip_000000000003_keypoints.json").unlink()
    (folder / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"notes\.txt: no frame of OpenPose|two videos"):
        read_joints(folder)


@pytest.mark.parametrize("joints", [17, 26, 136])
def test_alphapose(tmp_path, joints):
    check(read_joints(alphapose(tmp_path, joints)))


def test_people_of_alphapose_without_tracking_are_told_apart_by_place(tmp_path):
    rows = json.loads(alphapose(tmp_path).read_text())
    far = np.reshape(rows[0]["keypoints"], (17, 3)) + np.array([250.0, 250.0, 0.0])
    rows = [{**rows[0], "keypoints": far.ravel().tolist()}, *rows]
    (tmp_path / "clip.json").write_text(json.dumps(rows))
    table = read_joints(tmp_path / "clip.json")
    assert (table.visible > 0).any(-1).tolist() == [[True, True], [False, True], [False, True]]
    np.testing.assert_allclose(table.xy[:, 1, 0], XY[:, 0], atol=1e-3)


def test_the_json_of_detect_for_a_video(tmp_path):
    changed = alphapose(tmp_path)
    rows = json.loads(changed.read_text())
    for row in rows:
        frame = int(row.pop("image_id").split(".")[0])
        del row["idx"]
        row.update(image_id=99, frame=frame, identity=4)
    changed.write_text(json.dumps(rows))
    table = read_joints(changed)
    check(table)
    assert table.people.tolist() == [4]


MEDIAPIPE = {
    "frames": lambda folder: mediapipe_json(folder, "frames"),
    "objects": lambda folder: mediapipe_json(folder, "objects"),
    "lists": lambda folder: mediapipe_json(folder, "lists"),
    "arrays": lambda folder: mediapipe_json(folder, "arrays"),
    "long, names": mediapipe_long,
    "long, numbers": lambda folder: mediapipe_long(folder, str),
    "wide, names": mediapipe_wide,
    "wide, x0": lambda folder: mediapipe_wide(folder, "{axis}{number}"),
    "wide, x1": lambda folder: mediapipe_wide(folder, "{axis}{number}", first=1),
    "wide, landmark_0_x": lambda folder: mediapipe_wide(folder, "landmark_{number}_{axis}"),
}


@pytest.mark.parametrize("form", MEDIAPIPE)
def test_mediapipe(tmp_path, form):
    file = MEDIAPIPE[form](tmp_path)
    check(read_joints(file, normalized=SIZE))
    with pytest.raises(DataError, match=r"all lie in 0 to 1.*--normalized WIDTHxHEIGHT"):
        read_joints(file)
    whole = read_joints(file, MEDIAPIPE33, normalized=SIZE)
    assert whole.xy.shape == (3, 1, 33, 2)


def test_world_landmarks_are_no_places_in_a_picture(tmp_path):
    rng = np.random.default_rng(0)
    frames = [[{"x": x, "y": y} for x, y in rng.uniform(-0.8, 0.8, (33, 2))] for _ in range(2)]
    (tmp_path / "w.json").write_text(json.dumps(frames))
    with pytest.raises(DataError, match="centred at 0"):
        read_joints(tmp_path / "w.json", normalized=SIZE)


@pytest.mark.parametrize("several", [False, True])
def test_deeplabcut(tmp_path, several):
    check(read_joints(deeplabcut(tmp_path, several)))


def test_deeplabcut_labels(tmp_path):
    check(read_joints(deeplabcut(tmp_path, labelled=True)), score=1.0)


@pytest.mark.parametrize(("unit", "scale"), [("m", 0.01), ("cm", 1.0), ("mm", 10.0)])
def test_trc(tmp_path, unit, scale):
    places = RNG.uniform(20, 180, (3, 17, 3))
    names = [f"{j.split('_')[0][0].upper()}{j.split('_')[1].title()}" if "_" in j else "Nose"
             for j in COCO17.joints]  # fmt: skip
    head = "\t\t\t".join(names)
    axes = "\t".join(f"{a}{k}" for k in range(1, 18) for a in "XYZ")
    lines = [
        "PathFileType\t4\t(X/Y/Z)\tclip.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate",
        f"60.0\t60.0\t3\t17\t{unit}\t60.0",
        f"Frame#\tTime\t{head}",
        f"\t\t{axes}",
        "",
    ]
    for k, frame in enumerate(FRAMES):
        cells = [f"{scale * v:.9g}" for v in places[k].ravel()]
        if k == 1:
            cells[3 * WRIST : 3 * WRIST + 3] = ["0", "0", "0"]
        if k == 2:
            cells[-3:] = ["", "", ""]
        lines.append("\t".join([str(frame), str(frame / 60), *cells]))
    (tmp_path / "CLIP.TRC").write_text("\r\n".join(lines), encoding="utf-8-sig")
    table = read_joints(tmp_path / "CLIP.TRC")
    np.testing.assert_array_equal(table.frames, FRAMES)
    there = np.ones((3, 17), bool)
    there[1, WRIST] = there[2, 16] = False
    np.testing.assert_array_equal(table.visible[:, 0] > 0, there)
    np.testing.assert_allclose(table.xy[:, 0][there], places[there], rtol=1e-5)
    (tmp_path / "CLIP.TRC").write_text("\n".join(lines).replace(f"\t{unit}\t", "\tinch\t"))
    with pytest.raises(DataError, match=r"no TRC header \(inch\).*units are mm, cm, m"):
        read_joints(tmp_path / "CLIP.TRC")


FAULTS = {
    "a.json": [
        ('{"images": []}', "no table of joints of a known format"),
        ("[[[1, 2]]]", "1 landmarks, not 33"),
        ('[{"keypoints": [1, 2, 3], "image_id": 1}]', "result 0: 1 joints, not 17, 26"),
        ('[{"keypoints": "no", "image_id": 1}]', "result 0: keypoints are no list"),
        ('[{"keypoints": [1]}]', "result 0: has no image_id"),
        ("{", "can't be read as JSON"),
        ("[]", "without joints"),
    ],
    "a.csv": [
        ("frame,person,joint,x,y", "line 1: columns are"),
        ("", "line 1: columns are none"),
        ("scorer,a\nbodyparts,b\n1,2\n", "has no row coords"),
        ("frame,landmark,x,y\n0,beak,0.1,0.2\n", "line 2: 'beak' is none of MediaPipe's"),
        ("frame,landmark,x,y\n0,nose,0.1,0.2\n0,0,0.1,0.2\n", "line 3: 0 of frame 0.*twice"),
        ("scorer,d,d\nbodyparts,tail,tail\ncoords,x,y\n0,5,6\n", "no known joint among tail"),
    ],
    "a.trc": [("PathFileType\t4\n", "no TRC header")],
}


@pytest.mark.parametrize(
    ("name", "text", "message"), [(n, *fault) for n, faults in FAULTS.items() for fault in faults]
)
def test_faults_are_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=f"{name}.*{message}") as caught:
        read_joints(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("LShoulder", "left_shoulder"),
        ("Right Knee", "right_knee"),
        ("wrist_left", "left_wrist"),
        ("rightankle", "right_ankle"),
        ("lhip", "left_hip"),
        ("L_Eye", "left_eye"),
        ("Nose", "nose"),
        ("LEFT_FOOT_INDEX", "left_foot_index"),
        ("leg", "leg"),
    ],
)
def test_names_of_joints(text, name):
    assert joint_name(text) == name


HEADER = ",".join(COLUMNS)


def test_text_is_read_by_one_rule(tmp_path):
    plain = f"{HEADER},width,height\n0,0,nose,10.5,20,0.5,64,48\n6,0,nose,11,21,0.5,64,48\n"
    file = tmp_path / "t.csv"
    file.write_text(plain)
    clean = read_joint_csv(file)
    order = [2, 7, 3, 4, 0, 5, 1, 6]
    mixed = "\n".join(",".join([line.split(",")[k] for k in order]) for line in plain.splitlines())
    for text, encoding in (
        (plain.replace("\n", "\n\n") + "  \n,,,,,,,\n", "utf-8"),
        (plain.replace("\n", "\r\n"), "utf-8-sig"),
        (plain, "utf-16"),
        (plain.replace(".", ",,").replace(",", ";").replace(";;", ","), "utf-8"),
        (plain.replace(",", "\t"), "utf-8"),
        (mixed, "utf-8"),
        (plain.replace(HEADER, HEADER.upper()).replace(",", " , "), "utf-8"),
    ):
        file.write_text(text, encoding=encoding)
        again = read_joint_csv(file)
        for name in ("frames", "people", "xy", "visible", "score"):
            np.testing.assert_array_equal(getattr(again, name), getattr(clean, name))
        assert again.size == (64, 48)


@pytest.mark.parametrize("cells", ["0,0,0", ",,0", "nan,nan,0", "500,3,0"])
def test_confidence_0_is_a_missing_joint(tmp_path, cells):
    file = tmp_path / "t.csv"
    file.write_text(f"{HEADER}\n0,0,nose,10,20,0.5\n0,0,left_eye,{cells}\n")
    table = read_joint_csv(file)
    assert table.visible[0, 0, :2].tolist() == [2, 0]
    assert not table.xy[0, 0, 1].any()


def test_shares_of_the_picture_are_noticed(tmp_path):
    rows = "".join(f"{f},0,nose,0.25,0.5,1\n{f},0,left_eye,-0.02,1.04,1\n" for f in (0, 1))
    file = tmp_path / "t.csv"
    file.write_text(f"{HEADER}\n{rows}")
    with pytest.raises(DataError, match=r"shares of the picture.*--normalized"):
        read_joint_csv(file)
    table = read_joint_csv(file, normalized=(200.0, 100.0))
    np.testing.assert_allclose(table.xy[0, 0, 0], (49.5, 49.5))
    assert table.size == (200.0, 100.0)
    file.write_text(f"{HEADER},width,height\n0,0,nose,0.25,0.5,1,400,300\n")
    own = read_joint_csv(file, normalized=(200.0, 100.0))  # the table's own size is kept
    np.testing.assert_allclose(own.xy[0, 0, 0], (99.5, 149.5))
    file.write_text(f"{HEADER}\n0,0,nose,25,50,1\n")
    with pytest.raises(DataError, match="x and y reach 50: they are no shares"):
        read_joint_csv(file, normalized=(200.0, 100.0))


def folders(tmp_path):
    """CLASS/NAME in five formats, and files that are none."""
    for label in ("a", "b"):
        place = tmp_path / label
        place.mkdir()
        openpose(place).rename(place / "open.v2")
        alphapose(place).rename(place / "alpha.JSON")
        deeplabcut(place).rename(place / "dlc.CSV")
    (tmp_path / "a" / "notes.txt").write_text("")
    (tmp_path / "b" / ".hidden.csv").write_text("")
    (tmp_path / "b" / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    return tmp_path


def test_a_folder_of_several_formats_is_a_set(tmp_path):
    folder = folders(tmp_path)
    assert [path.name for path in tables_in(folder).files] == [
        "alpha.JSON",
        "dlc.CSV",
        "open.v2",
    ] * 2
    found = joint_tables(folder)["train"]
    assert found.names == ("a/alpha", "a/dlc", "a/open.v2", "b/alpha", "b/dlc", "b/open.v2")
    assert found.left_out == {
        "files of other kinds (a/notes.txt)": 1,
        "hidden files (b/.hidden.csv)": 1,
        "links to nothing (b/gone.csv)": 1,
    }
    lines = []
    data = source.from_config({"kind": "tables", "path": folder, "steps": 4}, lines.append)
    assert (len(data), data.joints.shape) == (6, (6, 4, 17, 2))
    np.testing.assert_allclose(data.joints[:, 0], np.broadcast_to(XY[0], (6, 17, 2)), atol=1e-3)
    assert (
        f"left out: 2 people beside the surest in 2 joint tables (first: {folder}/a/open.v2)"
        in lines
    )
    assert "left out: 1 files of other kinds (a/notes.txt)" in lines


def test_sets_of_shares_name_their_size(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        mediapipe_json(tmp_path / label)
    with pytest.raises(DataError, match="normalized"):
        source.from_config({"kind": "tables", "path": tmp_path, "steps": 4})
    section = {"kind": "tables", "path": tmp_path, "steps": 4, "normalized": "640x480"}
    data = source.from_config(section)
    np.testing.assert_allclose(data.joints[:, 0], np.broadcast_to(XY[0], (2, 17, 2)), atol=1e-3)
    assert data.size.tolist() == [[640, 480]] * 2
    for wrong in ("640", "0x10", "axb"):
        with pytest.raises(ConfigError, match=r"data\.normalized: .* is no size; WIDTHxHEIGHT"):
            source.from_config({**section, "normalized": wrong})
    with pytest.raises(ConfigError, match=r"data\.normalized: is for joint tables"):
        source.from_config({**section, "kind": "exercises"})


def test_places_in_space_and_in_the_picture_do_not_mix(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        alphapose(tmp_path / label)
    head = "\t".join(["Frame#", "Time", "Nose", "", "", "LHip"])
    (tmp_path / "b" / "space.trc").write_text(
        "PathFileType\n" "DataRate\tUnits\n" "60\tmm\n" f"{head}\n" "\t\tX1\n"
        "1\t0\t1\t2\t3\t4\t5\t6\n2\t0\t1\t2\t3\t4\t5\t6\n"
    )  # fmt: skip
    with pytest.raises(DataError, match=r"space\.trc: 3 coordinates a joint, 2 in other tables"):
        table_sequences(tmp_path)


def test_other_skeletons_take_what_they_have(tmp_path):
    table = read_joints(openpose(tmp_path), get("body18"))
    places = dict(zip(get("body18").joints, table.xy[0, 0], strict=True))
    np.testing.assert_allclose(places["right_knee"], XY[0, COCO17.index("right_knee")], atol=1e-3)
    shoulders = XY[0, [COCO17.index("left_shoulder"), COCO17.index("right_shoulder")]]
    np.testing.assert_allclose(places["neck"], shoulders.mean(0), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v_0_keypoints.json", {"people": [[1]]}),
        ("v_0_keypoints.json", {"people": [{"pose_keypoints_2d": [1e300] * 75}]}),
        ("v_0_keypoints.json", {"people": [{"pose_keypoints_2d": [10**400] * 75}]}),
        ("p.json", [{"image_id": 1.5, "keypoints": [1.0] * 51}]),
        ("p.json", [{"image_id": 1, "idx": 1e999, "keypoints": [1.0] * 51}]),
    ],
)
def test_what_breaks_a_format_is_one_line(tmp_path, name, content):
    folder = tmp_path / "op"
    folder.mkdir()
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        foreign_tables.read(folder if name.startswith("v") else folder / name)
    assert "\n" not in str(caught.value)
