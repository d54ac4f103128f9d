"""Points and pixels move together; masks, mirrors and colours are what they claim to be."""

import numpy as np
import pytest

from bodyjax import skeleton
from bodyjax.data import affine, augment
from bodyjax.data.augment import PictureChanges as Changes
from bodyjax.data.clips import body_region
from bodyjax.data.rows import Rows

BODY18 = skeleton.get("body18")


def dots(rng: np.random.Generator, height: int, width: int, count: int = 4) -> tuple:
    """A dark picture with round bright dots (sigma 3 px) and their places."""
    xy = rng.uniform((20, 20), (width - 20, height - 20), (count, 2))
    y, x = np.mgrid[:height, :width]
    apart = ((x - xy[:, 0, None, None]) ** 2 + (y - xy[:, 1, None, None]) ** 2) / (2 * 3.0**2)
    image = (255 * np.exp(-apart)).max(0)
    return np.repeat(image[..., None], 3, 2).round().astype(np.uint8), xy


def find(image: np.ndarray, near: np.ndarray, reach: int = 5) -> np.ndarray:
    """The centre of brightness about a place, by centroid."""
    x0, y0 = np.round(near).astype(int)
    patch = image[y0 - reach : y0 + reach + 1, x0 - reach : x0 + reach + 1, 0].astype(float)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.array([x0 + (patch * x).sum() / patch.sum(), y0 + (patch * y).sum() / patch.sum()])


def picture(rng: np.random.Generator, height: int = 200, width: int = 260) -> tuple:
    image, xy = dots(rng, height, width)
    joints = np.zeros((1, 18, 2), np.float32)
    visible = np.zeros((1, 18), np.uint8)
    joints[0, :4], visible[0, :4] = xy, 2
    low, high = xy.min(0), xy.max(0)
    example = {
        "image": image,
        "xy": joints,
        "visible": visible,
        "boxes": np.concatenate([low, high])[None].astype(np.float32),
        "ignore": np.zeros((0, 4), np.float32),
        "joint_mask": np.ones(18, bool),
        "complete": np.asarray(True),
        "id": np.asarray(5),
    }
    return example, xy


def check_dots(image: np.ndarray, points: np.ndarray, limit: float = 0.5) -> int:
    """How many of the points inside the picture were looked at; each has its dot within limit."""
    size = np.array(image.shape[1::-1])
    found = 0
    for i, point in enumerate(points):
        others = np.delete(points, i, 0)
        alone = not len(others) or np.linalg.norm(others - point, axis=1).min() > 25
        if (point > 8).all() and (point < size - 9).all() and alone:
            assert np.linalg.norm(find(image, point) - point) < limit
            found += 1
    return found


def test_warp_moves_pixels_and_points_alike():
    rng = np.random.default_rng(0)
    checked = 0
    for _ in range(60):
        image, xy = dots(rng, int(rng.integers(80, 300)), int(rng.integers(80, 300)))
        size = (int(rng.integers(60, 250)), int(rng.integers(60, 250)))
        centre = np.array(image.shape[1::-1]) / 2
        matrix = affine.about(
            centre, np.array(size[::-1]) / 2, rng.uniform(0.35, 1.5), rng.uniform(-180, 180)
        )
        if rng.random() < 0.5:
            matrix = affine.mirrored(matrix, size[1])
        warped = affine.warp(image, matrix, size, fill=0)
        checked += check_dots(warped, affine.move(xy, matrix))
    assert checked > 60


def test_identity_and_whole_shifts_are_exact():
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(affine.warp(image, affine.IDENTITY, (20, 30)), image)
    shift = np.array([[1.0, 0, 3], [0, 1, 2]])
    np.testing.assert_array_equal(affine.warp(image, shift, (20, 30))[2:, 3:], image[:-2, :-3])
    mirror = affine.mirrored(affine.IDENTITY, 30)
    np.testing.assert_array_equal(affine.warp(image, mirror, (20, 30)), image[:, ::-1])


def test_shrinking_does_not_skip_detail():
    stripes = np.zeros((160, 160, 3), np.uint8)
    stripes[:, ::8] = 255  # one column in eight: every block of 8 has the same mean
    out = affine.warp(stripes, affine.fit((160, 160), (20, 20)), (20, 20))
    assert np.abs(out.astype(int) - 255 / 8).max() < 3


