"""What the commands ask of the lifter: starts, a tiny training, measuring on rendered people."""

import json

import jax
import numpy as np
import pytest

from bodyjax import lift, skeleton, systems, tasks
from bodyjax.commands import evaluate as command
from bodyjax.data import affine, person_crops
from bodyjax.data.pictures.lsp_arrays import MARGIN
from bodyjax.data.pictures.simulated3d import SimulatedPeople
from bodyjax.data.poses3d.rendered import rendered
from bodyjax.data.video.writing import write_video
from bodyjax.errors import CheckpointError, ConfigError
from bodyjax.evaluate import lifting
from bodyjax.evaluate.lifting_views import better_fit, overlap
from bodyjax.lift.crops import Crops
from bodyjax.skeleton import H36M17, LSP14
from bodyjax.tasks import lifter as task
from configs import lifter as configs
from tests.data.test_person_crops import rendered_set
from tests.picture_sets import body, knowing, lsp_set

SIDES = ("left", "right")


@pytest.mark.slow
def test_a_tiny_training_moves_depth_and_lifts_and_is_measured(tmp_path, capsys):
    config = configs.get_config("tiny")
    config.data.valid = ""
    done = tasks.train(config, tmp_path / "run")
    assert done["step"] == 4
    folder = rendered_set(tmp_path / "set")
    assert command.main(["--checkpoint", str(tmp_path / "run"), "--data", str(folder)]) == 0
    report = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))
    assert report["n"] == 4
    assert report["mpjpe"] > report["pa_mpjpe"] > 0
    assert report["mean_pose"]["n"] == 4
    assert report["split"] == {"train": 3, "test": 1}
    whole = report["whole_picture"]
    assert whole["people"] == whole["missed"] + whole["n"] == 4
    lifter = lift.load(tmp_path / "run", detector=knowing({0: [body(JOINTS)]}))
    folder = lsp_set(tmp_path / "flat", JOINTS[:14][None], np.ones((1, 14), bool), np.array([10]))
    report = lifting.evaluate(lifter, folder, "test", progress=False)
    assert (report["n"], report["people"], report["n_limb_joints"]) == (1, 1, 12)
    (person,) = lift.people(lifter, np.zeros((40, 50, 3), np.uint8))
    assert np.isfinite(person["xyz"]).all()
    assert np.ptp(person["xyz"][:, 1]) > 100
    write_video(tmp_path / "a.mp4", np.zeros((12, 40, 50, 3), np.uint8), 12)
    (motion,) = lift.video(lifter, tmp_path / "a.mp4").motions
    np.testing.assert_allclose(motion.xyz[0], motion.xyz[-1], atol=30)
    np.testing.assert_allclose(motion.xyz[0], person["xyz"], atol=30)


JOINTS = np.random.default_rng(2).uniform(8, 36, (17, 2))


def test_pictures_with_2d_labels_give_pck_and_the_agreement_of_bones(tmp_path):
    """A stand-in for the network sees the joints of both people, the second one's knees and ankles
    a torso too low, and poses whose left thigh is 0 and 20 % longer than the right one."""
    labels = np.random.default_rng(2).uniform([8, 8], [42, 32], (2, 14, 2))
    ids = np.array([3, 10])
    labelled = np.ones((2, 14), bool)
    labelled[0, 13] = False
    folder = lsp_set(tmp_path / "flat", labels, labelled, ids)
    bones = H36M17.joints
    xy, _ = skeleton.convert(labels, np.full((2, 14), 2, np.uint8), LSP14, H36M17)
    legs = [bones.index(f"{side}_{joint}") for side in SIDES for joint in ("knee", "ankle")]
    xy[1, legs] += 40
    pose = SimulatedPeople("train", 1, (96, 96))[0]["xyz"][0]
    uneven = pose.copy()
    hip, knee, ankle = (bones.index(f"left_{joint}") for joint in ("hip", "knee", "ankle"))
    uneven[[knee, ankle]] += 0.2 * (pose[knee] - pose[hip])
    shown = iter([(pose, xy[0]), (uneven, xy[1])])

    def look(variables, image, camera, height):
        place, found = next(shown)
        low, high = labels[len(looked)].min(0), labels[len(looked)].max(0)
        more = MARGIN * (high - low).max()
        matrix = person_crops.crop_map(np.concatenate([low - more, high + more]), 64, 0.8)
        looked.append(image.shape)
        return place[None], affine.move(found, matrix)[None], np.ones((1, 17))

    looked = []
    lifter = lift.Lifter(None, None, None, crops=Crops(64, 0.8, look))
    report = lifting.evaluate(lifter, folder, progress=False)
    assert looked == [(1, 64, 64, 3)] * 2
    assert report["bones"]["by_box"] == 0.5
    assert report["pck_limbs"] == pytest.approx(20 / 24)
    assert report["per_joint"]["left_knee"] == 0.5
    assert report["split"] == {"train": 1, "test": 1}


