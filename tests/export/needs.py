"""What the tests of this folder skip without."""

import importlib.util

import pytest

from bodyjax.export import fetched
from bodyjax.files import default_cache


def onnx() -> None:
    """Skips without the extra `onnx`."""
    for name in ("onnx", "onnx_ir", "onnxruntime"):
        pytest.importorskip(name, reason='pip install "bodyjax[onnx]"')


def jax2onnx() -> None:
    """Skips where jax2onnx has not been fetched: tests use no network."""
    onnx()
    folder = default_cache() / "export" / f"jax2onnx-{fetched.JAX2ONNX}"
    if importlib.util.find_spec("jax2onnx") is None and not (folder / ".complete").exists():
        pytest.skip("jax2onnx is not there: an export to ONNX fetches it")
