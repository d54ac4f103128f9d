"""Grouping by centres against a plain NumPy reference, and on its own properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from bodyjax import grouping
from bodyjax.detect import centers
from bodyjax.errors import ConfigError
from bodyjax.skeleton import BODY18, COCO17, COCO_SIGMAS, LSP14
from tests import centers_reference as reference

SHAPE, STRIDE, BATCH = (24, 24), 4, 25
SETTINGS = centers.Settings(max_people=6, max_peaks=8)
LIMBS = list(COCO17.limbs)


def group(*maps):
    return centers.group(*maps, COCO17, stride=STRIDE, settings=SETTINGS)


MAPPED = jax.jit(jax.vmap(group))


def run(*scenes):
    """People of up to BATCH scenes, all by the same compiled program."""
    parts = [np.stack(part) for part in zip(*(one.maps() for one in scenes), strict=True)]
    empty = BATCH - len(scenes)
    parts = [np.pad(part, [(0, empty)] + [(0, 0)] * (part.ndim - 1)) for part in parts]
    people = jax.device_get(MAPPED(*parts))
    return [centers.Bodies(*(leaf[i] for leaf in people)) for i in range(len(scenes))]


def drawn(xy, visible=None, **options):
    xy = np.asarray(xy, float)
    visible = np.ones(xy.shape[:2], bool) if visible is None else visible
    return reference.draw(xy, visible, LIMBS, SHAPE, **options)


def standing(*middles, size=14.0):
    """Upright people about these places, in cells: (P, 17, 2)."""
    return np.stack([reference.FIGURE * size + (x, y - 0.3 * size) for x, y in middles])


def pixels(cells):
    return STRIDE * np.asarray(cells) + (STRIDE - 1) / 2


def same(ours, theirs):
    """Whether Bodies hold the reference's people: the same ones in the same order."""
    if int(ours.there.sum()) != len(theirs.people) or int(ours.overflow) != theirs.overflow:
        return False
    for i, person in enumerate(theirs.people):
        agree = (
            ours.there[i]
            and (ours.found[i] == person.found).all()
            and abs(ours.xy[i] - pixels(person.xy)).max() < 0.05
            and abs(ours.score[i] - person.score).max() < 1e-4
            and abs(ours.center[i] - person.center) < 1e-4
        )
        if not agree:
            return False
    return True


# ---- the plain reference


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


# ---- properties


def test_people_apart_come_back_exactly():
    rng = np.random.default_rng(20)
    scenes = []
    for _ in range(10):
        xy = standing((6, 9), (17, 11)) + rng.normal(0, 0.1, (2, 17, 2))
        scenes.append(drawn(xy + rng.uniform(-0.5, 0.5, (2, 1, 2))))
    for scene, ours in zip(scenes, run(*scenes), strict=True):
        assert int(ours.there.sum()) == 2
        assert ours.found[:2].all()
        assert int(ours.overflow) == 0
        order = np.argsort(ours.xy[:2, 0, 0])
        # The parabola through logarithms is exact for a Gaussian.
        assert abs(ours.xy[:2][order] - pixels(scene.xy)).max() < 0.02


def broken(scene, joints):
    """The scene without the fields of limbs that lead from these joints to others."""
    scene.pafs = scene.pafs.copy()
    for limb, (a, b) in enumerate(LIMBS):
        if (a in joints) != (b in joints):
            scene.pafs[..., 2 * limb : 2 * limb + 2] = 0
    return scene


LEGS = {COCO17.index(f"{side}_{part}") for side in ("left", "right") for part in ("knee", "ankle")}
LOWER = LEGS | {COCO17.index("left_hip"), COCO17.index("right_hip")}


def test_a_body_in_pieces_with_one_centre_is_one_person():
    (ours,) = run(broken(drawn(standing((12, 12))), LOWER))
    assert int(ours.there.sum()) == 1
    assert ours.found[0].all()
    assert float(ours.center[0]) > 0.8
    # By fields alone only the upper body is joined. The legs, a body of their own, are filled with
    # the same upper body, and dropped as a duplicate.
    scene = broken(drawn(standing((12, 12)), centred=np.array([False])), LOWER)
    (ours,) = run(scene)
    assert int(ours.there.sum()) == 1
    assert set(np.flatnonzero(~ours.found[0])) == LOWER
    assert not ours.center.any()


def test_a_joint_that_regression_misses_comes_by_its_field():
    xy = standing((12, 12))
    wrist = COCO17.index("left_wrist")
    scene = drawn(xy)
    scene.regress[..., wrist, :] += (-9, 6)
    (ours,) = run(scene)
    assert ours.found[0].all()
    np.testing.assert_allclose(ours.xy[0, wrist], pixels(xy[0, wrist]), atol=0.05)


