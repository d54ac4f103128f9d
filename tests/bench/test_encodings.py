"""Five encodings of the same drawn clips, and the spread of a probability over them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bodyjax.bench import encodings
from bodyjax.data.video.files import open_video
from bodyjax.errors import ConfigError
from bodyjax.simulate.clips import ClipSpec, classes

SPEC = ClipSpec(train=1, valid=1, test=2, size=(64, 48), length=(8, 9), fps=7.5)


def test_every_encoding_holds_the_clip_and_some_hold_it_better(tmp_path):
    clips = list(encodings.drawn(SPEC, "test", 2))
    assert [clip.label for clip in clips] == list(classes(SPEC)[:2])
    written = encodings.write(clips[0], tmp_path)
    assert list(written) == list(encodings.ENCODINGS)
    off = {}
    for name, path in written.items():
        frames = open_video(path).read(range(len(clips[0].frames)))
        assert frames.shape == clips[0].frames.shape
        off[name] = float(np.abs(frames.astype(int) - clips[0].frames).mean())
    assert off["H.264 crf 23"] < off["H.264 crf 35"] < 15
    assert off["MPEG-4 AVI"] < off["twice"] < 15


def test_the_spread_is_that_of_the_right_movement():
    labels = np.array([0, 1])
    steady = np.tile([[0.9, 0.1], [0.2, 0.8]], (5, 1, 1)).swapaxes(0, 1)
    shaky = steady.copy()
    shaky[0, 3] = [0.3, 0.7]
    found = encodings.report(shaky, labels)
    assert found["spread"] == pytest.approx(0.3)  # 0.6 and 0
    assert found["changed_answers"] == 1
    assert found["by_encoding"]["MPEG-4 AVI"]["accuracy"] == 0.5
    assert found["by_encoding"]["HEVC"] == {"probability": pytest.approx(0.85), "accuracy": 1.0}
    assert encodings.report(steady, labels)["spread"] == 0
    assert encodings.compare(shaky, steady, labels)["difference"] == pytest.approx(0.3)


def test_only_simulated_clips_can_be_drawn_again():
    config: Any = SimpleNamespace(data=SimpleNamespace(simulated={"test": 3}))
    assert encodings.spec_of(config, "simulated:commands").test == 3
    with pytest.raises(ConfigError, match="clips can't be drawn again"):
        encodings.spec_of(config, "clips")
    with pytest.raises(ConfigError, match="40 of 18 clips; from 1 to 18"):
        list(encodings.drawn(SPEC, "test", 40))
