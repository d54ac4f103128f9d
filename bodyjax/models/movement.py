"""The movement classifier of system A (US 2020/0042776 A1, [0071-0075], figure 4): three
convolutions on each frame's heat maps, an LSTM over the frames, a fully connected layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from bodyjax.models.backbones.layers import Norm, conv
from bodyjax.models.sequence import LSTMParams, masked_lstm

Array = jax.Array


class MovementClassifier(nn.Module):
    """Heat maps (B, T, h, w, J) of T frames -> logits (B, classes).

    The softmax, or the sigmoid if several movements may hold at once, belongs to the loss and to
    `predict`. `features` (B, T, F), if given, go beside the maps (an option that is not in the
    source: the joints' coordinates, decoded from the same maps).
    """

    classes: int
    channels: tuple[int, ...] = (16, 32, 64)
    embedding: int = 128
    hidden: int = 128
    dropout: float = 0.2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Array, features: Array | None = None, train: bool = False) -> Array:
        batch, frames = maps.shape[:2]

        def drop(x: Array) -> Array:
            return nn.Dropout(self.dropout, deterministic=not train)(x)

        x = maps.reshape(batch * frames, *maps.shape[2:]).astype(self.dtype)
        for i, width in enumerate(self.channels):
            x = conv(width, 3, 2, dtype=self.dtype, padding="SAME", name=f"conv{i + 1}")(x)
            x = nn.relu(Norm(dtype=self.dtype, name=f"conv{i + 1}_bn")(x, train))
        x = x.reshape(batch, frames, -1)
        x = nn.relu(nn.Dense(self.embedding, dtype=self.dtype, name="embed_maps")(drop(x)))
        if features is not None:
            y = nn.Dense(self.embedding, dtype=self.dtype, name="embed_features")(features)
            x = jnp.concatenate([x, nn.relu(y)], axis=-1)
        x = drop(x).astype(jnp.float32)
        width = 4 * self.hidden
        params = LSTMParams(
            self.param("lstm_kernel", nn.initializers.lecun_normal(), (x.shape[-1], width)),
            self.param("lstm_recurrent", nn.initializers.orthogonal(), (self.hidden, width)),
            self.param("lstm_bias", forget_bias, (width,)),
        )
        outputs, _ = masked_lstm(params, x, jnp.ones((batch, frames), bool))
        summary = outputs.mean(axis=1)
        self.sow("intermediates", "summary", summary)  # for those who ask (recognize.familiar)
        return nn.Dense(self.classes, name="classify")(drop(summary))


def forget_bias(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Zeros, but 1 for the forget gate (Jozefowicz et al., ICML 2015)."""
    del key
    hidden = shape[0] // 4
    return jnp.zeros(shape, dtype).at[hidden : 2 * hidden].set(1.0)
