"""Converters that don't fit beside our packages, each in a folder of its own.

jax2onnx asks for orbax-checkpoint < 0.11.37, older than checkpoints need, so installing it would
downgrade that and what it reads. It does not use orbax for networks, so it is installed without its
dependencies into the cache folder, and stands behind our own packages on the path.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bodyjax.errors import UserError
from bodyjax.files import default_cache

ONNX = ("onnx", "onnx_ir", "onnxruntime")
"""What the extra `onnx` installs."""
JAX2ONNX = "0.17.1"

STEP = re.compile(
    r"primitive '(\w+)'|implementation for (\w+)\(|\((STABLEHLO_\w+)\)|'((?:stablehlo|tfl)\.\w+)'"
)
"""Where converters and runtimes name the step that they lack."""


@contextmanager
def jax2onnx() -> Iterator[Any]:
    """The package jax2onnx, fetched at its first use. UserError if the extra `onnx` is missing or
    it can't be fetched."""
    need(ONNX, "onnx")
    if importlib.util.find_spec("jax2onnx") is None:
        _behind(_installed(f"jax2onnx=={JAX2ONNX}"))
    # Parts of jax2onnx for other libraries warn, with tracebacks, that those are missing.
    loggers = [logging.getLogger(name) for name in ("jax2onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield importlib.import_module("jax2onnx")
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def need(packages: tuple[str, ...], extra: str) -> None:
    """UserError if one of the packages of an extra is missing."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        hint = f'pip install "bodyjax[{extra}]"'
        raise UserError(f"--format {extra} needs {', '.join(missing)}", hint=hint)


def _installed(package: str) -> Path:
    """The folder with a package of this version alone; fetched with a line that says so."""
    folder = default_cache() / "export" / package.replace("==", "-")
    if (folder / ".complete").exists():
        return folder
    print(f"fetching {package} into {folder} (once)", file=sys.stderr)
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--upgrade", "--target", str(folder), package),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        hint = f"with a network, or pip install --no-deps --target {folder} {package}"
        raise UserError(f"{package} can't be fetched: {reason}", hint=hint)
    (folder / ".complete").touch()
    return folder


def _behind(folder: Path) -> None:
    """Packages of the folder are found after all others."""
    sys.path.append(str(folder))
    importlib.invalidate_caches()


def unsupported(error: Exception, kind: str, searched: Callable[[], str] = lambda: "") -> UserError:
    """One line that names the step (JAX's primitive) that a converter has no word for; `searched`
    finds it where the converter's own words don't name one."""
    text = " ".join(str(error).split())
    found = STEP.search(text)
    step = next((word for word in found.groups() if word), "") if found else searched()
    what = f"{kind} can't hold the step {step}" if step else f"{kind} can't hold it: {text[:200]}"
    return UserError(what, hint="take --format stablehlo, which holds every step")
