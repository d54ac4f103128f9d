"""The page finds people where Python finds them: decode.mjs against detect.by_centers."""

import jax
import numpy as np
import pytest

from bodyjax.data import affine
from bodyjax.detect import by_centers
from bodyjax.detect.centers import joint_sigmas
from bodyjax.skeleton import COCO17
from tests.demo import node
from tests.detect.test_by_centers import STRIDE, scene

SETTINGS = by_centers.Settings(max_people=4, center_threshold=0.3)
DECODE = """
    const { people } = await import(`${page}/decode.mjs`);
    return given.scenes.map((maps) => people(maps, ...given.cells, given.pose));
"""


@pytest.fixture(scope="module")
def python():
    return jax.jit(lambda *maps: by_centers.people(*maps, COCO17, stride=STRIDE, settings=SETTINGS))


def spec():
    """What the page must know of such a network."""
    return {
        "joints": COCO17.joints, "stride": STRIDE,
        "sigmas": joint_sigmas(COCO17).tolist(), "settings": SETTINGS._asdict(),
    }  # fmt: skip


def disturbed(number):
    """Two people, far apart, near each other or at one place, with noise on all maps."""
    rng = np.random.default_rng(number)
    apart = (11, 4, 0.2)[number % 3]
    maps, _ = scene((6, 12), (6 + apart, 13), size=rng.uniform(10, 15))
    heat, center, regress, offset = maps
    heat, center = (part + rng.uniform(0, 0.2, part.shape) for part in (heat, center))
    regress, offset = (part + rng.normal(0, 0.8, part.shape) for part in (regress, offset))
    return [part.astype(np.float32) for part in (heat, center, regress, offset)]


def test_people_are_pythons_within_half_a_pixel(python, tmp_path):
    scenes = [disturbed(number) for number in range(8)]
    names = ("heatmaps", "center", "regress", "offset")
    flat = [
        {name: part.ravel().tolist() for name, part in zip(names, maps, strict=True)}
        for maps in scenes
    ]
    given = {"scenes": flat, "cells": scenes[0][1].shape, "pose": spec()}
    found = node.run(DECODE, given, tmp_path)
    counts = []
    for maps, page in zip(scenes, found, strict=True):
        ours = jax.device_get(python(*maps))
        assert len(page) == ours.there.sum()
        counts.append(len(page))
        for row, person in enumerate(page):
            np.testing.assert_allclose(person["xy"], ours.xy[row], atol=0.5)
            np.testing.assert_allclose(person["score"], ours.score[row], atol=1e-5)
            assert person["center"] == pytest.approx(ours.center[row], abs=1e-5)
    assert len(set(counts)) > 1  # scenes differ in how many people they hold


def test_a_picture_fits_the_canvas_as_in_python(tmp_path):
    sizes = [(1, 1), (640, 480), (480, 640), (1920, 1080), (7, 1001)]
    found = node.run(
        """
        const { fit, toPicture } = await import(`${page}/canvas.mjs`);
        return given.map(([width, height]) => {
          const map = fit(width, height, 192);
          return [[map.scale, map.x, map.y], toPicture(map, 17, 120.5)];
        });
        """,
        sizes,
        tmp_path,
    )
    for (width, height), (row, back) in zip(sizes, found, strict=True):
        matrix = affine.fit((height, width), (192, 192))
        np.testing.assert_allclose(row, matrix[[0, 0, 1], [0, 2, 2]], atol=1e-9)
        expected = affine.move(np.array([17, 120.5]), affine.inverse(matrix))
        np.testing.assert_allclose(back, expected, rtol=1e-5, atol=1e-4)


def test_pixels_are_rgb_without_alpha(tmp_path):
    script = """
        const { rgb } = await import(`${page}/canvas.mjs`);
        return [...rgb(Uint8ClampedArray.from(given), new Float32Array(6))];
    """
    assert node.run(script, [1, 2, 3, 255, 4, 5, 6, 255], tmp_path) == [1, 2, 3, 4, 5, 6]
