"""What the checks cost a normal run: sums of checkpoints, time limits around decoders.

PYTHONPATH=. python tools/check_cost.py [--checkpoint commands] [--rounds 40]
PYTHONPATH=. python tools/check_cost.py --whole 9

The parts: CPU milliseconds of this process, the least of the rounds, with and without, in turns.
Sums: a checkpoint of the shipped network's parameters is saved, sealed and verified, once in
train.save_every steps of a run. Limits: a photo of 640 x 480 and eight frames of a video, with the
thread that watches and without. Codes: a GIF of 320 x 240 is opened, which decodes it once.

--whole: CPU seconds of whole commands in processes of their own, with all of these checks and with
none, in turns: a small training that saves every 100 of its steps, and the shipped models on 18
clips and on 300 photos. "more" is by how much the first of a pair is above the second: the middle
one of the pairs, with their quartiles, which tell the noise of the machine. "checks" is the share
of the CPU seconds that the commands spend inside the checks by the clock of their thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

INSIDE = "seconds in checks: "
QUARTILES = (0.25, 0.5, 0.75)
END = object()

# ---- parts ----


def least(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least CPU milliseconds of each call; the calls take turns."""
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            begun = time.process_time()
            call()
            found[name] = min(found[name], 1e3 * (time.process_time() - begun))
    return found


def sums(checkpoint: str, folder: Path) -> dict[str, float]:
    """Milliseconds of saving, of sealing and verifying, and the megabytes."""
    from bodyjax.engine import checkpoint as checkpoints
    from bodyjax.engine import run_folder, seals

    variables = checkpoints.load(checkpoint).variables
    run = run_folder.Run(folder, 2)
    step = 0

    def save() -> Path:
        nonlocal step
        step += 1
        return run.save("newest", step, variables["params"], {"step": np.int32(step)}, {})

    place = save()
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / 1e6
    both = least(
        {"save": save, "seal": lambda: seals.seal(run_folder.candidates(folder)[0]),
         "verify": lambda: seals.verify(run_folder.candidates(folder)[0])}, 5,
    )  # fmt: skip
    run.close()
    return {"mb": size, **both}


def codes(folder: Path, pictures: list[np.ndarray], rounds: int) -> dict[str, float]:
    """Milliseconds a frame of opening a GIF with the check of its codes, and without."""
    from bodyjax.data.video import forget_indexes, index, open_video

    path, checks = folder / "clip.gif", index.CHECKS
    first, *others = [Image.fromarray(picture).resize((320, 240)) for picture in pictures]
    first.save(path, save_all=True, append_images=others)

    def opened(chosen: Any) -> None:
        forget_indexes()
        index.CHECKS = chosen
        open_video(path)

    took = least({"with": lambda: opened(checks), "without": lambda: opened({})}, rounds)
    index.CHECKS = checks
    return {name: one / len(pictures) for name, one in took.items()}


def smooth_picture(seed: int) -> np.ndarray:
    """640 x 480 pixels that JPEG packs as it packs a photo."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8))
    return np.asarray(small.resize((640, 480)))


def parts(checkpoint: str, rounds: int) -> Iterator[dict[str, Any]]:
    """What each check takes, as a line of the report."""
    from bodyjax.data.pictures import images
    from bodyjax.data.video.files import open_video, write_video

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        smooth = smooth_picture(0)
        Image.fromarray(smooth).save(folder / "photo.jpg")
        write_video(folder / "clip.mp4", [np.roll(smooth, i, 1) for i in range(64)], 30)
        film, photo = open_video(folder / "clip.mp4"), folder / "photo.jpg"
        numbers = np.arange(4, 64, 8)

        def without(call: Callable[[], Any]) -> Callable[[], Any]:
            def called() -> None:
                with unchecked():
                    call()

            return called

        calls = {"photo": lambda: images.read_image(photo),
                 "8 frames": lambda: film.read(numbers, threads=1)}  # fmt: skip
        for name, call in calls.items():
            took = least({"with": call, "without": without(call)}, rounds)
            took["share"] = took["with"] / took["without"] - 1
            yield {"check": "time limit", "of": name, **_rounded(took)}
        took = codes(folder, [np.roll(smooth, i, 1) for i in range(16)], rounds)
        took["share"] = took["with"] / took["without"] - 1
        yield {"check": "codes of a GIF", "of": "opening, a frame", **_rounded(took)}
        took = sums(checkpoint, folder / "run")
        yield {"check": "sums", "of": checkpoint, **_rounded(took)}


# ---- whole commands ----


def commands(folder: Path) -> dict[str, list[str]]:
    """Commands by name, on inputs made in a new folder; "OUT" stands for a new path."""
    from bodyjax.simulate import clips

    made = clips.ensure(clips.ClipSpec(train=0, valid=0, test=2), folder / "simulated")
    videos, photos = folder / "videos", folder / "photos"
    videos.mkdir()
    photos.mkdir()
    for number, file in enumerate(sorted(made.rglob("*.mp4"))):
        file.rename(videos / f"{number:02}.mp4")
    for number in range(300):
        Image.fromarray(smooth_picture(number)).save(photos / f"{number:03}.jpg")
    steps = ["steps=500", "save_every=100", "eval_every=0", "log_every=100"]
    training = ["--config", "classifier:tiny", "--workdir", "OUT"]
    return {
        "training, 500 steps": ["train", *training, *(f"--config.train.{one}" for one in steps)],
        "recognition, 18 clips": ["recognize", "--checkpoint", "commands", "--video", str(videos)],
        "detection, 300 photos": ["detect", "--checkpoint", "phone", "--input", str(photos)],
    }


def whole(rounds: int) -> Iterator[dict[str, Any]]:
    """What each command takes with the checks and without, as a line of the report."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for name, words in commands(folder).items():
            pairs, inside = [], []
            for number in range(-1, rounds):  # the first pair compiles
                out = {how: str(folder / f"{how}{number}") for how in ("with", "without")}
                order = list(out) if number % 2 else list(out)[::-1]
                took = {how: cpu_seconds(how, words, out[how]) for how in order}
                if number >= 0:
                    pairs.append((took["with"][0], took["without"][0]))
                    inside.append(took["with"][1] / took["with"][0])
            low, middle, high = np.quantile([one / other - 1 for one, other in pairs], QUARTILES)
            seconds = np.median(pairs, 0)
            found = {"with": seconds[0], "without": seconds[1], "more": middle, "from": low}
            found |= {"to": high, "checks": np.median(inside)}
            yield {"whole": name, "pairs": rounds, **_rounded(found, 4)}


