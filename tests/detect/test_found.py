"""The result object: what it holds, accepts, draws and writes."""

import copy
import dataclasses
import io
import json
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from bodyjax import detect
from bodyjax.detect import found
from bodyjax.errors import ConfigError, DataError, UserError
from bodyjax.skeleton import LSP14
from tests.picture_sets import body, colour, knowing

HEIGHT, WIDTH = 40, 50
POSE = np.stack([np.linspace(8, 20, 17), np.linspace(5, 35, 17)], -1)
SECOND = POSE + np.array([22, 0])


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def picture(number):
    return np.full((HEIGHT, WIDTH, 3), colour(number), np.uint8)


@pytest.fixture(scope="module")
def detector():
    """One person in picture 1, two in picture 2 (scores 1.0 and 0.9), nobody in picture 3."""
    return knowing({1: [body(POSE)], 2: [body(POSE), body(SECOND)]})


@pytest.fixture(scope="module")
def two(detector):
    return detect.find(detector, picture(2))


def test_what_it_holds(two):
    assert len(two) == 2
    assert two.size == (HEIGHT, WIDTH)
    np.testing.assert_allclose(two.xy, [POSE, SECOND], atol=1e-3)
    assert two.scores.shape == two.found.shape == (2, 17)
    assert two.found.all()
    np.testing.assert_allclose(two.person_scores, [1.0, 0.9])
    assert (two.overflow, two.left_out) == (0, 0)
    assert (two.picture == picture(2)).all()
    assert repr(two) == "<Found: 2 people in a picture of 50 x 40>"
    with pytest.raises(dataclasses.FrozenInstanceError):
        two.overflow = 3


def test_coco_results_are_those_of_people_with_a_box(detector, two):
    results = two.coco(image_id=7)
    for one, box, pose in zip(results, two.boxes, (POSE, SECOND), strict=True):
        x, y, width, height = one.pop("bbox")
        np.testing.assert_allclose([x, y, x + width, y + height], box, atol=0.02)
        assert (pose > [x, y]).all()
        assert (pose < [x + width, y + height]).all()
    assert results == detect.people(detector, picture(2), image_id=7)


def test_boxes_are_around_joints_that_were_found_and_inside_the_picture():
    nan = np.nan
    xy = np.array([
        [[20.0, 30], [40, 80], [90, 90]],  # the last is a guess
        [[-3.0, 5], [97, 55], [nan, nan]],
        [[50.0, 50], [nan, nan], [nan, nan]],
        [[60.0, 60], [70, 70], [nan, nan]],  # guesses only
        [[nan, nan], [nan, nan], [nan, nan]],
    ])  # fmt: skip
    flags = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
    got = found.boxes(xy, flags, (60, 100))
    np.testing.assert_allclose(got[0], [16, 26, 44, 60])
    np.testing.assert_allclose(got[1], [0, 0, 100, 60])
    np.testing.assert_allclose(got[2], [49, 49, 51, 51])
    np.testing.assert_allclose(got[3], [59, 59, 71, 60])
    np.testing.assert_allclose(got[4], 0)
    assert found.bbox(got[0]) == [16, 26, 28, 34]
    assert found.boxes(np.zeros((0, 17, 2)), np.zeros((0, 17), bool), (60, 100)).shape == (0, 4)


def test_people_below_a_score_are_left_out_and_counted(detector, two):
    one = two.at_least(0.95)
    assert (len(one), one.left_out, len(one.coco())) == (1, 1, 1)
    assert len(one.boxes) == len(one.found) == len(one.scores) == 1
    assert repr(one) == "<Found: 1 person in a picture of 50 x 40, 1 left out>"
    assert len(two) == 2
    assert (len(two.at_least(0.5).at_least(1)), two.at_least(0.95).at_least(1).left_out) == (1, 1)
    same = detect.find(detector, picture(2), min_score=0.95)
    assert (len(same), same.left_out) == (1, 1)
    assert len(detect.find(detector, picture(2), min_score=0)) == 2
    settings = dataclasses.replace(detector.settings, min_person=0.95)
    strict = dataclasses.replace(detector, settings=settings)
    assert detect.find(strict, picture(2)).left_out == 1
    assert len(detect.find(strict, picture(2), min_score=0)) == 2


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), float("inf"), "0.5", [0.5]])
def test_scores_that_are_none(detector, two, score):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        two.at_least(score)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        detect.find(detector, picture(2), min_score=score)


