"""People in pictures: restore a detector once, then one compiled program a picture.

    detector = detect.load("small")
    people = detect.people(detector, "photo.jpg")

The whole picture is centred in a square canvas. Network, averaging over mirror image and scales,
grouping and filling in are one jitted function of (variables, canvas). The joints are mapped back
by the inverse of the canvas' affine map.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, cast, overload

import jax
import numpy as np

from bodyjax import skeleton, systems
from bodyjax.data import affine
from bodyjax.data.pictures.images import any_picture
from bodyjax.detect import canvas, programs
from bodyjax.detect import person_score as ranking
from bodyjax.detect.canvas import Detections, MapNetwork, Settings, Variables, merged
from bodyjax.detect.found import Found, checked_score
from bodyjax.detect.results import PicturePeople, Results, as_skeleton, coco_results
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import CheckpointError, ConfigError
from bodyjax.models.pose import CenterPose
from bodyjax.skeleton import Skeleton

Image = np.ndarray
TAKEN = ranking.SECOND.index("taken")


@dataclass(frozen=True)
class Detector:
    """A restored detector. `predict(variables, canvas (S, S, 3) uint8) -> Detections` is jitted and
    pure: vmap it for batches, call it inside another program, or write it to a file with
    jax.export (import bodyjax before reading the file). S is `side`.

    second: the detector that looks again; with it, `follow` looks where people were in the previous
    frame (canvas.follower), also jitted and pure.
    """

    variables: Variables
    predict: Callable[[Variables, Any], Detections]
    skeleton: Skeleton
    settings: Settings
    config: Any = None
    name: str = ""
    system: MapNetwork | None = None
    second: Detector | None = None
    follow: Callable[[Variables, Any, Any, Any, Any], Detections] | None = None

    @property
    def side(self) -> int:
        """Of the canvas in pixels: twice `settings.size` where a second look needs the detail."""
        return self.settings.size * (2 if self.second else 1)


def load(
    checkpoint: str | PathLike[str] | Checkpoint = "small",
    *,
    second: str | PathLike[str] | Checkpoint | Detector | None = None,
    **settings: Any,
) -> Detector:
    """A detector from a run's folder, exported weights, or the name of shipped ones.

    second: another detector, such as "large", that looks again at a crop around each person found
    (`second_look`). settings: fields of `Settings` that override those of the config's section
    `detect`. Raises CheckpointError if there is no checkpoint or it is not a detector, ConfigError
    for impossible settings.
    """
    if second is not None and not isinstance(second, Detector):
        second = load(_second(second))
    restored = _restored(checkpoint)
    _check(*restored)
    return _joined(*restored, second, settings)


def load_kept(
    folder: Path,
    checkpoint: str | PathLike[str] | Checkpoint = "small",
    *,
    second: str | PathLike[str] | Checkpoint | None = None,
    **settings: Any,
) -> Detector:
    """Like `load`, for a program that is started repeatedly: traced programs are kept in `folder`
    (bodyjax.detect.programs), and a program that is there is not traced again.

    Tracing checks that weights fit their config, so a program traced from the same config for
    weights of the same shapes needs no new check. `predict` and `follow` are the same programs as
    those of `load`, but don't support vmap or grad.
    """
    restored = _restored(checkpoint)
    other = None if second is None else _restored(_second(second))
    every = [restored] if other is None else [restored, other]
    detector = _joined(*restored, _joined(*other, None, {}) if other else None, settings)
    configs = [json.dumps(one.config.to_dict(), sort_keys=True) for one, _ in every]
    decides = (configs, detector.settings)
    canvas = jax.ShapeDtypeStruct((detector.side, detector.side, 3), np.uint8)

    def check() -> None:
        for one in reversed(every):  # in the order of `load`
            _check(*one)

    seen = (detector.variables, canvas)
    predict = programs.kept(folder, "predict", detector.predict, seen, decides, check)
    if detector.follow is None:
        return dataclasses.replace(detector, predict=predict)
    follow = detector.follow

    @cache
    def following() -> Callable[..., Detections]:
        before: Detections = jax.eval_shape(predict, *seen)
        people = (before.xy, before.score, before.person_score)
        return programs.kept(folder, "follow", follow, (*seen, *people), decides)

    # Of videos alone: read at the first call.
    return dataclasses.replace(
        detector, predict=predict, follow=lambda *arguments: following()(*arguments)
    )


def _restored(checkpoint: str | PathLike[str] | Checkpoint) -> tuple[Checkpoint, Any]:
    """A detector's checkpoint and its system."""
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = checkpoints.load(checkpoint, system="pose")
    return checkpoint, systems.build(checkpoint.config)


