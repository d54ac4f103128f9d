"""Clips as sequences: filled in time, resampled, cut in windows, changed at random."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from bodyjax.data.folds import TEST
from bodyjax.data.sequences import source
from bodyjax.errors import ConfigError, DataError


def test_fill_in_time():
    nan = np.nan
    x = np.array([[nan, nan, 1], [2, nan, 1], [nan, nan, 1], [6, nan, 1], [nan, nan, 1]], float)
    joints = np.stack([x, 10 * x], axis=-1)
    filled, visible = source.fill_in_time(joints)
    np.testing.assert_allclose(filled[:, 0, 0], [2, 2, 4, 6, 6])
    np.testing.assert_allclose(filled[:, 0, 1], [20, 20, 40, 60, 60])
    assert visible[:, 0].tolist() == [1, 2, 1, 2, 1]
    assert not visible[:, 1].any()
    assert not filled[:, 1].any()
    assert (visible[:, 2] == 2).all()


def test_resampling_keeps_first_and_last_and_natops_at_its_own_length(loaded):
    clips = loaded("natops")
    data = source.resampled(clips, 51)
    np.testing.assert_allclose(data.joints.reshape(-1, 8, 3), clips.joints, atol=1e-6)
    short = source.resampled(loaded("ui_prmd"), 7)
    places, _ = loaded("ui_prmd").frames(11)
    np.testing.assert_allclose(short.joints[11, [0, -1]], places[[0, -1]], atol=1e-4)


def test_windows_are_ten_frames_at_about_five_a_second(loaded):
    clips = loaded("pushfit")
    data = source.windows(clips, 10, rate=5.0)
    assert data.joints.shape[1] == 10
    assert set(data.clip) == set(range(209))
    for i in (0, 7, 100):
        mine = np.flatnonzero(data.clip == i)
        stride = round(float(clips.fps[i]) / 5)
        places, _ = clips.frames(i)
        filled, _ = source.fill_in_time(places)
        taken = filled[::stride]
        if len(taken) < 10:
            assert len(mine) == 1
            np.testing.assert_allclose(data.joints[mine[0], [0, -1]], filled[[0, -1]], atol=1e-4)
            continue
        np.testing.assert_allclose(data.joints[mine[0]], taken[:10], atol=1e-4)
        np.testing.assert_allclose(data.joints[mine[-1]], taken[-10:], atol=1e-4)
    assert (data.groups == clips.groups[data.clip]).all()


def test_rows_and_fingerprints(loaded):
    data = source.resampled(loaded("natops"), 10)
    half = data.rows(data.splits["official"] == TEST)
    assert len(half) == 180
    np.testing.assert_array_equal(half.joints, data.joints[180:])
    again = source.resampled(loaded("natops"), 10)
    assert again.fingerprint == data.fingerprint != half.fingerprint
    for name, changed in {
        "groups": np.arange(len(data)),
        "size": data.size + 1,
        "splits": {"official": np.ones(len(data), np.int8)},
    }.items():
        other = dataclasses.replace(data, **{name: changed}, fingerprint="")
        assert other.fingerprint != data.fingerprint, name
    assert source.resampled(loaded("natops"), 11).fingerprint != data.fingerprint
    with pytest.raises(DataError, match="no sequence is left"):
        data.rows(np.zeros(len(data), bool))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "data.steps: 0 should be a whole number from 1 on"),
        ({"window": -1}, "data.window: -1 should be"),
        ({"window": "ten"}, "data.window: 'ten' is not of type int"),
        ({"batch": 0}, "data.batch: 0 should be"),
        ({"stpes": 4}, "data.stpes: there is no such field; did you mean steps"),
        ({"window": 10, "hop": 0}, "data.hop: 0 should be"),
        ({"rate": 0.0}, "data.rate: 0.0 should be above 0"),
    ],
)
def test_numbers_that_cut_no_clips_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        source.from_config({"kind": "exercises", "train": 1, "test": 1, "steps": 8, **change})


def test_a_field_of_none_is_as_if_it_was_not_there():
    short = {"kind": "exercises", "train": 1, "test": 1, "steps": 8}
    later = {"window": None, "joints": None, "scatter": None}
    one, two = (source.from_config(section) for section in (short, {**short, **later}))
    assert one.fingerprint == two.fingerprint


def test_reading_imports_no_jax():
    code = (
        "import sys, bodyjax.data.sequences.source, bodyjax.data.folds; print('jax' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
