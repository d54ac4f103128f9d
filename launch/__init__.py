"""The commands of bodyjax/commands as they are called in a checkout: python -m launch.NAME."""
