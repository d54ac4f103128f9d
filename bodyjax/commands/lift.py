"""Lifts people in videos and pictures into space, and tells them what to change.

bodyjax lift --checkpoint NAME --video FILE [--rules FILE] [--out overlay.mp4] [--json FILE]
    [--bvh FILE] [--trc FILE] [--npz FILE] [--angles FILE.csv] [--height MM] [--on-bad skip]
bodyjax lift --checkpoint NAME --input FILE|FOLDER [--json FILE] [--out OVERLAY]

A video: people are followed, their 17 joints get places in mm, and a rule file (or a shipped set:
squat, push_up, raise_arms) turns movement parameters into prompts. --out draws joints, a turning
view in space and prompts; --angles writes the parameters over time, and a plot beside it
(FILE.png). --bvh and --trc hold one person a file: with several people FILE_1.bvh, FILE_2.bvh and
so on. Pictures: each person as launch.detect gives it, with xyz. Without --json the result is
printed. Exit codes: 0 done; 1 some pictures could not be read; 2 a mistake in the input.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodyjax import files
from bodyjax.commands import detect as detecting
from bodyjax.commands import flags, outputs
from bodyjax.commands.outputs import Output
from bodyjax.data.video.writing import WRITTEN
from bodyjax.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:
    from bodyjax.lift.motions import Motion

EXIT_SOME_BAD = 1
ENDINGS = {
    "out": WRITTEN, "bvh": (".bvh",), "trc": (".trc",), "npz": (".npz",),
    "angles": (".csv",),
}  # fmt: skip
"""Output of a video -> how its file may end."""
OF_VIDEOS = ("rules", "bvh", "trc", "npz", "angles")


def main(arguments: list[str]) -> int:
    parser = flags.parser("lift", __doc__)
    parser.add_argument("--checkpoint", help="a run's folder or weights (default: the shipped)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--video", help="a video, or a folder of numbered frames")
    what.add_argument("--input", help="a picture, a video, or a folder of pictures")
    parser.add_argument("--rules", help="a rule file, or squat, push_up, raise_arms")
    parser.add_argument("--out", help="overlay: a video, or for pictures a file or folder")
    parser.add_argument("--json", help="file for the result")
    parser.add_argument("--bvh", help="file for bones that turn, one person a file")
    parser.add_argument("--trc", help="file for markers (OpenSim), one person a file")
    parser.add_argument("--npz", help="file for all people as arrays")
    parser.add_argument("--angles", help=".csv of movement parameters over time; FILE.png beside")
    parser.add_argument("--height", help="of everyone, in mm (default: the mean adult's, 1700)")
    parser.add_argument(
        "--on-bad", choices=("raise", "skip"), default="raise",
        help="skip: read what is whole of damaged videos",
    )  # fmt: skip
    flags.add_detector_flags(parser)
    options = parser.parse_args(arguments)
    for flag in ("checkpoint", "video", "input", "rules"):
        if getattr(options, flag) == "":
            raise ConfigError("is empty", place=f"--{flag}", hint="name a file")
    settings = flags.detector_settings(options)
    if options.checkpoint is not None:
        settings["checkpoint"] = options.checkpoint
    height = body_height(options.height)
    source = Path(options.video or options.input)
    if options.input and not files.is_video(source):
        return _pictures(options, source, settings, height)
    return _video(options, source, settings, height)


def body_height(text: str | None) -> float | None:
    """The value of --height in mm; ConfigError if it is no number."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        hint = "give millimetres, such as 1680"
        raise ConfigError(f"{text!r} is no number", place="--height", hint=hint) from None


def _video(
    options: argparse.Namespace, source: Path, settings: dict[str, Any], height: float | None
) -> int:
    if not source.exists():
        raise DataError("no such file or folder", file=source)
    check_outputs(options, source)

    from bodyjax import lift
    from bodyjax.camera import FIELD_OF_VIEW
    from bodyjax.data.video.files import open_video
    from bodyjax.lift import overlay, parameters, records, rules

    chosen = rules.read(options.rules) if options.rules else []
    clip = open_video(source, options.on_bad)
    tall = lift.MEAN_HEIGHT if height is None else height
    lifter = lift.load(**settings)
    lifted = lift.video(lifter, source, height=tall, on_bad=options.on_bad, progress=_bar)
    values = [parameters.measure(motion) for motion in lifted.motions]
    prompts = [
        event
        for motion, each in zip(lifted.motions, values, strict=True)
        for event in rules.events(chosen, motion.identity + 1, motion.times, each)
    ]
    prompts.sort(key=lambda event: (event.start, event.person))
    check_outputs(options, source, lifted.motions)
    if options.out:
        overlay.write(clip, options.out, lifted, prompts, _bar)
    if options.npz:
        records.write_npz(options.npz, lifted, prompts)
    if options.angles:
        parameters.write_csv(options.angles, lifted.motions, values)
        if lifted.motions:
            parameters.plot(plot_file(options.angles), lifted.motions[0], values[0])
    _write_skeletons(options, lifted.motions)
    words = {
        "scale": "mean adult" if height is None else "given height",
        "camera_from": f"assumed: {FIELD_OF_VIEW:g} degrees",
    }
    _say(options.json, records.video(clip, lifted, values, prompts, words))
    count = len(lifted.motions)
    told = [
        detecting.counted(clip.frames, "frame"), detecting.counted(count, "person", "people"),
        detecting.counted(len(prompts), "prompt"),
    ]  # fmt: skip
    print(", ".join(told), file=sys.stderr)
    if not count:
        print("no person is seen long enough: nothing to lift", file=sys.stderr)
    return 0


