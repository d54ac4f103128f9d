"""The people of a picture in space: a detector finds their joints, the lifter gives them depth.

    lifter = lift.load("lifter")
    people = lift.people(lifter, "photo.jpg", height=1680)

Coordinates are mm relative to the pelvis, in the camera's axes: x right, y down, z forward. A
picture alone doesn't tell how tall a person is: the height is given, or that of the mean adult.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bodyjax import camera as cameras
from bodyjax import detect, systems
from bodyjax.data.pictures.images import any_picture
from bodyjax.data.poses3d.checks import HEIGHTS
from bodyjax.data.rows import padded
from bodyjax.detect import Detector
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import ConfigError, DataError
from bodyjax.lift.crops import Crops, of_joints
from bodyjax.skeleton import COCO17, H36M17, LIFT16, Skeleton
from bodyjax.systems.lifter_pictures import PicturesToSpace

Array = jax.Array
Variables = Any

MEAN_HEIGHT = 1700.0
"""Height of the mean adult, mm (NCD Risk Factor Collaboration 2016: women 1594, men 1713; taller in
most places with cameras)."""


@dataclass(frozen=True)
class Lifter:
    """A restored lifter. `lift(variables, xy (P, 17, 2), score (P, 17), camera (P, 4), height (P,))
    -> xyz (P, 17, 3)` is jitted and pure: joints of COCO in pixels, score 0 where there is none;
    cameras in pixels, heights and joints of h36m17 in mm. `detector` finds the joints in pictures.
    A lifter from pictures has `crops` instead of `lift`: it looks at the people that the detector
    finds.
    """

    variables: Variables
    lift: Callable[[Variables, Any, Any, Any, Any], Array] | None
    detector: Detector
    skeleton: Skeleton = H36M17
    config: Any = None
    name: str = ""
    crops: Crops | None = None


def load(
    checkpoint: str | PathLike[str] | Checkpoint = "lifter",
    *,
    detector: Detector | None = None,
    **settings: Any,
) -> Lifter:
    """A lifter from a run's folder, exported weights, or the name of shipped ones.

    detector: finds the people; by default the one that the config names, with its second look, or
    another one (`second`, "" for none), and `settings` of detect.Settings. Raises CheckpointError
    if there is no checkpoint or it is no lifter, ConfigError for impossible settings.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = checkpoints.load(checkpoint, system="lifter")
    system: Any = systems.build(checkpoint.config)
    expected = jax.eval_shape(system.init, jax.random.key(0))
    checkpoints.check_variables(checkpoint.variables, expected, checkpoint.path)
    if detector is None:
        model = checkpoint.config["model"]
        chosen = {"second": model["second"]} | settings
        chosen["second"] = chosen["second"] or None
        detector = detect.load(model["detector"], **chosen)
    elif settings:
        raise ConfigError("go with the detector given", place=f"settings {', '.join(settings)}")
    name = str(checkpoint.path)
    return make(system, jax.device_put(checkpoint.variables), detector, checkpoint.config, name)


def make(
    system: Any, variables: Variables, detector: Detector, config: Any = None, name: str = ""
) -> Lifter:
    """A lifter from a system, its variables and a detector of people's joints. A system of
    pictures needs its config: how large people are in its crops."""
    if isinstance(system, PicturesToSpace):
        if config is None:
            raise ConfigError("is needed by a lifter from pictures", place="config")

        def see(variables: Variables, image: Any, camera: Any, height: Any) -> Any:
            batch = {"image": image, "camera": camera, "height": height}
            out = system.predict(variables, batch)
            return out["xyz"], out["xy"], out["score"]

        crops = Crops(system.size, float(config["data"]["person"]), jax.jit(see))
        return Lifter(variables, None, detector, H36M17, config, name, crops)

    def lift(variables: Variables, xy: Any, score: Any, camera: Any, height: Any) -> Array:
        seen, sure = seen_joints(xy, score)
        batch = {"xy": seen, "score": sure, "camera": camera, "height": height}
        xyz: Array = system.predict(variables, batch)["xyz"]
        return xyz

    return Lifter(variables, jax.jit(lift), detector, H36M17, config, name)


def seen_joints(xy: ArrayLike, score: ArrayLike) -> tuple[Array, Array]:
    """COCO's joints (..., 17, 2) with scores (..., 17) as those of lift16, (..., 16, 2) and (...,
    16); a joint with score 0 or NaN as place is not there."""
    xy, score = jnp.asarray(xy, jnp.float32), jnp.asarray(score, jnp.float32)
    there = (score > 0) & jnp.isfinite(xy).all(-1)
    xy, score = jnp.where(there[..., None], xy, 0.0), jnp.where(there, score, 0.0)
    first, second = (jnp.array(ends) for ends in zip(*_ENDS, strict=True))
    both = there[..., first] & there[..., second]
    middle = 0.5 * (xy[..., first, :] + xy[..., second, :])
    mean = 0.5 * (score[..., first] + score[..., second])
    return jnp.where(both[..., None], middle, 0.0), jnp.where(both, mean, 0.0)


_ENDS = [
    (COCO17.index("left_ear"), COCO17.index("right_ear"))
    if name == "head"
    else (COCO17.index(name),) * 2
    for name in LIFT16.joints
]


