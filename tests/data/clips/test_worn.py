"""Worn copies of clips: the same clip, a bit poorer, always the same."""

import numpy as np
import pytest

from bodyjax.data.clips import worn
from bodyjax.errors import VideoError


def clip(count=6, height=48, width=64):
    """A bright square that moves over a smooth picture, with some texture."""
    rng = np.random.default_rng(0)
    x = np.arange(width) + np.zeros((height, 1))
    back = 60 + x[..., None] + np.array([0, 20, 40]) + rng.normal(0, 4, (height, width, 3))
    frames = np.stack([back] * count)
    for t in range(count):
        frames[t, 16:32, 6 * t + 4 : 6 * t + 20] = 230
    return np.clip(frames, 0, 255).astype(np.uint8)


def off(one, other):
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("codec", sorted(worn.QUALITY))
def test_an_encoder_gives_every_frame_back_and_poorer_at_a_lower_quality(codec):
    frames, (low, high) = clip()[:, :-1, :-1], worn.QUALITY[codec]  # odd sizes
    good, poor = (worn.encoded(frames, codec, quality) for quality in (low, high))
    assert good.shape == poor.shape == frames.shape
    assert good.dtype == np.uint8
    assert off(good, frames) < off(poor, frames)
    for t in range(len(frames)):  # in order: each is nearest to its own
        assert min(range(len(frames)), key=lambda k: off(good[t], frames[k])) == t
    for _ in range(10):
        np.testing.assert_array_equal(worn.encoded(frames, codec, high), poor)


def test_a_worn_clip_follows_its_generator_and_shows_the_same():
    frames = clip()
    seen = []
    for seed in range(8):
        made = worn.worn(frames, np.random.default_rng(seed))
        np.testing.assert_array_equal(made, worn.worn(frames, np.random.default_rng(seed)))
        assert made.shape == frames.shape
        assert 0.3 < off(made, frames) < 25
        assert np.corrcoef(made.ravel(), frames.ravel())[0, 1] > 0.85
        seen.append(made)
    assert len({made.tobytes() for made in seen}) == 8


def test_ageing_changes_all_frames_alike_but_for_noise(monkeypatch):
    monkeypatch.setattr(worn, "CHANCE", 1.0)
    monkeypatch.setattr(worn, "NOISE", (0.0, 0.0))
    still = np.stack([clip()[0]] * 3)
    made = worn.aged(still, np.random.default_rng(1))
    np.testing.assert_array_equal(made[0], made[2])
    sharpest, before = (np.ptp(np.diff(part[0].astype(int), axis=1)) for part in (made, still))
    assert sharpest < before
    monkeypatch.setattr(worn, "NOISE", (4.0, 4.0))
    noisy = worn.aged(still, np.random.default_rng(1))
    assert 1 < off(noisy[0], noisy[2]) < 10


def test_an_encoder_that_is_missing_is_named():
    with pytest.raises(VideoError, match=r"libnothing can't encode frames .*data.worn_copies = 0"):
        worn.encoded(clip(), "libnothing", 20)
