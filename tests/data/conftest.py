"""Sets of joint sequences, each read once for all tests of a file."""

import pytest

from bodyjax.data.sequences import array_sets
from tests.shared import shared


@pytest.fixture(scope="module")
def loaded():
    cache = {}

    def load(name, **options):
        key = (name, *sorted(options.items()))
        if key not in cache:
            cache[key] = array_sets.load(name, shared(f"data/{name}"), **options)
        return cache[key]

    return load
