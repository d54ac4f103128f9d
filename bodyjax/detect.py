"""People in pictures: restore a detector once, then one compiled program a picture.

    detector = detect.load("small")
    people = detect.people(detector, "photo.jpg")

The picture is fitted whole and centred into a square canvas; network, averaging over mirror and
scales, grouping and filling are one jitted function of (variables, canvas); the joints go back
through the inverse of the canvas' affine map.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple, Protocol, overload

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax import codec, completion, grouping, skeleton, systems, track
from bodyjax.data import affine
from bodyjax.data.ahead import taken_ahead
from bodyjax.data.images import any_picture, read_image
from bodyjax.data.video import open_video
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import ConfigError, DataError
from bodyjax.found import Found, checked_score
from bodyjax.skeleton import COCO17, Skeleton

Array = jax.Array
Image = np.ndarray
Variables = Any

FILL = 128
"""Grey of the canvas where the picture does not reach, as in training."""


@dataclass(frozen=True)
class Settings:
    """How a picture is read. A config may hold some of these in its section `detect`.

    size: side of the canvas in pixels, a multiple of 32 (networks without a pyramid: of 8); the
    longest side of the picture is scaled to it. flip: average with the mirrored picture. scales:
    average over the canvas at these sizes, each rounded to a multiple of the same (`make`). refine:
    sub-pixel rule of the joints, "parabola" (through the logarithms of the peak and its
    neighbours), "dark" or "udp" (codec.decode).
    max_people, max_peaks, threshold, min_paf, min_hits, min_parts, min_score: grouping.group.
    fill_reach: joints that grouping did not attach
    are looked for where the map, weighted with a Gaussian of the distance from the person's box, is
    highest; its sigma in sides of the box; fill_threshold: the least value of the map there.
    """

    size: int = 256
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    refine: str = "parabola"
    max_people: int = 20
    max_peaks: int = 16
    threshold: float = 0.1
    min_paf: float = 0.05
    min_hits: float = 0.8
    min_parts: int = 3
    min_score: float = 0.2
    fill_reach: float = 0.25
    fill_threshold: float = 0.01

    def __post_init__(self) -> None:
        if self.size < 32:
            raise ConfigError(f"{self.size} is less than 32", place="detect.size")
        if not self.scales or not all(0 < scale < np.inf for scale in self.scales):
            raise ConfigError(f"scales {self.scales}", place="detect.scales", hint="all above 0")
        if self.refine not in ("parabola", "dark", "udp"):
            raise ConfigError(
                f"no rule {self.refine!r}", place="detect.refine", hint="parabola, dark or udp"
            )


class Detections(NamedTuple):
    """The people of a canvas: the fields of grouping.People and what was added to them.

    xy (P, J, 2): canvas pixels, where score > 0. score (P, J): value of the heat map, 0: nothing.
    person_score (P,), 0: empty slot; count; overflow. found (P, J): joints that grouping attached;
    a joint with score > 0 that was not found is a guess, the highest free value of its map near
    the person. maxima_xy (J, 2), maxima_score (J,): the highest point of each whole map.
    """

    xy: Array
    score: Array
    person_score: Array
    count: Array  # type: ignore[assignment]  # tuple.count is a method
    overflow: Array
    found: Array
    maxima_xy: Array
    maxima_score: Array


class MapNetwork(Protocol):
    """What a detector needs of a system; systems.pose.Pose has it."""

    @property
    def bones(self) -> Skeleton: ...

    @property
    def model(self) -> Any: ...

    def maps(self, variables: Variables, image: Array) -> Any: ...


@dataclass(frozen=True)
class Detector:
    """A restored detector. `predict(variables, canvas (S, S, 3) uint8) -> Detections` is jitted and
    pure: vmap it for batches, or call it inside another program."""

    variables: Variables
    predict: Callable[[Variables, Any], Detections]
    skeleton: Skeleton
    settings: Settings
    config: Any = None
    name: str = ""


def load(checkpoint: str | PathLike[str] | Checkpoint = "small", **settings: Any) -> Detector:
    """A detector from a run's folder, exported weights, or the name of shipped ones.

    settings: fields of `Settings`, over those of the config's section `detect`. Raises
    CheckpointError where there is no checkpoint or it is no detector, ConfigError for settings
    that are none.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = checkpoints.load(checkpoint, system="pose")
    system: Any = systems.build(checkpoint.config)
    expected = jax.eval_shape(system.init, jax.random.key(0))
    checkpoints.check_variables(checkpoint.variables, expected, checkpoint.path)
    stored = dict(checkpoint.config.get("detect", {}))
    return make(
        system,
        jax.device_put(checkpoint.variables),
        merged(stored | settings),
        config=checkpoint.config,
        name=str(checkpoint.path),
    )


