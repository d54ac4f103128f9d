"""A compilation cache for the engine's tests: programs are compiled once for all processes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(scope="package")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="package", autouse=True)
def use_cache(cache: str) -> Iterator[None]:
    before = {name: getattr(jax.config, name) for name in NAMES}
    jax.config.update(NAMES[0], cache)
    jax.config.update(NAMES[1], 0)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def start(cache: str) -> Callable[..., "subprocess.Popen[str]"]:
    """start(*arguments, devices=1) runs tests.engine.toy in a process."""

    def start(*arguments: object, devices: int = 1) -> "subprocess.Popen[str]":
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.engine.toy", *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
