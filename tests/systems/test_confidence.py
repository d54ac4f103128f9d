"""A teacher that counts as much as it is sure of a picture."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from bodyjax import losses
from bodyjax.errors import ConfigError
from bodyjax.models.pose import Maps
from bodyjax.systems import build, heads, hints
from bodyjax.systems.teaching import Teaching
from configs.phone import get_config
from tests.systems.test_heads import random_maps
from tests.systems.tiny_pose import BONES, KEY, PLAIN, network, scene, value_and_grad

SURE = jnp.array([0.25, 1.0])


def test_how_sure_a_teacher_is():
    maps = np.full((2, 4, 4, 3), 0.1, np.float32)
    maps[0, 1, 2, 0], maps[0, 3, 3, 1] = 0.9, 0.5
    maps[1, 0, 0, 0], maps[1, 0, 0, 2] = 1.4, 1.0  # above 1; the background says nothing
    teaching = Teaching(None, BONES, 1.0, 1.0, 0)
    np.testing.assert_array_equal(teaching.sure(maps), [1, 1])
    confident = dataclasses.replace(teaching, confident=True)
    np.testing.assert_allclose(confident.sure(maps), [0.7, 0.55], rtol=1e-6)


def test_pictures_count_by_it_in_the_losses_of_heads():
    student, teacher = random_maps(1), random_maps(2)
    both = heads.taught_losses(student, teacher, SURE)
    np.testing.assert_allclose(
        both["center"], losses.soft_focal(student.center, teacher.center, SURE[:, None, None])
    )
    plain = heads.taught_losses(student, teacher)
    ones = heads.taught_losses(student, teacher, jnp.ones(2))
    for name, term in plain.items():
        np.testing.assert_allclose(ones[name], term)
        assert both[name] < term or name in ("regress", "offset")
    # a picture of which the teacher is not sure at all teaches nothing
    other = Maps(*(None if part is None else np.array(part) for part in student))
    for part in (other.center, other.regress, other.offset):
        part[0] = 0.5
    other.heatmaps[:, 0] = 0.5
    none = jnp.array([0.0, 1.0])
    for name, term in heads.taught_losses(student, teacher, none).items():
        np.testing.assert_allclose(term, heads.taught_losses(other, teacher, none)[name])


def test_pictures_count_by_it_in_hints():
    rng = np.random.default_rng(0)
    student, teacher = ({8: jnp.asarray(rng.normal(size=(2, 4, 4, 3)))} for _ in range(2))
    params = hints.init(student, teacher)
    each = jnp.square(student[8] - teacher[8]) / teacher[8].var((0, 1, 2))
    expected = (0.25 * each[0].mean() + each[1].mean()) / 2
    np.testing.assert_allclose(hints.loss(params, student, teacher, SURE), expected, rtol=1e-4)


@pytest.mark.slow
def test_a_teacher_that_is_not_sure_leaves_the_labels_their_weight():
    teaching = Teaching(network(16, 1), BONES, 0.8, 0.8, 0, confident=True)
    system = dataclasses.replace(PLAIN, teaching=teaching)
    variables, batch = system.init(KEY), scene(system)
    # maps of 0 or less everywhere: a teacher that sees nothing
    silent = variables["frozen"]["teacher"]["params"]["stages"]
    silent["stage1_maps"]["kernel"] = jnp.zeros_like(silent["stage1_maps"]["kernel"])
    silent["stage1_maps"]["bias"] = jnp.zeros_like(silent["stage1_maps"]["bias"])
    value, aux, _ = value_and_grad(system)(variables, batch)
    statistics = {k: v for k, v in variables["batch_stats"].items() if k != "teaching"}
    alone = {"params": variables["params"], "batch_stats": statistics, "frozen": {}}
    expected, _, _ = value_and_grad(PLAIN)(alone, batch)
    assert aux.metrics["teacher"][0] == 0
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_it_is_for_a_teacher_in_the_step():
    config = get_config("phone").to_dict()
    config["distill"] |= {"hints": 0.0, "confident": True, "teacher": ""}
    with pytest.raises(ConfigError, match=r"distill\.confident"):
        build(ConfigDict(config))
