"""Overlays: what is drawn, where, and that the picture given is not touched."""

import numpy as np
from PIL import Image

from bodyjax import draw
from bodyjax.skeleton import COCO17


def _person(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    xy = np.full((1, 17, 2), np.nan)
    for name, place in {
        "left_shoulder": (0.3, 0.3),
        "left_elbow": (0.3, 0.7),
        "right_shoulder": (0.7, 0.3),
        "right_elbow": (0.7, 0.7),
    }.items():
        xy[0, COCO17.index(name)] = np.array(place) * (width, height)
    return xy, np.ones((1, 17))


def test_limbs_have_the_colour_of_their_side_at_their_place():
    image = np.zeros((120, 160, 3), np.uint8)
    xy, score = _person(120, 160)
    out = draw.skeletons(image, xy, score, COCO17)
    assert not image.any()
    left, right, across = out[60, 48], out[60, 112], out[36, 80]
    for pixel, side in ((left, "left"), (right, "right"), (across, "middle")):
        expected = np.array(draw.SIDES[side]) * 220 / 255
        assert np.abs(pixel - expected).max() < 40, (pixel, side)
    assert not out[100:].any()
    assert not out[60, 70:90].any()


def test_a_line_is_centred_on_its_joints_and_its_edge_is_smooth():
    image = np.zeros((140, 140, 3), np.uint8)
    xy = np.full((1, 17, 2), np.nan)
    xy[0, COCO17.index("left_hip")], xy[0, COCO17.index("left_knee")] = (20, 30), (70.5, 118)
    out = draw.skeletons(image, xy, np.ones((1, 17)), COCO17).astype(float).sum(-1)
    row = out[74]  # half way: x = 45.25
    assert abs((row * np.arange(140)).sum() / row.sum() - 45.25) < 0.35
    assert len(np.unique(out)) > 10


def test_joints_below_the_threshold_or_absent_are_not_drawn():
    image = np.full((50, 60, 3), 7, np.uint8)
    xy, score = _person(50, 60)
    assert (draw.skeletons(image, xy, 0 * score, COCO17) == image).all()
    assert (draw.skeletons(image, xy[:0], score[:0], COCO17) == image).all()
    assert (draw.skeletons(image, np.full_like(xy, np.nan), score, COCO17) == image).all()


def test_people_outside_and_pictures_of_one_pixel_are_no_trouble():
    xy, score = _person(50, 60)
    for size in ((1, 1), (1, 400), (300, 2)):
        image = np.zeros((*size, 3), np.uint8)
        for shift in (0, -500, 1e6):
            assert draw.skeletons(image, xy + shift, score, COCO17, numbers=[3]).shape == (*size, 3)
        assert draw.label(image, ["a label"]).shape == (*size, 3)
        assert draw.attention(image, [0.1, 0.9]).shape == (*size, 3)


def test_a_number_is_written_beside_each_person():
    image = np.zeros((200, 200, 3), np.uint8)
    xy, score = _person(200, 200)
    with_number = draw.skeletons(image, xy, score, COCO17, numbers=[7])
    without = draw.skeletons(image, xy, score, COCO17)
    changed = np.argwhere((with_number != without).any(-1))
    assert len(changed) > 10
    assert changed[:, 0].max() < 75


def test_label_is_in_the_corner_and_fits_the_width():
    image = np.full((240, 200, 3), 200, np.uint8)
    out = draw.label(image, ["standard 0.93", "a second, rather long line of text"])
    changed = np.argwhere((out != image).any(-1))
    assert changed.min() == 0
    assert changed[:, 0].max() < 100
    assert out.max() > 240
    assert out[:5].min() < 120
    assert (draw.label(image, []) == image).all()


def test_a_caption_is_a_band_along_the_bottom_that_fits():
    image = np.full((240, 320, 3), 200, np.uint8)
    out = draw.caption(image, ["a rather long line of text for a picture of this width", "second"])
    rows = np.flatnonzero((out != image).any((1, 2)))
    assert rows.max() == 239
    assert 100 < rows.min() < 215
    assert (out[rows.min(), 0] < 90).all()
    assert out[..., 0].max() > 240
    assert (draw.caption(image, []) == image).all()
    assert (image == 200).all()


def test_attention_bars_are_as_high_as_their_weights():
    image = np.full((240, 100, 3), 255, np.uint8)
    out = draw.attention(image, [0.1, 0.4, 0.2, 0.0], current=1)
    strip = out[220:].astype(int)
    heights = [(strip[:, x, 0] > 150).sum() for x in (10, 35, 60, 85)]
    assert heights == [5, 20, 10, 0]
    assert tuple(out[239, 35]) == (255, 220, 60)
    assert (out[:220] == 255).all()


def test_confusion_and_curves_are_pictures(tmp_path):
    draw.confusion([[5, 1], [0, 7]], ["sit", "stand"], tmp_path / "c.png")
    many = [f"class {i}" for i in range(40)]
    draw.confusion(np.eye(40), many, tmp_path / "many.png")
    steps = np.arange(5)
    draw.curves({"loss": (steps, 1 / (1 + steps)), "other": ([], [])}, tmp_path / "l.png")
    for name in ("c.png", "many.png", "l.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200
            assert len(np.unique(np.asarray(picture.convert("L")))) > 5
