"""Stored maps of a teacher follow the picture, turned, scaled, moved, mirrored; what they teach."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import codec, skeleton
from bodyjax.data import affine, feeds
from bodyjax.data.pictures.map_store import Form
from bodyjax.data.pictures.teacher import TaughtByMaps
from bodyjax.errors import ConfigError
from bodyjax.models.pose import Maps
from bodyjax.skeleton import BODY18
from bodyjax.systems import build
from bodyjax.systems.moved_maps import MapForm, between, moved
from bodyjax.systems.teaching import Teaching
from configs.pose import get_config
from tests.systems.test_teaching import label_term, random_maps
from tests.systems.tiny_pose import BONES, KEY, PLAIN, close, largest, scene, value_and_grad

FORM = MapForm(4, 64)
OTHER = skeleton.make(  # the student's limbs, and their mirror images
    "both", " ".join(BONES.joints), "neck-left_shoulder neck-right_shoulder neck-left_hip "
    "neck-right_hip neck-left_eye neck-right_eye",
)  # fmt: skip
TAUGHT = dataclasses.replace(PLAIN, teaching=Teaching(None, OTHER, 0.4, 0.4, 0, maps=FORM))
SIDE = 128
JOINTS = len(BODY18.joints)


@pytest.fixture(scope="module")
def example():
    """A person whose joints lie apart, on a picture of 100 x 120."""
    rng = np.random.default_rng(3)
    angle = 2 * np.pi * (np.arange(JOINTS) * 7 % JOINTS) / JOINTS
    reach = rng.uniform(25, 40, JOINTS)
    xy = np.array([60, 50]) + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    return {
        "image": np.zeros((100, 120, 3), np.uint8), "xy": xy[None].astype(np.float32),
        "visible": np.full((1, JOINTS), 2, np.uint8), "ignore": np.zeros((0, 4), np.float32),
        "boxes": np.array([[15, 5, 105, 95]], np.float32), "joint_mask": np.ones(JOINTS, bool),
        "complete": np.asarray(True), "id": np.asarray(1),
    }  # fmt: skip


def apply(maps, matrix, form, shape, stride):
    """`moved` of one picture of BODY18, in NumPy and without its batch."""
    run = jax.jit(lambda maps, matrix: moved(maps, matrix, BODY18, form, shape, stride))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], run(maps[None], matrix[None]))


def canvas_maps(example, stride=4, sigma=16.0, width=14.0):
    """What a perfect teacher says on its canvas, and where that lies."""
    matrix = affine.fit(example["image"].shape[:2], (SIDE, SIDE))
    xy, shape = affine.move(example["xy"], matrix), (SIDE // stride,) * 2
    heat = codec.heatmaps(xy, example["visible"], shape, stride, sigma)
    fields = codec.pafs(xy, example["visible"], BODY18.limbs, shape, stride, width)
    return np.concatenate([heat, fields], -1).astype(np.float16), matrix


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("stride", [4, 8])
def test_maps_move_as_the_picture_and_its_joints(example, flip, seed, stride):
    maps, canvas = canvas_maps(example)
    options = {"flip": flip, "canvas": 130, "scale": (0.8, 1.3), "rotation": 180.0}
    transform = TaughtByMaps(feeds.TrainPicture((96, 128), stride, 1, options),
                             Form("body18", 4, SIDE))  # fmt: skip
    taught = {**example, "teacher_maps": maps, "teacher_canvas": canvas}
    out = transform(taught, np.random.default_rng(seed))
    matrix = out["teacher_matrix"]
    assert (np.linalg.det(matrix[:, :2]) < 0) == bool(flip)
    shape = (96 // stride, 128 // stride)
    found = apply(maps, matrix, MapForm(4, SIDE), shape, stride)
    scale = affine.scale_of(matrix)
    xy, visible = out["xy"], out["visible"]
    heat = codec.heatmaps(xy, visible, shape, stride, 16.0 * scale)
    seen = found.seen[..., 0]
    assert seen.any()
    rows, columns = (stride * np.arange(n) + (stride - 1) / 2 for n in shape)
    places = np.stack(np.meshgrid(columns, rows), -1)
    source = affine.move(places, affine.inverse(matrix.astype(np.float64)))
    np.testing.assert_array_equal(seen, ((source >= -0.5) & (source <= SIDE - 0.5)).all(-1))
    error = np.abs(found.heatmaps - np.asarray(heat)).max(-1)
    # A Gaussian of four cells, linear between them, and level beyond the last one's centre.
    assert error[((source >= 1.5) & (source <= SIDE - 2.5)).all(-1)].max() < 0.02
    assert error[seen].max() < 0.08
    # In the middle of each limb its field is the unit vector along it, in the new picture.
    fields = found.pafs.reshape(*shape, -1, 2)
    looked = 0
    for k, (a, b) in enumerate(BODY18.limbs):
        middle = (xy[0, a] + xy[0, b]) / 2
        column, row = np.rint((middle - (stride - 1) / 2) / stride).astype(int)
        if 0 <= row < shape[0] and 0 <= column < shape[1] and seen[row, column]:
            along = (xy[0, b] - xy[0, a]) / np.linalg.norm(xy[0, b] - xy[0, a])
            np.testing.assert_allclose(fields[row, column, k], along, atol=5e-3)
            looked += 1
    assert looked > 5


def test_an_unchanged_picture_has_the_teacher_s_own_maps(example):
    maps, _ = canvas_maps(example)
    same = affine.IDENTITY.astype(np.float32)
    found = apply(maps, same, MapForm(4, SIDE), (32, 32), 4)
    both = np.concatenate([found.heatmaps, found.pafs], -1)
    np.testing.assert_allclose(both, maps, atol=1e-6)
    assert found.seen.all()
    coarse = apply(maps, same, MapForm(4, SIDE), (16, 16), 8)
    blocks = maps.astype(np.float32).reshape(16, 2, 16, 2, -1).mean((1, 3))
    both = np.concatenate([coarse.heatmaps, coarse.pafs], -1)
    np.testing.assert_allclose(both, blocks, atol=1e-5)


def test_outside_its_canvas_a_teacher_says_nothing():
    maps = np.ones((4, 4, JOINTS + 2 * len(BODY18.limbs)), np.float16)
    right = np.array([[1, 0, 16], [0, 1, 0]], np.float32)
    seen = apply(maps, right, MapForm(8, 32), (4, 4), 8).seen[..., 0]
    np.testing.assert_array_equal(seen, np.tile([False, False, True, True], (4, 1)))


def test_between_cells_values_are_linear():
    rows, columns = np.mgrid[:3, :4]
    maps = jnp.asarray(np.stack([rows + 10 * columns, rows * columns], -1), jnp.float32)
    places = jnp.array([[0.25, 0.5], [3.0, 2.0], [-4.0, 9.0], [1.5, 1.5]])
    found = between(maps, places)
    np.testing.assert_allclose(found[:, 0], [3.0, 32.0, 2.0, 16.5], rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], [0.125, 6.0, 0.0, 2.25], rtol=1e-6)


# ---- in the loss


def mapped(system, rows=3):
    """A batch whose stored maps are the drawn labels, of a canvas of the picture's own size."""
    batch = scene(system, rows)
    xy, visible = batch["xy"], batch["visible"]
    heat = codec.heatmaps(xy, visible, (16, 16), 4, 8.0)
    fields = codec.pafs(xy, visible, OTHER.limbs, (16, 16), 4, 6.0)
    batch["teacher_maps"] = np.concatenate([heat, fields], -1).astype(np.float16)
    batch["teacher_matrix"][:] = affine.IDENTITY
    batch["teacher_known"][:] = True
    return {name: jnp.asarray(array) for name, array in batch.items()}