def test_maps_compose_and_invert():
    rng = np.random.default_rng(2)
    points = rng.uniform(-50, 50, (9, 2))
    for _ in range(20):
        one = affine.about(rng.uniform(-9, 9, 2), rng.uniform(-9, 9, 2), 0.7, rng.uniform(0, 360))
        two = affine.mirrored(affine.about(rng.uniform(-9, 9, 2), np.zeros(2), 1.8, 20), 64)
        joined = affine.move(points, affine.compose(two, one))
        np.testing.assert_allclose(joined, affine.move(affine.move(points, one), two), atol=1e-3)
        back = affine.move(affine.move(points, two), affine.inverse(two))
        np.testing.assert_allclose(back, points, atol=1e-3)
        assert affine.scale_of(two) == pytest.approx(1.8)


def test_augmented_pictures_keep_joints_on_their_dots():
    rng = np.random.default_rng(3)
    checked, mirrored = 0, 0
    for _ in range(50):
        example, xy = picture(rng)
        out = augment.augment_picture(example, (176, 208), rng, Changes(colour=0))
        matrix = out["matrix"].astype(float)
        mirrored += np.linalg.det(matrix[:, :2]) < 0
        places = np.array(augment.MIRROR)[:4] if np.linalg.det(matrix[:, :2]) < 0 else np.arange(4)
        np.testing.assert_allclose(out["xy"][0, places], affine.move(xy, matrix), atol=1e-2)
        assert (out["visible"][0, places] == 2).all()
        assert out["visible"].sum() == 8
        checked += check_dots(out["image"], out["xy"][0, places])
    assert checked > 60
    assert 10 < mirrored < 40


def test_the_person_has_the_size_asked_for():
    rng = np.random.default_rng(4)
    for _ in range(30):
        example, _ = picture(rng)
        out = augment.augment_picture(example, 224, rng, Changes(scale=(0.5, 1.1), person=0.6))
        box = example["boxes"][0]
        longer = (box[2:] - box[:2]).max() * affine.scale_of(out["matrix"].astype(float))
        assert 0.5 * 0.6 * 224 - 1 <= longer <= 1.1 * 0.6 * 224 + 1


def test_with_a_canvas_the_picture_has_the_size_that_a_detector_sees():
    """The longer side of the whole picture, whatever the size of the crop and of the person."""
    rng = np.random.default_rng(3)
    for height, width in ((120, 200), (300, 90)):
        example, _ = picture(rng, height, width)
        out = augment.augment_picture(example, 96, rng, Changes(canvas=192, scale=(0.75, 0.75)))
        factor = affine.scale_of(out["matrix"].astype(float))
        assert factor * max(height, width) == pytest.approx(0.75 * 192, rel=1e-5)


def test_same_random_numbers_same_picture():
    example, _ = picture(np.random.default_rng(5))
    one, two = (augment.augment_picture(example, 96, np.random.default_rng(9)) for _ in range(2))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_area_mask_marks_outside_ignore_and_surroundings():
    example, _ = picture(np.random.default_rng(6), 160, 160)
    example["visible"][:] = 0
    fitted = augment.fit_picture(example, (160, 320))  # 80 px of border left and right
    np.testing.assert_array_equal(fitted["area_mask"][:, 10:30], 1)
    assert fitted["area_mask"][:, :10].sum() == fitted["area_mask"][:, 30:].sum() == 0
    example["ignore"] = np.array([[0, 0, 39, 159]], np.float32)
    mask = augment.fit_picture(example, 160)["area_mask"]
    np.testing.assert_array_equal(mask[:, :5], 0)
    np.testing.assert_array_equal(mask[:, 5:], 1)
    example["visible"][0, 0], example["xy"][0, 0] = 2, (20, 80)  # a labelled joint in the crowd
    mask = augment.fit_picture(example, 160)["area_mask"]
    assert mask[10, 2] == 1
    assert mask[:5, :5].sum() == 0
    example["ignore"] = np.zeros((0, 4), np.float32)
    example["complete"] = np.asarray(False)
    example["boxes"] = np.array([[60, 60, 100, 100]], np.float32)  # 0.15 x 40 px wider
    mask = augment.fit_picture(example, 160)["area_mask"]
    np.testing.assert_array_equal(np.flatnonzero(mask.any(0)), np.arange(7, 13))


