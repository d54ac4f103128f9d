"""Does a classifier recognise the movement? Controls beside its accuracy on test clips.

The same classifier on the middle frame alone and on frames out of order; and, without any joints,
how well the background alone predicts the class (extra trees on the colours outside the body's
region): near chance if places are independent of classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bodyjax.data.clips import feed, folder
from bodyjax.data.clips.body_region import body_region
from bodyjax.data.clips.feed import Clips
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import ConfigError
from bodyjax.evaluate import movements
from bodyjax.metrics.intervals import of_share
from bodyjax.recognize import clip_joints


def controls(checkpoint: Checkpoint) -> dict[str, Any]:
    """Accuracy on the test clips of the checkpoint's own data, and of the controls. ConfigError for
    a classifier of several movements at once, which has no confusion matrix."""
    data = checkpoint.config.data
    if checkpoint.config.model.several:
        raise ConfigError("controls are of one movement a clip", place="model.several")
    joints = clip_joints.known(checkpoint.config)
    test = feed.open_clips(data, "test", joints=joints)
    result: dict[str, Any] = {}
    for order in ("kept", "shuffled", "middle"):
        measures = movements.measure(checkpoint, test, order=order)
        result[order] = measures["accuracy"]
        result[f"{order}_interval"] = measures["accuracy_interval"]
        if order == "shuffled":
            result["confused_when_shuffled"] = confused(measures)
    result["background"] = share = background_accuracy(data)
    result["background_interval"] = of_share(round(share * len(test)), len(test), over="clips")
    result["chance"] = 1 / len(checkpoint.labels)
    result["n"] = len(test)
    return result


def confused(measures: dict[str, Any], most: int = 5) -> list[tuple[str, str, int]]:
    """The most confused pairs (true, predicted, clips)."""
    counts = np.array(measures["confusion"])
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None)[:most]
    pairs = [(int(i) // len(counts), int(i) % len(counts)) for i in order]
    names = measures["labels"]
    return [(names[a], names[b], int(counts[a, b])) for a, b in pairs if counts[a, b]]


def background_accuracy(data: Any) -> float:
    """Accuracy on test clips of extra trees that see backgrounds only."""
    from sklearn.ensemble import ExtraTreesClassifier

    train, test = (feed.open_clips(data, part, joints=True) for part in ("train", "test"))
    trees = ExtraTreesClassifier(300, random_state=0, n_jobs=1)
    trees.fit(np.stack([background(train, i) for i in range(len(train))]), train.labels)
    return float(
        trees.score(np.stack([background(test, i) for i in range(len(test))]), test.labels)
    )


def background(source: Clips, index: int) -> np.ndarray:
    """The colours, (64,) shares, of a clip's first frame outside the body's region.

    Colours alone: a picture with the region blanked would show its outline, which reveals the
    class.
    """
    example = source[index]
    frame = folder.read_frames(example, np.array([0]))[0]
    region = body_region(example["xy"], example["visible"], frame.shape[:2])
    kept = np.ones(frame.shape[:2], bool)
    if region is not None:
        x0, y0, x1, y1 = np.round(region).astype(int)
        kept[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = False
    colours = frame[kept] // 64 if kept.any() else np.zeros((1, 3), np.uint8)
    codes = colours.astype(int) @ np.array([16, 4, 1])
    return np.bincount(codes, minlength=64) / len(codes)
