"""Random changes of pictures and clips: one affine map per picture or clip, colours, mirror images.

Pictures for the detector change as CMU-Pose and OpenPose train (Cao et al. 2017), clips as in US
2020/0042776 [0098-0100], and more. Joints move by the same 2x3 matrix, which travels with the
example.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from bodyjax.data import affine
from bodyjax.data.clips import body_region
from bodyjax.skeleton import BODY18

Example = dict[str, np.ndarray]

MIRROR = np.array(BODY18.mirror)
"""Of the joints of clips."""
SURROUNDINGS = 0.15
"""A person's box is enlarged by this share of its longer side if the rest is not labelled."""


@dataclass(frozen=True)
class PictureChanges:
    """How pictures change at random: `config.data.augment` of a detector.

    The longer side of the person's box becomes `person` x `scale` x the crop's shorter side (Cao et
    al.); with a `canvas`, the longer side of the picture becomes `canvas` x `scale` instead, so
    that people are learnt at the sizes that a detector of that canvas meets. The turn is within
    +-`rotation` degrees; the centre moves by up to `shift` x the crop; `flip` is the chance of a
    mirror image. `colour` is the spread of brightness, contrast, saturation and the channels'
    gains; 0 leaves colours alone. `mask_outside`: what lies outside the picture is not learnt;
    otherwise it is learnt as empty.
    """

    person: float = 0.6
    scale: tuple[float, float] = (0.5, 1.1)
    rotation: float = 40.0
    shift: float = 0.1
    flip: float = 0.5
    colour: float = 0.25
    canvas: int = 0
    mask_outside: bool = True


CMU_POSE = PictureChanges()
"""As CMU-Pose and OpenPose train."""


def augment_picture(
    example: Example,
    size: int | tuple[int, int],
    rng: np.random.Generator,
    changes: PictureChanges = CMU_POSE,
    *,
    max_people: int = 8,
    stride: int = 8,
    mirror: tuple[int, ...] = BODY18.mirror,
) -> Example:
    """A crop around one random person, turned, scaled, perhaps mirrored, with its colours changed.

    example: as data.pictures.labelled says. `size`: (height, width) of the crop, or one number.
    `mirror`: of the joints' skeleton.

    Returns image (H, W, 3) uint8; xy (max_people, J, 2) float32 and visible (max_people, J) uint8
    in the crop's pixels (joints outside the crop are kept, because limbs lead to them); joint_mask
    (J,) bool; area_mask (H / stride, W / stride) float32, 0 where nothing is to be learnt: in
    `ignore` boxes away from labelled joints, around people in pictures that are not `complete`,
    over people beyond `max_people` (counted in `overflow`), and outside the picture if
    `changes.mask_outside`; matrix (2, 3) float32 from the source's pixels to the crop's; id.
    """
    height, width = (size, size) if isinstance(size, int) else size
    image, boxes = example["image"], example["boxes"]
    chosen = int(rng.integers(len(boxes))) if len(boxes) else None
    whole = np.array([-0.5, -0.5, image.shape[1] - 0.5, image.shape[0] - 0.5])
    box = whole if chosen is None else boxes[chosen]
    if changes.canvas:
        factor = changes.canvas / max(image.shape[:2]) * rng.uniform(*changes.scale)
    else:
        longer = max(float((box[2:] - box[:2]).max()), 1.0)
        factor = changes.person * min(height, width) / longer * rng.uniform(*changes.scale)
    centre = (box[:2] + box[2:]) / 2
    middle = (np.array([width, height]) - 1) / 2
    target = middle + rng.uniform(-changes.shift, changes.shift, 2) * (width, height)
    turn = rng.uniform(-changes.rotation, changes.rotation)
    matrix = affine.about(centre, target, factor, turn)
    flipped = bool(rng.random() < changes.flip)
    if flipped:
        matrix = affine.mirrored(matrix, width)
    sharp = rng.random() < 0.3  # the cubic filter takes twice the time of the linear one
    filter = Image.Resampling.BICUBIC if sharp else Image.Resampling.BILINEAR
    pixels = affine.warp(image, matrix, (height, width), filter=filter)
    if changes.colour:
        pixels = change_colours(pixels, rng, changes.colour)
    return _finish(
        example,
        pixels,
        matrix,
        np.array(mirror) if flipped else None,
        max_people,
        stride,
        mask_outside=changes.mask_outside,
        first=chosen,
    )


def fit_picture(
    example: Example, size: int | tuple[int, int], *, max_people: int = 8, stride: int = 8
) -> Example:
    """The whole picture, centred in `size` and not changed otherwise; keys as in
    augment_picture."""
    height, width = (size, size) if isinstance(size, int) else size
    matrix = affine.fit(example["image"].shape[:2], (height, width))
    pixels = affine.warp(example["image"], matrix, (height, width))
    return _finish(example, pixels, matrix, None, max_people, stride, mask_outside=True, first=None)


