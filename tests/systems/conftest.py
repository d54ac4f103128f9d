"""The smallest detector, compiled once for its own tests and those of its teachers."""

import jax
import pytest

from tests.systems.tiny_pose import KEY, PLAIN, value_and_grad


@pytest.fixture(scope="package")
def variables():
    return jax.jit(PLAIN.init)(KEY)


@pytest.fixture(scope="package")
def plain():
    return value_and_grad(PLAIN)
