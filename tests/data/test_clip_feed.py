"""Clips to batches: samplings, the parts of a set, stored maps."""

import numpy as np
import pytest

from bodyjax import ConfigError
from bodyjax.data import clip_feed
from bodyjax.data.clip_feed import SampleMaps, WholeClip, spread
from bodyjax.data.sampling import segment_frames
from configs.classifier import get_config
from tests.shared import shared


@pytest.mark.parametrize(("total", "count"), [(40, 8), (15, 8), (5, 8), (100, 12)])
def test_spread_samplings_stay_in_their_segments(total, count):
    numbers = spread(total, count, 5)
    assert numbers.shape == (5, count)
    assert (np.diff(numbers, axis=1) >= 0).all()
    edges = np.arange(count + 1) * total / count
    assert (numbers >= np.floor(edges[:-1])).all()
    assert (numbers <= np.ceil(edges[1:])).all()
    assert numbers.max() < total
    np.testing.assert_array_equal(spread(total, count, 1)[0], segment_frames(total, count))


def test_jhmdb_is_split_by_source_and_test_clips_train_nothing():
    data = get_config("jhmdb").data
    data.path = str(shared("data/jhmdb"))
    test = clip_feed.open_clips(data, "test")
    assert len(test) == 268
    assert test.heldout.all()
    whole = clip_feed.open_clips(data, "train")
    data.holdout = 1 / 6
    train, valid = clip_feed.open_clips(data, "train"), clip_feed.open_clips(data, "valid")
    assert len(whole) == len(train) + len(valid) == 660
    assert not set(train.groups) & set(valid.groups)
    assert not set(whole.groups) & set(test.groups)


def test_no_validation_part_is_said():
    data = get_config("jhmdb").data
    data.path = str(shared("data/jhmdb"))
    with pytest.raises(ConfigError, match="holdout"):
        clip_feed.open_clips(data, "valid")


def test_joints_of_a_real_clip_are_fitted_into_the_size():
    data = get_config("jhmdb").data
    data.path = str(shared("data/jhmdb"))
    source = clip_feed.open_clips(data, "test", joints=True)
    rng = np.random.default_rng(0)
    one = WholeClip(8, (160, 160), False)(source[0], rng)
    assert one["xy"].shape == (8, 18, 2)
    many = WholeClip(8, (160, 160), False, samples=5)(source[0], rng)
    assert many["xy"].shape == (5, 8, 18, 2)
    np.testing.assert_allclose(many["xy"][2], one["xy"])  # the third of five is the middle
    # 320x240 is scaled by a half and centred: 20 rows above and below
    raw = source[0]["xy"][segment_frames(int(source[0]["length"]), 8), 0]
    np.testing.assert_allclose(one["xy"], (raw + 0.5) / 2 - 0.5 + [0, 20], atol=1e-3)


def test_shuffled_frames_are_the_same_frames_in_another_order():
    data = get_config("jhmdb").data
    data.path = str(shared("data/jhmdb"))
    source = clip_feed.open_clips(data, "test", joints=True)
    rng = np.random.default_rng(0)
    plain = WholeClip(8, (160, 160), False)(source[3], rng)["xy"]
    mixed = WholeClip(8, (160, 160), False, order="shuffled")(source[3], rng)["xy"]
    assert not np.array_equal(plain, mixed)
    assert sorted(map(bytes, plain)) == sorted(map(bytes, mixed))


def test_maps_are_sampled_in_order():
    maps = np.arange(24, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 18), np.uint8)
    out = SampleMaps(6, "random")({"maps": maps, "label": 3}, np.random.default_rng(0))
    numbers = out["maps"][:, 0, 0, 0]
    assert (np.diff(numbers.astype(int)) > 0).all()
    assert (numbers // 4 == np.arange(6)).all()
