"""The one way to check a section of a config."""

from dataclasses import dataclass, field
from typing import Any

import ml_collections
import pytest

from bodyjax import sections
from bodyjax.errors import ConfigError


@dataclass(frozen=True)
class Part:
    share: float = 0.5


@dataclass(frozen=True)
class Section:
    width: int
    name: str = "a"
    light: bool = True
    limit: float | None = None
    sizes: tuple[int, ...] = ()
    scale: tuple[float, float] = (0.5, 1.0)
    table: dict[str, Any] = field(default_factory=dict)
    part: Part = Part()
    free: Any = None


def test_a_section_is_read_with_its_defaults_and_types():
    values = {"width": 3, "limit": 2, "sizes": [1, 2], "part": {"share": 1}, "table": {"a": 1}}
    for given in (values, ml_collections.ConfigDict(values)):
        read = sections.read(Section, given, "model")
        assert read == Section(3, limit=2.0, sizes=(1, 2), part=Part(1.0), table={"a": 1})
        assert isinstance(read.limit, float)
    assert sections.read(Section, read, "model") is read
    assert sections.read(Section, {**values, "limit": None}, "model").limit is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widht": 3}, "model.widht: there is no such field; did you mean width?"),
        ({"zzz": 3}, "model.zzz: there is no such field; fields: width, name"),
        ({"width": 3.5}, "model.width: 3.5 is not of type int"),
        ({"width": True}, "model.width: True is not of type int"),
        ({"light": 1}, "model.light: 1 is not of type bool"),
        ({"name": None}, "model.name: None is not of type str"),
        ({"limit": "high"}, "model.limit: 'high' is not of type float"),
        ({"limit": float("nan")}, "model.limit: nan is not of type float"),
        ({"sizes": 4}, "model.sizes: 4 is not a list of whole numbers"),
        ({"sizes": (1, 2.5)}, "model.sizes: (1, 2.5) should be whole numbers"),
        ({"scale": [1, "b"]}, "model.scale: (1, 'b') should be numbers"),
        ({"table": 5}, "model.table: 5 is not of type dict"),
        ({"part": 1}, "model.part: 1 is not a section of fields"),
        ({"part": {"shares": 1}}, "model.part.shares: there is no such field; did you mean share?"),
    ],
)
def test_mistakes_are_one_line_that_names_the_field(change, message):
    with pytest.raises(ConfigError) as caught:
        sections.read(Section, {"width": 1, **change}, "model")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_field_without_a_default_is_needed():
    with pytest.raises(ConfigError, match=r"model\.width: is missing"):
        sections.read(Section, {}, "model")
    with pytest.raises(ConfigError, match=r"model: 'small' is not a section"):
        sections.read(Section, "small", "model")
