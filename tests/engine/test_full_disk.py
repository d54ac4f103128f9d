"""A full disk, a read-only one and a limit on the size of files: one line, and the run goes on."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from bodyjax.engine import report
from bodyjax.errors import DataError
from tools import soak_training

ROOT = Path(__file__).resolve().parents[2]
STEPS, EVERY = 40, 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_metric_that_can_not_be_written_is_one_line(tmp_path):
    told = report.Report(tmp_path, 0, 10)
    told._lines.close()
    told._lines = open("/dev/full", "a")  # noqa: SIM115 (the report closes it)
    with pytest.raises(DataError, match=r"metrics\.jsonl: can't be written \(No space left"):
        told.train(1, 1.0, {"loss": 1.0}, 2.0)
    told.close()


@pytest.fixture
def disk(tmp_path):
    """A small disk in memory: disk("2m") makes or resizes it, disk("ro") takes its writing away."""
    place, there = tmp_path / "disk", False
    place.mkdir()

    def change(what):
        nonlocal there
        options = what if what == "ro" else f"rw,size={what}"
        command = ["mount", "-o", f"remount,{options}", str(place)]
        if not there:
            command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a tmpfs")
        there = True
        return place

    yield change
    if there:
        subprocess.run(["umount", str(place)], check=True)


def train(workdir, workers, most_bytes=None):
    """A start of the training: exit code and lines on stderr."""
    flags = {
        "train.steps": STEPS, "train.save_every": EVERY, "train.eval_every": 0,
        "train.log_every": 5, "train.keep": STEPS, "data.workers": workers,
    }  # fmt: skip
    words = [f"--config.{name}={value}" for name, value in flags.items()]

    def limited():
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    command = [sys.executable, "-m", "launch.train", "--config", "classifier:tiny", *words]
    done = subprocess.run(
        [*command, "--workdir", str(workdir)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"}, preexec_fn=limited, timeout=600, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.splitlines()


OURS = re.compile(r"step \d+/|going on from step|[\d,]+ parameters|error: |finished|checkpoint")


def check_end(lines, workdir, said):
    """One error, as the last line, about the save that comes after the newest checkpoint; nothing
    but our lines before it."""
    assert [line for line in lines if not OURS.match(line)] == []
    assert [line for line in lines if line.startswith("error:")] == lines[-1:]
    failed = int(re.search(r"/newest/(\d+): could not be written", lines[-1])[1])
    assert said in lines[-1]
    kept = [int(one.name) for one in (workdir / "newest").iterdir() if one.name.isdigit()]
    assert max(kept) == failed - EVERY, "the run did not end at the step that could not be saved"
    assert len(kept) == max(kept) // EVERY, "a checkpoint that was there is gone"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_goes_on_after_a_full_a_read_only_and_a_limited_disk(disk, tmp_path, workers):
    assert train(tmp_path / "alone", workers)[0] == 0
    workdir = disk("2m") / "run"
    code, lines = train(workdir, workers)
    assert code == 2, lines
    check_end(lines, workdir, "(No space left on device); is the disk full?")
    disk("ro")
    code, lines = train(workdir, workers)
    assert (code, len(lines)) == (2, 1), lines
    assert lines[0].startswith(f"error: {workdir}: can't be written to")
    disk("50m")
    code, lines = train(workdir, workers, most_bytes=20_000)
    assert code == 2, lines
    check_end(lines, workdir, "(File too large); is the size of files limited")
    code, lines = train(workdir, workers)
    assert code == 0, lines
    assert lines[0].startswith("going on from step")
    assert soak_training.digest(workdir) == soak_training.digest(tmp_path / "alone")
