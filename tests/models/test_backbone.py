"""Backbones: the SE block and bottleneck against goldens, shapes, norms, frozen blocks, bf16."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax.models import backbones
from bodyjax.models.backbone import (
    VGG19,
    EfficientNetLite0,
    MobileNetV2FPN,
    SEBottleneck,
    SEResNet,
    SqueezeExcite,
)
from bodyjax.models.backbones import efficientnet_lite0, se_resnet
from bodyjax.models.backbones.layers import imagenet_normalised
from tests.shared import GOLDENS

PIXELS = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.uint8)


def nhwc(x):
    return x.transpose(0, 2, 3, 1)


@pytest.fixture(scope="module", params=[0, 1])
def golden(request):
    """A bottleneck of the golden file: arrays without prefix, its layer and variables."""
    with np.load(GOLDENS / "se_resnet.npz") as file:
        prefix = f"c{request.param}_"
        arrays = {n.removeprefix(prefix): file[n] for n in file.files if n.startswith(prefix)}
    state = {f"layer1.0.{n[2:]}": value for n, value in arrays.items() if n.startswith("w_")}
    params, statistics, _ = se_resnet.published(state)
    planes = arrays["w_conv1.weight"].shape[0]
    layer = SEBottleneck(planes, int(arrays["stride"]), 1, int(arrays["reduction"]))
    variables = {"params": params["layer1_0"], "batch_stats": statistics["layer1_0"]}
    return arrays, layer, variables


def test_bottleneck_equals_the_golden_in_value_and_gradient(golden):
    arrays, layer, variables = golden
    x, probe = nhwc(arrays["x"]), nhwc(arrays["probe"])

    def probed(x):
        y = layer.apply(variables, x, False)
        return (y * probe).sum(), y

    (_, y), grad = jax.jit(jax.value_and_grad(probed, has_aux=True))(x)
    np.testing.assert_allclose(y, nhwc(arrays["y"]), atol=2e-5)
    np.testing.assert_allclose(grad, nhwc(arrays["grad_x"]), atol=5e-5)


def test_squeeze_excite_equals_the_golden_gate_under_jit_and_vmap(golden):
    arrays, _, variables = golden
    se, x = {"params": variables["params"]["se"]}, nhwc(arrays["se_in"])
    layer = SqueezeExcite(int(arrays["reduction"]))
    scaled = x * arrays["se_gate"][:, None, None, :]
    np.testing.assert_allclose(jax.jit(layer.apply)(se, x), scaled, atol=3e-6)
    each = jax.vmap(lambda one: layer.apply(se, one[None])[0])(x)
    np.testing.assert_allclose(each, scaled, atol=3e-6)


def test_squeeze_excite_gradient_by_finite_differences(golden):
    arrays, _, variables = golden
    layer, x = SqueezeExcite(int(arrays["reduction"])), nhwc(arrays["se_in"])
    probe = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)

    def probed(params):
        return (layer.apply({"params": params}, x) * probe).sum()

    params = variables["params"]["se"]
    slope = jax.grad(probed)(params)
    step = jax.tree.map(lambda g: 1e-3 * g / jnp.linalg.norm(g), slope)
    ahead = probed(jax.tree.map(jnp.add, params, step))
    behind = probed(jax.tree.map(jnp.subtract, params, step))
    expected = 2e-3 * sum(float(jnp.linalg.norm(leaf)) for leaf in jax.tree.leaves(slope))
    np.testing.assert_allclose(ahead - behind, expected, rtol=0.02)


def test_reduction_is_eight_where_the_network_uses_it():
    shapes = jax.eval_shape(SEResNet("50").init, jax.random.key(0), PIXELS)["params"]
    for name, channels in (("layer1_0", 256), ("layer2_3", 512), ("layer3_5", 1024)):
        assert shapes[name]["se"]["squeeze"]["kernel"].shape == (channels, channels // 8)
        assert shapes[name]["se"]["excite"]["kernel"].shape == (channels // 8, channels)
    plain = jax.eval_shape(SEResNet("50", 0).init, jax.random.key(0), PIXELS)["params"]
    assert "se" not in plain["layer1_0"]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (VGG19(), {8: 512}),
        (SEResNet("small"), {4: 64, 8: 256}),
        (SEResNet("50"), {4: 256, 8: 1024}),
        (SEResNet("101"), {4: 256, 8: 1024}),
        (EfficientNetLite0(), {2: 16, 4: 24, 8: 40, 16: 112, 32: 320}),
        (MobileNetV2FPN(), {4: 24, 8: 72, 16: 128, 32: 64}),
    ],
    ids=["vgg19", "small", "50", "101", "lite0", "mobilenet"],
)
def test_features_by_stride(network, expected):
    assert network.strides == tuple(expected)
    features, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), PIXELS)
    assert {stride: f.shape for stride, f in features.items()} == {
        stride: (2, 64 // stride, 96 // stride, channels) for stride, channels in expected.items()
    }


def test_every_name_of_a_backbone_s_file_builds_it():
    files = backbones.files()
    assert len(files) >= 4
    for file in files:
        for name in file.NAMES:
            model = {"backbone": name, "depthwise": "grouped", "frozen_blocks": 1}
            network = backbones.build(model, jnp.bfloat16)
            assert type(network).__module__ == file.__name__
            assert network.dtype == jnp.bfloat16
    # The backbone for phones has no published weights: it is cut out of another's.
    known = [file.KNOWN_BY for file in files if hasattr(file, "KNOWN_BY")]
    assert len(set(known)) == len(known) == len(files) - 1


def count(network):
    shapes = jax.eval_shape(network.init, jax.random.key(0), PIXELS)["params"]
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


def test_parameters_are_those_of_the_published_networks():
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512]
    pairs = itertools.pairwise(widths)
    assert count(VGG19()) == sum(9 * a * b + b for a, b in pairs)
    # torchvision's resnet50 and resnet101 have 25,557,032 and 44,549,160; without layer4 and fc:
    layer4 = {"first": 1024 * 512 + 9 * 512**2 + 512 * 2048 + 2 * (512 + 512 + 2048)}
    layer4["shortcut"] = 1024 * 2048 + 2 * 2048
    layer4["rest"] = 2 * (2048 * 512 + 9 * 512**2 + 512 * 2048 + 2 * (512 + 512 + 2048))
    behind = sum(layer4.values()) + 2048 * 1000 + 1000
    assert count(SEResNet("50", 0)) == 25_557_032 - behind
    assert count(SEResNet("101", 0)) == 44_549_160 - behind
    gates = 3 * 2 * 256 * 32 + 4 * 2 * 512 * 64 + 6 * 2 * 1024 * 128
    assert count(SEResNet("50", 8)) - count(SEResNet("50", 0)) == gates


def test_pixels_are_normalised_in_float32_whatever_their_type():
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    for dtype in (np.uint8, np.float32):
        got = imagenet_normalised(jnp.asarray(pixels.astype(dtype)), jnp.float32)
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.fixture
def short_lite0(monkeypatch):
    """EfficientNet-lite0 cut to three blocks."""
    groups = ((1, 3, 1, 1, 16), (1, 3, 2, 6, 24), (1, 5, 2, 6, 40))
    monkeypatch.setattr(efficientnet_lite0, "GROUPS", groups)


def test_frozen_blocks_get_no_gradient_and_norms_keep_their_statistics(short_lite0):
    network = EfficientNetLite0(frozen_blocks=2)
    pixels = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3), maxval=255.0)
    variables = jax.jit(network.init)(jax.random.key(1), pixels)

    def total(params):
        held = {"params": params, "batch_stats": variables["batch_stats"]}
        out, changed = network.apply(held, pixels, train=True, mutable=["batch_stats"])
        return (out[8] ** 2).sum(), changed["batch_stats"]

    grads, changed = jax.jit(jax.grad(total, has_aux=True))(variables["params"])
    moved = {name: bool(np.any(jax.tree.leaves(g)[0])) for name, g in grads.items()}
    assert moved == {"stem": False, "stem_bn": False, "block0": False, "block1": False,
                     "block2": True}  # fmt: skip
    same = jax.tree.map(np.array_equal, changed, variables["batch_stats"])
    assert all(jax.tree.leaves(same))


def test_depthwise_form_is_a_choice_of_program_for_the_same_parameters(short_lite0):
    pixels = jax.random.uniform(jax.random.key(0), (1, 16, 24, 3), maxval=255.0)
    shifted, grouped = (EfficientNetLite0(form) for form in ("shifted", "grouped"))
    variables = jax.jit(shifted.init)(jax.random.key(1), pixels)
    texts = [jax.jit(n.apply).lower(variables, pixels).as_text() for n in (shifted, grouped)]
    groups = ["feature_group_count = 32", "feature_group_count = 96"]
    assert [group in texts[0] for group in groups] == [False, False]
    assert [group in texts[1] for group in groups] == [True, True]
    one, two = (jax.jit(n.apply)(variables, pixels)[8] for n in (shifted, grouped))
    np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_computes_in_it_and_keeps_parameters_in_float32():
    network, reference = SEResNet("small", dtype=jnp.bfloat16), SEResNet("small")
    pixels = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3), maxval=255.0)
    variables = jax.jit(network.init)(jax.random.key(1), pixels)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    out = jax.jit(network.apply)(variables, pixels)[8]
    assert out.dtype == jnp.bfloat16
    exact = jax.jit(reference.apply)(variables, pixels)[8]
    error = jnp.abs(out.astype(jnp.float32) - exact).mean() / jnp.abs(exact).mean()
    assert error < 0.03
