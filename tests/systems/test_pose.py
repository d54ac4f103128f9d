"""The detector as a system: labels, masks, losses, hard joints, teachers, prediction, configs."""

import dataclasses

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from bodyjax import losses, skeleton, start
from bodyjax.engine import checkpoint, loop
from bodyjax.errors import CheckpointError, ConfigError
from bodyjax.models.backbone import Norm
from bodyjax.models.pose import Maps, MultiStagePose
from bodyjax.systems import build
from bodyjax.systems.pose import Pose, cost
from bodyjax.systems.teaching import Teaching, around, common_maps
from configs.pose import VARIANTS, get_config

pytestmark = pytest.mark.slow  # minutes of compiling: make test-all

BONES = skeleton.make(
    "seven", "neck left_shoulder right_shoulder left_hip right_hip left_eye right_eye",
    "neck-left_shoulder neck-right_hip neck-left_eye",
)  # fmt: skip
EYES = [BONES.index("left_eye"), BONES.index("right_eye")]
KEY = jax.random.key(0)


class Patches(nn.Module):
    """The smallest backbone: one convolution over cells of 8 x 8 pixels."""

    width: int = 8

    @nn.compact
    def __call__(self, pixels, train=False):
        x = pixels.astype(jnp.float32) / 255 - 0.5
        x = nn.Conv(self.width, (8, 8), (8, 8), use_bias=False, name="conv")(x)
        return {8: nn.relu(Norm(name="norm")(x, train))}


def network(width=8, stages=2):
    return MultiStagePose(
        Patches(width), len(BONES.joints), len(BONES.limbs), stages=stages, light=True, width=width
    )


PLAIN = Pose(network(), BONES, (64, 64), 2, 8.0, 6.0, 10.0, 1.0, 0, 0)
HARD = dataclasses.replace(PLAIN, hard_joints=2, hard_stages=1)
STORED = dataclasses.replace(PLAIN, teaching=Teaching(None, BONES, 0.4, 0.4, 0))
TAUGHT = dataclasses.replace(PLAIN, teaching=Teaching(network(16, 1), BONES, 0.25, 0.75, 4))


def scene(system=PLAIN, rows=3, seed=0):
    rng = np.random.default_rng(seed)
    spec = system.batch_spec(rows)
    batch = {name: np.ones(one.shape, one.dtype) for name, one in spec.items()}
    batch["image"] = rng.integers(0, 256, spec["image"].shape, dtype=np.uint8)
    batch["xy"] = rng.uniform(4, 60, spec["xy"].shape).astype(np.float32)
    batch["visible"] = rng.integers(0, 3, spec["visible"].shape).astype(np.uint8)
    if "teacher_xy" in spec:
        batch["teacher_xy"] = rng.uniform(20, 40, spec["teacher_xy"].shape).astype(np.float32)
        batch["teacher_visible"] = np.full(spec["teacher_visible"].shape, 2, np.uint8)
    return batch


def value_and_grad(system):
    def loss(params, rest, batch):
        return system.loss({"params": params, **rest}, batch, KEY)

    compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def run(variables, batch):
        rest = {name: tree for name, tree in variables.items() if name != "params"}
        (value, aux), grads = compiled(variables["params"], rest, batch)
        return float(value), aux, grads

    return run


@pytest.fixture(scope="module")
def variables():
    return jax.jit(PLAIN.init)(KEY)


@pytest.fixture(scope="module")
def plain():
    return value_and_grad(PLAIN)


@pytest.fixture(scope="module")
def stored():
    return value_and_grad(STORED)


@pytest.fixture(scope="module")
def predict():
    return jax.jit(PLAIN.predict)


@pytest.fixture(scope="module")
def training_maps(variables):
    """The maps of a training step, statistics of the batch itself."""

    def maps(image):
        held = {"params": variables["params"], "batch_stats": variables["batch_stats"]}
        return PLAIN.model.apply(held, image, train=True, mutable=["batch_stats"])[0]

    return jax.jit(maps)


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def close(one, two, atol=1e-4):
    return largest(jax.tree.map(jnp.subtract, one, two)) < atol * max(largest(one), 1.0)


# ---- labels and masks


def test_contract(variables, plain, predict):
    batch = scene()
    for name, spec in PLAIN.batch_spec(3).items():
        assert (batch[name].shape, str(batch[name].dtype)) == (spec.shape, spec.dtype)
    value, aux, grads = plain(variables, batch)
    assert np.isfinite(value)
    assert set(aux.metrics) == {"loss", "heatmaps", "pafs"}
    assert all(weight == 3 for _, weight in aux.metrics.values())
    assert largest(grads) > 0
    assert not close(aux.batch_stats, variables["batch_stats"])
    outputs = predict(variables, batch)
    metrics = PLAIN.metrics()
    state = metrics.update(metrics.init(), outputs, {**batch, "mask": np.ones(3, bool)})
    result = metrics.compute(state)
    assert result["n"] + result["left_out"] == 3


