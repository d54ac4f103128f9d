"""Everything that a command writes is checked here, before its work begins."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bodyjax import files
from bodyjax.errors import ConfigError, UserError

CHECKPOINT = ("newest", "best", "frozen", "params.npz", "config.json", "card.md")
"""What a run's folder or exported weights hold beside the results of a training."""


class Output(NamedTuple):
    """What a flag names to be written: a file, or a folder for several; None if it is not given."""

    flag: str
    path: str | Path | None
    folder: bool = False


def check(outputs: Sequence[Output], reads: Mapping[Path, str]) -> None:
    """UserError (one line) unless every output can be written and harms nothing that is read
    (`keep_apart`); missing folders are made."""
    keep_apart(outputs, reads)
    for _, name, folder in outputs:
        if name is not None and files.is_replaceable(Path(name)):
            _make_room(Path(name), folder)


def keep_apart(outputs: Sequence[Output], reads: Mapping[Path, str]) -> None:
    """UserError if an output is of the wrong kind, or harms what is read or another output.

    reads: files and folders, each with a description. No output may be one of these files, also by
    a link, lie in one of these folders, or be another output. Devices and pipes are written to, not
    replaced (`files.whole`).
    """
    known: dict[object, str] = {_key(path): what for path, what in reads.items() if path.exists()}
    folders = {path.resolve(): what for path, what in reads.items() if path.is_dir()}
    taken: dict[object, str] = {}
    for flag, name, folder in outputs:
        if name is None:
            continue
        if str(name) == "":  # "" would be the folder where one stands
            raise ConfigError("is empty", place=flag, hint="name a file or folder")
        path = Path(name)
        _check_kind(path, folder)
        if not files.is_replaceable(path):
            continue
        place = path.resolve()
        key = _key(path) or place
        if key in known and not folder:
            what = f"{flag} would replace {known[key]}"
            raise UserError(what, file=path, hint="name another file")
        for source, what in folders.items():
            if place.is_relative_to(source):
                hint = "choose another place: the next run would read it"
                raise UserError(f"{flag} lies in {what}", file=path, hint=hint)
        if key in taken:
            what = f"{flag} would replace what {taken[key]} writes"
            raise UserError(what, file=path, hint="name another file")
        taken[key] = flag


def overlay(folder: Path, name: Path, *, video: bool) -> Path:
    """Where the overlay of a file goes in a folder: its full name, then .png or .mp4. So no two
    files share one, and a name says what it is drawn over."""
    return folder / f"{name}{'.mp4' if video else '.png'}"


def of_checkpoint(*names: str | Path | None) -> dict[Path, str]:
    """The files and folders of these checkpoints, for `check`: results may lie beside them."""
    out = {}
    for folder in (Path(name) for name in names if name):
        if folder.name.isdigit():  # a step of a run
            out[folder] = "a checkpoint"
        out.update({folder / part: "a checkpoint" for part in CHECKPOINT})
    return {path: what for path, what in out.items() if path.exists()}


def _key(path: Path) -> tuple[int, int] | None:
    """The same for all names of a file: links, and letters in other cases where these don't count.
    None if it does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_kind(path: Path, folder: bool) -> None:
    """UserError if something of the other kind, or protected, has this name."""
    if not path.exists():
        return
    if path.is_dir() != folder:
        kind, other = ("file", "folder") if folder else ("folder", "file")
        raise UserError(f"is a {kind}", file=path, hint=f"name a {other}")
    if not os.access(path, os.W_OK):
        raise UserError("can't be written to", file=path, hint="name another one")


def _make_room(path: Path, folder: bool) -> None:
    """Makes a missing folder and tries to write there: rights alone don't tell (full and read-only
    disks, names that are too long)."""
    place = path.resolve()
    parent = place if folder else place.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"the folder can't be made ({error.strerror})"
        raise UserError(what, file=path if folder else path.parent) from None
    trial = files.temporary_name(place / "trial" if folder else place)
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise UserError(f"can't be written ({error.strerror})", file=path) from None