def test_a_start_gives_its_trunk_or_all_of_it():
    config = configs.get_config("pictures")
    system = systems.build(config)
    shapes = jax.eval_shape(system.init, jax.random.key(0))
    made = task.initial(config, system)
    expected = {part: shapes[part] for part in ("params", "batch_stats")}
    assert jax.tree.map(np.shape, made) == jax.tree.map(lambda leaf: leaf.shape, expected)
    from bodyjax.engine import checkpoint

    small = checkpoint.load("small").variables["params"]
    for trunk in task.FROM_DETECTOR:
        jax.tree.map(np.testing.assert_array_equal, made["params"][trunk], small[trunk])


def test_starts_that_do_not_fit():
    config = configs.get_config("pictures")
    config.start, config.model.pyramid = "small", (64, 96, 96, 96)
    with pytest.raises(CheckpointError, match="another backbone or pyramid"):
        task.initial(config, systems.build(config))
    config = configs.get_config("maps")
    config.start = "small"
    with pytest.raises(CheckpointError, match="no start for this lifter"):
        task.initial(config, systems.build(config))
    config.start = ""
    assert task.initial(config, systems.build(config)) == {}


def test_measures_of_the_truth_of_a_mirror_and_of_nobody(tmp_path):
    people = rendered(rendered_set(tmp_path / "set"), "all")
    truth = lifting.truth(people)
    assert lifting.measured(people, truth)["mpjpe"] == 0
    assert lifting.bone_agreement(truth) == pytest.approx(1.0)
    assert lifting.measured(people, truth * [-1, 1, 1])["pa_mpjpe"] > 20
    nobody = np.full_like(truth, np.nan)
    assert lifting.measured(people, nobody)["mpjpe"] > 200
    people.arrays["xyz"][1, 5] = np.nan  # a label that is not known counts nowhere
    known = lifting.measured(people, truth)
    assert known["mpjpe"] == 0
    assert known["n"] == 4
    uneven = truth.copy()
    uneven[:, 13] += 80 * np.sign(uneven[:, 13] - uneven[:, 12])
    assert lifting.bone_agreement(uneven) < 1
    mean = lifting.mean_pose(tmp_path / "set")
    np.testing.assert_allclose(mean[0], 0.0)


def test_people_found_are_matched_once_each():
    xy = np.random.default_rng(0).uniform(0, 100, (3, 17, 2))
    box = np.tile([0.0, 0, 100, 100], (2, 1))
    seen = np.full((2, 17), 2)
    match = lifting.matched(xy, xy[[2, 0]] + 1.0, seen, box)
    assert match.tolist() == [2, 0]
    assert lifting.matched(xy[:0], xy[:2], seen, box).tolist() == [-1, -1]
    assert lifting.matched(xy[:1], xy[[0, 0]], seen, box).tolist() == [0, -1]


def test_the_joints_whose_box_fits_are_taken():
    rng = np.random.default_rng(0)
    left, right = (rng.uniform([x, 10], [x + 30, 60], (17, 2)) for x in (10, 60))
    scores = np.ones((2, 17))
    box = np.stack([np.concatenate([j.min(0) - 3, j.max(0) + 3]) for j in (left, right)])
    mixed = np.where(np.arange(17)[:, None] % 2, left, right)  # of both people, as crops may give
    one = np.stack([mixed, right]), scores
    xy, score = better_fit(one, (np.stack([right + 1, left]), 0.5 * scores), box, (80, 100))
    np.testing.assert_array_equal(xy, [left, right])
    assert score[:, 0].tolist() == [0.5, 1.0]
    assert better_fit(one, (xy[:0], scores[:0]), box, (80, 100)) is one
    assert overlap(np.array([0, 0, 2, 2.0]), np.array([1, 0, 3, 2.0])) == pytest.approx(1 / 3)


def test_sets_without_pictures_of_people_are_refused(tmp_path):
    np.savez(tmp_path / "natops.npz", x=np.zeros(3))
    with pytest.raises(ConfigError, match="a set of natops; a lifter needs people in pictures"):
        lifting.evaluate("lifter", tmp_path)