@pytest.mark.parametrize("masked", [True, False])
def test_outside_a_picture_is_masked_or_learnt_as_empty(masked):
    example, _ = picture(np.random.default_rng(5), 80, 80)
    out = augment.augment_picture(
        example, 96, np.random.default_rng(0), Changes(canvas=40, mask_outside=masked)
    )
    inside = out["area_mask"].mean()
    assert 0 < inside < 0.5 if masked else inside == 1


def test_people_beyond_the_maximum_are_counted_and_masked():
    example, _ = picture(np.random.default_rng(7), 160, 160)
    example["xy"] = np.repeat(example["xy"], 3, 0)
    example["visible"] = np.repeat(example["visible"], 3, 0)
    example["visible"][2, 3] = 0  # the third person has fewest joints
    example["boxes"] = np.array([[0, 0, 50, 159], [50, 0, 99, 159], [110, 0, 159, 159]], np.float32)
    example["xy"][2, :3] = [[130, 20], [130, 60], [130, 100]]
    out = augment.fit_picture(example, 160, max_people=2)
    assert out["overflow"] == 1
    assert out["xy"].shape == (2, 18, 2)
    assert out["area_mask"][:, 17:].sum() < out["area_mask"][:, 17:].size / 2
    assert augment.fit_picture(example, 160, max_people=4)["overflow"] == 0


def test_a_picture_without_people_gives_a_crop():
    example, _ = picture(np.random.default_rng(8))
    for name in ("xy", "visible", "boxes"):
        example[name] = example[name][:0]
    out = augment.augment_picture(example, 64, np.random.default_rng(0), max_people=3)
    assert out["visible"].sum() == 0
    assert out["image"].shape == (64, 64, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1)])
def test_pictures_of_one_pixel_survive(shape):
    example, _ = picture(np.random.default_rng(9))
    example["image"] = np.full((*shape, 3), 9, np.uint8)
    example["boxes"] = np.array([[0, 0, 0, 0]], np.float32)
    assert augment.fit_picture(example, 64)["image"].shape == (64, 64, 3)
    assert augment.augment_picture(example, 64, np.random.default_rng(0))["image"].max() <= 255


def test_colours_change_about_their_mean_and_zero_changes_none():
    image = np.random.default_rng(0).integers(60, 190, (30, 30, 3), np.uint8)
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(augment.change_colours(image, rng, 0.0), image)
    means = [augment.change_colours(image, rng, 0.25).mean() for _ in range(200)]
    assert np.std(means) > 5
    assert abs(np.mean(means) - image.mean()) < 5


# ------------------------------------------------------------------------------------------- clips


def clip(rng: np.random.Generator, frames: int = 3, height: int = 120, width: int = 160) -> dict:
    image, xy = dots(rng, height, width)
    joints, visible = np.zeros((frames, 1, 18, 2), np.float32), np.zeros((frames, 1, 18), np.uint8)
    joints[:, 0, :4], visible[:, 0, :4] = xy, 2
    return {
        "frames": np.repeat(image[None], frames, 0),
        "xy": joints,
        "visible": visible,
        "score": (visible > 0).astype(np.float32),
        "size": np.array([width, height], np.int32),
        "label": np.asarray(1, np.int32),
    }


def test_clips_have_one_map_and_joints_stay_on_their_dots():
    rng = np.random.default_rng(10)
    checked = 0
    for i in range(40):
        example = clip(rng)
        example["simulated"] = np.asarray(i % 2 == 1)
        out = augment.augment_clip(example, (112, 128), rng, colour=0)
        assert (out["frames"] == out["frames"][:1]).all()
        assert (out["xy"] == out["xy"][:1]).all()
        assert "simulated" not in out
        matrix = out["matrix"].astype(float)
        flipped = np.linalg.det(matrix[:, :2]) < 0
        places = augment.MIRROR[:4] if flipped else np.arange(4)
        expected = affine.move(example["xy"][0, 0, :4], matrix)
        np.testing.assert_allclose(out["xy"][0, 0, places], expected, atol=1e-2)
        if affine.scale_of(matrix) < 1.5:  # dots of a large zoom are wider than the search
            checked += check_dots(out["frames"][0], expected, 0.6)
    assert checked > 20