def test_pictures_of_every_kind_are_accepted(detector, tmp_path):
    plain = picture(2)
    file = tmp_path / "a.png"
    Image.fromarray(plain).save(file)
    alpha = np.full((HEIGHT, WIDTH, 4), colour(2), np.uint8)
    alpha[..., 3] = 255
    kinds = [
        file, str(file), file.read_bytes(), bytearray(file.read_bytes()),
        plain, plain[..., 0], plain[..., :1], alpha, jnp.asarray(plain),
        plain[..., 0].astype(np.uint16) << 8, plain.astype(np.uint16) * 257,
        Image.fromarray(plain), Image.fromarray(plain[..., 0]), Image.fromarray(alpha),
        Image.fromarray(plain[..., 0].astype(np.uint16) << 8),
        Image.fromarray(plain[..., 0].astype(np.int32) << 8),
        Image.fromarray(plain[..., 0]).convert("I"),  # 8 bits in 32
        np.asfortranarray(plain), plain[::-1].copy()[::-1], read_only(plain),
    ]  # fmt: skip
    for kind in kinds:
        one = detect.find(detector, kind)
        assert len(one) == 2
        assert one.picture.dtype == np.uint8
        assert (one.picture == plain).all()
    several = detect.find(detector, kinds)
    assert [len(one) for one in several] == [2] * len(kinds)
    assert detect.find(detector, []) == []


def test_transparent_pixels_are_white_and_turned_pictures_upright(detector):
    clear = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    assert (detect.find(detector, clear).picture == 255).all()
    turned = Image.fromarray(picture(1)[:, :30])
    turned.getexif()[0x0112] = 6
    assert detect.find(detector, turned).size == (30, HEIGHT)


class OnGpu:
    """As tensors of torch on a GPU are."""

    def __array__(self, *arguments, **options):
        raise TypeError("it is on a GPU\ncopy it first")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((4, 4, 3)), "float64 is no picture"),
        (np.zeros((4, 4, 2), np.uint8), "is no picture"),
        (np.zeros((0, 4, 3), np.uint8), "is no picture"),
        (np.zeros((2, 4, 4, 3), np.uint8), "is no picture"),
        (np.zeros((4, 4), bool), "bool is no picture"),
        (Image.new("F", (4, 4)), "floats"),
        (b"no picture", "not a readable picture"),
        (None, "NoneType is no picture"),
        (Image.new("RGB", (0, 0)), "has no pixels"),
        (OnGpu(), r"can't be made an array \(it is on a GPU\)"),
        (3, "int is no picture"),
    ],
)
def test_what_is_no_picture_is_said_in_one_line(detector, wrong, said):
    with pytest.raises(DataError, match=said) as caught:
        detect.find(detector, wrong)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="picture 1"):
        detect.find(detector, [picture(1), wrong])


def test_a_missing_file_is_named(detector, tmp_path):
    with pytest.raises(DataError, match=r"none\.jpg: no such picture"):
        detect.find(detector, tmp_path / "none.jpg")


def test_it_draws_itself(two):
    drawn = np.asarray(two.plot())
    assert drawn.shape == two.picture.shape
    changed = (drawn != two.picture).any(-1)
    assert changed[POSE[:, 1].round().astype(int), POSE[:, 0].round().astype(int)].all()
    with Image.open(io.BytesIO(two._repr_png_())) as shown:
        assert (np.asarray(shown) == drawn).all()


