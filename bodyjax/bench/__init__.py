"""Measuring: what `python -m launch.benchmark` prints, one file per theme."""
