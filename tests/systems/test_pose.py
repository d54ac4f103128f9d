"""The detector as a system: labels, masks, losses, hard joints, prediction, configs."""

import dataclasses

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bodyjax.engine import checkpoint
from bodyjax.errors import ConfigError
from bodyjax.models.backbones.mobilenet_v2_fpn import MobileNetV2FPN
from bodyjax.models.pose import CenterPose
from bodyjax.skeleton import BODY18, COCO17
from bodyjax.systems import build
from bodyjax.systems.pose import cost
from configs.pose import VARIANTS, get_config
from tests.systems.tiny_pose import EYES, KEY, PLAIN, close, largest, scene

HARD = dataclasses.replace(PLAIN, hard_joints=2, hard_stages=1)


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


def test_numpy_batches_may_be_constants_of_a_traced_function():
    batch, shapes = scene(), jax.eval_shape(PLAIN.init, KEY)
    value, _ = jax.eval_shape(lambda held: PLAIN.loss(held, batch, KEY), shapes)
    assert value.shape == ()
    inside = jax.jit(lambda: PLAIN.targets(batch))()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), inside, PLAIN.targets(batch)
    )


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
    heat, fields = (np.asarray(x, np.float64) for x in (maps.heatmaps, maps.pafs))
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


# ---- configs


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_builds(variant):
    config = get_config(variant)
    system = build(config)
    spec = system.batch_spec(2)
    height, width = config.model.size
    assert spec["image"].shape == (2, height, width, 3)
    assert (system.teaching is not None) == ("distill" in config)
    assert ("teacher_xy" in spec) == (variant == "imagenet_distilled")
    assert build(config.to_dict()) == system  # also from plain values
    heads = config.model.get("heads", "stages") == "center"
    assert isinstance(system.model, CenterPose) == heads


@pytest.mark.parametrize(
    ("variant", "multiplier", "weights"),
    [("small", 1.5, "movenet_multipose.npz"), ("large", 1.75, "movenet_thunder.npz")],
)
def test_movenet_s_variants_train_the_stages_alone(variant, multiplier, weights):
    config = get_config(variant)
    assert config.start.endswith(weights)
    system = build(config)
    assert system.model.backbone == MobileNetV2FPN(multiplier, "shifted", 17)
    assert isinstance(system.model, CenterPose)
    assert system.head_weight == 0
    params = jax.eval_shape(system.init, KEY)["params"]
    still = {name for name, factor in config.optimizer.multipliers.items() if factor == 0}
    assert set(params) - still == {"pyramid", "stages"}
    assert still < set(params)


def test_heads_know_joints_by_name():
    model = build(get_config("small")).model
    names = [None if c < 0 else COCO17.joints[c] for c in model.order]
    assert names == [None if joint == "neck" else joint for joint in BODY18.joints]
    assert [COCO17.joints[c] for c in model.between] == ["left_shoulder", "right_shoulder"]
    config = get_config("small")
    config.model.skeleton = "coco17"
    assert build(config).model.order == tuple(range(17))


def test_head_weight_adds_the_heads_losses_alone():
    """Traced, not compiled: what a step reports, with and without them."""
    small = build(get_config("small"))
    variables = jax.eval_shape(small.init, KEY)
    batch = {k: jax.ShapeDtypeStruct(s.shape, s.dtype) for k, s in small.batch_spec(2).items()}
    for weight, more in ((0.0, set()), (0.5, {"heatmap", "center", "regress", "offset"})):
        system = dataclasses.replace(small, head_weight=weight)
        total, aux = jax.eval_shape(system.loss, variables, batch, KEY)
        assert set(aux.metrics) == {"loss", "heatmaps", "pafs"} | more
        assert total.shape == ()


def test_a_teacher_s_heads_teach_heads_that_are_trained():
    config = get_config("large_tuned")
    assert build(config).teaches_heads
    config.model.head_weight = 0.0  # as they are
    assert not build(config).teaches_heads
    assert not build(get_config("ablation_distilled")).teaches_heads  # it has no heads


