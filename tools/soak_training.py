"""Kills a training again and again, and compares its end with that of one left alone.

python tools/soak_training.py --out DIR [--kills 50] [--seed 0] [--steps 40]

The training is a real one of the movement classifier (batch statistics, dropout, LSTM, AdamW,
augmentation, worker processes), made small. It gets `kill -9` at a random moment of its life, or
just before or after one of the renames of a save; a third of the kills come within two seconds of a
start. The number of workers changes with each start. A run that reaches its end is compared
and, while kills are left, begun anew. Every finished run must have the SHA-256 of the undisturbed
one over parameters, statistics, optimiser and key. Prints a line of JSON a run; exit code 1 if two
digests differ.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = "classifier:tiny"
EVERY = 5
"""Steps between saves."""
RENAME = "SOAK_RENAME"
"""Variable of the child's environment: before (even) or after (odd) which rename it ends."""
MOST_RENAMES = 40
"""A kill is planned at one of so many renames; a run of 40 steps makes about as many."""
PATIENCE = 600.0
"""Seconds after which a child that neither ends nor is killed counts as hanging."""


# ---- the child ----


def child(arguments: list[str]) -> int:
    """The training, which ends itself by SIGKILL at the rename that RENAME names."""
    if planned := os.environ.get(RENAME):
        end_at_rename(int(planned))
    from bodyjax.commands import train

    return train.main(arguments)


def end_at_rename(planned: int) -> None:
    """From here on, rename number `planned` // 2 of this process is its end."""
    count, process = 0, os.getpid()

    def wrapped(rename: Callable[..., Any]) -> Callable[..., Any]:
        def renamed(*args: Any, **more: Any) -> Any:
            nonlocal count
            hit = count == planned // 2 and os.getpid() == process
            count += 1
            if hit and planned % 2 == 0:
                os.kill(process, signal.SIGKILL)
            result = rename(*args, **more)
            if hit:
                os.kill(process, signal.SIGKILL)
            return result

        return renamed

    os.rename, os.replace = wrapped(os.rename), wrapped(os.replace)


# ---- the parent ----


def start(workdir: Path, steps: int, workers: int, rename: int | None) -> subprocess.Popen[bytes]:
    """One start of the training."""
    flags = {
        "train.steps": steps, "train.save_every": EVERY, "train.eval_every": 0,
        "train.log_every": EVERY, "data.workers": workers,
    }  # fmt: skip
    words = [f"--config.{name}={value}" for name, value in flags.items()]
    environment = {**os.environ, **({} if rename is None else {RENAME: str(rename)})}
    command = [sys.executable, __file__, "--child", "--config", CONFIG, "--workdir", str(workdir)]
    return subprocess.Popen(
        [*command, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def killed(process: subprocess.Popen[bytes], after: float | None) -> bool:
    """Waits for a start and kills it after so many seconds, None: never; whether it was killed, by
    itself or here. SystemExit if it ended with an error, or hangs."""
    try:
        _, said = process.communicate(timeout=PATIENCE if after is None else after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        if after is None:
            raise SystemExit(f"the training hangs: no end in {PATIENCE:g} s") from None
        return True
    if process.returncode == -signal.SIGKILL:
        return True
    if process.returncode:
        raise SystemExit(f"the training ended with {process.returncode}: {said.decode()[-2000:]}")
    return False


def digest(workdir: Path) -> str:
    """Of the newest checkpoint: parameters, statistics, optimiser, key."""
    from bodyjax.engine import run_folder
    from bodyjax.engine.digest import digest as of_tree

    folder = run_folder.latest_good(workdir, print)
    if folder is None:
        raise SystemExit(f"{workdir}: no checkpoint")
    return of_tree({item: run_folder.read_arrays(folder, item) for item in ("model", "train")})


def soak(out: Path, kills: int, seed: int, steps: int) -> list[dict[str, Any]]:
    """The undisturbed run, then runs under kills until `kills` were made; a report of each."""
    rng = random.Random(seed)
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    if killed(start(out / "alone", steps, 0, None), None):
        raise SystemExit("somebody else killed the undisturbed training")
    alone = time.perf_counter() - begun
    reports = [{"run": "alone", "kills": 0, "seconds": round(alone, 1)}]
    reports[0]["sha256"] = digest(out / "alone")
    print(json.dumps(reports[0]), flush=True)
    left = kills
    while left:
        workdir = out / f"killed{len(reports)}"
        made: list[str] = []
        while True:
            rename: int | None = None
            after: float | None = None
            how = "someone else's"
            if left:
                kind = rng.choice(("early", "any time", "rename"))
                if kind == "rename":
                    rename = rng.randrange(2 * MOST_RENAMES)
                    how = f"{'after' if rename % 2 else 'before'} rename {rename // 2}"
                else:
                    after = rng.uniform(0, 2.0 if kind == "early" else alone)
                    how = f"after {after:.2f} s"
            if not killed(start(workdir, steps, rng.randrange(3), rename), after):
                break
            left = max(left - 1, 0)
            made.append(how)
        report = {"run": workdir.name, "kills": len(made), "how": made, "sha256": digest(workdir)}
        reports.append(report)
        print(json.dumps(report), flush=True)
    return reports


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--child"]:
        return child(arguments[1:])
    parser = argparse.ArgumentParser(prog="tools/soak_training.py", description=__doc__)
    parser.add_argument("--out", required=True, help="a new folder for the runs")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args(arguments)
    if Path(options.out).exists():
        parser.error(f"--out {options.out} is there already")
    reports = soak(Path(options.out), options.kills, options.seed, options.steps)
    equal = len({report["sha256"] for report in reports}) == 1
    count = sum(report["kills"] for report in reports)
    print(f"{count} kills, {len(reports) - 1} runs: {'the same end' if equal else 'ENDS DIFFER'}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
