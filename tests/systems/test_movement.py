"""The movement system on a small detector and few joints' paths: grid, features, contract."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import ConfigError, codec, systems
from bodyjax.skeleton import BODY18
from bodyjax.systems import movement_settings
from bodyjax.systems.movement import Change, clip_box, move, sample_grid
from bodyjax.systems.movement_settings import BoxChanges
from configs.classifier import get_config
from tests.random_variables import drawn
from tests.tiny_classifier import DETECTOR

JOINTS = len(BODY18.joints)


def config_of(kind, **model):
    config = get_config("tiny")
    config.labels = ("up", "down", "still")
    config.detector = dict(DETECTOR)
    config.model.input = kind
    config.model.size = (64, 96)
    config.model.update(model)
    return config


@pytest.fixture(scope="module")
def of_joints():
    system = systems.build(config_of("joints"))
    return system, drawn(system)


@pytest.fixture(scope="module")
def of_frames():
    system = systems.build(config_of("frames"))
    variables = drawn(system)
    detector = drawn(system.detector, 1)
    parts = {name: detector[name] for name in ("params", "batch_stats")}
    return system, {**variables, "frozen": {"detector": parts}}


def joints_batch(size=4, frames=4, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "xy": rng.uniform(10, 60, (size, frames, JOINTS, 2)).astype(np.float32),
        "score": rng.uniform(0.2, 1, (size, frames, JOINTS)).astype(np.float32),
        "label": rng.integers(0, 3, size).astype(np.int32),
    }


@pytest.mark.parametrize("kind", ["joints", "frames"])
def test_numpy_batches_may_be_constants_of_a_traced_function(kind, of_joints, of_frames):
    system, variables = {"joints": of_joints, "frames": of_frames}[kind]
    batch = joints_batch(2)
    if kind == "frames":
        spec = system.batch_spec(2)["frames"]
        batch = {"frames": np.zeros(spec.shape, spec.dtype), "label": batch["label"]}
    key = jax.random.key(0)
    value, _ = jax.eval_shape(lambda held: system.loss(held, batch, key), variables)
    assert value.shape == ()
    outputs = jax.eval_shape(lambda held: system.predict(held, batch), variables)
    assert outputs["probability"].shape == (2, 3)


def still(size):
    zero = jnp.zeros(size)
    return Change(jnp.ones(size), zero, jnp.zeros((size, 2)), jnp.zeros(size, bool))


def test_clip_box_holds_the_sure_joints_and_nothing_else():
    batch = joints_batch()
    batch["score"][:, :, 5] = 0.01
    batch["xy"][:, :, 5] = 1e4
    centre, half = clip_box(batch["xy"], batch["score"], 0.1, (64, 96))
    sure = np.delete(batch["xy"], 5, axis=2)
    extent = (sure.max((1, 2)) - sure.min((1, 2))).max(-1)
    np.testing.assert_allclose(half, extent / 2 * 1.2, rtol=1e-5)
    np.testing.assert_allclose(centre, (sure.max((1, 2)) + sure.min((1, 2))) / 2, rtol=1e-5)


def test_clip_box_is_the_frame_where_nothing_is_sure():
    batch = joints_batch()
    centre, half = clip_box(batch["xy"], 0 * batch["score"], 0.1, (64, 96))
    np.testing.assert_allclose(centre, [[47.5, 31.5]] * 4)
    np.testing.assert_allclose(half, [47.5 * 1.2] * 4, rtol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
def test_the_grid_of_maps_agrees_with_the_moved_joints(flip):
    """A peak of the stored maps lies on the grid where `move` puts its joint."""
    rng = np.random.default_rng(1)
    xy = rng.uniform(24, 72, (3, 2, JOINTS, 2)).astype(np.float32)
    maps = codec.heatmaps(xy[:, :, None], np.ones((3, 2, 1, JOINTS)), (24, 24), 4, 4.0)
    centre, half = clip_box(xy, np.ones(xy.shape[:-1]), 0.1, (96, 96))
    change = Change(
        jnp.array([0.9, 1.0, 1.1]), jnp.zeros(3), jnp.array([[0.1, 0], [0, 0], [0, -0.1]]),
        jnp.full(3, flip),
    )  # fmt: skip
    grid = sample_grid(maps, centre, half, change, 32, 4)
    place = np.arange(32)
    mass = np.asarray(grid).sum((2, 3))
    found = np.stack(
        [(np.asarray(grid).sum(2) * place[:, None]).sum(2),
         (np.asarray(grid).sum(3) * place[:, None]).sum(2)], axis=-1,
    ) / mass[..., None]  # fmt: skip
    local = np.asarray(move((xy - centre[:, None, None]) / half[:, None, None, None], change))
    inside = (np.abs(local) < 0.6).all(-1)  # the whole Gaussian is on the grid
    assert inside.mean() > 0.3
    error = np.linalg.norm(found - ((local + 1) * 16 - 0.5), axis=-1)
    assert error[inside].max() < 0.1  # cells of the grid


def test_no_change_is_the_identity():
    points = jax.random.normal(jax.random.key(0), (2, 3, JOINTS, 2))
    np.testing.assert_array_equal(move(points, still(2)), points)


def test_flipping_twice_gives_the_clip_back_and_swaps_sides(of_joints):
    system, _ = of_joints
    mirror = BoxChanges(scale=0.0, shift=0.0, rotation=0.0, flip=1.0, noise=0.0)
    flips = replace(system, settings=replace(system.settings, augment=mirror))
    batch = joints_batch()
    flipped, _ = flips.clip({}, batch, jax.random.key(0))
    plain, _ = flips.clip({}, batch, None)
    left, right = BODY18.index("left_wrist"), BODY18.index("right_wrist")
    np.testing.assert_allclose(flipped.xy[:, :, left, 0], -plain.xy[:, :, right, 0], atol=1e-6)
    np.testing.assert_allclose(flipped.xy[:, :, left, 1], plain.xy[:, :, right, 1], atol=1e-6)
    np.testing.assert_allclose(flipped.maps[..., left], plain.maps[:, :, :, ::-1, right], atol=1e-5)


def test_place_and_size_in_the_picture_do_not_matter(of_joints):
    system, variables = of_joints
    batch = joints_batch()
    moved = {**batch, "xy": 0.5 * batch["xy"] + np.array([11.0, 3.0], np.float32)}
    ours = system.predict(variables, batch)["logits"]
    np.testing.assert_allclose(system.predict(variables, moved)["logits"], ours, atol=1e-4)


def test_frames_and_stored_maps_give_the_same_class(of_frames):
    system, variables = of_frames
    frames = np.random.default_rng(0).integers(0, 255, (2, 4, 64, 96, 3)).astype(np.uint8)
    direct = jax.jit(system.predict)(variables, {"frames": frames})
    detector = variables["frozen"]["detector"]
    stored = np.asarray(system.heatmaps(detector, frames) * 255 + 0.5).astype(np.uint8)
    of_maps = replace(system, settings=replace(system.settings, input="maps"))
    again = jax.jit(of_maps.predict)(variables, {"maps": stored})
    assert direct["xy"].shape == (2, 4, JOINTS, 2)
    np.testing.assert_allclose(again["probability"], direct["probability"], atol=0.02)


def test_video_frames_to_class_is_one_program(of_frames):
    system, variables = of_frames
    traces = []

    def run(variables, frames):
        traces.append(frames.shape)
        return system.predict(variables, {"frames": frames})["probability"]

    compiled = jax.jit(run)
    frames = np.zeros((1, 4, 64, 96, 3), np.uint8)
    lowered = compiled.lower(variables, frames)
    assert lowered.as_text().count("func.func public") == 1
    assert compiled(variables, frames).shape == (1, 3)
    compiled(variables, frames + 1)
    assert len(traces) == 1


def test_the_detector_is_an_argument_and_gets_no_gradient(of_frames):
    system, variables = of_frames
    batch = {
        "frames": np.random.default_rng(0).integers(0, 255, (2, 4, 64, 96, 3)).astype(np.uint8),
        "label": np.array([0, 1], np.int32),
    }

    def value(frozen):
        return system.loss({**variables, "frozen": frozen}, batch, jax.random.key(0))[0]

    slopes = jax.grad(value)(variables["frozen"])
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(slopes))


@pytest.mark.slow
def test_fine_tuning_sends_a_gradient_through_the_heat_maps():
    system = systems.build(config_of("frames", fine_tune=True))
    variables = drawn(system)
    detector = drawn(system.detector, 1)
    variables["params"]["detector"] = detector["params"]
    variables["frozen"]["detector_batch_stats"] = detector["batch_stats"]
    batch = {
        "frames": np.random.default_rng(0).integers(0, 255, (2, 4, 64, 96, 3)).astype(np.uint8),
        "label": np.array([0, 1], np.int32),
    }

    def value(params):
        return system.loss({**variables, "params": params}, batch, jax.random.key(0))[0]

    slopes = jax.jit(jax.grad(value))(variables["params"])["detector"]
    largest = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slopes)]
    assert np.isfinite(largest).all()
    assert max(largest) > 0


def test_several_samplings_are_averaged(of_joints):
    system, variables = of_joints
    one, two = joints_batch(seed=1), joints_batch(seed=2)
    both = {name: np.stack([one[name], two[name]], axis=1) for name in ("xy", "score")}
    predict = jax.jit(system.predict)
    mean = predict(variables, both)["probability"]
    parts = [predict(variables, batch)["probability"] for batch in (one, two)]
    np.testing.assert_allclose(mean, (parts[0] + parts[1]) / 2, atol=1e-6)


def test_several_movements_at_once_use_the_sigmoid():
    system = systems.build(config_of("joints", several=True))
    variables = drawn(system)
    batch = {**joints_batch(), "label": np.ones((4, 3), np.float32)}
    value, _ = jax.jit(system.loss)(variables, batch, jax.random.key(0))
    assert np.isfinite(value)
    total = system.predict(variables, batch)["probability"].sum(-1)
    assert not np.allclose(total, 1)


def test_loss_falls_on_one_batch(of_joints):
    system, variables = of_joints
    batch = jax.tree.map(jnp.asarray, joints_batch())

    @jax.jit
    def step(params, stats, key):
        whole = {**variables, "params": params, "batch_stats": stats}
        (value, aux), slope = jax.value_and_grad(
            lambda p: system.loss({**whole, "params": p}, batch, key), has_aux=True
        )(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, slope), aux.batch_stats, value

    params, stats, losses = variables["params"], variables["batch_stats"], []
    for i in range(40):
        params, stats, value = step(params, stats, jax.random.key(i))
        losses.append(float(value))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_batches_are_as_the_spec_says(of_joints, of_frames):
    for system, variables in (of_joints, of_frames):
        batch = {
            name: np.zeros(spec.shape, spec.dtype) for name, spec in system.batch_spec(2).items()
        }
        value, aux = jax.eval_shape(system.loss, variables, batch, jax.random.key(0))
        assert value.shape == ()
        assert jax.tree.structure(aux.batch_stats) == jax.tree.structure(variables["batch_stats"])


def test_under_vmap(of_joints):
    system, variables = of_joints
    batch = {k: v for k, v in joints_batch().items() if k != "label"}
    many = jax.tree.map(lambda x: np.stack([x, x[::-1]]), batch)
    out = jax.vmap(lambda b: system.predict(variables, b)["logits"])(many)
    np.testing.assert_allclose(out[1], out[0][::-1], atol=1e-5)


def test_convolutions_are_bf16_where_the_config_says():
    config = config_of("joints")
    for dtype, other in (("bfloat16", "float32"), ("float32", "bfloat16")):
        config.train.compute_dtype = dtype
        system = systems.build(config)
        variables = jax.eval_shape(system.init, jax.random.key(0))
        batch = {k: np.zeros(s.shape, s.dtype) for k, s in system.batch_spec(2).items()}
        text = jax.jit(system.predict).lower(variables, batch).as_text()
        layers = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        short = {"bfloat16": "bf16", "float32": "f32"}
        assert len(layers) == 2
        assert all(f"{short[dtype]}>" in line for line in layers)
        assert not any(f"{short[other]}>" in line for line in layers)
        out = jax.eval_shape(system.predict, variables, batch)
        assert out["logits"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.input", "pictures", "model.input: no input 'pictures'"),
        ("model.fine_tune", True, "fine_tune needs frames"),
        ("model.class_weights", (1.0,), "1 class weights for 3 labels"),
        ("model.class_weights", ("a", "b", "c"), "model.class_weights: .* should be numbers"),
        ("model.sampling", "first", "model.sampling: 'first' should be one of random"),
        ("model.frames", 0, "model.frames: 0 should be"),
        ("model.grid", 0, "model.grid: 0 should be"),
        ("model.channels", (4, "a"), "model.channels"),
        ("model.size", (64,), r"model\.size: .* should be \(height, width\)"),
        ("model.dropout", 2.0, "model.dropout: 2.0 should be from 0 to below 1"),
        ("model.augment.flip", 2.0, "model.augment.flip: 2.0 should be from 0 to 1"),
        ("seed", -1, "seed: -1 should be"),
        ("data.workers", -1, "data.workers: -1 should be"),
        ("data.samples", 0, "data.samples: 0 should be"),
        ("data.augment.scale", (1.2, 0.8), "data.augment.scale"),
        ("data.kind", "nonsense", "data.kind: 'nonsense' should be one of clips"),
        ("data.samples", "many", "data.samples: 'many' is not of type int"),
        ("data.holdouts", 0.1, "data.holdouts: there is no such field; did you mean holdout"),
        ("model.dropuot", 0.1, "model.dropuot: there is no such field; did you mean dropout"),
        ("data.worn_copies", 1, "data.worn_copies: has no effect on input 'joints'"),
    ],
)
def test_mistakes_in_the_config_are_named(field, value, message):
    config = config_of("joints")
    *path, leaf = field.split(".")
    section = config
    for part in path:
        section = section[part]
    with section.ignore_type(), section.unlocked():
        section[leaf] = value
    check = systems.build if field.startswith("model") else movement_settings.check_training
    with pytest.raises(ConfigError, match=message) as caught:
        check(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", movement_settings.INPUTS)
def test_simulated_copies_need_clips_that_can_be_changed(kind):
    config = config_of(kind)
    config.data.simulated_copies, config.start = True, "small"
    movement_settings.check_training(config)
    if kind == "joints":
        config.second = "large"  # finds the joints of the clips as they are
        with pytest.raises(ConfigError, match=r"data\.simulated_copies: has no effect on joints"):
            movement_settings.check_training(config)


def test_frames_and_maps_need_what_belongs_to_a_detector():
    with pytest.raises(ConfigError, match=r"model\.size: .* multiples of 8"):
        systems.build(config_of("frames", size=(60, 96)))
    for kind in ("frames", "maps"):
        with pytest.raises(ConfigError, match=f"start: {kind} need a trained detector"):
            movement_settings.check_training(config_of(kind))
    config = config_of("maps", frames=17)
    config.start = "small"
    with pytest.raises(ConfigError, match=r"model\.frames: 17 should be .*stored_frames \(16\)"):
        movement_settings.check_training(config)
