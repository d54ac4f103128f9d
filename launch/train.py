"""python -m launch.train in a checkout: bodyjax/commands/train.py."""

from bodyjax.commands import flags
from bodyjax.commands.train import main

if __name__ == "__main__":
    flags.run(main)