def test_stored_maps_that_are_the_labels_cost_what_they_do():
    form = MapForm(8, 64)  # the student's own cells: nothing is between them
    teaching = dataclasses.replace(TAUGHT.teaching, maps=form)
    system = dataclasses.replace(TAUGHT, paf_weight=2.0, teaching=teaching)
    batch, maps = mapped(TAUGHT), random_maps()
    target = system.targets(batch)
    fields = codec.pafs(batch["xy"], batch["visible"], OTHER.limbs, (8, 8), 8, 6.0)
    drawn = np.concatenate([target.heatmaps[..., :-1], fields], -1)
    batch["teacher_maps"] = jnp.asarray(drawn, jnp.float16)
    teacher, taught = jax.jit(system.teacher_loss)({}, batch, maps, {})
    np.testing.assert_allclose(teacher, label_term(system, maps, target), rtol=1e-3)
    assert taught.tolist() == [1, 1, 1]


def test_nothing_is_taught_outside_the_canvas_and_without_maps():
    batch, maps = mapped(TAUGHT), random_maps()
    batch["teacher_matrix"] = batch["teacher_matrix"].at[0, 0, 2].set(16.0)
    batch["teacher_known"] = batch["teacher_known"].at[1].set(False)
    term = jax.value_and_grad(lambda m: TAUGHT.teacher_loss({}, batch, m, {}), has_aux=True)
    (_, taught), slope = jax.jit(term)(maps)
    for part in (slope.heatmaps, slope.pafs):
        assert not np.any(part[:, 0, :, :2])
        assert np.any(part[:, 0, :, 2:])
        assert not np.any(part[:, 1])
        assert np.any(part[:, 2])
    assert taught.tolist() == [1, 0, 1]


