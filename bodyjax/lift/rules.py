"""Rules that prompt a person: a parameter, a comparison, a value, how long, and what to say.

A rule file is JSON:

    {"name": "squat", "rules": [
      {"parameter": "knee_gap", "comparison": "<", "value": 0.8, "hold": 0.3,
       "when": [{"parameter": "knee_flexion", "comparison": ">", "value": 50}],
       "text": "Push your knees out over your feet"}]}

A rule holds in a frame if its comparison and all of `when` do; an event begins once it has held for
`hold` seconds (0 if left out). docs/LIFT.md lists the parameters.
"""

from __future__ import annotations

import difflib
import json
import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bodyjax.errors import ConfigError, DataError
from bodyjax.lift.parameters import PARAMETERS

SHIPPED = Path(__file__).with_name("rule_sets")
COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Condition:
    """A parameter of lift.PARAMETERS, one of COMPARISONS, and a value in the parameter's unit."""

    parameter: str
    comparison: str
    value: float

    def __post_init__(self) -> None:
        """ConfigError for what no rule file may say either."""
        if self.parameter not in PARAMETERS:
            raise ConfigError(f"no parameter {self.parameter!r}", place="rule")
        if self.comparison not in COMPARISONS:
            raise ConfigError(f"no comparison {self.comparison!r}", place="rule")
        if not isinstance(self.value, int | float) or not math.isfinite(self.value):
            raise ConfigError(f"value {self.value!r} is no number", place="rule")

    def holds(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """(F,) bool; False where the parameter is unknown."""
        return np.asarray(COMPARISONS[self.comparison](values[self.parameter], self.value))


@dataclass(frozen=True)
class Rule(Condition):
    """A condition with its text, how many seconds it must hold, and what must hold as well."""

    text: str
    hold: float = 0.0
    when: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.hold < math.inf:
            raise ConfigError(f"hold {self.hold!r} is no number of seconds from 0 on", place="rule")


class Event(NamedTuple):
    """A rule that held for a person: seconds from `start` to `stop`; `shown`, when it had held long
    enough; `extreme`, the parameter's value farthest beyond the rule's."""

    person: int
    rule: Rule
    start: float
    shown: float
    stop: float
    extreme: float


def shipped() -> list[str]:
    """Names of the rule sets that come with bodyjax."""
    return sorted(file.stem for file in SHIPPED.glob("*.json"))


def read(name: str | PathLike[str]) -> list[Rule]:
    """The rules of a file, or of a shipped set by its name. DataError with file and line for what
    is no rule."""
    file = Path(name)
    if not file.is_file() and str(name) in shipped():
        file = SHIPPED / f"{name}.json"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = f"a JSON file, or one of {', '.join(shipped())}"
        raise DataError("no such rule file", file=name, hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"can't be read ({error})", file=name) from None
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else None
        what = error.msg if isinstance(error, json.JSONDecodeError) else "is nested too deeply"
        raise DataError(f"no JSON: {what}", file=name, place=line) from None
    return _Reader(file, text).rules()


def events(
    rules: Sequence[Rule], person: int, times: np.ndarray, values: Mapping[str, np.ndarray]
) -> list[Event]:
    """What the rules find in the parameters of a person (parameters.measure), by time.

    times (F,) seconds. An event lasts over consecutive frames in which the rule holds, and is one
    if these span its hold time; a parameter that becomes unknown ends it.
    """
    found = []
    for rule in rules:
        holds = rule.holds(values)
        for condition in rule.when:
            holds = holds & condition.holds(values)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]])))
        for first, after in edges.reshape(-1, 2):
            start, stop = float(times[first]), float(times[after - 1])
            if stop - start >= rule.hold - 1e-6:  # times are rounded
                beyond = values[rule.parameter][first:after]
                extreme = beyond.min() if "<" in rule.comparison else beyond.max()
                found.append(Event(person, rule, start, start + rule.hold, stop, float(extreme)))
    return sorted(found, key=lambda event: (event.start, event.stop))


def described(event: Event) -> dict[str, Any]:
    """An event for JSON."""
    return {
        "event": "prompt",
        "person": event.person,
        "text": event.rule.text,
        "start": round(event.start, 4),
        "stop": round(event.stop, 4),
        "parameter": event.rule.parameter,
        "comparison": event.rule.comparison,
        "value": event.rule.value,
        "extreme": round(event.extreme, 4),
    }


# ---- reading with places ----


class _Value(NamedTuple):
    """A JSON value and its offset in the text."""

    value: Any
    at: int


