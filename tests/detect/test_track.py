"""Identities over crossings and gaps, and what the smoothing does."""

import numpy as np
import pytest

from bodyjax.detect import track

POSE = np.array([[0, -40], [0, -20], [-15, 0], [15, 0], [-10, 40], [10, 40]], float)


def _walk(frames: int, start: tuple[float, float], speed: tuple[float, float]) -> np.ndarray:
    """(F, 6, 2): a stiff person, pixels a frame."""
    steps = np.arange(frames)[:, None]
    return POSE + (np.array(start) + steps * np.array(speed))[:, None]


def _follow(paths: list[np.ndarray], hidden=(), rng=None, **settings):
    """Tracks paths at 25 frames a second; hidden: (frame, person); rows in random order."""
    rng = rng or np.random.default_rng(0)
    rows = []
    for frame in range(len(paths[0])):
        there = [p for p in range(len(paths)) if (frame, p) not in hidden]
        rows.append([there[i] for i in rng.permutation(len(there))])
    xy = [np.array([paths[p][f] for p in r]).reshape(len(r), 6, 2) for f, r in enumerate(rows)]
    score = [np.ones(points.shape[:2]) for points in xy]
    options = track.Settings(**settings)
    return track.follow(np.arange(len(rows)) / 25, xy, score, options), rows


def _identities(tracked, rows) -> list[set[int]]:
    """The identities that each person got, where it was seen."""
    seen: dict[int, set[int]] = {}
    for one, frame in zip(tracked, rows, strict=True):
        for identity, source in zip(one.identity, one.source, strict=True):
            if source >= 0:
                seen.setdefault(frame[source], set()).add(int(identity))
    return [seen[person] for person in sorted(seen)]


def test_two_people_who_cross_keep_their_identities():
    paths = [_walk(60, (50, 100), (4, 0)), _walk(60, (290, 104), (-4, 0))]
    tracked, rows = _follow(paths)
    first, second = _identities(tracked, rows)
    assert len(first) == len(second) == 1
    assert first != second


def test_many_seeded_scenes_keep_their_identities():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        people = rng.integers(1, 6)
        paths = [
            _walk(30, (120 * p, rng.uniform(0, 300)), (rng.uniform(-1, 1), rng.uniform(-3, 3)))
            + rng.normal(0, 0.5, (30, 6, 2))
            for p in range(people)
        ]
        found = _identities(*_follow(paths, rng=rng))
        assert all(len(one) == 1 for one in found), seed
        assert len(set.union(*found)) == people


def test_someone_whose_joints_lie_in_a_line_stays_one_person():
    """As in a push-up seen from the side: the box of the joints has hardly any height."""
    line = np.stack([np.linspace(-60, 60, 6), np.zeros(6)], axis=1)
    bobbing = 20 * np.sin(np.arange(40) / 3)[:, None]
    path = line + np.concatenate([np.full((40, 1), 100.0), 100 + bobbing], axis=1)[:, None]
    (found,) = _identities(*_follow([path]))
    assert len(found) == 1


def test_a_video_of_one_frame_a_second_keeps_identities():
    times = np.arange(6) * 1.5
    poses = list(_walk(6, (100, 100), (1, 0))[:, None])
    tracked = track.follow(times, poses, [np.ones((1, 6))] * 6)
    assert [one.identity.tolist() for one in tracked] == [[0]] * 6


