"""Where the shared goldens and data sets lie; tests that use them skip where they are missing."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("BODYJAX_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def shared(name: str) -> Path:
    """The path of a shared file or folder, or a skip that names what is missing."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"{path} is missing (set BODYJAX_SHARED to the folder that holds {name})")
    return path