def merged(fields: dict[str, Any]) -> Settings:
    """Settings from some of their fields; ConfigError names a field that is not there."""
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in fields:
        if name not in known:
            raise ConfigError(
                "there is no such field", place=f"detect.{name}", hint=f"fields: {', '.join(known)}"
            )
    if "scales" in fields:
        fields = fields | {"scales": tuple(float(scale) for scale in fields["scales"])}
    return Settings(**fields)


def make(
    system: MapNetwork,
    variables: Variables,
    settings: Settings | None = None,
    *,
    config: Any = None,
    name: str = "",
) -> Detector:
    """A detector from a system and its variables. Its settings name the scales that are taken:
    multiples of the network's cell."""
    settings, cell = settings or Settings(), system.model.cell
    if settings.size % cell:
        raise ConfigError(f"{settings.size} is not a multiple of {cell}", place="detect.size")
    sides = (max(cell, round(settings.size * scale / cell) * cell) for scale in settings.scales)
    scales = tuple(side / settings.size for side in dict.fromkeys(sides))
    settings = dataclasses.replace(settings, scales=scales)

    def predict(variables: Variables, canvas: Array) -> Detections:
        heatmaps, pafs = averaged_maps(system, variables, canvas, settings)
        return detections(heatmaps, pafs, system.bones, system.model.stride, settings)

    return Detector(variables, jax.jit(predict), system.bones, settings, config, name)


def averaged_maps(
    system: MapNetwork, variables: Variables, canvas: Array, settings: Settings
) -> tuple[Array, Array]:
    """Heat maps (H, W, J) and fields (H, W, 2L) of a canvas (S, S, 3), the mean over the mirror and
    the scales of the settings, whose sizes are multiples of the network's cell."""
    bones, stride = system.bones, system.model.stride
    cells, heatmaps, pafs = settings.size // stride, [], []
    for scale in settings.scales:
        side = round(settings.size * scale)
        image = canvas[None]
        if side != settings.size:
            # Pixel and cell centres lie at halves in jax.image.resize: all grids stay in step.
            image = jax.image.resize(image.astype(jnp.float32), (1, side, side, 3), "linear")
        if settings.flip:
            image = jnp.concatenate([image, jnp.flip(image, axis=2)])
        maps = system.maps(variables, image)
        heat, field = maps.heatmaps[-1][..., : len(bones.joints)], maps.pafs[-1]
        if settings.flip:
            mirrored = codec.flip_heatmaps(heat[1], bones.mirror)
            heat = 0.5 * (heat[:1] + mirrored)
            field = 0.5 * (field[:1] + codec.flip_pafs(field[1], bones.limbs, bones.mirror))
        if side != settings.size:
            heat = jax.image.resize(heat, (1, cells, cells, heat.shape[-1]), "linear")
            field = jax.image.resize(field, (1, cells, cells, field.shape[-1]), "linear")
        heatmaps.append(heat[0])
        pafs.append(field[0])
    return sum(heatmaps[1:], heatmaps[0]) / len(heatmaps), sum(pafs[1:], pafs[0]) / len(pafs)


def detections(
    heatmaps: Array, pafs: Array, bones: Skeleton, stride: int, settings: Settings
) -> Detections:
    """Maps (H, W, J), (H, W, 2L) of one picture to its people, in pixels of the maps' picture."""
    people = grouping.group(
        heatmaps, pafs, bones, stride=stride, max_people=settings.max_people,
        max_peaks=settings.max_peaks, threshold=settings.threshold, min_paf=settings.min_paf,
        min_hits=settings.min_hits, min_parts=settings.min_parts, min_score=settings.min_score,
    )  # fmt: skip
    rule = settings.refine
    if rule != "parabola":
        xy = _refined(heatmaps, people, stride, rule)
        people = grouping.People(
            xy, people.score, people.person_score, people.count, people.overflow
        )
    people = completion.without_fragments(people, stride, settings.fill_reach)
    found = people.score > 0
    guess_xy, guess = completion.guesses(
        heatmaps, people, stride, settings.fill_reach, settings.fill_threshold
    )
    maxima_xy, maxima = codec.decode_near(heatmaps, stride, "dark")
    return Detections(
        jnp.where(found[..., None], people.xy, guess_xy),
        jnp.where(found, people.score, guess),
        people.person_score,
        people.count,
        people.overflow,
        found,
        maxima_xy,
        maxima,
    )


