"""Scoring videos: windows as in training, the result, the joints to blame, the drawn
video; videos without people."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import codec, detect, score, systems
from bodyjax.data.sequences.exercises import joint_clip
from bodyjax.data.sequences.source import Clips, resampled, windows
from bodyjax.data.video.files import open_video
from bodyjax.data.video.writing import write_video
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import CheckpointError, ConfigError
from bodyjax.models.pose import Maps
from bodyjax.score.exercise import HARDLY_SEEN, UNLIKE
from bodyjax.score.scorer import (
    Scored,
    Track,
    frame_attention,
    frame_probability,
    score_settings,
    score_track,
    window_rows,
)
from bodyjax.score.video import person
from bodyjax.skeleton import BODY18, COCO17
from configs.sequence import get_config

SIZE, STRIDE = 128, 8
ARM = tuple(BODY18.index(f"right_{part}") for part in ("shoulder", "elbow", "wrist"))
LIMBS = [BODY18.limbs.index(pair) for pair in (ARM[:2], ARM[1:])]


def dots(variables: Any, image: Any) -> Any:
    """A network that finds red, green and blue dots beside each other as the right arm."""
    shape = (len(image), SIZE // STRIDE, STRIDE, SIZE // STRIDE, STRIDE, 3)
    cells = image.astype(jnp.float32).reshape(shape).mean(axis=(2, 4)) / 255
    others = jnp.stack([jnp.maximum(cells[..., c - 1], cells[..., c - 2]) for c in range(3)], -1)
    colour = jnp.maximum(cells - others, 0)
    heat = jnp.zeros((*cells.shape[:3], 18)).at[..., jnp.array(ARM)].set(colour)
    heat = jnp.concatenate([heat, codec.background(heat)], axis=-1)
    return Maps(heat[None], jnp.broadcast_to(variables, (1, *cells.shape[:3], 38)))


@pytest.fixture(scope="module")
def detector():
    field = np.zeros((SIZE // STRIDE, SIZE // STRIDE, 38), np.float32)
    for limb in LIMBS:
        field[..., 2 * limb] = 1
    model = SimpleNamespace(stride=STRIDE, cell=8)
    network: Any = SimpleNamespace(bones=BODY18, model=model, maps=dots)
    return detect.make(network, jnp.asarray(field), detect.Settings(size=SIZE))


def config(**changes: Any) -> Any:
    """Whole clips of COCO-17 at 8 steps, standard or not; small."""
    tiny = get_config("exercises_standard")
    tiny.update({"skeleton": "coco17", "labels": ("not standard", "standard")})
    tiny.model.update({"stored": 8, "steps": 5, "width": 8, "layers": 1, "projection": 8})
    tiny.update({"test": {"samples": 1}, **changes})
    return tiny


def checkpoint(settings: Any, **meta: Any) -> Checkpoint:
    variables = jax.jit(systems.build(settings).init)(jax.random.key(0))
    return Checkpoint(variables, settings, "sequence", meta=meta)


@pytest.fixture(scope="module")
def scorer(detector):
    return score.load(checkpoint(config()), detector)


def exercise_track(name: str, seed: int, identity: int = 0, start: int = 0) -> Track:
    xy, _ = joint_clip(name, None, "side", seed, (192, 144), 15.0)
    frames = start + np.arange(len(xy))
    return Track(identity, frames, frames / 15.0, xy.astype(np.float32), np.ones(xy.shape[:2]))


def film(path: Any, heights: np.ndarray) -> Any:
    """Three dots at these heights, one frame after the other, 10 a second."""
    y, x = np.mgrid[:SIZE, :SIZE]
    frames = []
    for height in heights:
        squares = [(x - at) ** 2 + (y - height) ** 2 for at in (26, 64, 102)]
        frames.append(255 * np.exp(-np.stack(squares, -1) / (2 * 8.0**2)))
    write_video(path, np.round(frames).astype(np.uint8), 10.0)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Down and up again three times in 4.5 s, with rest before and after."""
    t = np.clip(np.arange(45) / 10 - 0.6, 0, 3.3)
    heights = 44 + 20 * (1 - np.cos(2 * np.pi * 3 * t / 3.3))
    return film(tmp_path_factory.mktemp("video") / "three.mp4", heights)


# ---- windows ----


