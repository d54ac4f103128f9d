"""Hints: a student's features against its teacher's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from bodyjax.errors import ConfigError
from bodyjax.systems import build, hints
from bodyjax.systems.teaching import Teaching, of_network
from configs.phone import get_config
from tests.systems.tiny_pose import BONES, KEY, PLAIN, largest, network, scene, value_and_grad

TAUGHT = dataclasses.replace(
    PLAIN, teaching=Teaching(network(16, 1), BONES, 0.5, 0.5, 0, hints=2.0)
)


def features(seed, channels):
    rng = np.random.default_rng(seed)
    sizes = {4: 8, 8: 4, 16: 2}
    return {
        stride: jnp.asarray(rng.normal(3, stride, (2, sizes[stride], sizes[stride], width)))
        for stride, width in channels.items()
    }


def test_equal_features_cost_nothing_at_the_start_and_taps_are_not_asked_for():
    student = features(0, {4: 3, 8: 5})
    taps = features(1, {4: 0, 8: 2, 16: 7})
    teacher = {s: jnp.concatenate([student[s], taps[s]], -1) for s in student}
    teacher[16] = taps[16]
    params = hints.init(student, teacher)
    assert {name: conv["kernel"].shape for name, conv in params.items()} == {
        "4": (3, 3), "8": (5, 5),
    }  # fmt: skip
    assert float(hints.loss(params, student, teacher)) < 1e-8


def test_the_distance_is_in_units_of_the_teachers_variance():
    student, teacher = features(0, {4: 3, 8: 5}), features(1, {4: 6, 8: 5})
    params = hints.init(student, teacher)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    expected = 0.0
    for stride in (4, 8):
        conv = params[str(stride)]
        aim = np.asarray(teacher[stride], np.float64)[..., : student[stride].shape[-1]]
        ours = np.einsum("bhwi,io->bhwo", student[stride], conv["kernel"]) + conv["bias"]
        expected += np.mean((ours - aim) ** 2 / aim.var((0, 1, 2)))
    np.testing.assert_allclose(hints.loss(params, student, teacher), expected, rtol=1e-5)
    # another unit of the teacher's and the student's channels changes nothing
    scaled = {s: 100 * f for s, f in student.items()}, {s: 100 * f for s, f in teacher.items()}
    plain = hints.init(student, teacher)
    np.testing.assert_allclose(
        hints.loss(plain, *scaled), hints.loss(plain, student, teacher), rtol=1e-4
    )


def test_the_teacher_gets_no_gradient():
    student, teacher = features(0, {8: 5}), features(1, {8: 5})
    grads = jax.grad(hints.loss, argnums=(0, 1, 2))(hints.init(student, teacher), student, teacher)
    assert largest(grads[0]) > 0
    assert largest(grads[1]) > 0
    assert largest(grads[2]) == 0


@pytest.mark.slow
def test_a_batch_without_labels_learns_from_the_hints():
    variables = TAUGHT.init(KEY)
    conv = variables["params"][hints.PART]["8"]
    np.testing.assert_array_equal(conv["kernel"], np.eye(8))  # of 16 channels of the teacher
    batch = scene(TAUGHT)
    batch["area_mask"][:] = 0
    run = value_and_grad(TAUGHT)
    value, _, grads = run(variables, batch)
    without = dataclasses.replace(TAUGHT, teaching=dataclasses.replace(TAUGHT.teaching, hints=0.0))
    rest = {name: part for name, part in variables["params"].items() if name != hints.PART}
    less, _, other = value_and_grad(without)({**variables, "params": rest}, batch)
    _, _, theirs = hints.with_features(
        TAUGHT.teaching.network, variables["frozen"]["teacher"], batch["image"]
    )
    plain = {name: variables[name] for name in ("params", "batch_stats")}
    _, _, ours = hints.with_features(
        TAUGHT.model, plain, batch["image"], train=True, mutable=["batch_stats"]
    )
    hint = hints.loss(variables["params"][hints.PART], ours, theirs)
    np.testing.assert_allclose(value - less, 0.5 * 2.0 * hint, rtol=1e-3)
    assert largest(grads[hints.PART]) > 0
    assert largest(jax.tree.map(jnp.subtract, grads["backbone"], other["backbone"])) > 0
    assert set(of_network({**variables})["params"]) == set(rest)


def test_hints_need_a_teacher_in_the_step():
    config = get_config("phone").to_dict()
    config["distill"]["hints"] = -1.0
    with pytest.raises(ConfigError, match=r"distill.hints: -1.0 should be at least 0"):
        build(ConfigDict(config))
    config["distill"] |= {"hints": 1.0, "teacher": ""}
    with pytest.raises(ConfigError, match=r"distill\.hints"):
        build(ConfigDict(config))