def poses(
    lifter: Lifter,
    xy: ArrayLike,
    score: ArrayLike,
    *,
    camera: ArrayLike,
    height: ArrayLike = MEAN_HEIGHT,
    picture: np.ndarray | None = None,
) -> np.ndarray:
    """xyz (P, 17, 3) mm of people whose joints are known: xy (P, 17, 2) pixels of COCO's joints,
    NaN or score (P, 17) 0 where there is none.

    P people of any frames; camera (4,) or (P, 4); height, mm, one for all or (P,). A lifter from
    pictures takes the people of one `picture` (H, W, 3) uint8, and their joints only say where to
    look. People without any joint get NaN. Raises DataError for other shapes, and a camera or
    height that cannot be, ConfigError where a picture is needed.
    """
    xy, score = np.asarray(xy, np.float32), np.asarray(score, np.float32)
    count = len(xy)
    if xy.shape != (count, 17, 2) or score.shape != (count, 17):
        what = f"xy {xy.shape} and score {score.shape} are not (P, 17, 2) and (P, 17)"
        raise DataError(what, place="joints", hint="COCO's 17 joints of P people")
    lens, tall = checked_camera(camera), checked_height(height)
    for place, values, shared in (("camera", lens, 1), ("height", tall, 0)):
        if values.ndim > shared and len(values) != count:
            raise DataError(f"{len(values)} for {count} people", place=place, hint="one for all?")
    lens, tall = np.broadcast_to(lens, (count, 4)), np.broadcast_to(tall, (count,))
    if lifter.crops is not None:
        if picture is None:
            what = "sees pictures: joints alone are not enough"
            raise ConfigError(what, place=lifter.name or "lifter", hint="take one from joints")
        picture = any_picture(picture)
        return of_joints(lifter.crops, lifter.variables, picture, xy, score, lens, tall)
    assert lifter.lift is not None
    if not count:
        return np.zeros((0, 17, 3), np.float32)
    rows = padded(xy, score, lens, tall)
    xyz = np.array(jax.device_get(lifter.lift(lifter.variables, *rows))[:count])
    nobody = ~((score > 0) & np.isfinite(xy).all(-1)).any(-1)
    xyz[nobody] = np.nan
    return xyz


def people(
    lifter: Lifter,
    image: Any,
    *,
    camera: ArrayLike | None = None,
    height: ArrayLike | None = None,
    image_id: Any = 0,
) -> list[dict[str, Any]]:
    """The people of one picture, best first: what launch.detect gives of each, and their joints.

    image: a file's name, its bytes, a PIL picture or an array. camera (4,): focal lengths x, y and
    principal point x, y in pixels; None: assumed (camera.assumed). height: mm, of all people or
    one for each; None: the mean adult's. Nobody below the
    detector's `min_person` is in. Each has beside the fields of launch.detect xyz (17, 3) mm in
    joints of h36m17, relative to the pelvis; height, mm; scale "given height" or "mean adult";
    camera (4,), and camera_from "given" or "assumed: 50 degrees".
    """
    picture = any_picture(image)
    found = detect.find(lifter.detector, picture, joints=COCO17)
    lens = cameras.assumed(picture.shape[:2]) if camera is None else checked_camera(camera)
    joints, score = found.xy, found.scores
    tall = checked_height(MEAN_HEIGHT if height is None else height)
    if tall.ndim and len(tall) != len(joints):
        raise DataError(f"{len(tall)} heights for {len(joints)} people", place="height")
    xyz = poses(lifter, joints, score, camera=lens, height=tall, picture=picture)
    degrees = f"assumed: {cameras.FIELD_OF_VIEW:g} degrees"
    words = {
        "scale": "mean adult" if height is None else "given height",
        "camera": np.asarray(lens, float).tolist(),
        "camera_from": degrees if camera is None else "given",
    }
    results = found.coco(image_id)
    heights = np.broadcast_to(tall, (len(joints),)).astype(float).tolist()
    return [
        {**person, "xyz": place, "height": size, **words}
        for person, place, size in zip(results, xyz, heights, strict=True)
    ]


def checked_camera(camera: ArrayLike) -> np.ndarray:
    """A camera (4,) or cameras (P, 4); DataError for impossible ones."""
    hint = "focal lengths x, y and principal point x, y in pixels"
    try:
        lens = np.asarray(camera, np.float32)
    except (TypeError, ValueError):
        raise DataError(f"{camera!r} is not 4 numbers", place="camera", hint=hint) from None
    if lens.ndim not in (1, 2) or lens.shape[-1] != 4 or not np.isfinite(lens).all():
        raise DataError(f"{camera!r} is not 4 finite numbers", place="camera", hint=hint)
    if not (lens[..., :2] > 0).all():
        raise DataError("a focal length that is not above 0", place="camera")
    return lens


def checked_height(height: ArrayLike) -> np.ndarray:
    """Heights in mm, one or (P,); DataError for what is no person's."""
    least, most = HEIGHTS
    try:
        tall = np.asarray(height, np.float32)
    except (TypeError, ValueError):
        tall = np.full((), np.nan, np.float32)
    if tall.ndim > 1 or not ((tall >= least) & (tall <= most)).all():
        what = f"{height} is no person's height in mm"
        raise DataError(what, place="height", hint="1.7 m are 1700 mm")
    return tall
