"""Grouping by centres, and its parts, against a plain NumPy reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax.detect import centers
from bodyjax.skeleton import BODY18, COCO17, COCO_SIGMAS, LSP14
from tests import centers_reference as reference
from tests.detect.center_scenes import (
    BATCH,
    LIMBS,
    SETTINGS,
    SHAPE,
    run,
    same,
)


@pytest.mark.parametrize("part", range(4))
def test_agrees_with_the_plain_reference_on_500_scenes(part):
    rng = np.random.default_rng(part)
    ties = compared = people = lone = filled = overflow = 0
    for _ in range(5):
        scenes = [reference.scene(rng, LIMBS, SHAPE) for _ in range(BATCH)]
        for scene, ours in zip(scenes, run(*scenes), strict=True):
            maps = scene.maps()
            theirs = reference.group(maps, LIMBS, COCO_SIGMAS, SETTINGS)
            if same(ours, theirs):
                compared += 1
                people += len(theirs.people)
                lone += sum(person.center == 0 for person in theirs.people)
                filled += sum(int((~person.found).sum()) for person in theirs.people)
                overflow += theirs.overflow > 0
                continue
            # A tie: the reference itself decides otherwise when its input changes by 1e-6.
            others = ([m * (1 + rng.normal(0, 1e-6, m.shape)) for m in maps] for _ in range(8))
            results = [reference.group(other, LIMBS, COCO_SIGMAS, SETTINGS) for other in others]
            unsure = any(not agreeing(theirs, other) for other in results)
            assert unsure, "the reference is sure, and differs"
            ties += 1
    assert compared + ties == 125
    assert ties <= 4
    assert min(people, filled) > 200, (people, filled)
    assert lone > 15
    assert overflow


def agreeing(one, other):
    """Whether two results of the reference are the same."""
    if (len(one.people), one.overflow) != (len(other.people), other.overflow):
        return False
    return all(
        (a.found == b.found).all() and abs(a.xy - b.xy).max() < 0.01
        for a, b in zip(one.people, other.people, strict=True)
    )


def noisy(rng, joints=17):
    heat = rng.random((*SHAPE, joints)) ** 4
    regress = rng.normal(0, 5, (*SHAPE, joints, 2))
    return heat.astype(np.float32), regress.astype(np.float32)


def test_find_centers_is_the_reference():
    rng = np.random.default_rng(10)
    find = jax.jit(lambda c, r: centers.find_centers(c, r, 12, 0.3))
    for trial in range(20):
        center = rng.random(SHAPE).astype(np.float32)
        if trial % 2:
            center = np.round(center * 4) / 4  # plateaus: the first in reading order
        _, regress = noisy(rng)
        ours, (theirs, overflow) = (
            find(center, regress),
            reference.find_centers(center, regress, 12, 0.3),
        )
        count = len(theirs)
        assert int(ours.overflow) == overflow
        assert count == 12 or not np.asarray(ours.score[count:]).any()
        for i, (score, pose, side) in enumerate(theirs):
            assert float(ours.score[i]) == score
            np.testing.assert_allclose(ours.pose[i], pose, atol=1e-4)
            np.testing.assert_allclose(ours.side[i], side, rtol=1e-5)


def test_more_slots_than_cells():
    found = centers.find_centers(jnp.ones((2, 3)), jnp.zeros((2, 3, 17, 2)), 9, 0.5)
    assert found.score.tolist() == [1.0] + [0.0] * 8
    assert found.pose.shape == (9, 17, 2)
    assert found.side.tolist() == [2.0] * 9
    assert int(found.overflow) == 0


def peaks_and_middles(rng, joints=17, middles=5, peaks=6):
    """The same for both: cells (J, K, 2), score (J, K) with the last ones absent, Centers."""
    cells = rng.uniform(0, 24, (joints, peaks, 2)).astype(np.float32)
    score = rng.uniform(0.1, 1, (joints, peaks)) * (rng.random((joints, 1)) * 8 > np.arange(peaks))
    pose = rng.uniform(0, 24, (middles, joints, 2)).astype(np.float32)
    there = np.where(np.arange(middles) < middles - 1, 0.5, 0.0)
    side = rng.uniform(5, 30, middles).astype(np.float32)
    return cells, score.astype(np.float32), centers.Centers(there, pose, side, np.int32(0))


def reference_fit(cells, score, middles, reach):
    """The reference's agreement as a table (J, C, K)."""
    joints, slots = score.shape
    every = [[(score[j, k], *cells[j, k]) for k in range(slots)] for j in range(joints)]
    known = [
        (float(s), pose, float(side))
        for s, pose, side in zip(middles.score, middles.pose, middles.side, strict=True)
    ]
    fit = np.stack(reference.agreement(known, every, reach))
    return fit * (score > 0)[:, None] * (np.asarray(middles.score) > 0)[None, :, None]


