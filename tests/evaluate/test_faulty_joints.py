"""The share of joints against the joints that simulated faults move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import systems
from bodyjax.data.sequences import source
from bodyjax.data.sequences.exercises import STANDARD
from bodyjax.evaluate import faulty_joints
from bodyjax.simulate.exercises import FAULTS
from bodyjax.train import cross_validation
from configs.sequence import get_config


@pytest.fixture(scope="module")
def scored():
    """A small random model of standard or not, and its data: each fault once or more."""
    config = get_config("exercises_standard")
    config.data.update({"steps": 8, "train": 4, "test": 4})
    config.model.update({"steps": 4, "width": 8, "layers": 1, "projection": 8})
    data = source.from_config(config.data)
    system = systems.build(cross_validation.complete(config, data))
    return system, jax.jit(system.init)(jax.random.key(0)), data


def test_a_model_without_sense_blames_by_chance(scored):
    system, variables, data = scored
    found = faulty_joints.blame(system, variables, data, np.arange(len(data)))
    assert found["n"] == int((data.labels == 0).sum())
    assert set(found["per_fault"]) == {f"{e} {f}" for e in STANDARD for f in FAULTS[e]}
    names = data.skeleton.joints
    faulty = [
        name.split("-") for name, label in zip(data.names, data.labels, strict=True) if not label
    ]
    sizes = [len(FAULTS[exercise][fault]) for exercise, _, fault, _ in faulty]
    assert found["chance"] == pytest.approx(np.mean(sizes) / len(names))
    first = [found["per_fault"][f"{exercise} {fault}"] for exercise, _, fault, _ in faulty]
    assert found["first"] == pytest.approx(np.mean(first))
    assert found["share"] == pytest.approx(found["chance"], abs=0.15)


def test_a_share_on_one_joint_is_right_where_that_joint_is_guilty(scored, monkeypatch):
    system, variables, data = scored
    hip = data.skeleton.joints.index("left_hip")

    def on_the_hip(system, variables, batch, label):
        assert label == 0
        return jnp.zeros((len(batch["label"]), len(data.skeleton.joints))).at[:, hip].set(1.0)

    monkeypatch.setattr(faulty_joints, "joint_share", on_the_hip)
    rows = np.flatnonzero(data.splits[next(iter(data.splits))] == 1)
    found = faulty_joints.blame(system, variables, data, rows)
    for kind, first in found["per_fault"].items():
        exercise, fault = kind.split(" ")
        assert first == ("left_hip" in FAULTS[exercise][fault])
    assert found["share"] == pytest.approx(found["first"])
