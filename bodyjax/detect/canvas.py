"""From a canvas to people in one compiled program: network, mirror and scales, grouping, score.

`bodyjax.detect` fits pictures into canvases and maps the joints back. Networks without centres
(`models.pose.MultiStagePose`) group by affinity fields alone (`grouping`, `completion`), those with
centres (`models.pose.CenterPose`) by everything in their maps (`centers`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from bodyjax import codec, grouping
from bodyjax.data import affine
from bodyjax.detect import by_centers, centers, open_joints, second_look
from bodyjax.detect import person_score as ranking
from bodyjax.detect.settings import Settings as Settings
from bodyjax.detect.settings import merged as merged
from bodyjax.errors import ConfigError
from bodyjax.models.pose import Maps
from bodyjax.skeleton import Skeleton

Array = jax.Array
Variables = Any


class Detections(NamedTuple):
    """The people of a canvas, best first.

    xy (P, J, 2): canvas pixels, where score > 0. score (P, J): value of the heat map, 0: nothing.
    person_score (P,), 0: empty slot; count; overflow. found (P, J): joints that grouping attached;
    a joint with score > 0 that was not found is a guess, the highest free value of its map near the
    person. maxima_xy (J, 2), maxima_score (J,): the highest point of each whole map. evidence (P,
    F): the inputs of the person score (ranking.FIRST or SECOND); F = 0 when grouped by fields
    alone.
    """

    xy: Array
    score: Array
    person_score: Array
    count: Array  # type: ignore[assignment]  # tuple.count is a method
    overflow: Array
    found: Array
    maxima_xy: Array
    maxima_score: Array
    evidence: Array


# A program that returns them can be written to a file (bodyjax.detect.programs).
export.register_namedtuple_serialization(Detections, serialized_name="bodyjax.detect.Detections")


class MapNetwork(Protocol):
    """What a detector needs of a system; systems.pose.Pose has it."""

    @property
    def bones(self) -> Skeleton: ...

    @property
    def model(self) -> Any: ...

    def maps(self, variables: Variables, image: Array) -> Maps: ...


class HeadNetwork(MapNetwork, Protocol):
    """What a second look needs of a system: maps of the heads alone, and the model's `order`."""

    def heads(self, variables: Variables, image: Array) -> Maps: ...


def predictor(system: MapNetwork, settings: Settings) -> Callable[[Variables, Any], Detections]:
    """predict(variables, canvas (S, S, 3)) -> Detections, pure; S = settings.size."""

    def predict(variables: Variables, canvas: Array) -> Detections:
        """The people of a canvas (S, S, 3), uint8 or float pixels 0 to 255, RGB, S = Detector.side:
        `Detections` in its pixels, P = max_people slots, best first, person_score 0 in empty ones.
        """
        maps = averaged_maps(system, variables, canvas, settings)
        return detections(maps, system.bones, system.model.stride, settings)

    return predict


def second_predictor(
    system: MapNetwork, other: HeadNetwork, settings: Settings
) -> Callable[[Variables, Any], Detections]:
    """predict(variables, canvas (2 S, 2 S, 3)) -> Detections in that canvas, with a second look.

    If two crops show the same people (OKS above `settings.same`), the most certain one stays.
    variables: {"first": ..., "second": ...}. `system` sees the canvas at half its size, S =
    settings.size; `other` the crops of the people at up to its full size.
    """

    def predict(variables: Variables, canvas: Array) -> Detections:
        """The people of a canvas (2 S, 2 S, 3), uint8 or float pixels 0 to 255, RGB, whose side is
        Detector.side: `Detections` in its pixels, best first, person_score 0 in empty slots.
        """
        levels = pyramid(canvas)
        maps = averaged_maps(system, variables["first"], levels[1], settings)
        first = detections(maps, system.bones, system.model.stride, settings)
        xy = jnp.where((first.score > 0)[..., None], codec.cells_to_pixels(first.xy, 2), 0.0)
        see = seer(other, variables["second"], settings)
        there = first.person_score > 0
        looked = look_again(see, levels, xy, first.score, there, settings)
        evidence = ranking.second_evidence(first.person_score, looked)
        person = ranking.second_score(evidence, there, settings.ranking_second)
        order = jnp.argsort(-person, stable=True)
        # Two crops may have shown the same person: the surer one stays.
        same = centers.alike(looked.xy, system.bones) > settings.same
        kept = centers.distinct(same, there, order)
        person = jnp.where(kept, person, 0.0)
        order = jnp.argsort(-person, stable=True)
        shown = jnp.where(kept[:, None], looked.score, 0.0)
        found = jnp.where(looked.taken[:, None], shown > settings.threshold, first.found)
        found &= kept[:, None]
        return Detections(
            looked.xy[order],
            shown[order],
            person[order],
            kept.sum(),
            first.overflow,
            found[order],
            codec.cells_to_pixels(first.maxima_xy, 2),
            first.maxima_score,
            evidence[order],
        )

    return predict


FALLEN = 0.6
"""A followed person is lost when the mean joint score falls below this share of the score in the
previous frame."""


