"""Errors that a user can cause: one line that names the file, the place and what to do."""

from __future__ import annotations

from os import PathLike
from typing import Self


class UserError(Exception):
    """A mistake in the input, not in the program. Launchers print it as one line and exit with 2.

    `message` says what is wrong; `file` and `place` (a line, a field, a frame) say where;
    `hint` says what to do.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | PathLike[str] | None = None,
        place: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.message, self.file, self.place, self.hint = message, file, place, hint
        where = ": ".join(str(part) for part in (file, place) if part is not None)
        line = f"{where}: {message}" if where else message
        super().__init__(f"{line}; {hint}" if hint else line)

    def also(self, hint: str) -> Self:
        """The same error with a further hint."""
        hint = f"{self.hint}; {hint}" if self.hint else hint
        return type(self)(self.message, file=self.file, place=self.place, hint=hint)


class ConfigError(UserError):
    """A config field is misspelt, of the wrong type or out of range."""


class DataError(UserError):
    """A data set, picture, label file or array can't be used as it is."""


class VideoError(DataError):
    """A video is missing, broken, or not a video."""


class CheckpointError(UserError):
    """A checkpoint or shipped weights are missing, damaged or of another model."""
