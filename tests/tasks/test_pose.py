"""What a training of the detector starts from beside what every system starts from."""

import jax
import pytest

from bodyjax import systems
from bodyjax.errors import CheckpointError
from bodyjax.tasks import pose
from configs.pose import get_config


def test_a_teacher_that_runs_in_the_step_is_frozen_as_the_system_has_it():
    config = get_config("ablation_distilled")
    config.distill.teacher = "small"
    frozen = pose.frozen_teacher(config)["frozen"]
    wanted = jax.eval_shape(systems.build(config).init, jax.random.key(0))["frozen"]
    assert jax.tree.map(lambda leaf: leaf.shape, frozen) == jax.tree.map(
        lambda leaf: leaf.shape, wanted
    )


def test_without_a_network_as_teacher_nothing_is_frozen():
    assert pose.frozen_teacher(get_config("small")) == {}
    config = get_config("ablation_distilled")
    config.distill.stored = "maps"
    assert pose.frozen_teacher(config) == {}


def test_a_teacher_of_another_network_is_one_line():
    config = get_config("ablation_distilled")
    config.distill.teacher = "phone"
    system = systems.build(config)
    with pytest.raises(CheckpointError, match=r"phone: is of another model.*distill\.model"):
        pose.check_teacher(config, system, pose.frozen_teacher(config))
