"""The box of a video's main person, and random crops about it."""

import numpy as np

from bodyjax.detect import cut_out
from bodyjax.detect.cut_out import Box
from bodyjax.detect.videos import FramePeople, main_person

SIZE = (200, 100)


def frame(places, scores, bridged=None):
    """People whose 17 joints run over squares of 30 pixels from these corners."""
    count = len(places)
    line = np.linspace(0, 30, 17)[:, None]
    xy = np.array(places, float).reshape(count, 1, 2) + line
    score = np.full((count, 17), 0.9)
    bridged = np.zeros(count, bool) if bridged is None else np.array(bridged)
    seen = np.where(bridged[:, None, None], np.nan, xy)
    return FramePeople(
        np.arange(count), xy, score, seen, score, score > 0, np.array(scores, float), bridged, 0
    )


def test_the_main_person_has_the_highest_sum_over_the_frames_where_they_are_seen():
    one = frame([[10, 10], [100, 20]], [0.9, 0.6])
    two = frame([[10, 10], [100, 20]], [0.9, 0.6], [True, False])
    assert main_person([one, two, two]) == 1
    assert main_person([one]) == 0
    assert main_person([frame(np.zeros((0, 2)), [])]) == -1


def test_the_box_holds_the_main_person_in_every_frame_and_nobody_else():
    frames = [frame([[20 + 10 * k, 40], [150, 5]], [0.9, 0.3]) for k in range(4)]
    box = cut_out.person_box(frames, SIZE)
    assert box == Box(15, 35, 85, 75)  # 20 to 80 by 40 to 70, and 8 % of 60 around them
    assert box.size == (70, 40)
    assert cut_out.person_box([frame(np.zeros((0, 2)), [])], SIZE) is None


def test_random_crops_move_every_side_by_up_to_a_tenth_and_stay_in_the_picture():
    box, rng = Box(15, 35, 85, 75), np.random.default_rng(0)
    drawn = np.array([cut_out.random_box(box, SIZE, rng) for _ in range(300)])
    away = drawn - np.array(box)
    assert (np.abs(away) <= [8, 5, 8, 5]).all()
    assert (np.abs(away).max(0) >= [6, 3, 6, 3]).all()
    assert (np.abs(away.mean(0)) <= 1).all()
    edge = np.array([cut_out.random_box(Box(0, 0, 200, 100), SIZE, rng) for _ in range(50)])
    assert (edge[:, :2] >= 0).all()
    assert (edge[:, 2:] <= SIZE).all()
    small = Box(10, 10, 26, 26)
    assert all(min(cut_out.random_box(small, SIZE, rng).size) >= 16 for _ in range(50))


def test_cut_pixels_are_those_of_the_box():
    picture = np.random.default_rng(0).integers(0, 255, (100, 200, 3), np.uint8)
    (part,) = cut_out.cut([picture], Box(15, 35, 85, 75))
    assert part.shape == (40, 70, 3)
    np.testing.assert_array_equal(part[3, 5], picture[38, 20])
