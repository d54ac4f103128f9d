"""Keeps compiled programs between runs: the second start of a command compiles nothing.

Launchers call `keep`; importing bodyjax changes no setting of jax.
"""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from bodyjax.files import default_cache

LEAST_SECONDS = 0.5
"""Programs that compile faster than this are not kept."""

_DAMAGED = re.compile("Error reading persistent compilation cache entry for '([^']+)'")
_VARIABLE = "JAX_COMPILATION_CACHE_DIR"


def keep() -> Path | None:
    """Keeps compiled programs in compiled/MACHINE of the cache folder ($BODYJAX_CACHE, else
    ~/.cache/bodyjax); returns that folder.

    None, and nothing changes, if jax already has a folder (JAX_COMPILATION_CACHE_DIR or its config:
    the user's choice, even an empty one), or if the folder can't be made or written to. A full disk
    gives no warning; a damaged program is compiled and written again. Anyone who can write to the
    folder decides what runs: share it only with people you trust.
    """
    if _VARIABLE in os.environ or jax.config.values["jax_compilation_cache_dir"] is not None:
        return None
    try:
        folder = default_cache() / "compiled" / machine()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    warnings.filterwarnings("ignore", message="Error writing persistent compilation cache")
    _mend(folder)
    return folder


def _mend(folder: Path) -> None:
    """Removes programs when jax says that it can't read them, instead of its warning.

    jax writes programs in place, so a stopped run may leave half a program, and never overwrites
    one: every later start would compile, and warn.
    """
    before = warnings.showwarning

    def show(message: Any, *arguments: Any, **options: Any) -> None:
        damaged = _DAMAGED.match(str(message))
        if damaged is None:
            before(message, *arguments, **options)
            return
        for file in folder.glob(f"{glob.escape(damaged[1])}-*"):
            with suppress(OSError):
                file.unlink()

    warnings.showwarning = show


def machine() -> str:
    """A name shared by processors that run the same programs. XLA compiles for this processor's
    instructions, and different machines may share a home."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = [platform.processor()]
    names = ("model name", "flags", "Features", "CPU part")
    told = sorted({line for line in lines if line.startswith(names)}) or lines[:1]
    digest = hashlib.sha256("\n".join(told).encode()).hexdigest()
    return f"{platform.system()}-{platform.machine()}-{digest[:12]}".lower()
