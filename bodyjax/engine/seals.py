"""Checksums over the files of a folder: Orbax restores a flipped bit silently, so a folder is
trusted only if its sums match."""

from __future__ import annotations

import os
from pathlib import Path

from bodyjax import files
from bodyjax.engine import mesh as meshes
from bodyjax.errors import CheckpointError

SUMS = "SHA256SUMS"


def seal(folder: Path) -> None:
    """Writes SHA256SUMS over all files of `folder`, atomically, and flushed to disk."""
    meshes.barrier(f"written {folder}")
    if meshes.is_first():
        lines = [f"{files.sha256(folder / name)}  {name}\n" for name in _files(folder)]
        with files.whole(folder / SUMS) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
    meshes.barrier(f"sealed {folder}")


def verify(folder: Path) -> None:
    """CheckpointError unless `folder` holds exactly the files of its SHA256SUMS, bit for bit."""
    sums = folder / SUMS
    if not sums.exists():
        raise CheckpointError("was never finished (no SHA256SUMS)", file=folder)
    try:
        pairs = [line.split("  ", 1) for line in sums.read_text("utf-8").splitlines()]
        wanted = {name: digest for digest, name in pairs}
    except (UnicodeDecodeError, ValueError) as error:
        raise CheckpointError("is damaged", file=sums) from error
    present = set(_files(folder))
    for name in sorted(present ^ set(wanted)):
        state = "is missing" if name in wanted else "does not belong here"
        raise CheckpointError(f"is damaged: {name} {state}", file=folder)
    for name, digest in wanted.items():
        if files.sha256(folder / name) != digest:
            raise CheckpointError(f"is damaged: {name} has changed", file=folder)


def holds(folder: Path) -> bool:
    """Whether `verify` finds nothing wrong."""
    try:
        verify(folder)
    except CheckpointError:
        return False
    return True


def _files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in (SUMS, SUMS + ".tmp")  # the latter of older versions
        and not path.name.startswith(f".{SUMS}.")
    )
