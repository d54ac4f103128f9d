"""The optimiser of a config: optax transformations in the order in which a gradient passes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bodyjax.engine import settings, trees
from bodyjax.engine.settings import OptimizerSettings
from bodyjax.errors import ConfigError

Path = tuple[Any, ...]


def make_optimizer(config: Any, steps: int) -> optax.GradientTransformationExtraArgs:
    """The gradient transformation for a run of `steps` batches; `config` is `config.optimizer`.

    Gradients of parameters with multiplier 0 are dropped first (they don't count in the norm and
    have no moments), then: clipping by global norm, Adam or momentum, decoupled weight decay
    (Loshchilov and Hutter 2019; for sgd the gradient's own L2 term), rate, multipliers. With
    `accumulate` k, the mean gradient of k batches passes through at every k-th batch, each weighted
    by the keyword `weight` of `update`: the number its loss was divided by.
    """
    chosen = config if isinstance(config, OptimizerSettings) else settings.optimizer(config)
    decay = optax.add_decayed_weights(chosen.weight_decay, mask=decayed)
    parts: list[optax.GradientTransformation] = []
    if chosen.clip > 0:
        parts.append(optax.clip_by_global_norm(chosen.clip))
    if chosen.name == "sgd":
        parts += [decay] if chosen.weight_decay else []
        parts.append(optax.trace(decay=0.9, nesterov=True))
    else:
        parts.append(optax.scale_by_adam())
        if chosen.name == "relative_adamw":
            parts.append(relative())
        parts += [decay] if chosen.weight_decay else []
    parts.append(optax.scale_by_learning_rate(schedule(chosen, steps)))
    if chosen.multipliers:
        parts.append(_scale_by_path(chosen.multipliers))
    optimizer = optax.chain(*parts)
    if chosen.multipliers:
        groups = {"trained": optimizer, "fixed": optax.set_to_zero()}
        optimizer = optax.partition(groups, lambda tree: _groups(tree, chosen.multipliers))
    if chosen.accumulate > 1:
        return accumulated(optimizer, chosen.accumulate)
    return optax.with_extra_args_support(optimizer)


class Accumulated(NamedTuple):
    """What `accumulated` remembers: batches since the last update, updates, the inner state, the
    mean gradient and the weight of those batches (below 0: unknown, each weighs as the next)."""

    mini_step: Any
    gradient_step: Any
    inner_opt_state: Any
    acc_grads: Any
    weight: Any


def accumulated(
    optimizer: optax.GradientTransformation, every: int
) -> optax.GradientTransformationExtraArgs:
    """One update of `optimizer` from the mean gradient of `every` batches, weighted by the keyword
    `weight` of update: the gradient of one large batch whose loss is a mean over that weight."""

    def init(params: Any) -> Accumulated:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Accumulated(
            jnp.int32(0), jnp.int32(0), optimizer.init(params), zeros, jnp.float32(0)
        )

    def update(
        grads: Any, state: Accumulated, params: Any = None, *, weight: Any = 1.0, **_: Any
    ) -> tuple[Any, Accumulated]:
        before = jnp.where(state.weight < 0, state.mini_step * weight, state.weight)
        total = before + weight
        share = weight / jnp.where(total > 0, total, 1.0)
        mean = jax.tree.map(lambda old, new: old + share * (new - old), state.acc_grads, grads)
        zeros = jax.tree.map(jnp.zeros_like, mean)

        def emit() -> tuple[Any, Accumulated]:
            updates, inner = optimizer.update(mean, state.inner_opt_state, params)
            done = state.gradient_step + 1
            return updates, Accumulated(jnp.int32(0), done, inner, zeros, jnp.float32(0))

        def wait() -> tuple[Any, Accumulated]:
            waited = state.mini_step + 1
            return zeros, state._replace(mini_step=waited, acc_grads=mean, weight=total)

        return jax.lax.cond(state.mini_step == every - 1, emit, wait)

    return optax.GradientTransformationExtraArgs(init, update)


def schedule(chosen: OptimizerSettings, steps: int) -> optax.Schedule:
    """Update number -> learning rate, over `steps` batches (steps / accumulate updates).

    ConfigError if the warm-up lasts that long, so that `rate` would never be reached.
    """
    settings.check_warmup(chosen, steps)
    updates = max(steps // chosen.accumulate, 1)
    warmup = chosen.warmup // chosen.accumulate
    if chosen.decay == "onecycle":
        rising = warmup / updates if warmup else 0.3
        return optax.cosine_onecycle_schedule(updates, chosen.rate, pct_start=rising)
    rest = max(updates - warmup, 1)
    after: Callable[[Any], Any]
    if chosen.decay == "cosine":
        after = optax.cosine_decay_schedule(chosen.rate, rest, alpha=chosen.final)
    elif chosen.decay == "exponential":
        after = optax.exponential_decay(chosen.rate, rest, chosen.final)
    else:
        after = optax.constant_schedule(chosen.rate)
    if not warmup:
        return after
    # from rate / warmup, not from 0: the first update is not lost
    rise = optax.linear_schedule(chosen.rate / warmup, chosen.rate, max(warmup - 1, 1))
    return optax.join_schedules([rise, after], [warmup])


def decayed(params: Any) -> Any:
    """True for the leaves that weight decay shrinks: matrices and kernels, but no bias or norm."""

    def holds(path: Path, leaf: Any) -> bool:
        return leaf.ndim > 1 and trees.leaf_name(path).rpartition("/")[2] not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(holds, params)


LEAST_RMS = 1e-3
"""The least rms of a channel, so that one whose weights are 0 can still be learnt."""


def relative() -> optax.GradientTransformation:
    """Steps relative to what they change: each is multiplied by the rms of its output channel (the
    last axis; a vector's by the vector's own rms, at least `LEAST_RMS`).

    This is for networks whose norms are folded into the weights, which then differ a thousandfold
    in scale: one rate for all would change some by a quarter per step and leave others unchanged.
    After You et al., "Large batch optimization for deep learning" (LAMB), ICLR 2020, but by
    channel, not by layer.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        def scaled(step: jax.Array, weights: jax.Array) -> jax.Array:
            axes = tuple(range(weights.ndim - 1)) if weights.ndim > 1 else None
            rms = jnp.sqrt(jnp.mean(jnp.square(weights), axis=axes, keepdims=True))
            return step * jnp.maximum(rms, LEAST_RMS).astype(step.dtype)

        return jax.tree.map(scaled, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def moving_average(ema: Any, params: Any, decay: float, update: jax.Array) -> Any:
    """ema + (1 - d) (params - ema), d = min(decay, (1 + update) / (10 + update)).

    `update` counts the updates before this one; the small d of the first updates keeps the random
    start out of the average. Counts, which are integers, are copied.
    """
    count = update.astype(jnp.float32)
    d = jnp.minimum(decay, (1 + count) / (10 + count))

    def mean(old: Any, new: Any) -> Any:
        averaged = jnp.issubdtype(new.dtype, jnp.floating)
        return old + (1 - d) * (new - old) if averaged else new

    return jax.tree.map(mean, ema, params)


def _groups(tree: Any, multipliers: Mapping[str, float]) -> Any:
    names = [trees.leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    for prefix in multipliers:
        if not any(_under(name, prefix) for name in names):
            known = ", ".join(sorted({name.partition("/")[0] for name in names}))
            raise ConfigError(
                "no parameter has this prefix",
                place=f"optimizer.multipliers[{prefix!r}]",
                hint=f"parameters: {known}",
            )
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "trained" if _factor(path, multipliers) > 0 else "fixed", tree
    )


def _scale_by_path(multipliers: Mapping[str, float]) -> optax.GradientTransformation:
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        scaled = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf * _factor(path, multipliers), updates
        )
        return scaled, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _factor(path: Path, multipliers: Mapping[str, float]) -> float:
    matching = [prefix for prefix in multipliers if _under(trees.leaf_name(path), prefix)]
    return multipliers[max(matching, key=len)] if matching else 1.0


def _under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + "/")
