"""Recognition draws the people that launch.detect draws."""

import numpy as np

from bodyjax import detect
from bodyjax.commands.detect import drawn as drawn_by_detect
from bodyjax.data.video import open_video
from bodyjax.detect import found
from bodyjax.detect.videos import FramePeople
from bodyjax.recognize import overlay
from bodyjax.skeleton import COCO17
from tests.data import make_videos
from tests.shared import shared

RESULT = {"movement": "wave", "probability": 0.5, "operation": None, "reason": None}


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
    kept = overlay.without_weak(frames, 0.3)
    assert [one.identity.tolist() for one in kept] == [[0], [0], [], []]
    assert kept[1].xy.shape == (1, 17, 2)


def test_a_real_clip_shows_what_detect_shows(tmp_path):
    """On every frame, to the pixel before encoding; and the file has the label besides."""
    path = sorted(shared("data/jhmdb/clips").glob("*/*.mp4"))[0]
    video, detector = open_video(path), detect.load("small")
    frames, _ = found.frames_at_least(detect.video(detector, path), detector.settings.min_person)
    assert sum(map(len, frames)) > video.frames / 2
    people = detect.tracked(detector, video.iter_frames(), video.times)
    kept = overlay.without_weak(people, detector.settings.min_person)
    assert [len(one.identity) for one in kept] == [len(one) for one in frames]
    pairs = zip(video.iter_frames(), frames, strict=True)
    for ours, (image, listed) in zip(overlay.drawn(video, kept, RESULT), pairs, strict=True):
        theirs = drawn_by_detect(image, [{**one, "identity": ""} for one in listed], COCO17)
        below = slice(image.shape[0] // 3, None)  # the label is above
        gap = np.abs(ours[below].astype(int) - theirs[below]).max(-1)
        assert (gap > 40).mean() < 1e-3  # the JSON rounds places
    overlay.write(path, tmp_path / "out.mp4", RESULT, detector)
    assert open_video(tmp_path / "out.mp4").frames == video.frames


def test_nobody_is_drawn_where_nobody_is(tmp_path):
    path = make_videos.encode(tmp_path / "pattern.mp4", 6, *make_videos.X264)
    video = open_video(path)
    nobody = [frame_people([], [], [])] * video.frames
    for before, after in zip(
        video.iter_frames(), overlay.drawn(video, nobody, RESULT), strict=True
    ):
        changed = (before != after).any(-1)
        assert changed.any()  # the label
        assert not changed[video.size[1] // 2 :].any()
