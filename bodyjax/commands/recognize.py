"""Recognises what people do in videos.

bodyjax recognize --checkpoint DIR|NAME --video FILE|FOLDER [--out overlay.mp4] [--json result.json]
    [--window SECONDS] [--exercise NAME] [--on-bad skip] [--second NAME]

Prints JSON. A folder gives one result per video and names the files that could not be read; --out
is then a folder. Flags of the detector (--second and the others of bodyjax detect) are for scorers,
whose detector is not part of the model. Exit codes: 0 done; 1 some files could not be read, the
others are done; 2 a mistake in the input.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodyjax import files
from bodyjax.commands import flags, outputs
from bodyjax.commands.outputs import Output
from bodyjax.errors import ConfigError, DataError, UserError, VideoError

if TYPE_CHECKING:
    from bodyjax.tasks import Opened

Result = dict[str, Any]

EXIT_SOME_BAD = 1


def main(arguments: list[str]) -> int:
    parser = flags.parser("recognize", __doc__)
    parser.add_argument("--checkpoint", required=True, help="a run's folder, or shipped weights")
    parser.add_argument(
        "--video", required=True, type=flags.named_path, help="a video, or a folder of them"
    )
    parser.add_argument(
        "--out", type=flags.named_path, help="write the video with what was found drawn on it"
    )
    parser.add_argument(
        "--json", type=flags.named_path, help="write the printed JSON to a file as well"
    )
    parser.add_argument(
        "--window", type=float, help="seconds of the sliding windows of long videos"
    )
    parser.add_argument(
        "--on-bad", choices=("raise", "skip"), help="skip: read what is whole of damaged videos"
    )
    parser.add_argument("--exercise", help="which one is done, for scorers that need to know it")
    flags.add_detector_flags(parser)
    options = parser.parse_args(arguments)
    settings = flags.detector_settings(options)
    several = check_outputs(
        options.checkpoint, options.video, options.out, options.json, options.window
    )  # fmt: skip
    for name in ("window", "exercise", "on_bad"):
        if getattr(options, name) is not None:
            settings[name] = getattr(options, name)
    task = open_task(options.checkpoint, settings)
    if several:
        result = folder(task, options.video, options.out)
    else:
        result = task.one(options.video)
        if options.out:
            task.draw(options.video, options.out, result)
    text = json.dumps(result, indent=1, allow_nan=False)
    print(text)
    if options.json:
        files.write_text(options.json, text + "\n")
    return EXIT_SOME_BAD if result.get("bad") else 0


def folder(task: Opened, videos: Path, out: Path | None) -> Result:
    """The results of all videos of a folder; files that can't be used are named and counted."""
    videos = Path(os.path.abspath(videos))  # as results name their video
    results, bad = [], []
    for result in task.all(videos):
        file = Path(result["video"])
        if "error" in result:
            bad.append(result)
            print(f"left out: {file}: {result['error']}", file=sys.stderr)
            continue
        results.append(result)
        print(f"{file}: {task.line(result)}", file=sys.stderr)
        if out is not None:
            drawn = outputs.overlay(out, file.relative_to(videos), video=True)
            drawn.parent.mkdir(parents=True, exist_ok=True)
            try:
                task.draw(file, drawn, result)
            except VideoError as error:
                bad.append({"video": str(file), "error": f"not drawn: {error.message}"})
                print(f"not drawn: {error}", file=sys.stderr)
    found = files.listed(videos, files.VIDEOS)
    count = len(found.files)
    for number, what in (
        (found.hidden, files.HIDDEN), (found.broken, files.BROKEN),
        (found.linked, files.LINKED), (found.closed, files.CLOSED),
    ):  # fmt: skip
        if number:
            print(f"passed over: {number} {what}", file=sys.stderr)
    if not results:
        raise DataError(f"none of {count} videos could be read", file=videos)
    return {"videos": count, "recognized": len(results), "bad": bad, "results": results}


def check_outputs(
    checkpoint: str, video: Path, out: Path | None, result: Path | None, window: float | None
) -> bool:
    """Refuses what it can before anything is computed. Returns whether `video` is a folder of
    videos; a folder of numbered pictures is one."""
    from bodyjax.data.video.writing import WRITTEN

    if window is not None and not 0 < window < float("inf"):
        raise ConfigError(f"{window:g} seconds", place="--window", hint="give a number above 0")
    if not video.exists():
        raise DataError("no such video or folder", file=video)
    several = video.is_dir()
    if several:
        from bodyjax.data.video.frame_folder import is_one_video

        several = not is_one_video(video)
    if out is not None and not several and out.suffix.lower() not in WRITTEN:
        raise DataError("not the name of a video", file=out, hint=f"use {', '.join(WRITTEN)}")
    reads = {video: "a video" if video.is_file() else "the input"} | outputs.of_checkpoint(
        checkpoint
    )
    outputs.check([Output("--out", out, folder=several), Output("--json", result)], reads)
    return several


def open_task(checkpoint: str, given: Mapping[str, Any]) -> Opened:
    """What the checkpoint's system does with a video; ConfigError for an option in `given`, by its
    name in the task, that it lacks."""
    from bodyjax import tasks
    from bodyjax.engine import checkpoint as checkpoints
    from bodyjax.engine import compiled

    compiled.keep()
    found = checkpoints.load(checkpoint)
    opened = tasks.offered(found.system, "open")
    if opened is None:
        hint = "a movement classifier or a scorer; people in videos: bodyjax detect"
        raise UserError(f"system {found.system} recognises nothing", file=checkpoint, hint=hint)
    flags.check_options(opened, given, found.system)
    result: Opened = opened(found, **given)
    return result
