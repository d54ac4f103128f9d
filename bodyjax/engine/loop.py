"""fit: trains any system on any feed, and resumes where it stopped.

Started again with the same config and folder, a run continues from its last checkpoint with the
same bits as one that was never stopped; a finished run says so. On SIGTERM and Ctrl-C the step in
progress is finished, a checkpoint is written and Interrupted is raised; launchers exit with 3. A
second Ctrl-C stops at once, and so does a signal before the first step.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax.contract import Feed, System, Variables
from bodyjax.engine import best_metric, optim, run_folder, settings, trees
from bodyjax.engine import checkpoint as ckpt
from bodyjax.engine import mesh as meshes
from bodyjax.engine import step as steps
from bodyjax.engine.evaluate import make_evaluator
from bodyjax.engine.report import Report, clock, plain
from bodyjax.engine.settings import TrainSettings
from bodyjax.engine.signals import Signals
from bodyjax.engine.timing import Timer
from bodyjax.errors import CheckpointError, ConfigError, DataError, UserError

Batches = Generator[dict[str, jax.Array], None, None]

EXIT_INTERRUPTED = 3
"""The exit code of a launcher after Interrupted."""


class Interrupted(Exception):
    """SIGTERM or Ctrl-C came; the run was saved at `step` in `checkpoint`."""

    def __init__(self, step: int, checkpoint: Path) -> None:
        self.step, self.checkpoint = step, checkpoint
        super().__init__(
            f"stopped and saved at step {step}: {checkpoint}; the same command goes on from here"
        )


@dataclass(frozen=True)
class FitResult:
    """The result of a run. `metrics` come from the last evaluation; `reason` names the stop
    condition; `checkpoint` is the best one if a metric chooses it, otherwise the newest;
    `waited_share` is the share of training time in which the device waited for data (0 to 1);
    `again` means that the run had finished before and nothing was done."""

    step: int
    metrics: dict[str, Any]
    reason: str
    checkpoint: Path
    waited_share: float
    again: bool = False


@dataclass
class Progress:
    """The state that decides the rest of the run; saved with every checkpoint."""

    best: float | None = None
    best_step: int | None = None
    stale: int = 0
    """Evaluations since the best one."""
    metrics: dict[str, Any] = field(default_factory=dict)
    finished: str | None = None
    seconds: float = 0.0


def fit(
    system: System,
    feed: Feed,
    config: Any,
    workdir: str | Path,
    *,
    initial_variables: Variables | None = None,
    meta: dict[str, Any] | None = None,
) -> FitResult:
    """Trains `system` on `feed` as `config.train` and `config.optimizer` say.

    `initial_variables` replace the result of system.init, part by part ("params", "batch_stats",
    "frozen"). `meta` (JSON values: "labels", "skeleton", ...) is kept in every checkpoint. Raises
    UserErrors; Interrupted after a signal.
    """
    return _Fit(system, feed, config, Path(workdir), initial_variables, meta or {}).run()


class _Fit:
    """One call of fit, with methods in the order in which things happen."""

    def __init__(
        self,
        system: System,
        feed: Feed,
        config: Any,
        workdir: Path,
        initial_variables: Variables | None,
        meta: dict[str, Any],
    ) -> None:
        self.system, self.feed, self.workdir, self.meta = system, feed, workdir, meta
        self.config = settings.plain(config)
        self.train: TrainSettings = settings.train(self.config.get("train", {}))
        self.optimizer = settings.optimizer(self.config.get("optimizer", {}))
        settings.check_together(self.optimizer, self.train)
        self.mesh = meshes.make_mesh(self.train.model_parallel)
        meshes.check_batch_size(feed.batch_size, self.mesh)
        self.initial_variables = initial_variables or {}
        self.total = min(self.train.steps, self.train.stop.steps or self.train.steps)
        self.rate = jax.jit(optim.schedule(self.optimizer, self.train.steps))
        self.notes: list[str] = []

    def run(self) -> FitResult:
        self.workdir.mkdir(parents=True, exist_ok=True)
        good = run_folder.latest_good(self.workdir, self.notes.append)
        record = self._check_same_run(good) if good else None
        self.progress = Progress(**record["progress"]) if record else Progress()
        start = int(record["step"]) if record else 0
        self.report = Report(self.workdir, start, self.total, quiet=not meshes.is_first())
        try:
            for note in self.notes:
                self.report.say(note)
            if record and self._is_finished(record):
                self.report.say(
                    f"{self.workdir}: this run is finished at step {start}; "
                    "use another folder to train anew"
                )
                return replace(self._result(start, 0.0), again=True)
            best_metric.check(self.train.best.metric, self.system)
            if good:
                self.report.say(f"going on from step {start} ({good})")
            run_folder.discard(self.workdir, good)
            self._prepare(good, record)
            self.checkpoints = run_folder.Run(self.workdir, self.train.keep)
            try:
                with Signals() as signals:
                    return self._loop(start, signals)
            finally:
                self.checkpoints.close()
        finally:
            self.report.close()

    # -- before the first step --

    def _check_same_run(self, good: Path) -> dict[str, Any]:
        """The record of the checkpoint to resume from; CheckpointError if it belongs to another
        run."""
        record = run_folder.read_record(good)
        hint = "use another folder, or the same values"
        if record["system"] != self.config.get("system", ""):
            raise CheckpointError(
                f"holds a run of system {record['system']!r}", file=self.workdir, hint=hint
            )
        changed = settings.differences(
            settings.expanded(record["config"]), settings.expanded(self.config)
        )
        if changed:
            raise CheckpointError(
                f"the config differs from the run there: {'; '.join(changed[:5])}",
                file=self.workdir,
                hint=hint,
            )
        if record["fingerprint"] != self.feed.fingerprint:
            raise CheckpointError(
                "the data are not those of the run there", file=self.workdir, hint=hint
            )
        now = run_folder.versions()
        other = [f"{k} {v} -> {now.get(k)}" for k, v in record["versions"].items() if v != now[k]]
        if other:
            self.notes.append(f"other versions than before, bits may differ: {', '.join(other)}")
        return record

    def _is_finished(self, record: dict[str, Any]) -> bool:
        then = settings.train(record["config"].get("train", {}))
        if (then.steps, then.stop) != (self.train.steps, self.train.stop):
            self.progress.finished = None  # other limits than before: the run may go on
        return self.progress.finished is not None or int(record["step"]) >= self.total

    def _prepare(self, good: Path | None, record: dict[str, Any] | None) -> None:
        """Sets state, frozen, and the compiled functions."""
        optimizer = optim.make_optimizer(self.optimizer, self.train.steps)
        seed_key = jax.random.key(int(self.config.get("seed", 0)))
        init_key, run_key = jax.random.split(seed_key)
        specs = self.system.batch_spec(self.feed.batch_size)
        batch = steps.shapes(specs)
        self.batch_names = set(specs)
        if record is None:
            variables = jax.device_get(self._initial(init_key))
        else:
            variables = jax.eval_shape(self.system.init, init_key)
            if record["frozen"] is not None:
                frozen = run_folder.restore_frozen(self.workdir, record["frozen"])
                variables = {**variables, "frozen": jax.device_get(frozen)}

        def init(variables: Any, key: jax.Array) -> steps.TrainState:
            ema = self.optimizer.ema > 0
            return steps.init_state(self.system, optimizer, variables, batch, key, ema)

        shapes = jax.eval_shape(init, variables, run_key)
        where = meshes.shardings(shapes, self.mesh)
        frozen = variables.get("frozen", {})
        self.frozen = jax.device_put(frozen, meshes.shardings(frozen, self.mesh))
        if good is None:
            self.state = jax.jit(init, out_shardings=where)(variables, run_key)
            self.frozen_sum = run_folder.save_frozen(self.workdir, self.frozen)
        else:
            self.state = _restore(good, shapes, where, self.mesh)
            self.frozen_sum = record["frozen"] if record else None
        self.metric_names = list(shapes.window.sums)
        self.rate(np.int32(0))  # compiled here, not at the first log
        self.step = steps.make_step(
            self.system, optimizer, self.optimizer, shapes, self.frozen, self.mesh
        )
        self.evaluate = make_evaluator(self.system, self.mesh)
        count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes.params))
        self.report.say(
            f"{count:,} parameters, {jax.device_count()} {jax.devices()[0].platform} device(s) in "
            f"{jax.process_count()} process(es), batch {self.feed.batch_size}, "
            f"{self.total} steps"
        )

    def _initial(self, key: jax.Array) -> Variables:
        # Compiling what is replaced anyway takes minutes for a large network.
        shapes = jax.eval_shape(self.system.init, key)
        rest = [part for part in shapes if part not in self.initial_variables and shapes[part]]
        variables: Variables = {part: {} for part in shapes}
        if rest:
            made = jax.jit(lambda key: {part: self.system.init(key)[part] for part in rest})(key)
            variables |= made
        for part in self.initial_variables:
            variables[part] = variables[part] or shapes.get(part, {})
        for part, tree in self.initial_variables.items():
            if part != "frozen" or variables.get("frozen"):
                ckpt.check_variables(tree, variables.get(part, {}), f"initial {part}")
            variables[part] = tree
        for name, leaf in trees.flatten(variables["params"]).items():
            if leaf.dtype != np.float32:
                raise ConfigError(f"parameter {name} is {leaf.dtype}: parameters are float32")
        return variables

    # -- the steps --

    def _loop(self, start: int, signals: Signals) -> FitResult:
        batches = self._batches(start)
        try:
            return self._steps(start, signals, batches)
        finally:
            batches.close()  # also after an error: reading processes end, and leave nothing behind

    def _steps(self, start: int, signals: Signals, batches: Batches) -> FitResult:
        timer = Timer(self.progress.seconds, start + 1)
        previous = last = None
        for step in range(start + 1, self.total + 1):
            batch = timer.fetch(batches, last)
            self.state, token = self.step(self.state, self.frozen, batch)
            if previous is not None:
                previous.block_until_ready()  # at most two steps wait on the device
            previous, last = last, token
            timer.stepped(token)
            self.report.advance(step)

            reason = "steps" if step == self.total else None
            if _due(step, self.train.log_every) or reason:
                reason = self._log(step, timer) or reason
            saved = None
            with timer.aside():
                if _due(step, self.train.eval_every) or reason:
                    reason = self._evaluate(step, timer) or reason
                    self.progress.finished = reason
                    saved = self._save(step, timer)
                elif _due(step, self.train.save_every):
                    saved = self._save(step, timer)
            # also at the last step: the caller would go on, with tests of what was trained
            if self._stopped(step, signals, last=bool(reason)):
                batches.close()  # before the save, which may take long
                stop = Interrupted(step, saved or self._save(step, timer))
                self.report.say(str(stop))
                raise stop
            if reason:
                return self._finish(step, reason, timer)
        raise AssertionError("the loop ends by a reason")

    def _stopped(self, step: int, signals: Signals, last: bool) -> bool:
        if jax.process_count() == 1:
            return signals.caught
        # several processes have to stop at the same step: they agree at the log lines and the end
        return (last or _due(step, self.train.log_every)) and meshes.any_process(signals.caught)

    def _batches(self, start: int) -> Batches:
        for index, batch in enumerate(self.feed.train_batches(start)):
            missing = self.batch_names - set(batch)
            if missing:
                raise DataError(f"the data have no {', '.join(sorted(missing))} for this system")
            used = {name: batch[name] for name in self.batch_names}
            if index == 0:
                self._check_shapes(used)
            yield meshes.to_device(used, self.mesh)
        raise DataError("the stream of training batches came to an end")

    def _check_shapes(self, batch: dict[str, np.ndarray]) -> None:
        local = self.feed.batch_size // jax.process_count()
        for name, spec in self.system.batch_spec(local).items():
            if tuple(batch[name].shape) != tuple(spec.shape):
                raise DataError(
                    f"{name} has shape {tuple(batch[name].shape)}, the system takes {spec.shape}"
                )

    def _log(self, step: int, timer: Timer) -> str | None:
        means = self._averages(step)
        waited, rate = timer.lap(step)
        means = {
            **means,
            "learning_rate": float(self.rate(np.int32((step - 1) // self.optimizer.accumulate))),
            "steps_per_second": rate,
            "waited_share": waited,
        }
        self.report.train(step, timer.seconds(), means, rate)
        empty = steps.empty_window(self.metric_names)
        self.state = self.state._replace(window=meshes.replicate(empty, self.mesh))
        limit = self.train.stop.loss
        return "loss" if limit is not None and means["loss"] <= limit else None

    def _averages(self, step: int) -> dict[str, float]:
        """Means since the last log; a UserError if a loss was not finite."""
        means, bad = steps.averages(self.state.window)
        if bad < 0:
            return means
        good = next(iter(run_folder.candidates(self.workdir)), None)
        last = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
        raise UserError(
            f"the loss or its gradient is not a finite number at step {bad + 1}",
            hint=f"lower optimizer.rate or set optimizer.clip; {last}",
        )

    def _evaluate(self, step: int, timer: Timer) -> str | None:
        self._averages(step)
        variables = {
            "params": self.state.ema if self.optimizer.ema else self.state.params,
            "batch_stats": self.state.ema_stats if self.optimizer.ema else self.state.batch_stats,
            "frozen": self.frozen,
        }
        metrics = self.evaluate(variables, self.feed.eval_batches())
        progress, best = self.progress, self.train.best
        progress.metrics = plain(metrics)
        if metrics:
            self.report.evaluation(step, timer.seconds(), metrics)
        if not best.metric:
            return None
        value = progress.metrics.get(best.metric)
        if best.metric not in metrics:
            raise best_metric.missing(best.metric, list(metrics))
        sign = 1 if best.mode == "max" else -1
        if value is not None and (progress.best is None or sign * value > sign * progress.best):
            progress.best, progress.best_step, progress.stale = value, step, 0
        else:
            progress.stale += 1
        limit = self.train.stop.plateau
        return "plateau" if limit is not None and progress.stale >= limit else None

    def _save(self, step: int, timer: Timer) -> Path:
        self._averages(step)  # never over a good checkpoint with a bad one
        self.progress.seconds = timer.seconds()
        record = {
            "system": self.config.get("system", ""),
            "config": self.config,
            "meta": self.meta,
            "metrics": self.progress.metrics,
            "batches_served": step,
            "fingerprint": self.feed.fingerprint,
            "frozen": self.frozen_sum,
            "progress": asdict(self.progress),
        }
        model, train = steps.pack(self.state)
        if self.progress.best_step == step:
            self.checkpoints.save("best", step, model, train, record)
        return self.checkpoints.save("newest", step, model, train, record)

    def _finish(self, step: int, reason: str, timer: Timer) -> FitResult:
        share = timer.waited_share()
        self.report.say(
            f"finished at step {step}: {_REASONS[reason]}; {clock(timer.seconds())} in all, "
            f"start {timer.start:.1f} s, waited for data {share:.1%} of the training time"
        )
        return self._result(step, share)

    def _result(self, step: int, waited_share: float) -> FitResult:
        progress = self.progress
        kind, number = "newest", step
        if progress.best_step is not None:
            kind, number = "best", progress.best_step
        folder = self.workdir / kind / str(number)
        return FitResult(step, progress.metrics, progress.finished or "steps", folder, waited_share)


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


_REASONS = {
    "steps": "all steps are done",
    "loss": "the training loss reached train.stop.loss",
    "plateau": "no better evaluation for train.stop.plateau times",
}


def _restore(folder: Path, shapes: steps.TrainState, where: Any, mesh: Any) -> steps.TrainState:
    """A TrainState from a checkpoint, each array placed as the mesh requires.

    Older checkpoints have no averages of statistics, which start from the statistics, and no weight
    of the accumulated batches.
    """
    placed = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        where,
    )
    key = jax.eval_shape(jax.random.key_data, shapes.key)
    plain_key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=meshes.replicated(mesh))
    model = {name: getattr(placed, name) for name in steps.MODEL}
    rest: Any = steps.without_model(placed)
    rest = rest._replace(key=plain_key)
    stored = run_folder.read_record(folder)["arrays"]
    averaged = any(name.startswith("ema_stats/") for name in stored["model"])
    if not averaged:
        model["ema_stats"] = {}
    unweighed = isinstance(rest.opt_state, optim.Accumulated) and not any(
        name.endswith("opt_state/weight") for name in stored["train"]
    )
    if unweighed:
        rest = rest._replace(opt_state=rest.opt_state._replace(weight=()))
    state = steps.unpack(
        run_folder.restore(folder, "model", model),
        run_folder.restore(folder, "train", {"train": rest}),
    )
    if placed.ema_stats and not averaged:
        state = state._replace(ema_stats=jax.tree.map(jnp.copy, state.batch_stats))
    if unweighed:
        unknown = meshes.replicate(np.float32(-1), mesh)
        state = state._replace(opt_state=state.opt_state._replace(weight=unknown))
    return state
