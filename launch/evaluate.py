"""python -m launch.evaluate in a checkout: bodyjax/commands/evaluate.py."""

from bodyjax.commands import flags
from bodyjax.commands.evaluate import main

if __name__ == "__main__":
    flags.run(main)
