"""kill -9 of a real archive: the same end as one left alone, and what would differ shows."""

import random
import subprocess
import sys
import time

import pytest

from tests.tools.ten_kills import ten_kills
from tools import soak_archive


@pytest.mark.slow
def test_ten_kills_leave_no_trace_in_the_rows(tmp_path):
    reports = ten_kills("soak_archive.py", tmp_path / "runs", seed=5)
    killed = " ".join(how for report in reports[1:] for how in report["how"])
    assert all(victim in killed for victim in soak_archive.VICTIMS)


class Program:
    """A job that runs a few lines of Python; its first argument is the archive's folder. A start
    returns when the program sleeps or has ended."""

    def __init__(self, text):
        self.text = text

    def start(self, out):
        (out / "results").mkdir(parents=True, exist_ok=True)
        asleep = out / "asleep"
        asleep.unlink(missing_ok=True)
        words = [sys.executable, "-c", f"import sys, time, pathlib\n{self.text}", str(out)]
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and not asleep.exists():
            time.sleep(0.01)
        return process


WRITES = "pathlib.Path(sys.argv[1], 'results', '00000.jsonl').write_text('{}')\n"
SLEEPS = "pathlib.Path(sys.argv[1], 'asleep').touch(); time.sleep(60)\n"
SAYS = "print('sha256 of all rows: 12ab')\n"


def test_a_finished_shard_that_is_written_again_ends_the_soak(tmp_path):
    kills = soak_archive.archived(Program(WRITES + SLEEPS), tmp_path, 3, 0.1, random.Random(0))
    with pytest.raises(SystemExit, match="a finished shard has changed"):
        list(kills)


def test_what_was_killed_is_told_and_the_same_command_comes_again(tmp_path):
    """The first start is killed; it leaves a file that lets the second one end."""
    mark = "mark = pathlib.Path(sys.argv[1], 'mark'); there = mark.exists(); mark.touch()\n"
    job = Program(f"{mark}if not there: {SLEEPS}{SAYS}")
    *kills, end = soak_archive.archived(job, tmp_path, 1, 0.1, random.Random(0))
    assert [victim for victim, _ in kills] == ["everything"]
    assert end == ("12ab", -1.0)


@pytest.mark.parametrize(
    ("text", "line"),
    [("sys.exit(2)", "ended with 2"), ("pass", "ended with 0"), (SLEEPS, "hangs: no end in 0.5 s")],
)
def test_a_command_that_fails_hangs_or_says_no_sum_ends_the_soak(monkeypatch, tmp_path, text, line):
    monkeypatch.setattr(soak_archive, "PATIENCE", 0.5)
    with pytest.raises(SystemExit, match=line):
        soak_archive.ended(Program(text).start(tmp_path))