def test_labels_with_a_side_change_with_the_mirror():
    rng = np.random.default_rng(11)
    swap, kept = set(), set()
    for _ in range(20):
        out = augment.augment_clip(clip(rng), 64, rng, label_swap=(0, 2, 1))
        flipped = np.linalg.det(out["matrix"][:, :2]) < 0
        (swap if flipped else kept).add(int(out["label"]))
    assert swap == {2}
    assert kept == {1}


def test_new_pixels_of_simulated_clips_are_black_or_white():
    rng, fills = np.random.default_rng(12), set()
    for _ in range(20):
        example = clip(rng)
        example["simulated"] = np.asarray(True)
        example["frames"][:] = 100
        example["visible"][:] = 0  # no region: the clip is made smaller
        out = augment.augment_clip(
            example, (120, 160), rng, colour=0, rotation=0, flip=0, scale=(1, 1), shift=0
        )
        values = set(np.unique(out["frames"]))
        fills |= values & {0, 255}
        assert 100 in values
        assert values & {0, 255}
    assert fills == {0, 255}


def test_body_region_rules():
    size = (120, 160)
    small, large = np.array([70, 50, 90, 70.0]), np.array([10, 5, 150, 115.0])
    assert body_region.zoom_factor(small, size) == 4
    assert body_region.zoom_factor(np.array([60, 40, 100, 80.0]), size) == 2
    assert body_region.zoom_factor(large, size) == 1
    assert min(factor for _, factor in body_region.FACTORS) >= 2  # enlarged by at least one time
    np.testing.assert_array_equal(body_region.edge_move(small, size), (0, 0))
    at_left = np.array([-0.5, 30, 29.5, 90])
    np.testing.assert_array_equal(body_region.edge_move(at_left, size), (80, 0))
    at_corner = np.array([129.5, 79.5, 159.5, 119.5])
    np.testing.assert_array_equal(body_region.edge_move(at_corner, size), (-80, -60))
    tall = np.array([60, 29.5, 90, 119.5])
    np.testing.assert_array_equal(body_region.edge_move(tall, size), (0, -60))
    across = np.array([-0.5, 30, 159.5, 90])
    np.testing.assert_array_equal(body_region.edge_move(across, size), (0, 0))


def test_simulated_maps_zoom_or_move_by_the_rules():
    size, seen = (120, 160), set()
    region = np.array([-0.5, 30, 29.5, 60])  # under a third and at the left edge
    for seed in range(40):
        matrix = body_region.simulated_map(region, size, np.random.default_rng(seed))
        centre = affine.move((region[:2] + region[2:]) / 2, matrix)
        factor = round(affine.scale_of(matrix), 6)
        seen.add((factor, round(float(centre[0] - 14.5), 3)))
    # Zoomed where it stands it would leave the picture: it is moved by as much as it needs.
    assert seen == {(3.0, 80.0), (3.0, 30.0), (1.0, 80.0)}
    middle = np.array([20, 10, 140, 110.0])
    for seed in range(20):
        matrix = body_region.simulated_map(middle, size, np.random.default_rng(seed))
        corners = affine.move(np.array([[0, 0], [159, 119]]), matrix)
        assert 0.5 <= affine.scale_of(matrix) <= 0.8
        assert (corners >= -0.5).all()
        assert (corners <= (159.5, 119.5)).all()


@pytest.mark.parametrize(
    ("region", "factor"),
    [
        ([70, 40, 100, 80], 3.0),
        ([70, 10, 90, 110], 1.2),  # 100 of 120 pixels: a zoom of 3 would cut head and feet
        ([0, 50, 40, 119.5], 120 / 69.5),
        ([-0.5, -0.5, 19.5, 9.5], 4.0),
        ([-0.5, 19.5, 99.5, 119.5], 1.0),  # half the picture would take it out on the other side
        ([139.5, -0.5, 159.5, 119.5], 1.0),
    ],
)
def test_the_body_stays_in_a_simulated_picture(region, factor):
    size, region, factors = (120, 160), np.array(region, float), set()
    for seed in range(30):
        matrix = body_region.simulated_map(region, size, np.random.default_rng(seed))
        corners = affine.move(region.reshape(2, 2), matrix)
        assert (corners >= -0.501).all()
        assert (corners <= (159.501, 119.501)).all()
        factors.add(affine.scale_of(matrix))
    assert max(factors) == pytest.approx(factor, rel=1e-6)
    assert min(factors) == pytest.approx(factor) or min(factors) == 1


