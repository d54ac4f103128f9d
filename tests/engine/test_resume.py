"""A run that is killed and started again gives the same bits as one that was left alone."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import pytest

from bodyjax.engine import checkpoint as ckpt
from bodyjax.engine import loop, run_folder, trees
from tests.engine.toy import Points, Toy, config

STEPS = ["log_every=5", "eval_every=4"]
UNTIMED = ("seconds", "steps_per_second", "waited_share")
Start = Callable[..., "subprocess.Popen[str]"]


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "the run got nowhere in 120 s"
        time.sleep(0.01)


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    try:
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, said


def told(workdir: Path) -> list[dict]:
    """metrics.jsonl without what differs by the clock."""
    entries = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in entry.items() if k not in UNTIMED} for entry in entries]


def assert_same_run(workdir: Path, whole: Path) -> None:
    for kind in ("newest", "best"):
        mine, theirs = (run_folder.candidates(folder, (kind,)) for folder in (workdir, whole))
        assert [f.name for f in mine] == [f.name for f in theirs]
        for a, b in zip(mine, theirs, strict=True):
            for item in ("model", "train"):
                left, right = (trees.flatten(run_folder.read_arrays(f, item)) for f in (a, b))
                assert left.keys() == right.keys()
                for name in left:
                    assert left[name].tobytes() == right[name].tobytes(), (a, name)
    assert told(workdir) == told(whole)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("whole")
    loop.fit(Toy(bad_value=77.0), Points(), config(), workdir)
    return workdir


def test_terminated_and_killed_runs_go_on_bit_for_bit(
    whole: Path, tmp_path: Path, start: Start
) -> None:
    workdir = tmp_path / "run"
    lines = workdir / "metrics.jsonl"
    slow = start(workdir, "--delay", "0.3", *STEPS)
    wait_for(lambda: lines.exists() and '"step": 5' in lines.read_text(), slow)
    slow.send_signal(signal.SIGTERM)  # between two evaluations and two log lines
    code, said = end(slow)
    assert code == loop.EXIT_INTERRUPTED == 3, said
    (saved,) = [line for line in said.splitlines() if line.startswith("stopped and saved at step")]
    step = run_folder.candidates(workdir)[0].name
    assert f"at step {step}: {workdir}/newest/{step}" in saved
    assert int(step) >= 5

    slow = start(workdir, "--delay", "0.3", *STEPS)
    wait_for(lambda: '"step": 10' in lines.read_text(), slow)
    slow.send_signal(signal.SIGKILL)
    assert end(slow)[0] == -signal.SIGKILL
    assert max(entry["step"] for entry in told(workdir)) >= 10
    with lines.open("a") as file:
        file.write('{"step": 11, "kind": "tra')  # what a kill in the middle of a line leaves

    code, said = end(start(workdir, *STEPS))
    assert code == 0, said
    assert "going on from step 8" in said
    assert_same_run(workdir, whole)


@pytest.mark.slow
def test_ctrl_c_saves_and_a_kill_before_the_first_checkpoint_starts_anew(
    whole: Path, tmp_path: Path, start: Start
) -> None:
    workdir = tmp_path / "run"
    lines = workdir / "metrics.jsonl"
    slow = start(workdir, "--delay", "0.3", "log_every=1", "eval_every=4")
    wait_for(lambda: lines.exists() and '"step": 2' in lines.read_text(), slow)
    slow.send_signal(signal.SIGKILL)
    end(slow)
    # a kill in the middle of the first save: no sums, and a folder that Orbax had not renamed
    (workdir / "newest" / "2" / "model").mkdir(parents=True)
    (workdir / "newest" / "4.orbax-checkpoint-tmp").mkdir()

    slow = start(workdir, "--delay", "0.3", *STEPS)
    wait_for(lambda: lines.exists() and '"step": 4' in lines.read_text(), slow)
    slow.send_signal(signal.SIGINT)
    code, said = end(slow)
    assert code == 3, said
    assert "newest/2: was never finished" in said
    code, said = end(start(workdir, *STEPS))
    assert code == 0, said
    assert_same_run(workdir, whole)


@dataclass
class Stopped(Points):
    """Points whose seventh batch comes with these signals, one after the other."""

    signals: tuple[signal.Signals, ...] = ()

    def train_batches(self, start):
        for number, batch in enumerate(super().train_batches(start), start):
            for one in self.signals if number == 6 else ():
                signal.raise_signal(one)
            yield batch


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_without_a_process(number: signal.Signals, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    with pytest.raises(loop.Interrupted) as caught:
        loop.fit(Toy(bad_value=77.0), Stopped(signals=(number,)), config(), tmp_path)
    assert caught.value.step == 7
    assert caught.value.checkpoint == tmp_path / "newest" / "7"
    assert signal.getsignal(number) is before
    assert ckpt.load(tmp_path, "newest").step == 7
    assert jax.tree.leaves(ckpt.load(tmp_path).variables)


def test_a_second_ctrl_c_stops_at_once_and_the_run_goes_on_from_what_was_saved(
    tmp_path: Path,
) -> None:
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    twice = Stopped(signals=(signal.SIGINT, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        loop.fit(Toy(bad_value=77.0), twice, config(), tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert ckpt.load(tmp_path, "newest").step == 4


def test_interrupted_in_the_last_evaluation_nothing_more_is_done(tmp_path: Path) -> None:
    class StoppedThere(Points):
        def eval_batches(self):
            signal.raise_signal(signal.SIGTERM)
            return super().eval_batches()

    last = {"steps": 4, "eval_every": 4}
    with pytest.raises(loop.Interrupted):
        loop.fit(Toy(bad_value=77.0), StoppedThere(), config(**last), tmp_path)
    again = loop.fit(Toy(bad_value=77.0), Points(), config(**last), tmp_path)
    assert (again.step, again.reason) == (4, "steps")
    assert again.metrics["n"] == 21
