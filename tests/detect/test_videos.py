"""People of videos as arrays: weak ones, frames that nobody looks at, results for JSON."""

import dataclasses

import numpy as np
import pytest

from bodyjax import detect
from bodyjax.data.video import open_video, write_video
from bodyjax.detect import videos
from bodyjax.detect.videos import FramePeople
from bodyjax.errors import CheckpointError, ConfigError
from tests.picture_sets import body, colour, knowing

POSE = np.stack([np.linspace(8, 20, 17), np.linspace(5, 35, 17)], -1)


def frame_people(identity, score, bridged) -> FramePeople:
    count = len(identity)
    xy, seen = np.zeros((count, 17, 2)), np.ones((count, 17))
    return FramePeople(
        np.array(identity, int), xy, seen, xy, seen, seen > 0, np.array(score, float),
        np.array(bridged, bool), 0,
    )  # fmt: skip


def test_weak_people_leave_all_their_frames():
    frames = [
        frame_people([0, 1], [0.9, 0.1], [False, False]),
        frame_people([0, 1], [0.3, 0.9], [False, True]),
        frame_people([], [], []),
        frame_people([1], [0.2], [False]),
    ]
    kept, removed = videos.without_weak(frames, 0.3)
    assert removed == 1
    assert [one.identity.tolist() for one in kept] == [[0], [0], [], []]
    assert kept[1].xy.shape == (1, 17, 2)
    for before, after in zip(frames, videos.without_weak(frames, 0)[0], strict=True):
        np.testing.assert_array_equal(before.identity, after.identity)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        videos.without_weak(frames, 2)


@pytest.fixture
def walk(tmp_path):
    """A video of 9 frames in which one person moves right by a pixel a frame, and a detector that
    knows it and counts how often it looks."""
    shades = np.arange(1, 10)
    poses = {int(n): [body(POSE + np.array([n, 0]))] for n in shades}
    known, looks = knowing(poses), []

    def predict(variables, canvas):
        looks.append(1)
        return known.predict(variables, canvas)

    write_video(
        tmp_path / "v.mp4",
        np.stack([np.full((40, 50, 3), colour(n), np.uint8) for n in shades]),
        25,
    )
    return dataclasses.replace(known, predict=predict), open_video(tmp_path / "v.mp4"), looks


@pytest.mark.parametrize(("every", "count"), [(None, 9), (1, 9), (3, 4), (4, 3), (100, 2)])
def test_frames_between_two_looks_are_filled(walk, every, count):
    detector, clip, looks = walk
    straight = detect.track.Settings(min_cutoff=0)  # as found, not smoothed
    frames = detect.in_video(detector, clip, every=every, tracking=straight)
    assert len(looks) == count
    assert [people.identity.tolist() for people in frames] == [[0]] * 9
    seen = [number for number, people in enumerate(frames) if not people.bridged[0]]
    assert seen == sorted({*range(0, 9, every or 1), 8})
    x = np.array([people.xy[0, 0, 0] for people in frames])
    np.testing.assert_allclose(np.diff(x), 1, atol=1e-2)
    assert all((people.shown > 0).all() for people in frames)


def test_identities_outlast_long_gaps_between_looks(walk):
    """25 frames at 25 a second: longer than an identity lasts by default."""
    detector, clip, _ = walk
    images = [image for image in clip.iter_frames() for _ in range(8)]
    frames = detect.tracked(detector, images, np.arange(72) / 25, every=25)
    assert {int(people.identity[0]) for people in frames} == {0}


def test_results_have_boxes_times_and_scores_up_to_one(walk):
    detector, clip, _ = walk

    def sharper(variables, canvas):
        out = detector.predict(variables, canvas)
        return out._replace(score=1.3 * out.score, person_score=1.2 * out.person_score)

    sharp = dataclasses.replace(detector, predict=sharper)
    results = detect.video(sharp, clip.path)
    assert [person["frame"] for people in results for person in people] == list(range(9))
    for number, (person,) in enumerate(results):
        table = np.reshape(person["keypoints"], (17, 3))
        x, y, width, height = person["bbox"]
        assert person["time"] == round(number / 25, 4)
        assert person["score"] == table[:, 2].max() == 1
        assert (table[:, :2] >= [x, y]).all()
        assert (table[:, :2] <= [x + width, y + height]).all()


def test_a_missing_second_detector_names_its_flag():
    with pytest.raises(CheckpointError, match="nothere: --second: there is no such checkpoint"):
        detect.load("small", second="nothere")
