"""The z-buffer against a plain ray caster, the camera's conventions, and visibility."""

import numpy as np
import pytest

from bodyjax.simulate import render
from bodyjax.simulate.body import Solid

LOOK = render.Look(
    dict.fromkeys(("shirt", "skin", "trousers", "shoe", "hand", "thing"), np.full(3, 0.5)),
    np.zeros(3),
    0,
    0.05,
    0.0,
)


def camera(**changes):
    values = {
        "yaw": 0.0,
        "pitch": 0.0,
        "roll": 0.0,
        "distance": 4000.0,
        "focal": 200.0,
        "centre": (95.5, 71.5),
    }
    return render.look((192, 144), np.array([0.0, 1000.0, 0.0]), **(values | changes))


def test_camera_frame_is_right_down_forward():
    eye = camera()
    seen = eye.view(np.array([[0.0, 1000, 0], [100, 1000, 0], [0, 1100, 0], [0, 1000, 100]]))
    np.testing.assert_allclose(
        seen, [[0, 0, 4000], [100, 0, 4000], [0, -100, 4000], [0, 0, 3900]], atol=1e-9
    )
    np.testing.assert_allclose(eye.project(seen[0]), [95.5, 71.5])
    # a person who faces the camera has the left hand on the right of the picture
    assert eye.project(seen[1])[0] > 95.5
    assert eye.project(seen[2])[1] < 71.5


def test_camera_from_the_left_sees_the_left_side():
    eye = camera(yaw=np.radians(50), pitch=0.2, roll=0.1)
    assert eye.position[0] > 0
    assert eye.position[1] > 1000
    left, right = eye.view(np.array([[200.0, 1000, 0], [-200, 1000, 0]]))
    assert left[2] < right[2]
    np.testing.assert_allclose(eye.rotation @ eye.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(eye.rotation) == pytest.approx(1)


def capsule(a, b, ra, rb, flat=1.0, across=(0.0, 0.0, 1.0)):
    row = [np.array([v], float) for v in (a, b, across)]
    return Solid("belly", row[0], row[1], ra, rb, ("shirt", "shirt"), 1.0, flat, row[2])


def marched(eye, solid, pixel):
    """Depth of a solid at a pixel by small steps along the ray (an independent check), mm."""
    direction = np.array([*((np.array(pixel) - eye.centre) / eye.focal), 1.0])
    depth = np.arange(3000.0, 5000.0, 0.25)
    world = (depth[:, None] * direction) @ eye.rotation + eye.position
    n, squeeze = solid.across[0], 1 / solid.flat - 1
    stretch = np.eye(3) + squeeze * np.outer(n, n)
    p, a, b = world @ stretch.T, stretch @ solid.a[0], stretch @ solid.b[0]
    share = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    away = np.linalg.norm(p - a - share[:, None] * (b - a), axis=-1)
    hit = away < solid.ra + (solid.rb - solid.ra) * share
    return depth[np.argmax(hit)] if hit.any() else np.inf


@pytest.mark.parametrize(
    "solid",
    [
        capsule((-300, 900, 0), (250, 1150, 100), 80, 80),
        capsule((0, 1000, -300), (10, 1010, 500), 90, 90),  # points at the camera
        capsule((0, 800, 0), (30, 1200, 50), 120, 120, 0.6),
        capsule((-100, 900, 0), (100, 1150, 0), 110, 110, 0.7, (0.6, 0.0, 0.8)),
        capsule((0, 800, 0), (100, 1200, 100), 100, 70),
    ],
)
def test_depth_equals_ray_marching(solid):
    eye = camera(yaw=0.3, pitch=0.1)
    light = render.Light(np.array([0.0, -1.0, 0.0]), 0.5, np.ones(3))
    drawn = render.Solids(eye, [([solid], LOOK, np.zeros((1, 3)), np.zeros((1, 3, 3)), 0.0)])
    (x0, y0, _, _), _, cover, depth = render.draw(drawn, 0, eye, light)
    full = np.argwhere(cover == 1.0)
    rng = np.random.default_rng(0)
    # a tapered capsule's side is taken a little steeper than the solid's
    near = 1.0 if solid.ra == solid.rb else 4.0
    for y, x in full[rng.choice(len(full), 25, replace=False)]:
        corners = [(x0 + x + dx, y0 + y + dy) for dx in (-0.25, 0.25) for dy in (-0.25, 0.25)]
        nearest = min(marched(eye, solid, corner) for corner in corners)
        assert abs(nearest - depth[y, x]) < near
    # nothing is drawn where no ray meets the solid
    empty = np.argwhere(cover == 0.0)
    for y, x in empty[rng.choice(len(empty), min(25, len(empty)), replace=False)]:
        assert np.isinf(marched(eye, solid, (x0 + x, y0 + y))) or solid.ra != solid.rb


def test_nearer_solid_hides_the_farther_one():
    eye = camera()
    light = render.Light(np.array([0.0, -1.0, 0.0]), 0.5, np.ones(3))
    far = capsule((-300, 1000, -400), (300, 1000, -400), 60, 60)
    near = capsule((0, 700, 300), (0, 1300, 300), 60, 60)
    for order in ([far, near], [near, far]):
        group = (order, LOOK, np.zeros((1, 3)), np.zeros((1, 3, 3)), 0.0)
        (x0, y0, _, _), _, _, depth = render.draw(render.Solids(eye, [group]), 0, eye, light)
        assert depth[71 - y0, 95 - x0] == pytest.approx(3640, abs=2)


def test_what_is_behind_the_camera_is_not_drawn():
    eye = camera()
    light = render.Light(np.array([0.0, -1.0, 0.0]), 0.5, np.ones(3))
    behind = capsule((0, 1000, 5000), (0, 1200, 5000), 60, 60)
    group = ([behind], LOOK, np.zeros((1, 3)), np.zeros((1, 3, 3)), 0.0)
    assert render.draw(render.Solids(eye, [group]), 0, eye, light) is None


def test_visibility_by_depth():
    eye = camera()
    depth = np.full((144, 192), np.inf, np.float32)
    depth[71:, :] = 3000.0
    joints = np.array(
        [[[0.0, 0.0, 3040.0], [0, 0, 3100], [0, -500, 9000], [5000, 0, 3000], [0, 0, -50]]]
    )
    joints[0, :2, 1] = 20
    thickness = np.full((1, 5), 50.0)
    found = render.visibility(eye, joints[None], depth[None], thickness)[0]
    assert found.tolist() == [
        [render.SEEN, render.HIDDEN, render.SEEN, render.ABSENT, render.ABSENT]
    ]
