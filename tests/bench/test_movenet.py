"""MoveNet's own decoding against a plain NumPy one on the published maps of one picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from bodyjax import published
from bodyjax.bench import movenet
from bodyjax.data import affine
from tests.shared import shared


def decoded(maps: dict[str, np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People of published maps (1, H, W, C), person by person and joint by joint."""
    heat, center = maps["heatmap_sigmoid"][0], maps["center_sigmoid"][0, ..., 0]
    rows, columns = np.mgrid[: heat.shape[0], : heat.shape[1]]
    highest = np.where(center == ndimage.maximum_filter(center, 5), center, 0)
    xy, score, person = np.zeros((count, 17, 2)), np.zeros((count, 17)), np.zeros(count)
    for p, index in enumerate(np.argsort(-highest.ravel(), kind="stable")[:count]):
        cell = np.array(divmod(int(index), heat.shape[1]))
        size = np.maximum(maps["box_scale"][0][tuple(cell)], 0)
        middle = cell + maps["box_offset"][0][tuple(cell)]
        low = np.maximum(middle - size / 2, 0)
        high = np.minimum(middle + size / 2, heat.shape[:2])
        inside = (rows >= low[0]) & (rows <= high[0]) & (columns >= low[1]) & (columns <= high[1])
        sigma = np.sqrt(0.30 * max((high - low).min(), 1e-3))
        for j, (y, x) in enumerate(maps["regress"][0][tuple(cell)].reshape(17, 2) + cell):
            near = np.exp(-0.5 * ((rows - y) ** 2 + (columns - x) ** 2) / sigma**2)
            best = np.where(inside, heat[..., j] * near, -1).argmax()
            at = np.unravel_index(best, inside.shape)
            place = 4 * (np.array(at) + maps["offset"][0][at].reshape(17, 2)[j])
            xy[p, j], score[p, j] = place[::-1] - 0.5, heat[..., j][at]
        person[p] = highest.ravel()[index] * score[p].mean()
    return xy, score, person


def test_people_of_the_published_maps():
    weights = shared("data/backbones/movenet_multipose.npz")
    golden = np.load(shared("data/backbones/movenet_multipose_golden.npz"))
    arrays = {name: jnp.asarray(value) for name, value in published.read(weights).items()}
    run = jax.jit(movenet.people, static_argnums=2)
    xy, score, person = jax.device_get(run(arrays, golden["image"], 6))
    expected = decoded(golden, 6)
    assert person[0] > 0.2
    np.testing.assert_allclose(person, expected[2], atol=1e-4)
    sure = expected[2] > 0.05  # elsewhere two cells may tie
    np.testing.assert_allclose(score[sure], expected[1][sure], atol=1e-3)
    np.testing.assert_allclose(xy[sure], expected[0][sure], atol=0.05)


@pytest.mark.parametrize("sides", [(383, 512), (512, 301), (100, 100)])
def test_pictures_lie_whole_in_the_middle(sides):
    matrix = movenet.fitted(sides, 256)
    height, width = sides
    corners = affine.move(np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]), matrix) + 0.5
    before, after = corners[0], 256 - corners[1]
    np.testing.assert_allclose(before % 1, 0, atol=1e-4)
    assert (np.abs(before - after) < 2).all()
    assert before.min() == pytest.approx(0, abs=1e-4)
    assert after.min() == pytest.approx(0, abs=1e-3)
