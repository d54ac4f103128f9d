"""Files are found by one rule and are written whole or not at all."""

import os

import numpy as np
import pytest

from bodyjax import files, recognize
from bodyjax.commands import detect as launch_detect
from bodyjax.data import sets
from bodyjax.data.clips.folder import clips
from bodyjax.data.video.writing import write_video
from bodyjax.detect.video_tables import videos_of
from bodyjax.errors import DataError
from tests.data import make_videos


@pytest.fixture
def folder(tmp_path):
    """Two clips of a class; beside them what is no clip, hidden, or a link to nothing."""
    root = tmp_path / "set"
    (root / "wave" / ".cache").mkdir(parents=True)
    write_video(root / "wave" / "b.mp4", make_videos.frames(2), 10.0)
    clip = (root / "wave" / "b.mp4").read_bytes()
    for name in ("wave/A.MP4", "wave/._b.mp4", "wave/.cache/c.mp4"):
        (root / name).write_bytes(clip)
    (root / "wave" / "notes.txt").write_text("no clip")
    (root / "wave" / "gone.mp4").symlink_to(root / "nowhere.mp4")
    (root / "wave" / "films.mp4").mkdir()
    return root


def test_a_folder_is_listed_by_endings(folder):
    found = files.listed(folder, files.VIDEOS)
    assert [file.name for file in found.files] == ["A.MP4", "b.mp4"]
    assert (found.others, found.hidden, found.broken) == (1, 2, 1)
    hidden_root = folder.rename(folder.with_name(".set"))  # below a hidden folder all is seen
    assert len(files.listed(hidden_root, files.VIDEOS).files) == 2


def test_every_command_finds_the_same_files(folder):
    expected = [folder / "wave" / name for name in ("A.MP4", "b.mp4")]
    assert launch_detect.input_files(folder).files == expected
    assert recognize.video_files(folder) == expected
    assert [file for _, file in videos_of(folder)[0]] == expected
    assert sets.recognise(folder) == "clips"
    source = clips(folder, "all")
    assert list(source.files) == expected
    assert source.left_out == {
        "files of other kinds (wave/notes.txt)": 1,
        "hidden files (wave/._b.mp4, wave/.cache/c.mp4)": 2,
        "links to nothing (wave/gone.mp4)": 1,
    }


def test_links_to_folders_and_folders_without_rights_are_counted(folder, monkeypatch):
    (folder / "wave" / "elsewhere").symlink_to(folder / "wave" / "films.mp4")
    (folder / "wave" / ".again").symlink_to(folder)
    allowed = os.access
    closed = (folder / "wave" / "films.mp4",)
    monkeypatch.setattr(os, "access", lambda name, mode: name not in closed and allowed(name, mode))
    found = files.listed(folder, files.VIDEOS)
    assert (found.linked, found.closed, len(found.files)) == (1, 1, 2)
    counts = files.skipped_counts(found.skipped, folder)
    assert counts["links to folders (wave/elsewhere)"] == 1
    assert counts["folders that may not be read (wave/films.mp4)"] == 1
    closed = (folder,)
    with pytest.raises(DataError, match="may not be read"):
        files.listed(folder, files.VIDEOS)


def test_what_is_passed_over_is_said(capsys):
    found = files.Listing([], others=1, hidden=2, broken=3)
    launch_detect.summary(found, 0, 0, 0, 0, 0, 0)
    said = capsys.readouterr().err
    assert "1 file that is no picture or video, 2 hidden files passed over, 3 links" in said


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "table.npz"
    with files.whole(file) as temporary:
        np.savez(temporary, x=np.arange(3))
        assert not file.exists()
        assert temporary.suffix == ".npz"
    assert np.load(file)["x"].tolist() == [0, 1, 2]
    before = file.read_bytes()

    def stopped():
        with files.whole(file) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["table.npz"]
    with pytest.raises(DataError, match=r"nowhere.note\.txt: can't be written"):
        files.write_text(tmp_path / "nowhere" / "note.txt", "text")
    with pytest.raises(DataError, match="can't be written"):
        files.write_text(tmp_path / ("long" * 100), "text")
    assert os.listdir(tmp_path) == ["table.npz"]


def test_pictures_and_videos_are_told_apart():
    assert files.is_video("A.MP4")
    assert not files.is_video("a.png")
    assert set(files.PICTURES) & set(files.VIDEOS) == {".gif"}  # either, by its frames


def test_a_file_that_another_process_writes_is_left_alone(tmp_path):
    """Also where its process can't be seen: the folder may be shared by machines."""
    written = files.temporary_name(tmp_path / "00000.mp4")
    written.write_bytes(b"half of it")
    files.remove_leftovers(tmp_path)
    assert written.exists()
    os.utime(written, (0, 0))
    files.remove_leftovers(tmp_path)
    assert not written.exists()


def test_text_from_a_pipe_is_refused_and_not_waited_for(tmp_path):
    pipe = tmp_path / "rules.json"
    os.mkfifo(pipe)
    for read in (files.read_text, files.read_json):
        with pytest.raises(DataError, match="a pipe or device, not a file"):
            read(pipe)


def test_a_gif_of_too_many_pixels_is_no_video(tmp_path):
    """60,000 x 60,000 by its header; whoever reads it says so."""
    file = tmp_path / "huge.gif"
    file.write_bytes(b"GIF89a" + b"\x60\xea\x60\xea" + b"\x80\0\0" + bytes(6) + b"," + bytes(20))
    assert not files.is_video(file)
