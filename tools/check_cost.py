"""What the checks cost a normal run: sums of checkpoints, time limits around decoders.

python tools/check_cost.py [--checkpoint commands] [--rounds 40]

CPU milliseconds of this process, the least of the rounds, with and without, in turns. Sums: a
checkpoint of the shipped network's parameters is saved, sealed and verified, once in
train.save_every steps of a run. Limits: a photo of 640 x 480 and eight frames of a video, with the
thread that watches and without.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


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


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/check_cost.py", description=__doc__)
    parser.add_argument("--checkpoint", default="commands")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args(arguments)
    from bodyjax.data.pictures import images
    from bodyjax.data.video import limits
    from bodyjax.data.video.files import open_video, write_video

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        smooth = np.asarray(
            Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).resize((640, 480))
        )
        Image.fromarray(smooth).save(folder / "photo.jpg")
        write_video(folder / "clip.mp4", [np.roll(smooth, i, 1) for i in range(64)], 30)
        film, photo = open_video(folder / "clip.mp4"), folder / "photo.jpg"
        numbers = np.arange(4, 64, 8)
        watched = limits.finished

        def unwatched(path: Path, work: Any, kind: Any = None) -> Any:
            return work(limits.Beat())

        def without(call: Callable[[], Any]) -> Callable[[], Any]:
            def called() -> None:
                limits.finished = unwatched
                try:
                    call()
                finally:
                    limits.finished = watched

            return called

        calls = {"photo": lambda: images.read_image(photo),
                 "8 frames": lambda: film.read(numbers, threads=1)}  # fmt: skip
        for name, call in calls.items():
            took = least({"with": call, "without": without(call)}, options.rounds)
            took["share"] = took["with"] / took["without"] - 1
            print(json.dumps({"check": "time limit", "of": name, **_rounded(took)}))
        took = sums(options.checkpoint, folder / "run")
        print(json.dumps({"check": "sums", "of": options.checkpoint, **_rounded(took)}))
    return 0


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
