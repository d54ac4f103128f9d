"""People followed through a video by the second look alone: where it looks, whom it loses, when
the first network looks again."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import detect, skeleton
from bodyjax.detect import canvas, person_score
from bodyjax.models.pose import Maps

BONES = skeleton.make("three", "neck left_hip right_hip", "neck-left_hip neck-right_hip")
SIDE, CROP, STRIDE, SLOTS = 192, 64, 4, 4
SHAPE = np.array([[0.0, -16], [12, 16], [-12, 16]])
"""A person of three dots: red, green and blue."""


def _maps(variables, image):
    """Heat maps of red, green and blue; a middle everywhere, and poses as large as the crop."""
    del variables
    cells = image.reshape(1, CROP // STRIDE, STRIDE, CROP // STRIDE, STRIDE, 3).mean((2, 4)) / 255
    heat = jnp.concatenate([cells, cells[..., :1]], -1)  # the last is the background's
    regress = jnp.broadcast_to(
        jnp.asarray(SHAPE / 16 * 0.4 * CROP / STRIDE), (*cells.shape[:3], 3, 2)
    )
    ones = jnp.ones(cells.shape[:3])
    return Maps(heat[None], jnp.zeros((1, *ones.shape, 4)), ones, regress, jnp.zeros_like(regress))


MODEL = SimpleNamespace(stride=STRIDE, order=(), between=())
OTHER: Any = SimpleNamespace(bones=BONES, model=MODEL, maps=_maps, heads=_maps)
SETTINGS = detect.Settings(size=SIDE // 2, second_size=CROP)


@pytest.fixture(scope="module")
def follow():
    return jax.jit(canvas.follower(OTHER, SETTINGS))


def picture(*people) -> np.ndarray:
    """People whose middles are given, each dot wide enough to be seen from one cell to the next."""
    y, x = np.mgrid[:SIDE, :SIDE]
    out = np.zeros((SIDE, SIDE, 3))
    for middle in people:
        for colour, place in enumerate(SHAPE + middle):
            near = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 4.0**2))
            out[..., colour] = np.maximum(out[..., colour], 255 * near)
    return out.astype(np.uint8)


def slots(*people, scores=(0.9, 0.8, 0.7, 0.6)):
    """People as `follow` takes them: xy, joint scores, person scores."""
    xy = np.zeros((SLOTS, 3, 2), np.float32)
    for row, middle in enumerate(people):
        xy[row] = SHAPE + middle
    there = (np.arange(SLOTS) < len(people)).astype(np.float32)
    return xy, np.repeat(there[:, None], 3, 1), np.array(scores, np.float32) * there


def test_people_are_found_where_they_moved_to(follow):
    before, now = [(50, 60), (130, 120)], [(56, 57), (126, 125)]
    out = follow({"second": None}, picture(*now), *slots(*before))
    assert np.abs(np.asarray(out.xy[:2]) - (SHAPE + np.array(now)[:, None])).max() < 0.75 * STRIDE
    np.testing.assert_allclose(out.person_score, [0.9, 0.8, 0, 0], atol=1e-6)
    assert int(out.count) == 2
    assert out.found[:2].all()
    assert not out.found[2:].any()
    assert (np.asarray(out.score[2:]) == 0).all()


def test_whom_the_second_look_does_not_see_is_lost(follow):
    empty = follow({"second": None}, picture(), *slots((50, 60)))
    assert int(empty.count) == 0
    assert (np.asarray(empty.person_score) == 0).all()
    xy, score, person = slots((50, 60))
    faint = (picture((50, 60)) * 0.4).astype(np.uint8)  # the joints' scores have fallen
    assert int(follow({"second": None}, faint, xy, score, person).count) == 0
    assert int(follow({"second": None}, faint, xy, 0.5 * score, person).count) == 1


def test_two_slots_on_one_person_keep_the_better(follow):
    out = follow(
        {"second": None}, picture((80, 80)), *slots((78, 80), (83, 80), scores=(5, 6, 0, 0))
    )
    assert np.flatnonzero(out.person_score).tolist() == [1]
    equal = slots((78, 80), (83, 80), scores=(5, 5, 0, 0))
    out = follow({"second": None}, picture((80, 80)), *equal)
    assert np.flatnonzero(out.person_score).tolist() == [0]


def watching(follow, path, least=0.0):
    """A detector that knows where people are, and counts how often it is asked for all of them;
    path[f]: middles of frame f, of which the frame's corner tells the number."""
    asked: list[int] = []

    def predict(variables, pixels):
        frame = int(pixels[-1, -1, 0])
        asked.append(frame)
        xy, score, person = slots(*path[frame])
        evidence = np.zeros((SLOTS, len(person_score.SECOND)), np.float32)
        evidence[:, detect.TAKEN] = person > 0
        maxima = xy[0], score[0]
        return detect.Detections(
            xy, score, person, np.int32(len(path[frame])), np.int32(0), score > 0, *maxima, evidence
        )

    settings = dataclasses.replace(SETTINGS, min_person=least)
    detector: Any = detect.Detector({"second": None}, predict, BONES, settings, follow=follow)
    second = dataclasses.replace(detector, settings=settings)
    frames = [picture(*people) for people in path]
    for number, frame in enumerate(frames):
        frame[-4:, -4:] = number
    return dataclasses.replace(detector, second=second), frames, asked


def test_the_first_network_looks_at_every_fifth_frame(follow):
    path = [[(60 + 4 * f, 70 + 2 * f)] for f in range(12)]
    detector, frames, asked = watching(follow, path)
    found = list(detect.followed(detector, frames))
    assert asked == [0, 5, 10]
    for people, (middle,) in zip(found, path, strict=True):
        np.testing.assert_allclose(people.xy, [SHAPE + middle], atol=0.75 * STRIDE)
    del asked[:]
    assert len(list(detect.followed(detector, frames, 1))) == 12
    assert asked == list(range(12))


def test_it_looks_again_where_somebody_is_lost(follow):
    path = [[(60, 70)]] * 7 + [[(130, 120)]] * 5  # a cut
    detector, frames, asked = watching(follow, path)
    found = list(detect.followed(detector, frames))
    assert asked == [0, 5, 7]
    np.testing.assert_allclose(found[7].xy, [SHAPE + np.array([130, 120])], atol=0.1)
    # Somebody who is not shown may go: the score is 0.9.
    detector, frames, asked = watching(follow, path, least=0.95)
    assert [len(people.xy) for people in detect.followed(detector, frames)] == [1] * 7 + [0] * 3 + [
        1
    ] * 2
    assert asked == [0, 5, 10]


def test_nobody_and_another_size(follow):
    detector, frames, asked = watching(follow, [[], [], [(60, 70)], [(60, 70)]])
    frames[3] = frames[3].repeat(2, axis=0).repeat(2, axis=1)
    assert [len(people.xy) for people in detect.followed(detector, frames)] == [0, 0, 0, 1]
    assert asked == [0, 3]
