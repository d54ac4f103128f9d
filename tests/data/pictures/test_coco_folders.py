"""COCO keypoint files: names of pictures, encodings, and layouts of folders."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from bodyjax import skeleton
from bodyjax.data import pictures, sets
from bodyjax.data.pictures.coco_files import ids_of
from bodyjax.errors import DataError
from tests.data.pictures.coco_folders import person, rewrite, write_coco

BODY18, COCO17 = skeleton.get("body18"), skeleton.get("coco17")


@pytest.mark.parametrize(
    "name",
    [
        "images/1.png",
        "images\\1.png",
        "C:\\sets\\images\\1.png",
        "/home/else/images/1.png",
        "./1.png",
        "1.PNG",
    ],
)
def test_names_as_other_machines_write_them(tmp_path, name):
    write_coco(tmp_path, [person()])
    rewrite(tmp_path, lambda content: content["images"][0].update(file_name=name))
    source = pictures.coco(tmp_path, "all")
    assert source.names == (name,)
    assert source[0]["image"].shape == (60, 80, 3)


def test_a_folder_inside_the_zip(tmp_path):
    write_coco(tmp_path, [person()], images=2)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name in ("1.png", "2.png"):
            archive.write(tmp_path / name, f"mine/{name}")
    source = pictures.coco(tmp_path, "all")
    assert source[1]["image"].max() == 1
    with zipfile.ZipFile(tmp_path / "images.zip", "a") as archive:
        archive.write(tmp_path / "1.png", "other/2.png")
    with pytest.raises(DataError, match=r"2\.png: several pictures have this name .*mine/2\.png"):
        pictures.coco(tmp_path, "all")
    assert pictures.coco(tmp_path, "all", on_bad="skip").names == ("1.png",)


@pytest.mark.parametrize("name", ["/home/else/b.png", "../b.png", "", "b\0.png", "1.png/b.png"])
def test_names_that_lead_nowhere_are_left_out(tmp_path, name):
    write_coco(tmp_path, [person()], images=2)
    rewrite(tmp_path, lambda content: content["images"][1].update(file_name=name))
    with pytest.raises(DataError, match="no such picture") as caught:
        pictures.coco(tmp_path, "all")
    assert f"({tmp_path}" in str(caught.value)  # where it was looked for
    source = pictures.coco(tmp_path, "all", on_bad="skip")
    assert (source.names, source.left_out) == (("1.png",), {"no such picture": 1})


def test_pictures_that_are_listed_twice_are_left_out_and_counted(tmp_path):
    write_coco(tmp_path, [person(), person(image_id=2), person(image_id=3)], images=3)
    rewrite(tmp_path, lambda content: content["images"][1].update(id=1))
    source = pictures.coco(tmp_path, "all", on_bad="skip")
    assert source.names == ("3.png",)
    assert source.left_out["picture id 1 is listed more than once"] == 2
    write_coco(tmp_path, [person(), person(image_id=2)], images=3)
    rewrite(tmp_path, lambda content: content["images"][1].update(file_name="x/1.png"))
    with pytest.raises(DataError, match=r"1\.png: listed more than once .the file 1\.png"):
        pictures.coco(tmp_path, "all")
    assert pictures.coco(tmp_path, "all", on_bad="skip").names == ("3.png",)


@pytest.mark.parametrize("entry", [None, "1.png", {"file_name": "9.png"}, {"id": 9}])
def test_entries_of_pictures_that_are_none_are_left_out(tmp_path, entry):
    write_coco(tmp_path, [person()])
    rewrite(tmp_path, lambda content: content["images"].append(entry))
    with pytest.raises(DataError, match="on_bad"):
        pictures.coco(tmp_path, "all")
    source = pictures.coco(tmp_path, "all", on_bad="skip")
    assert (len(source), sum(source.left_out.values())) == (1, 1)


def test_labels_of_a_picture_that_is_shown_turned_are_refused(tmp_path):
    write_coco(tmp_path, [person()], images=2)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (80, 60)).save(tmp_path / "1.png", exif=turned)
    source = pictures.coco(tmp_path, "all")
    for opened in (source, source.to(BODY18), source.take(np.array([0, 1]))):
        with pytest.raises(DataError, match=r"1\.png: labels are of another size .*80 x 60.*EXIF"):
            opened[0]
        assert opened[1]["image"].shape == (60, 80, 3)
    checked = pictures.coco(tmp_path, "all", on_bad="skip", check_pictures=True)
    assert (checked.names, checked.left_out) == (("2.png",), {"labels are of another size": 1})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_labels_as_windows_writes_them(tmp_path, encoding):
    write_coco(tmp_path, [person()])
    text = (tmp_path / "labels.json").read_text()
    (tmp_path / "labels.json").unlink()
    (tmp_path / "LABELS.JSON").write_text(text, encoding=encoding)
    assert len(pictures.coco(tmp_path, "all")) == 1


def write_official(folder, names=("train2017", "val2017"), inside="") -> None:
    """COCO's layout with two pictures in each part, as it is unpacked."""
    for number, name in enumerate(names):
        place = folder / inside / name
        place.mkdir(parents=True)
        write_coco(place, [person(image_id=2)], images=2)
        (folder / "annotations").mkdir(exist_ok=True)
        rewrite(place, lambda content, first=2 * number: [
            one.update({key: one[key] + first for key in ("id", "image_id") if key in one})
            for one in (*content["images"], *content["annotations"])
        ])  # fmt: skip
        labels = folder / "annotations" / f"person_keypoints_{name}.json"
        (place / "labels.json").rename(labels)
        (folder / "annotations" / f"captions_{name}.json").write_text("{}")


