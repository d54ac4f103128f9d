"""The comparison of readers: its rows, and that it sees wrong frames."""

from pathlib import Path

import numpy as np
import pytest

from bodyjax.bench import frame_readers
from tests.data.make_videos import X264_B, encode, recut


def test_rows_times_and_wrong_frames(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.mp4", 40, *X264_B, "-g", "12")
    turned = recut(clip, tmp_path / "turned.mp4", before=("-display_rotation", "90"))
    rows = frame_readers.compare_readers([clip, turned], k=4, repeats=1)
    by_name = {(row["clip"], row["reader"]): row for row in rows}
    for name in ("bodyjax", "bodyjax, one thread", "bodyjax, first time"):
        for path in (clip, turned):
            row = by_name[path.name, name]
            assert (row["frames"], row["sampled"], row["wrong"], row["error"]) == (40, 4, 0, None)
            assert row["milliseconds"] > 0
    assert by_name["clip.mp4", "whole"]["of_whole"] == 1
    assert by_name["clip.mp4", "whole"]["wrong"] == 0
    assert by_name["turned.mp4", "whole"]["wrong"] == 4  # PyAV alone does not turn frames


def test_a_reader_that_is_off_by_one_or_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = encode(tmp_path / "clip.mp4", 30, *X264_B)
    whole = frame_readers.read_whole

    def late(path: str, numbers: np.ndarray) -> np.ndarray:
        return whole(path, numbers + 1)

    def broken(path: str, numbers: np.ndarray) -> np.ndarray:
        raise OSError("no luck\nat all")

    readers = {"whole": whole, "late": late, "broken": broken}
    monkeypatch.setattr(frame_readers, "available_readers", lambda: readers)
    _, second, third = frame_readers.compare_readers([clip], k=3, repeats=1)
    assert second["wrong"] == 3
    assert (third["error"], third["milliseconds"], third["of_whole"]) == ("no luck", None, None)
