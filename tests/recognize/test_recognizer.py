"""bodyjax.recognize: from video files to movements through one compiled program."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from bodyjax import recognize, systems
from bodyjax.data import affine, augment, sampling
from bodyjax.data.clips import feed
from bodyjax.data.clips import folder as clips
from bodyjax.data.video.files import open_video
from bodyjax.errors import CheckpointError, ConfigError, DataError, VideoError
from tests import tiny_classifier as tiny
from tests.data import make_videos


@pytest.fixture(scope="module")
def system() -> Any:
    return systems.build(tiny.config())


@pytest.fixture(scope="module")
def recognizer(system: Any) -> recognize.Recognizer:
    """For files only: every test that uses it runs the same compiled program."""
    return recognize.from_system(system, tiny.variables(), tiny.config())


def fitted(frames: np.ndarray) -> np.ndarray:
    matrix = affine.fit(frames.shape[1:3], tiny.SIZE)
    return np.stack([affine.warp(frame, matrix, tiny.SIZE) for frame in frames])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of several sizes, containers, lengths and rates, in folders."""
    root = tmp_path_factory.mktemp("videos")
    (root / "a").mkdir()
    make_videos.encode(root / "a" / "long.mp4", 90, *make_videos.X264)
    make_videos.encode(root / "a" / "tall.mkv", 21, *make_videos.X264, size=(64, 128))
    make_videos.encode(root / "short.mp4", 2, *make_videos.X264)
    make_videos.encode(root / "one.avi", 1, "-c:v", "mjpeg", size=(96, 64))
    make_videos.encode(root / "late.mp4", 40, *make_videos.IRREGULAR, *make_videos.X264)
    (root / "labels.json").write_text("{}")
    return root


def test_a_video_gives_what_the_model_says_of_its_middle_frames(recognizer, folder):
    found = recognize.recognize_video(recognizer, folder / "a" / "tall.mkv")
    numbers = sampling.segment_frames(21, tiny.FRAMES, "middle")
    assert found["frames"] == numbers.tolist()
    np.testing.assert_allclose(found["times"], numbers / 30, atol=1e-3)
    assert found["length"] == 21
    assert found["size"] == [64, 128]
    assert found["duration"] == pytest.approx(0.7, abs=1e-3)
    assert found["fps"] == pytest.approx(30)

    example = {
        "path": np.asarray(str(folder / "a" / "tall.mkv")),
        "length": np.int32(21),
        "size": np.array([64, 128]),
        "label": np.int32(0),
    }
    clip = augment.fit_clip(clips.sample(example, tiny.FRAMES, "middle"), tiny.SIZE)
    probability = np.asarray(recognizer.predict(recognizer.variables, clip["frames"]).probability)
    order = np.argsort(-probability)
    assert [row["movement"] for row in found["top"]] == [tiny.LABELS[i] for i in order[:3]]
    np.testing.assert_allclose(
        [row["probability"] for row in found["top"]], probability[order[:3]], atol=2e-6
    )
    assert found["movement"] == tiny.LABELS[order[0]] == "stop"
    assert found["probability"] == found["top"][0]["probability"]
    assert found["operation"] == "stop at the line"


def test_videos_shorter_than_the_sampled_frames_repeat_them(recognizer, folder):
    assert recognize.recognize_video(recognizer, folder / "short.mp4")["frames"] == [0, 0, 1, 1]
    one = recognize.recognize_video(recognizer, folder / "one.avi")
    assert one["frames"] == [0, 0, 0, 0]
    assert one["length"] == 1


def test_times_are_those_of_the_file_where_its_rate_varies(recognizer, folder):
    found = recognize.recognize_video(recognizer, folder / "late.mp4")
    np.testing.assert_allclose(
        found["times"], open_video(folder / "late.mp4").times[found["frames"]], atol=1e-6
    )
    assert np.ptp(np.diff(found["times"])) > 0.1


