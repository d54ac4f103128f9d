"""python -m launch.lift in a checkout: bodyjax/commands/lift.py."""

from bodyjax.commands import flags
from bodyjax.commands.lift import main

if __name__ == "__main__":
    flags.run(main)
