"""Recognition draws the people that launch.detect draws."""

import numpy as np

from bodyjax import detect
from bodyjax.commands.detect import drawn as drawn_by_detect
from bodyjax.data.video import open_video
from bodyjax.detect import videos
from bodyjax.detect.videos import FramePeople
from bodyjax.recognize import overlay
from bodyjax.skeleton import COCO17
from tests.data import make_videos
from tests.shared import shared

RESULT = {"movement": "wave", "probability": 0.5, "operation": None, "reason": None}


def test_a_real_clip_shows_what_detect_shows(tmp_path):
    """On every frame, to the pixel before encoding; and the file has the label besides."""
    path = sorted(shared("data/jhmdb/clips").glob("*/*.mp4"))[0]
    video, detector = open_video(path), detect.load("small")
    people = detect.tracked(detector, video.iter_frames(), video.times)
    kept, _ = videos.without_weak(people, detector.settings.min_person)
    assert sum(len(one.identity) for one in kept) > video.frames / 2
    pairs = zip(video.iter_frames(), kept, strict=True)
    for ours, (image, found) in zip(overlay.drawn(video, kept, RESULT), pairs, strict=True):
        unnumbered = np.full(len(found.identity), "")
        theirs = drawn_by_detect(image, found._replace(identity=unnumbered), COCO17)
        below = slice(image.shape[0] // 3, None)  # the label is above
        np.testing.assert_array_equal(ours[below], theirs[below])
    overlay.write(path, tmp_path / "out.mp4", RESULT, detector)
    assert open_video(tmp_path / "out.mp4").frames == video.frames


def test_nobody_is_drawn_where_nobody_is(tmp_path):
    path = make_videos.encode(tmp_path / "pattern.mp4", 6, *make_videos.X264)
    video = open_video(path)
    none = np.zeros((0, 17))
    xy, no = np.zeros((0, 17, 2)), np.zeros(0)
    nobody = [FramePeople(no, xy, none, xy, none, none > 0, no, no > 0, 0)] * video.frames
    for before, after in zip(
        video.iter_frames(), overlay.drawn(video, nobody, RESULT), strict=True
    ):
        changed = (before != after).any(-1)
        assert changed.any()  # the label
        assert not changed[video.size[1] // 2 :].any()
