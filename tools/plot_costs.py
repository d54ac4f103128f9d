"""Accuracy for cost: PCK against milliseconds a picture, one point a model.

python tools/plot_costs.py docs/phone_costs.csv --out docs/pictures/phone_costs.png

Columns of the table: model, kind (ours, study or public), pck, ms, command; those without ms are
lines across, and named.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import matplotlib.pyplot as plt

from bodyjax.errors import DataError, UserError

LOOKS = {"ours": ("#0b5cad", "o"), "study": ("#c25400", "^"), "public": ("#555555", "s")}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        rows = read(options.table)
        plot(rows, options.out)
    except (UserError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    left = [row["model"] for row in rows if not row["ms"]]
    print(
        f"{options.out}: {len(rows) - len(left)} models"
        + f"; without ms: {', '.join(left)}" * bool(left)
    )
    return 0


def read(table: Path) -> list[dict[str, str]]:
    """The rows; DataError for a missing column, an unknown kind, or what is no number."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"model", "kind", "pck", "ms"} <= set(rows[0]):
        raise DataError("no rows of model, kind, pck and ms", file=table)
    for number, row in enumerate(rows, 2):
        place = f"row {number}"
        if row["kind"] not in LOOKS:
            hint = f"one of {', '.join(LOOKS)}"
            raise DataError(f"no kind {row['kind']!r}", file=table, place=place, hint=hint)
        try:
            _ = float(row["pck"]), float(row["ms"] or 1)
        except (TypeError, ValueError):
            raise DataError("pck or ms is no number", file=table, place=place) from None
    return rows


def plot(rows: list[dict[str, str]], out: Path) -> None:
    """Draws the rows: points, those without ms as lines across."""
    figure, axes = plt.subplots(figsize=(7.2, 4.2), dpi=110)
    for kind, (colour, marker) in LOOKS.items():
        drawn = [row for row in rows if row["kind"] == kind and row["ms"]]
        if not drawn:
            continue
        x, y = ([float(row[name]) for row in drawn] for name in ("ms", "pck"))
        axes.scatter(x, y, color=colour, marker=marker, label=kind)
        for row, ms, pck in zip(drawn, x, y, strict=True):
            axes.annotate(
                row["model"], (ms, pck), xytext=(5, 4), textcoords="offset points", fontsize=8
            )
    for row in rows:
        if not row["ms"]:
            level = float(row["pck"])
            axes.axhline(level, color=LOOKS[row["kind"]][0], linestyle="--", linewidth=0.9)
            axes.annotate(row["model"], (1, level), xytext=(0, 3), textcoords="offset points",
                          fontsize=8)  # fmt: skip
    axes.set(xlabel="ms a picture, ONNX Runtime, one core", ylabel="PCK@0.2, 12 limb joints")
    axes.set_xscale("log")
    axes.set_xticks(ticks := [1, 2, 5, 10, 20, 50], [str(tick) for tick in ticks])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
