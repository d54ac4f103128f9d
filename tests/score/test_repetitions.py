"""Counting repetitions: of waves, of joints stored from videos against the eye, and where they end.

tests/data/pushups_by_eye.csv says how the videos were drawn and looked at.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from bodyjax.score.repetitions import Repetition, bounds, period, phase, repetitions
from bodyjax.skeleton import COCO17

DATA = Path(__file__).parents[1] / "data"


def seen_by_eye(half: str) -> dict[str, list[int]]:
    """The frames of the lowest points of each clip of a half."""
    with (DATA / "pushups_by_eye.csv").open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    found = {
        row["clip"]: [int(frame) for frame in row["lowest"].split()]
        for row in rows
        if row["half"] == half
    }
    assert len(found) == 10
    return found


def counted(clip: str, detector: str) -> tuple[np.ndarray, list[Repetition]]:
    """The times of a clip's frames, and its repetitions, from the frames with the person."""
    with np.load(DATA / "pushups_joints.npz", allow_pickle=False) as stored:
        times, xy = stored[f"{clip}_times"].astype(float), stored[f"{clip}_{detector}"]
    seen = np.flatnonzero(np.isfinite(xy).any((1, 2)))
    inside = slice(seen[0], seen[-1] + 1)
    return times, repetitions(times[inside], xy[inside], COCO17)


@pytest.mark.parametrize("detector", ["small", "second"])
def test_push_ups_of_real_videos_are_counted_as_by_eye(detector):
    """The ten clips that the counter was chosen by."""
    late = []
    for clip, lowest in seen_by_eye("choose").items():
        times, found = counted(clip, detector)
        assert len(found) == len(lowest), clip
        late += [abs(one.top - times[frame]) for one, frame in zip(found, lowest, strict=True)]
    assert np.median(late) <= 0.16
    assert np.max(late) <= 1.0  # two people stay at the bottom for two seconds: any frame is it


@pytest.mark.parametrize(("detector", "right"), [("small", 7), ("second", 7)])
def test_the_figure_of_ten_other_videos_stays(detector, right):
    """Within one of the eye's count; these clips were looked at once, after choosing."""
    near = [
        abs(len(counted(clip, detector)[1]) - len(lowest)) <= 1
        for clip, lowest in seen_by_eye("figure").items()
    ]
    assert sum(near) == right


@pytest.mark.parametrize("detector", ["small", "second"])
def test_repetitions_of_real_videos_are_in_order_and_apart(detector):
    for clip in seen_by_eye("choose") | seen_by_eye("figure"):
        _, found = counted(clip, detector)
        edges = [edge for one in found for edge in one]
        assert edges == sorted(edges), clip


def test_a_higher_hill_does_not_swallow_its_neighbours():
    """Two low hills beside one that is 15 % higher, in a movement that never rests fully."""
    t = np.arange(0, 12, 0.1)
    middles, heights = np.array([2.0, 5.0, 8.0]), np.array([1.0, 1.15, 1.0])
    line = sum(h * np.exp(-(((t - m) / 0.7) ** 2)) for m, h in zip(middles, heights, strict=True))
    tops = np.array([20, 50, 80])
    rows = bounds(line, tops) * 0.1
    np.testing.assert_allclose(rows[:, 1], middles, atol=0.05)
    np.testing.assert_allclose(rows[:, 0], middles - 1.06, atol=0.12)  # 0.1 of the height is left
    np.testing.assert_allclose(rows[:, 2], middles + 1.06, atol=0.12)


def test_the_bounds_of_a_hill_are_those_of_its_own_sides():
    """A hill between a deep and a shallow valley: each side has its own height."""
    line = np.array([0.0, 1, 2, 3, 4, 3, 2, 3, 4, 5, 4, 3, 2, 1, 0])
    np.testing.assert_allclose(bounds(line, np.array([4, 9])), [[0.4, 4, 5.8], [6.3, 9, 13.5]])
    assert bounds(line, np.zeros(0, int)).shape == (0, 3)
    np.testing.assert_allclose(bounds(np.ones(5), np.array([2])), [[2, 2, 2]])  # flat: no sides


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("sign", [1, -1])
def test_repetitions_are_counted_whichever_way_they_go(count, sign):
    rng = np.random.default_rng(count)
    t = np.arange(0, 2 + 1.5 * count, 1 / 15)
    wave = 0.5 - 0.5 * np.cos(2 * np.pi * np.clip((t - 1) / 1.5, 0, count))
    xy = rng.uniform(0, 100, (17, 2)) + np.zeros((len(t), 17, 2))
    xy[:, 5:11, 1] += sign * 40 * wave[:, None]
    xy += rng.normal(0, 1, xy.shape)
    xy[::7, 3] = np.nan
    found = repetitions(t, xy, COCO17)
    assert len(found) == count
    for k, one in enumerate(found):
        assert one.start < one.top < one.stop
        assert one.top == pytest.approx(1.75 + 1.5 * k, abs=0.2)
        assert (one.start, one.stop) == pytest.approx((1 + 1.5 * k, 2.5 + 1.5 * k), abs=0.35)


def test_what_rests_trembles_or_walks_by_has_no_repetitions():
    rng = np.random.default_rng(0)
    t = np.arange(60) / 15
    body = rng.uniform(0, 100, (17, 2)) + rng.normal(0, 1, (60, 17, 2))
    assert repetitions(t, body, COCO17) == []
    assert repetitions(t, body + 60 * t[:, None, None], COCO17) == []
    assert repetitions(t, np.full((60, 17, 2), np.nan), COCO17) == []
    assert repetitions(t[:1], body[:1], COCO17) == []


def test_period_and_phase():
    t = np.arange(120) / 20
    assert period(np.sin(2 * np.pi * t / 1.5), 20) == pytest.approx(1.5, abs=0.06)
    assert period(np.zeros(50), 20) == 0
    xy = np.zeros((120, 17, 2)) + np.arange(17)[:, None] * 10.0
    xy[..., 1] += 30 * np.cos(2 * np.pi * t / 1.5)[:, None]
    line = phase(xy, COCO17)
    assert abs(np.corrcoef(line, xy[:, 0, 1])[0, 1]) > 0.99
    # ten times as large in the picture, the same in torso lengths
    np.testing.assert_allclose(np.abs(phase(10 * xy, COCO17)), np.abs(line), atol=1e-6)
