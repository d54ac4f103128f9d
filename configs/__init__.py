"""One file per system: get_config(variant) gives plain values; the docstrings hold the commands."""