def follower(
    other: HeadNetwork, settings: Settings
) -> Callable[[Variables, Any, Any, Any, Any], Detections]:
    """follow(variables, canvas, xy (P, J, 2), score (P, J), person_score (P,)) -> Detections: the
    second look alone, at the people of the previous frame, on a canvas as `second_predictor` takes
    it.

    person_score: 0 in empty slots, which cost nothing. Slots keep their people, and people keep
    their person score, or get 0 if the second look lost them: it disagrees, the joint scores have
    fallen (`FALLEN`), or a better person who stays is at the same place. maxima: the best person's
    joints.
    """

    def follow(
        variables: Variables, canvas: Array, xy: Array, score: Array, person_score: Array
    ) -> Detections:
        levels, there = pyramid(canvas), person_score > 0
        see = seer(other, variables["second"], settings)
        looked = look_again(see, levels, xy, score, there, settings)
        same = centers.alike(looked.xy, other.bones) > settings.same
        kept = there & looked.taken & (looked.mean >= FALLEN * score.mean(-1))
        kept = centers.distinct(same, kept, jnp.argsort(-person_score, stable=True))
        shown = jnp.where(kept[:, None], looked.score, 0.0)
        best = jnp.argmax(jnp.where(kept, person_score, 0.0))
        return Detections(
            looked.xy,
            shown,
            jnp.where(kept, person_score, 0.0),
            kept.sum(),
            jnp.int32(0),
            shown > settings.threshold,
            looked.xy[best],
            shown[best],
            ranking.second_evidence(person_score, looked),
        )

    return follow


def pyramid(canvas: Array) -> tuple[Array, ...]:
    """A canvas in float32, at full, half and quarter size."""
    full = canvas.astype(jnp.float32)
    half = halved(full)
    return full, half, halved(half)


def look_again(
    see: Callable[[Array], tuple[Array, Array]],
    levels: tuple[Array, ...],
    xy: Array,
    score: Array,
    there: Array,
    settings: Settings,
) -> second_look.Look:
    """`second_look.look` with the settings."""
    return second_look.look(
        see, levels, xy, score, there, size=settings.second_size, least=settings.second_size / 8,
        fill=affine.FILL, agree=settings.agree,
    )  # fmt: skip


def halved(picture: Array) -> Array:
    """(2 H, 2 W, 3) -> (H, W, 3), the mean of 2 x 2 pixels."""
    height, width, channels = picture.shape
    return picture.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))


def seer(
    other: HeadNetwork, variables: Variables, settings: Settings
) -> Callable[[Array], tuple[Array, Array]]:
    """see(crop (S, S, 3)) -> joints (J, 2) in its pixels and scores (J,): for second_look.look."""
    model, bones = other.model, other.bones
    unknown = tuple(j for j, channel in enumerate(model.order) if channel < 0)
    ends = tuple(model.order.index(channel) for channel in model.between) if unknown else ()

    def straight(crop: Array) -> tuple[Array, Array]:
        maps = seen(partial(other.heads, variables), crop[None], bones, flip=settings.second_flip)
        maps = jax.tree.map(lambda leaf: leaf[0], maps)
        xy, score = second_look.single(maps, model.stride, settings.fill_reach)
        return second_look.between(xy, score, unknown, ends)

    return second_look.turned(straight) if settings.turns else straight


def averaged_maps(
    system: MapNetwork, variables: Variables, canvas: Array, settings: Settings
) -> Maps:
    """Maps of a canvas (S, S, 3) without stage and batch axes: heatmaps (H, W, J), pafs (H, W, 2L)
    and, if the network has them, center (H, W), regress and offset (H, W, J, 2). They are the mean
    over the mirror image and the scales of the settings, whose sizes are multiples of the network's
    cell."""
    cells, each = settings.size // system.model.stride, []
    for scale in settings.scales:
        side = round(settings.size * scale)
        image = canvas[None]
        if side != settings.size:
            # Pixel and cell centres lie at halves in jax.image.resize: all grids stay in step.
            image = jax.image.resize(image.astype(jnp.float32), (1, side, side, 3), "linear")
        maps = seen(partial(system.maps, variables), image, system.bones, flip=settings.flip)
        if side != settings.size:
            maps = resized(maps, cells)
        each.append(jax.tree.map(lambda leaf: leaf[0], maps))
    return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]) / len(leaves), *each)


def seen(network: Callable[[Array], Maps], image: Array, bones: Skeleton, *, flip: bool) -> Maps:
    """The last stage of a network's maps of pictures (B, H, W, 3); with `flip`, averaged with the
    maps of the mirrored pictures."""
    maps = last_stage(network(image), bones)
    if not flip:
        return maps
    back = mirrored(last_stage(network(jnp.flip(image, axis=2)), bones), bones)
    return jax.tree.map(lambda a, b: 0.5 * (a + b), maps, back)


