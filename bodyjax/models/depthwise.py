"""Depthwise convolution as shifted products: what XLA runs fast on CPUs.

The grouped convolution takes 10 to 40 times as long there, and the gradient that XLA derives for
the sum of shifts spends most of its time on the kernel: one fused, badly vectorised reduction for
each tap. The gradient here reduces tap by tap in a loop, 2 to 4 times as fast (10x10x672, 5x5).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from bodyjax.errors import ConfigError

Array = jax.Array


def form(model: Any) -> str:
    """Which program computes depthwise convolutions, as `model.depthwise` of a config says:
    "shifted" or "grouped"."""
    chosen = str(model["depthwise"])
    if chosen not in ("shifted", "grouped"):
        raise ConfigError(f"{chosen!r} should be shifted or grouped", place="model.depthwise")
    return chosen


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Output size, and the padding before and after, of TensorFlow's "SAME"."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return out, total // 2, total - total // 2


def _pad(x: Array, kernel: int, stride: int) -> tuple[Array, int, int]:
    height, top, bottom = same_padding(x.shape[1], kernel, stride)
    width, left, right = same_padding(x.shape[2], kernel, stride)
    return jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))), height, width


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x: Array, kernel: Array, stride: int = 1) -> Array:
    """x (B, H, W, C) with kernel (k, k, C), "SAME" padding -> (B, ceil(H/s), ceil(W/s), C)."""
    k = kernel.shape[0]
    padded, height, width = _pad(x, k, stride)
    rows, columns = (height - 1) * stride + 1, (width - 1) * stride + 1
    y = jnp.zeros((x.shape[0], height, width, x.shape[3]), x.dtype)
    for i in range(k):
        for j in range(k):
            part = padded[:, i : i + rows : stride, j : j + columns : stride]
            y = y + part * kernel[i, j]
    return y


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel, stride), (x, kernel)


def _backward(stride: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    k = kernel.shape[0]
    padded, _, _ = _pad(x, k, stride)
    # A strided output is every s-th of the dense one: put zeros between, then both are dense.
    spread = stride - 1
    zero = jnp.zeros((), g.dtype)
    g = jax.lax.pad(g, zero, ((0, 0, 0), (0, 0, spread), (0, 0, spread), (0, 0, 0)))
    rows, columns = g.shape[1:3]
    size = (x.shape[0], rows, columns, x.shape[3])

    def tap(t: Array) -> Array:
        part = jax.lax.dynamic_slice(padded, (0, t // k, t % k, 0), size)
        return (part * g).sum(axis=(0, 1, 2))

    d_kernel = jax.lax.map(tap, jnp.arange(k * k)).reshape(kernel.shape)

    _, top, _ = same_padding(x.shape[1], k, stride)
    _, left, _ = same_padding(x.shape[2], k, stride)
    # dx[r] = sum_i kernel[i] g[r + top - i]: a full correlation with the turned kernel.
    around = jax.lax.pad(
        g, zero,
        ((0, 0, 0), (k - 1 - top, x.shape[1] + top - rows, 0),
         (k - 1 - left, x.shape[2] + left - columns, 0), (0, 0, 0)),
    )  # fmt: skip
    d_x = jnp.zeros_like(x)
    for i in range(k):
        for j in range(k):
            part = around[:, i : i + x.shape[1], j : j + x.shape[2]]
            d_x = d_x + part * kernel[k - 1 - i, k - 1 - j]
    return d_x, d_kernel.astype(kernel.dtype)


depthwise.defvjp(_forward, _backward)
