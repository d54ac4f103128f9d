"""Bones of h36m17 for the geometric loss: groups and mean lengths of Human3.6M."""

from __future__ import annotations

from bodyjax.skeleton import H36M17

BONES = H36M17.limbs

GROUPS = H36M17.groups
"""R_i of the patent (CN 111260774 B): arms, legs, shoulders, hips; indices of BONES."""

_MEANS = {  # mm; xingyizhou/pose-hg-3d, src/Tools/GetVariationWeight.py
    ("hip", "knee"): 456.008604234,
    ("knee", "ankle"): 452.125519758,
    ("shoulder", "elbow"): 284.125346475,
    ("elbow", "wrist"): 249.772589249,
    ("pelvis", "hip"): 134.201602044,
    ("thorax", "shoulder"): 180.776851782,
}

_KINDS = [joint.rpartition("_")[2] for joint in H36M17.joints]  # without their sides

LENGTHS = tuple(_MEANS.get((_KINDS[a], _KINDS[b]), 1.0) for a, b in BONES)  # 1: in no group
"""Mean length of each of BONES; only ratios within a group count."""

TALL = 1700.0
"""A person's height, mm: LENGTHS / TALL are shares of it, about the sides of a crop around them."""
