"""Small pictures of clips, one of which crashes its decoder."""

import io
import os
import signal

from PIL import Image

from bodyjax.archive import contact_sheet


def crashing(clip):
    """As `thumbnail`, but a clip of this name ends the process."""
    if "crash" in clip.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    return contact_sheet.thumbnail(clip)


def test_a_clip_that_crashes_its_decoder_costs_one_picture(more):
    clips = more("crash.mp4")
    names = ("0.mp4", "crash.mp4", "inner/1.mp4", "cut.mp4", "missing.mp4")
    one, crashed, other, cut, missing = contact_sheet.thumbnails(
        [clips / name for name in names], crashing
    )
    for picture in (one, other):
        with Image.open(io.BytesIO(picture)) as opened:
            assert opened.format == "JPEG"
            assert opened.width <= 240
            assert opened.height <= 160
    assert one != other
    assert crashed == "its decoder crashed"
    assert "can't be decoded" in cut
    assert "No such file" in missing


def test_no_clips_start_no_process(monkeypatch):
    monkeypatch.setattr(contact_sheet.child, "start", None)
    assert list(contact_sheet.thumbnails([])) == []
