"""A killed launch.prepare opens only the rest: the same bytes and messages as without the kill."""

import io
import os
import shutil
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from bodyjax.commands import prepare
from bodyjax.data import prepared_shards, video
from bodyjax.data.opened_once import Notes, open_once
from bodyjax.data.pictures import images
from bodyjax.errors import DataError, VideoError
from tests.picture_sets import people_set

KILLED = """
import os, signal, sys
from bodyjax.commands import prepare
from bodyjax.data import video

left, real = int(sys.argv[1]), video.open_video

def counted(file):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    print(file.stem, flush=True)
    return real(file)

video.open_video = counted
prepare.main(sys.argv[2:])
"""
"""launch.prepare, killed (-9) when it would open one clip more than so many, which it names."""


def clip(file, seed):
    file.parent.mkdir(parents=True, exist_ok=True)
    frames = np.random.default_rng(seed).integers(0, 255, (3 + seed, 16, 32, 3)).astype(np.uint8)
    video.write_video(file, frames, 10)
    return file


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    names = ("train/a/1", "train/a/2", "train/b/4", "test/a/5", "test/b/6")
    for seed, name in enumerate(names):
        clip(folder / f"{name}.mp4", seed)
    (folder / "train" / "b" / "3.mp4").write_bytes(b"")
    return folder


@pytest.fixture
def source(made, tmp_path):
    """Four clips to train, the third of them empty, and two to test."""
    return shutil.copytree(made, tmp_path / "clips")


@pytest.fixture
def opened(monkeypatch):
    """The names of the clips that are opened from now on."""
    names, real = [], video.open_video

    def counted(file):
        names.append(file.stem)
        return real(file)

    monkeypatch.setattr(video, "open_video", counted)
    return names


def words(source, out, *more):
    return ["--source", str(source), "--out", str(out), "--name", "mine", *more]


