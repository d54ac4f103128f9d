"""The command `bodyjax NAME`, or `python -m bodyjax NAME`: runs bodyjax/commands/NAME.py."""

from __future__ import annotations

import importlib
import sys

from bodyjax import __version__
from bodyjax.commands import flags

COMMANDS = (
    "train", "evaluate", "recognize", "detect", "lift", "prepare", "archive", "export", "benchmark",
)  # fmt: skip


def main() -> None:
    """Runs the command named by the first word, with the remaining words."""
    words = sys.argv[1:]
    if words and words[0] in COMMANDS:
        flags.run(importlib.import_module(f"bodyjax.commands.{words[0]}").main, words[1:])
    elif not words or words[0] in ("-h", "--help"):
        print(overview())
    elif words[0] == "--version":
        print(f"bodyjax {__version__}")
    else:
        print(f"error: no command {words[0]!r}; one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(flags.EXIT_USER_ERROR)


def overview() -> str:
    """How to call bodyjax, with a line for each command."""
    lines = ["usage: bodyjax COMMAND [flags]", ""]
    for name in COMMANDS:
        module = importlib.import_module(f"bodyjax.commands.{name}")
        lines.append(f"  {name:<10} {(module.__doc__ or '').splitlines()[0]}")
    return "\n".join([*lines, "", "bodyjax COMMAND --help lists the command's flags."])


if __name__ == "__main__":
    main()
