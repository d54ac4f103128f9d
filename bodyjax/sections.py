"""The one way to check a section of a config: a dataclass names its fields, types and defaults.

A config may leave out any field that has a default; an unknown field, or one of another type, is a
one-line ConfigError that names it. Imports no jax.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Collection
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from bodyjax.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def read(kind: type[T], values: Any, place: str) -> T:
    """The section `place` of a config as the dataclass `kind`.

    values: a mapping (ConfigDict, dict), or a `kind` already. Fields are bool, int, float, str,
    tuples of int, float or str (lists are taken too), dicts, sections (dataclasses), Any, or one of
    these or None. An int is accepted for a float.
    """
    if isinstance(values, kind):
        return values
    if not hasattr(values, "items"):
        raise ConfigError(f"{values!r} is not a section of fields", place=place)
    hints = get_type_hints(kind)
    found = {}
    for name, value in values.items():
        if name not in hints:
            raise unknown_field(name, hints, place)
        found[name] = _typed(value, hints[name], f"{place}.{name}")
    for entry in dataclasses.fields(kind):
        needed = entry.default is entry.default_factory is dataclasses.MISSING
        if needed and entry.name not in found:
            raise ConfigError("is missing", place=f"{place}.{entry.name}")
    return kind(**found)


def unknown_field(name: str, known: Collection[str], place: str) -> ConfigError:
    """The message for an unknown field of a section, with the nearest known name."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"fields: {', '.join(known)}"
    return ConfigError("there is no such field", place=f"{place}.{name}", hint=hint)


def check(holds: bool, place: str, value: Any, wanted: str) -> None:
    """ConfigError naming the field where `holds` is False."""
    if not holds:
        raise ConfigError(f"{value!r} should be {wanted}", place=place)


def choice(value: str, choices: Collection[str], place: str) -> None:
    """ConfigError if a value is not among `choices`."""
    check(value in choices, place, value, f"one of {', '.join(choices)}")


def _typed(value: Any, hint: Any, place: str) -> Any:
    """The value as type `hint`; ConfigError if it has another type."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is UnionType:
        if value is None and NoneType in inner:
            return None
        return _typed(value, next(part for part in inner if part is not NoneType), place)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return read(hint, value, place)
    if origin is tuple:
        return _row(value, inner[0], place)
    if origin is dict and hasattr(value, "items"):
        return dict(value.items())
    if hint is float and _is_number(value):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint in (str, bool) and isinstance(value, hint):
        return value
    raise ConfigError(f"{value!r} is not of type {getattr(hint, '__name__', hint)}", place=place)


def _row(value: Any, kind: type, place: str) -> tuple[Any, ...]:
    """A list or tuple of numbers or texts, as a tuple."""
    wanted = {int: "whole numbers", float: "numbers", str: "texts"}[kind]
    parts = tuple(value) if isinstance(value, list | tuple) else None
    if parts is None:
        raise ConfigError(f"{value!r} is not a list of {wanted}", place=place)
    try:
        return tuple(_typed(part, kind, place) for part in parts)
    except ConfigError:
        raise ConfigError(f"{parts!r} should be {wanted}", place=place) from None


def _is_number(value: Any) -> bool:
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    return fits and math.isfinite(value)
