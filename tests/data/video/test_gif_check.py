"""GIFs whose pictures are not whole are noticed, and no other."""

from __future__ import annotations

import io
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bodyjax.data.pictures.images import read_image
from bodyjax.data.video import open_video
from bodyjax.data.video.gif_check import GifCheck
from bodyjax.errors import DataError, VideoError
from tests.data import make_videos
from tests.data.make_videos import ffmpeg, frame_number

SIZES = ((1, 1), (2, 1), (1, 90), (17, 5), (97, 61))
FILTERS = (
    "null", "format=rgb8", "format=monob,format=pal8",
    "split[a][b];[a]palettegen=max_colors=4[p];[b][p]paletteuse=diff_mode=rectangle",
    "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1",
)  # fmt: skip


def indices(width: int, height: int, colours: int, seed: int) -> np.ndarray:
    """Stripes, a plain part and noise, in numbers below `colours`."""
    values = np.arange(width * height) // 3 % colours
    half = len(values) // 2
    values[half:] = np.random.default_rng(seed).integers(0, colours, len(values) - half)
    values[: half // 2] = colours - 1
    return values.reshape(height, width)


def pillow(width: int, height: int, colours: int, number: int) -> bytes:
    """An animated GIF by Pillow, with other options for each number."""
    pictures = []
    for seed in range(1 + number % 3):
        image = Image.fromarray(indices(width, height, colours, seed).astype(np.uint8))
        image.putpalette(np.random.default_rng(seed).bytes(3 * colours))
        pictures.append(image)
    options = {"interlace": number % 2, "disposal": number % 4, "duration": 40}
    if number % 3 == 0:
        options |= {"transparency": 0, "comment": b"x" * (number * 50)}
    if number % 4 == 0:
        options |= {"loop": 0, "optimize": True}
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], **options)
    return file.getvalue()


