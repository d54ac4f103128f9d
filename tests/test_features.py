"""Features: the paper's 68 numbers, invariances of the better ones, missing joints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import skeleton
from bodyjax.features import (
    PARTS,
    angle_pairs,
    masked_median,
    paper_features,
    person_frame,
    sequence_features,
    torso,
    velocities,
)

COCO, UIPRMD = skeleton.get("coco17"), skeleton.get("uiprmd22")
COMPOSABLE = tuple(part for part in PARTS if part not in ("paper", "raw"))


def people(seed, body=COCO, dims=2, steps=6, clips=2):
    rng = np.random.default_rng(seed)
    shape = (clips, steps, len(body.joints))
    joints = rng.normal(100, 30, (*shape, dims)).astype(np.float32)
    visible = rng.choice([1, 2, 2], shape).astype(np.uint8)
    return joints, visible, rng.random(shape).astype(np.float32)


@pytest.fixture(scope="module")
def all_parts():
    return jax.jit(lambda j, v, s: sequence_features(j, v, s, COCO, COMPOSABLE))


def test_paper_features_are_id_x_y_confidence():
    joints, visible, score = people(0)
    visible[0, 2, 5] = 0
    size = np.array([[320, 240], [640, 360]], np.float32)
    values, present = jax.jit(paper_features)(joints, visible, score, size)
    assert values.shape == present.shape == (2, 6, 68)
    ids, x, y, confidence = np.moveaxis(np.asarray(values).reshape(2, 6, 17, 4), -1, 0)
    np.testing.assert_allclose(ids, np.broadcast_to(np.arange(17) / 17, ids.shape), rtol=1e-6)
    np.testing.assert_allclose(x[1], joints[1, ..., 0] / 640, rtol=1e-6)
    np.testing.assert_allclose(y[1], joints[1, ..., 1] / 360, rtol=1e-6)
    np.testing.assert_allclose(confidence[1], score[1])
    assert np.flatnonzero(~np.asarray(present[0, 2])).tolist() == [4 * 5 + 1, 4 * 5 + 2]
    unknown = paper_features(joints, visible, score, np.zeros((2, 2), np.float32)).present
    assert not np.asarray(unknown).reshape(2, 6, 17, 4)[..., 1:3].any()


def test_features_know_neither_place_nor_size(all_parts):
    joints, visible, score = people(1)
    values, present = all_parts(joints, visible, score)
    moved, same = all_parts(joints * 3.5 + np.array([70.0, -400.0]), visible, score)
    np.testing.assert_allclose(values, moved, atol=2e-4)
    np.testing.assert_array_equal(present, same)
    assert np.asarray(values).std(axis=(0, 1)).min() > 0


def test_what_stands_at_an_absent_joint_does_not_matter(all_parts):
    joints, visible, score = people(2)
    visible[0, :, 9] = 0
    visible[1, 3, 11] = 0
    values, present = all_parts(joints, visible, score)
    other = np.where((visible == 0)[..., None], np.nan, joints)
    np.testing.assert_array_equal(all_parts(other, visible, score).values, values)
    assert np.isfinite(values).all()
    assert not np.asarray(values)[~np.asarray(present)].any()
    assert not np.asarray(present)[0, :, 18:20].any()  # the place of the wrist that was never seen
    whole = all_parts(joints, np.full_like(visible, 2), score).present
    assert np.asarray(whole)[:, 1:].all()  # the first step alone has no velocity


def test_gradients_reach_present_joints_only(all_parts):
    joints, visible, score = people(3)
    visible[:, :, 4] = 0
    joints[0, :, 7] = joints[0, :, 9]  # a limb of no length

    def total(joints):
        return (all_parts(joints, visible, score).values ** 2).sum()

    grads = np.asarray(jax.jit(jax.grad(total))(joints))
    assert np.isfinite(grads).all()
    assert not grads[:, :, 4].any()
    assert np.abs(grads[:, :, 0]).min() > 0


def test_parts_are_what_their_names_say():
    joints, visible, score = people(4, clips=1)
    visible[:] = 2

    @jax.jit
    def every_part(joints, visible, score):
        return {p: sequence_features(joints, visible, score, COCO, (p,))[0] for p in COMPOSABLE}

    one = {part: np.asarray(v[0]) for part, v in every_part(joints, visible, score).items()}
    hips, shoulders = (joints[0][:, list(group)].mean(axis=1) for group in torso(COCO))
    scale = np.median(np.linalg.norm(hips - shoulders, axis=-1))
    centre = np.median((hips + shoulders) / 2, axis=0)
    places = (joints[0] - centre) / scale
    np.testing.assert_allclose(one["position"], places.reshape(6, -1), atol=1e-5)
    own = (joints[0] - ((hips + shoulders) / 2)[:, None]) / scale
    np.testing.assert_allclose(one["pose"], own.reshape(6, -1), atol=1e-5)
    steps = np.diff(places, axis=0, prepend=places[:1]) * 5
    np.testing.assert_allclose(one["velocity"], steps.reshape(6, -1), atol=1e-4)
    np.testing.assert_allclose(one["visibility"], score[0])
    vectors = np.stack([joints[0][:, b] - joints[0][:, a] for a, b in COCO.limbs], axis=1)
    units = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    np.testing.assert_allclose(one["bone"], units.reshape(6, -1), atol=1e-5)
    i, j, k = (COCO.index(f"left_{name}") for name in ("shoulder", "elbow", "wrist"))
    upper, lower = joints[0][:, i] - joints[0][:, j], joints[0][:, k] - joints[0][:, j]
    cosine = (upper * lower).sum(-1)
    cosine /= np.linalg.norm(upper, axis=-1) * np.linalg.norm(lower, axis=-1)
    limbs = COCO.limbs.index((i, j)), COCO.limbs.index((j, k))
    column = [pair[:2] for pair in angle_pairs(COCO.limbs)].index(tuple(sorted(limbs)))
    np.testing.assert_allclose(one["angle"][:, column], cosine, atol=1e-5)
    first = np.linalg.norm(places[:, 0] - places[:, 1], axis=-1)
    np.testing.assert_allclose(one["distance"][:, 0], first, atol=1e-5)


def test_three_dimensions_and_other_skeletons_under_vmap():
    joints, visible, score = people(5, UIPRMD, dims=3, clips=3)

    def features(joints, visible, score):
        return sequence_features(joints, visible, score, UIPRMD, ("position", "angle"))

    whole = jax.jit(features)(joints, visible, score)
    single = jax.jit(jax.vmap(features))(joints, visible, score)
    np.testing.assert_allclose(whole.values, single.values, atol=1e-5)
    assert torso(UIPRMD) == ((14, 18), (7, 11))
    assert torso(skeleton.make("dots", "a b c", "a-b")) == ((), ())


def test_joints_without_limbs_have_no_bones():
    joints, visible, score = people(5, dims=3)
    body = skeleton.make("dots", " ".join(f"p{i}" for i in range(17)), "")
    some, all_of = (
        jax.jit(lambda j, v, s, parts=parts: sequence_features(j, v, s, body, parts))(
            joints, visible, score
        )
        for parts in (("position", "velocity"), ("position", "bone", "angle", "velocity"))
    )
    np.testing.assert_array_equal(some.values, all_of.values)


def test_person_frame_without_torso():
    joints, visible, _ = people(6)
    seen = np.zeros(visible.shape, bool)
    seen[..., :3] = True  # a face alone
    place = jax.jit(lambda joints, seen: person_frame(joints, seen, COCO))
    frame = place(joints, seen)
    away = joints[..., :3, :] - np.asarray(frame.centre)[:, None, None]
    np.testing.assert_allclose(frame.scale, np.linalg.norm(away, axis=-1).mean((1, 2)), rtol=1e-5)
    empty = place(joints, np.zeros_like(seen))
    np.testing.assert_array_equal(empty.scale, 1.0)


def test_masked_steps_and_medians():
    rng = np.random.default_rng(7)
    values, mask = rng.normal(size=(5, 8)), rng.random((5, 8)) < 0.6
    mask[0] = False
    got = jax.jit(masked_median)(values.astype(np.float32), mask)
    for row, keep, median in zip(values, mask, got, strict=True):
        np.testing.assert_allclose(median, np.median(row[keep]) if keep.any() else 0, rtol=1e-5)
    joints, visible, score = people(8)
    keep = np.arange(6) < np.array([[4], [6]])

    @jax.jit
    def features(joints, visible, score, mask=None):
        return sequence_features(joints, visible, score, COCO, ("position",), mask=mask)

    got = features(joints, visible, score, keep)
    short = features(joints[:1, :4], visible[:1, :4], score[:1, :4])
    np.testing.assert_allclose(got.values[0, :4], short.values[0], atol=1e-5)
    assert not np.asarray(got.present)[0, 4:].any()


def test_velocity_needs_both_steps():
    joints, visible, _ = people(9, clips=1)
    seen = visible > 0
    seen[0, 2, 3] = False
    _, both = velocities(jnp.asarray(joints), jnp.asarray(seen))
    assert np.asarray(both)[0, :, 3].tolist() == [False, True, False, False, True, True]


def test_mistakes_are_said():
    joints, visible, score = people(10)
    with pytest.raises(ValueError, match="known: paper, raw"):
        sequence_features(joints, visible, score, COCO, ("speed",))
    with pytest.raises(ValueError, match="size"):
        sequence_features(joints, visible, score, COCO, ("paper",))
