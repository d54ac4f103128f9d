"""Detectors of other joints than people's eighteen: coco17, and a COCO file's own, from the command
that trains to what is found and measured."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from bodyjax import detect, skeleton, systems
from bodyjax.commands import detect as launch_detect
from bodyjax.commands import evaluate, train
from bodyjax.data import feeds
from bodyjax.data.video.writing import write_video
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.errors import CheckpointError, ConfigError, DataError
from bodyjax.evaluate import pictures
from bodyjax.train import start
from configs.pose import get_config
from tests.data import make_videos
from tests.picture_sets import coco_set

CATEGORY = {
    "id": 1,
    "name": "dog",
    "keypoints": ["nose", "L_Eye", "R_Eye", "tail base"],
    "skeleton": [[1, 2], [1, 3], [1, 4]],
}
TINY = ["--config=configs/pose.py:tiny", "--config.train.steps=2", "--config.optimizer.warmup=1",
        "--config.model.width=8", "--config.data.batch=2"]  # fmt: skip


def dogs(folder, category: dict, count: int = 6) -> None:
    """Pictures of 50 x 40 with one dog each; the last two are held back."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, count + 1):
        pixels = rng.integers(0, 255, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        split = "val" if number > count - 2 else "train"
        images.append({"id": number, "file_name": f"{number}.png", "split": split})
        joints = np.concatenate([rng.uniform(5, 35, (4, 2)), np.full((4, 1), 2)], 1)
        low, size = joints[:, :2].min(0), np.ptp(joints[:, :2], axis=0)
        annotations.append(
            {
                "id": number, "image_id": number, "category_id": 1, "iscrowd": 0,
                "keypoints": joints.ravel().tolist(), "num_keypoints": 4,
                "bbox": [*low.tolist(), *size.tolist()],
            }
        )  # fmt: skip
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "annotations.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run, data): a detector of dogs, two steps from random weights."""
    folder = tmp_path_factory.mktemp("dogs")
    dogs(folder / "dogs", CATEGORY)
    arguments = [*TINY, f"--config.data={folder}", "--config.data.valid=dogs",
                 "--config.data.sets={'dogs': 1.0}", "--config.model.skeleton=",
                 f"--workdir={folder / 'run'}"]  # fmt: skip
    assert train.main(arguments) == 0
    return folder / "run", folder / "dogs"


def test_a_checkpoint_knows_its_joints_without_its_data(trained, tmp_path):
    run, _ = trained
    shutil.copytree(run, tmp_path / "elsewhere")
    config = checkpoints.load(tmp_path / "elsewhere").config
    bones = systems.build(config).bones
    assert bones == skeleton.make("dog", CATEGORY["keypoints"], [
        ("nose", "L_Eye"), ("nose", "R_Eye"), ("nose", "tail base")])  # fmt: skip
    assert bones.mirror == (0, 2, 1, 3)
    assert checkpoints.load(run).skeleton == "dog"


def test_it_finds_its_own_joints(trained, tmp_path):
    run, data = trained
    detector = detect.load(run, threshold=0.0, min_score=0.0, min_paf=-1.0, min_parts=1)
    picture = data / "images" / "1.png"
    found = detect.find(detector, picture)
    assert found.skeleton.joints == tuple(CATEGORY["keypoints"])
    assert len(found)
    assert all(len(person["keypoints"]) == 12 for person in found.coco())
    assert [len(person["found"]) for person in detect.people(detector, picture)] == [4] * len(found)
    film = tmp_path / "film.mp4"
    write_video(film, make_videos.frames(2), 10.0)
    for input_, out in ((picture, "one.png"), (film, "one.mp4")):
        words = ["--checkpoint", str(run), "--input", str(input_), "--out", str(tmp_path / out)]
        assert launch_detect.main([*words, "--json", str(tmp_path / "result.json")]) == 0
        assert (tmp_path / out).is_file()
        people = json.loads((tmp_path / "result.json").read_text())
        assert all(len(person["keypoints"]) == 12 for person in people)


def test_without_sigmas_pck_is_measured_and_ap_refused(trained, tmp_path, capsys):
    run, data = trained
    words = ["--checkpoint", str(run), "--data", str(data), "--samples", "0"]
    assert evaluate.main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["AP"] is None
    assert report["refused"].startswith("skeleton 'dog' has no sigmas")
    assert "\n" not in report["refused"]
    assert report["n_pck_people"] == 6
    with pytest.raises(ConfigError, match="no sigmas"):
        evaluate.main([*words, "--pictures", str(tmp_path / "drawn")])
    dogs(tmp_path / "others", CATEGORY | {"keypoints": ["nose", "L_Eye", "R_Eye", "tail"]})
    with pytest.raises(DataError, match="no joint is called tail base"):
        evaluate.main(["--checkpoint", str(run), "--data", str(tmp_path / "others")])


def test_with_sigmas_there_is_ap(trained, tmp_path):
    """The same weights, the config with sigmas; labels in other places of the file's list."""
    run, _ = trained
    stored = checkpoints.load(run)
    with stored.config.unlocked(), stored.config.ignore_type():
        stored.config.model.skeleton.sigmas = (0.05, 0.05, 0.05, 0.1)
    dogs(tmp_path / "dogs", CATEGORY)
    report = pictures.evaluate(stored, tmp_path / "dogs", samples=0, progress=False)
    assert report["AP"] is not None
    assert set(report["per_joint"]) == set(CATEGORY["keypoints"])
    assert "refused" not in report


@pytest.mark.slow
def test_coco17_trains(tmp_path):
    rng = np.random.default_rng(0)
    tables = [[np.column_stack([rng.uniform(4, 36, (17, 2)), np.full(17, 2)])] for _ in range(6)]
    coco_set(tmp_path / "own", tables, split=["train"] * 4 + ["val"] * 2)
    arguments = [*TINY, "--config.model.skeleton=coco17", f"--config.data={tmp_path}",
                 "--config.data.sets={'own': 1.0}", "--config.data.valid=own",
                 f"--workdir={tmp_path / 'run'}"]  # fmt: skip
    assert train.main(arguments) == 0
    detector = detect.load(tmp_path / "run")
    assert detector.skeleton is skeleton.COCO17


def test_a_start_of_other_joints_is_refused(trained):
    run, _ = trained
    config = get_config("tiny")
    config.start, config.model.width = str(run), 8
    with pytest.raises(CheckpointError, match="has the joints of dog, the model those of body18"):
        start.variables(config, systems.build(config), None)


@pytest.mark.parametrize("name", ["coco17", "lsp14", "h36m17"])
def test_feeds_give_the_joints_of_the_model(name):
    config = get_config("tiny")
    config.model.skeleton = name
    batch = next(feeds.open_feed(config).train_batches(0))
    for field, spec in systems.build(config).batch_spec(4).items():
        assert (batch[field].shape, str(batch[field].dtype)) == (spec.shape, spec.dtype), field
    known = {skeleton.get(name).joints[j] for j in np.flatnonzero(batch["joint_mask"].all(0))}
    assert {"left_knee", "right_wrist"} <= known
    assert ("head_top" in known) is False  # simulated people's heads have no top


def test_sets_of_other_joints_are_one_line(tmp_path):
    dogs(tmp_path / "dogs", CATEGORY | {"keypoints": ["snout", "L_Eye", "R_Eye", "tail"]})
    config = get_config("tiny")
    config.data.path, config.data.valid = str(tmp_path), "dogs"
    with pytest.raises(
        ConfigError, match=r"model\.skeleton: .*dogs.* joints of dog, none"
    ) as caught:
        feeds.open_feed(config)
    assert "\n" not in str(caught.value)
    with config.unlocked(), config.ignore_type():
        config.model.skeleton = {"name": "points", "joints": "snout tail", "limbs": ""}
    with pytest.raises(ConfigError, match=r"model\.skeleton.*'points' should be one with limbs"):
        systems.build(config)
