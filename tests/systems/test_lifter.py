"""System C: which parameters move under which loss, missing labels, and poses in space."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import camera, skeleton, systems
from bodyjax.errors import ConfigError
from bodyjax.skeleton import H36M17, LIFT16
from bodyjax.systems.lifter_bones import BONES, GROUPS, LENGTHS
from bodyjax.systems.lifter_pictures import in_space
from configs import lifter as configs
from tests.shared import shared


def tiny(**loss):
    config = configs.get_config("tiny")
    config.loss.update(loss)
    return systems.build(config)


def pictures(deep):
    """A batch of two pictures, with 3D labels where `deep` says."""
    rng = np.random.default_rng(0)
    deep = np.asarray(deep)
    return {
        "image": rng.integers(0, 255, (2, 64, 64, 3), np.uint8),
        "xy": rng.uniform(8, 56, (2, 17, 2)).astype(np.float32),
        "visible": np.full((2, 17), 2, np.uint8),
        "joint_mask": np.ones((2, 17), bool),
        "depth": rng.normal(0, 0.1, (2, 17)).astype(np.float32),
        "depth_mask": np.repeat(deep[:, None], 17, 1),
    }


@pytest.fixture(scope="module")
def variables():
    return jax.jit(tiny().init)(jax.random.key(1))


def moved(system, variables, batch):
    """The parts of the network with a gradient other than 0, of those that end in depth or heat."""

    def value(params):
        return system.loss({**variables, "params": params}, batch, jax.random.key(0))[0]

    slopes = jax.jit(jax.grad(value))(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    return {
        name for name in slopes if any(np.abs(x).max() > 0 for x in jax.tree.leaves(slopes[name]))
    }


def test_a_2d_label_reaches_the_depth_head_through_the_geometric_loss_alone(variables):
    flat, deep = pictures([False, False]), pictures([True, True])
    head, heat = "stage1_depth", "stage1_heatmaps"
    assert head not in moved(tiny(geometric=0.0, depth=1.0), variables, flat)
    assert head in moved(tiny(geometric=1.0, depth=0.0), variables, flat)
    assert head not in moved(tiny(geometric=1.0, depth=0.0), variables, deep)
    both = moved(tiny(geometric=0.0, depth=1.0), variables, deep)
    assert {head, heat, "pyramid"} <= both
    assert "backbone" not in both  # frozen


@pytest.mark.slow
def test_bones_of_3d_labels_teach_the_heat_maps_and_not_the_depth(variables):
    batch = pictures([True, True])
    batch["joint_mask"][:] = False  # no Gaussians
    head, heat = "stage1_depth", "stage1_heatmaps"
    quiet = {"geometric": 0.0, "depth": 0.0}
    assert heat not in moved(tiny(**quiet), variables, batch)
    parts = moved(tiny(heat_bones=1.0, **quiet), variables, batch)
    assert {heat, "pyramid"} <= parts
    assert head not in parts
    batch["depth_mask"][:] = False
    assert not moved(tiny(heat_bones=1.0, **quiet), variables, batch)


@pytest.mark.parametrize("read", ["bilinear", pytest.param("mean", marks=pytest.mark.slow)])
@pytest.mark.parametrize("deep", [[False, False], [True, True], [True, False]])
def test_missing_joints_and_bones_of_length_0_give_no_nan(variables, deep, read):
    config = configs.get_config("tiny")
    config.model.read, config.loss.by_share = read, True
    batch = pictures(deep)
    batch["visible"][0], batch["depth_mask"][0] = 0, False
    batch["xy"][0] = np.nan
    batch["xy"][1, 3] = batch["xy"][1, 2]
    batch["depth"][~batch["depth_mask"]] = np.nan
    moved(systems.build(config), variables, batch)


@pytest.mark.slow
def test_coordinates_can_be_the_loss_of_the_heat_maps(variables):
    system = tiny(coordinates=True, geometric=0.0)
    assert "stage1_heatmaps" in moved(system, variables, pictures([False, False]))


def test_a_joint_that_is_not_taught_has_no_part_in_the_loss(variables):
    system, batch = tiny(geometric=0.0), pictures([False, False])
    batch["joint_mask"][:, 4] = False
    run = jax.jit(lambda batch: system.loss(variables, batch, jax.random.key(0))[0])
    before = run(batch)
    batch["xy"][:, 4] += 9.0
    assert run(batch) == before


def seen_pose(seed=0):
    """A person, the joints of lift16 in pixels, a wide camera far off its axis."""
    rng = np.random.default_rng(seed)
    lens = np.array([[300.0, 300.0, 128.0, 128.0]], np.float32)
    root = np.array([700.0, -300.0, 1800.0])
    pose = rng.normal(0, 300, (17, 3))
    pose[0] = 0
    return (pose + root).astype(np.float32), lens


def test_pixels_and_true_depth_give_back_the_pose():
    xyz, lens = seen_pose()
    xy = np.asarray(jax.jit(camera.project)(xyz, lens[0]))
    ray = xyz[0] / np.linalg.norm(xyz[0])
    depth = ((xyz - xyz[0]) @ ray) * lens[0, 0] / xyz[0, 2] / 128
    flat = jax.jit(partial(in_space, size=128))
    once = np.asarray(flat(xy[None], depth[None], lens, np.ones(1)))[0]
    truth = xyz - xyz[0]
    scale = np.linalg.norm(truth) / np.linalg.norm(once)
    np.testing.assert_allclose(once * scale, truth, atol=0.05)


def joints_system():
    config = configs.get_config("maps")
    config.model.update({"width": 16, "blocks": 1})
    config.data.views = 2
    return systems.build(config)


def test_a_mirrored_person_is_lifted_to_the_mirror_image():
    system = joints_system()
    variables = jax.jit(system.init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    xy = rng.uniform(50, 200, (3, 16, 2)).astype(np.float32)
    score = rng.uniform(0.3, 1, (3, 16)).astype(np.float32)
    lens = np.tile(np.array([300.0, 300.0, 128.0, 128.0], np.float32), (3, 1))
    tall = np.full(3, 1700.0, np.float32)
    predict = jax.jit(system.predict)
    one = predict(variables, {"xy": xy, "score": score, "camera": lens, "height": tall})["xyz"]
    order = np.array(LIFT16.mirror)
    flipped = xy[:, order] * [-1, 1] + [256, 0]
    batch = {"xy": flipped, "score": score[:, order], "camera": lens, "height": tall}
    two = predict(variables, batch)["xyz"]
    back = np.asarray(two)[:, np.array(H36M17.mirror)] * [-1, 1, 1]
    np.testing.assert_allclose(one, back, atol=0.2)


def test_unknown_joints_in_space_do_not_count():
    system = joints_system()
    variables = jax.jit(system.init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    batch = {name: np.zeros(spec.shape, spec.dtype) for name, spec in system.batch_spec(2).items()}
    batch["xy"] = rng.normal(size=batch["xy"].shape).astype(np.float32)
    batch["score"][:], batch["camera"][:] = 1.0, [1, 1, 0, 0]
    batch["xyz"] = rng.normal(size=batch["xyz"].shape).astype(np.float32)
    batch["xyz"][0, :, 5] = np.nan

    def value(params):
        return system.loss({**variables, "params": params}, batch, jax.random.key(0))

    (loss, aux), slope = jax.jit(jax.value_and_grad(value, has_aux=True))(variables["params"])
    assert aux.metrics["loss"][1] == 2 * 2 * 17 - 2
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    batch["xyz"][:] = np.nan
    assert jnp.isfinite(jax.jit(value)(variables["params"])[0])


def test_bone_groups_are_those_of_the_set():
    import json

    table = json.loads((shared("data/real3d") / "bone_groups.json").read_text())
    for group in table["groups"]:
        mine = {frozenset(BONES[i]) for i in GROUPS[group["name"]]}
        assert mine == {frozenset(bone["joints"]) for bone in group["bones"]}
        for bone in group["bones"]:
            at = [frozenset(b) for b in BONES].index(frozenset(bone["joints"]))
            assert LENGTHS[at] == pytest.approx(bone["mean_mm"])


def test_wrong_settings_are_told_by_their_field():
    for variant, field, value in (
        ("tiny", "size", 100),
        ("tiny", "read", "nearest"),
        ("tiny", "input", "sound"),
        ("maps", "dropout", 1.0),
        ("maps", "width", 0),
    ):
        config = configs.get_config(variant)
        config.model[field] = value
        with pytest.raises(ConfigError, match=rf"model\.{field}"):
            systems.build(config)


def test_the_skeleton_of_seen_joints_takes_the_ears_middle_as_head():
    xy, visible = np.zeros((17, 2)), np.full(17, 2)
    xy[skeleton.COCO17.index("left_ear")] = [4, 2]
    moved_xy, seen = skeleton.convert(xy, visible, skeleton.COCO17, LIFT16)
    assert moved_xy[LIFT16.index("head")].tolist() == [2, 1]
    assert seen.all()
