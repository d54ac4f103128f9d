"""Stages of the pose networks: shapes, parameters, what a stage reads, export to accelerators."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax.models.backbone import VGG19, EfficientNetLite0, SEResNet
from bodyjax.models.backbones.mobilenet_v2_fpn import MobileNetV2FPN
from bodyjax.models.pose import (
    Branch,
    CenterPose,
    Head,
    LightStages,
    MultiStagePose,
    PublishedStages,
    Pyramid,
    upsample2,
)

KEY = jax.random.key(0)


def picture(height=64, width=64, batch=1):
    return jax.ShapeDtypeStruct((batch, height, width, 3), jnp.uint8)


@pytest.fixture(scope="module")
def cmu():
    """(network, shapes of its maps at 368 x 368, shapes of its parameters)."""
    network = MultiStagePose(VGG19())
    maps, variables = jax.eval_shape(network.init_with_output, KEY, picture(368, 368))
    return network, maps, variables["params"]


def test_published_maps_at_368(cmu):
    _, maps, _ = cmu
    assert maps.heatmaps.shape == (6, 1, 46, 46, 19)
    assert maps.pafs.shape == (6, 1, 46, 46, 38)


def test_published_stages_have_the_paper_s_convolutions(cmu):
    _, _, params = cmu
    assert params["reduce1"]["kernel"].shape == (3, 3, 512, 256)
    assert params["reduce2"]["kernel"].shape == (3, 3, 256, 128)
    for branch, outputs in (("heatmaps", 19), ("pafs", 38)):
        first = params["stages"][f"stage1_{branch}"]
        kernels = [first[f"conv{i}"]["kernel"].shape for i in range(1, 6)]
        assert kernels == [(3, 3, 128, 128)] * 3 + [(1, 1, 128, 512), (1, 1, 512, outputs)]
        for stage in range(2, 7):
            later = params["stages"][f"stage{stage}_{branch}"]
            kernels = [later[f"conv{i}"]["kernel"].shape for i in range(1, 8)]
            reads = 128 + 19 + 38
            assert kernels == [
                (7, 7, reads, 128), *[(7, 7, 128, 128)] * 4, (1, 1, 128, 128), (1, 1, 128, outputs),
            ]  # fmt: skip
    assert len(params["stages"]) == 12


def test_parameters_of_the_baseline_are_the_published_ones(cmu):
    _, _, params = cmu
    total = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
    assert total == 52_311_446  # OpenPose's body model of 18 joints and 19 limbs


@pytest.mark.parametrize("depth", ["50", "101"])
def test_se_resnet_takes_vgg_s_place(depth):
    maps, variables = jax.eval_shape(
        MultiStagePose(SEResNet(depth)).init_with_output, KEY, picture(64, 96)
    )
    assert maps.heatmaps.shape == (6, 1, 8, 12, 19)
    assert variables["params"]["reduce1"]["kernel"].shape == (3, 3, 1024, 256)


@pytest.mark.slow
def test_later_stages_read_features_and_both_outputs_of_the_stage_before():
    network = PublishedStages(joints=2, limbs=1, stages=3)
    features = jax.random.normal(KEY, (1, 4, 5, 3))
    variables = jax.jit(network.init, static_argnums=2)(KEY, features, False)
    maps = jax.jit(network.apply, static_argnums=2)(variables, features, False)
    for stage in (1, 2):
        reads = jnp.concatenate([features, maps.heatmaps[stage - 1], maps.pafs[stage - 1]], -1)
        for name, outputs, found in (("heatmaps", 3, maps.heatmaps), ("pafs", 2, maps.pafs)):
            branch = Branch(outputs, (128,) * 6, (7, 7, 7, 7, 7, 1))
            params = {"params": variables["params"][f"stage{stage + 1}_{name}"]}
            np.testing.assert_allclose(branch.apply(params, reads), found[stage], atol=1e-5)


def test_light_stages_give_maps_and_statistics_of_every_stage():
    network = LightStages(joints=3, limbs=2, stages=3, width=8, layers=2)
    features = jax.ShapeDtypeStruct((2, 4, 5, 6), jnp.float32)
    maps, variables = jax.eval_shape(
        lambda k, x: network.init_with_output(k, x, True), KEY, features
    )
    assert maps.heatmaps.shape == (3, 2, 4, 5, 4)
    assert maps.pafs.shape == (3, 2, 4, 5, 4)
    assert variables["params"]["stage2_conv1"]["kernel"].shape == (3, 3, 6 + 8 + 8, 8)
    assert len(variables["batch_stats"]) == 6


@pytest.mark.parametrize(("stride", "channels"), [(8, 6), (4, 5)])
def test_pyramid_merges_down_to_its_stride(stride, channels):
    features = {
        s: jax.ShapeDtypeStruct((1, 64 // s, 96 // s, 7), jnp.float32) for s in (4, 8, 16, 32)
    }
    network = Pyramid(stride, (5, 6, 7, 8))
    out, _ = jax.eval_shape(lambda k, x: network.init_with_output(k, x, False), KEY, features)
    assert out.shape == (1, 64 // stride, 96 // stride, channels)


@pytest.mark.slow
def test_gates_of_the_pyramid_scale_what_it_merges():
    """Gates that say nothing are 1/2: the pyramid without them sees half of the features."""
    sizes = {8: (8, 8, 16), 16: (4, 4, 16), 32: (2, 2, 16)}
    features = {s: jax.random.normal(KEY, (1, *shape)) for s, shape in sizes.items()}
    gated = Pyramid(8, (5, 6, 7, 8), reduction=8)
    variables = dict(gated.init(KEY, features, False))
    gates = [variables["params"][f"se{stride}"] for stride in (8, 16, 32)]
    assert all(gate["squeeze"]["kernel"].shape == (16, 2) for gate in gates)
    params = jax.tree.map(lambda leaf: leaf, variables["params"])
    for stride in (8, 16, 32):
        params[f"se{stride}"]["excite"]["kernel"] *= 0
    out = gated.apply({**variables, "params": params}, features, False)
    plain = {name: part for name, part in params.items() if not name.startswith("se")}
    halves = {stride: x / 2 for stride, x in features.items()}
    expected = Pyramid(8, (5, 6, 7, 8)).apply({**variables, "params": plain}, halves, False)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert np.abs(gated.apply(variables, features, False) - expected).max() > 1e-4


CENTER = CenterPose(MobileNetV2FPN(depthwise="grouped"), (0, 1, -1, 2), (0, 1), 3, 3, width=8)
"""Heads of three joints; the third of our four has no channel: it lies between the first two."""


def test_center_pose_gives_the_stages_maps_then_the_heads():
    maps, variables = jax.eval_shape(CENTER.init_with_output, KEY, picture(64, 96, 2))
    assert maps.heatmaps.shape == (3, 2, 16, 24, 5)
    assert maps.pafs.shape == (2, 2, 16, 24, 6)
    assert maps.center.shape == (2, 16, 24)
    assert maps.regress.shape == maps.offset.shape == (2, 16, 24, 4, 2)
    heads = {"heatmap": 3, "center": 1, "regress": 6, "offset": 6}
    params = variables["params"]
    assert set(params) == {"backbone", "pyramid", "stages", *heads}
    for name, outputs in heads.items():
        assert params[name]["hidden"]["depthwise"]["kernel"].shape == (3, 3, 24)
        assert params[name]["hidden"]["pointwise"]["kernel"].shape == (1, 1, 24, 96)
        assert params[name]["out"]["kernel"].shape == (1, 1, 96, outputs)


@pytest.mark.parametrize("fill", [True, False])
def test_places_of_joints_are_x_before_y_from_the_centre_of_the_cell(fill):
    published = jnp.array([[0.5, 1.5], [2.5, 4.5], [-1.0, 0.0]])  # y, x from the corner
    places = jnp.broadcast_to(published.reshape(6), (1, 2, 3, 6))
    ours = jax.jit(lambda x: CENTER.of_joints(x, fill=fill))(places)
    neck = [2.5, 1.0] if fill else [0.0, 0.0]
    expected = [[1.0, 0.0], [4.0, 2.0], neck, [-0.5, -1.5]]
    np.testing.assert_allclose(ours, np.broadcast_to(expected, (1, 2, 3, 4, 2)))


@pytest.mark.slow
def test_heads_alone_are_the_heads_of_the_whole_network():
    image = jax.random.uniform(jax.random.key(1), (2, 64, 64, 3)) * 255
    variables = jax.jit(CENTER.init)(jax.random.key(0), image)
    whole = jax.jit(CENTER.apply)(variables, image)
    alone = jax.jit(lambda v, x: CENTER.apply(v, x, method="heads_alone"))(variables, image)
    known = [j for j, channel in enumerate(CENTER.order) if channel >= 0]
    np.testing.assert_allclose(
        alone.heatmaps[-1][..., known], whole.heatmaps[-1][..., known], atol=1e-6
    )
    for name in ("center", "regress", "offset"):
        np.testing.assert_allclose(getattr(alone, name), getattr(whole, name), atol=1e-5)
    assert not np.any(alone.heatmaps[..., CENTER.order.index(-1)])
    assert alone.pafs.shape == (1, 2, 16, 16, 0)


def test_heads_give_float32_whatever_they_compute_in():
    x = jax.ShapeDtypeStruct((1, 4, 5, 24), jnp.float32)
    out, variables = jax.eval_shape(Head(7, dtype=jnp.bfloat16).init_with_output, KEY, x)
    assert (out.shape, out.dtype) == ((1, 4, 5, 7), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_upsampling_keeps_the_centres_of_cells():
    """A plane stays the plane: cell g at stride 2s stands for pixel 2s g + (2s - 1) / 2."""
    coarse = np.arange(6.0) * 16 + 7.5
    x = np.broadcast_to(coarse[None, None, :, None], (1, 4, 6, 1))
    fine = upsample2(jnp.asarray(x, jnp.float32))[0, 3, :, 0]
    np.testing.assert_allclose(fine[1:-1], np.arange(12)[1:-1] * 8 + 3.5)


@pytest.mark.parametrize(
    "network",
    [
        MultiStagePose(VGG19()),
        MultiStagePose(SEResNet("50")),
        MultiStagePose(SEResNet("small"), stages=3, light=True, stride=4),
        MultiStagePose(EfficientNetLite0("grouped"), stages=2, light=True),
        MultiStagePose(EfficientNetLite0("grouped"), stages=2, light=True, reduction=8),
        MultiStagePose(MobileNetV2FPN(1.75, "grouped"), stages=2, light=True, stride=4),
        CenterPose(MobileNetV2FPN(1.5, "grouped"), tuple(range(18)), (5, 6), published=18),
    ],
    ids=["cmu", "se", "se_small", "lite0", "se_lite0", "mobile", "center"],
)
def test_the_whole_network_lowers_for_every_platform(network):
    variables = jax.eval_shape(network.init, KEY, picture())
    exported = jax.export.export(
        jax.jit(lambda v, x: network.apply(v, x)), platforms=("cpu", "cuda", "tpu")
    )(variables, picture(64, 96))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    stride = network.stride
    drawn = network.stages + isinstance(network, CenterPose)  # the heads' map is the last
    assert exported.out_avals[0].shape == (drawn, 1, 64 // stride, 96 // stride, 19)
    assert exported.out_avals[1].shape == (network.stages, 1, 64 // stride, 96 // stride, 38)
    assert jax.export.deserialize(exported.serialize()).out_avals == exported.out_avals


def test_export_with_a_symbolic_batch():
    network = MultiStagePose(SEResNet("small"), stages=1, light=True, width=8)
    variables = jax.eval_shape(network.init, KEY, picture())
    (batch,) = jax.export.symbolic_shape("batch")
    pixels = jax.ShapeDtypeStruct((batch, 64, 64, 3), jnp.uint8)
    exported = jax.export.export(jax.jit(network.apply), platforms=("cuda",))(variables, pixels)
    assert str(exported.out_avals[0].shape) == "(1, batch, 8, 8, 19)"
