"""The rewritten function gives the same numbers, in the steps that it promises."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from bodyjax.export import rewritten
from bodyjax.models.backbones.layers import Norm, Pointwise, PointwiseConv, SqueezeExcite, conv
from bodyjax.models.resize import upsample2
from bodyjax.models.sequence import LSTMParams, masked_lstm

RNG = np.random.default_rng(0)


def steps(function, *inputs, **options):
    """How often each step appears after rewriting, whose results equal the function's."""
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]
    run = rewritten.simplified(function, *shapes, **options)
    ours, theirs = jax.jit(run)(*inputs), jax.tree.leaves(jax.jit(function)(*inputs))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=2e-5)
    return Counter(step.primitive.name for step in jax.make_jaxpr(run)(*inputs).eqns)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


class Block(nn.Module):
    """A norm after a convolution, and one after a product."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(Norm()(conv(8, 3, dtype=jnp.float32)(x), False))
        x = nn.relu(Norm()(Pointwise(6)(x), False))
        return PointwiseConv(4)(x)


def with_values(module, x):
    """Variables with values of their own, variances above 0."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: np.abs(normal(*leaf.shape)) + 0.1, shapes)


def test_norms_and_products_are_convolutions():
    x, block = normal(1, 8, 6, 3), Block()
    variables = with_values(block, x)
    found = steps(lambda x: block.apply(variables, x), x)
    assert found["conv_general_dilated"] == 3
    assert found["add"] == 3  # an offset each; the scales are in the weights
    assert not found.keys() & {"dot_general", "mul", "sub", "rsqrt", "div"}


def test_a_norm_before_a_convolution_stays():
    x = normal(1, 5, 5, 3)
    block = nn.Sequential([nn.BatchNorm(True), nn.Conv(2, (3, 3))])
    variables = with_values(block, x)
    assert steps(lambda x: block.apply(variables, x), x)["conv_general_dilated"] == 1


def test_a_convolution_that_two_steps_read_keeps_both_results():
    x, kernel = normal(1, 6, 6, 3), normal(3, 2)
    steps(lambda x: ((x @ kernel) * 2.0, (x @ kernel) - 1.0, 3.0 - x @ kernel), x)

    def shared(x):
        y = x @ kernel
        return y * 2.0, y + y, 1.0 - y

    steps(shared, x)


def test_offsets_that_differ_between_cells_are_not_part_of_the_weights():
    x, kernel, offset = normal(1, 6, 6, 3), normal(3, 2), normal(6, 6, 2)
    steps(lambda x: x @ kernel + offset, x)


def test_upsampling_is_one_step():
    assert steps(upsample2, normal(1, 5, 7, 3)).keys() == {"jit"}


def test_another_resizing_keeps_its_numbers():
    x = normal(1, 4, 4, 2)
    steps(lambda x: jax.image.resize(x, (1, 8, 8, 2), "cubic", antialias=False), x)
    steps(lambda x: jax.image.resize(x, (1, 8, 8, 2), "nearest"), x)


def test_squeeze_and_excitation_and_pooling():
    x, block = normal(1, 8, 8, 16), SqueezeExcite(4)
    variables = with_values(block, x)
    steps(lambda x: block.apply(variables, x), x)
    pads = [(1, 1), (1, 1)]
    steps(lambda x: nn.max_pool(x, (3, 3), strides=(2, 2), padding=pads), x)


def test_truth_values_are_chosen_by_and_and_or():
    flags = [RNG.uniform(size=(3, 4)) < 0.5 for _ in range(3)]
    assert "select_n" not in steps(jnp.where, *flags)


def lstm(x, mask):
    params = LSTMParams(*(jnp.asarray(WEIGHTS[name]) for name in LSTMParams._fields))
    return masked_lstm(params, x, mask, reverse=True)


WEIGHTS = {"kernel": normal(5, 16), "recurrent": normal(4, 16), "bias": normal(16)}


def test_loops_stay_or_are_written_out():
    x, mask = normal(1, 6, 5), np.arange(6)[None] < 4
    assert steps(lstm, x, mask)["scan"] == 1
    assert "scan" not in steps(lstm, x, mask, unroll=True)
