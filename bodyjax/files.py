"""Files: found in folders by one rule, text read by one rule, written completely or not at all; the
cache folder."""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from bodyjax.errors import DataError

PICTURES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".avif", ".heic", ".heif"),
)
VIDEOS = (
    *(".mp4", ".avi", ".webm", ".mkv", ".mov", ".m4v", ".3gp"),
    *(".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".wmv", ".flv", ".gif"),
)
"""Endings of pictures and videos that are read; a .gif is either (`is_video`)."""


BAD_ARRAYS = (
    *(OSError, ValueError, LookupError, RuntimeError, EOFError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What np.load raises for damaged files: RuntimeError for a packing that zipfile lacks, or a member
that is marked as encrypted."""

_OPENED = re.compile(r"/dev/(stdout|stderr|fd/\d+)$|/proc/[^/]+/fd/")


class Listing(NamedTuple):
    """The files found in a folder, and how many are skipped: with other endings, hidden, broken
    links, links to folders, and folders that may not be read; skipped: (file, why) of each."""

    files: list[Path]
    others: int = 0
    hidden: int = 0
    broken: int = 0
    linked: int = 0
    closed: int = 0
    skipped: tuple[tuple[Path, str], ...] = ()


OTHER, HIDDEN, BROKEN = "files of other kinds", "hidden files", "links to nothing"
LINKED, CLOSED = "links to folders", "folders that may not be read"
"""Why files are skipped."""
MOST_NAMES = 5
"""The most names of skipped files that are said."""


def listed(folder: str | PathLike[str], endings: Sequence[str]) -> Listing:
    """The files with one of these endings, in lower or upper case, in a folder and its subfolders,
    sorted.

    Hidden ones (their own name, or that of a folder below `folder`, begins with a dot) and broken
    links are skipped; those with the ending are counted. Links to folders are not followed, and
    counted. DataError if `folder` itself may not be read.
    """
    root = Path(folder)
    if root.is_dir() and not _is_open(root):
        raise DataError("the folder may not be read", file=root, hint=_WHY[errno.EACCES])
    found, skipped = [], []
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.is_dir():
            if not hidden and (path.is_symlink() or not _is_open(path)):
                skipped.append((path, LINKED if path.is_symlink() else CLOSED))
            continue
        fits = path.suffix.lower() in endings
        if hidden:
            if fits:
                skipped.append((path, HIDDEN))
        elif not fits:
            if path.is_file():
                skipped.append((path, OTHER))
        elif path.is_file():
            found.append(path)
        elif path.is_symlink():
            skipped.append((path, BROKEN))
    counts = Counter(why for _, why in skipped)
    others, hidden_ones, broken = counts[OTHER], counts[HIDDEN], counts[BROKEN]
    linked, closed = counts[LINKED], counts[CLOSED]
    return Listing(found, others, hidden_ones, broken, linked, closed, tuple(skipped))


def _is_open(folder: Path) -> bool:
    """Whether the files in a folder may be listed and read."""
    return os.access(folder, os.R_OK | os.X_OK)


def skipped_counts(skipped: Iterable[tuple[Path, str]], root: Path) -> dict[str, int]:
    """How many files are skipped, by reason and first names: {"hidden files (a/.x.mp4)": 1}."""
    names: dict[str, list[str]] = {}
    for path, why in skipped:
        names.setdefault(why, []).append(path.relative_to(root).as_posix())
    return {
        f"{why} ({', '.join(some[:MOST_NAMES])}{', ...' if len(some) > MOST_NAMES else ''})": len(
            some
        )
        for why, some in names.items()
    }


def is_video(file: str | PathLike[str]) -> bool:
    """Whether the ending is one of a video; a .gif is one if it has several frames."""
    ending = Path(file).suffix.lower()
    return _moves(file) if ending == ".gif" else ending in VIDEOS


def _moves(file: str | PathLike[str]) -> bool:
    from PIL import Image

    if is_endless(file):
        return False
    try:
        with Image.open(file) as picture:
            return bool(getattr(picture, "is_animated", False))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False  # whoever reads it says what is wrong


def is_endless(file: str | PathLike[str]) -> bool:
    """Whether a name is of a pipe, socket or device, of which reading may block or never end."""
    try:
        mode = os.stat(file).st_mode
    except (OSError, ValueError):
        return False  # whoever opens it says what is wrong
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def whole(file: str | PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `file`, with its ending, to write to. The file gets its final name at
    the end, and is removed if writing fails. Passes on exceptions from writing.

    A link stays a link: what it points to is written. A device or pipe is not replaced: it receives
    the bytes.
    """
    file = Path(file)
    if not is_replaceable(file):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / f"whole{file.suffix}"
            yield temporary
            with temporary.open("rb") as source, file.open("ab") as target:
                shutil.copyfileobj(source, target)
        return
    file = Path(os.path.realpath(file))
    temporary = temporary_name(file)
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        with suppress(OSError):  # such as a name that is too long
            temporary.unlink(missing_ok=True)


def is_replaceable(file: Path) -> bool:
    """Whether a name can stand for a new file: it is free, a file or a folder, not a device, a pipe
    or what a process has open (/dev/stdout)."""
    if _OPENED.match(os.path.abspath(file)):
        return False
    return not file.exists() or file.is_file() or file.is_dir()


def write_text(file: str | PathLike[str], text: str) -> None:
    """Writes UTF-8, completely or not at all. DataError if that can't be done."""
    write_bytes(file, text.encode("utf-8"))


def write_bytes(file: str | PathLike[str], data: bytes) -> None:
    """Writes bytes, completely or not at all. DataError if that can't be done."""
    try:
        with whole(file) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise unwritten(file, error) from None


_WHY = {
    errno.ENOSPC: "is the disk full?",
    errno.EDQUOT: "is the disk full?",
    errno.EFBIG: "is the size of files limited (ulimit -f), or the disk full?",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "who may read and write there?",
    errno.EPERM: "who may read and write there?",
}
"""Hints for the errors of writing that lie in the disk or the folder, not in the program."""


def why_unwritten(error: BaseException) -> tuple[str, str] | None:
    """What the system said when writing failed, and a hint; None if it was something else.

    Libraries in C++ put the system's words into exceptions of their own, and NumPy says how many
    numbers were written.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        text = str(error)
        if isinstance(error, OSError) and text.endswith(" written"):
            return text, _WHY[errno.ENOSPC]
        number = next((known for known in _WHY if os.strerror(known) in text), None)
    return None if number not in _WHY else (os.strerror(number), _WHY[number])


def unwritten(file: str | PathLike[str], error: OSError) -> DataError:
    """The error of a file that could not be written."""
    found = why_unwritten(error)
    what, hint = (error.strerror or str(error), None) if found is None else found
    return DataError(f"can't be written ({what})", file=file, hint=hint)


def read_text(file: str | PathLike[str]) -> str:
    """The text of a file: UTF-8, with or without a byte order mark, or UTF-16 with one, as Windows
    writes it. DataError if it can't be read so, and for pipes and devices (`is_endless`)."""
    if is_endless(file):
        raise DataError("a pipe or device, not a file", file=file, hint="save the text first")
    try:
        data = Path(file).read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", file=file) from None
    except UnicodeDecodeError as error:
        what = f"is not text in UTF-8 (byte {error.start})"
        raise DataError(what, file=file, hint="store it as UTF-8") from None


def read_json(file: str | PathLike[str]) -> Any:
    """The content of a JSON file, its text read by `read_text`. DataError if it is none."""
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"can't be read as JSON ({error})", file=file) from None


def sha256(file: Path) -> str:
    """The checksum of a file, 64 hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


LEFTOVER_SECONDS = 3600.0
"""A temporary file last written this long ago counts as left over."""


def default_cache() -> Path:
    """$BODYJAX_CACHE, else ~/.cache/bodyjax."""
    return Path(os.environ.get("BODYJAX_CACHE") or Path.home() / ".cache" / "bodyjax")


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path`, with its ending, that no other process or thread writes to."""
    writer = f"{os.getpid()}-{threading.get_native_id()}"
    return path.with_name(f".{path.stem}.{writer}.tmp{path.suffix}")


def remove_leftovers(root: Path) -> None:
    """Removes temporary files of runs that were killed. No write takes an hour: younger files may
    belong to another process, here or on a machine that shares the folder."""
    for leftover in root.rglob(".*.tmp*"):
        with suppress(FileNotFoundError):  # finished or removed by another one meanwhile
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                leftover.unlink()