def test_all_videos_share_one_program_from_frames_to_class(recognizer, folder):
    """One trace and compilation for files and windows of all sizes. In the program are the
    detector's convolutions and the LSTM's loop, and nothing goes back to the host."""
    for file in recognize.video_files(folder):
        recognize.recognize_video(recognizer, file)
    list(recognize.windows(recognizer, folder / "a" / "long.mp4", 1.0))
    assert recognizer.predict._cache_size() == 1
    frames = jax.ShapeDtypeStruct((tiny.FRAMES, *tiny.SIZE, 3), jnp.uint8)
    program = recognizer.predict.lower(recognizer.variables, frames).as_text()
    assert program.count("func.func public") == 1
    assert program.count("stablehlo.convolution") > 10
    assert "stablehlo.while" in program
    for word in ("callback", "infeed", "outfeed", "stablehlo.send", "stablehlo.recv"):
        assert word not in program


def test_predict_is_pure_and_works_under_jit_and_vmap_and_for_batches(system, recognizer):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, tiny.FRAMES, *tiny.SIZE, 3), np.uint8)
    one = [recognizer.predict(recognizer.variables, clip) for clip in frames]

    @jax.jit
    def in_one_program(variables, frames):
        predict = recognize.predictor(system)
        mapped = jax.vmap(predict, (None, 0))(variables, frames)
        return predict(variables, frames), mapped, system.predict(variables, {"frames": frames})

    batch, mapped, direct = in_one_program(recognizer.variables, frames)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *one)
    for other in (batch, mapped):
        for name in ("probability", "logits", "score", "label"):
            np.testing.assert_allclose(getattr(stacked, name), getattr(other, name), atol=1e-4)
    assert batch.probability.shape == (2, len(tiny.LABELS))
    assert batch.xy.shape == (2, tiny.FRAMES, 18, 2)
    assert batch.label.shape == (2,)
    np.testing.assert_allclose(batch.probability, direct["probability"], atol=1e-5)


def test_predict_takes_more_frames_of_another_size(system, recognizer):
    """Sampled as files are, fitted into the model's size, joints in the pixels given."""
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (11, 32, 60, 3), np.uint8)
    numbers = sampling.segment_frames(11, tiny.FRAMES, "middle")
    whole = jax.jit(recognize.predictor(system))(recognizer.variables, frames)
    small = recognize.fit_frames(jnp.asarray(frames[numbers]), tiny.SIZE)
    inner = recognizer.predict(recognizer.variables, np.asarray(small))
    np.testing.assert_allclose(whole.logits, inner.logits, atol=1e-4)
    moved = affine.move(np.asarray(whole.xy), affine.fit((32, 60), tiny.SIZE))
    sure = np.asarray(whole.score) > 0.05
    np.testing.assert_allclose(moved[sure], np.asarray(inner.xy)[sure], atol=1e-2)


@pytest.mark.parametrize("size", [(96, 128), (200, 96), (40, 60), (64, 97)])
def test_frames_of_other_sizes_are_fitted_on_the_device_as_on_the_host(size):
    """Smooth pictures: the filters of Pillow and of the device differ in detail only."""
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [np.sin(x / 17), np.cos(y / 13), np.sin((x + y) / 23)]
    image = (127 + 100 * np.stack(waves, -1)).astype(np.uint8)
    ours = np.asarray(recognize.fit_frames(jnp.asarray(image)[None], tiny.SIZE))[0]
    matrix = affine.fit(size, tiny.SIZE)
    theirs = affine.warp(image, matrix, tiny.SIZE, fill=affine.FILL)
    assert np.abs(ours.astype(int) - theirs).max() <= 3