def _refined(heatmaps: Array, people: grouping.People, stride: int, rule: str) -> Array:
    """The people's joints, moved from their cells by DARK's or UDP's step."""
    height, width = heatmaps.shape[:2]
    cells = jnp.round(codec.pixels_to_cells(people.xy, stride)).astype(jnp.int32)
    x, y = jnp.clip(cells[..., 0], 0, width - 1), jnp.clip(cells[..., 1], 0, height - 1)
    step = jax.vmap(codec.STEPS[rule], in_axes=(None, 0, 0))(heatmaps, x, y)
    # Where people stand close the smoothed map may have no top near the peak.
    exact = codec.cells_to_pixels(jnp.stack([x, y], -1) + step, stride)
    return jnp.where(codec.is_near(step), exact, people.xy)


class PicturePeople(NamedTuple):
    """People of one picture, best first, in pixels of that picture (NumPy).

    xy (P, J, 2), NaN where there is not even a guess; score (P, J); found (P, J) bool;
    person_score (P,); overflow: peaks and people beyond the maxima; maxima_xy (J, 2) and
    maxima_score (J,): the highest point of each map, as if there were one person.
    """

    xy: np.ndarray
    score: np.ndarray
    found: np.ndarray
    person_score: np.ndarray
    overflow: int
    maxima_xy: np.ndarray
    maxima_score: np.ndarray


def canvas_map(size: tuple[int, int], side: int) -> np.ndarray:
    """The (2, 3) map from a picture of (height, width) `size` to the canvas."""
    return affine.fit(size, (side, side))


def detect(detector: Detector, image: str | PathLike[str] | bytes | Image) -> PicturePeople:
    """The people of one picture in the detector's own joints."""
    picture = as_picture(image)
    matrix = canvas_map(picture.shape[:2], detector.settings.size)
    side = detector.settings.size
    canvas = affine.warp(picture, matrix, (side, side), fill=FILL)
    out = jax.device_get(detector.predict(detector.variables, canvas))
    filled = out.person_score > 0
    back = affine.inverse(matrix)
    score = out.score[filled]
    xy = np.where(score[..., None] > 0, affine.move(out.xy[filled], back), np.nan)
    return PicturePeople(
        xy,
        score,
        out.found[filled],
        out.person_score[filled],
        int(out.overflow),
        affine.move(out.maxima_xy, back),
        out.maxima_score,
    )


def as_picture(image: str | PathLike[str] | bytes | Image) -> Image:
    """A picture (H, W, 3) uint8 from a file's name, its bytes, or an array that is one already."""
    if not isinstance(image, np.ndarray):
        return read_image(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"an array {image.shape} of {image.dtype} is no picture",
            hint="give (H, W, 3) uint8 RGB, or the file's name",
        )
    return image


def people(
    detector: Detector, image: str | PathLike[str] | bytes | Image, *, image_id: Any = 0
) -> list[dict[str, Any]]:
    """The people of one picture as COCO results, best first.

    image: a file's name, its bytes, or an array (H, W, 3) uint8. Each person: image_id,
    category_id 1, keypoints [x, y, score] * 17 in COCO's order and pixels of the given picture,
    score, and beside COCO's fields found [bool] * 17: whether grouping attached the joint. A joint
    that is not found has the place of the highest free value of its map near the person (a guess,
    with that value as its score), or 0, 0, 0 where there is none. overflow: peaks and people of the
    picture beyond max_peaks and max_people, which are not among the results.
    """
    return coco_results(detect(detector, image), detector.skeleton, image_id)


def coco_results(found: PicturePeople, bones: Skeleton, image_id: Any = 0) -> list[dict[str, Any]]:
    """People of a picture as `people` gives them."""
    xy, score, flags = as_skeleton(found, bones, COCO17)
    return [
        _coco_result(*person, found.overflow, image_id)
        for person in zip(xy, score, flags, found.person_score.tolist(), strict=True)
    ]


