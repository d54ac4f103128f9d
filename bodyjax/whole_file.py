"""Text files that are there whole or not at all, whenever the program is stopped."""

from __future__ import annotations

import os
from contextlib import suppress
from os import PathLike
from pathlib import Path

from bodyjax.errors import DataError


def write_text(file: str | PathLike[str], text: str) -> None:
    """Writes UTF-8 under a temporary name and renames it. DataError where that can't be done."""
    file = Path(file)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, file)
    except OSError as error:
        with suppress(OSError):  # such as a name that is too long
            temporary.unlink(missing_ok=True)
        raise DataError(f"can't be written ({error.strerror})", file=file) from None
