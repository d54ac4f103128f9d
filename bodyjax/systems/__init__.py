"""The systems, one file each: `build(config)` joins model, codec, loss and metrics."""

from __future__ import annotations

import importlib
from typing import Any

from bodyjax.contract import System
from bodyjax.errors import ConfigError

NAMES = ("pose", "movement", "sequence")


def build(config: Any) -> System:
    """The system that `config.system` names, built from its config; ConfigError if unknown."""
    name = config["system"]
    if name not in NAMES:
        raise ConfigError(f"no system {name!r}", place="system", hint=f"one of {', '.join(NAMES)}")
    return importlib.import_module(f"bodyjax.systems.{name}").build(config)
