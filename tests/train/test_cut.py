"""Weights for phones, cut out of the whole network: nothing is lost without cutting, what is kept
is what counts, and the narrow network is taught by the whole one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from bodyjax.errors import ConfigError
from bodyjax.models.backbones.mobilenet_v2_fpn import STRIDES, MobileNetV2FPN
from bodyjax.models.backbones.mobilenet_v2_short import MobileNetV2Short, expansions, of_name
from bodyjax.systems import build
from bodyjax.train import cut
from configs.phone import ARMS, BACKBONES, get_config
from tests.models.test_mobilenet import filled

PIXELS = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def whole():
    shapes = jax.eval_shape(MobileNetV2FPN().init, jax.random.key(0), PIXELS[:1])
    return filled(shapes)["params"]


def test_blocks_without_fewer_channels_give_what_they_gave(whole):
    kept = cut.short(whole, 6, 0, PIXELS)
    before = after = cut.stem(whole["stem"], PIXELS)
    for i in range(13):
        before, _ = cut.residual(whole[f"block{i}"], before, STRIDES[i])
        after, _ = cut.residual(kept[f"block{i}"], after, STRIDES[i])
        # The projections are fitted, with a small ridge: the same function but for rounding.
        assert float(jnp.linalg.norm(after - before) / jnp.linalg.norm(before)) < 0.02
    assert "block13" not in kept


def test_channels_that_count_are_kept_and_the_block_gives_what_it_gave(whole):
    """With half of the hidden channels silent, the other half is the whole block."""
    block = jax.tree.map(np.array, whole["block2"])
    hidden = block["project"]["kernel"].shape[2]
    loud = np.sort(np.random.default_rng(1).permutation(hidden)[: hidden // 2])
    silent = np.setdiff1d(np.arange(hidden), loud)
    block["project"]["kernel"][:, :, silent] = 0.0
    x = np.random.default_rng(2).normal(size=(4, 16, 16, 40)).astype(np.float32)
    aim, inner = cut.residual(block, x, 1)
    narrow = cut._narrowed(block, inner, aim, x, 1, 3)
    np.testing.assert_array_equal(narrow["expand"]["kernel"], block["expand"]["kernel"][..., loud])
    found, _ = cut.residual(narrow, x, 1)
    np.testing.assert_allclose(found, aim, atol=0.02 * float(np.abs(aim).max()))


@pytest.mark.parametrize(("shallow", "deep"), [(3, 2), (2, 0)])
def test_the_cut_fits_the_network_of_its_name(whole, shallow, deep):
    assert of_name(f"mobilenet_v2_short_{shallow}_{deep}") == (shallow, deep)
    network = MobileNetV2Short(shallow, deep)
    params = cut.short(whole, shallow, deep, PIXELS)
    expected = jax.eval_shape(network.init, jax.random.key(0), PIXELS[:1])["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda leaf: leaf.shape, expected)
    features = jax.eval_shape(network.apply, {"params": params}, PIXELS)
    channels = {4: 24, 8: 24, 16: 32} | ({32: 64} if deep else {})
    assert {stride: level.shape for stride, level in features.items()} == {
        stride: (4, 64 // stride, 64 // stride, count) for stride, count in channels.items()
    }
    assert len(expansions(shallow, deep)) == (16 if deep else 13)


def test_heads_alone_are_taught_by_a_whole_detector():
    """Traced: what a step reports, and that no label reaches the teacher."""
    system = build(get_config("phone"))
    assert system.teaches_heads
    variables = jax.eval_shape(system.init, jax.random.key(0))
    batch = {k: jax.ShapeDtypeStruct(s.shape, s.dtype) for k, s in system.batch_spec(2).items()}
    total, aux = jax.eval_shape(system.loss, variables, batch, jax.random.key(0))
    assert total.shape == ()
    assert set(aux.metrics) == {
        "loss", "teacher", "alpha", "heatmap", "center", "regress", "offset",
    }  # fmt: skip
    maps = jax.eval_shape(system.maps, variables, batch["image"])
    assert maps.heatmaps.shape == (1, 2, 40, 40, 18)
    assert maps.pafs.shape == (1, 2, 40, 40, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skeleton": "body18"}, "don't know the neck of body18"),
        ({"backbone": "mobilenet_v2_short_3_0", "stages": 1}, "no level of stride 32"),
        ({"heads": "stages"}, "should be a whole number from 1 on"),
        ({"backbone": "mobilenet_v2_short_3_4"}, "should be one of"),
        ({"head_weight": 0.0}, "should be above 0 without stages"),
    ],
)
def test_networks_that_can_t_be_are_refused(change, message):
    config = get_config("phone")
    config.model.update(change)
    with pytest.raises(ConfigError, match=message):
        build(config)


@pytest.mark.parametrize("change", [{"teacher": ""}, {"model": {"heads": "stages"}}])
def test_a_teacher_that_could_not_teach_the_heads_is_refused(change):
    config = get_config("phone")
    config.distill.update({"hints": 0.0, **change})
    with pytest.raises(ConfigError, match=r"distill\.teacher.* a network with centres"):
        build(config)


def test_a_teacher_s_heads_come_in_the_student_s_joints():
    from bodyjax.models.pose import Maps
    from bodyjax.skeleton import BODY18, COCO17, common_name
    from bodyjax.systems.pose import in_joints

    numbers = jnp.arange(18.0)
    places = jnp.broadcast_to(numbers[:, None], (1, 2, 2, 18, 2))
    heat = jnp.broadcast_to(jnp.append(numbers / 20, 0.0), (1, 1, 2, 2, 19))
    maps = Maps(heat, jnp.zeros((1, 1, 2, 2, 0)), jnp.zeros((1, 2, 2)), places, places)
    found = in_joints(maps, COCO17, BODY18)
    theirs = [common_name(joint) for joint in BODY18.joints]
    for i, joint in enumerate(COCO17.joints):
        at = theirs.index(common_name(joint))
        assert float(found.regress[0, 0, 0, i, 0]) == at
        assert float(found.heatmaps[0, 0, 0, 0, i]) == pytest.approx(at / 20)
    assert found.heatmaps.shape[-1] == 18


@pytest.mark.parametrize("side", BACKBONES)
def test_arms_of_the_study_differ_in_nothing_else(side):
    alone, taught, more = (get_config(f"{arm}_{side}").to_dict() for arm in ARMS)
    for config in (alone, taught, more):
        build(ConfigDict(config))
    assert alone.pop("distill") == {}
    taught_by = taught.pop("distill")
    assert more.pop("distill") == taught_by
    assert more["data"].pop("unlabelled")
    assert more["data"].pop("sets") == taught["data"].pop("sets") == alone["data"].pop("sets")
    assert taught["data"].pop("unlabelled") == alone["data"].pop("unlabelled") == {}
    assert more == taught
    assert taught["train"].pop("steps") == taught_by["alpha_steps"] < alone["train"].pop("steps")
    assert taught == alone
