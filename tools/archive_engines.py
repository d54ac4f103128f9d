"""What an archive costs on each engine of this machine: the same rows, CPU seconds, memory.

python tools/archive_engines.py --checkpoint jhmdb --source LIST --out DIR [--runs 3]
    [--engines plain two local beam beam2] [--workers 2]

Every engine works through the whole source, in a process of its own and in a folder of its own
below DIR; with --runs the engines take turns. plain: a loop over the shards in one process; two:
the shards dealt out to two processes that nobody watches; local and beam2: --workers workers; beam:
in memory. A line of JSON a run: SHA-256 of the rows, seconds, CPU seconds of all processes (start
included), and the resident memory of all of them together, also when 200, 800 and 3,200 clips were
done (the middle of ten seconds, for it rises and falls with every batch). The last run, "again",
finds everything finished: what the command itself costs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from bodyjax.archive import do_shard, local, results
from bodyjax.archive import manifest as manifests
from bodyjax.commands import archive as command

ENGINES = ("plain", "two", "local", "beam", "beam2")
LOOK = 0.5
"""Seconds between two looks at memory and CPU time."""
SPAN = 20
"""So many looks, of which the middle counts as the memory of a moment."""
MARKS = (200, 800, 3200)


# ---- the engines: functions as archive.local.run ----


def loop(out: Path, root: Path, open_work: Any, keys: Sequence[str]) -> None:
    """The shards one after the other."""
    manifest, work = manifests.read(out), open_work()
    for key in keys:
        do_shard(out, key, manifest, root, work)


def plain(out: Path, root: Path, open_work: Any, workers: int, say: Any) -> None:
    """A loop in this process."""
    loop(out, root, open_work, list(manifests.read(out).shard_keys()))


def dealt(out: Path, root: Path, open_work: Any, workers: int, say: Any) -> None:
    """Every worker gets its share of the shards before it starts, and nobody watches."""
    keys = list(manifests.read(out).shard_keys())
    context = multiprocessing.get_context("spawn")
    crew = [
        context.Process(target=loop, args=(out, root, open_work, keys[i::workers]))
        for i in range(workers)
    ]
    for one in crew:
        one.start()
    for one in crew:
        one.join()
        if one.exitcode:
            raise SystemExit(f"a process ended with {one.exitcode}")


def on_beam(out: Path, root: Path, open_work: Any, workers: int, say: Any) -> None:
    """Beam's runner on this machine. Start the tool where the only network is the loopback."""
    from bodyjax.archive import beam

    beam.run(out, root, open_work, workers, say, runner=beam.LOCAL)


def work_through(engine: str, checkpoint: str, source: Path, out: Path, workers: int) -> None:
    """The command on one engine."""
    options = argparse.Namespace(
        checkpoint=checkpoint, source=source, out=out, workers=workers, format="jsonl"
    )
    runs = {"plain": plain, "two": dealt, "local": local.run, "beam": on_beam, "beam2": on_beam}
    command.archive(options, {}, runs[engine])


# ---- the measurement ----


class Watched:
    """CPU seconds and memory of a process and all that it starts, by looking at them."""

    def __init__(self, pid: int, out: Path) -> None:
        self.root, self.out = psutil.Process(pid), out
        self.cpu: dict[tuple[int, float], float] = {}
        self.most, self.at = 0, dict[int, float]()
        self.seen: list[int] = []

    def look(self) -> None:
        rss, processes = 0, [self.root]
        with suppress(psutil.Error):
            processes += self.root.children(recursive=True)
        for one in processes:
            with suppress(psutil.Error):
                times = one.cpu_times()
                self.cpu[one.pid, one.create_time()] = times.user + times.system
                rss += one.memory_info().rss
        self.seen.append(rss)
        self.most = max(self.most, len(processes))
        done = self._done()
        for mark in MARKS:
            if done >= mark and mark not in self.at:
                self.at[mark] = statistics.median(self.seen[-SPAN:])

    def _done(self) -> int:
        """Clips of the finished shards."""
        keys = [file.stem for file in (self.out / "results").glob("[0-9]*.jsonl")]
        with suppress(Exception):
            return sum(len(manifests.shard(self.out, key)) for key in keys)
        return 0


def measured(name: str, engine: str, options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Runs an engine and says what it took."""
    words = [sys.executable, __file__, "--only", engine, "--checkpoint", options.checkpoint]
    workers = 1 if engine in ("plain", "beam") else options.workers
    words += ["--source", str(options.source), "--out", str(out), "--workers", str(workers)]
    before, began = os.times(), time.monotonic()
    with (out.parent / f"{name}.log").open("w") as log:
        child = subprocess.Popen(words, stdout=log, stderr=log)
        watched = Watched(child.pid, out)
        while child.poll() is None:
            watched.look()
            time.sleep(LOOK)
    if child.returncode:
        raise SystemExit(f"{name} ended with {child.returncode}: {log.name}")
    after = os.times()
    waited = after.children_user + after.children_system
    waited -= before.children_user + before.children_system
    manifest = manifests.read(out)
    totals = results.totals(out, manifest)
    return {
        "run": name,
        "engine": engine,
        "clips": totals.clips,
        "dead": totals.dead,
        "sha256": results.digest(out, manifest),
        "wall_s": round(time.monotonic() - began, 1),
        # Looking misses the last moment of a process, waiting misses what nobody waited for.
        "cpu_s": round(max(waited, sum(watched.cpu.values())), 1),
        "peak_mb": round(max(watched.seen) / 1e6),
        "processes": watched.most,
        "mb_when_done": {str(mark): round(rss / 1e6) for mark, rss in watched.at.items()},
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--source", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--only", choices=ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        chosen = options.checkpoint, options.source, options.out, options.workers
        work_through(options.only, *chosen)
        return 0
    options.out.mkdir(parents=True)
    tell = partial(print, flush=True)
    seen = set()
    for number in range(options.runs):
        for engine in options.engines:
            name = f"{engine}-{number}"
            found = measured(name, engine, options, options.out / name)
            seen.add(found["sha256"])
            tell(json.dumps(found))
    name = f"{options.engines[0]}-0"
    again = measured("again", options.engines[0], options, options.out / name)
    tell(json.dumps(again))
    print(f"digests: {len(seen)}")
    return 0 if len(seen) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
