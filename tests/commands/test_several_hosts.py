"""Two processes on this machine as two hosts: one is killed, the other says so, all go on."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bodyjax.commands import one_of_several
from bodyjax.engine import run_folder, trees

ROOT = Path(__file__).resolve().parents[2]
STEPS = 30
GRACE = 90.0
"""Seconds in which the other process has to end: heartbeats of 30 s, on a busy machine."""


def start(workdir, steps, process=None):
    flags = {
        "train.steps": STEPS, "train.save_every": 5, "train.eval_every": 0, "train.log_every": 5,
        "train.stop.steps": steps, "data.workers": 0,
    }  # fmt: skip
    words = [f"--config.{name}={value}" for name, value in flags.items()]
    words += ["--process", process] if process else []
    command = [sys.executable, "-m", "launch.train", "--config", "classifier:tiny"]
    return subprocess.Popen(
        [*command, "--workdir", str(workdir), *words], cwd=ROOT, text=True, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip


def both(workdir, steps):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    return [start(workdir, steps, f"{place},2,{index}") for index in (0, 1)]


def ended(process):
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 0, said


def arrays(workdir):
    folder = run_folder.latest_good(workdir, print)
    assert folder.name == str(STEPS)
    return trees.flatten(run_folder.read_arrays(folder, "model"))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_host_ends_the_other_in_one_line_and_all_go_on(victim, tmp_path):
    hosts = both(tmp_path / "two", STEPS)
    while not (tmp_path / "two" / "newest" / "5" / "SHA256SUMS").exists():
        assert all(host.poll() is None for host in hosts), hosts[0].communicate()
        time.sleep(0.05)
    hosts[victim].send_signal(signal.SIGKILL)
    hosts[victim].communicate()
    begun = time.monotonic()
    said = hosts[1 - victim].communicate(timeout=GRACE)[1]
    print(f"host {victim} killed: the other one ended after {time.monotonic() - begun:.1f} s")
    assert hosts[1 - victim].returncode == 2
    assert said.splitlines()[-1] == one_of_several.LOST
    assert said.count("error: another process") == 1
    for host in both(tmp_path / "two", 20):  # both resume
        ended(host)
    ended(start(tmp_path / "two", STEPS))  # and one goes on alone
    ended(start(tmp_path / "alone", STEPS))
    one, two = arrays(tmp_path / "alone"), arrays(tmp_path / "two")
    assert one.keys() == two.keys()
    far = max(float(abs(one[name] - two[name]).max()) for name in one)
    print(f"largest difference of a parameter from one host's: {far:.2g}")
    assert far < 1e-3
