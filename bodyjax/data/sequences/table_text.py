"""Tables of text by one rule: a byte order mark is taken, empty lines are passed over, cells are
parted by commas, semicolons (then 1,5 may be a number) or tabs, columns come in any order."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

import numpy as np

from bodyjax.data.pictures.labelled import FilePath
from bodyjax.errors import DataError
from bodyjax.files import read_text

LARGEST = 1e9
"""Limit of x, y and sizes, in pixels: squares of larger numbers don't fit into float32."""


class Line(NamedTuple):
    """A line that is not empty: its number in the file, and its cells without spaces around."""

    number: int
    cells: list[str]
    decimal: str = "."

    @property
    def place(self) -> str:
        return f"line {self.number}"


def rows_of(file: FilePath) -> list[Line]:
    """The lines of a table that are not empty, the header first."""
    text = read_text(file)
    first = next((line for line in text.splitlines() if line.strip(" \t,;")), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines: list[Line] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                lines.append(Line(reader.line_num, cells, "," if delimiter == ";" else "."))
    except csv.Error as error:
        raise DataError(f"can't be read ({error})", file=file) from None
    return lines


def check_cells(lines: list[Line], file: FilePath) -> None:
    """DataError if a line has another number of cells than the header."""
    for line in lines[1:]:
        if len(line.cells) != len(lines[0].cells):
            what = f"{len(line.cells)} cells instead of {len(lines[0].cells)}"
            raise DataError(what, file=file, place=line.place)


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one line without spaces around."""
    return [cell.strip() for cell in line.split(delimiter)]


def number(line: Line, column: int, name: str, file: FilePath) -> float:
    """A cell as a finite number of at most LARGEST; DataError with file and line if it is none."""
    cell = line.cells[column]
    where = {"file": str(file), "place": line.place}
    try:
        value = float(cell.replace(line.decimal, "."))
    except ValueError:
        raise DataError(f"{name} {cell!r} is not a number", **where) from None
    if not np.isfinite(value):
        raise DataError(f"{name} is {cell}", **where)
    if abs(value) > LARGEST:
        raise DataError(f"{name} {cell} is beyond {LARGEST:g}", **where)
    return value
