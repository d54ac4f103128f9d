"""Geometry of poses against SciPy, NumPy, finite differences and by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.transform import Rotation

from bodyjax import geometry, skeleton

H36M, COCO = skeleton.get("h36m17"), skeleton.get("coco17")


def poses(rng, count=12):
    return rng.normal(scale=300, size=(count, 17, 3)).astype(np.float32)


# ---- alignment ----


def test_similarity_is_scipy_s():
    rng = np.random.default_rng(0)
    points, target = poses(rng), poses(rng)
    fit = jax.jit(geometry.similarity)(points, target)
    for i in range(len(points)):
        a, b = points[i] - points[i].mean(0), target[i] - target[i].mean(0)
        turn, _ = Rotation.align_vectors(b, a)
        np.testing.assert_allclose(fit.rotation[i], turn.as_matrix().T, atol=2e-4)
        best = (turn.apply(a) * b).sum() / (a**2).sum()
        np.testing.assert_allclose(fit.scale[i], best, rtol=1e-3)
    np.testing.assert_allclose(np.linalg.det(fit.rotation), 1, atol=1e-5)
    rigid = geometry.similarity(points, target, scaled=False)
    np.testing.assert_allclose(rigid.rotation, fit.rotation, atol=1e-6)
    assert (np.asarray(rigid.scale) == 1).all()
    moved = points[0] @ np.asarray(rigid.rotation[0]) + np.asarray(rigid.shift[0])
    np.testing.assert_allclose(moved.mean(0), target[0].mean(0), atol=0.05)


def test_procrustes_is_scipy_s_where_no_mirror_helps():
    """SciPy's may mirror, so the target is a turned copy with noise."""
    rng = np.random.default_rng(1)
    points = poses(rng)
    turns = Rotation.random(len(points), rng).as_matrix()
    target = 0.7 * points @ turns + rng.normal(scale=20, size=points.shape) + 150
    ours = np.asarray(jax.vmap(geometry.procrustes)(points, target))
    for i in range(len(points)):
        _, scipys, disparity = scipy_procrustes(target[i], points[i])
        middle = target[i] - target[i].mean(0)
        theirs = scipys * np.linalg.norm(middle) + target[i].mean(0)
        np.testing.assert_allclose(ours[i], theirs, atol=0.1)
        left = ((ours[i] - target[i]) ** 2).sum() / (middle**2).sum()
        assert left == pytest.approx(disparity, rel=1e-3)
        turn, _ = orthogonal_procrustes(points[i] - points[i].mean(0), middle)
        fit = geometry.similarity(points[i], target[i])
        np.testing.assert_allclose(fit.rotation, turn, atol=1e-3)


def test_alignment_in_the_plane_and_without_some_joints():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(5, 17, 2)).astype(np.float32)
    turned = points @ np.array([[0, 1], [-1, 0]]) * 3 + 5
    visible = np.ones((5, 17))
    visible[:, 3] = 0
    turned[:, 3] = np.nan
    found = np.asarray(geometry.procrustes(points, turned, visible))
    np.testing.assert_allclose(found[visible > 0], turned[visible > 0], atol=1e-4)
    assert np.isfinite(found).all()


def test_the_gradient_of_an_alignment_is_that_of_finite_differences():
    rng = np.random.default_rng(3)
    points, target = rng.normal(size=(2, 9, 3)).astype(np.float32)

    def loss(x):
        return jnp.sum(jnp.sin(geometry.procrustes(x, target)))

    gradient = np.asarray(jax.jit(jax.grad(loss))(points))
    for _ in range(5):
        way = rng.normal(size=points.shape)
        near = [float(loss(np.float32(points + h * way))) for h in (1e-2, -1e-2)]
        assert (near[0] - near[1]) / 2e-2 == pytest.approx(float((gradient * way).sum()), rel=0.02)


DEGENERATE = {
    "one point": np.zeros((5, 3)),
    "a line": np.arange(5.0)[:, None] * [1.0, 2.0, 0.5],
    "flat": np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 0]]),
    "equal in all directions": np.array(
        [[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1], [0, 0, 0]]
    ),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_gradients_are_finite_at_degenerate_poses(name):
    points = np.float32(DEGENERATE[name])
    other = np.random.default_rng(4).normal(size=points.shape).astype(np.float32)
    for target in (points, other, -points):
        for argument in (0, 1):
            gradient = jax.grad(
                lambda a, b: jnp.sum((geometry.procrustes(a, b) - b) ** 2), argument
            )(points, target)
            assert np.isfinite(gradient).all(), argument


def test_equal_singular_values_have_their_true_gradient():
    """At the identity the rotation follows the antisymmetric part of a change, halved."""
    change = np.random.default_rng(5).normal(size=(3, 3)).astype(np.float32)
    _, turned = jax.jvp(geometry.nearest_rotation, (jnp.eye(3),), (jnp.asarray(change),))
    np.testing.assert_allclose(turned, (change - change.T) / 2, atol=1e-6)


