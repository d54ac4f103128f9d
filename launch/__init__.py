"""Command lines: flags in, one call into bodyjax, exit code out."""
