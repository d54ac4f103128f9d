"""kill -9 of a real training: the same end as one left alone, and a changed number shows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tools.ten_kills import ten_kills
from tools import soak_training

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_ten_kills_leave_no_trace_in_the_result(tmp_path):
    ten_kills("soak_training.py", tmp_path / "runs", seed=3)


@pytest.mark.parametrize("planned", [0, 1, 4, 5])
def test_a_child_ends_itself_at_the_rename_that_is_planned(tmp_path, planned):
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from tools import soak_training as s\n"
        "s.end_at_rename(int(sys.argv[3]))\n"
        "for i in range(4):\n"
        "    open(f'{sys.argv[2]}/{i}', 'w').close()\n"
        "    os.rename(f'{sys.argv[2]}/{i}', f'{sys.argv[2]}/{i}.done')\n"
    )
    arguments = [sys.executable, "-c", program, str(ROOT), str(tmp_path), str(planned)]
    assert subprocess.run(arguments, check=False).returncode == -9
    done = len(list(tmp_path.glob("*.done")))
    assert done == planned // 2 + planned % 2


def test_a_hanging_training_is_no_kill(monkeypatch):
    def sleeping():
        return subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(60)"], stderr=subprocess.PIPE
        )

    assert soak_training.killed(sleeping(), 0.05)
    monkeypatch.setattr(soak_training, "PATIENCE", 0.05)
    with pytest.raises(SystemExit, match="the training hangs"):
        soak_training.killed(sleeping(), None)


def test_another_number_is_another_digest(monkeypatch, tmp_path):
    arrays = {"model": {"a": np.zeros(2)}, "train": {"step": np.zeros(1)}}
    from bodyjax.engine import run_folder

    monkeypatch.setattr(run_folder, "latest_good", lambda workdir, say: workdir)
    monkeypatch.setattr(run_folder, "read_arrays", lambda folder, item: arrays[item])
    first = soak_training.digest(tmp_path)
    arrays["train"]["step"] = np.array([1e-30])
    assert soak_training.digest(tmp_path) != first
