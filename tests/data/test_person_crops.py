"""Crops of people: depth in the crop's unit, mirrors, 2D and 3D sets in one stream."""

from itertools import islice

import jax
import numpy as np
import pytest

from bodyjax.data import affine, feeds, person_crops
from bodyjax.data.pictures.rendered_people import people
from bodyjax.data.pictures.simulated3d import SimulatedPeople
from bodyjax.data.poses3d.mocap import heights
from bodyjax.data.poses3d.rendered import rendered
from bodyjax.errors import ConfigError, DataError
from bodyjax.skeleton import H36M17
from bodyjax.systems.lifter_pictures import in_space
from configs import lifter
from tests.picture_sets import people_set

SIMULATED = SimulatedPeople("train", 8, (96, 96))


def rendered_set(folder, **changes):
    """Four pictures of simulated people with the arrays of data/people."""
    made = [SIMULATED[number] for number in range(4)]
    xyz = np.stack([one["xyz"][0] for one in made])
    lens = np.stack([one["camera"][0] for one in made])
    xy = lens[:, None, :2] * xyz[..., :2] / xyz[..., 2:] + lens[:, None, 2:] + 0.5
    arrays = {
        "coco_2d": xy, "coco_3d": xyz, "coco_vis": np.full((4, 17), 2, np.uint8),
        "h36m_2d": xy, "h36m_3d": xyz, "h36m_vis": np.full((4, 17), 2, np.uint8),
        "image_K": lens + np.array([0, 0, 0.5, 0.5]), "person_height_mm": heights(xyz),
        "person_box": np.concatenate([xy.min(1), xy.max(1)], 1),
    }  # fmt: skip
    return people_set(folder, **{**arrays, **changes})


def test_simulated_people_are_projected_to_their_joints():
    for number in range(4):
        example = SIMULATED[number]
        lens, xyz = example["camera"][:, None], example["xyz"]
        again = lens[..., :2] * xyz[..., :2] / xyz[..., 2:] + lens[..., 2:]
        there = example["visible"] > 0
        np.testing.assert_allclose(example["xy"][there], again[there], atol=1e-3)
        assert there[0].sum() >= 4
    assert SimulatedPeople("valid", 4).fingerprint != SimulatedPeople("train", 4).fingerprint


@pytest.mark.parametrize("number", range(4))
def test_a_crops_pixels_and_depth_are_the_pose(number):
    example = SIMULATED[number]
    matrix = person_crops.crop_map(example["boxes"][0], 64, 0.8)
    xyz, lens = example["xyz"][0], example["camera"][0]
    depth, known = person_crops.depths(xyz, lens, matrix, 64)
    assert known.all()
    assert depth[0] == 0
    xy = affine.move(lens[:2] * xyz[:, :2] / xyz[:, 2:] + lens[2:], matrix)
    seen_by = person_crops.moved_camera(lens, matrix)
    found = jax.jit(in_space, static_argnums=4)(
        xy[None], depth[None], seen_by[None], heights(xyz[None]), 64
    )
    np.testing.assert_allclose(found[0], xyz - xyz[0], atol=0.05)


def test_a_mirrored_crop_swaps_sides_and_keeps_depth():
    example = SIMULATED[0]
    matrix = person_crops.crop_map(example["boxes"][0], 64, 0.6)
    plain = person_crops.cropped(example, 0, matrix, 64, flipped=False)
    other = person_crops.cropped(example, 0, affine.mirrored(matrix, 64), 64, flipped=True)
    order = np.array(H36M17.mirror)
    there = other["visible"] > 0
    np.testing.assert_allclose(
        other["xy"][there], (plain["xy"][order] * [-1, 1] + [63, 0])[there], atol=1e-3
    )
    np.testing.assert_array_equal(other["depth"], plain["depth"][order])
    np.testing.assert_array_equal(other["image"], plain["image"][:, ::-1])


def test_pictures_without_3d_labels_and_joints_without_a_place_have_no_depth():
    example = dict(SIMULATED[0])
    example["xyz"] = example["xyz"].copy()
    example["xyz"][0, 5] = np.nan
    crop = person_crops.PersonCrop(64, 0.6, 0.0, 0.0)
    made = crop(example, np.random.default_rng(0))
    assert np.isfinite(made["depth"]).all()
    flat = {name: value for name, value in example.items() if name not in ("xyz", "camera")}
    assert not crop(flat, np.random.default_rng(0))["depth_mask"].any()


def config(path, **data):
    made = lifter.get_config("tiny")
    made.data.path = str(path)
    made.data.update({"batch": 4, **data})
    return made


def test_2d_and_3d_sets_are_mixed_or_take_turns(tmp_path):
    rendered_set(tmp_path / "deep", image_split=np.array(["train"] * 4))
    people_set(tmp_path / "flat")
    sets = {"sets": {"flat": 1.0}, "deep": {"simulated": 0.0, "deep": 1.0}, "valid": ""}
    mixed = feeds.open_feed(config(tmp_path, **sets))
    deep = [b["depth_mask"].any(-1).sum() for b in islice(mixed.train_batches(0), 4)]
    assert sum(deep) == 8
    turns = feeds.open_feed(config(tmp_path, **sets, alternate=True))
    each = [b["depth_mask"].any() for b in islice(turns.train_batches(0), 6)]
    assert each == [False, True] * 3
    whole, later = turns.train_batches(0), turns.train_batches(3)
    third = list(islice(whole, 4))[3]
    np.testing.assert_array_equal(next(later)["image"], third["image"])
    assert mixed.fingerprint != turns.fingerprint