def killed(after, arguments):
    """The clips that were opened before the kill."""
    run = [sys.executable, "-c", KILLED, str(after), *arguments]
    done = subprocess.run(run, timeout=60, stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    return done.stdout.split()


def stopped(after, monkeypatch, arguments):
    """The same without a process of its own, stopped by Ctrl-C."""
    names, real = [], video.open_video

    def counted(file):
        if len(names) == after:
            raise KeyboardInterrupt
        names.append(file.stem)
        return real(file)

    with monkeypatch.context() as stopping:
        stopping.setattr(video, "open_video", counted)
        with pytest.raises(KeyboardInterrupt):
            prepare.main(arguments)
    return names


def content(out):
    return {file.name: file.read_bytes() for file in (out / "mine" / "1.0.0").iterdir()}


def notes_in(out, on_bad="skip"):
    (file,) = (out / "mine" / "1.0.0.unfinished").glob(f"opened_{on_bad}_*")
    return file


def test_a_kill_while_clips_are_opened_loses_none_of_them(source, tmp_path, opened, capsys):
    assert prepare.main(words(source, tmp_path / "whole")) == 0
    whole, said = content(tmp_path / "whole"), capsys.readouterr()
    assert opened == list("123456")
    assert "left out: 1 the file is empty" in said.out
    opened.clear()

    out = tmp_path / "out"
    assert killed(5, words(source, out)) == list("12345")
    text = notes_in(out).read_text()
    notes_in(out).write_text(text[:-9])  # the note of 5 is torn
    os.utime(source / "train" / "a" / "2.mp4", ns=(0, 0))
    # 3 could not be used: it may be readable by now.
    assert killed(3, words(source, out)) == list("235")
    assert prepare.main(words(source, out)) == 0
    assert opened == list("36")
    assert content(out) == whole
    again = capsys.readouterr()
    assert again.out.replace(str(out), str(tmp_path / "whole")) == said.out
    assert again.err == said.err


def test_a_noted_clip_is_not_looked_at_unless_its_size_or_time_differs(
    source, tmp_path, monkeypatch
):
    first = source / "train" / "a" / "1.mp4"
    stopped(2, monkeypatch, words(source, tmp_path))
    status, size = first.stat(), first.stat().st_size
    first.write_bytes(bytes(size))
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert stopped(2, monkeypatch, words(source, tmp_path)) == list("34")
    first.write_bytes(bytes(size + 1))
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert stopped(2, monkeypatch, words(source, tmp_path)) == ["1", "3"]


def test_notes_serve_while_shards_are_written_and_other_data_is_refused(
    source, tmp_path, opened, monkeypatch
):
    write = prepared_shards._write_shard

    def stops(file, records):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepared_shards, "_write_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        prepare.main(words(source, tmp_path))
    monkeypatch.setattr(prepared_shards, "_write_shard", write)
    noted = notes_in(tmp_path).read_text()
    clip(tmp_path / "other" / "a" / "1.mp4", 9)
    with pytest.raises(DataError, match="is an unfinished set of other data"):
        prepare.main(words(tmp_path / "other", tmp_path))
    assert notes_in(tmp_path).read_text().startswith(noted)
    opened.clear()
    assert prepare.main(words(source, tmp_path)) == 0
    assert opened == ["3"]
    with pytest.raises(DataError, match="is there already"):
        prepare.main(words(source, tmp_path))
    assert opened == ["3"]  # it is said before clips are opened


def test_on_bad_raise_ends_at_the_bad_clip_each_time_until_it_is_mended(
    source, tmp_path, opened, monkeypatch
):
    for _ in range(2):
        with pytest.raises(VideoError, match=r"3\.mp4: the file is empty"):
            prepare.main(words(source, tmp_path, "--on-bad", "raise"))
    assert opened == list("1233")
    clip(source / "train" / "b" / "3.mp4", 2)
    # These are decoded as well: notes of their own.
    assert stopped(1, monkeypatch, words(source, tmp_path)) == ["1"]
    opened.clear()
    assert prepare.main(words(source, tmp_path, "--on-bad", "raise")) == 0
    assert opened == list("3456")


# ---- pictures ----


@pytest.fixture
def decoded(monkeypatch):
    """The names of the pictures that are decoded from now on."""
    names, real = [], images.read_image

    def counted(source, name=None):
        names.append(str(name or source).rpartition("/")[2])
        return real(source, name)

    monkeypatch.setattr(images, "read_image", counted)
    return names


def stopped_at(picture, monkeypatch, arguments):
    """launch.prepare, stopped when it decodes a picture."""
    real = images.read_image

    def stopped(source, name=None):
        if str(name or source).endswith(picture):
            raise KeyboardInterrupt
        return real(source, name)

    with monkeypatch.context() as stopping:
        stopping.setattr(images, "read_image", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare.main(arguments)


def rendered(folder, zipped):
    people_set(folder)
    if zipped:
        with zipfile.ZipFile(folder / "images.zip", "w") as archive:
            for file in sorted((folder / "images").iterdir()):
                archive.write(file, file.name)
    return folder


@pytest.mark.parametrize("zipped", [False, True])
def test_a_stop_while_pictures_are_decoded(tmp_path, decoded, monkeypatch, zipped):
    source, out = rendered(tmp_path / "people", zipped), tmp_path / "out"
    assert prepare.main(words(source, tmp_path / "whole")) == 0
    # None is for validation, so the training side is put together twice, and decoded once.
    assert sorted(decoded) == ["0.png", "1.png", "2.png", "3.png"]
    stopped_at("2.png", monkeypatch, words(source, out))
    decoded.clear()
    assert prepare.main(words(source, out)) == 0
    assert decoded == ["2.png", "3.png"]
    assert content(out) == content(tmp_path / "whole")


def test_pictures_of_a_changed_archive_are_decoded_again(tmp_path, decoded, monkeypatch):
    source = rendered(tmp_path / "people", True)
    stopped_at("2.png", monkeypatch, words(source, tmp_path))
    decoded.clear()
    os.utime(source / "images.zip", ns=(0, 0))
    assert prepare.main(words(source, tmp_path)) == 0
    assert sorted(decoded) == ["0.png", "1.png", "2.png", "3.png"]


def test_notes_that_can_not_be_written_are_no_fault_of_a_picture(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "1.0.0.unfinished").write_text("")
    source = rendered(tmp_path / "people", False)
    with pytest.raises(DataError, match="can't be written"):
        prepare.main(words(source, tmp_path))


# ---- notes ----


def test_lines_that_are_no_notes_are_passed_over(tmp_path):
    with Notes(tmp_path, "skip") as notes:
        notes.add("a", (1, 2), (3, 4))
    (file,) = tmp_path.iterdir()
    odd = b'\x00\xff\n[]\n7\n{"file": "b"}\n{"file": "c", "size": 1, "changed": 2, "lea'
    file.write_bytes(file.read_bytes() + odd)
    with Notes(tmp_path, "skip") as notes:
        assert notes.get("a", (1, 2)) == (3, 4)
        assert [notes.get(name, (1, 2)) for name in "bc"] == [None, None]
        notes.add("c", (1, 2), (5,))
        notes.add("a", (1, 9), (6,))
    notes = Notes(tmp_path, "skip")
    assert notes.get("c", (1, 2)) == (5,)
    assert notes.get("a", (1, 9)) == (6,)
    assert notes.get("a", (1, 2)) is None
    assert Notes(tmp_path, "raise").get("a", (1, 9)) is None


def test_a_bar_on_a_terminal_shows_rate_and_time_left(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    places = {name: tmp_path / name for name in "abc"}
    for place in places.values():
        place.write_text("x")
    notes = Notes(tmp_path / "notes", "skip")
    open_once({"a": places["a"]}, lambda name: (1,), notes, "clip")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    found = open_once(places, lambda name: (2,), notes, "clip")
    assert found == {"a": (1,), "b": (2,), "c": (2,)}
    assert "1/3 [00:00<?" in screen.getvalue()  # a is not part of the rate
    assert "3/3" in screen.getvalue()
    assert "clip/s" in screen.getvalue()


def test_without_notes_nothing_is_kept_or_shown(tmp_path, capfd):
    (tmp_path / "a").write_text("x")
    found = open_once({"a": tmp_path / "a"}, lambda name: (2,), None, "clip")
    assert found == {"a": (2,)}
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert capfd.readouterr() == ("", "")
