"""launch.prepare: a folder of clips becomes a set that reads back the same clips."""

import numpy as np
import pytest

from bodyjax.data import prepared
from bodyjax.data.clips import clips
from bodyjax.data.video import write_video
from bodyjax.errors import DataError
from launch import prepare


def test_clips_become_a_set(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "mine" / part / label
            folder.mkdir(parents=True)
            frames = rng.integers(0, 255, (6, 32, 48, 3)).astype(np.uint8)
            write_video(folder / "one.mp4", frames, 10)
    arguments = ["--source", str(tmp_path / "mine"), "--out", str(tmp_path / "out")]
    assert prepare.main(arguments) == 0
    assert "train 2, test 2" in capsys.readouterr().out
    stored = prepared.Prepared(tmp_path / "out" / "mine" / "1.0.0", "test")
    original = clips(tmp_path / "mine", "test")
    assert sorted(stored.labels) == sorted(original.labels)
    with pytest.raises(DataError, match="there already"):
        prepare.main(arguments)


def test_nothing_to_prepare_is_one_line(tmp_path):
    with pytest.raises(DataError, match="no set of a known layout"):
        prepare.main(["--source", str(tmp_path), "--out", str(tmp_path / "out")])