def test_the_three_of_the_patent_differ_in_one_field_each():
    cmu, se, okhm = (get_config(name).to_dict() for name in ("cmu", "se", "se_okhm"))
    assert se["model"] == {**cmu["model"], "backbone": "se_resnet_50"}
    assert okhm["model"] == {**se["model"], "hard_joints": 8, "hard_stages": 2}
    plain, gated, hard = (
        get_config(f"ablation_{name}").to_dict() for name in ("baseline", "se", "okhm")
    )
    assert gated["model"] == {**plain["model"], "reduction": 8}
    assert hard["model"] == {**gated["model"], "hard_joints": 8, "hard_stages": 2}
    for one, two in ((cmu, se), (se, okhm), (plain, gated), (gated, hard)):
        assert {**one, "model": 0} == {**two, "model": 0}


@pytest.mark.parametrize(("name", "most_mb", "new"), [("small", 10, 0.6e6), ("large", 16, 0.6e6)])
def test_shipped_detectors_keep_their_size_and_name_their_origin(name, most_mb, new):
    folder = checkpoint.WEIGHTS / name
    assert (folder / "params.npz").stat().st_size <= most_mb * 1e6
    params = checkpoint.load(name).variables["params"]
    added = {part: params[part] for part in ("pyramid", "stages")}
    assert sum(leaf.size for leaf in jax.tree.leaves(added)) <= new
    assert "Apache License" in (folder / "LICENSE").read_text()
    card = (folder / "card.md").read_text()
    assert "MoveNet" in card
    assert "surveillance" in card or "card of `small`" in card


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("backbone", "vgg", "model.backbone: 'vgg' should be"),
        ("backbone", "se_resnet_34", "model.backbone"),
        ("depthwise", "fast", "model.depthwise: 'fast' should be one of shifted, grouped"),
        ("pyramids", (4, 4), "model.pyramids: there is no such field; did you mean pyramid"),
        ("width", "wide", "model.width: 'wide' is not of type int"),
        ("stages", 0, "model.stages: 0 should be a whole number from 1 on"),
        ("sigma", 0.0, "model.sigma: 0.0 should be above 0"),
        ("stride", 16, "model.stride"),
        ("size", (100, 100), "model.size"),
        ("reduction", 8, "model.reduction: 8 should be 0"),
        ("hard_joints", 19, "model.hard_joints: 19 should be 0 to 18"),
        ("hard_stages", 3, "model.hard_stages"),
        ("skeleton", "coco", "no skeleton 'coco'"),
        (
            "backbone",
            "mobilenet_v2_fpn_1.4",
            "model.backbone: 'mobilenet_v2_fpn_1.4' should be one of .*mobilenet_v2_fpn_1.5, ",
        ),
        ("heads", "centre", "model.heads: 'centre' should be one of stages, center"),
        ("heads", "center", "model.heads: 'center' should be with mobilenet_v2_fpn_1.5 or"),
    ],
)
def test_mistakes_in_the_config_are_one_line(field, value, message):
    config = get_config("imagenet").to_dict()
    config["model"][field] = value
    if field == "reduction":
        config["model"]["backbone"] = "se_resnet_small"  # has no pyramid
    with pytest.raises(ConfigError, match=message) as caught:
        build(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("stride", 8, "model.stride: 8 should be 4 with heads = center"),
        ("skeleton", "lsp14", "model.skeleton: 'lsp14' should be coco17 or body18"),
        ("size", (240, 256), r"model.size: .* should be \(H, W\), multiples of 32"),
    ],
)
def test_mistakes_about_heads_are_one_line(field, value, message):
    config = get_config("small").to_dict()
    config["model"][field] = value
    with pytest.raises(ConfigError, match=message) as caught:
        build(config)
    assert "\n" not in str(caught.value)


def test_an_unknown_variant_is_one_line():
    with pytest.raises(ConfigError, match="no variant 'smal'"):
        get_config("smal")