UNEVEN = {
    "milliseconds at 2000 a second": np.round(np.arange(60) / 2000, 3),
    "milliseconds at 5000 a second": np.floor(np.arange(60) / 5) / 1000,
    "two frames written at once": np.repeat(np.arange(30) / 15, 2),
    "two frames nearly at once": (np.arange(60) // 2) / 15 + (np.arange(60) % 2) * 1e-5,
    "one time alone": np.zeros(60),
    "a pause, then equal times at the end": np.r_[np.arange(50) / 25, np.full(10, 2.4)],
}


@pytest.mark.parametrize("name", UNEVEN)
def test_equal_and_nearly_equal_times_split_nobody(name):
    """Two people who tremble by half a pixel and walk on: two identities, smooth, no number lost,
    and a gap whose ends have one time is bridged."""
    rng = np.random.default_rng(0)
    paths = [_walk(60, (50, 100), (1, 0)), _walk(60, (250, 100), (0, 0))]
    xy = [np.stack([path[f] for path in paths]) + rng.normal(0, 0.5, (2, 6, 2)) for f in range(60)]
    xy[20] = xy[20][:1]  # the second is not seen
    tracked = track.follow(UNEVEN[name], xy, [np.ones(points.shape[:2]) for points in xy])
    assert {int(i) for one in tracked for i in one.identity} == {0, 1}
    smooth = np.array([one.xy[np.argsort(one.identity)] for one in tracked])
    assert smooth.shape == (60, 2, 6, 2)
    assert np.isfinite(smooth).all()
    assert np.abs(smooth[:, 1] - paths[1]).mean() < np.abs(np.stack([
        points[-1] for points in xy if len(points) > 1
    ]) - paths[1][:59]).mean() + 0.05  # fmt: skip


def test_equal_times_are_spread_up_to_the_next():
    np.testing.assert_allclose(track.spread([0, 0, 1, 1, 1, 1, 2]), [0, 0.5, 1, 1.25, 1.5, 1.75, 2])
    np.testing.assert_allclose(track.spread([0, 1, 2, 2]), [0, 1, 2, 8 / 3], atol=0.4)
    np.testing.assert_allclose(track.spread([5, 5, 5]), [5, 5.04, 5.08])
    rising = np.array([0, 0.1, 0.5])
    np.testing.assert_array_equal(track.spread(rising), rising)
    assert (np.diff(track.spread([0, 2, 1, 3])) > 0).all()


def test_a_gap_is_bridged_on_the_straight_line():
    path = _walk(30, (50, 100), (3, 1))
    hidden = [(frame, 0) for frame in range(10, 18)]
    tracked, rows = _follow([path], hidden, min_cutoff=0)
    assert _identities(tracked, rows) == [{0}]
    for frame in range(30):
        assert (tracked[frame].source[0] == -1) == (10 <= frame < 18)
        np.testing.assert_allclose(tracked[frame].xy[0], path[frame], atol=1e-9)


def test_a_long_gap_is_not_bridged():
    path = _walk(60, (50, 100), (0, 0))
    tracked, rows = _follow([path], [(frame, 0) for frame in range(10, 45)], max_gap=1.0)
    assert _identities(tracked, rows) == [{0, 1}]
    assert all(len(tracked[frame].identity) == 0 for frame in range(10, 45))


def test_nobody_is_lost_and_absent_joints_stay_absent():
    rng = np.random.default_rng(3)
    xy = [rng.uniform(0, 200, (n, 6, 2)) for n in rng.integers(0, 5, 20)]
    for points in xy:
        points[rng.random(points.shape[:2]) < 0.3] = np.nan
    score = [np.ones(points.shape[:2]) for points in xy]
    tracked = track.follow(np.arange(20) / 25, xy, score)
    for points, one in zip(xy, tracked, strict=True):
        assert sorted(one.source[one.source >= 0]) == list(range(len(points)))
        assert len(set(one.identity)) == len(one.identity)
        for row, source in enumerate(one.source):
            if source >= 0:
                same = np.isnan(points[source]) == np.isnan(one.xy[row])
                assert same.all()
    assert track.follow([], [], []) == []


def test_smoothing_stills_what_rests_and_follows_what_moves():
    rng = np.random.default_rng(0)
    still = _walk(200, (100, 100), (0, 0)) + rng.normal(0, 1.0, (200, 6, 2))
    times = np.arange(200) / 25
    smooth = track.one_euro(times, still, 2.0, 2.0)
    assert np.diff(smooth[20:], axis=0).std() < 0.5 * np.diff(still[20:], axis=0).std()
    # 80 pixels long, 12 pixels a frame: nearly four of its own lengths a second.
    fast = _walk(50, (0, 100), (12, 0))
    moved = track.one_euro(times[:50], fast, 2.0, 2.0)
    heavy = track.one_euro(times[:50], fast, 2.0, 0.0)
    lag, lag_heavy = (fast[-1] - moved[-1])[:, 0].mean(), (fast[-1] - heavy[-1])[:, 0].mean()
    assert 0 <= lag < 0.5 * lag_heavy
    assert lag < 12


def test_smoothing_does_not_depend_on_the_size_in_pixels():
    rng = np.random.default_rng(1)
    path = _walk(40, (10, 20), (2, 0)) + rng.normal(0, 1, (40, 6, 2))
    times = np.arange(40) / 30
    small, large = (track.one_euro(times, scale * path, 1.0, 3.0) for scale in (1, 10))
    np.testing.assert_allclose(large, 10 * small, rtol=1e-9, atol=1e-6)