def test_two_centres_keep_two_people_whose_fields_touch():
    """Both share the field between one's shoulder and the other's elbow: their arms are joined."""
    xy = standing((8.5, 12), (15.5, 12))
    shoulder, elbow = COCO17.index("left_shoulder"), COCO17.index("left_elbow")
    crossed = xy.copy()
    crossed[0, elbow], crossed[1, elbow] = xy[1, elbow], xy[0, elbow]
    scene, wrong = drawn(xy), drawn(crossed)
    limb = next(n for n, pair in enumerate(LIMBS) if set(pair) == {shoulder, elbow})
    channels = slice(2 * limb, 2 * limb + 2)
    scene.pafs[..., channels] = 2 * wrong.pafs[..., channels]
    (ours,) = run(scene)
    assert int(ours.there.sum()) == 2
    order = np.argsort(ours.xy[:2, 0, 0])
    assert ours.found[:2].all()
    assert abs(ours.xy[:2][order] - pixels(xy)).max() < 0.1


def test_a_person_without_a_peak_is_filled_by_regression_and_offset():
    """A joint below the threshold of peaks: its best cell near the regressed place, and offset."""
    xy = standing((12, 12))
    knee = COCO17.index("right_knee")
    scene = drawn(xy)
    scene.heatmaps[..., knee] *= 0.08
    (ours,) = run(scene)
    assert not ours.found[0, knee]
    assert np.delete(ours.found[0], knee).all()
    np.testing.assert_allclose(ours.xy[0, knee], pixels(xy[0, knee]), atol=0.01)
    assert 0.05 < ours.score[0, knee] < 0.08


def test_duplicates_are_dropped():
    """A second, weaker centre of the same person, too far for the window of maxima: nothing is left
    for it but what the first one has."""
    scene = drawn(standing((12, 12)))
    x, y = (int(v) for v in scene.middle[0])
    here, there = (y, x), (y + 4, x)
    regress = scene.regress[here] - (0, 4)
    scene.center[:] = 0
    scene.center[here], scene.center[there] = 0.9, 0.4
    scene.regress[there] = regress
    (ours,) = run(scene)
    assert int(ours.there.sum()) == 1
    assert float(ours.center[0]) == pytest.approx(0.9)
    assert int(ours.overflow) == 0


def test_overflow_is_counted():
    """16 middles with poses apart, 8 slots for centres, 6 for people."""
    empty = drawn(np.zeros((0, 17, 2)))
    empty.regress[:] = standing((0, 4), size=3.0)[0]
    empty.center[3::6, 3::6] = np.linspace(0.5, 0.9, 16).reshape(4, 4)
    (ours,) = run(empty)
    assert int(ours.there.sum()) == 6
    assert int(ours.overflow) == 8 + 2
    np.testing.assert_allclose(ours.center, np.linspace(0.5, 0.9, 16)[::-1][:6], rtol=1e-5)


def test_people_beyond_twice_the_slots_are_counted_too():
    empty = drawn(np.zeros((0, 17, 2)))
    empty.regress[:] = standing((0, 4), size=3.0)[0]
    empty.center[3::6, 3::6] = np.linspace(0.5, 0.9, 16).reshape(4, 4)
    few = centers.Settings(max_people=2, max_peaks=16)
    ours = jax.jit(lambda *maps: centers.group(*maps, COCO17, stride=STRIDE, settings=few))(
        *empty.maps()
    )
    assert ours.there.tolist() == [True, True]
    assert int(ours.overflow) == 14


def test_empty_maps_have_nobody():
    empty = drawn(np.zeros((0, 17, 2)))
    full, nothing = drawn(np.zeros((0, 17, 2))), drawn(np.zeros((0, 17, 2)))
    for part in ("heatmaps", "pafs", "center", "regress", "offset"):
        setattr(nothing, part, np.full_like(getattr(nothing, part), np.nan))
        if part not in ("center", "heatmaps"):
            setattr(full, part, np.full_like(getattr(full, part), np.nan))
    for ours in run(empty, nothing, full):
        assert not ours.there.any()
        assert int(ours.overflow) == 0
        for leaf in (ours.xy, ours.score, ours.center):
            assert not leaf.any()  # also: no NaN
        assert not ours.found.any()


