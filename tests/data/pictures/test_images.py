"""Pictures of every kind become uint8 RGB, or an error that names the file."""

import io
import os
import struct
import sys
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, features

from bodyjax import files
from bodyjax.data.pictures import images
from bodyjax.data.pictures.images import Archive, Folder, any_picture, read_image
from bodyjax.errors import DataError

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def test_rgb_is_exact():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(pixels), "PNG")), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1)])
def test_odd_shapes(shape):
    pixels = np.full((*shape, 3), 77, np.uint8)
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(pixels), "PNG")), pixels)


def test_grey_is_repeated():
    out = read_image(encoded(Image.fromarray(RAMP), "PNG"))
    np.testing.assert_array_equal(out, np.repeat(RAMP[..., None], 3, 2))


def test_sixteen_bits_keep_the_upper_byte():
    deep = RAMP.astype(np.uint16) * 256 + 17
    out = read_image(encoded(Image.fromarray(deep), "PNG"))
    np.testing.assert_array_equal(out[..., 1], RAMP)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_fewer_bits_than_the_type_holds_are_not_black(bits):
    """As cameras and scanners store them: 12 bits in 16, and sums of 8 bits in 64."""
    deep = RAMP.astype(np.int64) << (bits - 8)
    for kind in (np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64):
        if bits < 16 or kind != np.int16:
            colours = np.repeat(deep[..., None], 3, 2).astype(kind)
            np.testing.assert_array_equal(any_picture(colours), np.repeat(RAMP[..., None], 3, 2))
            np.testing.assert_array_equal(any_picture(deep.astype(kind))[..., 0], RAMP)
    for stored in ("PNG", "TIFF"):
        out = read_image(encoded(Image.fromarray(deep.astype(np.uint16)), stored))
        np.testing.assert_array_equal(out[..., 2], RAMP)
    out = read_image(encoded(Image.fromarray(deep.astype(np.int32)), "TIFF"))
    np.testing.assert_array_equal(out[..., 2], RAMP)


def test_integers_that_fit_no_depth_are_refused():
    for values, why in ((RAMP.astype(int) - 1, "below 0"), (RAMP.astype(int) << 9, "16 bits")):
        with pytest.raises(DataError, match=why):
            any_picture(np.repeat(values[..., None], 3, 2))
        with pytest.raises(DataError, match=why):
            any_picture(Image.fromarray(values.astype(np.int32)))
    with pytest.raises(DataError, match="no picture"):
        any_picture(RAMP > 3)


