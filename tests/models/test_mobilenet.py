"""MobileNetV2 with its pyramid: both MoveNet networks against what the published graphs give, the
two programs of depthwise convolutions, frozen blocks, jit, vmap and grad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import published
from bodyjax.models.backbones.layers import DepthwiseConv
from bodyjax.models.backbones.mobilenet_v2_fpn import HEADS, MobileNetV2FPN
from bodyjax.skeleton import BODY18, COCO17
from bodyjax.systems import build
from configs.pose import get_config
from tests.shared import shared

KEY = jax.random.key(0)
NETWORKS = {"small": "multipose", "large": "thunder"}
"""Variants of configs/pose.py and the published network that each starts from."""


def filled(shapes, seed=0):
    """Random arrays that keep the size of signals, without compiling the network's own start."""
    rng = np.random.default_rng(seed)

    def value(path, leaf):
        name = path[-1].key
        if name == "kernel":
            fan = np.prod(leaf.shape[:-1]) if len(leaf.shape) == 4 else 9
            return rng.normal(0, np.sqrt(2 / fan), leaf.shape).astype(np.float32)
        if name in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        return rng.normal(0, 0.1, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(value, shapes)


# ---- goldens


@pytest.fixture(scope="module", params=NETWORKS)
def golden(request):
    """(arrays of the published graph, features, maps, the network) for the golden picture."""
    name = NETWORKS[request.param]
    weights = published.read(shared(f"data/backbones/movenet_{name}.npz"))
    with np.load(shared(f"data/backbones/movenet_{name}_golden.npz")) as file:
        arrays = {array: file[array] for array in file.files}
    network = build(get_config(request.param)).model
    pixels = arrays["image"][None]
    variables = filled(jax.eval_shape(network.init, KEY, np.zeros((1, 64, 64, 3), np.uint8)))
    backbone, _, heads = published.network(weights)
    variables["params"] |= {"backbone": backbone, **heads}

    def run(variables, pixels):
        def of_backbone(module, method):
            return module.name == "backbone"

        maps, kept = network.apply(
            variables, pixels, capture_intermediates=of_backbone, mutable=["intermediates"]
        )
        return kept["intermediates"]["backbone"]["__call__"][0], maps

    features, maps = jax.jit(run)(variables, pixels)
    return arrays, features, maps, network


def test_features_equal_the_published_ones(golden):
    arrays, features, _, _ = golden
    for stride, channels in ((4, 24), (8, 24), (16, 32)):
        theirs = arrays[f"p{stride}"]
        ours = features[stride][..., :channels]
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < 1e-3 * np.ptp(theirs), stride


def places(array):
    """Published (1, h, w, 34), y before x from the cell's corner, as x, y from its centre."""
    table = array.reshape(*array.shape[:3], 17, 2)
    return np.stack([table[..., 1], table[..., 0]], axis=-1) - 0.5


KNOWN = [(j, COCO17.joints.index(name)) for j, name in enumerate(BODY18.joints) if name != "neck"]
NECK = BODY18.index("neck")


def test_heads_equal_the_published_ones(golden):
    arrays, _, maps, _ = golden
    heat = maps.heatmaps[-1]
    np.testing.assert_allclose(maps.center, arrays["center_sigmoid"][..., 0], atol=1e-4)
    regress, offset = places(arrays["regress"]), places(arrays["offset"])
    assert len(KNOWN) == 17
    for joint, channel in KNOWN:
        theirs = arrays["heatmap_sigmoid"][..., channel]
        np.testing.assert_allclose(heat[..., joint], theirs, atol=1e-4)
        for ours, theirs in ((maps.regress, regress), (maps.offset, offset)):
            error = np.abs(ours[..., joint, :] - theirs[..., channel, :]).max()
            assert error < 1e-4 * np.ptp(theirs)
    # The published decoding's joint, 4 x (cell + offset) from the picture's corner, is ours in
    # pixels, whose first has its centre at 0.
    joint, channel = KNOWN[0]
    y, x = np.unravel_index(np.argmax(heat[0, ..., joint]), heat.shape[1:3])
    theirs = 4 * (np.array([y, x]) + arrays["offset"].reshape(*regress.shape)[0, y, x, channel])
    ours = 4 * (np.array([x, y]) + maps.offset[0, y, x, joint]) + 1.5
    np.testing.assert_allclose(ours, theirs[::-1] - 0.5, atol=1e-2)


def test_joints_that_movenet_does_not_know_are_filled(golden):
    _, _, maps, network = golden
    heat = maps.heatmaps[-1]
    assert network.order[NECK] == -1
    assert np.ptp(heat[..., NECK]) > 0
    np.testing.assert_array_equal(heat[..., NECK], np.clip(maps.heatmaps[-2][..., NECK], 0, 1))
    rest = 1 - np.asarray(heat[..., :-1]).max(-1)
    np.testing.assert_allclose(heat[..., -1], rest, atol=1e-6)
    left, right = (
        maps.regress[..., BODY18.index(f"{side}_shoulder"), :] for side in ("left", "right")
    )
    np.testing.assert_allclose(maps.regress[..., NECK, :], (left + right) / 2, atol=1e-4)
    assert not np.any(maps.offset[..., NECK, :])


@pytest.mark.parametrize(("variant", "boxes"), [("small", 2), ("large", 0)])
def test_every_parameter_comes_from_the_file(variant, boxes):
    arrays = published.read(shared(f"data/backbones/movenet_{NETWORKS[variant]}.npz"))
    backbone, statistics, heads = published.network(arrays)
    system = build(get_config(variant))
    shapes = jax.eval_shape(system.init, KEY)["params"]
    wanted = {name: shapes[name] for name in ("backbone", *HEADS)}
    assert jax.tree.map(np.shape, {"backbone": backbone, **heads}) == jax.tree.map(
        lambda leaf: leaf.shape, wanted
    )
    assert statistics == {}
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(wanted))
    of_box = 9 * 24 + (24 + 1) * 96 + (96 + 1) * 2
    assert sum(array.size for array in arrays.values()) == count + boxes * of_box


