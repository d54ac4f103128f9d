"""Writes a set in a form that is read fast: python -m launch.prepare --source PATH --out DIR
[--name NAME] [--split-number 1] [--on-bad raise|skip].

PATH holds pictures with joints or clips in class folders (or already prepared parts of one). Each
part (train, valid, test) becomes a split of a TFDS array_record set, DIR/NAME/1.0.0, which
`--config.data=` and `--data` take. Exit codes: 0 done, 2 a mistake in the input.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from launch import flags


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="launch.prepare", description=__doc__)
    parser.add_argument("--source", required=True, type=Path, help="the set's folder or file")
    parser.add_argument("--out", required=True, type=Path, help="folder for the prepared set")
    parser.add_argument("--name", help="of the prepared set (default: that of PATH)")
    parser.add_argument("--split-number", default="1", help="of several official splits")
    parser.add_argument("--on-bad", choices=("raise", "skip"), help="pictures, clips, labels")
    options = parser.parse_args(arguments)
    name = options.name or options.source.resolve().stem
    return prepare(options.source, options.out, name, options.split_number, options.on_bad)


def prepare(source: Path, out: Path, name: str, number: str, on_bad: str | None) -> int:
    """Opens every part, writes them all, and says what was written where."""
    from bodyjax.data import prepared, sets

    choice = {"on_bad": on_bad} if on_bad else {}
    splits = {
        split: sets.open_set(source, part, **choice)
        for split, part in sets.parts(source, number).items()
    }
    splits = {split: rows for split, rows in splits.items() if len(rows)}
    folder = prepared.write(splits, out, name)
    counts = ", ".join(f"{split} {len(rows)}" for split, rows in splits.items())
    print(f"{folder}: {counts}")
    return 0


if __name__ == "__main__":
    flags.run(main)
