"""Opening the files of a set once, also across kills: what was learnt from each is noted on disk
while the others are opened.

Only files that can be used are noted. What can't be used is opened again by the next run: it may be
readable by then without having changed (access rights, an installed decoder, a disk that is back).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

import bodyjax
from bodyjax import files
from bodyjax.errors import DataError

Learnt = tuple[int, ...]
State = tuple[int, int]

_NAME = "opened_{on_bad}_{version}.jsonl"


class Notes:
    """What was learnt from files, by name: a JSON line a file, in a folder that is made with the
    first note.

    Each `on_bad` ("skip", "raise": they look at a file with different care) and version of bodyjax
    has notes of its own. DataError if they can't be read or written.
    """

    def __init__(self, folder: Path, on_bad: str) -> None:
        self._file = folder / _NAME.format(on_bad=on_bad, version=bodyjax.__version__)
        self._noted = dict(_read(self._file))
        self._stream: TextIO | None = None

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, *error: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def get(self, name: str, state: State | None) -> Learnt | None:
        """What is noted of a file, None if nothing is, or if it has changed since."""
        noted = self._noted.get(name)
        return noted[1] if noted is not None and noted[0] == state else None

    def add(self, name: str, state: State, learnt: Learnt) -> None:
        """Notes what was learnt from a file; `state`: before it was opened."""
        self._noted[name] = state, learnt
        words = {"file": name, "size": state[0], "changed": state[1], "learnt": learnt}
        try:
            if self._stream is None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._file.open("a", encoding="utf-8")
                if self._stream.tell():
                    self._stream.write("\n")  # the last line may be torn
            self._stream.write(json.dumps(words) + "\n")
            self._stream.flush()
        except OSError as error:
            raise files.unwritten(self._file, error) from None


def remove_notes(folder: Path) -> None:
    """Removes all notes from a folder."""
    for file in folder.glob(_NAME.format(on_bad="*", version="*")):
        file.unlink()


def open_once(
    places: Mapping[str, Path],
    look: Callable[[str], Learnt | str],
    notes: Notes | None,
    unit: str,
    run: Callable[[Callable[[str], Learnt | str], list[str]], Iterable[Learnt | str]] = map,
) -> dict[str, Learnt | str]:
    """look(name) of each file, by name: what is learnt from it, or its fault in words.

    places: where each file is. With notes, files that are noted and have not changed are not looked
    at, the others are noted, and a bar shows rate and time left on a terminal (`unit`: of what).
    run: `map`, or that of a pool. Raises what `look` raises; what is noted stays.
    """
    states = {} if notes is None else {name: _state(file) for name, file in places.items()}
    known: dict[str, Learnt | str] = {}
    if notes is not None:
        noted = ((name, notes.get(name, state)) for name, state in states.items())
        known.update((name, learnt) for name, learnt in noted if learnt is not None)
    rest = [name for name in places if name not in known]
    bar = tqdm(
        run(look, rest), "opening", total=len(places), initial=len(known), unit=unit,
        disable=True if notes is None else None,
    )  # fmt: skip
    for name, learnt in zip(rest, bar, strict=True):
        state = states.get(name)
        if notes is not None and state is not None and not isinstance(learnt, str):
            notes.add(name, state, learnt)
        known[name] = learnt
    return known


def _state(file: Path) -> State | None:
    """Size and time of the last change of a file, None if it has none."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None  # whoever opens it says what is wrong
    return status.st_size, status.st_mtime_ns


def _read(file: Path) -> Iterator[tuple[str, tuple[State, Learnt]]]:
    """What is noted in a file, which need not exist."""
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    words: dict[str, Any] = json.loads(line)
                    state = words["size"], words["changed"]
                    yield words["file"], (state, tuple(words["learnt"]))
                except (ValueError, LookupError, TypeError):
                    continue  # torn by a kill: its file is opened again
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", file=file) from None