def test_a_part_of_the_3d_pictures(tmp_path):
    source = people(rendered_set(tmp_path / "deep"), "all", joints=H36M17)
    half = person_crops.thinned(source, 0.5)
    assert len(half) == 2
    assert set(half.names) < set(source.names)
    assert set(person_crops.thinned(source, 0.25).names) < set(half.names)


def test_impossible_settings_are_told_by_their_field(tmp_path):
    for data, words in (
        ({"deep": {}, "sets": {}}, "no set has a share"),
        ({"deep": {"none": 1.0}}, "no 3D-labelled set 'none'"),
        ({"alternate": True}, r"data\.alternate"),
        ({"deep_share": 0.0}, r"data\.deep_share"),
    ):
        made = config(tmp_path)
        made.data.unlock()
        for name, value in data.items():
            made.data[name] = value
        with pytest.raises(ConfigError, match=words):
            feeds.open_feed(made)


def test_rendered_people_as_poses(tmp_path):
    folder = rendered_set(tmp_path / "deep")
    rows = rendered(folder, "all")
    assert rows.arrays["xyz"].shape == (4, 20, 3)
    assert rows.heldout.tolist() == [False, False, False, True]
    tall = heights(rows.arrays["xyz"][:, :17])
    np.testing.assert_allclose(tall, 1.0, atol=1e-5)
    assert (rows.arrays["score"] == 0).all()
    found = {"rows": [2], "xy": np.ones((1, 18, 2)), "score": np.full((1, 18), 0.5)}
    np.savez(tmp_path / "found.npz", skeleton="body18", **found)
    scores = rendered(folder, "all", tmp_path / "found.npz").arrays["score"]
    assert (scores[2] == 0.5).all()
    assert (scores[[0, 1, 3]] == 0).all()
    np.savez(tmp_path / "found.npz", skeleton="body18", **{**found, "rows": [4]})
    with pytest.raises(DataError, match="person 4 of 4"):
        rendered(folder, "all", tmp_path / "found.npz")


def test_rendered_people_that_cannot_be_lifted(tmp_path):
    xyz = np.stack([SIMULATED[number]["xyz"][0] for number in range(4)])
    lens = np.tile(np.array([100.0, 100, 48, 48]), (4, 1))
    lens[1, 0] = 0.0
    for changes, words in (
        ({"image_K": lens}, r"picture 1\.png: a camera whose focal length"),
        ({"h36m_3d": xyz / 1000}, "look like metres"),
        ({"h36m_3d": xyz[:, :13]}, "want h36m_3d"),
        ({"person_area": np.full(4, 20.0)}, "nobody in part"),
    ):
        with pytest.raises(DataError, match=words):
            rendered(rendered_set(tmp_path / "deep", **changes), "all")


def wrong(**changes):
    """Arrays of `rendered_set`, changed."""
    made = [SIMULATED[number] for number in range(4)]
    xyz = np.stack([one["xyz"][0] for one in made])
    lens = np.stack([one["camera"][0] for one in made])
    return {name: change(xyz if name == "h36m_3d" else lens) for name, change in changes.items()}


def set_at(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


BAD = {
    "no known joint": ({"h36m_3d": lambda a: set_at(a, 1, np.nan)}, "pose 1: joints that are not"),
    "infinite": ({"h36m_3d": lambda a: set_at(a, (2, 3, 0), np.inf)}, "pose 2: joints that are"),
    "16 joints": ({"h36m_3d": lambda a: a[:, :16]}, r"want h36m_3d \(4, 17, 3\), got"),
    "metres": ({"h36m_3d": lambda a: a / 1000}, "look like metres: multiply by 1000"),
    "no focal length": ({"image_K": lambda a: set_at(a, (1, 0), 0)}, "picture 1.png: a camera"),
    "focal length NaN": ({"image_K": lambda a: set_at(a, (1, 0), np.nan)}, "picture 1.png: a cam"),
    "height": ({"person_height_mm": lambda a: np.full(4, 1.7)}, r"person 0: 1.7 is no person's h"),
}


@pytest.mark.parametrize("name", BAD)
def test_labels_in_space_that_cannot_be_are_one_line_for_both_kinds_of_lifters(name, tmp_path):
    changes, said = BAD[name]
    folder = rendered_set(tmp_path / "people", **wrong(**changes))
    for opened in (
        lambda: rendered(folder, "all"),
        lambda: person_crops.deep_source("people", tmp_path, "trainvalid"),
    ):
        with pytest.raises(DataError, match=said) as error:
            opened()
        assert "\n" not in str(error.value)


def test_a_single_unknown_joint_in_space_is_no_mistake(tmp_path):
    folder = rendered_set(tmp_path / "people", **wrong(h36m_3d=lambda a: set_at(a, (1, 5), np.nan)))
    people = rendered(folder, "all")
    assert np.isnan(people.arrays["xyz"][1, 5]).all()
    assert len(person_crops.deep_source("people", tmp_path, "trainvalid")) == 3
