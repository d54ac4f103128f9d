"""Clips of an archive: short ones that differ, and files that are none."""

import shutil
from pathlib import Path

import pytest

from tests.data import make_videos

GOOD, BAD = 9, 3


@pytest.fixture(scope="package")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine clips in two folders, and three files that can't be read."""
    folder = tmp_path_factory.mktemp("archive") / "clips"
    (folder / "inner").mkdir(parents=True)
    for number in range(GOOD):
        name = f"inner/{number}.mp4" if number % 2 else f"{number}.mp4"
        make_videos.encode(folder / name, 4 + number, *make_videos.X264)
    whole = (folder / "0.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "inner" / "text.mp4").write_text("not a video\n" * 100)
    (folder / "notes.txt").write_text("passed over")
    (folder / ".hidden.mp4").write_bytes(whole)
    return folder


@pytest.fixture
def more(clips: Path, tmp_path: Path):
    """A copy of the folder with further clips of these names."""

    def made(*names: str) -> Path:
        folder = tmp_path / "more"
        shutil.copytree(clips, folder)
        for name in names:
            shutil.copy(clips / "0.mp4", folder / name)
        return folder

    return made
