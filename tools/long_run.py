"""Whether one process stays as it is for hours: memory, open files, threads, child processes.

python tools/long_run.py training --out DIR [--steps 20000]
python tools/long_run.py recognition --out DIR [--seconds 7200] [--checkpoint commands]

training: the shipped config classifier:tiny, with two reading processes and a save every 1,000
steps. recognition: the same folder again and again in one process, 18 simulated clips and four
damaged files, whole and in windows; every round must give the same results. A look every few
seconds goes to DIR/looks.jsonl, the picture to DIR/NAME.png. Prints a line of JSON; exit code 1
unless memory is flat (LIMIT) and the most files, threads and processes of the second half are
not more than those of the first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

LIMIT = 0.05
"""Memory counts as flat if the median of the last fifth is at most so much above that of the
second fifth (the first one fills caches)."""
LOOKS = 1500
"""Looks at a run, as far as they are a second apart or more."""
COUNTS = ("files", "threads", "processes")


# ---- the work ----


def training(out: Path, steps: int) -> list[str]:
    """The command of a long training."""
    flags = {
        "train.steps": steps, "train.save_every": 1000, "train.eval_every": steps // 4,
        "train.log_every": 100, "data.workers": 2,
    }  # fmt: skip
    words = [f"--config.{name}={value}" for name, value in flags.items()]
    command = [sys.executable, "-m", "launch.train", "--config", "classifier:tiny"]
    return [*command, "--workdir", str(out / "run"), *words]


def recognition(out: Path, seconds: float, checkpoint: str) -> list[str]:
    """The command of a long recognition."""
    command = [sys.executable, __file__, "recognition", "--child", "--out", str(out)]
    return [*command, "--seconds", str(seconds), "--checkpoint", checkpoint]


def make_videos(folder: Path, each: int = 2) -> None:
    """Simulated clips, `each` of nine classes, and four files that can't be read or not to their
    end, in a new folder."""
    from bodyjax.simulate import clips

    spec = clips.ClipSpec(train=0, valid=0, test=each)
    made = clips.ensure(spec, folder.with_name("simulated"))
    folder.mkdir()
    for number, file in enumerate(sorted(made.rglob("*.mp4"))):
        shutil.copy(file, folder / f"{number:02}.mp4")
    whole = (folder / "00.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 2
    (folder / "damaged.mp4").write_bytes(whole[:middle] + bytes(200) + whole[middle + 200 :])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("not a video\n" * 100)


def recognize(out: Path, seconds: float, checkpoint: str) -> int:
    """Rounds over the folder until `seconds` are over; a line of JSON each in rounds.jsonl."""
    from bodyjax import recognize as recognizing
    from bodyjax.recognize.folders import recognize_folder

    videos = out / "videos"
    recognizer = recognizing.load(checkpoint)
    begun, first, count = time.monotonic(), None, 0
    with (out / "rounds.jsonl").open("w") as file:
        while time.monotonic() - begun < seconds:
            results = list(recognize_folder(recognizer, videos))
            results += list(recognize_folder(recognizer, videos, window=1.0, on_bad="skip"))
            digest = hashlib.sha256(json.dumps(results).encode()).hexdigest()
            if first is not None and digest != first:
                print("a round gave other results than the first one", file=sys.stderr)
                return 1
            first, count = digest, count + len(results)
            print(json.dumps({"videos": count, "sha256": digest}), file=file, flush=True)
    return 0


# ---- the look at it ----


def look(process: psutil.Process) -> dict[str, float]:
    """Of a process: resident MB, open files, threads; of the processes it started: how many, and
    their MB together."""
    children = process.children(recursive=True)
    below = 0
    for one in children:
        with suppress(psutil.Error):
            below += one.memory_info().rss
    with process.oneshot():
        return {
            "mb": process.memory_info().rss / 1e6,
            "files": process.num_fds(),
            "threads": process.num_threads(),
            "processes": len(children),
            "mb_below": below / 1e6,
        }


def watched(command: Sequence[str], out: Path, seconds: float | None) -> list[dict[str, float]]:
    """Runs a command and looks at it; SystemExit if it fails. seconds: how long it takes, if that
    is known."""
    pause = 1.0 if seconds is None else max(1.0, seconds / LOOKS)
    looks: list[dict[str, float]] = []
    begun = time.monotonic()
    with (out / "log.txt").open("w") as log, (out / "looks.jsonl").open("w") as file:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        process = psutil.Process(child.pid)
        try:
            while child.poll() is None:
                with suppress(psutil.Error):
                    now = {"seconds": round(time.monotonic() - begun, 1), **look(process)}
                    looks.append(now)
                    print(json.dumps(now), file=file, flush=True)
                time.sleep(pause)
        finally:
            child.kill()
            child.wait()
    if child.returncode:
        raise SystemExit(f"ended with {child.returncode}: {out / 'log.txt'}")
    return looks


def verdict(looks: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Medians of the memory in the second and the last fifth, the most of everything else in both
    halves, and whether all of it is flat."""
    import numpy as np

    def median(name: str, fifth: int) -> float:
        size = len(looks) // 5
        return float(np.median([one[name] for one in looks[fifth * size : (fifth + 1) * size]]))

    half = len(looks) // 2
    found: dict[str, Any] = {"looks": len(looks), "minutes": round(looks[-1]["seconds"] / 60, 1)}
    flat = True
    for name in ("mb", "mb_below"):
        early, late = median(name, 1), median(name, 4)
        found[name] = [round(early, 1), round(late, 1)]
        flat &= late <= early * (1 + LIMIT)
    for name in COUNTS:
        most = [int(max(one[name] for one in part)) for part in (looks[:half], looks[half:])]
        found[name] = most
        flat &= most[1] <= most[0]
    return {**found, "flat": flat}


