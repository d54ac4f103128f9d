"""Makes a prepared set of clips, pictures or joints.

bodyjax prepare --source PATH --out DIR [--name NAME] [--split-number 1] [--on-bad skip|raise]
    [--label LABEL] [--joints JOINTS] [--count PICTURES] [--normalized WIDTHxHEIGHT]
    [--detect NAME] [--crop N] [--teacher NAME]

PATH: folders of clips, pictures with labels, COCO folders, array sets, folders of joint tables; or
the word simulated: drawn pictures of people, 1000 to train, 100 valid and 100 test (--count N: N
and twice N/10; a folder of that name needs its full path). The set is a TFDS array_record set,
DIR/NAME/1.0.0. Whatever is left out is counted and named. A command that was stopped resumes.

--detect NAME (shipped weights, or a run's folder): PATH holds videos; the detector's joints of
every 6th frame (--every FRAMES, or --rate PER_SECOND) are written as joint tables below
DIR/csv/NAME, and the set is made from them. --second NAME and the other detector flags of bodyjax
detect work here too. --crop N looks again at the main person alone, cut out of the pictures by one
box a video, as in the paper of system D, and at N random crops of each video that is not held out
(NAME_crop1 ...); coordinates are the cut-out's. The same command resumes where it stopped; tables
of another source, detector, setting or rate are refused.

--teacher NAME (shipped weights, or a detector's run): its maps of every picture of a set (--split,
default train) are stored in DIR/NAME, for config.distill.stored = DIR of a training. The detector
flags that change its maps work here too: --size, --flip, --scales. The same command resumes where
it stopped. Exit codes: 0 done, 2 a mistake in the input.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bodyjax import files
from bodyjax.commands import flags, outputs
from bodyjax.commands.outputs import Output
from bodyjax.errors import ConfigError, DataError


def main(arguments: list[str]) -> int:
    parser = flags.parser("prepare", __doc__)
    parser.add_argument(
        "--source", "--data", required=True, type=flags.named_path, help="a set's folder or file"
    )
    parser.add_argument(
        "--out", required=True, type=flags.named_path, help="the folder of prepared sets"
    )
    parser.add_argument("--name", default="", help="the set's name (default: the source's)")
    parser.add_argument("--split-number", default="1", help="of several official splits")
    parser.add_argument("--on-bad", default="skip", choices=("skip", "raise"))
    parser.add_argument("--label", help="which label, of array sets that have several")
    parser.add_argument("--joints", help="which joints, of array sets that have several")
    parser.add_argument("--count", type=int, help="simulated training pictures (1000)")
    parser.add_argument(
        "--normalized", metavar="WIDTHxHEIGHT",
        help="x and y of joint tables are shares of pictures of this size",
    )  # fmt: skip
    parser.add_argument("--detect", help="videos to joint tables by this detector first")
    parser.add_argument("--every", type=int, help="detect in every so many frames (6)")
    parser.add_argument("--rate", type=float, help="detect in so many frames a second")
    parser.add_argument("--crop", type=int, help="cut the main person out; so many random crops")
    parser.add_argument("--teacher", help="store this detector's maps of a set of pictures")
    parser.add_argument("--split", help="the part of the set that a teacher sees (train)")
    flags.add_detector_flags(parser)
    options = parser.parse_args(arguments)
    settings = flags.detector_settings(options)
    if options.split is not None and not options.teacher:
        raise ConfigError("--split belongs to --teacher")
    if options.teacher:
        return store_maps(options, settings)
    if options.every is not None and options.rate is not None:
        raise ConfigError("give --every or --rate, not both")
    if not options.detect and (options.every is not None or options.rate is not None):
        raise ConfigError("--every and --rate belong to --detect")
    if not options.detect and options.crop is not None:
        raise ConfigError("--crop belongs to --detect")
    if not options.detect and settings:
        raise ConfigError(f"--{next(iter(settings)).replace('_', '-')} belongs to --detect")
    from bodyjax.data import prepare

    drawn = str(options.source) == prepare.SIMULATED and not options.detect
    if not drawn and not options.source.exists():
        raise DataError("no such file or folder", file=options.source)
    name, source = options.name or prepare.set_name(options.source), options.source
    every = 0
    without: dict[str, int] = {}
    if options.detect:
        from bodyjax.detect import video_tables

        every = video_tables.EVERY if options.every is None else options.every
        video_tables.check_rate(every, options.rate)
        video_tables.check_crops(options.crop, options.source)
    check_outputs(options, name)
    if options.detect:
        source = options.out / "csv" / name
        without = detect_joints(options, source, every, settings)
    extra = {key: getattr(options, key) for key in ("label", "joints") if getattr(options, key)}
    report = prepare.prepare(
        source,
        options.out,
        name,
        on_bad=options.on_bad,
        number=options.split_number,
        options=extra,
        count=options.count,
        normalized=options.normalized,
    )
    for line in report.bad:
        print(f"left out: {line}", file=sys.stderr)
    rows = ", ".join(f"{part} {count}" for part, count in report.rows.items())
    print(f"{report.kind}: {rows}")
    counts = {**without, **report.left_out}
    left_out = "; ".join(f"{count} {reason}" for reason, count in counts.items())
    if not left_out and report.bad:
        left_out = f"{len(report.bad)} as named above"
    print(f"left out: {left_out or 'nothing'}")
    print(f"prepared: {report.folder}")
    return 0


def check_outputs(options: argparse.Namespace, name: str) -> None:
    """UserError unless the folder of the set can be written, away from its source."""
    source = options.source
    reads = {source: "the source"} if source.exists() else {}
    outputs.keep_apart([Output("--out", options.out / name, folder=True)], reads)
    outputs.check([Output("--out", options.out, folder=True)], {})


def store_maps(options: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Stores a teacher's maps and reports what was stored."""
    others = ("detect", "every", "rate", "crop", "label", "joints", "count", "normalized")
    given = [name for name in others if getattr(options, name) is not None]
    given += [name for name in settings if name not in ("size", "flip", "scales")]
    if given:
        flag = given[0].replace("_", "-")
        raise ConfigError(f"--{flag} says nothing about a teacher's maps", place="--teacher")
    if not options.source.exists():
        raise DataError("no such file or folder", file=options.source)
    from bodyjax.data import prepare
    from bodyjax.detect import teacher_maps
    from bodyjax.engine import compiled

    check_outputs(options, options.name or prepare.set_name(options.source))
    compiled.keep()
    report = teacher_maps.store(
        options.teacher, options.source, options.out, options.name,
        part=options.split or "train", on_bad=options.on_bad, **settings,
    )  # fmt: skip
    teacher_maps.say(report)
    return 0


