"""Joint sequences to movements: stacked LSTM, mean or attention over time, softmax (Zhang et al.).

The plain model of the paper is the mean of the last layer's outputs; the attention model is its
equations 9-12. Both come frame by frame too: `SequenceClassifier.step` feeds one frame into a carry
and gives the result that the whole sequence up to that frame would give.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array
Pooling = Literal["mean", "attention", "mean_max"]


class LSTMParams(NamedTuple):
    """One direction of one layer, gates in the order input, forget, cell, output (eq. 3-8).

    `kernel` (D, 4H), `recurrent` (H, 4H), `bias` (4H,).
    """

    kernel: Array
    recurrent: Array
    bias: Array


class LSTMCarry(NamedTuple):
    """Cell state `c` and output `h`, both (..., H)."""

    c: Array
    h: Array


class AttentionParams(NamedTuple):
    """Equation 10: `h_bar` (H,) learned query, `W` (A, H), `U` (A, H), `b` (A,), `V` (A,)."""

    h_bar: Array
    W: Array
    U: Array
    b: Array
    V: Array


class SequenceOutput(NamedTuple):
    """`logits` (..., classes) and `attention` (..., T): each frame's share, masked frames 0."""

    logits: Array
    attention: Array


class StreamCarry(NamedTuple):
    """What a forward model remembers between frames (a pytree; leading batch dimensions).

    `layers`: one LSTMCarry a layer. `peak` (...,): greatest score so far, `total` (...,): sum of
    exp(score - peak), `pooled` (..., H): the sum of outputs with these weights, `highest` (..., H):
    greatest output so far.
    """

    layers: tuple[LSTMCarry, ...]
    peak: Array
    total: Array
    pooled: Array
    highest: Array


def lstm_cell(
    params: LSTMParams, carry: LSTMCarry, x: Array, mask: Array
) -> tuple[LSTMCarry, Array]:
    """One step: x (..., D), mask (...) bool; where False the carry stays and the output is 0."""
    x = _of_steps(x, mask)
    new, _, _ = _gates(params.recurrent, carry, x @ params.kernel + params.bias, mask)
    return new, jnp.where(mask[..., None], new.h, 0.0)


def _of_steps(x: Array, mask: Array) -> Array:
    """x (..., D), 0 where the mask (...) is False: padding, NaN included, reaches no gradient."""
    return jnp.where(mask[..., None], x, 0.0)


