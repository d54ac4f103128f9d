"""The state of a training run and the one jitted step that changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from bodyjax.contract import ArraySpec, System, Variables
from bodyjax.engine import mesh as meshes
from bodyjax.engine import optim
from bodyjax.engine.settings import OptimizerSettings


class Window(NamedTuple):
    """Sums over the steps since the last log line.

    `sums` is name -> (sum of value * weight, sum of weight), float32 scalars; `bad` is the first
    step with a loss or gradient that is not finite, -1 if there was none.
    """

    sums: dict[str, tuple[Any, Any]]
    bad: Any


class TrainState(NamedTuple):
    """Everything a step changes. `ema` and `ema_stats`, the moving averages of params and
    batch_stats, are {} if there are none."""

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any
    ema_stats: Any
    key: jax.Array
    window: Window


def init_state(
    system: System,
    optimizer: optax.GradientTransformation,
    variables: Variables,
    batch: Mapping[str, jax.ShapeDtypeStruct | jax.Array],
    key: jax.Array,
    ema: bool,
) -> TrainState:
    """The state before the first step; traceable. `batch` gives shapes only."""
    _, aux = jax.eval_shape(system.loss, variables, batch, key)
    names = sorted({"loss", "grad_norm", *aux.metrics})
    params, statistics = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=statistics,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(jnp.copy, params) if ema else {},
        ema_stats=jax.tree.map(jnp.copy, statistics) if ema else {},
        key=key,
        window=empty_window(names),
    )


def empty_window(names: list[str]) -> Window:
    """An empty window, as host arrays."""
    return Window({name: (np.float32(0), np.float32(0)) for name in names}, np.int32(-1))


def update(
    system: System,
    optimizer: optax.GradientTransformationExtraArgs,
    settings: OptimizerSettings,
    state: TrainState,
    frozen: Any,
    batch: Any,
) -> tuple[TrainState, jax.Array]:
    """The state after one more batch, and its loss: loss, gradient, update, moving average.

    The key of a step is fold_in(key, step). A pure function, for jit, scan and vmap: this is what
    `make_step` compiles, and what cross-validation runs for many models at once.
    """
    key = jax.random.fold_in(state.key, state.step)

    def objective(params: Any) -> tuple[jax.Array, Any]:
        variables = {"params": params, "batch_stats": state.batch_stats, "frozen": frozen}
        loss, aux = system.loss(variables, batch, key)
        return loss.astype(jnp.float32), aux

    (loss, aux), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    norm = optax.tree.norm(grads)
    metrics = {"loss": (loss, 1.0), "grad_norm": (norm, 1.0), **aux.metrics}
    updates, opt_state = optimizer.update(
        grads, state.opt_state, state.params, weight=metrics["loss"][1]
    )
    params = optax.apply_updates(state.params, updates)
    ema, ema_stats = _averages(state, params, aux.batch_stats, settings)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    return TrainState(
        step=state.step + 1,
        params=params,
        batch_stats=aux.batch_stats,
        opt_state=opt_state,
        ema=ema,
        ema_stats=ema_stats,
        key=state.key,
        window=add_step(state.window, metrics, finite, state.step),
    ), loss


def make_step(
    system: System,
    optimizer: optax.GradientTransformationExtraArgs,
    settings: OptimizerSettings,
    state: TrainState,
    frozen: Any,
    mesh: Mesh,
) -> jax.stages.Wrapped:
    """`update` as jit of (state, frozen, batch) -> (state, token); `state`, `frozen` may be shapes.

    The state given is donated: its buffers are used for the state that comes back. `frozen` is an
    argument, so no parameter becomes a constant of the program. `token` is a copy of the loss to
    wait for; the host reads nothing in here.
    """

    def train_step(
        state: TrainState, frozen: Any, batch: dict[str, jax.Array]
    ) -> tuple[TrainState, jax.Array]:
        return update(system, optimizer, settings, state, frozen, batch)

    where = meshes.shardings(state, mesh)
    return jax.jit(
        train_step,
        in_shardings=(where, meshes.shardings(frozen, mesh), meshes.over_batch(mesh)),
        out_shardings=(where, meshes.replicated(mesh)),
        donate_argnums=0,
    )


def _averages(
    state: TrainState, params: Any, statistics: Any, settings: OptimizerSettings
) -> tuple[Any, Any]:
    """`ema` and `ema_stats` after a step: averaged parameters are evaluated with statistics
    averaged in the same way, which are the statistics that such parameters have."""
    if not settings.ema:
        return state.ema, state.ema_stats
    update = state.step // settings.accumulate
    old = state.ema, state.ema_stats
    ema = optim.moving_average(old, (params, statistics), settings.ema, update)
    changed = (state.step + 1) % settings.accumulate == 0
    ema, ema_stats = jax.tree.map(lambda new, old: jnp.where(changed, new, old), ema, old)
    return ema, ema_stats


def add_step(window: Window, metrics: dict[str, Any], finite: jax.Array, step: jax.Array) -> Window:
    """The window with the metrics of one more step: name -> (value, weight), both scalars.

    finite: () bool, whether loss and gradient are; step: () int, kept if it is the first bad one.
    """
    sums = {}
    for name, (total, count) in window.sums.items():
        value, weight = (jnp.asarray(x, jnp.float32) for x in metrics[name])
        # a metric of weight 0 (no labelled example in the batch) may be 0/0: it adds nothing
        sums[name] = (total + jnp.where(weight > 0, value * weight, 0), count + weight)
    bad = jnp.where((window.bad < 0) & ~finite, step, window.bad)
    return Window(sums, bad)


def averages(window: Window) -> tuple[dict[str, float], int]:
    """Host side: the mean of every metric that had any weight, and the first bad step or -1."""
    sums, bad = jax.device_get(window)
    means = {
        name: float(total / count) for name, (total, count) in sorted(sums.items()) if count > 0
    }
    return means, int(bad)


def shapes(specs: dict[str, ArraySpec]) -> dict[str, jax.ShapeDtypeStruct]:
    """A system's batch_spec as shapes that jax can trace."""
    return {
        name: jax.ShapeDtypeStruct(spec.shape, np.dtype(spec.dtype)) for name, spec in specs.items()
    }


MODEL = ("params", "batch_stats", "ema", "ema_stats")
"""The fields of TrainState that predict."""


def pack(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the parts that predict, the parts that only training needs) for a checkpoint; the key as
    plain integers."""
    model = {name: getattr(state, name) for name in MODEL}
    return model, {"train": without_model(state)._replace(key=jax.random.key_data(state.key))}


def without_model(state: TrainState) -> TrainState:
    """A state, or its shapes, without the parts that predict."""
    return state._replace(params={}, batch_stats={}, ema={}, ema_stats={})


def unpack(model: dict[str, Any], train: dict[str, Any]) -> TrainState:
    """The inverse of pack."""
    rest: TrainState = train["train"]
    return rest._replace(**model, key=jax.random.wrap_key_data(rest.key))
