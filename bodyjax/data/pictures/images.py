"""Pictures from files, bytes and zip archives: always uint8 RGB, or an error that names the
file."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from bodyjax import files
from bodyjax.data.video import limits
from bodyjax.data.video.gif_check import GifCheck
from bodyjax.errors import DataError

BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
NEEDS = {"HEIC": 'pip install "bodyjax[heic]", or save as JPEG', "AVIF": "install Pillow >= 11.3"}

_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")


def read_image(source: str | PathLike[str] | bytes, name: str | None = None) -> np.ndarray:
    """One picture as (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    Grey is repeated over the channels; grey of more than 8 bits is scaled by the depth of its
    values (`eight_bits`); the first of several frames or pages is used; CMYK and palettes are
    converted; transparent pixels are laid over white. `name` is what errors call bytes. Raises
    DataError for a missing, empty, truncated or oversized file, for pipes and devices (reading them
    may never end), for float pictures, for 16-bit colours that use fewer than 12 bits (they would
    be black), and if the decoder takes longer than `limits.LIMIT` seconds.
    """
    label = name if name is not None else ("picture" if isinstance(source, bytes) else str(source))
    if not isinstance(source, bytes) and files.is_endless(source):
        raise DataError("a pipe or device, not a file", file=label, hint="save the picture first")
    return limits.finished(Path(label), lambda beat: _decoded(source, label), DataError)


def _decoded(source: str | PathLike[str] | bytes, label: str) -> np.ndarray:
    try:
        with opened(source) as picture:
            deep = picture.mode.startswith("RGB") and "16" in str(picture.tile)
            picture.load()
            if picture.format == "GIF" and (wrong := GifCheck()(_bytes(source), alone=True)):
                raise DataError(f"damaged: {wrong}", file=label, hint="copy it again")
            pixels = _rgb(ImageOps.exif_transpose(picture), label)
            if deep and pixels.max(initial=0) < 2**4:
                hint = "scale its values to 8 or 16 bits"
                raise DataError("colours of 16 bits, all nearly black", file=label, hint=hint)
            return pixels
    except FileNotFoundError:
        raise DataError("no such picture", file=label) from None
    except UnidentifiedImageError:
        begin = _beginning(source)
        if (name := _brand(begin)) is not None:
            raise DataError(f"{name} can't be read here", file=label, hint=NEEDS[name]) from None
        what = "no known format" if begin else "it is empty"
        raise DataError(f"not a readable picture ({what})", file=label) from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        why = getattr(error, "strerror", None) or error  # not the file's name twice
        raise DataError(f"not a readable picture ({why})", file=label) from None


def opened(source: str | PathLike[str] | bytes) -> ImageFile.ImageFile:
    """A picture opened by Pillow, HEIC by pillow-heif if that is installed. Raises what Pillow
    raises."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        if _brand(_beginning(source)) != "HEIC":
            raise
        try:
            import pillow_heif
        except ImportError:
            pass
        else:
            pillow_heif.register_heif_opener()
            return Image.open(file)
        raise


def _bytes(source: str | PathLike[str] | bytes) -> bytes:
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def _beginning(source: str | PathLike[str] | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:12]
    with open(source, "rb") as file:
        return file.read(12)


def _brand(begin: bytes) -> str | None:
    """The name of a format that needs more than Pillow alone, from a file's first 12 bytes."""
    if begin[4:8] != b"ftyp":
        return None
    return BRANDS.get(begin[8:12])


def has_several(file: str | PathLike[str]) -> bool:
    """Whether a readable picture's file holds several frames or pages; the extra pictures that
    phones store beside a photo (MPO) don't count."""
    with opened(file) as picture:
        return picture.format != "MPO" and bool(getattr(picture, "is_animated", False))


def any_picture(source: Any, name: str = "picture") -> np.ndarray:
    """One picture as (H, W, 3) uint8 RGB from a file's name, its bytes, a PIL picture, or an array
    (NumPy, jax, ...) of integers: grey (H, W), (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4).

    Files and PIL pictures as in `read_image`; arrays of any other type than uint8 are scaled by the
    depth of their values (`eight_bits`), transparent pixels are laid over white. Errors use `name`
    for pictures without one. Raises DataError.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return read_image(bytes(source), name)
    if isinstance(source, str | PathLike):
        return read_image(source)
    if isinstance(source, Image.Image):
        try:
            picture = _rgb(ImageOps.exif_transpose(source), name)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise DataError(f"not a readable picture ({error})", file=name) from None
        if not picture.size:
            raise DataError("has no pixels", file=name)
        return picture
    if not hasattr(source, "__array__"):
        hint = "give a file's name, bytes, a PIL picture or an array"
        raise DataError(f"{type(source).__name__} is no picture", file=name, hint=hint)
    try:
        array = np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:  # on a GPU, or traced by jax
        what = str(error).partition("\n")[0]
        raise DataError(f"can't be made an array ({what})", file=name) from None
    grey = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    colours = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.dtype.kind not in "iu" or not (grey or colours) or not array.size:
        what = f"an array {array.shape} of {array.dtype} is no picture"
        hint = "give (H, W), (H, W, 3) or (H, W, 4) of integers, 8 or 16 bits"
        raise DataError(what, file=name, hint=hint)
    if array.dtype != np.uint8:
        array = eight_bits(array, name)
    if grey:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return _rgb(Image.fromarray(array), name) if array.shape[2] == 4 else array


def eight_bits(values: np.ndarray, name: str = "picture") -> np.ndarray:
    """Integers of any type as uint8: the upper byte of 16 bits. If that would be nearly black, the
    values have a smaller depth (cameras and scanners store 12 bits in 16), and the upper 8 of the
    8, 10 or 12 bits that the largest value needs are used. DataError for negative values and more
    than 16 bits.
    """
    largest = int(values.max(initial=0))
    if int(values.min(initial=0)) < 0 or largest >= 2**16:
        what = "values below 0" if largest < 2**16 else "more than 16 bits a pixel"
        raise DataError(what, file=name, hint="store 8 or 16 bits")
    depth = next(bits for bits in (8, 10, 12, 16) if largest < 2**bits)
    return (values >> (depth - 8)).astype(np.uint8)


def _rgb(picture: Image.Image, label: str) -> np.ndarray:
    if picture.mode == "F":
        raise DataError("a picture of floats has no known range", file=label, hint="store 8 bits")
    if picture.mode.startswith("I"):  # 16-bit grey; "I" is how some files of 16 bits open
        grey = eight_bits(np.asarray(picture).astype(np.int64), label)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))


class Archive:
    """The files of a zip archive by name. Thread-safe and picklable: each read opens the file."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        except FileNotFoundError:
            raise DataError("no such file", file=path) from None
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"not a readable zip archive ({error})", file=path) from None
        self._entries = {
            e.filename: (e.header_offset, e.compress_size, e.compress_type, e.CRC) for e in entries
        }
        self.sizes = {entry.filename: entry.file_size for entry in entries}

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """The names of all files."""
        return list(self._entries)

    def read(self, name: str) -> bytes:
        """The bytes of one file. DataError if it is missing, damaged or oddly compressed."""
        if name not in self._entries:
            raise DataError(f"the archive has no {name}", file=self.path)
        offset, size, method, checksum = self._entries[name]
        with open(self.path, "rb") as file:
            file.seek(offset)
            begin = file.read(_LOCAL_HEADER.size)
            if len(begin) < _LOCAL_HEADER.size:
                raise DataError("damaged: the archive is cut", file=self._file(name))
            header = _LOCAL_HEADER.unpack(begin)
            file.seek(header[-2] + header[-1], 1)
            data = file.read(size)
        try:
            if method == zipfile.ZIP_DEFLATED:  # no more than it says: a bomb would fill the memory
                data = zlib.decompressobj(-15).decompress(data, self.sizes[name] + 1)
            elif method != zipfile.ZIP_STORED:
                raise DataError(f"compression method {method} is not read", file=self._file(name))
        except zlib.error as error:
            raise DataError(f"damaged ({error})", file=self._file(name)) from None
        if zlib.crc32(data) != checksum:
            raise DataError("damaged: its checksum differs", file=self._file(name))
        return data

    def image(self, name: str) -> np.ndarray:
        """One picture, (H, W, 3) uint8."""
        return read_image(self.read(name), self._file(name))

    def place(self, name: str) -> Path:
        """The file on disk that holds one file: the archive."""
        del name
        return self.path

    def _file(self, name: str) -> str:
        return f"{self.path}/{name}"