def colours_of_16_bits(values: np.ndarray) -> bytes:
    """A PNG of (H, W, 3) values in 16 bits, which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, _ = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def test_colours_of_16_bits_are_read_or_refused():
    colours = np.repeat(RAMP[..., None], 3, 2).astype(np.uint16)
    np.testing.assert_array_equal(read_image(colours_of_16_bits(colours << 8)), colours)
    for bits in (8, 10, 12):
        with pytest.raises(DataError, match=r"p\.png: .*all nearly black"):
            read_image(colours_of_16_bits(colours << (bits - 8)), "p.png")


def test_transparent_pixels_are_white_and_half_transparent_ones_mixed():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = (0, 128, 255)
    out = read_image(encoded(Image.fromarray(pixels, "RGBA"), "PNG"))
    np.testing.assert_allclose(out[0, :, 0], (255, 127, 0), atol=1)


def test_palette_with_transparency_and_one_bit():
    palette = Image.fromarray(RAMP).convert("P")
    out = read_image(encoded(palette, "PNG", transparency=0))
    assert out.shape == (6, 8, 3)
    bits = Image.fromarray(RAMP > 100).convert("1")
    assert set(np.unique(read_image(encoded(bits, "PNG")))) == {0, 255}


def test_cmyk_is_converted():
    blue = Image.new("RGB", (16, 16), (20, 40, 220))
    out = read_image(encoded(blue.convert("CMYK"), "JPEG", quality=95))
    np.testing.assert_allclose(out.mean((0, 1)), (20, 40, 220), atol=12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255  # bright in the upper left
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo(upright)))
    out = read_image(encoded(stored, "JPEG", quality=95, exif=exif))
    assert out.shape == upright.shape
    assert np.abs(out.astype(int) - upright).mean() < 4


def test_what_is_no_picture_is_named(tmp_path):
    whole = encoded(Image.fromarray(RAMP).resize((200, 200)), "JPEG")
    for data in (b"", b"hello", whole[: len(whole) // 2]):
        with pytest.raises(DataError, match=r"this\.jpg"):
            read_image(data, "this.jpg")
    with pytest.raises(DataError, match=r"gone\.png: no such picture"):
        read_image(tmp_path / "gone.png")
    floats = Image.fromarray(RAMP.astype(np.float32))
    with pytest.raises(DataError, match="floats"):
        read_image(encoded(floats, "TIFF"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_read_what_zipfile_reads(tmp_path, method):
    contents = {f"folder/{i}.bin": bytes([i]) * (100 + i) for i in range(5)}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    archive = Archive(tmp_path / "a.zip")
    assert {name: archive.read(name) for name in contents} == contents
    assert "folder/9.bin" not in archive
    with pytest.raises(DataError, match=r"no folder/9\.bin"):
        archive.read("folder/9.bin")


def test_a_damaged_archive_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.bin", b"a" * 1000)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[500] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"x\.bin: damaged"):
        Archive(tmp_path / "a.zip").read("x.bin")
    (tmp_path / "b.zip").write_bytes(data[:300])
    with pytest.raises(DataError, match=r"b\.zip"):
        Archive(tmp_path / "b.zip")


def test_folders_refuse_names_that_lead_out(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(b"x")
    folder = Folder(tmp_path / "in")
    with pytest.raises(DataError, match="leads out"):
        folder.read("../secret")
    with pytest.raises(DataError, match="no such file"):
        folder.read("other")


# ---- formats of phones ----


def test_avif_is_read(tmp_path):
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    picture = np.full((40, 50, 3), (200, 100, 30), np.uint8)
    picture[:, 25:] = (20, 90, 220)
    Image.fromarray(picture).save(tmp_path / "a.avif", quality=95)
    read = images.read_image(tmp_path / "a.avif")
    assert read.shape == picture.shape
    assert np.abs(read.astype(int) - picture).mean() < 6
    assert not images.has_several(tmp_path / "a.avif")


def test_heic_is_read_with_the_extra(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    picture = np.full((64, 80, 3), (200, 100, 30), np.uint8)
    picture[:, 40:] = (20, 90, 220)
    heif.from_pillow(Image.fromarray(picture)).save(tmp_path / "a.heic", quality=95)
    for source in (tmp_path / "a.heic", (tmp_path / "a.heic").read_bytes()):
        read = images.read_image(source)
        assert read.shape == picture.shape
        assert np.abs(read.astype(int) - picture).mean() < 6
    assert not images.has_several(tmp_path / "a.heic")


def test_heic_without_the_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    file = tmp_path / "a.heic"
    file.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(DataError) as caught:
        images.read_image(file)
    assert str(caught.value).startswith(f"{file}: HEIC can't be read here; pip install")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    pipe = tmp_path / "picture.png"
    os.mkfifo(pipe)
    for read in (read_image, any_picture):
        with pytest.raises(DataError, match="a pipe or device, not a file"):
            read(pipe)
    assert not files.is_video(tmp_path / "none.gif")
    os.mkfifo(tmp_path / "moving.gif")
    assert not files.is_video(tmp_path / "moving.gif")


def test_a_member_that_unpacks_to_more_than_it_says_is_damaged(tmp_path):
    """The archive says 10 bytes; a whole inflation would give 50 MB."""
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.bin", b"\0" * 50_000_000)
    data = file.read_bytes().replace(struct.pack("<I", 50_000_000), struct.pack("<I", 10))
    file.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"x\.bin: damaged"):
        Archive(file).read("x.bin")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_an_archive_that_ends_before_a_member_is_damaged(tmp_path):
    file = tmp_path / "cut.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.bin", b"12345")
    opened = Archive(file)
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(DataError, match=r"x\.bin: damaged: the archive is cut"):
        opened.read("x.bin")
