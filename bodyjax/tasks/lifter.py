"""What the commands ask of the lifter."""

from __future__ import annotations

import sys
from pathlib import Path

from ml_collections import ConfigDict

from bodyjax import detect
from bodyjax.contract import Prepared
from bodyjax.evaluate.lifting import evaluate as evaluate
from bodyjax.lift import boxes
from bodyjax.train import run


def prepare(config: ConfigDict, host: tuple[int, int]) -> Prepared:
    """What every system needs; before it, the joints that the detector finds on the people's
    pictures, if the config names a file for them and it is not there yet."""
    data, model = config.data, config.model
    joints = data.get("joints", "")
    if joints and data.get("people") and not Path(joints).exists():
        print(f"{joints} is made first: minutes, once", file=sys.stderr)
        detector = detect.load(model.detector, second=model.second or None)
        boxes.store_joints(detector, data.people, joints, part="trainvalid")
    return run.prepare(config, host)
