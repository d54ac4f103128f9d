"""Measuring: what `bodyjax benchmark` prints, one file per theme.

A part of the benchmark is a generator of `Row`s: a task's `measure` yields them (docs/ADDING.md).
"""

from bodyjax.bench.rows import Row as Row
from bodyjax.bench.rows import table as table
from bodyjax.bench.timing import measure as measure
from bodyjax.bench.timing import measure_step as measure_step
