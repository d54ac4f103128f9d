"""Overlays on pictures and pictures of figures: skeletons, labels, attention, confusion, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from bodyjax.skeleton import Skeleton

Picture = np.ndarray

SIDES = {"left": (255, 140, 0), "right": (30, 160, 255), "middle": (90, 220, 90)}
"""Colours of limbs by the person's own side: left orange, right blue, middle green."""

_FINE = 3  # drawn this much larger and shrunk: smooth edges


def side(*joints: str) -> str:
    """ "left", "right" or "middle" of a limb by the names of its joints."""
    sides = {joint.split("_")[0] for joint in joints} & {"left", "right"}
    return sides.pop() if len(sides) == 1 else "middle"


def skeletons(
    image: Picture,
    xy: ArrayLike,
    score: ArrayLike,
    skeleton: Skeleton,
    *,
    threshold: float = 0.1,
    numbers: Sequence[int] | None = None,
) -> Picture:
    """A copy of the picture (H, W, 3) uint8 with people drawn on it.

    xy (P, J, 2) pixels (centre of the first pixel = (0, 0)), score (P, J): joints that are NaN or
    score less than `threshold` are left out. `numbers` (P,) are written beside the people.
    """
    xy, score = np.asarray(xy, float), np.asarray(score, float)
    there = np.isfinite(xy).all(-1) & (score >= threshold)
    # Joints far outside would only make the layer huge.
    height, width = image.shape[:2]
    there &= (np.abs(xy - (width / 2, height / 2)) <= 2 * max(width, height)).all(-1)
    if not there.any():
        return image.copy()
    line = max(1.5, min(height, width) / 140)
    low = np.floor(xy[there].min(0) - 3 * line).clip(0)
    high = np.ceil(xy[there].max(0) + 3 * line + 1).clip(None, (width, height))
    if (high <= low).any():
        return image.copy()
    left, top, right, bottom = (int(v) for v in (*low, *high))
    layer = Image.new("RGBA", ((right - left) * _FINE, (bottom - top) * _FINE))
    pen = ImageDraw.Draw(layer)

    def place(point: np.ndarray) -> tuple[float, float]:
        x, y = (point + 0.5 - low) * _FINE
        return float(x), float(y)

    for points, shown in zip(xy, there, strict=True):
        for a, b in skeleton.limbs:
            if shown[a] and shown[b]:
                colour = SIDES[side(skeleton.joints[a], skeleton.joints[b])]
                ends = (place(points[a]), place(points[b]))
                pen.line(ends, fill=(*colour, 220), width=round(line * _FINE))
        for j in np.flatnonzero(shown):
            colour = SIDES[side(skeleton.joints[j])]
            pen.circle(
                place(points[j]), 1.3 * line * _FINE, fill=(*colour, 255),
                outline=(255, 255, 255, 255), width=round(line * _FINE / 3),
            )  # fmt: skip
    canvas = Image.fromarray(image).convert("RGBA")
    small = layer.resize((right - left, bottom - top), Image.Resampling.BOX)
    canvas.alpha_composite(small, (left, top))
    drawn = canvas.convert("RGB")
    for number, points, shown in zip(numbers or [], xy, there, strict=False):
        if shown.any():
            highest = points[shown][points[shown][:, 1].argmin()]
            _number(drawn, number, highest, max(10, height // 25))
    return np.array(drawn)


def _number(picture: Image.Image, number: int, top: np.ndarray, size: int) -> None:
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    place = (float(top[0]) + size / 2, max(0.0, float(top[1]) - 1.5 * size))
    pen.text(place, str(number), fill="white", font=font, stroke_width=2, stroke_fill="black")


def label(image: Picture, lines: Sequence[str]) -> Picture:
    """A copy of the picture with lines of text on a dark box in the upper left corner."""
    height, width = image.shape[:2]
    text = "\n".join(lines)
    picture = Image.fromarray(image).convert("RGBA")
    if not text:
        return image.copy()
    size = max(8, height // 18)
    layer = Image.new("RGBA", picture.size)
    pen = ImageDraw.Draw(layer)
    while True:
        font = ImageFont.load_default(size)
        box = pen.multiline_textbbox((size / 2, size / 3), text, font=font)
        if box[2] + size / 2 <= width or size <= 6:
            break
        size -= 1
    pen.rectangle((0, 0, box[2] + size / 2, box[3] + size / 3), fill=(0, 0, 0, 150))
    pen.multiline_text((size / 2, size / 3), text, fill=(255, 255, 255, 255), font=font)
    picture.alpha_composite(layer)
    return np.array(picture.convert("RGB"))


def caption(image: Picture, lines: Sequence[str]) -> Picture:
    """A copy of the picture with lines of text in the middle of a dark band along its bottom."""
    text = "\n".join(lines)
    if not text:
        return image.copy()
    height, width = image.shape[:2]
    picture = Image.fromarray(image).convert("RGBA")
    layer = Image.new("RGBA", picture.size)
    pen = ImageDraw.Draw(layer)
    size = max(8, height // 14)
    while True:
        font = ImageFont.load_default(size)
        left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font)
        if right - left <= 0.96 * width or size <= 6:
            break
        size -= 1
    tall = bottom - top + size
    pen.rectangle((0, height - tall, width, height), fill=(0, 0, 0, 170))
    place = ((width - right + left) / 2 - left, height - tall - top + size / 2)
    pen.multiline_text(place, text, fill=(255, 230, 90, 255), font=font, align="center")
    picture.alpha_composite(layer)
    return np.array(picture.convert("RGB"))


def attention(image: Picture, weights: ArrayLike, current: int | None = None) -> Picture:
    """A copy of the picture with a strip along the bottom: a bar for each of the T steps, as high
    as its weight (T,) relative to the largest; the bar of step `current` is bright."""
    weights = np.asarray(weights, float)
    out = image.copy()
    height, width = image.shape[:2]
    strip = max(1, height // 12)
    base = out[height - strip :].astype(float)
    out[height - strip :] = (0.45 * base).astype(np.uint8)
    top = weights.max() if weights.size and weights.max() > 0 else 1.0
    edges = np.round(np.linspace(0, width, len(weights) + 1)).astype(int)
    for step, weight in enumerate(weights):
        tall = round(strip * max(weight, 0) / top)
        left, right = edges[step], max(edges[step + 1] - 1, edges[step] + 1)
        colour = (255, 220, 60) if step == current else (200, 120, 30)
        out[height - tall : height, left:right] = colour
    return out


def confusion(matrix: ArrayLike, labels: Sequence[str], path: str | PathLike[str]) -> None:
    """A picture of a confusion matrix (C, C), rows = labels, columns = predictions: colour is the
    share of the row; counts are written if there are at most 30 classes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.asarray(matrix, float)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    inches = 2.5 + 0.33 * len(labels)
    figure = Figure(figsize=(inches, inches), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_xlabel("recognised")
    axes.set_ylabel("label")
    if len(labels) <= 30:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if share[row, column] > 0.5 else "black"
            value = f"{counts[row, column]:g}"
            axes.text(column, row, value, ha="center", va="center", color=colour, fontsize=7)
    figure.savefig(path, dpi=130)


def curves(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    path: str | PathLike[str],
    *,
    x_label: str = "step",
    y_label: str = "",
) -> None:
    """A picture of lines {name: (x (N,), y (N,))} over common axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, (x, y) in series.items():
        axes.plot(np.asarray(x), np.asarray(y), label=name)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    if series:
        axes.legend()
    figure.savefig(path, dpi=130)
