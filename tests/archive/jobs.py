"""Work on real clips that needs no network, for tests: workers that spawn import this module.

A clip's name says what its decoder does besides: crash ends the process by SIGSEGV, stuck never
comes back, nan gives no number, odd raises what a decoder's own bug would raise.
"""

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from bodyjax.archive import Answer, Work, local, results
from bodyjax.archive import manifest as manifests
from bodyjax.data.video.files import open_video

VIDEOS = (".mp4",)
MADE_OF = {"source": "1", "checkpoint": "2", "options": "3", "code": "4"}


def opened(batch=4, slow=0.0, log="", crash_in_run=False):
    """The mean of each clip's middle frame; `log` gets a line for every clip that is read."""

    def read(file, beat):
        time.sleep(slow)
        if log:
            with Path(log).open("a") as lines:
                lines.write(f"{file.name}\n")
        if "crash" in file.name and not crash_in_run:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "stuck" in file.name:
            time.sleep(3600)
        if "odd" in file.name:
            raise ValueError("a bug\nin a decoder")
        video = open_video(file)
        return file.name, video.read([video.frames // 2], threads=1)[0]

    def run(clips, beat):
        beat()
        if crash_in_run and any("crash" in name for name, _ in clips):
            os.kill(os.getpid(), signal.SIGSEGV)
        frames = np.stack([frame for _, frame in clips])
        each = frames.mean((1, 2, 3), dtype=np.float64)
        names = [name for name, _ in clips]
        each = [np.nan if "nan" in name else mean for name, mean in zip(names, each, strict=True)]
        return [Answer("bright" if m > 127 else "dark", m / 255, {"mean": m}) for m in each]

    return Work(read, run, batch, VIDEOS, np.zeros(1))


def begin(source, out, kind="jsonl", batch=4):
    """The manifest of a folder, as the command writes it, and where its ids start."""
    found = manifests.listed(Path(source), VIDEOS)
    made_of = MADE_OF | {"source": manifests.fingerprint(found.rows)}
    return manifests.begin(Path(out), found.rows, made_of, {}, kind, batch), found.root


def work_through(source, out, workers, patience=20.0, **given):
    """What the command does, without a checkpoint: the counts that were reported."""
    told = []
    with manifests.locked(Path(out)):
        _, root = begin(source, out, batch=given.get("batch", 4))
        local.run(Path(out), root, partial(opened, **given), workers, told.append, patience)
    return told


def digest(out):
    return results.digest(Path(out), manifests.read(Path(out)))


if __name__ == "__main__":
    source, out, workers, given = sys.argv[1:]
    # Of the module that workers import, not of __main__.
    from tests.archive import jobs

    jobs.work_through(source, out, int(workers), **json.loads(given))
