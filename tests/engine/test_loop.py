"""bodyjax.engine.loop on a toy: what a run does, in one process."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax.contract import ArraySpec
from bodyjax.engine import checkpoint as ckpt
from bodyjax.engine import loop, optim, run_folder, settings
from bodyjax.engine import mesh as meshes
from bodyjax.engine import step as steps
from bodyjax.errors import CheckpointError, ConfigError, DataError, UserError
from tests.engine.toy import Points, Toy, config

SYSTEM = Toy(bad_value=77.0)


def same(a: object, b: object) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def newest(workdir: Path) -> dict:
    folder = run_folder.candidates(workdir, ("newest",))[0]
    return {item: run_folder.read_arrays(folder, item) for item in ("model", "train")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, loop.FitResult]:
    """The 12 steps of toy.config, not to be written to."""
    workdir = tmp_path_factory.mktemp("run")
    meta = {"labels": ["a", "b", "c", "d"], "skeleton": "coco17"}
    return workdir, loop.fit(SYSTEM, Points(), config(), workdir, meta=meta)


def test_a_run_ends_with_what_it_says(run: tuple[Path, loop.FitResult]) -> None:
    workdir, result = run
    assert (result.step, result.reason) == (12, "steps")
    assert 0 <= result.waited_share < 1
    assert result.metrics["n"] == 21, "padding counts nowhere"
    entries = lines(workdir)
    found = [(entry["kind"], entry["step"]) for entry in entries]
    assert [s for kind, s in found if kind == "train"] == [5, 10, 12]
    assert [s for kind, s in found if kind == "eval"] == [4, 8, 12]
    assert {"loss", "accuracy", "grad_norm", "learning_rate", "seconds"} <= set(entries[1])
    assert sorted(p.name for p in (workdir / "newest").iterdir()) == ["12", "8"]
    assert len(list((workdir / "best").iterdir())) == 1
    assert result.checkpoint.parent == workdir / "best"
    assert list((workdir / "events").glob("events.out.tfevents.*"))


def test_a_checkpoint_needs_nothing_else(run: tuple[Path, loop.FitResult]) -> None:
    workdir, result = run
    loaded = ckpt.load(workdir)
    assert loaded.path == result.checkpoint
    assert (loaded.system, loaded.skeleton, loaded.labels) == ("toy", "coco17", tuple("abcd"))
    assert loaded.config.model.widths == (16, 4)
    assert loaded.versions["jax"] == jax.__version__
    late = ckpt.load(workdir, "newest")
    assert late.step == ckpt.load(workdir / "12").step == 12
    stored = newest(workdir)["model"]
    assert same(late.variables["params"], stored["ema"]), "the moving average where there is one"
    assert not same(stored["ema"], stored["params"])
    assert same(late.variables["batch_stats"], stored["ema_stats"]), "and statistics that fit it"
    ckpt.check_variables(late.variables, jax.eval_shape(SYSTEM.init, jax.random.key(0)))


def test_the_metrics_are_those_of_the_loaded_model(run: tuple[Path, loop.FitResult]) -> None:
    workdir, _ = run
    loaded, feed = ckpt.load(workdir, "newest"), Points()
    whole = feed.make(10**6, feed.held_out)
    right = SYSTEM.predict(loaded.variables, whole).argmax(-1) == whole["label"]
    assert loaded.metrics == {"accuracy": pytest.approx(float(right.mean())), "n": 21}


def test_the_steps_equal_a_loop_written_by_hand(run: tuple[Path, loop.FitResult]) -> None:
    workdir, _ = run
    feed, chosen = Points(), settings.optimizer(config().optimizer)
    optimizer = optim.make_optimizer(chosen, 12)
    init_key, key = jax.random.split(jax.random.key(3))
    variables = jax.jit(SYSTEM.init)(init_key)
    params, stats, frozen = (variables[n] for n in ("params", "batch_stats", "frozen"))
    opt_state, ema, losses = optimizer.init(params), (params, stats), []

    @jax.jit
    def step(params, stats, opt_state, ema, batch, n):
        def objective(p):
            parts = {"params": p, "batch_stats": stats, "frozen": frozen}
            return SYSTEM.loss(parts, batch, jax.random.fold_in(key, n))

        (loss, aux), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = jax.tree.map(jnp.add, params, updates)
        d = jnp.minimum(0.9, (1 + n) / (10 + n))
        now = (params, aux.batch_stats)
        ema = jax.tree.map(lambda e, p: d * e + (1 - d) * p, ema, now)
        return params, aux.batch_stats, opt_state, ema, loss

    for n, batch in zip(range(12), feed.train_batches(0), strict=False):
        params, stats, opt_state, ema, loss = step(params, stats, opt_state, ema, batch, n)
        losses.append(float(loss))
    model = newest(workdir)["model"]
    by_hand = {"params": params, "batch_stats": stats, "ema": ema[0], "ema_stats": ema[1]}
    assert not same(model["ema_stats"], model["batch_stats"])
    for name, mine in by_hand.items():
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6),
            mine,
            model[name],
        )
    logged = [entry["loss"] for entry in lines(workdir) if entry["kind"] == "train"]
    means = [np.mean(losses[a:b]) for a, b in ((0, 5), (5, 10), (10, 12))]
    np.testing.assert_allclose(logged, means, rtol=1e-4)


def test_a_finished_run_says_so(run: tuple[Path, loop.FitResult], capsys) -> None:
    workdir, result = run
    before = (workdir / "metrics.jsonl").read_text()
    again = loop.fit(SYSTEM, Points(), config(), workdir)
    assert (again.again, result.again) == (True, False)
    assert replace(again, waited_share=result.waited_share, again=False) == result
    assert "this run is finished at step 12" in capsys.readouterr().err
    assert (workdir / "metrics.jsonl").read_text() == before


def test_another_config_in_a_finished_folder_is_refused(run: tuple[Path, loop.FitResult]) -> None:
    workdir, _ = run
    before = (workdir / "metrics.jsonl").read_text()
    changed = config()
    changed.seed = 7
    with pytest.raises(CheckpointError, match=r"config differs .*seed: 3 -> 7.*another folder"):
        loop.fit(SYSTEM, Untouched(), changed, workdir)
    changed.system = "other"
    with pytest.raises(CheckpointError, match="holds a run of system"):
        loop.fit(SYSTEM, Untouched(), changed, workdir)
    with pytest.raises(CheckpointError, match="the data are not those of the run"):
        loop.fit(SYSTEM, Untouched(fingerprint="others"), config(), workdir)
    assert (workdir / "metrics.jsonl").read_text() == before


def test_a_run_in_pieces_has_the_same_bits(
    run: tuple[Path, loop.FitResult], tmp_path: Path, capsys
) -> None:
    part = loop.fit(SYSTEM, Points(), config(stop={"steps": 6}), tmp_path)
    assert part.step == 6
    whole = loop.fit(SYSTEM, Points(), config(), tmp_path)
    assert whole.step == 12
    assert "going on from step 6" in capsys.readouterr().err
    assert same(newest(tmp_path)["model"], newest(run[0])["model"])
    optimizers = [newest(folder)["train"]["train"]["opt_state"] for folder in (tmp_path, run[0])]
    assert same(*optimizers)


def test_a_checkpoint_of_before_statistics_were_averaged_goes_on(tmp_path: Path) -> None:
    """It has no averages of statistics, and no weight of the two batches that wait to be used."""
    values = config(eval_every=0, best={"metric": ""}, stop={"steps": 6})
    values.optimizer.accumulate = 4
    loop.fit(SYSTEM, Points(), values, tmp_path / "new")
    folder = tmp_path / "new" / "newest" / "6"
    record, model = run_folder.read_record(folder), run_folder.read_arrays(folder, "model")
    train = run_folder.read_arrays(folder, "train")
    statistics = model.pop("ema_stats")
    assert not same(statistics, model["batch_stats"])
    assert int(train["train"]["opt_state"]["mini_step"]) == 2
    assert float(train["train"]["opt_state"].pop("weight")) == 2
    rest = {k: v for k, v in record.items() if k not in ("format", "step", "versions", "arrays")}
    shutil.copytree(tmp_path / "new" / "frozen", tmp_path / "old" / "frozen")
    older = run_folder.Run(tmp_path / "old", 2)
    older.save("newest", 6, model, train, rest)
    older.close()
    assert same(ckpt.load(tmp_path / "old").variables["batch_stats"], model["batch_stats"])
    values.train.stop.steps = None
    for name in ("old", "new"):
        assert loop.fit(SYSTEM, Points(), values, tmp_path / name).step == 12
    old, new = (
        run_folder.read_arrays(tmp_path / name / "newest" / "12", "model")
        for name in ("old", "new")
    )
    for part in ("params", "ema", "batch_stats"):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), old[part], new[part])
    close = jax.tree.map(
        lambda a, b: bool(abs(a - b).max() < 0.2), *(m["ema_stats"] for m in (old, new))
    )
    assert jax.tree.all(close)
    assert not same(old["ema_stats"], new["ema_stats"]), "they started elsewhere"


def test_another_run_in_the_folder_is_refused(run: tuple[Path, loop.FitResult]) -> None:
    workdir, _ = run
    other = config()
    other.optimizer.rate = 0.5
    with pytest.raises(CheckpointError, match=r"optimizer\.rate: 0\.02 -> 0\.5"):
        loop.fit(SYSTEM, Points(), other, workdir)
    other = config()
    other.system = "other"
    with pytest.raises(CheckpointError, match="holds a run of system 'toy'"):
        loop.fit(SYSTEM, Points(), other, workdir)
    with pytest.raises(CheckpointError, match="the data are not those"):
        loop.fit(SYSTEM, Points(fingerprint="others"), config(), workdir)


def test_a_loss_that_is_not_finite_names_the_step_and_spares_the_checkpoint(
    tmp_path: Path,
) -> None:
    feed = Points(bad_step=8)
    with pytest.raises(UserError, match=r"not a finite number at step 9; .*newest/6") as caught:
        loop.fit(SYSTEM, feed, config(eval_every=0, save_every=3, log_every=11), tmp_path)
    assert "\n" not in str(caught.value)
    assert [folder.name for folder in run_folder.candidates(tmp_path)] == ["6", "3"]
    params = ckpt.load(tmp_path).variables["params"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_stop_at_a_loss(tmp_path: Path) -> None:
    by_loss = config(log_every=1, eval_every=0, stop={"loss": 1.1})
    result = loop.fit(SYSTEM, Points(), by_loss, tmp_path)
    assert result.reason == "loss"
    assert 1 < result.step < 12
    train = [entry["loss"] for entry in lines(tmp_path) if entry["kind"] == "train"]
    assert train[-1] <= 1.1 < min(train[:-1])


def test_stop_on_a_plateau(tmp_path: Path) -> None:
    constant = config(eval_every=2, stop={"plateau": 3}, best={"metric": "n"})
    result = loop.fit(SYSTEM, Points(), constant, tmp_path)
    assert (result.reason, result.step) == ("plateau", 8)
    assert ckpt.load(tmp_path).step == 2, "the first of equals is the best"


@pytest.mark.parametrize(("damage", "goes_on"), [("newest", 8), ("both", 4)])
def test_a_damaged_checkpoint_is_passed_over(
    run: tuple[Path, loop.FitResult], tmp_path: Path, capsys, damage: str, goes_on: int
) -> None:
    chosen = {"best": {"metric": "n", "mode": "max"}}
    loop.fit(SYSTEM, Points(), config(stop={"steps": 8}, **chosen), tmp_path)
    if damage == "newest":  # a best one of the same step is whole
        (tmp_path / "best" / "4").rename(tmp_path / "best" / "x")
        (tmp_path / "newest" / "8").rename(tmp_path / "best" / "8")
        (tmp_path / "newest" / "8").mkdir()
    else:
        victim = max((tmp_path / "newest" / "8").rglob("d/*"), key=lambda p: p.stat().st_size)
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 4
        victim.write_bytes(data)
    result = loop.fit(SYSTEM, Points(), config(**chosen), tmp_path)
    said = capsys.readouterr().err
    assert result.step == 12
    assert f"going on from step {goes_on}" in said
    assert "newest/8" in said
    found = [(entry["kind"], entry["step"]) for entry in lines(tmp_path)]
    assert len(found) == len(set(found)), "no line twice"
    assert same(newest(tmp_path)["model"], newest(run[0])["model"])


def test_when_all_are_damaged_nothing_is_overwritten(tmp_path: Path) -> None:
    loop.fit(SYSTEM, Points(), config(stop={"steps": 4}), tmp_path)
    for folder in run_folder.candidates(tmp_path):
        (folder / "_CHECKPOINT_METADATA").write_text("{}")
    with pytest.raises(CheckpointError, match="every checkpoint of this run is damaged"):
        loop.fit(SYSTEM, Points(), config(), tmp_path)
    with pytest.raises(CheckpointError, match="every checkpoint of this run is damaged"):
        ckpt.load(tmp_path)


def test_frozen_is_saved_once_and_never_changes(run: tuple[Path, loop.FitResult]) -> None:
    first = jax.jit(SYSTEM.init)(jax.random.split(jax.random.key(3))[0])["frozen"]
    assert same(ckpt.load(run[0], "newest").variables["frozen"], first)
    assert not [name for name in newest(run[0])["model"] if name == "frozen"]


def test_initial_variables_replace_parts(tmp_path: Path) -> None:
    other = jax.jit(SYSTEM.init)(jax.random.key(99))
    chosen = config(stop={"steps": 1}, log_every=1)
    given = {"params": other["params"], "frozen": other["frozen"]}
    loop.fit(SYSTEM, Points(), chosen, tmp_path / "a", initial_variables=given)
    assert same(ckpt.load(tmp_path / "a").variables["frozen"], other["frozen"])
    key = jax.random.fold_in(jax.random.split(jax.random.key(3))[1], 0)
    loss, _ = jax.jit(SYSTEM.loss)(other, Points().make(0, 8), key)
    assert lines(tmp_path / "a")[0]["loss"] == pytest.approx(float(loss), rel=1e-5)
    wrong = {"params": {"first": {"kernel": np.zeros((2, 2), np.float32)}}}
    with pytest.raises(CheckpointError, match="initial params: is of another model: first/"):
        loop.fit(SYSTEM, Points(), chosen, tmp_path / "b", initial_variables=wrong)


class Untouched(Points):
    """A feed of which nothing may be read."""

    def train_batches(self, start):
        raise AssertionError("the training began")

    eval_batches = train_batches


def test_mistakes_are_found_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.stps"):
        loop.fit(SYSTEM, Points(), config(stps=3), tmp_path)
    with pytest.raises(
        ConfigError, match=r"gives no 'acuracy'; did you mean accuracy\?.*accuracy, n"
    ):
        loop.fit(SYSTEM, Untouched(), config(best={"metric": "acuracy"}), tmp_path)

    class Short(Points):
        def train_batches(self, start):
            yield from [next(super().train_batches(start))] * 2

    class Bare(Points):
        def train_batches(self, start):
            yield {"x": next(super().train_batches(start))["x"]}

    class Narrow(Points):
        def train_batches(self, start):
            batch = next(super().train_batches(start))
            yield {**batch, "x": batch["x"][:, :4]}

    for feed, message in (
        (Short(), "came to an end"),
        (Bare(), "the data have no label"),
        (Narrow(), r"x has shape \(8, 4\), the system takes \(8, 6\)"),
    ):
        with pytest.raises(DataError, match=message):
            loop.fit(SYSTEM, feed, config(stop={"steps": 4}), tmp_path / message[:3])


def test_no_held_out_examples_is_no_evaluation(tmp_path: Path) -> None:
    result = loop.fit(SYSTEM, Points(held_out=0), config(stop={"steps": 4}, best={}), tmp_path)
    assert result.metrics == {}
    assert result.checkpoint == tmp_path / "newest" / "4"


def test_the_step_holds_no_parameters_and_gives_its_state_away() -> None:
    mesh = meshes.make_mesh()
    chosen = settings.optimizer({"ema": 0.9})
    optimizer = optim.make_optimizer(chosen, 10)

    variables = jax.jit(SYSTEM.init)(jax.random.key(0))
    shapes = steps.shapes(SYSTEM.batch_spec(8))
    state = steps.init_state(SYSTEM, optimizer, variables, shapes, jax.random.key(1), True)
    frozen = variables["frozen"]
    step = steps.make_step(SYSTEM, optimizer, chosen, state, frozen, mesh)
    traced = step.trace(state, frozen, shapes)
    sizes = [np.size(constant) for constant in traced.jaxpr.consts]
    assert sum(sizes) <= 8, f"constants in the program: {sizes}"
    text = traced.lower().as_text()
    assert "donor" in text or "aliasing_output" in text
    batch = meshes.to_device(next(Points().train_batches(0)), mesh)
    state = jax.device_put(state, meshes.shardings(state, mesh))
    kernel = state.params["first"]["kernel"]
    after, token = step(state, frozen, batch)
    assert kernel.is_deleted()
    assert np.isfinite(token)
    # the same frozen tree may be used again, with other values and the same program
    other = jax.tree.map(lambda x: x * 0, frozen)
    _, changed = step(after, other, batch)
    assert step._cache_size() == 1
    assert float(changed) != float(token)


def test_metrics_are_weighted_and_a_bad_step_is_remembered() -> None:
    window = steps.empty_window(["a", "b"])
    for value, weight, finite in ((1.0, 1.0, True), (4.0, 2.0, True), (np.nan, 0.0, False)):
        metrics = {"a": (value, weight), "b": (np.nan, 0.0)}
        window = steps.add_step(window, metrics, jnp.bool_(finite), jnp.int32(weight + 5))
    means, bad = steps.averages(window)
    assert means == {"a": 3.0}
    assert bad == 5
    again = steps.add_step(
        window, {"a": (0.0, 0.0), "b": (0.0, 0.0)}, jnp.bool_(False), jnp.int32(9)
    )
    assert int(again.bad) == 5


def test_waiting_for_data_is_measured(tmp_path: Path) -> None:
    slow = config(eval_every=0)
    share = loop.fit(SYSTEM, Points(delay=0.05), slow, tmp_path / "slow").waited_share
    assert share > 0.5
    assert lines(tmp_path / "slow")[-2]["waited_share"] > 0.5


def test_specs_become_shapes() -> None:
    assert steps.shapes({"x": ArraySpec((2, 3), "int32")})["x"].shape == (2, 3)