def test_labels_are_the_codec_s_and_weights_rise_at_the_joints():
    batch = scene()
    batch["xy"][0, 0, 0] = 27.5, 35.5  # the centre of cell (4, 3)
    batch["visible"][0, 0, 0] = 2
    target = PLAIN.targets({k: jnp.asarray(v) for k, v in batch.items()})
    assert target.heatmaps.shape == (3, 8, 8, 8)
    assert target.pafs.shape == (3, 8, 8, 6)
    np.testing.assert_allclose(target.heatmaps[0, 4, 3, 0], 1, atol=1e-6)
    np.testing.assert_allclose(target.heatmap_mask[0, 4, 3, 0], 11, atol=1e-5)
    rest = 1 - np.asarray(target.heatmaps[..., :-1]).max(-1)
    np.testing.assert_allclose(target.heatmaps[..., -1], rest, atol=1e-6)
    np.testing.assert_array_equal(target.heatmap_mask[..., -1], 1)
    lengths = np.linalg.norm(np.asarray(target.pafs).reshape(3, 8, 8, 3, 2), axis=-1)
    weights = np.asarray(target.paf_mask)[..., ::2]
    np.testing.assert_allclose(weights, 1 + 3 * lengths, atol=1e-5)


def test_a_set_without_eyes_teaches_no_eyes(variables, plain):
    batch = scene()
    batch["joint_mask"][1, EYES] = False
    target = PLAIN.targets({k: jnp.asarray(v) for k, v in batch.items()})
    mask, fields = np.asarray(target.heatmap_mask), np.asarray(target.paf_mask)
    assert not mask[1][..., EYES].any()
    assert not mask[1][..., -1].any()  # the background is not known without them
    assert not fields[1][..., 4:].any()  # neck-left_eye
    assert (mask[1][..., :5] > 0).all()
    assert (fields[1][..., :4] > 0).all()
    assert (mask[[0, 2]] > 0).all()
    other = dict(batch, xy=batch["xy"].copy(), visible=batch["visible"].copy())
    other["xy"][1][:, EYES] = 1.0
    other["visible"][1][:, EYES] = 2
    one, two = plain(variables, batch), plain(variables, other)
    assert one[0] == two[0]
    assert close(one[2], two[2], 1e-6)


def test_masked_cells_teach_nothing(variables, plain):
    batch = scene()
    batch["area_mask"][:, :, 4:] = 0
    target = PLAIN.targets({k: jnp.asarray(v) for k, v in batch.items()})
    assert not np.asarray(target.heatmap_mask)[:, :, 4:].any()
    assert not np.asarray(target.paf_mask)[:, :, 4:].any()
    batch["area_mask"][:] = 0
    value, _, grads = plain(variables, batch)
    assert value == 0
    assert largest(grads) == 0


# ---- losses


def reference(maps, target, joint_mask, k, hard):
    """The loss in NumPy: sums over cells and channels, of the k worst joints in `hard` stages."""
    heat, fields = (np.asarray(x, np.float64) for x in maps)
    aims = [np.asarray(x, np.float64) for x in target]
    total = 0.0
    for stage in range(len(heat)):
        squares = (aims[2] * (heat[stage] - aims[0]) ** 2).sum((1, 2))
        for row, of_joint in enumerate(squares[:, :-1]):
            counted = np.sort(of_joint[joint_mask[row]])[::-1]
            total += counted[: k if stage >= len(heat) - hard else None].sum()
        total += squares[:, -1].sum() + (aims[3] * (fields[stage] - aims[1]) ** 2).sum()
    return total / heat.shape[1]


@pytest.mark.parametrize(("system", "k", "hard"), [(PLAIN, 7, 0), (HARD, 2, 1)])
def test_loss_equals_a_reference_in_numpy(system, k, hard, variables, training_maps):
    batch = scene()
    batch["joint_mask"][0, EYES] = False
    batch["joint_mask"][2, 1:] = False  # fewer joints than k
    value, _ = jax.jit(system.loss)(variables, batch, KEY)
    target = system.targets({name: jnp.asarray(array) for name, array in batch.items()})
    expected = reference(training_maps(batch["image"]), target, batch["joint_mask"], k, hard)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_one_batch_is_learnt(variables, plain):
    batch, optimizer = scene(rows=2), optax.adam(0.01)
    state, held, values = optimizer.init(variables["params"]), dict(variables), []
    for _ in range(40):
        value, aux, grads = plain(held, batch)
        updates, state = optimizer.update(grads, state)
        held["params"] = optax.apply_updates(held["params"], updates)
        held["batch_stats"] = aux.batch_stats
        values.append(value)
    assert values[-1] < 0.3 * values[0]