def test_guesses_are_not_drawn(two):
    guesses = dataclasses.replace(two, found=np.zeros_like(two.found))
    assert (np.asarray(guesses.plot()) == two.picture).all()


def test_it_saves_itself(two, tmp_path):
    two.save(tmp_path / "a.png")
    two.save(str(tmp_path / "a.JPG"))
    two.save(tmp_path / "a.json")
    with Image.open(tmp_path / "a.png") as drawn:
        assert (np.asarray(drawn) == np.asarray(two.plot())).all()
    with Image.open(tmp_path / "a.JPG") as drawn:
        assert (drawn.format, drawn.size) == ("JPEG", (WIDTH, HEIGHT))
    assert json.loads((tmp_path / "a.json").read_text()) == two.coco()


def test_what_can_t_be_saved_is_said_in_one_line(two, tmp_path):
    for name in ("a.txt", "a", "a.mp4"):
        with pytest.raises(UserError, match="says no format"):
            two.save(tmp_path / name)
    with pytest.raises(UserError, match="folder is missing"):
        two.save(tmp_path / "no" / "a.png")
    for ending in ("png", "json"):
        with pytest.raises(UserError, match=r"can't be written \(File name too long\)"):
            two.save(tmp_path / f"{'a' * 300}.{ending}")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(UserError, match="can't be written"):
        two.save(tmp_path / "b.png")


def test_it_can_be_copied_and_sent_to_another_process(two):
    for other in (copy.deepcopy(two), pickle.loads(pickle.dumps(two))):
        assert other.coco() == two.coco()
        assert (np.asarray(other.plot()) == np.asarray(two.plot())).all()


def test_nobody_in_the_picture(detector, tmp_path):
    none = detect.find(detector, picture(3))
    assert len(none) == 0
    assert none.coco() == []
    assert none.boxes.shape == (0, 4)
    assert (np.asarray(none.plot()) == picture(3)).all()
    none.save(tmp_path / "none.json")
    assert json.loads((tmp_path / "none.json").read_text()) == []
    assert len(none.at_least(0.5)) == 0


def test_other_joints(detector):
    lsp = detect.find(detector, picture(2), joints=LSP14)
    assert lsp.xy.shape == (2, 14, 2)
    assert (np.asarray(lsp.plot()) != lsp.picture).any()
    with pytest.raises(ConfigError, match="COCO's joints"):
        lsp.coco()


def test_people_take_pictures_of_every_kind_alone_and_in_lists(detector, tmp_path):
    array = picture(2)
    file = tmp_path / "two.png"
    Image.fromarray(array).save(file)
    expected = detect.people(detector, array)
    assert [one["image_id"] for one in expected] == [0, 0]
    kinds = [array, jnp.asarray(array), Image.fromarray(array), file, str(file), file.read_bytes()]
    for kind in kinds:
        assert detect.people(detector, kind) == expected
    for number, results in enumerate(detect.people(detector, kinds)):
        assert results == [one | {"image_id": number} for one in expected]
    assert detect.people(detector, []) == []
    named = detect.people(detector, (picture(1), picture(2)), image_id=["a", "b"])
    assert [[one["image_id"] for one in results] for results in named] == [["a"], ["b", "b"]]
    with pytest.raises(DataError, match="picture 1"):
        detect.people(detector, [picture(1), 7])
    for names in (["a"], "ab", 5):
        with pytest.raises(ConfigError, match=r"is not one name for each of 2 pictures"):
            detect.people(detector, [picture(1), picture(2)], image_id=names)


def test_results_are_a_plain_list_that_draws_itself(detector, two):
    results = detect.people(detector, picture(2), image_id=7)
    assert isinstance(results, list)
    assert json.loads(json.dumps(results)) == results
    shown = Image.open(io.BytesIO(results._repr_png_()))
    assert shown.size == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(two.plot()))
    nobody = detect.people(detector, picture(3))
    np.testing.assert_array_equal(np.asarray(nobody.plot()), picture(3))
    assert pickle.loads(pickle.dumps(results)) == copy.copy(results) == results
