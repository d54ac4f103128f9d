"""python -m launch.export in a checkout: bodyjax/commands/export.py."""

from bodyjax.commands import flags
from bodyjax.commands.export import main

if __name__ == "__main__":
    flags.run(main)