# ---- lengths and angles ----


def test_angles_are_numpy_s():
    rng = np.random.default_rng(6)
    for dimensions in (2, 3):
        a, b = rng.normal(size=(2, 1000, dimensions))
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        found = jax.jit(geometry.angle)(a, b)
        np.testing.assert_allclose(found, np.degrees(np.arccos(cosine)), atol=0.01)
    small = np.float32([np.cos(1e-4), np.sin(1e-4)])
    assert float(geometry.angle(small, np.float32([1, 0]))) == pytest.approx(np.degrees(1e-4), 1e-3)
    for pair in (([1.0, 0], [2.0, 0]), ([1.0, 0], [-1.0, 0]), ([0.0, 0], [1.0, 0])):
        for argument in (0, 1):
            gradient = jax.grad(geometry.angle, argument)(*map(jnp.asarray, pair))
            assert np.isfinite(gradient).all()


def standing(bones=H36M):
    """Someone upright with hanging arms, mm, camera axes."""
    at = {"pelvis": (0, 0, 0), "spine": (0, -250, 0), "thorax": (0, -500, 0)}
    at |= {"neck": (0, -600, 0), "head_top": (0, -800, 0)}
    for side, x in (("left", 1), ("right", -1)):
        at |= {f"{side}_hip": (130 * x, 0, 0), f"{side}_knee": (130 * x, 450, 0)}
        at |= {f"{side}_ankle": (130 * x, 900, 0), f"{side}_shoulder": (130 * x, -500, 0)}
        at |= {f"{side}_elbow": (130 * x, -200, 0), f"{side}_wrist": (130 * x, 50, 0)}
    return np.float32([at.get(joint, (0, -700, 0)) for joint in bones.joints])


def test_flexions_by_hand():
    pose = standing()
    np.testing.assert_allclose(geometry.flexions(pose, H36M), 0, atol=0.05)
    sitting = pose.copy()
    ankle, wrist = H36M.index("left_ankle"), H36M.index("right_wrist")
    sitting[ankle] = sitting[H36M.index("left_knee")] + (0, 0, 450)
    sitting[wrist] = sitting[H36M.index("right_elbow")] + (0, -150 * 3**0.5, -150)
    elbow = H36M.index("left_elbow")
    sitting[elbow] = sitting[H36M.index("left_shoulder")] + (0, -300, 0)
    sitting[H36M.index("left_wrist")] = sitting[elbow] + (0, -250, 0)
    found = dict(zip(geometry.FLEXIONS, np.asarray(geometry.flexions(sitting, H36M)), strict=True))
    wanted = dict.fromkeys(geometry.FLEXIONS, 0.0) | {
        "left_knee_flexion": 90.0, "right_elbow_flexion": 150.0, "left_shoulder_flexion": 180.0,
    }  # fmt: skip
    assert found == pytest.approx(wanted, abs=0.05)
    apart = geometry.asymmetry(geometry.flexions(sitting, H36M))
    np.testing.assert_allclose(apart, [90, 0, 150, 180], atol=0.1)
    # The same joints under another skeleton, and in the picture, seen from the front.
    np.testing.assert_allclose(geometry.flexions(standing(COCO), COCO), 0, atol=0.05)
    flat = np.asarray(geometry.flexions(sitting[:, :2], H36M))
    assert flat[list(geometry.FLEXIONS).index("left_shoulder_flexion")] == pytest.approx(180)
    gradient = jax.grad(lambda x: geometry.flexions(x, H36M).sum())(jnp.asarray(pose))
    assert np.isfinite(gradient).all()


def test_trunk_hips_and_knees():
    pose = standing()
    assert float(geometry.trunk_lean(pose, H36M)) == pytest.approx(0, abs=0.01)
    leant = pose.copy()
    for joint in ("left_shoulder", "right_shoulder"):
        leant[H36M.index(joint)] += (0, 0, -500 * 3**0.5)
    assert float(geometry.trunk_lean(leant, H36M)) == pytest.approx(60, abs=0.01)
    assert float(geometry.trunk_lean(leant, H36M, (0, 0, -1))) == pytest.approx(30, abs=0.01)
    # A push-up: the body lies along x; hips 140 mm below the line of 1400 mm.
    plank = pose[:, [1, 0, 2]]
    assert float(geometry.hip_offset(plank, H36M)) == pytest.approx(0, abs=1e-5)
    for side in ("left", "right"):
        plank[H36M.index(f"{side}_hip"), 1] += 140
    assert float(geometry.hip_offset(plank, H36M)) == pytest.approx(-0.1, abs=1e-5)
    assert float(geometry.knee_gap(pose, H36M)) == pytest.approx(1)
    pose[H36M.index("left_knee"), 0] -= 130
    assert float(geometry.knee_gap(pose, H36M)) == pytest.approx(0.5)
    pose[H36M.index("left_ankle")] = pose[H36M.index("right_ankle")]
    assert np.isnan(geometry.knee_gap(pose, H36M))


