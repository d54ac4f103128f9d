"""What the commands ask of the lifter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from bodyjax import detect, systems
from bodyjax.contract import Prepared, Variables
from bodyjax.data import feeds
from bodyjax.engine import checkpoint
from bodyjax.errors import CheckpointError
from bodyjax.evaluate.lifting import evaluate as evaluate
from bodyjax.lift import boxes
from bodyjax.train import start

FROM_DETECTOR = ("backbone", "pyramid")
"""Parts of a detector that a lifter from pictures starts with; its stages are new."""


def prepare(config: ConfigDict, host: tuple[int, int]) -> Prepared:
    """System, feed and start. Before them, the joints that the detector finds on the people's
    pictures, if the config names a file for them and it is not there yet."""
    data, model = config.data, config.model
    joints = data.get("joints", "")
    if joints and data.get("people") and not Path(joints).exists():
        print(f"{joints} is made first: minutes, once", file=sys.stderr)
        detector = detect.load(model.detector, second=model.second or None)
        boxes.store_joints(detector, data.people, joints, part="trainvalid")
    system = systems.build(config)
    feed = feeds.open_feed(config, host=host)
    return Prepared(system, feed, initial(config, system), {"skeleton": model.skeleton})


def initial(config: ConfigDict, system: Any) -> Variables:
    """Nothing (""), another lifter, or the backbone and pyramid of a detector: `config.start`."""
    name = str(config.get("start", "") or "")
    if not name:
        return {}
    loaded = checkpoint.load(name)
    if loaded.system == "lifter":
        return {part: loaded.variables[part] for part in ("params", "batch_stats")}
    if loaded.system != "pose" or config.model.input != "pictures":
        what = f"is of system {loaded.system}, no start for this lifter"
        raise CheckpointError(what, file=name, place="start", hint="a lifter, or a detector")
    return with_trunk(system, loaded.variables, config.seed, name)


def with_trunk(system: Any, detector: Variables, seed: int, name: str) -> Variables:
    """Random variables with the backbone and the pyramid of a detector; CheckpointError if they
    are of another form."""
    import jax

    shapes = jax.eval_shape(system.init, jax.random.key(seed))
    given = {
        part: {trunk: detector[part][trunk] for trunk in FROM_DETECTOR if trunk in detector[part]}
        for part in ("params", "batch_stats")
    }
    fresh = start.random_beside(system, seed, shapes, given)
    made: Variables = {}
    for part, trees in given.items():
        try:
            fitted = {
                trunk: start.fitted(tree, shapes[part][trunk], trunk)
                for trunk, tree in trees.items()
            }
        except (CheckpointError, KeyError) as error:
            what = f"has another backbone or pyramid ({error})"
            raise CheckpointError(what, file=name, place="start") from None
        made[part] = {**fresh[part], **fitted}
    return made