# ---- prediction


def test_predict_finds_the_highest_peak_of_each_joint(variables, predict):
    outputs = predict(variables, {"image": scene()["image"]})
    maps = np.asarray(outputs["heatmaps"])
    assert maps.shape == (3, 8, 8, 8)
    assert outputs["pafs"].shape == (3, 8, 8, 6)
    flat = maps[..., :-1].reshape(3, 64, 7)
    np.testing.assert_allclose(outputs["score"], flat.max(1), atol=1e-6)
    cell = np.stack([flat.argmax(1) % 8, flat.argmax(1) // 8], -1) * 8 + 3.5
    assert np.abs(np.asarray(outputs["xy"]) - cell).max() <= 8


def test_predict_under_vmap_equals_the_batch(variables, predict):
    image = scene()["image"]
    whole = predict(variables, {"image": image})
    each = jax.jit(jax.vmap(lambda x: PLAIN.predict(variables, {"image": x[None]})))(image)
    for name, value in whole.items():
        np.testing.assert_allclose(each[name][:, 0], value, atol=1e-4)


def test_predict_exports_and_gives_the_same(variables, predict):
    image = scene()["image"]
    exported = jax.export.export(jax.jit(PLAIN.predict), platforms=("cpu", "cuda", "tpu"))(
        variables, {"image": jax.ShapeDtypeStruct(image.shape, image.dtype)}
    )
    again = jax.export.deserialize(exported.serialize())
    for name, value in predict(variables, {"image": image}).items():
        np.testing.assert_allclose(again.call(variables, {"image": image})[name], value, atol=1e-4)


def test_cost_counts_parameters_and_products():
    found = cost(PLAIN, (64, 64))
    params = jax.eval_shape(PLAIN.init, KEY)["params"]
    assert found["parameters"] == sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))
    kernels = [x for x in jax.tree.leaves(params) if len(x.shape) == 4]
    products = sum(2 * int(np.prod(x.shape)) * 64 for x in kernels)  # 8 x 8 cells each
    assert 0.75 * products < found["flops"] < 1.1 * products  # padding is not multiplied


# ---- teachers


@pytest.fixture(scope="module")
def counting(variables):
    """Variables with the count of taught steps."""
    statistics = {**variables["batch_stats"], "teaching": {"step": jnp.zeros(())}}
    return {**variables, "batch_stats": statistics}


def test_stored_joints_teach_where_labels_are_silent(counting, stored):
    batch = scene(STORED)
    value, aux, _ = stored(counting, batch)
    assert set(aux.metrics) == {"loss", "heatmaps", "pafs", "teacher", "alpha"}
    np.testing.assert_allclose(aux.metrics["alpha"][0], 0.4)
    batch["area_mask"][:] = 0
    alone, aux, grads = stored(counting, batch)
    np.testing.assert_allclose(alone, 0.4 * aux.metrics["teacher"][0], rtol=1e-5)
    assert 0 < alone < value
    assert largest(grads) > 0
    batch["teacher_mask"][:] = False
    nothing, _, grads = stored(counting, batch)
    assert nothing == 0
    assert largest(grads) == 0


def test_pictures_without_a_teacher_keep_their_labels(variables, counting, plain, stored):
    batch = scene(STORED)
    batch["teacher_mask"][:] = False
    value, aux, grads = stored(counting, batch)
    plain_batch = {name: batch[name] for name in PLAIN.batch_spec(3)}
    expected, _, plain_grads = plain(variables, plain_batch)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert close(grads, plain_grads)
    assert aux.metrics["teacher"][0] == 0


