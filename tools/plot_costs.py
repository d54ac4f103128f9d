"""Accuracy for cost: PCK against milliseconds a picture, one point a model.

python tools/plot_costs.py docs/phone_costs.csv --out docs/pictures/phone_costs.png

Columns of the table: model, kind (ours, study or public), pck, ms, command; those without ms are
not drawn, and named.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import matplotlib.pyplot as plt

LOOKS = {"ours": ("#0b5cad", "o"), "study": ("#c25400", "^"), "public": ("#555555", "s")}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    with options.table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
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
    axes.set(xlabel="ms a picture, ONNX Runtime, one core", ylabel="PCK@0.2, 12 limb joints")
    axes.set_xscale("log")
    axes.set_xticks(ticks := [2, 5, 10, 20, 50, 100], [str(tick) for tick in ticks])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(options.out)
    left = [row["model"] for row in rows if not row["ms"]]
    print(
        f"{options.out}: {len(rows) - len(left)} models"
        + f"; without ms: {', '.join(left)}" * bool(left)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
