"""Every system's training step and prediction, and what its users call, lower for CUDA and TPU on
any machine.

Lowering shows that the program has no part that only a CPU knows; that a device's own compiler
takes it, and how fast it is there, this does not show.
"""

from functools import partial

import jax
import pytest
from jax import export

from bodyjax import systems, tasks
from bodyjax.engine import mesh, optim, settings
from bodyjax.engine import step as steps
from configs import classifier, lifter, pose, sequence

PLATFORMS = ("tpu", "cuda")
JOINTS = ("nose", "neck", "left_wrist", "right_wrist")


def small_pose():
    config = pose.get_config("tiny")
    config.model.size = (64, 64)
    return config


def small_movement():
    config = classifier.get_config("tiny")
    config.labels = ("stop", "idle")
    config.detector = small_pose().model
    config.model.input = "frames"
    config.model.frames = 2
    config.model.size = (64, 64)
    return config


def small_sequence():
    config = sequence.get_config("pushfit")
    config.labels = ("no", "yes")
    config.skeleton = "coco17"
    config.model.update({"width": 8, "projection": 8, "stored": 6, "steps": 5})
    return config


def center_pose():
    config = pose.get_config("small")
    config.model.update({"size": (64, 64), "max_people": 2, "frozen_blocks": 0, "head_weight": 1.0})
    return config


def joint_lifter():
    config = lifter.get_config("maps")
    config.model.update({"width": 16, "blocks": 1})
    config.data.views = 2
    return config


CONFIGS = {
    "lifter": lambda: lifter.get_config("tiny"),
    "joint_lifter": joint_lifter,
    "pose": small_pose,
    "center_pose": center_pose,
    "movement": small_movement,
    "sequence": small_sequence,
}


def test_every_system_is_tried():
    assert {make().system for make in CONFIGS.values()} == set(systems.known())


@pytest.mark.parametrize("name", CONFIGS)
def test_step_prediction_and_what_is_deployed_lower(name):
    config = CONFIGS[name]()
    system = systems.build(config)
    key = jax.eval_shape(jax.random.key, 0)
    variables = jax.eval_shape(system.init, key)
    batch = steps.shapes(system.batch_spec(2))
    chosen = settings.optimizer(settings.plain(config)["optimizer"])
    optimizer = optim.make_optimizer(chosen, config.train.steps)
    start = partial(steps.init_state, system, optimizer, ema=chosen.ema > 0)
    state = jax.eval_shape(start, variables, batch=batch, key=key)
    frozen = variables.get("frozen", {})
    step = steps.make_step(system, optimizer, chosen, state, frozen, mesh.make_mesh())
    deployed = tasks.deployed(config)
    for function, arguments in (
        (step, (state, frozen, batch)),
        (jax.jit(system.predict), (variables, steps.shapes(system.input_spec(2)))),
        (jax.jit(deployed.run), (variables, *deployed.inputs)),
    ):
        exported = export.export(function, platforms=PLATFORMS)(*arguments)
        assert set(exported.platforms) == set(PLATFORMS)
        constants = sum(line.count('dense<"0x') for line in exported.mlir_module().splitlines())
        assert constants < 50  # parameters are arguments, none is written into the program
