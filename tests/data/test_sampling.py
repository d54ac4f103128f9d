"""Frame sampling against mmaction2's indices and its own rules."""

import json
from typing import Any

import numpy as np
import pytest

from bodyjax.data import sampling
from tests.shared import GOLDENS


@pytest.fixture(scope="module")
def goldens() -> dict[str, Any]:
    return json.loads((GOLDENS / "tsn_indices.json").read_text())


def test_middle_and_start_equal_the_goldens(goldens: dict[str, Any]) -> None:
    for record in goldens["test"]:
        n, k = record["total_frames"], record["num_clips"]
        assert sampling.segment_frames(n, k).tolist() == record["frame_inds"]
    for record in goldens["test_twice"]:
        n, k = record["total_frames"], record["num_clips"]
        assert sampling.segment_frames(n, k, "middle").tolist() == record["frame_inds"][:k]
        assert sampling.segment_frames(n, k, "start").tolist() == record["frame_inds"][k:]


@pytest.mark.parametrize("name", ["train_keep_tail", "train"])
def test_random_frames_fill_the_ranges_of_the_goldens(goldens: dict[str, Any], name: str) -> None:
    rng = np.random.default_rng(0)
    for record in goldens[name]:
        n, k = record["total_frames"], record["num_clips"]
        keep_tail = name == "train_keep_tail"
        if not keep_tail and n < k:
            continue  # the source wraps index n to 0 there
        low, high = np.array(record["low"]), np.array(record["high"])
        draws = np.stack(
            [sampling.segment_frames(n, k, "random", rng, keep_tail=keep_tail) for _ in range(200)]
        )
        assert (draws >= low).all()
        assert (draws <= high).all()
        narrow = (high - low) <= 2  # both ends come up (an end may have a third of a frame's share)
        assert (draws.min(axis=0)[narrow] == low[narrow]).all()
        assert (draws.max(axis=0)[narrow] == high[narrow]).all()
        assert (np.diff(draws, axis=1) >= 0).all()


def test_random_is_uniform_within_a_segment() -> None:
    rng = np.random.default_rng(1)
    draws = np.stack([sampling.segment_frames(10, 4, "random", rng) for _ in range(8000)])
    counts = np.bincount(draws.ravel(), minlength=10) / len(draws)
    # Frame f holds the time [f, f + 1) and a segment lasts 2.5 frames: 4 / 10 for each frame.
    assert np.abs(counts - 0.4).max() < 0.03


def test_short_random_without_tail_keeps_order_and_never_wraps() -> None:
    rng = np.random.default_rng(0)
    for n in range(1, 16):
        got = sampling.segment_frames(n, 16, "random", rng, keep_tail=False)
        assert (np.diff(got) >= 0).all()
        assert got[0] == 0
        assert got[-1] == n - 1


def test_modes_keep_order_and_bounds() -> None:
    for n in (1, 2, 3, 7, 8, 31, 40, 1001):
        for k in (1, 2, 3, 8, 16, 50):
            start, middle, end = (
                sampling.segment_frames(n, k, mode) for mode in ("start", "middle", "end")
            )
            assert start[0] == 0
            assert end[-1] == n - 1
            assert (start <= middle).all()
            assert (middle <= end).all()
            for frames in (start, middle, end):
                assert frames.shape == (k,)
                assert frames.dtype == np.int64
                assert (np.diff(frames) >= 0).all()
                assert frames.min() >= 0
                assert frames.max() < n
            if n % k == 0:
                assert (end - start == n // k - 1).all()


def test_plain_random_frames() -> None:
    rng = np.random.default_rng(2)
    for n, k in ((1, 1), (5, 5), (9, 4), (300, 8), (3, 8), (1, 4)):
        got = sampling.random_frames(n, k, rng)
        assert got.shape == (k,)
        assert (np.diff(got) >= (1 if n >= k else 0)).all()
        assert got.min() >= 0
        assert got.max() < n
        assert len(set(got.tolist())) == min(n, k)
    share = np.bincount(
        np.concatenate([sampling.random_frames(6, 2, rng) for _ in range(6000)]), minlength=6
    )
    assert np.abs(share / 6000 - 1 / 3).max() < 0.03


def test_same_generator_same_frames() -> None:
    for call in (
        lambda rng: sampling.segment_frames(100, 8, "random", rng),
        lambda rng: sampling.random_frames(100, 8, rng),
    ):
        assert (call(np.random.default_rng(5)) == call(np.random.default_rng(5))).all()


def test_windows_cover_every_frame() -> None:
    assert sampling.window_frames(10, 4, 2).tolist() == [[0, 4], [2, 6], [4, 8], [6, 10]]
    assert sampling.window_frames(11, 4, 3).tolist() == [[0, 4], [3, 7], [6, 10], [7, 11]]
    assert sampling.window_frames(3, 4, 2).tolist() == [[0, 3]]
    rng = np.random.default_rng(3)
    for _ in range(200):
        n, length = rng.integers(1, 200), rng.integers(1, 60)
        stride = rng.integers(1, length + 1)
        windows = sampling.window_frames(int(n), int(length), int(stride))
        covered = np.zeros(n, bool)
        for first, stop in windows:
            assert stop - first == min(length, n)
            covered[first:stop] = True
        assert covered.all()
        assert (np.diff(windows[:, 0]) > 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sampling.segment_frames(0, 3), "n is 0 frames"),
        (lambda: sampling.segment_frames(3, 0), "k is 0"),
        (lambda: sampling.segment_frames(3, 3, "centre"), "use one of middle, start, end, random"),
        (lambda: sampling.segment_frames(3, 3, "random"), "needs rng"),
        (lambda: sampling.random_frames(0, 3, np.random.default_rng(0)), "at least 1"),
        (lambda: sampling.window_frames(5, 0, 1), "at least 1"),
    ],
)
def test_wrong_arguments_say_what_to_use(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
