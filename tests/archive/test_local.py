"""Workers that die, hang and are killed: every clip has its result or dead letter once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest

from bodyjax.archive import local, marks, results
from bodyjax.archive import manifest as manifests
from bodyjax.errors import DataError, UserError
from tests.archive import jobs
from tests.archive.conftest import BAD, GOOD
from tools.soak_archive import workers_of


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    """The digest of a run that nothing disturbs, in one process, and its folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    jobs.work_through(clips, out, 1)
    return jobs.digest(out), out


def letters(out):
    manifest = manifests.read(out)
    shards = results.checked(out, manifest)
    return {one["id"]: (one["error"], one["text"]) for shard in shards for one in shard.dead}


def test_two_workers_give_what_one_gives(clips, whole, tmp_path):
    told = jobs.work_through(clips, tmp_path / "out", 2)
    assert jobs.digest(tmp_path / "out") == whole[0]
    assert sum(one.clips for one in told) == GOOD
    assert sum(one.dead for one in told) == BAD
    assert sorted(letters(whole[1])) == ["cut.mp4", "empty.mp4", "inner/text.mp4"]
    assert list((tmp_path / "out" / "work").iterdir()) == []
    assert jobs.work_through(clips, tmp_path / "out", 2) == []  # all is done


def test_clips_that_end_their_reader_are_dead_letters_after_two_crashes(more, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    source = more("crash a.mp4", "crash b.mp4", "odd.mp4", "nan.mp4")
    jobs.work_through(source, out, 2, log=str(log))
    found = letters(out)
    assert len(found) == BAD + 4
    for name in ("crash a.mp4", "crash b.mp4"):
        assert found[name] == ("Crashed", "it ended 2 workers (SIGSEGV, SIGSEGV)")
    assert found["odd.mp4"] == ("ValueError", "a bug in a decoder")
    assert found["nan.mp4"][0] == "ValueError"
    read = Counter(log.read_text().splitlines())
    assert read["crash a.mp4"] == read["crash b.mp4"] == 2
    totals = results.totals(out, manifests.read(out))
    assert totals == (GOOD, BAD + 4)


def test_a_reader_that_hangs_is_ended(more, tmp_path):
    out = tmp_path / "out"
    jobs.work_through(more("stuck.mp4"), out, 1, patience=4.0)
    how = "no sign of life for 4 s"
    assert letters(out)["stuck.mp4"] == ("Crashed", f"it ended 2 workers ({how}, {how})")
    assert results.totals(out, manifests.read(out)) == (GOOD, BAD + 1)


def test_a_network_that_crashes_ends_the_job_and_blames_no_clip(more, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"shard \d+: workers die on it \(SIGSEGV, SIGSEGV, SIG"):
        jobs.work_through(more("crash.mp4"), out, 1, crash_in_run=True)
    assert "crash.mp4" not in letters(out)


def test_with_batches_of_one_the_network_s_crash_is_the_clip_s(more, tmp_path):
    out = tmp_path / "out"
    jobs.work_through(more("crash.mp4"), out, 1, batch=1, crash_in_run=True)
    assert letters(out)["crash.mp4"][0] == "Crashed"
    assert results.totals(out, manifests.read(out)) == (GOOD, BAD + 1)


def unopened():
    raise UserError("no such checkpoint", file="none")


def dying():
    os._exit(7)


@pytest.mark.parametrize(
    ("open_work", "line"),
    [(unopened, "none: no such checkpoint"), (dying, r"workers can't start \(exit code 7\)")],
)
def test_workers_that_can_not_start_end_the_job_in_one_line(clips, tmp_path, open_work, line):
    _, root = jobs.begin(clips, tmp_path / "out")
    with pytest.raises(UserError, match=line) as caught:
        local.run(tmp_path / "out", root, open_work, 2, print)
    assert "\n" not in str(caught.value)


# ---- kill -9 ----


def started(clips, out, workers, **given):
    """The command in a process group of its own."""
    words = ["-m", "tests.archive.jobs", str(clips), str(out), str(workers), json.dumps(given)]
    return subprocess.Popen([sys.executable, *words], start_new_session=True)


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def written(out):
    """Finished shards with the time of their last change."""
    files = (out / "results").glob("[0-9]*")
    return {file.name: file.stat().st_mtime_ns for file in files}


def at_work(out, since):
    """Whether a worker has had clips in hand since a time."""
    keys = [file.stem for file in (out / "work").glob("[0-9]*.hand")]
    return any(marks.heartbeat(out, key) > since for key in keys)


@pytest.mark.parametrize(
    "seed", [22, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (23, 24))]
)
def test_killed_at_random_moments_it_ends_with_the_same_bytes(clips, whole, tmp_path, seed):
    """Everything, the supervisor alone, or one worker, in turn; finished shards stay. Four kills a
    seed."""
    out, rng = tmp_path / "out", random.Random(seed)
    jobs.begin(clips, out)
    finished = {}
    for victim in ("everything", "supervisor", "everything", "worker"):
        begun = time.time_ns()
        job = started(clips, out, 2, slow=0.15)
        until(lambda begun=begun: at_work(out, begun))
        time.sleep(rng.uniform(0, 0.4))
        if victim == "everything":
            os.killpg(job.pid, signal.SIGKILL)
        elif victim == "supervisor":
            orphans = workers_of(job)
            job.kill()
            psutil.wait_procs(orphans, timeout=10)
            assert not any(one.is_running() for one in orphans)
        else:
            for one in workers_of(job)[:1]:
                one.kill()
            assert job.wait(60) == 0  # the supervisor goes on
        job.wait(10)
        now = written(out)
        assert finished.items() <= now.items()
        finished = now
    assert started(clips, out, 2).wait(60) == 0
    assert finished.items() <= written(out).items()
    assert jobs.digest(out) == whole[0]


def test_a_kill_of_everything_is_no_crash_of_the_clips_in_hand(more, tmp_path):
    """However often: only a supervisor that lives can tell a crash from a kill."""
    out, source = tmp_path / "out", more("stuck.mp4")
    jobs.begin(source, out)
    hands = out / "work"
    for _ in range(3):
        job = started(source, out, 1)
        until(lambda: any("stuck" in file.read_text() for file in hands.glob("[0-9]*.hand")))
        os.killpg(job.pid, signal.SIGKILL)
        job.wait(10)
    assert list((out / "work").glob("*.crashes")) == []


def test_nothing_listens_and_a_second_job_waits_its_turn(more, tmp_path):
    out, source = tmp_path / "out", more("stuck.mp4")
    jobs.begin(source, out)
    job = started(source, out, 2)
    try:
        hands = out / "work"
        until(lambda: any("stuck" in file.read_text() for file in hands.glob("[0-9]*.hand")))
        every = [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]
        assert len(every) >= 2
        sockets = [one for process in every for one in process.net_connections("inet")]
        assert sockets == []
        with pytest.raises(DataError, match="another process works in this folder"):
            jobs.work_through(source, out, 1)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait(10)
