"""System C (CN 111260774 B): the joints of a person in space, from one picture."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from bodyjax import sections
from bodyjax.models.lifter import JointLifter
from bodyjax.systems import lifter_settings
from bodyjax.systems.lifter_joints import BASE, JointsToSpace


def build(config: Any) -> JointsToSpace:
    """The lifter of `config.model`: from joints ("joints", variant maps) or pictures."""
    kind = config["model"].get("input", "")
    sections.choice(kind, ("joints",), "model.input")
    dtype = jnp.dtype(config["train"].get("compute_dtype", "float32"))
    model = lifter_settings.joints(config["model"])
    network = JointLifter(BASE, model.width, model.blocks, model.dropout, dtype)
    return JointsToSpace(network, int(config["data"].get("views", 1)), model.geometric)
