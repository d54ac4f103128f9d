import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax.models.backbones.layers import Depthwise
from bodyjax.models.depthwise import depthwise


def grouped(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x, kernel[:, :, None], (stride, stride), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1],
    )  # fmt: skip


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 5)])
def test_equals_the_grouped_convolution_in_value_and_gradient(size, kernel, stride):
    a, b, c = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(a, (2, *size, 6))
    k = jax.random.normal(b, (kernel, kernel, 6))
    y = grouped(x, k, stride)
    probe = jax.random.normal(c, y.shape)
    np.testing.assert_allclose(depthwise(x, k, stride), y, atol=1e-5)
    ours = jax.grad(lambda x, k: (depthwise(x, k, stride) * probe).sum(), (0, 1))(x, k)
    theirs = jax.grad(lambda x, k: (grouped(x, k, stride) * probe).sum(), (0, 1))(x, k)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-4)


def test_both_forms_of_the_layer_share_parameters():
    x = jax.random.normal(jax.random.key(1), (2, 9, 12, 4))
    layer = Depthwise(5, 2, "shifted")
    variables = layer.init(jax.random.key(2), x)
    other = Depthwise(5, 2, "grouped").apply(variables, x)
    np.testing.assert_allclose(layer.apply(variables, x), other, atol=1e-5)


def test_under_jit_and_vmap():
    x = jax.random.normal(jax.random.key(1), (3, 2, 6, 6, 4))
    k = jnp.ones((3, 3, 4))
    many = jax.jit(jax.vmap(lambda x: depthwise(x, k, 1)))(x)
    np.testing.assert_allclose(many[1], depthwise(x[1], k, 1), atol=1e-6)
