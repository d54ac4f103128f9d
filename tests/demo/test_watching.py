"""What the page makes of a person over time: the scorer's windows, the exercise, who it is."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bodyjax.data.sequences.source import fill_in_time
from bodyjax.deform import Clip, resample
from bodyjax.engine import checkpoint
from bodyjax.score import exercise
from bodyjax.score.scorer import window_rows
from bodyjax.skeleton import COCO17
from tests.demo import node
from tests.score.test_repetitions import DATA

STORED, SECONDS = 64, 4.0
DOWN = np.array([0, -3, -3, 0, 0, 30, 30, 60, 60, 85, 85, 90, 90, 130, 130, 170, 170])
STANDING = np.stack([np.where(np.arange(17) % 2, 112, 88), DOWN + 20], axis=1)
"""COCO's joints of a person who faces the camera, in pixels."""


def clips():
    """Two push-up videos, and somebody who stands: times, joints (NaN: absent), scores."""
    rng = np.random.default_rng(0)
    found = []
    with np.load(DATA / "pushups_joints.npz", allow_pickle=False) as stored:
        for name in ("p046", "p166"):
            xy = stored[f"{name}_small"].astype(float)
            seen = np.isfinite(xy).any((1, 2))
            found.append((stored[f"{name}_times"].astype(float)[seen], xy[seen]))
    xy = STANDING + rng.normal(0, 2, (90, 17, 2))
    xy[:, 3] = xy[20:40, 9] = np.nan
    found.append((np.arange(90) / 15, xy))
    return [
        (times, xy, np.where(np.isfinite(xy).all(-1), rng.uniform(0.1, 0.9, xy.shape[:2]), 0.0))
        for times, xy in found
    ]


def weights():
    loaded = checkpoint.load("pushup", system="sequence")
    return list(loaded.config["score"]["exercise"])


def test_windows_and_their_joints_are_the_scorer_s(tmp_path):
    chosen = weights()
    spec = {
        "stored": STORED, "seconds": SECONDS, "joints": COCO17.joints,
        "exercise": {
            "weights": chosen, "limbs": exercise.ENDS, "seen": exercise.SEEN,
            "least_joints": exercise.LEAST_JOINTS, "hardly_seen": exercise.HARDLY_SEEN,
            "unlike": exercise.UNLIKE,
        },
    }  # fmt: skip
    given = [
        {
            "times": times.tolist(),
            "frames": [
                [None if np.isnan(at).any() else at.tolist() for at in frame] for frame in xy
            ],
            "scores": scores.tolist(),
        }
        for times, xy, scores in clips()
    ]
    page = node.run(
        """
        const { attendedTimes, lastWindow, reason, resampled } = await import(`${page}/clips.mjs`);
        return given.clips.map(({ times, frames, scores }) => {
          const at = lastWindow(times, given.spec);
          const clip = resampled(frames, scores, at);
          const parts = Object.fromEntries(
            Object.entries(clip).map(([name, part]) => [name, [...part]]));
          return { at, ...parts, why: reason(clip, given.spec), ends: attendedTimes(times, at, 2) };
        });
        """,
        {"clips": given, "spec": spec},
        tmp_path,
    )
    scorer = SimpleNamespace(
        system=SimpleNamespace(stored=STORED), window=0, seconds=SECONDS, every=6
    )
    whys = []
    for (times, xy, scores), ours in zip(clips(), page, strict=True):
        at = window_rows(scorer, times)[-1]
        np.testing.assert_allclose(ours["at"], at, atol=1e-6)
        whole = Clip(*fill_in_time(xy), scores.astype(np.float32))
        clip = resample(whole, at.astype(np.float32))
        np.testing.assert_allclose(ours["joints"], clip.joints.ravel(), atol=2e-3)
        np.testing.assert_allclose(ours["score"], clip.score.ravel(), atol=1e-4)
        near = np.abs(at % 1 - 0.5) > 1e-3  # where float32 and float64 round alike
        shown = np.array(ours["visible"]).reshape(STORED, 17)
        np.testing.assert_array_equal(shown[near], clip.visible[near])
        (why,) = exercise.reasons(chosen, *(np.asarray(part)[None] for part in clip), COCO17)
        assert ours["why"] == why
        whys.append(why)
        middles = np.interp([0.25, 0.75], np.linspace(0, 1, STORED), at)
        expected = np.interp(middles, np.arange(len(times)), times)
        np.testing.assert_allclose(ours["ends"], expected, atol=1e-6)
    assert whys == ["", "", exercise.UNLIKE]


FOLLOW = """
    const { count, follow, nobody, remember } = await import(`${page}/person.mjs`);
    const all = nobody();
    const who = given.frames.map(({ time, people }) => {
      const found = follow(all, time, people, 0.1);
      return found ? people.indexOf(found) : -1;
    });
    if (given.told) remember(all, ...given.told, true);
    return { who, kept: all.times.length, count: count(all, given.joints), left: all.times.length };
"""


def body(x, y=0.0):
    """A person of 20 x 40 pixels at a place."""
    places = np.stack([np.linspace(x, x + 20, 17), np.linspace(y, y + 40, 17)], axis=1)
    return {"xy": places.tolist(), "score": [0.9] * 17, "center": 0.9}


@pytest.mark.parametrize(
    ("frames", "who", "kept"),
    [
        # the first, best one is followed, wherever it stands in the list
        ([[(0), (90)], [(91), (2)], [(92), (4)]], [0, 1, 1], 3),
        # out of the picture for a moment: nobody takes the place
        ([[0], [90], [90], [3]], [0, -1, -1, 0], 2),
        # gone for long: the one who is there is followed anew
        ([[0], *([[90]] * 12)], [0, *([-1] * 7), *([0] * 5)], 5),
        ([[], [0], []], [-1, 0, -1], 1),
    ],
)
def test_one_person_is_followed(frames, who, kept, tmp_path):
    given = {
        "joints": COCO17.joints,
        "frames": [
            {"time": number / 10, "people": [body(x) for x in frame]}
            for number, frame in enumerate(frames)
        ],
    }
    found = node.run(FOLLOW, given, tmp_path)
    assert (found["who"], found["kept"]) == (who, kept)


@pytest.mark.parametrize(("told", "judged"), [([0, 1000], 100), ([10, 12], 2), (None, 0)])
def test_what_has_a_verdict_is_told_and_long_clips_are_forgotten(told, judged, tmp_path):
    """A hundred repetitions of two seconds: the count stays, the frames of the start don't."""
    times = np.arange(0, 201, 0.2)
    wave = 0.5 - 0.5 * np.cos(np.pi * np.clip(times - 0.5, 0, 200))
    given = {
        "joints": COCO17.joints, "told": told,
        "frames": [
            {"time": float(time), "people": [body(0, 15 * down)]}
            for time, down in zip(times, wave, strict=True)
        ],
    }  # fmt: skip
    found = node.run(FOLLOW, json.loads(json.dumps(given)), tmp_path)
    assert found["kept"] == len(times)
    assert found["left"] < 0.5 * len(times)
    assert found["count"]["every"] == pytest.approx(100, abs=1)
    assert found["count"]["judged"] == pytest.approx(judged, abs=1 if judged else 0)