def test_stored_joints_are_drawn_as_the_labels_are():
    batch = scene(STORED, rows=1)
    batch["teacher_mask"][0, EYES[1]] = False
    arrays = {name: jnp.asarray(array) for name, array in batch.items()}
    maps = Maps(jnp.full((2, 1, 8, 8, 8), 0.3), jnp.full((2, 1, 8, 8, 6), 0.2))
    aims, taught = STORED.stored_lesson(arrays, maps)
    same = arrays["teacher_xy"][:, None], arrays["teacher_visible"][:, None]
    heatmaps, pafs = STORED.drawn(*same, (8, 8))
    near = np.asarray(around(*(x[:, 0] for x in same), (8, 8), 8))[..., 0]
    assert near.any()
    assert not near.all()
    for stage in (0, 1):
        np.testing.assert_allclose(aims.heatmaps[stage][near][:, :6], heatmaps[near][:, :6])
        np.testing.assert_allclose(aims.pafs[stage][near], pafs[near])
        assert (np.asarray(aims.heatmaps)[stage][~near] == np.float32(0.3)).all()
        # nothing is said about the right eye, and so not about the background
        assert (np.asarray(aims.heatmaps)[stage][..., 6:] == np.float32(0.3)).all()
    assert taught == 1


def test_around_is_the_enlarged_box_of_the_visible_joints():
    xy = jnp.array([[[11.5, 19.5], [27.5, 35.5], [60.0, 60.0]], [[1.0, 1], [2, 2], [3, 3]]])
    visible = jnp.array([[2, 1, 0], [0, 0, 0]])
    cells = np.asarray(around(xy, visible, (8, 8), 8, margin=0.5))[..., 0]
    expected = np.zeros((8, 8), bool)
    expected[1:6, 0:5] = True  # x 3.5 .. 35.5, y 11.5 .. 43.5
    np.testing.assert_array_equal(cells[0], expected)
    assert not cells[1].any()


@pytest.fixture(scope="module")
def taught():
    """(variables, value and gradient also of the frozen part) of a student with its teacher."""
    held = jax.jit(TAUGHT.init)(KEY)

    def loss(params, frozen, rest, batch):
        return TAUGHT.loss({"params": params, "frozen": frozen, "batch_stats": rest}, batch, KEY)

    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

    def run(batch, step=0.0):
        rest = {**held["batch_stats"], "teaching": {"step": jnp.float32(step)}}
        return compiled(held["params"], held["frozen"], rest, batch)

    return held, run


def test_total_is_the_distillation_loss_of_both_branches(taught):
    held, run = taught
    batch = scene()
    (value, aux), _ = run(batch, 1.0)
    np.testing.assert_allclose(aux.metrics["alpha"][0], 0.375)
    student = TAUGHT.model.apply(
        {name: held[name] for name in ("params", "batch_stats")},
        batch["image"], train=True, mutable=["batch_stats"],
    )[0]  # fmt: skip
    teacher = TAUGHT.teaching.network.apply(held["frozen"]["teacher"], batch["image"])
    target = TAUGHT.targets({name: jnp.asarray(array) for name, array in batch.items()})
    sides = (
        (student.heatmaps, teacher.heatmaps, target.heatmaps, target.heatmap_mask),
        (student.pafs, teacher.pafs, target.pafs, target.paf_mask),
    )
    expected = sum(losses.distillation(*side, 0.375).total for side in sides)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_no_gradient_reaches_the_teacher_and_the_student_learns_without_labels(taught):
    _, run = taught
    batch = scene()
    batch["area_mask"][:] = 0
    (value, aux), (grads, frozen) = run(batch)
    np.testing.assert_allclose(value, 0.25 * aux.metrics["teacher"][0], rtol=1e-5)
    assert largest(frozen) == 0
    assert largest(grads) > 0


@pytest.mark.parametrize(("step", "alpha"), [(0, 0.25), (2, 0.5), (4, 0.75), (9, 0.75)])
def test_alpha_follows_its_schedule(step, alpha, taught):
    (_, aux), _ = taught[1](scene(), step)
    np.testing.assert_allclose(aux.metrics["alpha"][0], alpha)
    assert aux.batch_stats["teaching"]["step"] == step + 1


def test_teachers_of_other_skeletons_teach_what_both_have():
    other = skeleton.make("four", "right_hip neck left_hip tail", "right_hip-neck neck-tail")
    rng = np.random.default_rng(0)
    student = Maps(*(jnp.asarray(rng.normal(size=(2, 1, 3, 3, n))) for n in (8, 6)))
    teacher = Maps(*(jnp.asarray(rng.normal(size=(1, 1, 3, 3, n))) for n in (5, 4)))
    (heat, theirs), (fields, turned) = common_maps(student, BONES, teacher, other)
    np.testing.assert_array_equal(heat, student.heatmaps[..., [0, 3, 4]])
    np.testing.assert_array_equal(theirs, teacher.heatmaps[..., [1, 2, 0]])
    np.testing.assert_array_equal(fields, student.pafs[..., 2:4])  # neck-right_hip
    np.testing.assert_array_equal(turned, -teacher.pafs[..., :2])
    pairs = common_maps(student, BONES, student, BONES)
    for ours, all_of_it in zip(student, pairs, strict=True):
        np.testing.assert_array_equal(all_of_it[0], ours)
        np.testing.assert_array_equal(all_of_it[1], ours)


