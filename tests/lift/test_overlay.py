"""What the overlay shows: joints, prompts in time, and people in space who turn."""

from __future__ import annotations

import numpy as np

from bodyjax.lift import overlay, turning_view
from bodyjax.lift.rules import Event, Rule
from tests.lift.simulated_motion import simulated

RULE = Rule("knee_gap", "<", 0.8, "Knees out", 0.2)


def test_prompts_are_shown_once_they_hold_and_long_enough_to_read():
    prompts = [Event(1, RULE, 1.0, 1.2, 1.4, 0.5), Event(2, RULE, 1.0, 1.2, 9.0, 0.5)]
    shown = {t: overlay.captions(prompts[:1], t, False) for t in (1.1, 1.2, 2.6, 2.8)}
    assert shown == {1.1: [], 1.2: ["Knees out"], 2.6: ["Knees out"], 2.8: []}
    assert overlay.captions(prompts, 1.3, False) == ["Knees out"]
    assert overlay.captions(prompts, 1.3, True) == ["1: Knees out", "2: Knees out"]
    assert overlay.captions(prompts, 8.0, True) == ["2: Knees out"]


def test_frames_get_joints_a_caption_and_a_view_beside_them():
    motion, _ = simulated("squat", frames=12)
    late = motion._replace(**{name: getattr(motion, name)[2:] for name in motion._fields[1:]})
    frames = [np.full((240, 320, 3), 100, np.uint8)] * 12
    prompts = [Event(1, RULE, 0.5, 0.6, 0.7, 0.5)]
    out = list(overlay.drawn(frames, motion.times, [late], prompts))
    assert {image.shape for image in out} == {(240, 320 + 240, 3)}
    assert (out[0][:, :320] == 100).all()  # nobody yet
    assert (out[0][:, 320:] == turning_view.BACKGROUND).all()
    place = np.round(motion.xy[5, 11]).astype(int)
    assert (out[5][place[1], place[0]] != 100).any()
    assert (out[5][-6, :320] == 100).all()
    assert (out[10][-6, :320] < 60).all()  # the band of the caption
    assert (frames[0] == 100).all()


def orange(picture):
    """Columns with the person's left side."""
    left = (picture[..., 0] > 1.4 * picture[..., 1]) & (picture[..., 2] < 60)
    return np.flatnonzero(left.any(0))


def blue(picture):
    return np.flatnonzero(((picture[..., 2] > 90) & (picture[..., 0] < 60)).any(0))


def test_the_view_walks_around_the_person_to_the_camera_s_right():
    motion, _ = simulated("raise_arms", seed=2, frames=10)
    people = motion.xyz[:1]
    reach = turning_view.extent([people])
    front, behind = (turning_view.panel(people, (200, 240), a, reach) for a in (0, 180))
    assert orange(front).mean() > blue(front).mean()  # the left side is on the picture's right
    assert orange(behind).mean() < blue(behind).mean()
    # From the right the person's left is near: it hides the other side.
    turn = turning_view.panel(people, (200, 240), 90, reach)
    assert len(orange(turn)) > 0
    pixels = ((turn[..., 0] > 1.4 * turn[..., 1]) & (turn[..., 2] < 60)).sum()
    other = ((turn[..., 2] > 90) & (turn[..., 0] < 60)).sum()
    assert pixels > other


def test_the_floor_stays_and_the_whole_person_fits():
    motion, _ = simulated("squat", seed=1, frames=60)
    frames = [pose[None] for pose in motion.xyz]
    tall, wide = turning_view.extent(frames)
    assert 1400 < tall < 2100
    assert wide >= turning_view.LEAST
    for pose in (frames[0], frames[30]):
        for angle in (0, 60, 130):
            picture = turning_view.panel(pose, (160, 200), angle, (tall, wide))
            body = (picture.max(-1) > 90).nonzero()
            assert body[0].min() > 0
            assert body[0].max() < 199
            assert body[1].min() > 0
            assert body[1].max() < 159
    assert turning_view.extent([np.full((1, 17, 3), np.nan)]) == (1000, 1000)


def test_people_without_places_stand_side_by_side_as_in_the_picture():
    xyz = np.zeros((2, 17, 3))
    xy = np.stack([np.full((17, 2), 200.0), np.full((17, 2), 100.0)])
    xy[0, 3] = np.nan
    unknown = np.full((2, 3), np.nan)
    assert turning_view.together(xyz, unknown, xy)[:, 0, 0].tolist() == [500, -500]
    known = np.array([[0, 0, 3000.0], [900, 0, 4000]])
    assert turning_view.together(xyz, known, xy)[:, 5].tolist() == known.tolist()
