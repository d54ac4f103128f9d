"""python -m launch.recognize in a checkout: bodyjax/commands/recognize.py."""

from bodyjax.commands import flags
from bodyjax.commands.recognize import main

if __name__ == "__main__":
    flags.run(main)
