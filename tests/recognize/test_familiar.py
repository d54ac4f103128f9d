"""Clips unlike the training clips are recognised as such and get no operation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import recognize
from bodyjax.engine import checkpoint
from bodyjax.errors import CheckpointError
from bodyjax.recognize import familiar

AXES = np.random.default_rng(1).normal(size=(8, 64))


def clips(rng, count, away=0.0, seen=0.7):
    """Summaries (count, 64) that lie along `AXES`, but for noise and `away`; scores (count, 4, 18)
    about `seen`."""
    noise = rng.normal(size=(count, 64)) * (0.05 + away)
    score = np.clip(rng.normal(seen, 0.05, (count, 4, 18)), 0, 1)
    return (rng.normal(size=(count, 8)) @ AXES + noise).astype("f4"), score.astype("f4")


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(0)
    found = familiar.fit(clips(rng, 200)[0], *clips(rng, 100), np.ones(100, bool))
    assert found is not None
    return found


def test_most_clips_like_those_of_training_are_familiar(known):
    share = {}
    for name, how in {"like": (), "away": (0.3,), "unseen": (0.0, 0.2)}.items():
        summary, score = clips(np.random.default_rng(5), 400, *how)
        share[name] = float((familiar.strangeness(known, summary, score) <= 1).mean())
    assert share["like"] > 0.85
    assert share["away"] < 0.02
    assert share["unseen"] < 0.02


def test_strangeness_runs_under_jit_vmap_and_grad(known):
    found = known
    summary, score = map(jnp.asarray, clips(np.random.default_rng(6), 5, 0.1))
    plain = familiar.strangeness(found, summary, score)
    mapped = jax.jit(jax.vmap(familiar.strangeness, (None, 0, 0)))(found, summary, score)
    np.testing.assert_allclose(plain, mapped, rtol=1e-5)
    slope = jax.grad(lambda x: familiar.strangeness(found, x, score).sum())(summary)
    assert np.isfinite(slope).all()
    assert (slope != 0).any()


def test_it_is_kept_beside_the_checkpoint_and_read_again(known, tmp_path):
    found = known
    assert familiar.load(tmp_path) is None
    familiar.save(tmp_path, found)
    for one, two in zip(found, familiar.load(tmp_path), strict=True):
        np.testing.assert_array_equal(one, two)
    assert [path.name for path in tmp_path.iterdir()] == [familiar.FILE]
    (tmp_path / familiar.FILE).write_bytes(b"PK broken")
    with pytest.raises(CheckpointError, match=r"familiar\.npz: can't be read"):
        familiar.load(tmp_path)
    familiar.save(tmp_path, found._replace(limit=np.float32("nan")))
    with pytest.raises(CheckpointError, match="holds other arrays"):
        familiar.load(tmp_path)


def test_too_few_right_clips_tell_nothing():
    summary, score = clips(np.random.default_rng(2), 30)
    assert familiar.fit(summary, summary, score, np.arange(30) < 19) is None


def test_a_grey_picture_and_noise_get_no_operation():
    loaded = recognize.load("commands")
    assert familiar.of_checkpoint(checkpoint.load("commands")) is not None
    rng = np.random.default_rng(3)
    for frames in (
        np.full((12, 96, 128, 3), 128, np.uint8),
        rng.integers(0, 256, (12, 96, 128, 3)).astype(np.uint8),
        np.indices((12, 96, 128))[2][..., None].repeat(3, -1).astype(np.uint8),
    ):
        found = loaded.predict(loaded.variables, frames)
        reason = familiar.unrecognised(found.score, found.strange)
        assert reason in (familiar.NOBODY, familiar.UNLIKE)
