"""Grouping by centres: its own properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from bodyjax import grouping
from bodyjax.detect import centers
from bodyjax.errors import ConfigError
from bodyjax.skeleton import COCO17
from tests import centers_reference as reference
from tests.detect.center_scenes import (
    LIMBS,
    SHAPE,
    STRIDE,
    drawn,
    group,
    pixels,
    run,
    standing,
)


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