def _second(checkpoint: str | PathLike[str] | Checkpoint) -> Checkpoint:
    """The checkpoint of a second look; its errors say that they are about that one."""
    try:
        return _restored(checkpoint)[0]
    except CheckpointError as error:
        raise CheckpointError(
            error.message, file=error.file, place="--second", hint=error.hint
        ) from None


def _check(checkpoint: Checkpoint, system: Any) -> None:
    """CheckpointError unless the weights fit their config. Traces the network: a second."""
    expected = jax.eval_shape(system.init, jax.random.key(0))
    checkpoints.check_variables(checkpoint.variables, expected, checkpoint.path)


def _joined(
    checkpoint: Checkpoint, system: Any, second: Detector | None, settings: dict[str, Any]
) -> Detector:
    """A detector with the settings of its config, overridden by these."""
    stored = dict(checkpoint.config.get("detect", {}))
    if second is not None:  # a second look has scores of its own
        stored["min_person"] = stored.get("min_person_second", 0.0)
    return make(
        system,
        jax.device_put(checkpoint.variables),
        merged(stored | settings),
        second=second,
        config=checkpoint.config,
        name=str(checkpoint.path),
    )


def make(
    system: MapNetwork,
    variables: Variables,
    settings: Settings | None = None,
    *,
    second: Detector | None = None,
    config: Any = None,
    name: str = "",
) -> Detector:
    """A detector from a system and its variables. Its settings hold the scales actually used:
    multiples of the network's cell. second: a detector whose network has centres, for a second
    look."""
    settings, cell = settings or Settings(), system.model.cell
    if settings.size % cell:
        raise ConfigError(f"{settings.size} is not a multiple of {cell}", place="detect.size")
    sides = (max(cell, round(settings.size * scale / cell) * cell) for scale in settings.scales)
    scales = tuple(side / settings.size for side in dict.fromkeys(sides))
    settings = dataclasses.replace(settings, scales=scales)
    if second is None:
        predict = canvas.predictor(system, settings)
        return Detector(variables, jax.jit(predict), system.bones, settings, config, name, system)
    other = second.system
    centred = other is not None and isinstance(other.model, CenterPose)
    if other is None or not centred or second.second or second.skeleton != system.bones:
        what = "a second look takes a network with centres and the same joints, itself without one"
        raise ConfigError(what, place="second", hint="large")
    both = {"first": variables, "second": second.variables}
    other = cast("canvas.HeadNetwork", other)
    predict = canvas.second_predictor(system, other, settings)
    follow = jax.jit(canvas.follower(other, settings))
    return Detector(
        both, jax.jit(predict), system.bones, settings, config, name, system, second, follow
    )


def canvas_map(size: tuple[int, int], side: int) -> np.ndarray:
    """The (2, 3) map from a picture of (height, width) `size` to the canvas."""
    return affine.fit(size, (side, side))


def detect(detector: Detector, image: Any) -> PicturePeople:
    """The people of one picture (data.pictures.images.any_picture) in the detector's own joints."""
    pixels, matrix = on_canvas(detector, any_picture(image))
    return in_picture(jax.device_get(detector.predict(detector.variables, pixels)), matrix)


def together(detector: Detector, pictures: Sequence[Image], batch: int) -> Iterator[PicturePeople]:
    """The people of each picture, `batch` canvases a call of the program (the last batch is filled
    up with the last picture)."""
    if batch == 1:
        yield from (detect(detector, picture) for picture in pictures)
        return
    for first in range(0, len(pictures), batch):
        both = [on_canvas(detector, picture) for picture in pictures[first : first + batch]]
        canvases = np.stack([both[min(i, len(both) - 1)][0] for i in range(batch)])
        out = jax.device_get(of_several(detector.predict)(detector.variables, canvases))
        for i, (_, matrix) in enumerate(both):
            yield in_picture(jax.tree.map(lambda part, i=i: part[i], out), matrix)


@cache
def of_several(
    predict: Callable[[Variables, Any], Detections],
) -> Callable[[Variables, Any], Detections]:
    """The program of one canvas as one of many (B, side, side, 3)."""
    return jax.jit(jax.vmap(predict, in_axes=(None, 0)))


def on_canvas(detector: Detector, picture: Image) -> tuple[Image, np.ndarray]:
    """The detector's canvas of a picture, and the (2, 3) map from the picture to it."""
    matrix = canvas_map(picture.shape[:2], detector.side)
    return affine.warp(picture, matrix, (detector.side, detector.side), fill=affine.FILL), matrix


