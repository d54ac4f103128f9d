"""Stored heat maps that several processes or threads make at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np

from bodyjax.data.clips import stored
from bodyjax.data.clips.folder import clips, read_frames
from bodyjax.data.video.files import write_video
from bodyjax.train import stored_maps


def test_the_same_maps_made_twice_at_once(tmp_path, monkeypatch):
    (tmp_path / "clips" / "wave").mkdir(parents=True)
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 48, 3)).astype(np.uint8)
    write_video(tmp_path / "clips" / "wave" / "one.mp4", frames, 10)
    source = clips(tmp_path / "clips", "all")
    network: Any = SimpleNamespace(  # gives brightness for heat maps
        settings=SimpleNamespace(size=(32, 48)),
        heatmaps=lambda v, x: jnp.repeat(x.mean(-1, keepdims=True) / 255, 18, -1),
    )
    shape, both, save = (4, 32, 48, 18), threading.Barrier(2), np.save

    def save_together(*arguments):
        save(*arguments)
        both.wait(60)  # neither has its file renamed before both are written

    monkeypatch.setattr(np, "save", save_together)
    file = tmp_path / "maps" / "one.npy"
    file.parent.mkdir()
    with ThreadPoolExecutor(2) as pool:
        made = [
            pool.submit(stored_maps.make, source, network, {}, shape, [file], [0]) for _ in (1, 2)
        ]
        assert [one.result() for one in made] == [None, None]
    assert list(file.parent.iterdir()) == [file]
    assert stored.whole(file, shape)
    brightness = read_frames(source[0], np.arange(4)).mean(-1) / 255
    np.testing.assert_allclose(np.load(file)[..., 0] / 255, brightness, atol=0.005)