def last_stage(maps: Maps, bones: Skeleton) -> Maps:
    """The result of a network: heat maps (B, H, W, J) without background, fields (B, H, W, 2L), and
    the outputs of CenterNet-style heads, unchanged."""
    heat = maps.heatmaps[-1][..., : len(bones.joints)]
    return Maps(heat, maps.pafs[-1], *maps[2:])


def mirrored(maps: Maps, bones: Skeleton) -> Maps:
    """Maps (B, ...) of the mirrored picture as those of the picture."""
    heat = codec.flip_heatmaps(maps.heatmaps, bones.mirror)
    field = maps.pafs  # (B, H, W, 0) of heads alone
    if field.shape[-1]:
        field = codec.flip_pafs(field, bones.limbs, bones.mirror)
    if maps.center is None or maps.regress is None or maps.offset is None:
        return Maps(heat, field)
    joints, turn = np.asarray(bones.mirror), np.array([-1.0, 1.0], np.float32)
    places = (jnp.flip(part, axis=2)[..., joints, :] * turn for part in (maps.regress, maps.offset))
    return Maps(heat, field, jnp.flip(maps.center, axis=2), *places)


def resized(maps: Maps, cells: int) -> Maps:
    """Maps (B, H, W, ...) at cells x cells; regression and offsets are in cells, so they scale
    too."""
    ratio = cells / maps.heatmaps.shape[1]

    def to(part: Array) -> Array:
        return jax.image.resize(part, (len(part), cells, cells, *part.shape[3:]), "linear")

    heat, field = to(maps.heatmaps), to(maps.pafs)
    if maps.center is None or maps.regress is None or maps.offset is None:
        return Maps(heat, field)
    return Maps(heat, field, to(maps.center), ratio * to(maps.regress), ratio * to(maps.offset))


def detections(maps: Maps, bones: Skeleton, stride: int, settings: Settings) -> Detections:
    """Maps of one picture (`averaged_maps`) to its people, in pixels of the maps' picture."""
    maxima = codec.decode_near(maps.heatmaps, stride, "dark")
    if settings.by_fields and not maps.pafs.shape[-1]:
        what = "this network gives no fields, it groups by centres"
        raise ConfigError(what, place="detect.by_fields")
    if maps.center is None or maps.regress is None or maps.offset is None or settings.by_fields:
        return by_fields(maps.heatmaps, maps.pafs, bones, stride, settings, maxima)
    heads = maps.center, maps.regress, maps.offset
    if maps.pafs.shape[-1]:
        chosen = centers.Settings(
            max_people=settings.max_people, max_peaks=settings.max_peaks,
            threshold=settings.threshold, center_threshold=settings.center_threshold,
            reach=settings.reach, near=settings.near, fill_reach=settings.fill_reach,
            trust=settings.trust,
            min_paf=settings.min_paf, min_hits=settings.min_hits, min_parts=settings.min_parts,
            same=settings.same,
        )  # fmt: skip
        bodies = centers.group(
            maps.heatmaps, maps.pafs, *heads, bones, stride=stride, settings=chosen
        )
    else:  # heads alone
        alone = by_centers.Settings(
            settings.max_people, settings.center_threshold, settings.threshold,
            settings.fill_reach, settings.same,
        )  # fmt: skip
        bodies = by_centers.people(maps.heatmaps, *heads, bones, stride=stride, settings=alone)
    evidence = ranking.first_evidence(bodies, settings.size)
    person = ranking.first_score(evidence, bodies.there, settings.ranking)
    order = jnp.argsort(-person, stable=True)
    score = jnp.where(bodies.score >= settings.fill_threshold, bodies.score, 0.0)
    return Detections(
        bodies.xy[order],
        score[order],
        person[order],
        jnp.sum(person > 0),
        bodies.overflow,
        bodies.found[order],
        *maxima,
        evidence[order],
    )


def by_fields(
    heatmaps: Array,
    pafs: Array,
    bones: Skeleton,
    stride: int,
    settings: Settings,
    maxima: tuple[Array, Array],
) -> Detections:
    """People by affinity fields alone, as OpenPose groups them, with guesses for joints not
    found."""
    chosen = grouping.Settings(
        max_people=settings.max_people, max_peaks=settings.max_peaks,
        threshold=settings.threshold, min_paf=settings.min_paf, min_hits=settings.min_hits,
        min_parts=settings.min_parts, min_score=settings.min_score,
    )  # fmt: skip
    people = grouping.group(heatmaps, pafs, bones, stride=stride, settings=chosen)
    rule = settings.refine
    if rule != "parabola":
        xy = _refined(heatmaps, people, stride, rule)
        people = grouping.People(
            xy, people.score, people.person_score, people.count, people.overflow
        )
    people = open_joints.without_fragments(people, stride, settings.fill_reach)
    found = people.score > 0
    guess_xy, guess = open_joints.guesses(
        heatmaps, people, stride, settings.fill_reach, settings.fill_threshold
    )
    return Detections(
        jnp.where(found[..., None], people.xy, guess_xy),
        jnp.where(found, people.score, guess),
        people.person_score,
        people.count,
        people.overflow,
        found,
        *maxima,
        jnp.zeros((len(people.person_score), 0)),
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