def test_several_samplings_are_averaged(system, recognizer, folder):
    config = tiny.config()
    config.data.samples = 3
    several = recognize.from_system(system, tiny.variables(), config)
    found = recognize.recognize_video(several, folder / "a" / "long.mp4")
    spread = feed.spread(90, tiny.FRAMES, 3)
    assert found["frames"] == sorted(spread.ravel().tolist())
    video = open_video(folder / "a" / "long.mp4")
    each = [
        recognizer.predict(recognizer.variables, fitted(video.read(numbers))).probability
        for numbers in spread
    ]
    assert found["probability"] == pytest.approx(np.mean(each, axis=0).max(), abs=1e-5)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 64, 96, 3), np.float32),
        np.zeros((64, 96, 3), np.uint8),
        np.zeros((4, 64, 96, 4), np.uint8),
    ],
)
def test_what_is_no_clip_is_refused(recognizer, frames):
    with pytest.raises(ValueError, match="not uint8"):
        recognizer.predict(recognizer.variables, frames)


# ---- long videos, folders ----


def test_windows_slide_over_the_whole_video(recognizer, folder):
    path = folder / "a" / "long.mp4"
    found = list(recognize.windows(recognizer, path, 1.0))
    assert [(w["start"], w["stop"]) for w in found] == [
        (0.0, 1.0), (0.5, 1.5), (1.0, 2.0), (1.5, 2.5), (2.0, 3.0),
    ]  # fmt: skip
    for window in found:
        low = round(window["start"] * 30)
        numbers = low + sampling.segment_frames(30, tiny.FRAMES, "middle")
        assert window["frames"] == numbers.tolist()
        frames = fitted(open_video(path).read(numbers))
        probability = recognizer.predict(recognizer.variables, frames).probability
        assert window["probability"] == pytest.approx(float(probability.max()), abs=2e-6)
    # "stop" in all windows, and it has to hold for two
    assert [w["movement"] for w in found] == ["stop"] * 5
    assert [w["operation"] for w in found] == [None] + ["stop at the line"] * 4


def test_a_window_longer_than_the_video_is_one(recognizer, folder):
    [window] = recognize.windows(recognizer, folder / "short.mp4", 10.0)
    assert (window["start"], window["stop"]) == (0.0, pytest.approx(2 / 30, abs=1e-3))
    assert window["frames"] == [0, 0, 1, 1]
    assert window["operation"] is None


def test_a_long_video_as_one_result(recognizer, folder):
    found = recognize.recognize_long(recognizer, folder / "a" / "long.mp4", 1.0)
    assert len(found["windows"]) == 5
    assert found["movement"] == "stop"
    mean = np.mean([window["probability"] for window in found["windows"]])
    assert found["probability"] == pytest.approx(mean, abs=1e-5)
    assert found["operation"] == "stop at the line"
    assert found["operations"] == [
        {"operation": "stop at the line", "movement": "stop", "start": 0.0, "stop": 3.0}
    ]


def test_windows_can_be_left_in_the_middle(recognizer, folder):
    first = next(iter(recognize.windows(recognizer, folder / "a" / "long.mp4", 0.5)))
    assert first["start"] == 0.0


@pytest.mark.parametrize("window", [0.0, -1.0, float("nan"), float("inf")])
def test_windows_of_no_length_are_refused(recognizer, folder, window):
    with pytest.raises(ConfigError, match="seconds above 0"):
        next(recognize.windows(recognizer, folder / "short.mp4", window))


@pytest.mark.parametrize("window", [None, 0.5])
def test_a_damaged_video_is_refused_or_salvaged(recognizer, folder, tmp_path, window):
    noise = ("-bsf:v", "noise=amount=eq(n\\,20)*20")
    path = make_videos.recut(folder / "a" / "long.mp4", tmp_path / "damaged.mkv", *noise)
    with pytest.raises(VideoError, match="damaged"):
        recognize.recognize_long(recognizer, path, window or 9)
    if window is None:
        found = recognize.recognize_video(recognizer, path, "skip")
    else:
        found = recognize.recognize_long(recognizer, path, window, on_bad="skip")
    assert found["left_out"] > 0
    assert found["length"] + found["left_out"] == 90
    (entry,) = recognize.recognize_folder(recognizer, tmp_path, window, "skip")
    assert entry == found


