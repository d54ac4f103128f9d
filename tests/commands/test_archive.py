"""launch.archive: the whole command on a classifier, what it writes, resumes and refuses."""

import dataclasses
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from bodyjax import recognize
from bodyjax.archive import results
from bodyjax.archive.manifest import Manifest
from bodyjax.archive.shard import Counts
from bodyjax.commands import archive, flags
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.errors import UserError
from tests import tiny_classifier as tiny
from tests.data import make_videos

GOOD = 5


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.export(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips and two files that are none, one with a name that a page must not believe."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(GOOD):
        make_videos.encode(folder / f"{number}.mp4", 5 + number, *make_videos.X264)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "<b>&.mp4").write_text("not a video\n" * 100)
    return folder


@pytest.fixture(scope="module")
def done(weights: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the clips, by one spawned worker."""
    out = tmp_path_factory.mktemp("archive") / "out"
    assert archive.main(words(weights, clips, out)) == 0
    return out


def words(weights: Any, source: Any, out: Any, *more: str) -> list[str]:
    return ["--checkpoint", str(weights), "--source", str(source), "--out", str(out), *more]


def rows(out: Path) -> dict[str, Any]:
    lines = [line for f in (out / "results").glob("*.jsonl") for line in f.read_text().splitlines()]
    return {row["id"]: row for row in map(json.loads, lines)}


def test_every_clip_has_what_recognize_gives_it(weights, clips, done):
    found = rows(done)
    assert sorted(found) == [f"{i}.mp4" for i in range(GOOD)]
    loaded = recognize.load(weights)
    for name, row in found.items():
        alone = recognize.recognize_video(loaded, clips / name)
        assert row["label"] == alone["movement"]
        assert row["sure"] == pytest.approx(alone["probability"], abs=1e-5)
        for field in ("frames", "times", "duration", "length", "size", "operation", "reason"):
            assert row["result"][field] == alone[field]
        assert "video" not in row["result"]
    lines = [line for f in (done / "dead").glob("*") for line in f.read_text().splitlines()]
    dead = {row["id"]: row for row in map(json.loads, lines)}
    assert dead["empty.mp4"] == {
        "id": "empty.mp4", "error": "VideoError", "text": "the file is empty",
    }  # fmt: skip
    assert len(dead) == 2


def test_the_page_tells_counts_classes_pictures_and_dead_letters(done):
    page = (done / "summary.html").read_text()
    assert "7 of 7 clips" in page
    assert page.count("data:image/jpeg;base64,") == GOOD
    assert "&lt;b&gt;&amp;.mp4" in page
    assert "<b>" not in page
    assert "http" not in page
    assert re.search(r"<th>stop<td>5", page)
    assert "<rect" in page


def test_the_same_command_has_nothing_left_to_do(weights, clips, done, capsys, monkeypatch):
    before = {file: file.stat().st_mtime_ns for file in (done / "results").iterdir()}
    monkeypatch.setattr("bodyjax.archive.local._start", None)  # no worker is needed
    assert archive.main(words(weights, clips, done, "--workers", "2")) == 0
    said = capsys.readouterr()
    assert said.err == "there already: 7 clips\n"
    assert "clips: 7, with a result 5, dead letters 2" in said.out
    assert {file: file.stat().st_mtime_ns for file in (done / "results").iterdir()} == before


def test_another_job_in_the_same_folder_is_refused(weights, clips, done, tmp_path):
    changed = tiny.config()
    changed.operations = {}
    other = tiny.export(tmp_path / "other", changed)
    lists = tmp_path / "list.txt"
    lists.write_text(str(clips / "0.mp4"))
    for line, what in (
        (words(other, clips, done), "checkpoint: .*tiny, now .*other"),
        (words(weights, lists, done), "source: 7 clips of .*, now 1 clips of .*list.txt"),
        (words(weights, clips, done, "--on-bad", "skip"), 'options: {}, now {"on_bad": "skip"}'),
        (words(weights, clips, done, "--format", "parquet"), "format: jsonl, now parquet"),
    ):
        with pytest.raises(UserError, match=what) as caught:
            archive.main(line)
        assert "\n" not in str(caught.value)


def test_flags_that_can_not_work_are_refused_before_anything_is_loaded(clips, tmp_path):
    out = tmp_path / "out"
    for extra, message in (
        (["--workers", "0"], "0 workers"),
        (["--engine", "beam"], "--runner: beam needs to know where it runs"),
        (["--runner", "FnApiRunner"], "--runner belong to --engine beam"),
        (["--", "--region=x"], "behind -- belong to --engine beam"),
        (["--source", str(tmp_path / "none")], "no such folder or list"),
        (["--out", str(clips / "0.mp4")], "is a file; name a folder"),
        (["--out", str(clips / "out")], "--out lies in the source; choose another place"),
        (["--turns"], "belongs to a second look"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            archive.main(words("none", clips, out, *extra))
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_options_and_systems_that_do_not_fit_are_one_line(weights, clips, tmp_path):
    for extra, message in (
        (["--exercise", "squat"], "--exercise is not for checkpoints of system movement"),
        (["--second", "large"], "--second is not for checkpoints of system movement"),
    ):
        with pytest.raises(UserError, match=message):
            archive.main(words(weights, clips, tmp_path / "out", *extra))
    unknown = dataclasses.replace(checkpoints.load(weights), system="none")
    checkpoints.export(unknown, tmp_path / "none", "A test.")
    with pytest.raises(UserError, match="system none works on no archives"):
        archive.main(words(tmp_path / "none", clips, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_beam_and_pyarrow_that_are_missing_are_one_line(weights, clips, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "bodyjax.archive.beam", raising=False)
    with pytest.raises(UserError, match=r"Beam is not installed; pip install 'bodyjax\[beam\]'"):
        archive.main(words(weights, clips, out, "--engine", "beam", "--runner", "FnApiRunner"))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pyarrow is not installed; pip install 'bodyjax\[parq"):
        archive.main(words(weights, clips, out, "--format", "parquet"))


def test_errors_of_the_source_are_one_line_and_exit_2(weights, tmp_path, monkeypatch, capsys):
    (tmp_path / "clips").mkdir()
    line = words(weights, tmp_path / "clips", tmp_path / "out")
    monkeypatch.setattr("sys.argv", ["archive", *line])
    with pytest.raises(SystemExit) as done:
        flags.run(archive.main)
    assert done.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'clips'}: no clips; endings: .mp4")
    assert said.count("\n") == 1


def test_progress_has_a_rate_and_the_time_left(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(archive.time, "monotonic", lambda: now[0])
    say = archive.progress(Manifest({}, {}, 10_000, 40, "jsonl"), 500)
    for seconds in (5.0, 5.0, 5.0):
        now[0] += seconds
        say(Counts(90, 10))
    said = capsys.readouterr().err
    assert said == "700 of 10000 clips, 20 a second, 7 min 45 s left\n"
    assert archive.line(10, 10_000, 0.5).endswith("5 h 33 min left")


def test_an_archive_that_has_moved_goes_on(weights, clips, done, tmp_path, capsys):
    """Ids start at the source, so both folders may lie elsewhere."""
    shutil.copytree(clips, tmp_path / "there")
    out = tmp_path / "out"
    shutil.copytree(done, out)
    next((out / "results").glob("*.jsonl")).unlink()
    of_a_killed_worker = out / "results" / ".00000.1-1.tmp.jsonl"
    of_a_killed_worker.touch()
    os.utime(of_a_killed_worker, (0, 0))
    assert archive.main(words(weights, tmp_path / "there", out)) == 0
    assert not of_a_killed_worker.exists()
    assert "to do: 7 clips, in shards: 1\n" in capsys.readouterr().err
    manifest = archive_of(done)
    assert results.digest(out, manifest) == results.digest(done, manifest)


def archive_of(out: Path) -> Manifest:
    from bodyjax.archive import manifest as manifests

    return manifests.read(out)