def in_picture(out: Any, matrix: np.ndarray) -> PicturePeople:
    """The people of a canvas, Detections in NumPy, in pixels of the picture that `matrix` maps to
    it."""
    filled = out.person_score > 0
    back = affine.inverse(matrix)
    score = np.minimum(out.score[filled], 1.0)  # of sharpened maps, a joint's may be above
    xy = np.where(score[..., None] > 0, affine.move(out.xy[filled], back), np.nan)
    return PicturePeople(
        xy,
        score,
        out.found[filled],
        np.minimum(out.person_score[filled], 1.0),
        int(out.overflow),
        affine.move(out.maxima_xy, back),
        out.maxima_score,
        out.evidence[filled],
    )


@overload
def people(detector: Detector, image: list[Any], *, image_id: Any = ...) -> list[Results]:
    """Of several pictures."""


@overload
def people(detector: Detector, image: Any, *, image_id: Any = ...) -> Results:
    """Of one picture."""


def people(detector: Detector, image: Any, *, image_id: Any = None) -> Results | list[Results]:
    """The people of one picture as COCO results, best first: a list that draws itself.

    image: a file's name, its bytes, a PIL picture or an array (data.pictures.images.any_picture); a
    list of them gives a list of lists. image_id: of the picture, by default 0; of a list, one for
    each picture, by default its number. ConfigError if their counts differ, DataError for anything
    that is not a picture.

    Each person: image_id, category_id 1, keypoints [x, y, score] * 17 in COCO's order and pixels of
    the given picture (a detector with a custom skeleton uses its own joints and order), score, and
    besides COCO's fields found [bool] * 17: whether grouping attached the joint. A joint that was
    not found gets the place of the highest free value of its map near the person (a guess, with
    that value as its score), or 0, 0, 0 if there is none. overflow: peaks and people of the picture
    beyond max_peaks and max_people, which are left out of the results.
    """
    several = isinstance(image, list | tuple)
    pictures = image if several else [image]
    names = image_id if several else [image_id]
    if image_id is None:
        names = range(len(pictures))
    if not isinstance(names, Sequence) or isinstance(names, str) or len(names) != len(pictures):
        what = f"{image_id!r} is not one name for each of {len(pictures)} pictures"
        raise ConfigError(what, place="image_id")
    joints, out = skeleton.reported(detector.skeleton), []
    for i, (one, name) in enumerate(zip(pictures, names, strict=True)):
        picture = any_picture(one, f"picture {i}" if several else "picture")
        found = coco_results(detect(detector, picture), detector.skeleton, name)
        out.append(Results(found, picture, joints))
    return out if several else out[0]


@overload
def find(
    detector: Detector,
    image: list[Any],
    *,
    min_score: float | None = ...,
    joints: Skeleton | None = ...,
    batch: int = ...,
) -> list[Found]:
    """Of several pictures."""


@overload
def find(
    detector: Detector,
    image: Any,
    *,
    min_score: float | None = ...,
    joints: Skeleton | None = ...,
    batch: int = ...,
) -> Found:
    """Of one picture."""


def find(
    detector: Detector,
    image: Any,
    *,
    min_score: float | None = None,
    joints: Skeleton | None = None,
    batch: int = 1,
) -> Found | list[Found]:
    """The people of a picture as one object, which counts, draws and saves itself (`found`).

    image: a file's name, its bytes, a PIL picture or an array (data.pictures.images.any_picture); a
    list of them gives a list. min_score: people below it are left out and counted in `left_out`; by
    default it is the detector's `settings.min_person`. joints: the skeleton of the result, by
    default COCO17, or the custom skeleton of a detector that has one. batch: pictures of a list
    that the program takes at once, for accelerators (`together`; not with `load_kept`). Raises
    DataError for anything that is not a picture, ConfigError for a score outside 0 to 1.
    """
    chosen = detector.settings.min_person if min_score is None else min_score
    least = checked_score(chosen, "min_score")
    joints = joints or skeleton.reported(detector.skeleton)
    if not isinstance(batch, int) or batch < 1:
        raise ConfigError(f"{batch!r} is no whole number from 1 on", place="batch")
    several = isinstance(image, list | tuple)
    given = list(image) if several else [image]
    pictures = [
        any_picture(one, f"picture {i}" if several else "picture") for i, one in enumerate(given)
    ]
    out = []
    for picture, people in zip(pictures, together(detector, pictures, batch), strict=True):
        joined = as_skeleton(people, detector.skeleton, joints)
        all_found = Found.of(picture, *joined, people.person_score, people.overflow, joints)
        out.append(all_found.at_least(least))
    return out if several else out[0]