def test_gradients_reach_the_student_alone():
    batch, maps = mapped(TAUGHT), random_maps()

    def loss(stored, matrix, student):
        changed = {**batch, "teacher_maps": stored, "teacher_matrix": matrix}
        return TAUGHT.teacher_loss({}, changed, student, {})[0]

    stored = batch["teacher_maps"].astype(jnp.float32)
    slopes = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(stored, batch["teacher_matrix"], maps)
    assert not np.any(slopes[0])
    assert not np.any(slopes[1])
    assert np.any(slopes[2].heatmaps)
    assert np.any(slopes[2].pafs)


def test_the_loss_is_that_of_the_labels_and_of_the_maps(variables, plain):
    counting = jax.tree.map(lambda leaf: leaf, variables)
    counting["batch_stats"] = {
        **variables["batch_stats"], "teaching": {"step": jnp.zeros(())},
    }  # fmt: skip
    run, batch = value_and_grad(TAUGHT), mapped(TAUGHT)
    value, aux, _ = run(counting, batch)
    label, _, plain_grads = plain(variables, {n: batch[n] for n in PLAIN.batch_spec(3)})
    np.testing.assert_allclose(value, 0.6 * label + 0.4 * aux.metrics["teacher"][0], rtol=1e-4)
    batch["teacher_known"] = jnp.zeros(3, bool)
    value, aux, grads = run(counting, batch)
    np.testing.assert_allclose(value, label, rtol=1e-5)
    assert aux.metrics["teacher"][0] == 0
    assert close(grads, plain_grads)
    batch["area_mask"], batch["teacher_known"] = 0 * batch["area_mask"], jnp.ones(3, bool)
    value, aux, grads = run(counting, batch)
    np.testing.assert_allclose(value, 0.4 * aux.metrics["teacher"][0], rtol=1e-5)
    assert largest(grads) > 0


def test_teacher_and_student_may_differ_in_skeleton_and_stride():
    other = skeleton.get("coco17")
    teaching = Teaching(None, other, 0.5, 0.5, 0, maps=MapForm(4, 96))
    system = dataclasses.replace(PLAIN, teaching=teaching)
    spec = system.batch_spec(2)
    assert spec["teacher_maps"].shape == (2, 24, 24, 17 + 2 * len(other.limbs))
    batch = {name: jnp.ones(one.shape, one.dtype) for name, one in spec.items()}
    batch["teacher_matrix"] = jnp.tile(jnp.eye(2, 3), (2, 1, 1))
    maps = Maps(*(leaf[:, :2] for leaf in random_maps()[:2]))
    slope = jax.jit(jax.grad(lambda m: system.teacher_loss({}, batch, m, {})[0]))(maps)
    taught = [np.any(slope.heatmaps[..., j]) for j in range(len(BONES.joints))]
    assert taught == [joint in other.joints for joint in BONES.joints]


def test_mistakes_about_stored_maps_are_one_line():
    config = get_config("imagenet_distilled").to_dict()
    config["distill"] |= {"stored": "runs/maps", "pairing": "same"}
    config["distill"]["maps"] = {"skeleton": "body18", "stride": 4, "size": 256}
    with pytest.raises(ConfigError, match=r"distill.pairing: 'same' should be last: stored maps"):
        build(config)
    config["distill"]["pairing"] = "last"
    spec = build(config).batch_spec(2)
    assert spec["teacher_maps"].shape == (2, 64, 64, 56)
    assert "teacher_xy" not in spec
    assert jax.eval_shape(build(config).init, KEY)["frozen"] == {}