@pytest.mark.parametrize("inside", ["", "images"])
def test_the_official_layout_is_read_as_it_is_unpacked(tmp_path, inside):
    write_official(tmp_path, inside=inside)
    start = f"{inside}/" if inside else ""
    for path in (tmp_path, tmp_path / "annotations"):
        assert sets.recognise(path) == "coco"
        train, valid = (pictures.coco(path, part) for part in ("train", "valid"))
        assert train.names == (f"{start}train2017/1.png", f"{start}train2017/2.png")
        assert valid.names == (f"{start}val2017/1.png", f"{start}val2017/2.png")
        assert [len(people.xy) for people in valid.people] == [0, 1]
        assert valid.ids.tolist() == [3, 4]
        assert valid[1]["image"].max() == 1
        assert len(pictures.coco(path, "all")) == 4
    alone = pictures.coco(tmp_path / "annotations" / "person_keypoints_val2017.json", "all")
    assert alone.names == ("1.png", "2.png")


def test_the_official_layout_with_the_pictures_of_one_part(tmp_path):
    write_official(tmp_path)
    for file in (tmp_path / "train2017").iterdir():
        file.unlink()
    (tmp_path / "train2017").rmdir()
    assert pictures.coco(tmp_path, "all").names == ("1.png", "2.png")
    for file in (tmp_path / "val2017").iterdir():
        file.unlink()
    (tmp_path / "val2017").rmdir()
    with pytest.raises(DataError, match="needs the folder NAME of its pictures"):
        pictures.coco(tmp_path, "all")


def test_ids_by_name(tmp_path):
    write_coco(tmp_path, [], images=3)
    names = ("1.png", "deep/1.png", "sub\\2.png")

    def name(content):
        for image, other in zip(content["images"], names, strict=True):
            image["file_name"] = other

    rewrite(tmp_path, name)
    labels = tmp_path / "labels.json"
    assert ids_of(labels, ["deep/1.png", "1.png", "2.png", "9.png"]) == [2, 1, 3, None]
    assert ids_of(labels, ["1.png", "other/1.png"]) == [1, None]
    assert ids_of(labels, ["2.png", "up/sub/2.png"]) == [None, 3]
    with pytest.raises(DataError, match=r"x/sub/2\.png may be several pictures"):
        ids_of(labels, ["up/sub/2.png", "x/sub/2.png"])
    with pytest.raises(DataError, match=r"2\.png may be several pictures"):
        ids_of(labels, ["2.png", "y/sub/2.png", "z/sub/2.png"])
    assert ids_of(labels, ["other/1.png", "2.png"]) == [1, 3]
    with pytest.raises(DataError, match="lists none of the pictures"):
        ids_of(labels, ["7.png"])
