"""Former names of config fields: stored configs are read under today's names.

A config file or flag with a former name is refused with a line that gives the new one. Imports no
jax.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from bodyjax.errors import ConfigError

RENAMED = {"sequence": {"data.batch_size": "data.batch", "data.set": "data.kind"}}
"""By system: old names to new ones, each within one section."""
ADDED = {"movement": {"second": "", "operations": {}}}
"""By system: fields that earlier configs lack, with the value that means the same."""


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config, plain values, under today's names; a current one is unchanged."""
    new = copy.deepcopy(dict(config))
    system = str(new.get("system", ""))
    for old, name in RENAMED.get(system, {}).items():
        section, field = old.split(".")
        values = new.get(section)
        if isinstance(values, dict) and field in values:
            values.setdefault(name.split(".")[1], values.pop(field))
    return {**copy.deepcopy(ADDED.get(system, {})), **new}


def new_name(system: str, field: str) -> str | None:
    """What the field "section.name" of a system is called now; None if it was not renamed."""
    return RENAMED.get(system, {}).get(field)


def refuse(config: Mapping[str, Any]) -> None:
    """ConfigError for a field under its old name."""
    for old, name in RENAMED.get(str(config.get("system", "")), {}).items():
        section, field = old.split(".")
        if field in (config.get(section) or {}):
            raise ConfigError("there is no such field", place=old, hint=f"it is called {name} now")
