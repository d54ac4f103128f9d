"""python -m launch.prepare in a checkout: bodyjax/commands/prepare.py."""

from bodyjax.commands import flags
from bodyjax.commands.prepare import main

if __name__ == "__main__":
    flags.run(main)
