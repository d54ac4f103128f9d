"""Kills an archive again and again, and compares its end with that of one left alone.

PYTHONPATH=. python tools/soak_archive.py --out DIR [--source FOLDER|LIST] [--kills 10]
    [--seed 0] [--checkpoint commands] [--workers 2]

The command is a real one: launch.archive with the local engine. Without --source it works on 63
simulated clips, four files that can't be read or not to their end, and a file that is missing. At
random moments `kill -9` hits everything at once, the supervisor alone, or one worker, in turn; the
first two are followed by the same command again. A shard loses one worker at most: a clip that was
in the hands of two dead workers is a dead letter, as it should be. An archive that reaches its end
while kills are left is compared and begun anew. Every end must have the SHA-256 of the undisturbed
run, and a finished shard must keep its bytes and its time of change. Prints a line of JSON an
archive; exit code 1 unless all is so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tools import long_run

VICTIMS = ("everything", "worker", "supervisor")
PATIENCE = 600.0
"""Seconds after which a command that is left alone counts as hanging."""
SUM = "sha256 of all rows: "


class Job(NamedTuple):
    """What is archived, and how."""

    checkpoint: str
    source: Path
    workers: int

    def start(self, out: Path) -> subprocess.Popen[str]:
        """The command, in a process group of its own."""
        words = ["--checkpoint", self.checkpoint, "--source", str(self.source), "--out", str(out)]
        return subprocess.Popen(
            [sys.executable, "-m", "launch.archive", *words, "--workers", str(self.workers)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip


def simulated(folder: Path) -> Path:
    """A list of 63 simulated clips and five bad files, made in a folder."""
    videos, listed = folder / "videos", folder / "list.txt"
    long_run.make_videos(videos, each=7)
    found = [*sorted(videos.iterdir()), videos / "missing.mp4"]
    listed.write_text("".join(f"{file.resolve()}\n" for file in found))
    return listed


# ---- the kills ----


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The spawned workers, without multiprocessing's resource tracker."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child)
    return found


def struck(process: subprocess.Popen[str], victim: str, out: Path) -> str:
    """Kills a part of the running command; which one it was. A command that has no worker yet, or
    whose shards have lost one already, is killed as a whole."""
    workers = workers_of(process)
    if victim == "worker" and workers and not any((out / "work").glob("*.crashes")):
        with suppress(psutil.NoSuchProcess):
            workers[0].kill()
        return victim
    if victim == "supervisor":
        process.kill()
        _, alive = psutil.wait_procs(workers, timeout=30)
        if alive:
            raise SystemExit(f"{len(alive)} workers live 30 s after their supervisor")
    else:
        victim = "everything"
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return victim


def finished(out: Path) -> dict[str, tuple[int, bytes]]:
    """The results of finished shards: time of change and content, by name."""
    files = (out / "results").glob("[0-9]*.jsonl")
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def ended(process: subprocess.Popen[str]) -> str:
    """The SHA-256 that a command says at its end. SystemExit if it fails or hangs."""
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise SystemExit(f"the archive hangs: no end in {PATIENCE:g} s") from None
    sums = [line.removeprefix(SUM) for line in said.splitlines() if line.startswith(SUM)]
    if process.returncode or not sums:
        raise SystemExit(f"the archive ended with {process.returncode}: {said[-2000:]}")
    return sums[0]


def archived(
    job: Job, out: Path, kills: int, longest: float, rng: random.Random
) -> Iterator[tuple[str, float]]:
    """One archive under at most `kills` kills, each at most `longest` seconds after the last one:
    yields which part was killed after how many seconds. SystemExit if a finished shard changes."""
    process, before = job.start(out), finished(out)
    for number in range(kills):
        after = rng.uniform(0, longest)
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() - begun < after:
            time.sleep(0.005)
        if process.poll() is not None:
            break
        yield struck(process, VICTIMS[number % len(VICTIMS)], out), after
        now = finished(out)
        if not before.items() <= now.items():
            raise SystemExit(f"{out}: a finished shard has changed")
        before = now
        if process.poll() is not None:
            process = job.start(out)
    yield ended(process), -1.0
    if not before.items() <= finished(out).items():
        raise SystemExit(f"{out}: a finished shard has changed")


def soak(job: Job, out: Path, kills: int, seed: int) -> list[dict[str, Any]]:
    """The undisturbed run, then archives under kills until `kills` were made; a report of each."""
    rng = random.Random(seed)
    begun = time.monotonic()
    alone = ended(job.start(out / "alone"))
    seconds = time.monotonic() - begun
    reports: list[dict[str, Any]] = [
        {"archive": "alone", "kills": 0, "seconds": round(seconds, 1), "sha256": alone}
    ]
    print(json.dumps(reports[0]), flush=True)
    left = kills
    while left:
        folder = out / f"killed{len(reports)}"
        *made, (digest, _) = archived(job, folder, left, seconds / 2, rng)
        left -= len(made)
        how = [f"{victim} after {after:.2f} s" for victim, after in made]
        shards = len(finished(folder))
        report = {"archive": folder.name, "kills": len(made), "how": how, "shards": shards}
        reports.append({**report, "sha256": digest})
        print(json.dumps(reports[-1]), flush=True)
    return reports


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/soak_archive.py", description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="a new folder for the archives")
    parser.add_argument("--source", type=Path, help="a folder or list of clips (simulated ones)")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", default="commands")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.out.exists():
        parser.error(f"--out {options.out} is there already")
    if options.kills < 1:
        parser.error("--kills must be at least 1")
    options.out.mkdir(parents=True)
    source = options.source or simulated(options.out)
    job = Job(options.checkpoint, source, options.workers)
    reports = soak(job, options.out, options.kills, options.seed)
    equal = len({report["sha256"] for report in reports}) == 1
    count = sum(report["kills"] for report in reports)
    print(f"{count} kills, {len(reports) - 1} archives: {'same end' if equal else 'ENDS DIFFER'}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