def plot(looks: Sequence[dict[str, float]], title: str, file: Path) -> None:
    """A picture of all looks: memory above, counts below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), dpi=75, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    minutes = [one["seconds"] / 60 for one in looks]
    above.plot(minutes, [one["mb"] for one in looks], label="process", linewidth=1)
    if any(one["mb_below"] for one in looks):
        above.plot(minutes, [one["mb_below"] for one in looks], label="its children", linewidth=1)
    for name in COUNTS:
        below.plot(minutes, [one[name] for one in looks], label=name, linewidth=1)
    above.set_ylabel("MB")
    above.set_title(title, fontsize=9)
    below.set_xlabel("minutes")
    for axes in (above, below):
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=7, loc="lower right")
        axes.tick_params(labelsize=7)
    figure.savefig(file)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/long_run.py", description=__doc__)
    parser.add_argument("work", choices=("training", "recognition"))
    parser.add_argument("--out", required=True, type=Path, help="a new folder")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--seconds", type=float, default=7200)
    parser.add_argument("--checkpoint", default="commands")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        return recognize(options.out, options.seconds, options.checkpoint)
    if options.out.exists():
        parser.error(f"--out {options.out} is there already")
    if options.steps < 1 or not options.seconds > 0:
        parser.error("--steps must be at least 1, --seconds above 0")
    try:
        options.out.mkdir(parents=True)
    except OSError as error:
        parser.error(f"--out {options.out} can't be made ({error.strerror})")
    if options.work == "training":
        looks = watched(training(options.out, options.steps), options.out, None)
        done = f"{options.steps:,} training steps"
    else:
        make_videos(options.out / "videos")
        command = recognition(options.out, options.seconds, options.checkpoint)
        looks = watched(command, options.out, options.seconds)
        last = (options.out / "rounds.jsonl").read_text().splitlines()[-1]
        done = f"{json.loads(last)['videos']:,} videos recognised"
    found = verdict(looks)
    plot(looks, done, options.out / f"{options.work}.png")
    print(json.dumps({"work": options.work, "done": done, **found}))
    return 0 if found["flat"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
