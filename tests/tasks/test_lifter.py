"""What the commands ask of the lifter: starts, a tiny training, measuring on rendered people."""

import json

import jax
import numpy as np
import pytest

from bodyjax import lift, systems, tasks
from bodyjax.commands import evaluate as command
from bodyjax.data.poses3d.rendered import rendered
from bodyjax.errors import CheckpointError, ConfigError
from bodyjax.evaluate import lifting
from bodyjax.tasks import lifter as task
from configs import lifter as configs
from tests.data.test_person_crops import rendered_set


@pytest.mark.slow
def test_a_tiny_training_moves_depth_and_is_measured(tmp_path, capsys):
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
    with pytest.raises(CheckpointError, match="from crops of pictures"):
        lift.load(tmp_path / "run")


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


def test_sets_without_joints_in_space_are_refused(tmp_path):
    (tmp_path / "annotations.json").write_text("{}")
    with pytest.raises(ConfigError, match="needs joints in space"):
        lifting.evaluate("lifter", tmp_path)
