"""What the page counts in videos, beside what bodyjax counts with the same networks and the eye.

python tools/demo_pushups.py --page build/demo --videos ../shared/data/pushfit/videos
    --clips p046,p000 [--runtime build/demo_runtime] [--eye tests/data/pushups_by_eye.csv]

The page's own modules run in node on every frame of a clip (tools/demo_watch.mjs), one thread.
Python is `bodyjax.score` with the page's detector and scorer. Prints a row a clip: lowest points
seen by eye ("-": not stored), repetitions in the page and in Python, those with a verdict in both,
CPU time of a frame in the page. Needs node.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import detect, score
from bodyjax.data import affine
from bodyjax.data.video.files import open_video
from bodyjax.errors import UserError
from bodyjax.score import video
from bodyjax.score.repetitions import repetitions

WATCH = Path(__file__).with_name("demo_watch.mjs")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=Path, default=Path("build/demo"))
    parser.add_argument("--runtime", type=Path, default=Path("build/demo_runtime"))
    parser.add_argument("--checkpoint", default="phone", help="the detector of the page")
    parser.add_argument("--scorer", default="pushup", help="the scorer of the page")
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--clips", required=True, help="names of videos, separated by commas")
    parser.add_argument("--eye", type=Path, default=Path("tests/data/pushups_by_eye.csv"))
    options = parser.parse_args(arguments)
    try:
        files = [options.videos / f"{name}.mp4" for name in options.clips.split(",")]
        if not options.eye.exists():
            raise UserError("no such file", file=options.eye, place="--eye")
        eye = by_eye(options.eye)
        page = in_page(files, options.page, options.runtime)
        python = in_python(files, options.checkpoint, options.scorer)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("clip   eye  page  python  page judged  python judged  ms a frame")
    for file, ours, theirs in zip(files, page, python, strict=True):
        print(
            f"{file.stem:6} {eye.get(file.stem, '-'):>3} {ours['repetitions']:5} "
            f"{theirs['repetitions']:7} {ours['count']:12} {theirs['count']:14} "
            f"{ours['milliseconds']:11.1f}"
        )
    told = [
        (eye[f.stem], p, q) for f, p, q in zip(files, page, python, strict=True) if f.stem in eye
    ]
    same = sum(p["repetitions"] == q["repetitions"] for p, q in zip(page, python, strict=True))
    judged = sum(p["count"] == q["count"] for p, q in zip(page, python, strict=True))
    print(f"page and Python alike: {same} of {len(files)}; with a verdict: {judged}")
    for name, which in (("page", 1), ("Python", 2)):
        near = sum(abs(one[which]["repetitions"] - one[0]) <= 1 for one in told)
        print(f"{name} within one of the eye: {near} of {len(told)}")
    return 0


def in_page(files: list[Path], page: Path, runtime: Path) -> list[dict[str, Any]]:
    """What the page's modules find in videos: a dictionary each, as demo_watch.mjs prints it."""
    if not (page / "model.json").exists():
        raise UserError("has no model.json", file=page, hint="build the page by tools/demo.py")
    if shutil.which("node") is None:
        raise UserError("node is not installed", hint="on Debian: apt install nodejs")
    side = json.loads((page / "model.json").read_text("utf-8"))["pose"]["canvas"]
    dist = runtime / "node_modules" / "onnxruntime-web" / "dist"
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for file in files:  # one by one: the canvases of a clip are up to 30 MB
            clip = canvases(file, side, Path(folder) / "pixels")
            (Path(folder) / "clips.json").write_text(json.dumps([clip]))
            done = subprocess.run(
                ["node", str(WATCH), str(page), str(dist), f"{folder}/clips.json"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                said = [line for line in done.stderr.splitlines() if "Error" in line]
                reason = (said or ["no reason given"])[0]
                raise UserError(f"node can't run the page: {reason}", file=file)
            found += json.loads(done.stdout)
    return found


def canvases(file: Path, side: int, out: Path) -> dict[str, Any]:
    """Writes a video's canvases as RGBA; what demo_watch.mjs must know of it."""
    clip = open_video(file)
    with out.open("wb") as pixels:
        for image in clip.iter_frames():
            matrix = affine.fit(image.shape[:2], (side, side))
            canvas = affine.warp(image, matrix, (side, side), fill=affine.FILL)
            opaque = np.full((side, side, 1), 255, np.uint8)
            pixels.write(np.concatenate([canvas, opaque], axis=-1).tobytes())
    times = [float(time) for time in clip.times]
    return {"pixels": str(out), "times": times, "size": list(clip.size)}


def in_python(files: list[Path], detector: str, scorer: str) -> list[dict[str, Any]]:
    """What bodyjax.score says of the person who is seen longest: repetitions, and those among them
    with a verdict (count)."""
    loaded = score.load(scorer, detector=detect.load(detector))
    found = []
    for file in files:
        kept = [track for track in video.tracks(loaded, file) if video.long_enough(track)]
        if not kept:
            found.append({"repetitions": 0, "count": 0})
            continue
        longest = max(kept, key=lambda track: len(track.times))
        said = video.person(loaded, longest, open_video(file).size)
        every = repetitions(longest.times, longest.xy, loaded.system.skeleton)
        found.append({"repetitions": len(every), "count": said["repetitions"]["count"]})
    return found


def by_eye(file: Path) -> dict[str, int]:
    """How many lowest points each clip has."""
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    return {row["clip"]: len(row["lowest"].split()) for row in csv.DictReader(lines)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
