"""Teachers of the detector: stored joints, another network, its schedule, students without it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from bodyjax import losses, skeleton
from bodyjax.engine import checkpoint, loop
from bodyjax.errors import CheckpointError, ConfigError
from bodyjax.models.pose import CenterPose, Maps
from bodyjax.systems import build
from bodyjax.systems.teaching import Teaching, around, common_maps
from bodyjax.tasks.pose import frozen_teacher
from bodyjax.train import start
from configs.pose import get_config
from tests.systems.tiny_pose import (
    BONES,
    EYES,
    KEY,
    PLAIN,
    close,
    largest,
    network,
    scene,
    value_and_grad,
)

STORED = dataclasses.replace(PLAIN, teaching=Teaching(None, BONES, 0.4, 0.4, 0))
TAUGHT = dataclasses.replace(PLAIN, teaching=Teaching(network(16, 1), BONES, 0.25, 0.75, 4))


@pytest.fixture(scope="module")
def stored():
    return value_and_grad(STORED)


@pytest.fixture(scope="module")
def counting(variables):
    """Variables with the count of taught steps."""
    statistics = {**variables["batch_stats"], "teaching": {"step": jnp.zeros(())}}
    return {**variables, "batch_stats": statistics}


@pytest.mark.slow
def test_stored_joints_teach_where_labels_are_silent(counting, stored):
    batch = scene(STORED)
    value, aux, _ = stored(counting, batch)
    assert set(aux.metrics) == {"loss", "heatmaps", "pafs", "teacher", "alpha"}
    np.testing.assert_allclose(aux.metrics["alpha"][0], 0.4)
    batch["area_mask"][:] = 0
    alone, aux, grads = stored(counting, batch)
    np.testing.assert_allclose(alone, 0.4 * aux.metrics["teacher"][0], rtol=1e-5)
    assert 0 < alone < value
    assert largest(grads) > 0
    batch["teacher_mask"][:] = False
    nothing, _, grads = stored(counting, batch)
    assert nothing == 0
    assert largest(grads) == 0


def test_pictures_without_a_teacher_keep_their_labels(variables, counting, plain, stored):
    batch = scene(STORED)
    batch["teacher_mask"][:] = False
    value, aux, grads = stored(counting, batch)
    plain_batch = {name: batch[name] for name in PLAIN.batch_spec(3)}
    expected, _, plain_grads = plain(variables, plain_batch)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert close(grads, plain_grads)
    assert aux.metrics["teacher"][0] == 0


def test_stored_joints_are_drawn_as_the_labels_are():
    batch = scene(STORED, rows=1)
    batch["teacher_mask"][0, EYES[1]] = False
    arrays = {name: jnp.asarray(array) for name, array in batch.items()}
    maps = Maps(jnp.full((2, 1, 8, 8, 8), 0.3), jnp.full((2, 1, 8, 8, 6), 0.2))
    aims, taught = STORED.stored_lesson(arrays, maps)
    same = arrays["teacher_xy"][:, None], arrays["teacher_visible"][:, None]
    heatmaps, pafs = STORED.drawn(*same, (8, 8))
    near = np.asarray(around(*(x[:, 0] for x in same), (8, 8), 8))[..., 0]
    assert near.any()
    assert not near.all()
    for stage in (0, 1):
        np.testing.assert_allclose(aims.heatmaps[stage][near][:, :6], heatmaps[near][:, :6])
        np.testing.assert_allclose(aims.pafs[stage][near], pafs[near])
        assert (np.asarray(aims.heatmaps)[stage][~near] == np.float32(0.3)).all()
        # nothing is said about the right eye, and so not about the background
        assert (np.asarray(aims.heatmaps)[stage][..., 6:] == np.float32(0.3)).all()
    assert taught == 1


def test_around_is_the_enlarged_box_of_the_visible_joints():
    xy = jnp.array([[[11.5, 19.5], [27.5, 35.5], [60.0, 60.0]], [[1.0, 1], [2, 2], [3, 3]]])
    visible = jnp.array([[2, 1, 0], [0, 0, 0]])
    cells = np.asarray(around(xy, visible, (8, 8), 8, margin=0.5))[..., 0]
    expected = np.zeros((8, 8), bool)
    expected[1:6, 0:5] = True  # x 3.5 .. 35.5, y 11.5 .. 43.5
    np.testing.assert_array_equal(cells[0], expected)
    assert not cells[1].any()


@pytest.fixture(scope="module")
def taught():
    """(variables, value and gradient also of the frozen part) of a student with its teacher."""
    held = jax.jit(TAUGHT.init)(KEY)

    def loss(params, frozen, rest, batch):
        return TAUGHT.loss({"params": params, "frozen": frozen, "batch_stats": rest}, batch, KEY)

    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

    def run(batch, step=0.0):
        rest = {**held["batch_stats"], "teaching": {"step": jnp.float32(step)}}
        return compiled(held["params"], held["frozen"], rest, batch)

    return held, run


@pytest.mark.slow
def test_total_is_the_distillation_loss_of_both_branches(taught):
    held, run = taught
    batch = scene()
    (value, aux), _ = run(batch, 1.0)
    np.testing.assert_allclose(aux.metrics["alpha"][0], 0.375)
    student = TAUGHT.model.apply(
        {name: held[name] for name in ("params", "batch_stats")},
        batch["image"], train=True, mutable=["batch_stats"],
    )[0]  # fmt: skip
    teacher = TAUGHT.teaching.network.apply(held["frozen"]["teacher"], batch["image"])
    target = TAUGHT.targets({name: jnp.asarray(array) for name, array in batch.items()})
    # The teacher's maps weigh cells as the labels do: 1 + 10 x peak, 1 + 3 x length of the field.
    joints, fields = np.asarray(teacher.heatmaps[-1]), np.asarray(teacher.pafs[-1])
    peaks = np.where(np.arange(8) < 7, np.clip(joints, 0, 1), 0)
    lengths = np.hypot(fields[..., ::2], fields[..., 1::2]).repeat(2, axis=-1)
    sides = (
        (student.heatmaps, joints, target.heatmaps, target.heatmap_mask, 1 + 10 * peaks),
        (student.pafs, fields, target.pafs, target.paf_mask, 1 + 3 * lengths),
    )
    expected = 0.0
    for stages, taught_map, aim, mask, weight in sides:
        for stage in np.asarray(stages):
            expected += 0.625 * (mask * (stage - aim) ** 2).sum() / 3
            expected += 0.375 * (weight * (stage - taught_map) ** 2).sum() / 3
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def random_maps(rows=3, heads=False):
    rng = np.random.default_rng(5)
    stages = 3 if heads else 2
    maps = [rng.normal(size=(n, rows, 8, 8, c)) for n, c in ((stages, 8), (2, 6))]
    if heads:
        maps += [rng.random((rows, 8, 8)), *rng.normal(size=(2, rows, 8, 8, 7, 2))]
    return Maps(*(jnp.asarray(x, jnp.float32) for x in maps))


def label_term(system, maps, target):
    heat = losses.stage_losses(maps.heatmaps, target.heatmaps, target.heatmap_mask)
    fields = losses.stage_losses(maps.pafs, target.pafs, target.paf_mask)
    return heat.sum() + system.paf_weight * fields.sum()


def test_a_network_that_says_what_the_labels_say_costs_what_they_do():
    system = dataclasses.replace(PLAIN, paf_weight=2.0)
    batch = {name: jnp.asarray(array) for name, array in scene().items()}
    maps, target = random_maps(), system.targets(batch)
    teacher = Maps(target.heatmaps[None], target.pafs[None])
    pairs = common_maps(maps, BONES, teacher, BONES)
    weights = system.teacher_weights(pairs)
    np.testing.assert_allclose(weights[0], target.heatmap_mask, rtol=1e-6)
    np.testing.assert_allclose(weights[1], target.paf_mask, rtol=1e-6)
    none, total = jnp.zeros((1, 1, 1, 1)), 0.0
    for (ours, theirs), weight, factor in zip(pairs, weights, (1.0, 2.0), strict=True):
        term = losses.distillation(ours, theirs, ours[-1], none, 1.0, teacher_mask=weight)
        total += factor * term.teacher
    np.testing.assert_allclose(total, label_term(system, maps, target), rtol=1e-5)


def stored_as_labelled():
    """A batch of one person a picture, whose stored joints are its labels."""
    batch = scene(STORED)
    batch["visible"][:] = 0
    batch["visible"][:, 0] = 2
    batch["teacher_xy"][:], batch["teacher_visible"][:] = batch["xy"][:, 0], 2
    return {name: jnp.asarray(array) for name, array in batch.items()}


def test_stored_joints_that_are_the_labels_cost_what_they_do():
    system = dataclasses.replace(STORED, paf_weight=2.0)
    batch, maps = stored_as_labelled(), random_maps()
    near = around(batch["teacher_xy"], batch["teacher_visible"], (8, 8), 8)[..., 0]
    target = system.targets({**batch, "area_mask": near.astype(jnp.float32)})
    teacher, taught = system.teacher_loss({}, batch, maps, {})
    np.testing.assert_allclose(teacher, label_term(system, maps, target), rtol=1e-5)
    assert taught.tolist() == [1, 1, 1]


def test_the_teacher_s_term_moves_stages_and_no_head():
    """The last heat map of a network with heads is theirs, and labels leave it alone, too."""
    batch, maps = stored_as_labelled(), random_maps(heads=True)
    value, slope = jax.value_and_grad(lambda m: STORED.teacher_loss({}, batch, m, {})[0])(maps)
    stages = Maps(maps.heatmaps[:2], maps.pafs)
    np.testing.assert_allclose(value, STORED.teacher_loss({}, batch, stages, {})[0], rtol=1e-6)
    assert np.any(slope.heatmaps[:2])
    assert not np.any(slope.heatmaps[2])
    for field in ("center", "regress", "offset"):
        assert not np.any(getattr(slope, field))


@pytest.mark.parametrize("pairing", ["last", "same"])
@pytest.mark.parametrize("student", ["small", "imagenet"])
def test_networks_with_heads_teach_others_and_each_other(student, pairing):
    config = get_config(student)
    config.unlock()
    config.distill = get_config("ablation_distilled").distill
    config.distill.pairing = pairing
    system = build(config)
    assert isinstance(system.teaching.network, CenterPose)
    variables = jax.eval_shape(system.init, KEY)
    batch = {k: jax.ShapeDtypeStruct(s.shape, s.dtype) for k, s in system.batch_spec(2).items()}
    total, aux = jax.eval_shape(system.loss, variables, batch, KEY)
    assert total.shape == aux.metrics["teacher"][0].shape == ()


def test_no_gradient_reaches_the_teacher_and_the_student_learns_without_labels(taught):
    _, run = taught
    batch = scene()
    batch["area_mask"][:] = 0
    (value, aux), (grads, frozen) = run(batch)
    np.testing.assert_allclose(value, 0.25 * aux.metrics["teacher"][0], rtol=1e-5)
    assert largest(frozen) == 0
    assert largest(grads) > 0


@pytest.mark.parametrize(("step", "alpha"), [(0, 0.25), (2, 0.5), (4, 0.75), (9, 0.75)])
def test_alpha_follows_its_schedule(step, alpha, taught):
    (_, aux), _ = taught[1](scene(), step)
    np.testing.assert_allclose(aux.metrics["alpha"][0], alpha)
    assert aux.batch_stats["teaching"]["step"] == step + 1


def test_teachers_of_other_skeletons_teach_what_both_have():
    other = skeleton.make("four", "right_hip neck left_hip tail", "right_hip-neck neck-tail")
    rng = np.random.default_rng(0)
    student = Maps(*(jnp.asarray(rng.normal(size=(2, 1, 3, 3, n))) for n in (8, 6)))
    teacher = Maps(*(jnp.asarray(rng.normal(size=(1, 1, 3, 3, n))) for n in (5, 4)))
    (heat, theirs), (fields, turned) = common_maps(student, BONES, teacher, other)
    np.testing.assert_array_equal(heat, student.heatmaps[..., [0, 3, 4]])
    np.testing.assert_array_equal(theirs, teacher.heatmaps[..., [1, 2, 0]])
    np.testing.assert_array_equal(fields, student.pafs[..., 2:4])  # neck-right_hip
    np.testing.assert_array_equal(turned, -teacher.pafs[..., :2])
    pairs = common_maps(student, BONES, student, BONES)
    for ours, all_of_it in zip(student[:2], pairs, strict=True):
        np.testing.assert_array_equal(all_of_it[0], ours)
        np.testing.assert_array_equal(all_of_it[1], ours)


@dataclasses.dataclass
class Scenes:
    """A feed of the same few pictures."""

    batch_size: int = 3
    fingerprint: str = "scenes"

    def train_batches(self, start):
        while True:
            yield scene(seed=start)
            start += 1

    def eval_batches(self):
        return iter(())


@pytest.mark.slow
def test_a_training_leaves_its_teacher_unchanged_and_the_student_can_be_taken_out(tmp_path, taught):
    held, _ = taught
    teacher = held["frozen"]["teacher"]
    config = get_config("tiny")
    trained = checkpoint.Checkpoint({**teacher, "frozen": {}}, config, "pose")
    checkpoint.export(trained, tmp_path / "teacher", "", dtype="float32")
    settings = {
        "system": "pose", "seed": 0, "model": {"skeleton": "seven"},
        "train": {"steps": 3},
        "distill": {
            "teacher": str(tmp_path / "teacher"), "model": {}, "alpha": 0.25, "alpha_end": 0.75,
            "alpha_steps": 4,
        },
    }  # fmt: skip
    initial = frozen_teacher(ConfigDict(settings))
    loop.fit(TAUGHT, Scenes(), settings, tmp_path / "run", initial_variables=initial)
    result = checkpoint.load(tmp_path / "run")
    assert all(
        jax.tree.leaves(jax.tree.map(np.array_equal, result.variables["frozen"], held["frozen"]))
    )
    assert result.variables["batch_stats"]["teaching"]["step"] == 3
    student = start.without_teacher(result)
    assert "distill" not in student.config
    plain = jax.eval_shape(PLAIN.init, KEY)
    checkpoint.check_variables(student.variables, plain)
    # what a classifier takes of a detector that was taught, as of any other
    mine = start.of_network(result.variables)
    assert jax.tree.structure(mine) == jax.tree.structure({k: plain[k] for k in mine})


def test_mistakes_about_the_teacher_are_one_line(tmp_path):
    config = get_config("imagenet_distilled").to_dict()
    distill = dict(config["distill"])
    config["distill"]["alpha"] = 1.5
    with pytest.raises(ConfigError, match=r"distill.alpha: 1.5 should be from 0 to 1"):
        build(config)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        frozen_teacher(ConfigDict({"distill": {**distill, "teacher": str(tmp_path / "none")}}))