def lzw(values: list[int], bits: int, clear_at: int, end: bool = True, first: bool = True) -> bytes:
    """Codes of a picture; the table is cleared once it has `clear_at` entries (more than 4096:
    never). Without the code of the end, or the first one that clears, if asked."""
    clear, out, place = 1 << bits, 0, 0

    def put(code: int, width: int) -> None:
        nonlocal out, place
        out |= code << place
        place += width

    table = {(i,): i for i in range(clear)}
    entries, width, string = clear + 2, bits + 1, ()
    if first:
        put(clear, width)
    for value in values:
        if (*string, value) in table:
            string = (*string, value)
            continue
        put(table[string], width)
        if entries < 4096:
            table[(*string, value)] = entries
            if entries == 1 << width and width < 12:
                width += 1
            entries += 1
        if entries >= clear_at:
            put(clear, width)
            table = {(i,): i for i in range(clear)}
            entries, width = clear + 2, bits + 1
        string = (value,)
    put(table[string], width)
    if entries == 1 << width and width < 12:
        width += 1
    if end:
        put(clear + 1, width)
    return out.to_bytes(-(-place // 8), "little")


def gif(values: np.ndarray, bits: int, codes: bytes, before: bytes = b"", after: bytes = b"\x3b"):
    """A GIF of one picture with a grey palette; `before`: blocks in front of it."""
    height, width = values.shape
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80 | bits - 1, 0, 0)
    palette = b"".join(bytes([i * 255 // ((1 << bits) - 1)] * 3) for i in range(1 << bits))
    picture = b"\x2c" + struct.pack("<4HBB", 0, 0, width, height, 0, bits)
    parts = b"".join(
        bytes([len(part)]) + part
        for part in (codes[i : i + 255] for i in range(0, len(codes), 255))
    )
    return screen + palette + before + picture + parts + b"\0" + after


def is_whole(codes: bytes, bits: int, pixels: int) -> bool:
    """Whether codes, read one after the other, are a picture of so many pixels; spare bits of the
    last byte may be two more if nothing says where the codes end."""
    clear, place, left, spare = 1 << bits, 0, pixels, 2
    number = int.from_bytes(codes, "little")
    table, width, last = dict.fromkeys(range(clear), 1), bits + 1, 0
    while place + width <= 8 * len(codes):
        code = number >> place & (1 << width) - 1
        place += width
        if code == clear + 1:
            spare = 0
            break
        if code == clear:
            table, width, last = dict.fromkeys(range(clear), 1), bits + 1, 0
            continue
        entry = len(table) + 2
        if last and entry < 4096:
            table[entry] = last + 1
        if code not in table:
            return False
        last = table[code]
        left -= last
        if len(table) + 2 == 1 << width and width < 12:
            width += 1
    return -spare <= left <= 0


# ------------------------------------------------------------------------------------ whole files


def test_gifs_of_pillow_are_whole() -> None:
    kinds = itertools.product(SIZES, (2, 3, 4, 16, 17, 200, 256))
    for number, ((width, height), colours) in enumerate(kinds):
        assert GifCheck()(pillow(width, height, colours, number)) == "", (width, height, colours)


@pytest.mark.parametrize("words", FILTERS)
@pytest.mark.parametrize("flags", ["0", "-offsetting", "-transdiff"])
def test_gifs_of_ffmpeg_are_whole(words: str, flags: str) -> None:
    for source in ("testsrc=s=64x48:r=5:d=1", "testsrc2=s=131x70:r=5:d=1", "color=red:s=9x9:d=1"):
        data = ffmpeg(
            "-f", "lavfi", "-i", source, "-filter_complex", words, "-gifflags", flags,
            "-frames:v", "4", "-f", "gif", "pipe:1",
        )  # fmt: skip
        assert len(data) > 50
        assert GifCheck()(data) == ""


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
@pytest.mark.parametrize("clear_at", [0, 50, 4095, 4096, 9999])
def test_tables_that_are_cleared_early_late_or_never(bits: int, clear_at: int) -> None:
    values = indices(211, 150 if clear_at > 4000 else 4, 1 << bits, bits)
    clear_at = max(clear_at, (1 << bits) + 3)
    for end, first in ((True, True), (False, True), (True, False)):
        codes = lzw(values.ravel().tolist(), bits, clear_at, end, first)
        data = gif(values, bits, codes)
        assert is_whole(codes, bits, values.size)
        assert GifCheck()(data) == ""
        if end and first:
            grey = values * 255 // ((1 << bits) - 1)
            assert np.array_equal(read_image(data)[..., 0], grey)


def test_blocks_around_a_picture() -> None:
    values = indices(40, 30, 4, 1)
    codes = lzw(values.ravel().tolist(), 2, 4096)
    comment = b"\x21\xfe\x05hello\x03you\x00"
    loop = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
    text = b"\x21\x01\x0c" + bytes(12) + b"\x02hi\x00"
    control = b"\x21\xf9\x04\x05\x0a\x00\x01\x00"
    whole = gif(values, 2, codes, comment + loop + text + control, comment + b"\x3b")
    for data in (whole, whole[:-1], whole + b"more", whole.replace(b"9a", b"7a", 1)):
        assert GifCheck()(data) == ""
    for bad, words in (
        (whole.replace(b"\x21\xfe", b"\x22\xfe", 1), "unknown kind"),
        (whole.replace(b"\x21\xfe", b"\x21\xfd", 1), "unknown extension"),
        (whole.replace(b"\x21\xf9\x04", b"\x21\xf9\x05", 1), "extension"),
        (whole[:-20], "ends too early"),
        (b"GIF90a" + whole[6:], "not begin"),
        (gif(values[:-1], 2, codes), "1200 pixels instead of 40 x 29"),
        (gif(values, 2, lzw(values.ravel().tolist()[:-1], 2, 4096)), "1199 pixels"),
        (gif(values, 2, codes, after=b"").replace(b"\x2c\0\0", b"\x2c\x01\0", 1), "screen"),
    ):
        assert words in GifCheck()(bad)


def test_a_header_may_come_again_with_the_same_screen(tmp_path: Path) -> None:
    """Pillow writes it again before a picture that is empty, and FFmpeg reads on."""
    values = indices(17, 13, 4, 1)
    control = b"\x21\xf9\x04\0\x04\0\0\0"
    one = gif(values, 2, lzw(values.ravel().tolist(), 2, 4096), before=control)
    path = tmp_path / "again.gif"
    path.write_bytes(one[:-1] + one[:-1] + one)
    assert open_video(path).read([0, 1, 2]).shape == (3, 13, 17, 3)
    assert GifCheck()(one[:-1] + gif(values[:-1], 2, b"")) == "a second screen, of 17x12"
    images = [Image.new("P", (8, 8), colour) for colour in (0, 1, 0, 1)]
    for image in images:
        image.putpalette(range(48))
    file = io.BytesIO()
    options = {"disposal": 2, "transparency": 0, "duration": 40}
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], **options)
    assert GifCheck()(file.getvalue()) == ""


# ------------------------------------------------------------------------------------------ damage


def test_damage_is_what_a_plain_reader_of_the_codes_finds() -> None:
    """Every fifth bit of the codes of three pictures turned, one at a time."""
    found = 0
    for bits, width, height, clear_at in ((2, 23, 9, 40), (4, 19, 14, 4096), (8, 21, 13, 300)):
        values = indices(width, height, 1 << bits, 7)
        codes = lzw(values.ravel().tolist(), bits, clear_at)
        for bit in range(0, 8 * len(codes), 5):
            bad = bytearray(codes)
            bad[bit // 8] ^= 1 << bit % 8
            whole = is_whole(bytes(bad), bits, values.size)
            assert (GifCheck()(gif(values, bits, bytes(bad))) == "") == whole
            found += not whole
    assert found > 100


def test_a_damaged_picture_of_a_video_is_refused_or_left_out(tmp_path: Path) -> None:
    whole = make_videos.encode(tmp_path / "whole.gif", 12)
    data = bytearray(whole.read_bytes())
    place = data.index(b"\x21\xf9", len(data) // 2)
    number = data.count(b"\x21\xf9\x04", 0, place)
    data[place + 100] ^= 4
    path = tmp_path / "bad.gif"
    path.write_bytes(data)
    with pytest.raises(VideoError, match=rf"bad\.gif: picture {number} in the file: it is damaged"):
        open_video(path)
    clip = open_video(path, on_bad="skip")
    assert (clip.frames, clip.left_out) == (number, 12 - number)
    assert [frame_number(image) for image in clip.iter_frames()] == list(range(number))
    assert open_video(whole).frames == 12


def test_a_damaged_picture_is_refused_alone(tmp_path: Path) -> None:
    values = indices(97, 61, 16, 1)
    codes = lzw(values.ravel().tolist(), 4, 4096)
    path = tmp_path / "a.gif"
    path.write_bytes(gif(values, 4, codes))
    assert read_image(path).shape == (61, 97, 3)
    path.write_bytes(gif(values[:-1], 4, codes))  # nothing that Pillow notices
    for source in (path, path.read_bytes()):
        with pytest.raises(DataError, match="damaged: 5917 pixels instead of 97 x 60; copy it"):
            read_image(source)
    beyond = gif(values, 4, codes).replace(b"\x2c\0\0", b"\x2c\x01\0", 1)
    assert read_image(beyond).shape[1] == 98