def clips_of(track: Track, fps: float) -> Clips:
    count, zeros = len(track.times), np.zeros(1, np.int32)
    return Clips(
        "one", COCO17, track.xy, track.score.astype(np.float32), np.array([0, count]), ("a",),
        zeros, ("no", "yes"), None, zeros, (), np.zeros((1, 2), np.float32),
        np.full(1, fps, np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("count", [20, 47, 58])
def test_windows_are_those_of_training(scorer, count):
    """At 15 frames a second and 5 wanted, one in three; fewer than ten: the whole clip at ten."""
    track = exercise_track("push_up", 3)
    track = Track(0, *(np.resize(part, (count, *part.shape[1:])) for part in track[1:]))
    track = track._replace(times=np.arange(count) / 15)
    settings = config(data={"window": 10, "kind": "", "path": "", "steps": 0, "batch": 8})
    settings.model.update({"stored": 10, "steps": 0})
    cut = score.load(checkpoint(settings), scorer.detector)
    at = window_rows(cut, track.times)
    expected = windows(clips_of(track, 15.0), 10)
    got = np.stack([np.interp(rows, np.arange(count), track.xy[:, 9, 0]) for rows in at])
    np.testing.assert_allclose(got, expected.joints[:, :, 9, 0], rtol=1e-5)


def test_whole_clips_are_seen_whole_and_long_videos_in_stretches(scorer):
    short = window_rows(scorer, np.arange(50) / 15)
    np.testing.assert_allclose(short, np.linspace(0, 49, 8)[None])
    long = window_rows(scorer, np.arange(151) / 15)  # 10 s, 4 s at a time, one a second
    assert long.shape == (7, 8)
    np.testing.assert_allclose(long[:, 0], [0, 15, 30, 45, 60, 75, 90])
    np.testing.assert_allclose(long[:, -1] - long[:, 0], 60)
    assert long[-1, -1] == 150


@pytest.mark.slow
def test_a_track_gets_what_the_system_says_of_the_same_clip(scorer):
    track = exercise_track("sit_up", 5)
    data = resampled(clips_of(track, 15.0), 8)
    batch = data.arrays() | {"size": np.array([[192, 144]], np.float32)}
    expected = scorer.system.predict(scorer.variables, batch)
    found = score_track(scorer, track, (192, 144))
    np.testing.assert_allclose(found.probability, expected["probability"], atol=1e-5)
    np.testing.assert_allclose(found.attention, expected["attention"], atol=1e-5)
    np.testing.assert_allclose(found.share.sum(-1), 1, atol=1e-5)


def test_frames_take_the_mean_of_their_windows():
    at = np.array([[0.0, 2, 4], [3, 5, 7]])
    probability = np.array([[1.0, 0.0], [0.2, 0.8]])
    attention = np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    scored = Scored(at, probability, attention, at, np.zeros((2, 17)), ("", ""))
    part = scored._replace(reasons=("", UNLIKE))
    expected = [1, 1, 1, 1, 1, np.nan, np.nan, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(frame_probability(part, 10)[:, 0], expected)
    np.testing.assert_array_equal(part.told().probability, [[1.0, 0.0]])
    curve = frame_probability(scored, 10)
    np.testing.assert_allclose(curve[:, 0], [1, 1, 1, 0.6, 0.6, 0.2, 0.2, 0.2, 0.2, 0.2])
    np.testing.assert_allclose(curve.sum(-1), 1)
    np.testing.assert_allclose(
        frame_attention(scored, 10), [0.25, 0, 0.125, 0, 0.125, 0, 0, 0.5, 0, 0]
    )


# ---- the result ----


def test_people_events_and_what_is_left_out(scorer, video):
    """Two people at different times, and one who is seen for three frames."""
    second = exercise_track("push_up", 8, identity=3, start=20)
    passing = Track(5, *(part[:3] for part in second[1:]))
    everyone = [exercise_track("push_up", 7), second, passing]
    found = score.result(scorer, open_video(video), everyone)
    json.dumps(found, allow_nan=False)
    assert [one["person"] for one in found["people"]] == [1, 4]
    assert found["left_out"] == {"seen too short": 1}
    assert "note" not in found
    for one in found["people"]:
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        good = one["probabilities"]["standard"]
        assert one["label"] == ("standard" if good > 0.5 else "not standard")
        assert sum(one["joints"].values()) == pytest.approx(1, abs=2e-3)
        assert list(one["joints"].values()) == sorted(one["joints"].values(), reverse=True)
        assert set(one["joints"]) == set(COCO17.joints)
        assert one["repetitions"]["count"] == len(one["repetitions"]["each"]) > 0
    starts = [event["start"] for event in found["events"]]
    assert starts == sorted(starts)
    assert {event["person"] for event in found["events"]} == {1, 4}
    assert all(event["start"] < event["stop"] for event in found["events"])
    kinds = {event["event"] for event in found["events"]}
    assert "repetition" in kinds
    assert kinds & set(scorer.labels)


def test_people_who_do_something_else_get_no_verdict(scorer, video, tmp_path):
    weights = score_settings(get_config("pushup")).exercise
    judge = replace(scorer, exercise=weights)
    other = exercise_track("squat", 3)
    found = score.result(judge, open_video(video), [exercise_track("push_up", 7), other])
    json.dumps(found, allow_nan=False)
    one, two = found["people"]
    assert one["label"] in scorer.labels
    assert one["reason"] is None
    assert one["repetitions"]["count"] > 0
    assert (two["label"], two["probability"], two["reason"]) == (None, None, UNLIKE)
    assert (two["repetitions"]["count"], two["joints"]) == (0, {})
    assert {window["reason"] for window in two["windows"]} == {UNLIKE}
    assert {event["person"] for event in found["events"]} == {one["person"]}
    assert "note" not in found
    nothing = score.result(judge, open_video(video), [other])
    assert nothing["note"] == f"nothing to score: {UNLIKE}"
    assert nothing["events"] == []
    hidden = other._replace(score=np.full(other.score.shape, 0.1))
    (one,) = score.result(judge, open_video(video), [hidden])["people"]
    assert one["reason"] == HARDLY_SEEN

    out = tmp_path / "drawn.mp4"
    score.overlay(judge, video, out, score.recognize(judge, video))  # an arm alone
    drawn, original = open_video(out), open_video(video)
    gap = np.abs(drawn.read([40]).astype(int) - original.read([40]))[0].max(-1)
    assert (gap[: SIZE // 12, : SIZE // 2] > 60).any()  # "not scored"


def test_a_person_who_stands_up_is_judged_by_the_push_ups_alone(scorer):
    """Ten seconds of push-ups, then ten of squats, in windows of four seconds."""
    judge = replace(scorer, exercise=score_settings(get_config("pushup")).exercise)
    parts = [exercise_track(name, 3).xy for name in ("push_up", "squat")]
    xy = np.concatenate([np.resize(part, (150, *part.shape[1:])) for part in parts])
    track = Track(0, np.arange(300), np.arange(300) / 15, xy, np.ones(xy.shape[:2]))
    found = person(judge, track, (192, 144))
    labels = [window["label"] for window in found["windows"]]
    assert all(labels[:3])
    assert labels[-3:] == [None] * 3
    told = [w["probabilities"]["standard"] for w in found["windows"] if w["label"]]
    assert found["probabilities"]["standard"] == pytest.approx(np.mean(told), abs=1e-3)
    last = max(w["stop"] for w in found["windows"] if w["label"])
    assert all(done["start"] < last for done in found["repetitions"]["each"])


def test_a_video_is_scored_and_drawn(scorer, video, tmp_path):
    found = score.recognize(scorer, video)
    json.dumps(found, allow_nan=False)
    assert found["length"] == 45
    (one,) = found["people"]
    assert (one["start"], one["stop"]) == (0.0, pytest.approx(4.4, abs=0.01))
    assert one["repetitions"]["count"] == 3
    arm = {"right_shoulder", "right_elbow", "right_wrist"}
    assert sum(one["joints"][joint] for joint in arm) == pytest.approx(1, abs=1e-3)
    assert all(0 <= step["frame"] < 45 for step in one["attention"])

    out = tmp_path / "drawn.mp4"
    score.overlay(scorer, video, out, found)
    drawn, original = open_video(out), open_video(video)
    assert (drawn.frames, drawn.size) == (45, (SIZE, SIZE))
    gap = np.abs(drawn.read([40]).astype(int) - original.read([40]))[0].max(-1)
    assert (gap[: SIZE // 12, : SIZE // 2] > 60).any()  # the text
    assert (gap[-SIZE // 12 :] > 60).any()  # the strip


def test_a_video_without_people_has_an_empty_result_that_says_so(scorer, tmp_path):
    path = tmp_path / "empty.mp4"
    write_video(path, np.full((12, SIZE, SIZE, 3), 90, np.uint8), 10.0)
    found = score.recognize(scorer, path)
    assert found["people"] == found["events"] == []
    assert found["note"] == "nothing to score: no person was found"
    score.overlay(scorer, path, tmp_path / "drawn.mp4", found)
    drawn = open_video(tmp_path / "drawn.mp4").read([5])[0].astype(int)
    assert (np.abs(drawn - 90) > 60).any()  # "no person"


@pytest.mark.slow
def test_labels_that_are_movements(scorer, video):
    settings = config(labels=("pull", "push", "sit"))
    several = score.load(checkpoint(settings), scorer.detector)
    assert several.good is None
    (one,) = score.result(several, open_video(video), [exercise_track("pull_up", 2)])["people"]
    assert one["label"] == max(one["probabilities"], key=one["probabilities"].get)


# ---- what can't be scored ----


def test_checkpoints_that_cannot_score_a_video(scorer):
    flat = config()
    flat.model.dims = 3
    with pytest.raises(CheckpointError, match="3D joints"):
        score.load(checkpoint(flat), scorer.detector)
    hands = config()
    with hands.ignore_type():
        hands.skeleton = {
            "name": "x",
            "joints": "left_thumb right_thumb",
            "limbs": "left_thumb-right_thumb",
        }
    with pytest.raises(CheckpointError, match="no detector finds"):
        score.load(checkpoint(hands), scorer.detector)
    with pytest.raises(CheckpointError, match="system pose"):
        score.load(Checkpoint({}, config(), "pose"), scorer.detector)


def test_the_exercise_is_asked_for_where_the_model_needs_it(scorer):
    needs = config()
    needs.model.conditions = 2
    saved = checkpoint(needs, conditions=["squat", "sit_up"])
    with pytest.raises(CheckpointError, match="squat, sit_up"):
        score.load(saved, scorer.detector)
    assert score.load(saved, scorer.detector, "sit_up").condition == 1
    with pytest.raises(ConfigError, match="no exercise 'jump'"):
        score.load(saved, scorer.detector, "jump")
