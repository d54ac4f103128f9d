"""python -m launch.benchmark in a checkout: bodyjax/commands/benchmark.py."""

from bodyjax.commands import flags
from bodyjax.commands.benchmark import main

if __name__ == "__main__":
    flags.run(main)