class _Reader:
    """The rules in a text that is JSON; errors name the file and the line."""

    decoder = json.JSONDecoder()
    space = re.compile(r"[\s,:]*")

    def __init__(self, file: Path, text: str) -> None:
        self.file, self.text = file, text

    def rules(self) -> list[Rule]:
        top = self.next(0)
        fields = self.fields(top, {"name", "rules"}, {"rules"}, "a rule set")
        self.of_kind(fields.get("name"), str, "name", "a string")
        rules = self.of_kind(fields["rules"], list, "rules", "a list")
        if not rules.value:
            raise self.error(rules, "has no rules")
        return [self.rule(item) for item in self.items(rules)]

    def rule(self, item: _Value) -> Rule:
        needed = {"parameter", "comparison", "value", "text"}
        fields = self.fields(item, needed | {"hold", "when"}, needed, "a rule")
        condition = self.condition(fields)
        text = self.of_kind(fields["text"], str, "text", "a string")
        if not text.value.strip():
            raise self.error(text, "text is empty")
        hold = self.number(fields["hold"], "hold") if "hold" in fields else 0.0
        if hold < 0:
            raise self.error(fields["hold"], f"hold is {hold:g} s", "0 or more")
        when = []
        if "when" in fields:
            each = self.items(self.of_kind(fields["when"], list, "when", "a list"))
            known = {"parameter", "comparison", "value"}
            when = [self.condition(self.fields(one, known, known, "a condition")) for one in each]
        return Rule(
            condition.parameter, condition.comparison, condition.value, text.value, hold,
            tuple(when),
        )  # fmt: skip

    def condition(self, fields: Mapping[str, _Value]) -> Condition:
        name = self.of_kind(fields["parameter"], str, "parameter", "a string")
        if name.value not in PARAMETERS:
            near = difflib.get_close_matches(name.value, PARAMETERS, 1)
            hint = f"did you mean {near[0]}?" if near else f"such as {', '.join([*PARAMETERS][:4])}"
            raise self.error(name, f"no parameter {name.value!r}", hint)
        sign = fields["comparison"]
        if not isinstance(sign.value, str) or sign.value not in COMPARISONS:
            raise self.error(sign, f"no comparison {sign.value!r}", " ".join(COMPARISONS))
        return Condition(name.value, sign.value, self.number(fields["value"], "value"))

    def number(self, found: _Value, field: str) -> float:
        value = found.value
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or (isinstance(value, float) and not math.isfinite(value))
        ):
            raise self.error(found, f"{field} {value!r} is no number")
        try:
            return float(value)
        except OverflowError:
            raise self.error(found, f"{field} is too large") from None

    def of_kind(self, found: Any, kind: type, field: str, what: str) -> Any:
        if found is not None and not isinstance(found.value, kind):
            raise self.error(found, f"{field} is not {what}")
        return found

    def fields(
        self, item: _Value, known: set[str], needed: set[str], what: str
    ) -> dict[str, _Value]:
        """The fields of an object by name. DataError for unknown, missing and repeated ones."""
        if not isinstance(item.value, dict):
            raise self.error(item, f"{item.value!r} is not {what}", "an object of fields")
        found: dict[str, _Value] = {}
        at = item.at + 1
        while self.text[self.skip(at)] != "}":  # a repeated field is one in item.value
            name = self.next(at)
            value = self.next(self.end(name))
            at = self.end(value)
            if name.value not in known:
                near = difflib.get_close_matches(name.value, known, 1)
                hint = f"did you mean {near[0]}?" if near else ", ".join(sorted(known))
                raise self.error(name, f"{what} has no field {name.value!r}", hint)
            if name.value in found:
                raise self.error(name, f"{name.value!r} is given twice")
            found[name.value] = value
        for field in sorted(needed - set(found)):
            raise self.error(
                item, f"{field!r} is missing", f"{what} has {', '.join(sorted(needed))}"
            )
        return found

    def items(self, listed: _Value) -> list[_Value]:
        found: list[_Value] = []
        at = listed.at + 1
        for _ in listed.value:
            found.append(self.next(at))
            at = self.end(found[-1])
        return found

    def next(self, at: int) -> _Value:
        """The value at or after an offset."""
        at = self.skip(at)
        return _Value(self.decoder.raw_decode(self.text, at)[0], at)

    def skip(self, at: int) -> int:
        match = self.space.match(self.text, at)
        return match.end() if match else at

    def end(self, found: _Value) -> int:
        return int(self.decoder.raw_decode(self.text, found.at)[1])

    def error(self, found: _Value, message: str, hint: str | None = None) -> DataError:
        line = self.text.count("\n", 0, found.at) + 1
        return DataError(message, file=self.file, place=f"line {line}", hint=hint)
