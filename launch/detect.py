"""python -m launch.detect in a checkout: bodyjax/commands/detect.py."""

from bodyjax.commands import flags
from bodyjax.commands.detect import main

if __name__ == "__main__":
    flags.run(main)