# ---- the network


@pytest.fixture(scope="module")
def compiled():
    """(parameters, compiled network, pictures) of MultiPose's size."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    shapes = jax.eval_shape(MobileNetV2FPN().init, KEY, pixels)["params"]
    run = jax.jit(lambda params, pixels: MobileNetV2FPN().apply({"params": params}, pixels))
    return filled(shapes), run, pixels


def near(one, two, share=1e-5):
    for stride, ours in one.items():
        theirs = np.asarray(two[stride])
        assert np.ptp(theirs) > 0
        assert np.abs(ours - theirs).max() < share * np.abs(theirs).max(), stride


@pytest.mark.parametrize(("multiplier", "taps"), [(1.5, {8: 48, 16: 96}), (1.75, {8: 56, 16: 112})])
def test_features_by_stride(multiplier, taps):
    pixels = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.uint8)
    features, _ = jax.eval_shape(MobileNetV2FPN(multiplier).init_with_output, KEY, pixels)
    channels = {4: 24, 8: 24 + taps[8], 16: 32 + taps[16], 32: 64}
    assert {stride: f.shape for stride, f in features.items()} == {
        stride: (2, 64 // stride, 96 // stride, width) for stride, width in channels.items()
    }
    half = MobileNetV2FPN(multiplier, dtype=jnp.bfloat16)
    features, variables = jax.eval_shape(half.init_with_output, KEY, pixels)
    assert {f.dtype for f in features.values()} == {jnp.dtype(jnp.bfloat16)}
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_depthwise_form_is_a_choice_of_program_for_the_same_parameters(compiled):
    params, run, pixels = compiled
    grouped = MobileNetV2FPN(depthwise="grouped")
    texts = [
        jax.jit(network.apply).lower({"params": params}, pixels).as_text()
        for network in (MobileNetV2FPN(), grouped)
    ]
    assert ["feature_group_count = 144" in text for text in texts] == [False, True]
    near(jax.jit(grouped.apply)({"params": params}, pixels), run(params, pixels))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_depthwise_layer_has_one_value_and_gradient_in_both_forms(stride, bias):
    x = jax.random.normal(KEY, (2, 8, 10, 5))
    shifted, grouped = (DepthwiseConv(stride, bias, form) for form in ("shifted", "grouped"))
    variables = filled(jax.eval_shape(shifted.init, KEY, x))
    assert set(variables["params"]) == ({"kernel", "bias"} if bias else {"kernel"})

    def value(layer, variables, x):
        return (jnp.sin(layer.apply(variables, x))).sum()

    one, two = (
        jax.jit(jax.value_and_grad(lambda v, x, n=n: value(n, v, x), (0, 1)))(variables, x)
        for n in (shifted, grouped)
    )
    for ours, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_under_vmap_each_picture_is_the_batch_s(compiled):
    params, run, pixels = compiled
    each = jax.jit(jax.vmap(lambda x: MobileNetV2FPN().apply({"params": params}, x[None])))(pixels)
    near({stride: f[:, 0] for stride, f in each.items()}, run(params, pixels))


def moved(frozen, params, pixels):
    """Names of the layers that a gradient reaches from every feature."""
    network = MobileNetV2FPN(depthwise="grouped", frozen_blocks=frozen)

    def total(params):
        features = network.apply({"params": params}, pixels).values()
        return sum(jnp.square(f / (1 + jnp.abs(f).max())).sum() for f in features)

    grads = jax.jit(jax.grad(total))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    return {name for name, g in grads.items() if any(np.any(leaf) for leaf in jax.tree.leaves(g))}


@pytest.mark.parametrize(
    "frozen",
    [0, 3, 7, 17],
)
def test_no_gradient_flows_into_the_stem_and_frozen_blocks(frozen, compiled):
    params, _, pixels = compiled
    still = {"stem", *(f"block{i}" for i in range(frozen))} if frozen else set()
    expected = set() if frozen == 17 else set(params) - still
    assert moved(frozen, params, pixels[:1]) == expected
