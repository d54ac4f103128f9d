"""The commands, one file each: flags in, one call into bodyjax, exit code out.

Installed, `bodyjax NAME` runs them (bodyjax/__main__.py); in a checkout, `python -m launch.NAME`
does so as well.
"""
