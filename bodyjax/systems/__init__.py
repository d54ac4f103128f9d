"""The systems, one file each: `build(config)` joins model, codec, loss and metrics."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from bodyjax.contract import System
from bodyjax.errors import ConfigError


def build(config: Any) -> System:
    """The system that `config.system` names, built by its file's build(config).

    ConfigError where no file of this folder has that name and a function `build`.
    """
    name = config["system"]
    files = sorted(module.name for module in pkgutil.iter_modules(__path__))
    module = _module(name) if name in files else None
    if module is None or not hasattr(module, "build"):
        known = [file for file in files if hasattr(_module(file), "build")]
        raise ConfigError(f"no system {name!r}", place="system", hint=f"one of {', '.join(known)}")
    return module.build(config)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