def test_simulated_clips_are_added_to_the_originals():
    labels = np.array([3, 4])
    source = Rows({"label": labels}, labels=labels, groups=np.array(["a", "b"]), names=("x", "y"))
    both = body_region.WithSimulated(source)
    assert len(both) == 4
    assert [int(both[i]["label"]) for i in range(4)] == [3, 4, 3, 4]
    assert [bool(both[i]["simulated"]) for i in range(4)] == [False, False, True, True]
    assert list(both.groups) == ["a", "b", "a", "b"]
    assert [both.name(i) for i in range(4)] == ["x", "y", "x", "y"]
    assert not both.heldout.any()


def test_joints_of_a_simulated_clip_follow_its_map_or_are_absent():
    xy = np.zeros((2, 1, 18, 2), np.float32)
    xy[:, 0, 0], xy[:, 0, 1], xy[:, 0, 2] = (70, 40), (100, 80), (-3, 60)  # the last is outside
    visible = np.zeros((2, 1, 18), np.uint8)
    visible[:, :, :3] = 2
    example = {"xy": xy, "visible": visible, "size": np.array([160, 120]), "label": np.asarray(4)}
    plain = augment.simulate_joints(example, (60, 80), np.random.default_rng(0))
    np.testing.assert_array_equal(plain["xy"], augment.fit_clip(example, (60, 80))["xy"])
    marked = {**example, "simulated": np.asarray(True)}
    out = augment.simulate_joints(marked, (60, 80), np.random.default_rng(0))
    assert "simulated" not in out
    region = body_region.body_region(xy, visible, (120, 160))
    change = body_region.simulated_map(region, (120, 160), np.random.default_rng(0))
    assert affine.scale_of(change) > 2
    expected = affine.move(xy[:, :, :2], affine.compose(affine.fit((120, 160), (60, 80)), change))
    np.testing.assert_allclose(out["xy"][:, :, :2], expected, atol=1e-4)
    np.testing.assert_array_equal(out["visible"][:, 0, :4], [[2, 2, 0, 0]] * 2)
    assert not out["xy"][:, :, 2:].any()
    assert visible[0, 0, 2] == 2  # the source keeps its own


def test_fitted_clips_are_whole_and_centred():
    example = clip(np.random.default_rng(13))
    out = augment.fit_clip(example, (120, 200))
    np.testing.assert_array_equal(out["frames"][:, :, 20:180], example["frames"])
    np.testing.assert_allclose(out["xy"][0, 0, :4], example["xy"][0, 0, :4] + (20, 0), atol=1e-4)


@pytest.mark.parametrize("shape", [(100, 2000), (2000, 100), (101, 1999), (342, 1007)])
def test_a_shrunk_picture_keeps_its_places_whatever_its_sides_are(shape):
    """Sides that whole blocks of pixels do not fill."""
    side = 128
    matrix = affine.fit(shape, (side, side))
    middle = (np.array(shape[::-1]) - 1) / 2
    y, x = np.mgrid[: shape[0], : shape[1]]
    width = 2 / affine.scale_of(matrix)
    dot = 255 * np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / (2 * width**2))
    image = np.repeat(dot.round().astype(np.uint8)[..., None], 3, -1)
    out = affine.warp(image, matrix, (side, side), fill=0)[..., 0].astype(float)
    y, x = np.mgrid[:side, :side]
    place = np.array([(out * x).sum(), (out * y).sum()]) / out.sum()
    np.testing.assert_allclose(place, affine.move(middle, matrix), atol=0.06)


@pytest.mark.parametrize(
    "shape",
    [(480, 639), (512, 341), (640, 427), (641, 480), (128, 85), (128, 86), (90, 61)],
)
def test_the_mirrored_picture_gives_the_mirrored_canvas(shape):
    """Within Pillow's last bit; else a detector that averages both finds other people there."""
    image = np.random.default_rng(4).integers(0, 256, (*shape, 3)).astype(np.uint8)
    fit = affine.fit(shape, (128, 128))
    one = affine.warp(image, fit, (128, 128)).astype(int)
    other = affine.warp(np.ascontiguousarray(image[:, ::-1]), fit, (128, 128)).astype(int)
    assert np.abs(one - other[:, ::-1]).max() <= 1
