"""Where goldens and data sets lie. Goldens are part of the repository; data sets are too large for
that, and tests that use one skip where it is missing."""

import os
from pathlib import Path

import pytest

GOLDENS = Path(__file__).resolve().parent / "data" / "goldens"
"""What public implementations give for stored inputs; README.md there names the sources."""

ROOT = Path(os.environ.get("BODYJAX_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def shared(name: str) -> Path:
    """The path of a shared file or folder, or a skip that names what is missing."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"{path} is missing (set BODYJAX_SHARED to the folder that holds {name})")
    return path
