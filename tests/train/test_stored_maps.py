"""Stored heat maps: made by several processes or threads at once, of regions, of copies."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import codec
from bodyjax.data.affine import compose, fit, scale_of, warp
from bodyjax.data.augment import augment_clip
from bodyjax.data.clips import stored
from bodyjax.data.clips.body_region import simulated_map
from bodyjax.data.clips.feed import with_copies
from bodyjax.data.clips.folder import clips, read_frames, sample
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
    copy = stored_maps.original((32, 48))

    def save_together(*arguments):
        save(*arguments)
        both.wait(60)  # neither has its file renamed before both are written

    monkeypatch.setattr(np, "save", save_together)
    file = tmp_path / "maps" / "one.npy"
    file.parent.mkdir()
    with ThreadPoolExecutor(2) as pool:
        made = [
            pool.submit(stored_maps.make, source, network, {}, shape, [file], [0], copy)
            for _ in (1, 2)
        ]
        assert [one.result() for one in made] == [None, None]
    assert list(file.parent.iterdir()) == [file]
    assert stored.whole(file, shape)
    brightness = read_frames(source[0], np.arange(4)).mean(-1) / 255
    np.testing.assert_allclose(np.load(file)[..., 0] / 255, brightness, atol=0.005)


def test_the_region_of_a_body_where_no_joints_are_known(tmp_path, monkeypatch):
    monkeypatch.setenv("BODYJAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "clips" / "wave").mkdir(parents=True)
    frames = np.zeros((6, 64, 96, 3), np.uint8)
    for t in range(6):
        frames[t, 20:28, 10 + 8 * t : 18 + 8 * t] = 255  # from x 10 to 57, y 20 to 27
    write_video(tmp_path / "clips" / "wave" / "one.mp4", frames, 10)
    write_video(tmp_path / "clips" / "wave" / "two.mp4", 0 * frames, 10)
    source = clips(tmp_path / "clips", "all")
    network: Any = SimpleNamespace(  # gives brightness for heat maps
        settings=SimpleNamespace(size=(32, 48), threshold=0.5),
        looker=SimpleNamespace(model=SimpleNamespace(stride=1)),
        heatmaps=lambda v, x: jnp.repeat(x.mean(-1, keepdims=True) / 255, 18, -1),
        joints=lambda maps: codec.decode(maps, 1, None),
    )
    one, two = stored_maps.regions(source, network, {}, 6)
    # Peaks are single cells of a square of 8: the box lies in the squares, and spans their path.
    assert 10 <= one[0] + 3 <= 18
    assert 50 <= one[2] <= 61
    assert 17 <= one[1] <= one[3] <= 31
    assert np.isnan(two).all()
    copies = with_copies(source, lambda clips: np.stack([one, two]))
    assert len(copies) == 4
    np.testing.assert_array_equal(copies[2]["region"], one)
    example = {**sample(copies[2], 2, "middle"), "frames": frames[:2]}
    drawn = [
        augment_clip(example, (64, 96), np.random.default_rng(seed), rotation=0, flip=0,
                     scale=(1, 1), shift=0)["matrix"]
        for seed in range(5)
    ]  # fmt: skip
    assert all(scale_of(matrix) > 1.5 for matrix in drawn)  # zoomed, not made smaller


def test_a_simulated_copy_shows_the_body_as_its_map_says(tmp_path, monkeypatch):
    monkeypatch.setenv("BODYJAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "clips" / "wave").mkdir(parents=True)
    frames = np.full((6, 64, 96, 3), 60, np.uint8)
    for t in range(6):
        frames[t, 20:28, 10 + 4 * t : 18 + 4 * t] = 200
    write_video(tmp_path / "clips" / "wave" / "one.mp4", frames, 10)
    write_video(tmp_path / "clips" / "wave" / "two.mp4", np.full_like(frames, 60), 10)
    source, seen = clips(tmp_path / "clips", "all"), []

    def heatmaps(_, x):  # brightness, so the square is the body; new pixels show too
        return jnp.clip(jnp.repeat(x.mean(-1, keepdims=True) / 255, 18, -1), 0, 1)

    network: Any = SimpleNamespace(
        settings=SimpleNamespace(size=(32, 48), threshold=0.5),
        looker=SimpleNamespace(model=SimpleNamespace(stride=1)),
        heatmaps=heatmaps,
        joints=lambda maps: codec.decode(maps, 1, None),
    )
    plain = stored_maps.ensure(source, network, {}, 6)
    (made,) = stored_maps.copies(source, network, {}, 6, simulated=True)
    boxes = stored_maps.regions(source, network, {}, 6)
    for row, body in ((0, boxes[0]), (1, None)):  # nobody is found in the second clip
        rng = stored_maps.generator(source, row, 0)
        change = simulated_map(body, (64, 96), rng)
        assert (scale_of(change) > 1) == (body is not None)
        fill = int(rng.choice([0, 255]))
        matrix = compose(fit((64, 96), (32, 48)), change)
        for frame, held in zip(read_frames(source[row], np.arange(6)), made.maps[row], strict=True):
            expected = warp(frame, matrix, (32, 48), fill=fill).mean(-1)
            np.testing.assert_allclose(held[..., 0], expected, atol=0.51)
    both = stored_maps.joined([plain, made])
    assert both.names == source.names * 2
    assert both.labels.tolist() == [0] * 4
    np.testing.assert_array_equal(both.maps[:2], plain.maps)
    np.testing.assert_array_equal(both.maps[2:], made.maps)
    assert len({plain.fingerprint, made.fingerprint, both.fingerprint}) == 3
    monkeypatch.setattr(stored_maps, "make", seen.append)  # nothing is made a second time
    (again,) = stored_maps.copies(source, network, {}, 6, simulated=True)
    np.testing.assert_array_equal(again.maps, made.maps)


@pytest.mark.parametrize("size", [(32, 48), (64, 96)])  # smaller than what the model sees, larger
def test_worn_copies_follow_the_clips(tmp_path, monkeypatch, size):
    monkeypatch.setenv("BODYJAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "clips" / "wave").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        frames = rng.integers(0, 255, (4, size[0] // 8, size[1] // 8, 3)).repeat(8, 1).repeat(8, 2)
        write_video(tmp_path / "clips" / "wave" / f"{name}.mp4", frames.astype(np.uint8), 10)
    source = clips(tmp_path / "clips", "all")
    network: Any = SimpleNamespace(  # gives brightness for heat maps
        settings=SimpleNamespace(size=(48, 64)),
        looker=SimpleNamespace(model=SimpleNamespace(stride=1)),
        heatmaps=lambda v, x: jnp.repeat(x.mean(-1, keepdims=True) / 255, 18, -1),
    )

    def with_worn(count):
        plain = stored_maps.ensure(source, network, {}, 4)
        copies = stored_maps.copies(source, network, {}, 4, worn=count)
        return stored_maps.joined([plain, *copies])

    made = with_worn(2)
    assert len(made) == len(made.maps) == 6
    assert made.names == source.names * 3
    first, second = (made.maps[2 * k : 2 * k + 2].astype(int) for k in (1, 2))
    plain = made.maps[:2].astype(int)
    np.testing.assert_array_equal(plain, stored_maps.ensure(source, network, {}, 4).maps)
    for one, other in ((first, plain), (second, plain), (first, second)):
        assert 0.3 < np.abs(one - other).mean() < 30
        for row in range(2):  # each copy is of its own clip
            assert np.abs(one[row] - other[row]).mean() < np.abs(one[row] - other[1 - row]).mean()
    again = with_worn(2)
    assert again.fingerprint == made.fingerprint
    assert again.fingerprint != with_worn(1).fingerprint
    np.testing.assert_array_equal(again.maps, made.maps)
