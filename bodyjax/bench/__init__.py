"""Measuring: what `python -m launch.benchmark` prints, one file a theme."""