def check_outputs(
    options: argparse.Namespace, source: Path, motions: Sequence[Motion] = ()
) -> None:
    """UserError if an output of a video has the wrong ending, can't be written, or would replace
    another file of this call. motions: the people, once they are known: each has files of bones."""
    written = [Output(f"--{flag}", getattr(options, flag)) for flag in ("json", *ENDINGS)]
    for flag, name, _ in written:
        known = ENDINGS.get(flag.removeprefix("--"))
        if name and known and Path(name).suffix.lower() not in known:
            raise UserError(f"does not end in {' or '.join(known)}", file=name, place=flag)
    if options.angles:
        written.append(Output("the plot", plot_file(options.angles)))
    for flag, name in (("--bvh", options.bvh), ("--trc", options.trc)):
        if name and len(motions) > 1:
            written += [Output(flag, file) for file, _ in person_files(name, motions)]
    reads = {source: "the input"} | outputs.of_checkpoint(options.checkpoint)
    if options.rules:
        reads[Path(options.rules)] = "the rules"
    outputs.check(written, reads)


def plot_file(table: str) -> Path:
    """The plot beside a table of parameters."""
    return Path(table).with_suffix(".png")


def _write_skeletons(options: argparse.Namespace, motions: list[Motion]) -> None:
    """--bvh and --trc, which file is whose, and what is not known in it."""
    from bodyjax.lift import bvh, trc

    kinds = (
        (options.bvh, bvh.write, "filled by straight lines"),
        (options.trc, trc.write, "their cells are empty"),
    )
    for name, write, gaps in kinds:
        for file, motion in person_files(name, motions) if name else []:
            write(file, motion)
            print(f"person {motion.identity + 1}: {file}{missing(motion, gaps)}", file=sys.stderr)


def missing(motion: Motion, gaps: str) -> str:
    """What a file of a person's bones lacks, in words; "" if nothing. gaps: what became of them."""
    import numpy as np

    from bodyjax.lift.motions import unknown

    words, lost = "", int(unknown(motion).sum())
    if lost:
        words = f", {lost} of {len(motion.times)} frames unknown: {gaps}"
    if not np.isfinite(motion.root).all(1).any():
        words += ", the place before the camera is unknown: the pelvis stays at 0"
    return words


def person_files(name: str, motions: Sequence[Motion]) -> list[tuple[Path, Motion]]:
    """The file of each person: the name given for one, NAME_NUMBER for several."""
    file = Path(name)
    if len(motions) < 2:
        return [(file, motion) for motion in motions]
    return [(file.with_stem(f"{file.stem}_{m.identity + 1}"), m) for m in motions]


def _pictures(
    options: argparse.Namespace, source: Path, settings: dict[str, Any], height: float | None
) -> int:
    for flag in OF_VIDEOS:
        if getattr(options, flag):
            raise UserError("is for videos", place=f"--{flag}", hint="name a video by --video")
    found = detecting.input_files(source)
    pictures = [file for file in found.files if not files.is_video(file)]
    if not pictures:
        raise DataError("no pictures", file=source, hint="name one video by --video")
    targets = detecting.check_outputs(options, pictures, {})

    from bodyjax import lift

    lifter = lift.load(**settings)
    results: list[dict[str, Any]] = []
    bad: list[str] = []
    for number, file in enumerate(_bar(pictures, len(pictures))):
        try:
            people = lift.people(lifter, file, height=height, image_id=number)
            if file in targets:
                _draw_picture(file, targets[file], people)
        except DataError as error:
            bad.append(str(error))
            continue
        name = str(file.relative_to(source)) if source.is_dir() else file.name
        results += [{**person, "file_name": name} for person in people]
    _say(options.json, [_plain(person) for person in results])
    passed = len(found.files) - len(pictures)
    more = f", {passed} videos passed over (name one by --video)" if passed else ""
    told = detecting.counted(len(results), "person", "people")
    done = f"{len(pictures) - len(bad)} of {len(pictures)} pictures read, {told}"
    print(done + more, file=sys.stderr)
    for line in bad:
        print(f"error: {line}", file=sys.stderr)
    return flags.EXIT_USER_ERROR if len(bad) == len(pictures) else EXIT_SOME_BAD if bad else 0


def _plain(person: dict[str, Any]) -> dict[str, Any]:
    """A person for JSON: arrays as rounded lists."""
    from bodyjax.lift.records import numbers

    return {**person, "xyz": numbers(person["xyz"], 1)}


def _draw_picture(file: Path, target: Path, people: list[dict[str, Any]]) -> None:
    from PIL import Image

    from bodyjax.data.pictures.images import any_picture
    from bodyjax.detect.found import write_picture
    from bodyjax.lift.overlay import picture

    target.parent.mkdir(parents=True, exist_ok=True)
    write_picture(Image.fromarray(picture(any_picture(file), people)), target)


def _say(file: str | None, result: Any) -> None:
    text = json.dumps(result, allow_nan=False)
    if file:
        files.write_text(file, text + "\n")
    else:
        print(text)


def _bar(items: Iterable[Any], count: int) -> Iterator[Any]:
    """The items, with a progress bar on a terminal where there are several."""
    from tqdm import tqdm

    quiet = count < 2 or not sys.stderr.isatty()
    yield from tqdm(items, total=count, unit="frame", disable=quiet)