def check_same(file: Path, made_of: dict[str, Any]) -> None:
    """Records what joint tables are made of; ConfigError if a different record is there and its
    tables exist."""
    if file.exists() and any(file.with_suffix("").rglob("*.csv")):
        old = json.loads(file.read_text())
        changed = [f"{k}: {old.get(k)} -> {new}" for k, new in made_of.items() if old.get(k) != new]
        if changed:
            hint = "another --name or --out, or remove the tables and this file"
            what = f"notes tables of other settings ({'; '.join(changed)})"
            raise ConfigError(what, file=file, hint=hint)
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(file, json.dumps(made_of, indent=1) + "\n")


def detect_joints(
    options: argparse.Namespace, out: Path, every: int, settings: dict[str, Any]
) -> dict[str, int]:
    """Writes the joint tables of every `every`-th frame of all videos and reports which have none;
    settings: the detector's. Returns how many files gave no table, by reason."""
    from bodyjax import detect
    from bodyjax.detect import video_tables

    detector = detect.load(options.detect, **settings)
    check_same(
        out.with_name(f"{out.name}.json"),
        {
            "source": str(options.source.resolve()), "detector": options.detect, "every": every,
            "rate": options.rate, "crop": options.crop, "split_number": options.split_number,
            **{name: settings[name] for name in sorted(settings)},
        },
    )  # fmt: skip
    written, missing = 0, 0
    for outcome in video_tables.write_tables(
        detector, options.source, out, every=every, rate=options.rate, crop=options.crop,
        number=options.split_number,
    ):  # fmt: skip
        if outcome.table is None:
            missing += 1
            print(f"left out: {outcome.video}: {outcome.problem}", file=sys.stderr)
            if options.on_bad == "raise":
                raise DataError(outcome.problem, file=outcome.video)
        else:
            written += 1
            print(f"{outcome.video} -> {outcome.table}", file=sys.stderr)
    if not written:
        raise DataError(f"none of {missing} videos gave joints", file=options.source)
    print(f"joint tables: {written}, videos without: {missing}")
    without = {"videos without joints": missing} if missing else {}
    if options.source.is_dir():
        skipped = files.listed(options.source, files.VIDEOS).skipped
        without |= files.skipped_counts(
            [one for one in skipped if one[1] != files.OTHER], options.source
        )
    return without