class Folder:
    """The files of a folder by relative name; names that point outside the folder are refused."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path).resolve()
        if not self.path.is_dir():
            raise DataError("no such folder", file=path)

    def __contains__(self, name: str) -> bool:
        return not self._leads_out(name) and (self.path / name).is_file()

    def names(self) -> list[str]:
        """The names of all files that are not hidden, also in its folders."""
        found = (file.relative_to(self.path) for file in self.path.rglob("*") if file.is_file())
        return [one.as_posix() for one in found if not any(p.startswith(".") for p in one.parts)]

    def read(self, name: str) -> bytes:
        """The bytes of one file. DataError if it is missing."""
        file = self._file(name)
        if not file.is_file():
            raise DataError("no such file", file=file)
        return file.read_bytes()

    def image(self, name: str) -> np.ndarray:
        """One picture, (H, W, 3) uint8."""
        return read_image(self._file(name))

    def place(self, name: str) -> Path:
        """The file on disk that holds one file: itself."""
        return self._file(name)

    def _leads_out(self, name: str) -> bool:
        # By its words alone: links are the owner's, a label file can't make any.
        place = Path(os.path.normpath(self.path / name))
        return not name or "\0" in name or not place.is_relative_to(self.path)

    def _file(self, name: str) -> Path:
        if self._leads_out(name):
            raise DataError(f"{name} leads out of the folder", file=self.path)
        return self.path / name
