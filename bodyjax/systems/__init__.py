"""The systems, one file each: `build(config)` joins model, codec, loss and metrics."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from types import ModuleType
from typing import Any

from bodyjax.contract import System
from bodyjax.errors import ConfigError


def build(config: Any) -> System:
    """The system that `config.system` names, built by its file's build(config): a file of this
    folder, or the user's own "package.module".

    ConfigError if no such file has a function `build`.
    """
    name = config["system"]
    found = own if "." in name else _module if name in _files() else None
    module = found(name) if found else None
    if module is None or not hasattr(module, "build"):
        hint = f"one of {', '.join(known())}"
        if "." in name:
            hint += f"; a module of your own needs BODYJAX_SYSTEMS={name.partition('.')[0]}"
        raise ConfigError(f"no system {name!r}", place="system", hint=hint)
    return module.build(config)


def known() -> list[str]:
    """The systems of this folder."""
    return [file for file in _files() if hasattr(_module(file), "build")]


def _files() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def own(name: str) -> ModuleType | None:
    """The user's own module "package.module", None if there is none.

    A stranger's checkpoint must not choose what is imported: the module must already be imported (a
    config file can do so), or BODYJAX_SYSTEMS must name its package (separate several by
    commas)."""
    allowed = os.environ.get("BODYJAX_SYSTEMS", "").split(",")
    parts = name.split(".")
    if name not in sys.modules and (
        parts[0] not in allowed or not all(part.isidentifier() for part in parts)
    ):
        return None
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise
