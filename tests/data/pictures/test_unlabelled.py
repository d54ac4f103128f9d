"""Frames without labels: which clips, that no label of theirs counts, and faults."""

import json

import numpy as np
import pytest

from bodyjax.data import augment, feeds, video
from bodyjax.data.pictures.unlabelled import EVERY, WithNeighbours, unlabelled_frames
from bodyjax.errors import ConfigError, VideoError
from bodyjax.skeleton import BODY18
from configs.phone import get_config

FRAMES = 20
LEVELS = np.linspace(20, 210, FRAMES).astype(np.uint8)
"""Brightness of each frame: a frame's colour tells its number."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("clip") / "a.mp4"
    video.write_video(file, [np.full((48, 64, 3), level, np.uint8) for level in LEVELS], 30)
    return file.read_bytes()


@pytest.fixture
def films(tmp_path, data):
    """clips/walk/film0..5.mp4; films 0 and 3 are of the test side of split 1."""
    split = {}
    for film in range(6):
        file = tmp_path / "films" / "clips" / "walk" / f"film{film}_walk_f_0.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        split[file.stem] = 2 if film % 3 == 0 else 1
    told = {"classes": ["walk"], "1": split}
    (tmp_path / "films" / "splits.json").write_text(json.dumps(told))
    return tmp_path / "films"


@pytest.fixture
def pushups(tmp_path, data):
    """A set in the form of pushfit: eleven clips of groups 0 to 10."""
    root = tmp_path / "pushups"
    (root / "videos").mkdir(parents=True)
    names = [f"p{i:03}.mp4" for i in range(11)]
    for name in names:
        (root / "videos" / name).write_bytes(data)
    table = {"clip": np.array(names), "standard": np.arange(11) % 2, "group": np.arange(11)}
    np.savez(root / "joints.npz", **table)
    return root


def test_every_eighth_frame_of_the_training_side(films):
    source = unlabelled_frames(films)
    assert len(source) == len(source.heldout) == len(source.names) == 4 * 3
    assert {name.split("/")[1][:5] for name in source.names} == {
        "film1", "film2", "film4", "film5",
    }  # fmt: skip
    assert not source.heldout.any()
    assert "neighbour" not in source[0]
    for index in (0, 4, 11):
        level = source[index]["image"].mean()
        assert abs(level - LEVELS[EVERY * (index % 3)]) < 4
    assert source.fingerprint == unlabelled_frames(films).fingerprint


def test_groups_that_are_tested_are_left_out_and_counted(pushups):
    source = unlabelled_frames(pushups)
    kept = {name.split("/")[1].split(",")[0] for name in source.names}
    assert kept == {f"p{i:03}" for i in range(11) if i % 5}
    assert source.left_out == {"clips left for tests": 3}


def test_no_label_of_theirs_counts_in_a_batch(films):
    example = unlabelled_frames(films).to(BODY18)[0]
    made = augment.augment_picture(example, 64, np.random.default_rng(0), stride=4)
    assert made["image"].shape == (64, 64, 3)
    assert made["area_mask"].sum() == 0
    assert made["visible"].sum() == 0
    assert made["xy"].shape == (8, 18, 2)


def test_a_feed_mixes_them_with_labelled_pictures_by_their_share(films):
    config = get_config("phone").to_dict()
    config["model"] |= {"size": (64, 64)}
    config["data"] |= {
        "path": str(films.parent), "valid": "simulated", "sets": {"simulated": 0.5},
        "unlabelled": {"films": 0.5}, "batch": 8,
    }  # fmt: skip
    batch = next(feeds.picture_feed(config).train_batches(0))
    silent = batch["area_mask"].sum((1, 2)) == 0
    assert silent.sum() == 4
    # one colour all over, but for what lies outside the frame
    assert batch["image"][silent].std((1, 2)).max() < batch["image"][~silent].std((1, 2)).max()
    config["distill"]["teacher"] = ""
    with pytest.raises(ConfigError, match=r"data\.unlabelled: frames without labels teach nothing"):
        feeds.picture_feed(config)
    config["distill"] = None
    with pytest.raises(ConfigError, match=r"data\.unlabelled"):
        feeds.picture_feed(config)


def test_a_clip_that_can_t_be_read_is_named_or_left_out(films):
    file = films / "clips" / "walk" / "film1_walk_f_0.mp4"
    file.write_bytes(b"no video")
    with pytest.raises(VideoError, match="film1_walk"):
        unlabelled_frames(films)
    source = unlabelled_frames(films, on_bad="skip")
    assert len(source) == 3 * 3
    assert sum(source.left_out.values()) >= 1
    assert any("film1_walk" in line for line in source.bad)


def test_a_neighbour_changes_in_the_same_way(films):
    source = unlabelled_frames(films, neighbours=True).to(BODY18)
    transform = WithNeighbours(
        feeds.TrainPicture((64, 64), 4, 2, {"canvas": 64, "mirror": BODY18.mirror})
    )
    example = source[1]
    made = transform(example, np.random.default_rng(5))
    assert made["neighbour_known"]
    alone = transform.transform(example, np.random.default_rng(5))
    np.testing.assert_array_equal(made["image"], alone["image"])
    twin = {**example, "image": example["neighbour"]}
    again = transform.transform(twin, np.random.default_rng(5))
    np.testing.assert_array_equal(made["neighbour"], again["image"])
    brighter = example["neighbour"].astype(int).mean() - example["image"].mean()
    assert 5 < brighter < 15  # the next frame
    lone = {name: part for name, part in example.items() if name != "neighbour"}
    made = transform(lone, np.random.default_rng(5))
    assert not made["neighbour_known"]
    np.testing.assert_array_equal(made["neighbour"], made["image"])


def test_agreement_without_neighbouring_frames_is_refused(films):
    config = get_config("phone").to_dict()
    config["data"] |= {"path": str(films.parent), "valid": "simulated", "sets": {"simulated": 1.0}}
    config["distill"]["agreement"] = 1.0
    with pytest.raises(ConfigError, match=r"distill\.agreement: no set of data\.unlabelled"):
        feeds.picture_feed(config)
    config["data"]["unlabelled"] = {"films": 0.5}
    batch = next(feeds.picture_feed(config).train_batches(0))
    assert batch["neighbour"].shape == batch["image"].shape
    assert batch["neighbour_known"].sum() == 4


def test_a_damaged_video_beside_joints_is_left_out_on_request(pushups):
    damaged = pushups / "videos" / "p001.mp4"
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(VideoError, match=r"p001\.mp4.*leaves it out"):
        unlabelled_frames(pushups)
    source = unlabelled_frames(pushups, on_bad="skip")
    assert {name.split("/")[1].split(",")[0] for name in source.names} == {
        f"p{i:03}" for i in range(2, 11) if i % 5
    }
    (line,) = source.bad
    assert "p001.mp4" in line
    assert source.left_out["clips left for tests"] == 3
