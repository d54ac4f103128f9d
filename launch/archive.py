"""python -m launch.archive in a checkout: bodyjax/commands/archive.py."""

from bodyjax.commands import flags
from bodyjax.commands.archive import main

if __name__ == "__main__":
    flags.run(main)
