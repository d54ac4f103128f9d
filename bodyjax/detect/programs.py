"""Traced programs are kept between runs, beside the compiled ones: a second start traces nothing.

A program is what `jax.export` writes for a jitted function and arguments of given shapes: StableHLO
without the arguments' values, a few hundred kB. Its name is a digest of everything that determines
it, so a program from other code, versions or settings is never used instead. As with compiled
programs, anyone who can write to the folder decides what runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
from jax import export

from bodyjax.engine import digest as digests
from bodyjax.engine import run_folder
from bodyjax.files import remove_leftovers, whole

ENDING = ".program"
MOST = 40
"""The most programs in a folder; the oldest are removed, those of earlier versions first."""


def kept(
    folder: Path,
    name: str,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    decides: object,
    before: Callable[[], None] = lambda: None,
) -> Callable[..., Any]:
    """The pure `function`, jitted, for arguments of these shapes, from `folder`; if it is missing,
    it is traced and written.

    arguments: arrays or ShapeDtypeStructs. decides: what `function` closes over, with a complete
    repr. Outputs have types that jax.export supports. before: called before tracing; its exceptions
    are passed on, and nothing is written. Damaged files are rewritten; a folder that can't be
    written to is not an error. The result takes arguments of exactly these shapes and does not
    support vmap or grad.
    """
    key = _key(name, arguments, decides)
    file = folder / f"{name}-{key}{ENDING}"
    program = _read(file, key)
    if program is None:
        before()
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
        program = bytes(export.export(jax.jit(function))(*shapes).serialize())
        _write(file, key, program)
    # Read back in the first run too: it compiles what the second one looks for.
    exported = export.deserialize(bytearray(program))

    def run(*arguments: Any) -> Any:
        return exported.call(*arguments)

    run.__name__ = name  # names the file of the compiled program
    return jax.jit(run)


def _key(name: str, arguments: tuple[Any, ...], decides: object) -> str:
    leaves, tree = jax.tree.flatten(arguments)
    words = (
        name,
        str(tree),
        [(leaf.shape, str(leaf.dtype)) for leaf in leaves],
        decides,
        digests.code(),
        run_folder.versions(),
        jax.default_backend(),
        jax.devices()[0].device_kind,
        sorted(jax.config.values.items()),  # some decide what is traced: all count
    )
    return hashlib.sha256(repr(words).encode()).hexdigest()[:32]


def _read(file: Path, key: str) -> bytes | None:
    """The program written under this key, if it is complete; otherwise None."""
    try:
        digest, _, program = file.read_bytes().partition(b"\n")
    except OSError:
        return None
    return program if digest == _digest(key, program) else None


def _write(file: Path, key: str, program: bytes) -> None:
    """Writes completely or not at all: other processes may read or write the same program now."""
    with suppress(OSError):  # a full disk, or no right to write: the next run traces again
        file.parent.mkdir(exist_ok=True)
        with whole(file) as temporary:
            temporary.write_bytes(_digest(key, program) + b"\n" + program)
        _tidy(file.parent)


def _tidy(folder: Path) -> None:
    """Removes all but the newest programs, and the leftovers of stopped runs."""
    programs = [file for file in folder.iterdir() if file.suffix == ENDING and file.name[0] != "."]
    for old in sorted(programs, key=lambda file: file.stat().st_mtime, reverse=True)[MOST:]:
        old.unlink(missing_ok=True)
    remove_leftovers(folder)


def _digest(key: str, program: bytes) -> bytes:
    return hashlib.sha256(key.encode() + program).hexdigest().encode()