def cpu_seconds(how: str, words: list[str], out: str) -> tuple[float, float]:
    """Of one command in a process of its own, and of the checks in it. SystemExit if it fails."""
    given = [out if word == "OUT" else word for word in words]
    child = subprocess.Popen(
        [sys.executable, __file__, "--child", how, *given],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stderr is not None
    said = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(given)} ended with {child.returncode}: {said[-1000:]}")
    inside = [line.removeprefix(INSIDE) for line in said.splitlines() if line.startswith(INSIDE)]
    return usage.ru_utime + usage.ru_stime, float(inside[-1]) if inside else 0.0


def child(how: str, command: str, arguments: list[str]) -> int:
    """One command, with the checks or "without"."""
    import importlib

    module = importlib.import_module(f"bodyjax.commands.{command}")
    if how == "without":
        with unchecked():
            return int(module.main(arguments))
    with clocked() as spent:
        code = int(module.main(arguments))
    print(f"{INSIDE}{sum(spent):.6f}", file=sys.stderr)
    return code


@contextmanager
def clocked() -> Iterator[list[float]]:
    """The seconds that threads spend in the checks meanwhile: of a time limit, those of the thread
    that waits; the work itself is another thread's."""
    from bodyjax.data.video import index, limits
    from bodyjax.engine import seals

    kept = limits.finished, limits.in_time, seals.seal, seals.verify, index.CHECKS
    spent: list[float] = []

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **more: Any) -> Any:
            begun = time.thread_time()
            try:
                return call(*args, **more)
            finally:
                spent.append(time.thread_time() - begun)

        return called

    def items(path: Path, make: Any) -> Iterator[Any]:
        following = timed(partial(next, kept[1](path, make), END))
        while (item := following()) is not END:
            yield item

    def check(made: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: timed(made())

    limits.finished, limits.in_time = timed(kept[0]), items
    seals.seal, seals.verify = timed(kept[2]), timed(kept[3])
    index.CHECKS = {name: check(made) for name, made in kept[4].items()}
    try:
        yield spent
    finally:
        limits.finished, limits.in_time, seals.seal, seals.verify, index.CHECKS = kept


@contextmanager
def unchecked() -> Iterator[None]:
    """No time limits, no sums and no checks of packets in this process meanwhile."""
    from bodyjax.data.video import index, limits
    from bodyjax.engine import seals

    kept = limits.finished, limits.in_time, seals.seal, seals.verify, index.CHECKS

    def finished(path: Path, work: Any, kind: Any = None) -> Any:
        return work(limits.Beat())

    def in_time(path: Path, make: Any) -> Any:
        return make(limits.Beat())

    def seal(folder: Path) -> None:
        (folder / seals.SUMS).touch()

    def verify(folder: Path) -> None:
        pass

    limits.finished, limits.in_time, seals.seal, seals.verify = finished, in_time, seal, verify
    index.CHECKS = {}
    try:
        yield
    finally:
        limits.finished, limits.in_time, seals.seal, seals.verify, index.CHECKS = kept


# ---- the command ----


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--child"]:
        how, command, *rest = arguments[1:]
        return child(how, command, rest)
    parser = argparse.ArgumentParser(prog="tools/check_cost.py", description=__doc__)
    parser.add_argument("--checkpoint", default="commands")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--whole", type=int, metavar="PAIRS", help="whole commands, so many pairs")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or (options.whole is not None and options.whole < 1):
        parser.error("--rounds and --whole must be at least 1")
    lines = whole(options.whole) if options.whole else parts(options.checkpoint, options.rounds)
    for line in lines:
        print(json.dumps(line), flush=True)
    return 0


def _rounded(values: dict[str, float], digits: int = 3) -> dict[str, float]:
    return {name: round(float(value), digits) for name, value in values.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