def test_agreement_and_supported_are_the_reference():
    rng = np.random.default_rng(11)
    limbs = np.array(LIMBS)
    for _ in range(5):
        cells, score, middles = peaks_and_middles(rng)
        ours = centers.agreement(middles, cells, score, 0.3)
        fit = reference_fit(cells, score, middles, 0.3)
        np.testing.assert_allclose(ours, fit, atol=1e-5)
        assert 0 < np.count_nonzero(fit) < fit.size
        link = rng.uniform(-0.5, 1.5, (len(limbs), 6, 6)) * (rng.random((len(limbs), 6, 6)) > 0.5)
        theirs = np.stack(reference.supported(list(fit), list(link), LIMBS, 0.4))
        np.testing.assert_allclose(
            centers.supported(ours, link.astype(np.float32), limbs, 0.4), theirs, atol=1e-5
        )


def test_ownership_is_the_reference_and_sums_to_one():
    rng = np.random.default_rng(13)
    for _ in range(5):
        cells, score, middles = peaks_and_middles(rng)
        ours = np.asarray(centers.ownership(middles, cells, 0.2))
        known = np.asarray(middles.score) > 0
        some = [
            (float(s), pose, float(side))
            for s, pose, side in zip(middles.score, middles.pose, middles.side, strict=True)
            if s > 0
        ]
        joints, slots = score.shape
        every = [[(score[j, k], *cells[j, k]) for k in range(slots)] for j in range(joints)]
        theirs = np.stack(reference.ownership(some, every, 0.2))
        np.testing.assert_allclose(ours[:, known], theirs, atol=1e-5)
        np.testing.assert_allclose(ours[:, known].sum(1), 1, atol=1e-5)


ONE = np.ones(1, bool)


def test_places_are_the_reference():
    rng = np.random.default_rng(12)
    heat, _ = noisy(rng)
    pose = rng.uniform(-4, 28, (7, 17, 2)).astype(np.float32)
    side = rng.uniform(4, 30, 7).astype(np.float32)
    there = np.arange(7) != 4
    x, y, value = jax.jit(lambda *a: centers.places(*a, 0.25))(heat, pose, side, there)
    assert not np.any(x[4])
    assert not np.any(y[4])
    for p, j in np.ndindex(7, 17):
        if not there[p]:
            continue
        expected = reference.place(heat[..., j], pose[p, j], side[p], 0.25)
        assert (int(x[p, j]), int(y[p, j])) == expected
        assert float(value[p, j]) == heat[expected[1], expected[0], j]


def test_places_stay_near_the_regressed_joint_on_a_map_without_values():
    pose = np.full((1, 3, 2), (5.3, 17.8), np.float32)
    for map_ in (np.zeros((*SHAPE, 3)), np.full((*SHAPE, 3), -0.1)):
        x, y, _ = centers.places(jnp.asarray(map_, jnp.float32), pose, np.array([3.0]), ONE, 0.25)
        np.testing.assert_array_equal(x, 5)
        np.testing.assert_array_equal(y, 18)
    outside = np.full((1, 3, 2), (-60.0, 90.0), np.float32)
    heat = np.zeros((*SHAPE, 3), np.float32) + 0.5
    x, y, value = centers.places(heat, outside, np.array([2.0]), ONE, 0.25)
    assert (int(x[0, 0]), int(y[0, 0])) == (0, 23)
    assert float(value[0, 0]) == 0.5


def test_alike_is_oks():
    rng = np.random.default_rng(13)
    xy = rng.uniform(0, 20, (5, 17, 2))
    xy[1] = xy[0] + rng.normal(0, 0.3, (17, 2))
    table = np.asarray(centers.alike(jnp.asarray(xy, jnp.float32), COCO17))
    for a, b in np.ndindex(5, 5):
        np.testing.assert_allclose(table[a, b], reference.oks(xy[a], xy[b], COCO_SIGMAS), atol=1e-5)
    assert table[0, 1] > 0.5 > table[0, 2]


def test_sigmas_of_joints_are_cocos_by_name():
    assert tuple(centers.joint_sigmas(COCO17)) == tuple(np.float32(COCO_SIGMAS))
    for skeleton in (BODY18, LSP14):
        sigmas = centers.joint_sigmas(skeleton)
        for j, joint in enumerate(skeleton.joints):
            known = joint in COCO17.joints
            expected = COCO_SIGMAS[COCO17.index(joint)] if known else 0.079
            assert sigmas[j] == np.float32(expected), joint
