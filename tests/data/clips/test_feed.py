"""Clips to batches: samplings, the parts of a set, stored maps."""

import numpy as np
import pytest

from bodyjax import ConfigError
from bodyjax.data.clips import feed as clip_feed
from bodyjax.data.clips import folder
from bodyjax.data.clips.feed import SampleMaps, WholeClip, spread
from bodyjax.data.sampling import random_frames, segment_frames
from configs.classifier import get_config
from tests import labelled_clips
from tests.shared import shared


def own_clips(root, **model):
    """The variant tiny, unchanged pixels, on two clips; `model` changes fields of model."""
    labelled_clips.write(root, "train/wave/0", "train/rest/0", "valid/wave/0", "valid/rest/0")
    config = get_config("tiny")
    config.data.path, config.data.batch = str(root), 4
    config.data.augment.update(dict(rotation=0.0, scale=(1.0, 1.0), shift=0.0, colour=0.0))
    config.model.update({"size": (128, 128), **model})
    return config


def feed_of(config):
    opened = clip_feed.open_parts(config.data, joints=config.model.input == "joints")
    return clip_feed.clip_feed(config, opened)


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


@pytest.mark.parametrize("mode", ["start", "end", "frames"])
def test_spread_samplings_follow_the_rule_of_training(mode):
    numbers = spread(90, 4, 3, mode)
    assert numbers.shape == (3, 4)
    if mode == "frames":
        expected = random_frames(90, 12, np.random.default_rng(0))
    else:
        expected = segment_frames(90, 12, mode)
    np.testing.assert_array_equal(numbers.T.ravel(), expected)


def test_training_on_maps_samples_as_the_config_says():
    config = get_config("tiny")
    config.model.update(dict(input="maps", frames=6, sampling="end"))
    maps = np.arange(24, dtype=np.uint8)[:, None, None, None]
    for transform in clip_feed.transforms(config):
        out = transform({"maps": maps, "label": 3}, np.random.default_rng(0))
        np.testing.assert_array_equal(out["maps"].ravel(), segment_frames(24, 6, "end"))


@pytest.mark.parametrize("kind", ["joints", "frames"])
def test_shuffled_means_training_and_evaluation_alike(tmp_path, kind):
    config = own_clips(tmp_path, input=kind, frames=6, sampling="middle")

    def places(batch):
        """Where the square is, (B, T): the middle of the joints, or of the bright pixels."""
        if kind == "joints":
            return batch["xy"][..., 0].mean(-1)
        bright = (batch["frames"][..., 0] > 128).sum(2)
        return (bright * np.arange(128)).sum(-1) / bright.sum(-1)

    for shuffle in (False, True):
        config.data.shuffle = shuffle
        feed = feed_of(config)
        for batch in (next(feed.train_batches(0)), next(feed.eval_batches())):
            rising = (np.diff(places(batch)) > 0).all(1)
            assert rising.any() != shuffle, batch["label"]
            if not shuffle:
                assert rising.all()


def test_copies_of_clips_with_a_small_person_are_zoomed(tmp_path):
    """The region is 1/40 of the picture or less: four times as large, by the factor table."""
    config = own_clips(tmp_path, input="frames", frames=2)
    opened = clip_feed.open_parts(config.data)

    def no_look(clips):
        raise AssertionError("joints lie beside the clips")

    copies = clip_feed.with_copies(opened["train"], no_look)
    batch = next(clip_feed.clip_feed(config, {"train": copies}).train_batches(0))
    bright = (batch["frames"][..., 0] > 128).sum((2, 3)) / labelled_clips.SIDE**2
    np.testing.assert_allclose(sorted(bright[:, 0]), [1, 1, 16, 16], rtol=0.1)
    assert set(batch) == {"frames", "label"}


def test_joints_of_simulated_copies_are_zoomed_too(tmp_path):
    config = own_clips(tmp_path, input="joints", frames=2)
    opened = clip_feed.open_parts(config.data, joints=True)
    copies = clip_feed.with_copies(opened["train"], lambda clips: pytest.fail("joints are known"))
    batch = next(clip_feed.clip_feed(config, {"train": copies}).train_batches(0))
    y = np.where(batch["score"] > 0, batch["xy"][..., 1], np.nan)
    heights = np.nanmax(y, (1, 2)) - np.nanmin(y, (1, 2))
    expected = (labelled_clips.SIDE - 1) * np.array([1, 1, 4, 4])
    np.testing.assert_allclose(sorted(heights), expected, rtol=1e-4)
    assert set(batch) == {"xy", "score", "label"}


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


def test_few_clips_are_spread_over_the_classes(tmp_path):
    names = [f"train/{label}/{i}" for label in ("rest", "walk", "wave") for i in range(4)]
    source = folder.clips(labelled_clips.write(tmp_path, *names), "train")
    assert clip_feed.few(source, 6).labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert clip_feed.few(source, 0) is clip_feed.few(source, 12) is source
