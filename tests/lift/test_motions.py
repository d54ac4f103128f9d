"""People of frames become motions: who is kept, where they stand, gaps, and constant rates."""

from __future__ import annotations

import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from bodyjax import camera as cameras
from bodyjax import lift, systems
from bodyjax.data.video.writing import write_video
from bodyjax.detect.videos import FramePeople
from bodyjax.errors import DataError
from bodyjax.lift import bvh, motions, trc
from bodyjax.score import scorer
from bodyjax.skeleton import COCO17
from configs import lifter
from tests.lift.simulated_motion import SIZE, simulated
from tests.picture_sets import body, colour, knowing


def frame(identities, score=0.9, bridged=False, value=10.0):
    count = len(identities)
    xy, ones = np.full((count, 17, 2), value), np.ones((count, 17))
    return FramePeople(
        np.array(identities, int), xy, 0.8 * ones, xy, 0.8 * ones,
        (0 if bridged else 1) * ones.astype(bool), np.full(count, score),
        np.full(count, bridged), 0,
    )  # fmt: skip


def test_frames_become_people():
    frames = [frame([0, 2]), frame([0], bridged=True, score=0.1), frame([2, 0], value=30.0)]
    times = np.array([0.0, 0.1, 0.4])
    first, second = motions.by_person(frames, times, 0.5)
    assert (first.identity, first.frames.tolist()) == (0, [0, 1, 2])
    assert (second.identity, second.times.tolist()) == (2, [0.0, 0.4])
    assert first.xy[:, 0, 0].tolist() == [10, 10, 30]
    assert (first.score == 0.8).all()  # a bridged joint counts, a guess does not
    guess = frames[0]._replace(found=np.zeros((2, 17), bool))
    assert (motions.by_person([guess], times[:1])[0].score == 0).all()
    assert np.isnan(first.xyz).all()
    assert np.isnan(first.root).all()
    # The weak are left out by their mean over the frames in which they were found.
    assert [
        one.identity for one in motions.by_person([*frames, frame([7], 0.4)], np.arange(4.0), 0.5)
    ] == [0, 2]
    assert motions.by_person([frame([]), frame([])], times[:2]) == []


def test_frames_that_share_a_time_are_spread():
    """Matroska stores milliseconds, and recorders may write several frames at once."""
    [one] = motions.by_person([frame([3])] * 4, np.array([0.0, 0.0, 0.2, 0.4]))
    assert one.times.tolist() == [0.0, 0.1, 0.2, 0.4]


@pytest.mark.parametrize("kind", [bvh, trc])
@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([], "motion: has no frames; a file needs at least one"),
        ([0, 0, 0], "motion.times[1]: 0.0 s does not rise; "),
        ([0, 0.2, 0.1], "motion.times[2]: 0.1 s does not rise; "),
        ([0, np.nan, 0.1], "motion.times[1]: nan s does not rise; "),
        ([np.nan], "motion.times[0]: nan s does not rise; "),
    ],
)
def test_files_are_of_frames_whose_times_rise(kind, times, message, tmp_path):
    whole, _ = simulated("squat", frames=3)
    motion = motions.Motion(whole.identity, *(part[: len(times)] for part in whole[1:]))
    with pytest.raises(DataError, match=f"^{re.escape(message)}[^\\n]*$"):
        kind.write(tmp_path / "file", motion._replace(times=np.array(times, float)))
    assert not list(tmp_path.iterdir())


def test_who_is_seen_long_enough():
    motion, _ = simulated("squat", frames=12)
    assert motions.long_enough(motion)
    short = motion._replace(times=motion.times / 2)
    assert not motions.long_enough(short)
    assert not motions.long_enough(short._replace(times=motion.times[:1]))


@pytest.mark.parametrize("name", ["squat", "push_up"])
def test_the_place_is_found_from_the_picture(name):
    motion, camera = simulated(name, seed=6, frames=33)
    found = motions.roots(motion.xyz, motion.xy, motion.score, camera)
    np.testing.assert_allclose(found, motion.root, atol=15)
    score = motion.score.copy()
    score[4] = 0
    found = motions.roots(motion.xyz, motion.xy, score, camera)
    assert np.flatnonzero(np.isnan(found[:, 0])).tolist() == [4]


def test_gaps_are_filled_and_times_made_even():
    motion, _ = simulated("squat", frames=30)
    xyz, root = motion.xyz.copy(), motion.root.copy()
    xyz[[0, 7]], root[:] = np.nan, np.nan
    whole = motions.filled(motion._replace(xyz=xyz, root=root))
    np.testing.assert_allclose(whole.xyz[7], (xyz[6] + xyz[8]) / 2)
    np.testing.assert_allclose(whole.xyz[0], xyz[1])
    assert (whole.root == 0).all()
    assert np.isnan(xyz[7]).all()  # what was given stays
    assert np.flatnonzero(motions.unknown(motion._replace(xyz=xyz))).tolist() == [0, 7]
    times = motion.times.copy()
    times[1:] += 0.02
    even, rate = motions.steady(motion._replace(times=times))
    assert rate == pytest.approx(29 / times[-1])
    np.testing.assert_allclose(np.diff(even.times), 1 / rate)
    np.testing.assert_allclose(even.xyz[[0, -1]], motion.xyz[[0, -1]], atol=1e-9)
    same, rate = motions.steady(motion)
    assert rate == pytest.approx(15)
    np.testing.assert_allclose(same.xyz, motion.xyz, atol=1e-6)


def test_people_are_followed_and_smoothed_as_scoring_does_it(tmp_path):
    """The same joints go into space and into scoring: smoothed, so that poses jump less."""
    motion, _ = simulated("squat", seed=2, frames=16, fps=12.0)
    places = motion.xy * (40 / SIZE[1]) * 0.9
    shaken = places + np.random.default_rng(0).normal(0, 1.0, places.shape)
    detector = knowing({n + 1: [body(pose)] for n, pose in enumerate(shaken)})
    frames = [np.full((40, 50, 3), colour(n + 1), np.uint8) for n in range(16)]
    write_video(tmp_path / "a.mp4", np.stack(frames), 12)
    config = lifter.get_config("maps")
    config.model.update({"width": 16, "blocks": 1})
    system = systems.build(config)
    made = lift.make(system, jax.jit(system.init)(jax.random.key(0)), detector)
    (lifted,) = lift.video(made, tmp_path / "a.mp4").motions
    scoring = SimpleNamespace(detector=detector, system=SimpleNamespace(skeleton=COCO17))
    (track,) = scorer.tracks(scoring, tmp_path / "a.mp4")
    np.testing.assert_allclose(lifted.xy, track.xy, atol=1e-4)
    raw = lift.poses(made, shaken, lifted.score, camera=cameras.assumed((40, 50)))
    jumps = [np.linalg.norm(np.diff(xyz, 2, axis=0), axis=-1).mean() for xyz in (lifted.xyz, raw)]
    assert jumps[0] < 0.7 * jumps[1]


def test_impossible_cameras_are_refused(tmp_path):
    write_video(tmp_path / "a.mp4", np.zeros((3, 16, 16, 3), np.uint8), 10)
    for camera, said in (((0, 300, 8, 8), "focal length"), ((np.nan, 300, 8, 8), "numbers")):
        with pytest.raises(DataError, match=said):
            lift.video(None, tmp_path / "a.mp4", camera=camera)