def _coco_result(
    xy: np.ndarray,
    score: np.ndarray,
    found: np.ndarray,
    person_score: float,
    overflow: int,
    image_id: Any,
) -> dict[str, Any]:
    """One person, xy (17, 2) with NaN for what is absent."""
    there = np.isfinite(xy).all(axis=-1)
    table = np.where(there[:, None], np.concatenate([xy, score[:, None]], -1), 0.0)
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": [round(float(value), 4) for value in table.ravel()],
        "score": person_score,
        "found": found.tolist(),
        "overflow": overflow,
    }


def as_skeleton(
    found: PicturePeople, bones: Skeleton, target: Skeleton
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """xy (P, J', 2), score (P, J') and found (P, J') in another skeleton's joints; joints that the
    detector does not have are NaN with score 0."""
    joined = np.concatenate([found.xy, found.score[..., None]], axis=-1)
    visible = np.where(np.isfinite(found.xy).all(-1), 1 + found.found, 0).astype(np.uint8)
    joints, seen = skeleton.convert(joined, visible, bones, target)
    missing = seen == 0
    joints[missing, :2] = np.nan
    return joints[..., :2], np.where(missing, 0.0, joints[..., 2]), seen == skeleton.SEEN


def video(
    detector: Detector,
    path: str | PathLike[str],
    *,
    tracking: track.Settings | None = None,
    progress: Callable[[Iterable[Image], int], Iterable[Image]] = lambda frames, count: frames,
) -> list[list[dict[str, Any]]]:
    """The people of every frame of a video, as `people` gives them, image_id = frame number.

    Beside that: frame, time (seconds), identity (the same number is the same person, from 0 on) and
    bridged (True: not found in this frame, but before and after it; the place is between). Joints
    are smoothed by `track`. Raises VideoError where the file can't be read to its end.
    `progress` wraps the frames, with their number.
    """
    clip = open_video(path)
    frames = [
        detect(detector, frame) for frame in progress(taken_ahead(clip.iter_frames()), clip.frames)
    ]
    converted = [as_skeleton(found, detector.skeleton, COCO17) for found in frames]
    followed = track.follow(
        clip.times, [xy for xy, _, _ in converted], [score for _, score, _ in converted], tracking
    )
    out = []
    for number, (time, found, (_, _, flags), tracked) in enumerate(
        zip(clip.times, frames, converted, followed, strict=True)
    ):
        people = []
        for identity, row, xy, score in zip(*tracked, strict=True):
            person = found.person_score[row] if row >= 0 else score.mean()
            flag = flags[row] if row >= 0 else np.zeros(len(score), bool)
            result = _coco_result(xy, score, flag, float(person), found.overflow, number)
            people.append(
                result
                | {"frame": number, "time": round(float(time), 4), "identity": int(identity)}
                | {"bridged": bool(row < 0)}
            )
        out.append(people)
    return out


@overload
def find(
    detector: Detector, image: list[Any], *, min_score: float | None = ..., joints: Skeleton = ...
) -> list[Found]:
    """Of several pictures."""


@overload
def find(
    detector: Detector, image: Any, *, min_score: float | None = ..., joints: Skeleton = ...
) -> Found:
    """Of one picture."""


def find(
    detector: Detector, image: Any, *, min_score: float | None = None, joints: Skeleton = COCO17
) -> Found | list[Found]:
    """The people of a picture as one object, which counts, draws and saves itself (bodyjax.found).

    image: a file's name, its bytes, a PIL picture or an array (data.images.any_picture); a list of
    them gives a list. min_score: people below it are left out, and counted in `left_out`. joints:
    the skeleton of the result. Raises DataError for what is no picture, ConfigError for a score
    outside 0 to 1.
    """
    least = 0.0 if min_score is None else checked_score(min_score, "min_score")
    several = isinstance(image, list | tuple)
    out = []
    for i, one in enumerate(image if several else [image]):
        picture = any_picture(one, f"picture {i}" if several else "picture")
        people = detect(detector, picture)
        joined = as_skeleton(people, detector.skeleton, joints)
        all_found = Found.of(picture, *joined, people.person_score, people.overflow, joints)
        out.append(all_found.at_least(least))
    return out if several else out[0]
