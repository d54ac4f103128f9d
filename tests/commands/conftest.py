"""Launchers that are called here leave no compiled programs in the user's own cache folder."""

import os
from collections.abc import Iterator

import jax
import pytest

NAMES = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(scope="package", autouse=True)
def compiled_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:  # as in `make test`
        yield
        return
    before = {name: jax.config.values[name] for name in NAMES}
    folder = str(tmp_path_factory.mktemp("compiled"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)  # for processes that are started
        jax.config.update(NAMES[0], folder)
        jax.config.update(NAMES[1], 0.2)
        yield
    for name, value in before.items():
        jax.config.update(name, value)
