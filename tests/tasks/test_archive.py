"""What detectors and scorers do with the clips of an archive."""

import jax
import numpy as np
import pytest
from PIL import Image

from bodyjax import detect, lift, systems
from bodyjax.archive import do_shard, results
from bodyjax.archive import manifest as manifests
from bodyjax.archive.work import people_seen
from bodyjax.data.video.files import open_video
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.tasks import lifter, pose, sequence
from configs import lifter as lifters
from configs.sequence import get_config
from tests.data import make_videos
from tests.random_variables import drawn
from tests.tiny_detector import untrained


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    make_videos.encode(folder / "video.mp4", 4, *make_videos.X264)
    Image.fromarray(make_videos.frame(3)).save(folder / "picture.png")
    (folder / "broken.png").write_bytes(b"\x89PNG broken")
    return folder


def done(folder, out, work):
    found = manifests.listed(folder, work.endings)
    manifest = manifests.begin(out, found.rows, {}, {}, "jsonl", work.batch)
    for key in manifest.shard_keys():
        do_shard(out, key, manifest, found.root, work)
    shards = list(results.checked(out, manifest))
    rows = {row["id"]: row for shard in shards for row in shard.results}
    return rows, {row["id"]: row["error"] for shard in shards for row in shard.dead}


def test_a_detector_takes_pictures_and_videos(clips, tmp_path):
    checkpoint = untrained()
    rows, dead = done(clips, tmp_path / "out", pose.archive(checkpoint, min_person=0.0))
    assert dead == {"broken.png": "DataError"}
    detector = detect.load(checkpoint, min_person=0.0)
    alone = detect.find(detector, clips / "picture.png").coco()
    assert rows["picture.png"]["result"]["people"] == alone
    assert rows["picture.png"]["result"]["size"] == [192, 96]
    video = rows["video.mp4"]["result"]
    each = detect.video(detector, clips / "video.mp4")
    assert [p["keypoints"] for p in video["people"]] == [p["keypoints"] for f in each for p in f]
    assert all("bbox" in person for person in video["people"])
    assert (video["length"], video["damaged"]) == (4, 0)


@pytest.mark.parametrize(
    ("most", "scores", "label", "sure"),
    [(0, [], "nobody", None), (1, [0.25], "1 person", 0.25), (2, [0.5, 0.25], "2 people", 0.375),
     (7, [1.0], "5 or more people", 1.0)],
)  # fmt: skip
def test_the_class_is_how_many_people_are_seen(most, scores, label, sure):
    assert people_seen(most, scores, {"size": [1, 1]}) == (label, sure, {"size": [1, 1]})


def test_a_scorer_tells_of_the_person_seen_longest(clips, tmp_path):
    config = get_config("exercises_standard")
    config.update({"skeleton": "coco17", "labels": ("not standard", "standard")})
    config.model.update({"stored": 8, "steps": 5, "width": 8, "layers": 1, "conditions": 2})
    variables = jax.jit(systems.build(config).init)(jax.random.key(0))
    config.score = {"detector": "small", "seconds": 4.0}
    meta = {"labels": list(config.labels), "conditions": ["squat", "sit_up"]}
    work = sequence.archive(Checkpoint(variables, config, "sequence", meta=meta), exercise="squat")
    assert (work.batch, len(work.variables)) == (1, 2)
    people = [
        {"label": label, "probability": p, "start": 0.0, "stop": stop}
        for label, p, stop in (("standard", 0.9, 1.0), ("not standard", 0.6, 2.0))
    ]
    told = sequence.answer({"video": "a.mp4", "people": people, "length": 3})
    assert told == ("not standard", 0.6, {"people": people, "length": 3})
    assert sequence.answer({"video": "a.mp4", "people": []}) == (None, None, {"people": []})
    passing = {"label": None, "probability": None, "start": 0.0, "stop": 9.0}
    told = sequence.answer({"video": "a.mp4", "people": [passing, *people]})
    assert told[0] == "not standard"  # of somebody who has a verdict
    assert sequence.answer({"video": "a.mp4", "people": [passing]})[:2] == (None, None)


def test_beats_come_with_every_frame(clips):
    """Without them a long video would look like a worker that hangs."""
    beats = []
    work = pose.archive(untrained())
    clip = work.read(clips / "video.mp4", lambda: None)
    work.run([clip], lambda: beats.append(1))
    assert len(beats) == open_video(clips / "video.mp4").frames


def test_a_lifter_takes_pictures_and_videos(clips):
    config = lifters.get_config("maps")
    config.model.update({"width": 8, "blocks": 1})
    system = systems.build(config)
    detector = detect.load(untrained(), min_person=0.0)
    loaded = lift.make(system, drawn(system), detector)
    found = lifter.of_picture(loaded, make_videos.frame(3))
    people = lift.people(loaded, make_videos.frame(3))
    assert len(people) > 0
    assert [np.shape(one["xyz"]) for one in found.result["people"]] == [(17, 3)] * len(people)
    assert found.result["size"] == [192, 96]
    results.text(found._asdict())
    told = lifter.of_video(loaded, clips / "video.mp4", "raise", lambda: None)
    assert told[:2] == ("nobody", None)  # four frames are too short
    assert "too short" in told.result["note"]
    assert "video" not in told.result