def change_colours(
    image: np.ndarray, rng: np.random.Generator, spread: float, gains: float = 0.4
) -> np.ndarray:
    """Brightness, contrast, saturation and the channels' gains changed by up to +-`spread`.

    image: (..., 3) uint8; returns the same shape. The channels' gains change by `gains` x spread.
    """
    brightness, contrast, saturation = rng.uniform(-spread, spread, 3)
    channels = 1 + gains * rng.uniform(-spread, spread, 3)
    grey = np.array([0.299, 0.587, 0.114])
    mix = (1 + saturation) * np.eye(3) - saturation * grey[:, None]  # columns are new channels
    mix = (1 + contrast) * mix * channels
    offset = 128 * (brightness - contrast)
    rows = [(*mix[:, channel], offset) for channel in range(3)]
    picture = Image.fromarray(image.reshape(-1, image.shape[-2], 3))  # frames one above the other
    changed = picture.convert("RGB", tuple(float(value) for row in rows for value in row))
    return np.array(changed).reshape(image.shape)


def augment_clip(
    example: Example,
    size: int | tuple[int, int],
    rng: np.random.Generator,
    *,
    flip: float = 0.5,
    rotation: float = 10.0,
    scale: tuple[float, float] = (0.8, 1.2),
    shift: float = 0.08,
    colour: float = 0.2,
    label_swap: tuple[int, ...] | None = None,
) -> Example:
    """A clip fitted into `size`, with one random map and one change of colours for all its frames.

    example: of `clips.sample`; frames (T, H, W, 3) uint8 and xy (T, P, 18, 2), visible, score (T,
    P, 18) where it has them, size (width, height). A clip with `simulated` True is first zoomed or
    moved by its body region (the box of its joints, else `region` (4,), NaN where it is not known),
    and new pixels are 0 or 255. Then: turned by up to +-`rotation` degrees, scaled, moved by up to
    `shift` x the size, mirrored with the chance `flip` (left and right joints swap, and the label l
    becomes label_swap[l]: give it if classes have a side). Returns the example with frames (T,
    height, width, 3), joints moved, matrix (2, 3) float32.
    """
    target = (size, size) if isinstance(size, int) else size
    source = (int(example["size"][1]), int(example["size"][0]))
    matrix, fill = affine.fit(source, target), affine.FILL
    if example.get("simulated", False):
        matrix = affine.compose(matrix, _simulated_map(example, rng))
        fill = int(rng.choice(body_region.FILLS))
    middle = (np.array(target[::-1]) - 1) / 2
    moved = middle + rng.uniform(-shift, shift, 2) * target[::-1]
    change = affine.about(middle, moved, rng.uniform(*scale), rng.uniform(-rotation, rotation))
    matrix = affine.compose(change, matrix)
    flipped = bool(rng.random() < flip)
    if flipped:
        matrix = affine.mirrored(matrix, target[1])
    out = _move_clip(example, matrix, target, flipped, fill)
    if "frames" in out and colour:
        out["frames"] = change_colours(out["frames"], rng, colour)
    if flipped and label_swap is not None:
        out["label"] = np.asarray(label_swap[int(example["label"])], example["label"].dtype)
    return out


def _simulated_map(example: Example, rng: np.random.Generator) -> np.ndarray:
    """The map of a clip marked `simulated`, by the region that `augment_clip` names."""
    source, region = (int(example["size"][1]), int(example["size"][0])), None
    if "xy" in example:
        region = body_region.body_region(example["xy"], example["visible"], source)
    elif "region" in example and np.isfinite(example["region"]).all():
        region = example["region"]
    return body_region.simulated_map(region, source, rng)


def simulate_joints(
    example: Example, size: int | tuple[int, int], rng: np.random.Generator
) -> Example:
    """The joints of a clip as `fit_clip` gives them; of a clip with `simulated` True, zoomed or
    moved first as in augment_clip, and those that leave the canvas are absent (visible 0)."""
    if not example.get("simulated", False):
        return fit_clip(example, size)
    high, wide = (size, size) if isinstance(size, int) else size
    source = (int(example["size"][1]), int(example["size"][0]))
    matrix = affine.compose(affine.fit(source, (high, wide)), _simulated_map(example, rng))
    xy = affine.move(example["xy"], matrix)
    inside = ((xy >= -0.5) & (xy <= (wide - 0.5, high - 0.5))).all(-1)
    visible = np.where(inside, example["visible"], 0).astype(example["visible"].dtype)
    seen = {**example, "visible": visible}
    return _move_clip(seen, matrix, (high, wide), False, affine.FILL)