def test_lengths_are_those_of_the_simulated_body():
    lengths = np.asarray(geometry.bone_lengths(standing()[None], H36M.limbs))[0]
    for (a, b), found in zip(H36M.limbs, lengths, strict=True):
        assert found == pytest.approx(np.linalg.norm(standing()[a] - standing()[b]), rel=1e-6)
    missing = standing()
    missing[0] = np.nan
    assert np.isnan(geometry.bone_lengths(missing, H36M.limbs)).sum() == 3


def test_a_missing_joint_has_no_gradient_and_spoils_no_other():
    whole = standing().astype(np.float32)
    missing = whole.copy()
    missing[H36M.index("left_wrist")] = np.nan

    def known(points):
        parts = (geometry.bone_lengths(points, H36M.limbs), geometry.flexions(points, H36M))
        return sum(jnp.nansum(part) for part in parts)

    gone = [i for i, limb in enumerate(H36M.limbs) if H36M.index("left_wrist") in limb]
    bent = list(geometry.FLEXIONS).index("left_elbow_flexion")

    def rest(points):
        lengths, bends = geometry.bone_lengths(points, H36M.limbs), geometry.flexions(points, H36M)
        return jnp.delete(lengths, np.array(gone)).sum() + jnp.delete(bends, bent).sum()

    found = np.asarray(jax.grad(known)(jnp.asarray(missing)))
    aim = np.asarray(jax.grad(rest)(jnp.asarray(whole)))
    np.testing.assert_allclose(found, aim, atol=1e-4)
    assert np.isnan(geometry.flexions(missing, H36M)[bent])


# ---- over time ----


def test_speeds_of_a_steady_motion_and_ranges():
    times = np.array([0, 0.1, 0.3, 0.4, 0.8])
    joints = times[:, None, None] * np.array([[300.0, 0, 400], [0, 0, 0]])
    np.testing.assert_allclose(geometry.speeds(joints, times), [[500, 0]] * 5, rtol=1e-4)
    assert np.asarray(geometry.speeds(joints[:1], times[:1])).tolist() == [[0, 0]]
    values = np.array([[1.0, np.nan], [5, np.nan], [np.nan, np.nan], [2, np.nan]])
    np.testing.assert_array_equal(geometry.range_of_motion(values), [4, np.nan])


# ---- the place in front of a camera ----


def seen_people(rng, count=50):
    root = rng.uniform((-1500, -500, 2500), (1500, 500, 8000), (count, 3))
    xyz = rng.normal(scale=350, size=(count, 17, 3))
    xyz[:, 0] = 0
    absolute = xyz + root[:, None]
    return xyz, root, absolute[..., :2] / absolute[..., 2:]


def test_perspective_finds_the_place_and_weak_perspective_nearly():
    xyz, root, places = seen_people(np.random.default_rng(8))
    visible = np.ones((50, 17))
    visible[:, 5] = 0
    places[:, 5] = 1e4
    place = jax.jit(geometry.perspective_root)
    np.testing.assert_allclose(place(xyz, places, visible), root, atol=15)
    weak = np.asarray(jax.jit(geometry.weak_perspective_root)(xyz, places, visible))
    assert np.median(np.linalg.norm(weak - root, axis=-1) / root[:, 2]) < 0.05
    # A flat person is all at one distance: both are exact.
    flat = xyz * (1, 1, 0)
    seen = (flat + root[:, None])[..., :2] / root[:, None, 2:]
    for found in (place(flat, seen, visible), geometry.weak_perspective_root(flat, seen, visible)):
        np.testing.assert_allclose(found, root, atol=5)
    gradient = jax.grad(lambda x: geometry.perspective_root(x, places[0], visible[0]).sum())
    assert np.isfinite(gradient(jnp.asarray(xyz[0]))).all()


def test_weights_by_distance_bring_the_joints_back_to_their_pixels():
    """With noise, three rounds are nearer to the least error in the picture than one."""
    rng = np.random.default_rng(9)
    xyz, _, places = seen_people(rng)
    noisy = places + rng.normal(scale=0.01, size=places.shape)
    left = []
    for rounds in (1, 3):
        root = np.asarray(geometry.perspective_root(xyz, noisy, np.ones((50, 17)), rounds))
        absolute = xyz + root[:, None]
        left.append((((absolute[..., :2] / absolute[..., 2:]) - noisy) ** 2).sum())
    assert left[1] < left[0] < 1.5 * 0.01**2 * noisy.size


def test_without_two_joints_nobody_is_placed():
    xyz, _, places = seen_people(np.random.default_rng(10), 1)
    for count in (0, 1):
        visible = np.arange(17)[None] < count
        for place in (geometry.weak_perspective_root, geometry.perspective_root):
            assert np.isnan(place(xyz, places, visible)).all()
    behind = geometry.weak_perspective_root(-xyz, places, np.ones((1, 17)))
    assert np.isnan(behind).all()
