"""The page counts as Python counts: repetitions.mjs against bodyjax.score.repetitions."""

import numpy as np
import pytest
from scipy import signal

from bodyjax.score.repetitions import repetitions
from bodyjax.skeleton import COCO17
from tests.demo import node
from tests.score.test_repetitions import DATA, seen_by_eye

COUNT = """
    const { repetitions } = await import(`${page}/repetitions.mjs`);
    return given.map(({ times, frames, joints }) => repetitions(times, frames, joints));
"""


def written(times, xy):
    """A clip as the page has it."""
    frames = [[None if np.isnan(at).any() else at.tolist() for at in one] for one in xy]
    return {"times": times.tolist(), "frames": frames, "joints": COCO17.joints}


def compared(clips, folder):
    """Asserts equal repetitions; how many each clip has."""
    found = node.run(COUNT, [written(*clip) for clip in clips], folder)
    for (times, xy), page in zip(clips, found, strict=True):
        ours = repetitions(times, xy, COCO17)
        assert len(page) == len(ours)
        for one, other in zip(page, ours, strict=True):
            seconds = [one[name] for name in ("start", "top", "stop")]
            assert seconds == pytest.approx(list(other), abs=1e-6)
    return [len(page) for page in found]


def test_push_ups_of_real_videos_are_pythons(tmp_path):
    """Of every clip whose lowest points are stored: those to choose by, and those held out (group %
    5 == 0), by both detectors."""
    names, clips, lowest = [], [], []
    with np.load(DATA / "pushups_joints.npz", allow_pickle=False) as stored:
        for half in ("choose", "figure"):
            for clip, frames in seen_by_eye(half).items():
                for detector in ("small", "second"):
                    xy = stored[f"{clip}_{detector}"].astype(float)
                    seen = np.flatnonzero(np.isfinite(xy).any((1, 2)))
                    inside = slice(seen[0], seen[-1] + 1)
                    times = stored[f"{clip}_times"].astype(float)[inside]
                    names.append((half, detector))
                    clips.append((times, xy[inside]))
                    lowest.append(len(frames))
    counts = compared(clips, tmp_path)
    near = [abs(count - seen) <= 1 for count, seen in zip(counts, lowest, strict=True)]
    assert sum(n for n, name in zip(near, names, strict=True) if name == ("choose", "small")) == 10
    assert sum(n for n, name in zip(near, names, strict=True) if name == ("figure", "small")) == 7


def test_other_movements_are_counted_alike(tmp_path):
    """Waves of several rates, with gaps and uneven times; what rests; nobody; a moment."""
    clips = []
    for number, count in enumerate((1, 2, 5, 9)):
        rng = np.random.default_rng(number)
        times = np.sort(rng.uniform(0, 2 + 1.5 * count, 40 + 30 * number))
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * np.clip((times - 1) / 1.5, 0, count))
        xy = rng.uniform(0, 100, (17, 2)) + np.zeros((len(times), 17, 2))
        xy[:, 5:11, 1] += 40 * wave[:, None]
        xy += rng.normal(0, 1, xy.shape)
        xy[::7, 3] = xy[:, 1] = np.nan
        clips.append((times, xy))
    times, xy = np.arange(60) / 15, np.ones((60, 17, 2)) * np.arange(17)[:, None]
    clips += [(times, xy), (times, np.full_like(xy, np.nan)), (times[:3], xy[:3])]
    counts = compared(clips, tmp_path)
    assert counts[0] == 1
    assert counts[3] == 9
    assert counts[4:] == [0, 0, 0]


def test_hills_and_smoothing_are_scipys(tmp_path):
    rng = np.random.default_rng(0)
    lines = [np.round(rng.normal(size=80).cumsum(), decimals) for decimals in (0, 1, 6)]
    script = """
        const { hills, smoothed } = await import(`${page}/signal.mjs`);
        return given.map((line) => [
          hills(line, { apart: 5.5, prominence: 0.8 }), smoothed(line, 7),
        ]);
    """
    found = node.run(script, [line.tolist() for line in lines], tmp_path)
    for line, (tops, smooth) in zip(lines, found, strict=True):
        np.testing.assert_allclose(smooth, signal.savgol_filter(line, 7, 2), atol=1e-9)
        if len(np.unique(line)) == len(line):  # among equal tops the order is not defined
            assert tops == signal.find_peaks(line, prominence=0.8, distance=5.5)[0].tolist()