@dataclasses.dataclass
class Scenes:
    """A feed of the same few pictures."""

    batch_size: int = 3
    fingerprint: str = "scenes"

    def train_batches(self, start):
        while True:
            yield scene(seed=start)
            start += 1

    def eval_batches(self):
        return iter(())


def test_a_training_leaves_its_teacher_unchanged_and_the_student_can_be_taken_out(tmp_path, taught):
    held, _ = taught
    teacher = held["frozen"]["teacher"]
    config = get_config("tiny")
    trained = checkpoint.Checkpoint({**teacher, "frozen": {}}, config, "pose")
    checkpoint.export(trained, tmp_path / "teacher", "", dtype="float32")
    settings = {
        "system": "pose", "seed": 0, "model": {"skeleton": "seven"},
        "distill": {"teacher": str(tmp_path / "teacher")}, "train": {"steps": 3},
    }  # fmt: skip
    initial = start.variables(settings, TAUGHT)
    loop.fit(TAUGHT, Scenes(), settings, tmp_path / "run", initial_variables=initial)
    result = checkpoint.load(tmp_path / "run")
    assert all(
        jax.tree.leaves(jax.tree.map(np.array_equal, result.variables["frozen"], held["frozen"]))
    )
    assert result.variables["batch_stats"]["teaching"]["step"] == 3
    student = start.without_teacher(result)
    assert "distill" not in student.config
    checkpoint.check_variables(student.variables, jax.eval_shape(PLAIN.init, KEY))


# ---- configs


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_builds(variant):
    config = get_config(variant)
    system = build(config)
    spec = system.batch_spec(2)
    height, width = config.model.size
    assert spec["image"].shape == (2, height, width, 3)
    assert (system.teaching is not None) == ("distill" in config)
    assert ("teacher_xy" in spec) == (variant == "small_distilled")
    assert build(config.to_dict()) == system  # also from plain values


def test_the_three_of_the_patent_differ_in_one_field_each():
    cmu, se, okhm = (get_config(name).to_dict() for name in ("cmu", "se", "se_okhm"))
    assert se["model"] == {**cmu["model"], "backbone": "se_resnet_50"}
    assert okhm["model"] == {**se["model"], "hard_joints": 8, "hard_stages": 2}
    plain, gated, hard = (
        get_config(f"ablation_{name}").to_dict() for name in ("baseline", "se", "okhm")
    )
    assert gated["model"] == {**plain["model"], "backbone": "se_resnet_small"}
    assert hard["model"] == {**gated["model"], "hard_joints": 8, "hard_stages": 2}
    for one, two in ((cmu, se), (se, okhm), (plain, gated), (gated, hard)):
        assert {**one, "model": 0} == {**two, "model": 0}


@pytest.mark.parametrize(("variant", "largest_mb"), [("small", 10), ("large", 25)])
def test_shipped_networks_fit_their_size_in_bf16(variant, largest_mb):
    params = jax.eval_shape(build(get_config(variant)).init, KEY)["params"]
    assert 2 * sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params)) <= largest_mb * 1e6


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("backbone", "vgg", "model.backbone: 'vgg' should be"),
        ("backbone", "se_resnet_34", "model.backbone"),
        ("depthwise", "fast", "model.depthwise: 'fast' should be shifted or grouped"),
        ("stride", 16, "model.stride"),
        ("size", (100, 100), "model.size"),
        ("hard_joints", 19, "model.hard_joints: 19 should be 0 to 18"),
        ("hard_stages", 3, "model.hard_stages"),
        ("skeleton", "coco", "no skeleton 'coco'"),
    ],
)
def test_mistakes_in_the_config_are_one_line(field, value, message):
    config = get_config("small").to_dict()
    config["model"][field] = value
    with pytest.raises(ConfigError, match=message) as caught:
        build(config)
    assert "\n" not in str(caught.value)


def test_mistakes_about_the_teacher_are_one_line(tmp_path):
    config = get_config("small_distilled").to_dict()
    config["distill"]["alpha"] = 1.5
    with pytest.raises(ConfigError, match=r"distill.alpha: 1.5 should be from 0 to 1"):
        build(config)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        start.variables({"distill": {"teacher": str(tmp_path / "none")}}, TAUGHT)
    with pytest.raises(ConfigError, match="no variant 'smal'"):
        get_config("smal")