def fit_clip(example: Example, size: int | tuple[int, int]) -> Example:
    """A clip whole and centred in `size`, not changed otherwise; keys as in augment_clip."""
    target = (size, size) if isinstance(size, int) else size
    source = (int(example["size"][1]), int(example["size"][0]))
    return _move_clip(example, affine.fit(source, target), target, False, affine.FILL)


def _move_clip(
    example: Example, matrix: np.ndarray, size: tuple[int, int], flipped: bool, fill: int
) -> Example:
    out = {name: value for name, value in example.items() if name not in ("simulated", "region")}
    if "frames" in example:
        out["frames"] = np.stack(
            [affine.warp(frame, matrix, size, fill=fill) for frame in example["frames"]]
        )
    for name in ("xy", "visible", "score"):
        if name in example:
            value = affine.move(example[name], matrix) if name == "xy" else example[name]
            if flipped:
                value = value[:, :, MIRROR]
            out[name] = value
    if "xy" in out:
        out["xy"] = np.where(out["visible"][..., None] > 0, out["xy"], np.float32(0))
    out["matrix"] = matrix.astype(np.float32)
    return out


def area_mask(
    example: Example,
    matrix: np.ndarray,
    size: tuple[int, int],
    stride: int,
    *,
    mask_outside: bool = True,
    more_ignore: np.ndarray | None = None,
) -> np.ndarray:
    """Where the labels of a picture are valid after the map, (H / stride, W / stride) float32 in
    {0, 1}.

    A cell stands for the pixel at its centre. augment_picture says what is masked.
    """
    rows, columns = (stride * np.arange(side // stride) + (stride - 1) / 2 for side in size)
    cells = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    points = affine.move(cells, affine.inverse(matrix))
    good = np.ones(len(points), bool)
    ignore = example["ignore"]
    if more_ignore is not None and len(more_ignore):
        ignore = np.concatenate([ignore, more_ignore])
    if not example["complete"] and len(example["boxes"]):
        boxes = example["boxes"]
        margin = SURROUNDINGS * (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True)
        good &= _inside(points, np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1))
    if len(ignore):
        bad = _inside(points, ignore)
        joints = example["xy"][example["visible"] > 0]
        if bad.any() and len(joints):
            reach = (2 * stride / affine.scale_of(matrix)) ** 2
            apart = ((points[bad, None] - joints[None]) ** 2).sum(-1)
            bad[bad] = apart.min(1) > reach
        good &= ~bad
    if mask_outside:
        high, wide = example["image"].shape[:2]
        good &= _inside(points, np.array([[-0.5, -0.5, wide - 0.5, high - 0.5]]))
    return good.reshape(len(rows), len(columns)).astype(np.float32)


def _inside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) whether each point lies in any of the boxes (K, 4)."""
    after = (points[:, None] >= boxes[None, :, :2]).all(-1)
    return np.any(after & (points[:, None] <= boxes[None, :, 2:]).all(-1), axis=1)


def _finish(
    example: Example,
    pixels: np.ndarray,
    matrix: np.ndarray,
    mirror: np.ndarray | None,
    max_people: int,
    stride: int,
    *,
    mask_outside: bool,
    first: int | None,
) -> Example:
    """Move the joints with the picture, and bring the people to a fixed number. mirror: where the
    joints go, None if the picture is not mirrored."""
    height, width = pixels.shape[:2]
    xy = affine.move(example["xy"], matrix)
    visible, joint_mask = example["visible"], example["joint_mask"]
    inside = ((xy >= 0) & (xy <= (width - 1, height - 1))).all(-1) & (visible > 0)
    order = np.argsort(-inside.sum(1), kind="stable")
    if first is not None:
        order = np.concatenate([[first], order[order != first]])
    kept, rest = order[:max_people], order[max_people:]
    rest = rest[inside[rest].any(1)]
    cells = area_mask(
        example,
        matrix,
        (height, width),
        stride,
        mask_outside=mask_outside,
        more_ignore=example["boxes"][rest],
    )
    if mirror is not None:
        xy, visible, joint_mask = xy[:, mirror], visible[:, mirror], joint_mask[mirror]
    out_xy = np.zeros((max_people, xy.shape[1], 2), np.float32)
    out_visible = np.zeros((max_people, xy.shape[1]), np.uint8)
    out_xy[: len(kept)] = np.where(visible[kept][..., None] > 0, xy[kept], 0)
    out_visible[: len(kept)] = visible[kept]
    return {
        "image": pixels,
        "xy": out_xy,
        "visible": out_visible,
        "joint_mask": joint_mask,
        "area_mask": cells,
        "matrix": matrix.astype(np.float32),
        "overflow": np.asarray(len(rest), np.int32),
        "id": example["id"],
    }
