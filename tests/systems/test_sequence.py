"""The sequence system: contract, augmentation, averaging, shares of joints, its configs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax.commands import flags
from bodyjax.errors import ConfigError
from bodyjax.systems.sequence import build, joint_share
from configs.sequence import VARIANTS, get_config

JOINTS = "left_shoulder right_shoulder left_hip right_hip left_wrist right_wrist"
LIMBS = "left_shoulder-left_hip right_shoulder-right_hip left_shoulder-left_wrist"


def small(**changes):
    """A config of six joints, stored at 8 steps, seen at 5."""
    config = {
        "skeleton": {"name": "six", "joints": JOINTS, "limbs": LIMBS},
        "labels": ("no", "yes"),
        "features": ("position", "velocity"),
        "model": {"stored": 8, "steps": 5, "width": 8, "layers": 1, "projection": 4},
        "augment": {"flip": 0.5, "rotation": 0.2, "noise": 0.01, "crop": 0.2, "jitter": 1.0},
        "test": {"samples": 2, "mirror": True},
        "loss": {"label_smoothing": 0.1},
    }
    return {**config, **changes}


def random_batch(system, rows=4, seed=0):
    rng = np.random.default_rng(seed)
    spec = system.batch_spec(rows)
    batch = {name: np.zeros(one.shape, one.dtype) for name, one in spec.items()}
    batch["joints"] = rng.normal(0, 20, spec["joints"].shape).astype(np.float32)
    batch["visible"] += np.uint8(2)
    batch["length"] += 8
    batch["label"] = rng.integers(0, 2, rows).astype(np.int32)
    return batch


@pytest.fixture(scope="module")
def system():
    return build(small())


@pytest.fixture(scope="module")
def variables(system):
    return jax.jit(system.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def predict(system):
    return jax.jit(system.predict)


@pytest.fixture(scope="module")
def value_and_grad(system):
    def loss(params, batch, key):
        return system.loss({"params": params, "batch_stats": {}, "frozen": {}}, batch, key)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def test_contract(system, variables, predict, value_and_grad):
    batch = random_batch(system)
    for name, spec in system.batch_spec(4).items():
        assert (batch[name].shape, str(batch[name].dtype)) == (spec.shape, spec.dtype)
    (value, aux), grads = value_and_grad(variables["params"], batch, jax.random.key(1))
    assert np.isfinite(value)
    assert set(aux.metrics) == {"loss", "accuracy"}
    assert aux.metrics["loss"][1] == 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    outputs = predict(variables, batch)
    np.testing.assert_allclose(outputs["probability"].sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(np.exp(outputs["logits"]), outputs["probability"], atol=1e-6)
    np.testing.assert_allclose(outputs["attention"].sum(-1), 1, atol=1e-5)
    metrics = system.metrics()
    state = metrics.update(metrics.init(), outputs, {**batch, "mask": np.ones(4, bool)})
    assert metrics.compute(state)["n"] == 4


def test_key_changes_the_clip_and_the_same_key_does_not(system, variables, value_and_grad):
    batch = random_batch(system)
    key = jax.random.key(1)
    first, again = (value_and_grad(variables["params"], batch, key)[0][0] for _ in range(2))
    other = value_and_grad(variables["params"], batch, jax.random.key(2))[0][0]
    assert first == again
    assert abs(first - other) > 1e-4


def test_rows_of_no_weight_teach_nothing(system, variables, value_and_grad):
    batch = random_batch(system)
    batch["weight"] = np.array([1, 1, 0, 1], np.float32)
    key = jax.random.key(3)
    (value, aux), grads = value_and_grad(variables["params"], batch, key)
    batch["joints"] = batch["joints"].copy()
    batch["joints"][2] = 7.0
    batch["label"] = batch["label"].copy()
    batch["label"][2] = 1 - batch["label"][2]
    (same, _), same_grads = value_and_grad(variables["params"], batch, key)
    np.testing.assert_allclose(value, same, rtol=1e-5)
    assert aux.metrics["loss"][1] == 3
    for one, two in zip(jax.tree.leaves(grads), jax.tree.leaves(same_grads), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_averaging_the_mirror_image_makes_sides_alike(system, variables, predict):
    batch = random_batch(system)
    mirrored = dict(batch)
    flipped = batch["joints"][:, :, list(system.skeleton.mirror)] * np.array([-1.0, 1.0])
    mirrored["joints"] = flipped.astype(np.float32)
    one, two = (predict(variables, b)["probability"] for b in (batch, mirrored))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_padding_after_length_does_not_matter(system, variables, predict):
    batch = random_batch(system)
    batch["length"] = np.array([8, 5, 3, 1], np.int32)
    garbage = dict(batch, joints=batch["joints"].copy())
    for row, length in enumerate(batch["length"]):
        garbage["joints"][row, length:] = 1e6
    one, two = (predict(variables, b)["probability"] for b in (batch, garbage))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_stored_steps_as_they_are_and_conditions():
    model = {"stored": 8, "steps": 0, "width": 8, "layers": 1, "projection": 4, "conditions": 3}
    system = build(small(model=model, test={}))
    variables = jax.jit(system.init)(jax.random.key(0))
    batch = random_batch(system)
    batch["length"] = np.array([8, 5, 3, 1], np.int32)
    outputs = jax.jit(system.predict)(variables, batch)
    assert outputs["attention"].shape == (4, 8)
    for row, length in enumerate(batch["length"]):
        assert not np.any(outputs["attention"][row, length:])
    same = {name: array[:1].repeat(4, 0) for name, array in batch.items()}
    same["condition"] = np.array([0, 1, 2, 0], np.int32)
    got = jax.jit(system.predict)(variables, same)["probability"]
    np.testing.assert_allclose(got[0], got[3], atol=1e-6)
    assert np.abs(got[0] - got[1]).max() > 1e-4


def test_share_of_joints_names_the_one_that_matters(system, variables):
    """A model that is made to listen to one wrist alone gives it the whole share."""
    params = jax.tree.map(jnp.copy, variables["params"])
    count, wrist = len(system.skeleton.joints), 4
    kernel = np.zeros_like(params["projector"]["dense"]["kernel"])
    for part in (0, 1):  # position and velocity of the wrist
        rows = 2 * (part * count + wrist)
        kernel[rows : rows + 2] = np.random.default_rng(0).normal(size=(2, 4))
    params["projector"]["dense"]["kernel"] = jnp.asarray(kernel)
    batch = random_batch(system)
    share = jax.jit(lambda v, b: joint_share(system, v, b, 1))({"params": params}, batch)
    np.testing.assert_allclose(share.sum(-1), 1, atol=1e-5)
    assert (np.asarray(share).argmax(-1) == wrist).all()
    # shoulders and hips give centre and scale, so they take part through the frame of the person
    assert np.asarray(share)[:, 5].max() < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ("position", "speed")}, "features: no part"),
        ({"augment": {"flips": 1.0}}, "augment.flips: there is no such field"),
        ({"model": {"stored": 8, "depth": 2}}, "model.depth: there is no such field"),
        ({"test": {"samplings": 2}}, "samplings: there is no such field"),
        ({"loss": {"class_weights": (1.0, 2.0, 3.0)}}, "class_weights: 3 weights for 2 labels"),
        ({"loss": {"class_weights": "even"}}, "class_weights: 'even' weights for 2 labels"),
        ({"loss": {"class_weights": (1.0, 0)}}, "loss.class_weights: .* numbers above 0"),
        ({"loss": {"label_smoothing": 1.0}}, "loss.label_smoothing: 1.0 should be"),
        ({"test": {"samples": 0}}, "test.samples: 0 should be a whole number from 1 on"),
        ({"model": {"stored": 8, "pooling": "max"}}, "model.pooling: no pooling 'max'; mean"),
        ({"model": {"stored": 8, "conditions": 4}}, "model.projection: 0 units .* 4 exercises"),
        ({"model": {"stored": 8, "layers": 0}}, "model.layers: 0 should be"),
        ({"model": {"stored": 8, "dropout": 1.0}}, "model.dropout: 1.0 should be"),
        ({"model": {"stored": 8, "dims": 3}, "features": ("paper",)}, "features: 'paper' is of 2D"),
        (
            {"skeleton": {"name": "dots", "joints": "a b", "limbs": ""}, "features": ("bone",)},
            "features: dots has too few limbs for bone",
        ),
        ({"skeleton": "coco"}, "no skeleton 'coco'"),
    ],
)
def test_mistakes_in_the_config_are_one_line(change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build(small(**change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_builds(variant):
    config = get_config(variant).to_dict()
    if not config["labels"]:  # filled in from the data
        config |= {"skeleton": "coco17", "labels": ("a", "b")}
    built = build(config)
    assert built.stored == (10 if variant == "paper" else 64)
    if variant == "paper":
        assert build({**config, "labels": ("a",)}).parts == ("paper",)


@pytest.mark.parametrize(
    ("variant", "field", "text", "value"),
    [
        ("tables", "loss.class_weights", "(1.0, 2.5)", (1.0, 2.5)),
        ("tables", "data.window", "10", 10),
        ("ui_prmd", "data.joints", "angles", "angles"),
        ("exercises", "data.scatter", "0.05", 0.05),
    ],
)
def test_fields_that_hints_name_can_be_set(variant, field, text, value):
    config = flags.load_config(f"configs/sequence.py:{variant}")
    section, _, name = field.partition(".")
    assert config[section][name] is None  # a config of before, without the field, says the same
    flags.override(config, {field: text})
    assert config[section][name] == value
    if section == "loss":
        built = build({**config.to_dict(), "skeleton": "coco17", "labels": ("a", "b")})
        assert built.class_weights == value


def test_unknown_variant():
    with pytest.raises(ConfigError, match="no variant 'squats'"):
        get_config("squats")