def test_equal_scores_are_decided_by_the_order_of_cells():
    """A symmetric picture: two people, the same to the last bit, and a middle on two cells."""
    scene = drawn(standing((6, 12), (17, 12)))
    scene.heatmaps[:, 12:] = scene.heatmaps[:, 1:13]
    scene.pafs[:, 12:] = scene.pafs[:, 1:13]
    scene.center[:], scene.regress[:] = 0, 0
    y = 10
    pose = standing((6, 12))[0]
    for x in (6, 7, 17, 18):
        scene.center[y, x] = 0.5
        scene.regress[y, x] = pose + ((0, 0) if x < 12 else (11, 0)) - (x, y)
    results = run(scene, scene)
    for ours in results:
        assert int(ours.there.sum()) == 2
        assert ours.found[:2].all()
        assert (ours.xy[0, :, 0] < ours.xy[1, :, 0]).all()
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_jit_vmap_and_export_are_the_same():
    rng = np.random.default_rng(30)
    scenes = [reference.scene(rng, LIMBS, SHAPE) for _ in range(4)]
    single = jax.jit(group)
    program = export.export(single, platforms=["cpu", "cuda", "tpu"])(*scenes[0].maps())
    loaded = export.deserialize(program.serialize())
    for scene, mapped in zip(scenes, run(*scenes), strict=True):
        one, again = single(*scene.maps()), loaded.call(*scene.maps())
        assert isinstance(again, centers.Bodies)
        for name in centers.Bodies._fields:
            np.testing.assert_array_equal(getattr(one, name), getattr(again, name), name)
            np.testing.assert_allclose(
                getattr(one, name), getattr(mapped, name), atol=1e-4, err_msg=name
            )


def test_gradients_of_places_to_maps_are_finite():
    def total(maps):
        people = group(*maps)
        return jnp.sum(jnp.where(people.there[:, None, None], people.xy, 0.0)) + people.score.sum()

    grad = jax.jit(jax.grad(total))
    empty = drawn(np.zeros((0, 17, 2)))
    scene = reference.scene(np.random.default_rng(31), LIMBS, SHAPE)
    for one in (empty, drawn(standing((12, 12))), scene):
        maps = tuple(jnp.asarray(part) for part in one.maps())
        for leaf in grad(maps):
            assert np.isfinite(leaf).all()
    heat = grad(tuple(map(jnp.asarray, drawn(standing((12, 12))).maps())))[0]
    assert np.asarray(heat).any()


def test_background_and_half_precision_change_little():
    scene = drawn(standing((6, 9), (17, 11)))
    (expected,) = run(scene)
    heat, *rest = (jnp.asarray(part, jnp.bfloat16) for part in scene.maps())
    heat = jnp.concatenate([heat, 1 - heat.max(-1, keepdims=True)], -1)
    ours = jax.jit(group)(heat, *rest)
    assert ours.xy.dtype == jnp.float32
    np.testing.assert_array_equal(ours.found, expected.found)
    assert abs(np.asarray(ours.xy) - expected.xy).max() < 0.5


def test_maps_of_another_skeleton_are_an_error():
    maps = list(drawn(np.zeros((0, 17, 2))).maps())
    for part, wrong in ((0, maps[0][..., :9]), (1, maps[1][..., :4]), (3, maps[3][..., :5, :])):
        other = [*maps[:part], wrong, *maps[part + 1 :]]
        with pytest.raises(ConfigError) as caught:
            group(*other)
        assert "\n" not in str(caught.value)


def test_peaks_are_those_of_grouping():
    """Where no centre is, bodies are what grouping by fields finds."""
    rng = np.random.default_rng(33)
    scene = reference.scene(rng, LIMBS, SHAPE)
    scene.center[:] = 0
    (ours,) = run(scene)

    @jax.jit
    def by_fields(heatmaps, pafs):
        return grouping.group(
            heatmaps, pafs, COCO17, stride=STRIDE, max_people=6, max_peaks=8, min_paf=0.15,
            min_parts=5, min_score=0.0,
        )  # fmt: skip

    people = by_fields(*scene.maps()[:2])
    assert int(people.count) >= int(ours.there.sum()) > 0
    bodies = [np.asarray(score) > 0 for score in people.score]
    for found in ours.found[ours.there]:
        assert any((found == body).all() for body in bodies)


def test_whoever_is_dropped_drops_nobody():
    """The second is the first, the third is the second but not the first."""
    same = jnp.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)
    everybody = jnp.ones(3, bool)
    for order, kept in (([0, 1, 2], [0, 2]), ([1, 0, 2], [1]), ([2, 1, 0], [0, 2])):
        there = centers.distinct(same, everybody, jnp.array(order))
        assert np.flatnonzero(there).tolist() == kept
    # Nobody is in the second slot: it drops nobody either.
    there = centers.distinct(same, jnp.array([False, False, True]), jnp.arange(3))
    assert np.flatnonzero(there).tolist() == [2]
