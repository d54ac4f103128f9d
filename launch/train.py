"""Trains a system: python -m launch.train --config configs/NAME.py[:variant] [--workdir DIR]
[--config.field=value ...].

The same command again goes on where the run stopped, with the same bits. Exit codes: 0 done,
2 a mistake in the input, 3 stopped by a signal and saved.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from launch import flags


def main(arguments: list[str]) -> int:
    rest, overrides = flags.split_overrides(arguments)
    parser = argparse.ArgumentParser(prog="launch.train", description=__doc__)
    parser.add_argument("--config", required=True, help="FILE.py or FILE.py:variant")
    parser.add_argument("--workdir", help="folder of the run (default: runs/NAME-variant)")
    options = parser.parse_args(rest)
    config = flags.load_config(options.config)
    flags.override(config, overrides)
    name, _, variant = options.config.partition(":")
    workdir = Path(options.workdir or f"runs/{Path(name).stem}-{variant or 'default'}")
    return train(config, workdir)


def train(config: Any, workdir: Path) -> int:
    """Trains, then shows what came out and how to use it."""
    from bodyjax import training
    from bodyjax.engine import loop

    try:
        result = training.train(config, workdir)
    except loop.Interrupted:
        return loop.EXIT_INTERRUPTED
    for line in result["lines"]:
        print(line)
    return 0


if __name__ == "__main__":
    flags.run(main)
