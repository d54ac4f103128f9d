"""What the commands ask of the lifter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from bodyjax import detect, files, lift, systems
from bodyjax.archive import Answer, Beat, Work
from bodyjax.archive.work import beating, people_seen, picture_or_video, without_path
from bodyjax.contract import Prepared, Variables
from bodyjax.data import feeds
from bodyjax.data.video.files import open_video
from bodyjax.engine import checkpoint
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.engine.step import shapes
from bodyjax.errors import CheckpointError, DataError
from bodyjax.evaluate.lifting import evaluate as evaluate
from bodyjax.lift import boxes, motions, parameters, records
from bodyjax.tasks import Network, portable, prediction
from bodyjax.train import start

NAME = "lifter"
"""The shipped weights."""

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


def network(config: ConfigDict) -> Network:
    """One person's joints, or a crop of a picture, to joints in space: the system's prediction."""
    system: Any = systems.build(portable(config))
    specs = system.input_spec(1)
    names = {"image": "pixels"}  # as in the detector's network: float32

    def run(variables: Variables, *arrays: Any) -> dict[str, Any]:
        out: dict[str, Any] = system.predict(variables, dict(zip(specs, arrays, strict=True)))
        return out

    inputs = {
        names.get(name, name): leaf.update(dtype=np.float32) for name, leaf in shapes(specs).items()
    }
    says = {
        "pixels": "RGB of the crop around a person, 0 to 255",
        "xy": "joints in pixels",
        "score": "of each joint, 0 to 1",
        "camera": "focal lengths and centre (fx, fy, cx, cy) in pixels",
        "height": "of the person, in mm",
        "xyz": "h36m17's joints in mm, relative to the pelvis, in the camera's axes",
        "depth": "of each joint relative to the pelvis, in sides of the crop",
    }
    return Network(run, inputs, says)


def archive(found: Checkpoint, *, on_bad: str = "raise", **settings: Any) -> Work:
    """The joints in space of the people in each picture and video, one after the other, without
    prompts. The class is how many people there are, `sure` the mean of their scores. settings: the
    detector's, as detect.load takes them."""
    loaded = lift.load(found, **settings)

    def run(clips: list[Any], beat: Beat) -> list[Answer | DataError]:
        return [
            of_picture(loaded, clip)
            if isinstance(clip, np.ndarray)
            else of_video(loaded, clip, on_bad, beat)
            for clip in clips
        ]

    return Work(
        lambda file, beat: picture_or_video(file, on_bad),
        run,
        1,
        files.PICTURES + files.VIDEOS,
        [loaded.variables, loaded.detector.variables],
    )


def of_picture(lifter: lift.Lifter, picture: np.ndarray) -> Answer:
    """The people of a picture in space, for an archive."""
    people = [
        {**person, "xyz": records.numbers(person["xyz"], 1)}
        for person in lift.people(lifter, picture)
    ]
    size = list(picture.shape[1::-1])
    scores = [float(person["score"]) for person in people]
    return people_seen(len(people), scores, {"size": size, "people": people})


def of_video(lifter: lift.Lifter, file: Path, on_bad: str, beat: Beat) -> Answer:
    """The people of a video in space, for an archive."""
    lifted = motions.video(
        lifter, file, on_bad=on_bad, progress=lambda frames, count: beating(beat, frames)
    )
    values = [parameters.measure(motion) for motion in lifted.motions]
    told = records.video(open_video(file, on_bad), lifted, values, [], {"scale": "mean adult"})
    scores = [float(motion.score.mean()) for motion in lifted.motions]
    return people_seen(len(scores), scores, without_path(told))


def measure(
    name: str, config: Any, variants: Callable[[str], Any], platform: str
) -> Iterator[tuple[str, Callable[..., Iterator[Any]], tuple[Any, ...]]]:
    """The shipped lifter from canvas to joints in space, and geometry beside NumPy and SciPy."""
    from bodyjax.bench import space, training

    yield f"{name}: training step", training.training, (name, config, platform)
    yield f"{name}: prediction", prediction, (name, config, platform)
    yield space.SPACE, space.space, (NAME, config, platform)
    yield space.GEOMETRY, space.poses, (platform,)
