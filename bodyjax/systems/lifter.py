"""System C (CN 111260774 B): the joints of a person in space, from one picture."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from bodyjax import sections
from bodyjax.engine import settings
from bodyjax.models import backbones
from bodyjax.models.lifter import JointLifter, Lifter
from bodyjax.sections import check
from bodyjax.skeleton import H36M17
from bodyjax.systems import lifter_settings
from bodyjax.systems.lifter_joints import BASE, JointsToSpace
from bodyjax.systems.lifter_pictures import PicturesToSpace


def build(config: Any) -> JointsToSpace | PicturesToSpace:
    """The lifter of `config.model`: from joints ("joints", variant maps) or from pictures."""
    kind = config["model"].get("input", "")
    sections.choice(kind, ("joints", "pictures"), "model.input")
    dtype = jnp.dtype(settings.train(config["train"]).compute_dtype)
    if kind == "pictures":
        return _pictures(config, dtype)
    model = lifter_settings.joints(config["model"])
    network = JointLifter(BASE, model.width, model.blocks, model.dropout, dtype)
    return JointsToSpace(network, int(config["data"].get("views", 1)), model.geometric)


def _pictures(config: Any, dtype: Any) -> PicturesToSpace:
    model = lifter_settings.pictures(config["model"])
    below = backbones.build(dataclasses.asdict(model), dtype)
    check(32 in below.strides, "model.backbone", model.backbone, "one with features at stride 32")
    a, b, c, d = model.pyramid
    network = Lifter(
        below, len(H36M17.joints), model.stages, model.width, model.layers, (a, b, c, d), dtype
    )
    terms = lifter_settings.terms(config.get("loss", {}))
    return PicturesToSpace(network, model.size, model.sigma, model.read, terms)