def _gates(
    recurrent: Array, carry: LSTMCarry, projected: Array, mask: Array
) -> tuple[LSTMCarry, Array, Array]:
    """The state after one step, the gates i, f, g, o (..., 4H), and tanh of the cell."""
    i, f, g, o = jnp.split(projected + carry.h @ recurrent, 4, axis=-1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    c = f * carry.c + i * g
    squashed, keep = jnp.tanh(c), mask[..., None]
    new = LSTMCarry(jnp.where(keep, c, carry.c), jnp.where(keep, o * squashed, carry.h))
    return new, jnp.concatenate([i, f, g, o], axis=-1), squashed


def masked_lstm(
    params: LSTMParams,
    x: Array,
    mask: Array,
    carry: LSTMCarry | None = None,
    *,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Array, LSTMCarry]:
    """One layer in one direction as one scan over time.

    Args:
      params: weights of this layer and direction.
      x: (..., T, D) inputs; what stands at masked steps does not matter.
      mask: (..., T) bool, True where a step counts. Padding at the end gives the result of the
        shorter sequence in both directions; gaps inside are skipped.
      carry: start state, zeros when None.
      reverse: run from the last step to the first.
      unroll: steps in one iteration of the scan; the result is the same.

    Returns:
      outputs (..., T, H), 0 at masked steps, and the state after the last step in its direction.
    """
    width = params.recurrent.shape[0]
    x = _of_steps(x, mask)
    zeros = jnp.zeros((*x.shape[:-2], width), x.dtype)
    first = LSTMCarry(zeros, zeros) if carry is None else carry
    projected = x @ params.kernel + params.bias  # one large product for all steps
    inputs = (jnp.moveaxis(projected, -2, 0), jnp.moveaxis(mask, -1, 0))
    if reverse:
        inputs = jax.tree.map(lambda part: part[::-1], inputs)
    states, last = recurrence(unroll, params.recurrent, *inputs, first)
    outputs = jnp.where(inputs[1][..., None], states, 0.0)
    return jnp.moveaxis(outputs[::-1] if reverse else outputs, 0, -2), last


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recurrence(
    unroll: int, recurrent: Array, projected: Array, mask: Array, first: LSTMCarry
) -> tuple[Array, LSTMCarry]:
    """The part of an LSTM that has to go step by step, as one scan.

    recurrent (H, 4H); projected (T, ..., 4H), the inputs' part of the gates i, f, g, o; mask
    (T, ...) bool. Returns the states h after each step (T, ..., H) and the last state.

    Its gradient is written out: the weights' gradient is one product over all steps, where the
    derivative of a scan adds a (H, 4H) matrix step by step (a quarter of the time on CPUs).
    """
    return _recurrence(unroll, recurrent, projected, mask, first)[0]


def _recurrence(
    unroll: int, recurrent: Array, projected: Array, mask: Array, first: LSTMCarry
) -> tuple[tuple[Array, LSTMCarry], Any]:
    def step(state: LSTMCarry, inputs: tuple[Array, Array]) -> tuple[LSTMCarry, Any]:
        new, gates, squashed = _gates(recurrent, state, *inputs)
        return new, (new.h, gates, state.c, squashed)

    last, (states, *kept) = jax.lax.scan(step, first, (projected, mask), unroll=unroll)
    return (states, last), (recurrent, mask, first.h, states, *kept)


def _recurrence_gradient(unroll: int, kept: Any, wanted: tuple[Array, LSTMCarry]) -> Any:
    recurrent, mask, start, states, gates, cells, squashed = kept
    of_states, of_last = wanted

    def step(later: LSTMCarry, inputs: Any) -> tuple[LSTMCarry, Array]:
        of_state, gates, cell, squashed, mask = inputs
        keep = mask[..., None]
        total = later.h + of_state
        h, skipped = jnp.where(keep, total, 0.0), jnp.where(keep, 0.0, total)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jnp.where(keep, later.c + h * o * (1 - squashed**2), 0.0)
        parts = (c * g * i * (1 - i), c * cell * f * (1 - f), c * i * (1 - g**2))
        of_gates = jnp.concatenate([*parts, h * squashed * o * (1 - o)], axis=-1)
        before = LSTMCarry(jnp.where(keep, c * f, later.c), of_gates @ recurrent.T + skipped)
        return before, of_gates

    inputs = (of_states, gates, cells, squashed, mask)
    first, of_gates = jax.lax.scan(step, of_last, inputs, reverse=True, unroll=unroll)
    before = jnp.concatenate([start[None], states[:-1]])
    return jnp.einsum("...h,...g->hg", before, of_gates), of_gates, None, first


recurrence.defvjp(_recurrence, _recurrence_gradient)


def both_ways(
    forward: LSTMParams, backward: LSTMParams, x: Array, mask: Array, *, unroll: int = 1
) -> Array:
    """One layer in both directions: (..., T, 2H), the forward half first."""
    ahead, _ = masked_lstm(forward, x, mask, unroll=unroll)
    back, _ = masked_lstm(backward, x, mask, reverse=True, unroll=unroll)
    return jnp.concatenate([ahead, back], axis=-1)


def masked_softmax(scores: Array, mask: Array) -> Array:
    """Softmax over the last axis among the unmasked; all 0 where nothing is unmasked."""
    low = jnp.finfo(scores.dtype).min
    peak = jax.lax.stop_gradient(jnp.max(jnp.where(mask, scores, low), axis=-1, keepdims=True))
    weights = jnp.where(mask, jnp.exp(jnp.where(mask, scores - peak, 0.0)), 0.0)
    total = weights.sum(axis=-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1.0)


def attention_scores(params: AttentionParams, h: Array) -> Array:
    """Equation 10: beta_i = V^T tanh(W h_bar + U h_i + b). `h` (..., H) -> (...)."""
    return jnp.tanh(params.W @ params.h_bar + h @ params.U.T + params.b) @ params.V


def attention_pool(params: AttentionParams, h: Array, mask: Array) -> tuple[Array, Array]:
    """Equations 9-11: v = sum_i alpha_i h_i with alpha = softmax(beta) over the unmasked steps.

    Args:
      h: (..., T, H) outputs of the last layer; what stands at masked steps does not matter.
      mask: (..., T) bool.

    Returns:
      pooled (..., H) and alpha (..., T).
    """
    h = _of_steps(h, mask)
    alpha = masked_softmax(attention_scores(params, h), mask)
    return jnp.einsum("...t,...th->...h", alpha, h), alpha


def mean_pool(h: Array, mask: Array) -> tuple[Array, Array]:
    """The plain model: the mean over the unmasked steps, and the equal weights."""
    alpha = masked_softmax(jnp.zeros(mask.shape, h.dtype), mask)
    return jnp.einsum("...t,...th->...h", alpha, _of_steps(h, mask)), alpha


class SequenceClassifier(nn.Module):
    """Masked input projection, stacked LSTM, pooling over time, logits (system D).

    Fields:
      classes: number of labels.
      width: units of each LSTM layer and direction.
      layers: stacked layers.
      bidirectional: a second LSTM from the end to the start in each layer (no streaming then).
      pooling: "attention" (eq. 9-12), "mean" (the plain model) or "mean_max" (mean beside the
        greatest value of each unit; its attention is the mean's).
      projection: units of the input projection, 0 for none.
      conditions: kinds of a known side input (which movement is scored); each kind has its own
        vector added to the projected input and its own output layer. 0 for none.
      dropout, input_dropout: on the outputs of each layer and the pooled vector; on the input
        (one mask for all steps).
      unroll: passed to the scan over time.
    """

    classes: int
    width: int = 128
    layers: int = 2
    bidirectional: bool = False
    pooling: Pooling = "attention"
    projection: int = 0
    conditions: int = 0
    dropout: float = 0.0
    input_dropout: float = 0.0
    unroll: int = 1

    def setup(self) -> None:
        if self.pooling not in ("mean", "attention", "mean_max"):
            raise ValueError(f"pooling must be mean, attention or mean_max, not {self.pooling!r}")
        if self.conditions and not self.projection:
            raise ValueError("conditions need a projection to be added to")
        self.projector = _Projection(self.projection, self.conditions)
        directions = ("forward", "backward") if self.bidirectional else ("forward",)
        self.lstms = [
            [_Weights(self.width, name=f"lstm{layer}_{way}") for way in directions]
            for layer in range(self.layers)
        ]
        if self.pooling == "attention":
            self.attention = _Attention(self.width)
        self.head = nn.Dense(self.classes * max(self.conditions, 1))
        self.drop = nn.Dropout(self.dropout)
        self.input_drop = nn.Dropout(self.input_dropout, broadcast_dims=(-2,))

    def __call__(
        self,
        x: Array,
        mask: Array,
        present: Array | None = None,
        *,
        condition: Array | None = None,
        deterministic: bool = True,
    ) -> SequenceOutput:
        """Classify whole sequences.

        Args:
          x: (B, T, F) features.
          mask: (B, T) bool, which steps belong to the sequence.
          present: (B, T, F) bool, which features were observed; None for all. A missing one
            takes a learned value, whatever stands in `x`; NaN is missing too.
          condition: (B,) int, the known side input; needed when `conditions` > 0.
          deterministic: no dropout; else pass `rngs={"dropout": key}`.
        """
        h = self.projector(x, present, condition)
        h = self.input_drop(h, deterministic=deterministic)
        for layer in self.lstms:
            params = [weights(h.shape[-1]) for weights in layer]
            if self.bidirectional:
                h = both_ways(params[0], params[1], h, mask, unroll=self.unroll)
            else:
                h, _ = masked_lstm(params[0], h, mask, unroll=self.unroll)
            h = self.drop(h, deterministic=deterministic)
        if self.pooling == "attention":
            pooled, alpha = attention_pool(self.attention(h.shape[-1]), h, mask)
        else:
            pooled, alpha = mean_pool(h, mask)
        if self.pooling == "mean_max":
            low = jnp.where(mask[..., None], h, -jnp.inf).max(axis=-2)
            highest = jnp.where(jnp.isfinite(low), low, 0.0)
            pooled = jnp.concatenate([pooled, highest], axis=-1)
        pooled = self.drop(pooled, deterministic=deterministic)
        return SequenceOutput(self._logits(pooled, condition), alpha)

    def start(self, batch: int) -> StreamCarry:
        """The carry before the first frame."""
        if self.bidirectional:
            raise ValueError("a bidirectional model needs the whole sequence: it can't be streamed")
        zeros = jnp.zeros((batch, self.width))
        low = jnp.finfo(jnp.float32).min
        return StreamCarry(
            tuple(LSTMCarry(zeros, zeros) for _ in range(self.layers)),
            jnp.full((batch,), low),
            jnp.zeros((batch,)),
            zeros,
            jnp.full((batch, self.width), low),
        )

    def step(
        self,
        carry: StreamCarry,
        x: Array,
        mask: Array,
        present: Array | None = None,
        *,
        condition: Array | None = None,
    ) -> tuple[StreamCarry, SequenceOutput]:
        """Feed one frame: x (B, F), mask (B,) bool. A masked frame changes nothing.

        Returns the new carry and the output for the sequence so far; its `attention` (B, 1) is the
        share of this frame among the frames seen. Attention over all frames: `step`'s scores can't
        be revised, so run the whole sequence where the strip of weights is wanted.
        """
        h = self.projector(x, present, condition)
        layers = []
        for (weights,), state in zip(self.lstms, carry.layers, strict=True):
            state, h = lstm_cell(weights(h.shape[-1]), state, h, mask)
            layers.append(state)
        score = jnp.zeros(h.shape[:-1])
        if self.pooling == "attention":
            score = attention_scores(self.attention(h.shape[-1]), h)
        # softmax over a growing sequence: everything so far is rescaled to the new greatest score
        peak = jnp.where(mask, jnp.maximum(carry.peak, score), carry.peak)
        shrink = jnp.where(carry.total > 0, jnp.exp(carry.peak - peak), 0.0)
        weight = jnp.where(mask, jnp.exp(jnp.where(mask, score - peak, 0.0)), 0.0)
        total = carry.total * shrink + weight
        pooled = carry.pooled * shrink[:, None] + weight[:, None] * h
        highest = jnp.where(mask[:, None], jnp.maximum(carry.highest, h), carry.highest)
        carry = StreamCarry(tuple(layers), peak, total, pooled, highest)
        safe = jnp.where(total > 0, total, 1.0)
        out = pooled / safe[:, None]
        if self.pooling == "mean_max":
            seen = jnp.where((total > 0)[:, None], highest, 0.0)
            out = jnp.concatenate([out, seen], axis=-1)
        return carry, SequenceOutput(self._logits(out, condition), (weight / safe)[:, None])

    def _logits(self, pooled: Array, condition: Array | None) -> Array:
        logits = self.head(pooled)
        if not self.conditions:
            return logits
        heads = logits.reshape(*logits.shape[:-1], self.conditions, self.classes)
        chosen = jax.nn.one_hot(condition, self.conditions, dtype=logits.dtype)
        return jnp.einsum("...kc,...k->...c", heads, chosen)


class _Projection(nn.Module):
    """Learned values for missing features, NaN among them, then a linear map and the condition's
    vector."""

    units: int
    conditions: int

    @nn.compact
    def __call__(self, x: Array, present: Array | None, condition: Array | None) -> Array:
        missing = self.param("missing", nn.initializers.zeros, (x.shape[-1],))
        there = ~jnp.isnan(x) if present is None else present & ~jnp.isnan(x)
        x = jnp.where(there, x, missing)
        if not self.units:
            return x
        x = nn.Dense(self.units, name="dense")(x)
        if self.conditions:
            if condition is None:
                raise ValueError("this model was built with conditions: pass condition (B,)")
            table = self.param(
                "condition", nn.initializers.normal(0.1), (self.conditions, self.units)
            )
            added = jax.nn.one_hot(condition, self.conditions, dtype=x.dtype) @ table
            x = x + added.reshape(*added.shape[:1], *(1,) * (x.ndim - 2), self.units)
        return nn.relu(x)


class _Weights(nn.Module):
    """LSTMParams as module parameters, uniform within 1 / sqrt(H); forget gates start open."""

    width: int

    @nn.compact
    def __call__(self, inputs: int) -> LSTMParams:
        def uniform(key: Array, shape: tuple[int, ...]) -> Array:
            return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0) * self.width**-0.5

        def bias(key: Array, shape: tuple[int, ...]) -> Array:
            return uniform(key, shape).at[self.width : 2 * self.width].add(1.0)

        return LSTMParams(
            self.param("kernel", uniform, (inputs, 4 * self.width)),
            self.param("recurrent", uniform, (self.width, 4 * self.width)),
            self.param("bias", bias, (4 * self.width,)),
        )


class _Attention(nn.Module):
    """AttentionParams as module parameters."""

    units: int

    @nn.compact
    def __call__(self, inputs: int) -> AttentionParams:
        glorot = nn.initializers.glorot_uniform()
        small = nn.initializers.normal(inputs**-0.5)
        return AttentionParams(
            self.param("h_bar", small, (inputs,)),
            self.param("W", glorot, (self.units, inputs)),
            self.param("U", glorot, (self.units, inputs)),
            self.param("b", nn.initializers.zeros, (self.units,)),
            self.param("V", small, (self.units,)),
        )