def test_a_folder_gives_a_result_a_video_and_names_the_bad_ones(recognizer, folder, tmp_path):
    whole = (folder / "a" / "long.mp4").read_bytes()
    (tmp_path / "b").mkdir()
    (tmp_path / "a_good.mp4").write_bytes(whole)
    (tmp_path / "b" / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b" / "empty.mp4").write_bytes(b"")
    (tmp_path / "c_text.avi").write_text("no video")
    (tmp_path / "z_good.MP4").write_bytes(whole)
    (tmp_path / ".hidden.mp4").write_bytes(whole)
    (tmp_path / "notes.txt").write_text("not counted")
    for window in (None, 2.0):
        found = list(recognize.recognize_folder(recognizer, tmp_path, window))
        names = [Path(row["video"]).name for row in found]
        assert names == ["a_good.mp4", "cut.mp4", "empty.mp4", "c_text.avi", "z_good.MP4"]
        assert ["error" in row for row in found] == [False, True, True, True, False]
        assert found[2]["error"] == "the file is empty"
        assert found[0]["movement"] == found[4]["movement"] == "stop"
    with pytest.raises(DataError, match="no videos"):
        recognize.video_files(folder / "a" / "nothing")


# ---- loading ----


def test_exported_weights_are_loaded(recognizer, tmp_path):
    loaded = recognize.load(tiny.export(tmp_path / "weights"))
    assert loaded.labels == tiny.LABELS
    assert (loaded.frames, loaded.size, loaded.samples) == (tiny.FRAMES, tiny.SIZE, 1)
    assert loaded.operations["stop"] == ("stop at the line", 0.5, 2)
    assert "idle" not in loaded.operations
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, recognizer.variables)


def test_checkpoints_that_can_not_recognise_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        recognize.load(tmp_path / "nothing")
    other = tiny.config(hidden=24)
    with pytest.raises(CheckpointError, match=r"another model: params/.* is .*, needed is"):
        recognize.load(tiny.export(tmp_path / "other", other))
    with pytest.raises(CheckpointError, match="known joints"):
        recognize.load(tiny.export(tmp_path / "joints", tiny.config(input="joints")))
    bad = tiny.config()
    bad.operations.stop.hold = 0
    with pytest.raises(ConfigError, match=r"operations\.stop"):
        recognize.load(tiny.export(tmp_path / "hold", bad))


def test_a_model_that_gives_no_numbers_is_said(recognizer, folder):
    nan = jax.tree.map(lambda leaf: leaf * np.nan, recognizer.variables)
    broken = dataclasses.replace(recognizer, variables=nan)
    with pytest.raises(CheckpointError, match="NaN"):
        recognize.recognize_video(broken, folder / "short.mp4")


def test_missing_videos_are_video_errors(recognizer, tmp_path):
    with pytest.raises(VideoError, match="can't open"):
        recognize.recognize_video(recognizer, tmp_path / "missing.mp4")


def test_predict_is_written_to_a_file_and_read_with_equal_outputs(recognizer, tmp_path):
    frames = np.random.default_rng(1).integers(0, 256, (tiny.FRAMES, *tiny.SIZE, 3), np.uint8)
    shape = jax.ShapeDtypeStruct(frames.shape, np.uint8)
    program = export.export(recognizer.predict)(recognizer.variables, shape)
    (tmp_path / "predict").write_bytes(program.serialize())
    again = export.deserialize(bytearray((tmp_path / "predict").read_bytes()))
    got = again.call(recognizer.variables, frames)
    assert isinstance(got, recognize.Result)
    wanted = recognizer.predict(recognizer.variables, frames)
    jax.tree.map(np.testing.assert_array_equal, got, wanted)
    assert "uint8 RGB" in recognizer.predict.__doc__
