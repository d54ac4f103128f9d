"""Evaluates a checkpoint on labelled data.

bodyjax evaluate --checkpoint DIR|NAME --data PATH [--split test] [--out metrics.json]

PATH is a set's folder or file (docs/DATA.md); every row is evaluated unless a split is named.
Detectors take pictures with joints, recognisers clips or sequences. An option that the system's
evaluation lacks is an error. Exit codes: 0 done, 2 a mistake in the input, 3 stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

from bodyjax import files
from bodyjax.commands import flags
from bodyjax.errors import ConfigError, UserError


def main(arguments: list[str]) -> int:
    parser = flags.parser("evaluate", __doc__)
    parser.add_argument("--checkpoint", required=True, help="a run's folder or shipped weights")
    parser.add_argument("--data", required=True, help="a set's folder or file")
    parser.add_argument("--split", help="train, valid, test, ... (default: every row)")
    parser.add_argument("--out", help="file for the metrics (JSON)")
    add_detector_flags(parser)
    parser.add_argument(
        "--min-score",
        help="precision and recall are told of people of this score (default: the detector's)",
    )
    parser.add_argument("--on-bad", choices=("raise", "skip"), help="bad pictures and labels")
    parser.add_argument(
        "--samples",
        type=int,
        help="bootstrap samples of intervals; of movements: samplings of a clip",
    )
    parser.add_argument("--results", help="file for the people found (COCO results, JSON)")
    parser.add_argument(
        "--against", metavar="RESULTS", help="another detector's COCO results, to compare with"
    )
    parser.add_argument("--pictures", help="folder for the best and the worst pictures, drawn")
    options = parser.parse_args(arguments)
    for name in (options.out, options.results):
        check_writable(name)
    check_writable(options.pictures, folder=True)
    read = label_files(Path(options.data)) + [Path(name) for name in (options.against,) if name]
    outputs = {"--out": options.out, "--results": options.results}
    check_apart(outputs, dict.fromkeys(read, "a file that is read"))
    if options.samples is not None and options.samples < 0:
        raise ConfigError(f"{options.samples} is below 0", place="--samples")
    more = detector_settings(options)
    if (least := least_score(options.min_score)) is not None:
        more["min_person"] = least
    for name in ("on_bad", "samples", "results", "against", "pictures"):
        if getattr(options, name) is not None:
            more[name] = getattr(options, name)
    report = evaluate(options.checkpoint, options.data, options.split, more)
    text = json.dumps(plain(report), indent=1)
    if options.out:
        files.write_text(options.out, text + "\n")
    print(text)
    return 0


def evaluate(checkpoint: str, data: str, split: str | None, more: dict[str, Any]) -> dict[str, Any]:
    """Calls the evaluation of the checkpoint's system; ConfigError for an option in `more` that it
    lacks."""
    from bodyjax import tasks
    from bodyjax.engine import checkpoint as checkpoints
    from bodyjax.engine import compiled

    compiled.keep()
    loaded = checkpoints.load(checkpoint)
    run = tasks.offered(loaded.system, "evaluate")
    if run is None:
        raise UserError(f"there is no evaluation of system {loaded.system}", file=checkpoint)
    flags.check_options(run, more, loaded.system)
    result: dict[str, Any] = run(loaded, data, split, **more)
    return result


def add_detector_flags(parser: argparse.ArgumentParser) -> None:
    """Test-time settings of a detector (bodyjax.detect.Settings), and its second look."""
    group = parser.add_argument_group("detector")
    group.add_argument("--size", type=int, help="side of the canvas (docs/detecting.md)")
    group.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    group.add_argument("--scales", help="average over these, e.g. 0.75,1,1.25")
    group.add_argument("--refine", choices=("parabola", "dark", "udp"), help="sub-pixel rule")
    group.add_argument("--second", help="another detector, as large, looks again at each person")
    group.add_argument("--turns", action="store_true", help="there: unsure people turned as well")
    group.add_argument("--second-flip", action="store_true", help="there: mirrored as well")


def detector_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The given flags, as bodyjax.detect.load takes them; ConfigError for a mistake."""
    given: dict[str, Any] = {}
    if options.size is not None:
        given["size"] = options.size
    if options.flip:
        given["flip"] = True
    if options.refine is not None:
        given["refine"] = options.refine
    if options.second is not None:
        given["second"] = options.second
    for name in ("turns", "second_flip"):
        if getattr(options, name):
            if options.second is None:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} belongs to a second look", hint="--second large")
            given[name] = True
    if options.scales is not None:
        try:
            given["scales"] = tuple(float(word) for word in options.scales.split(","))
        except ValueError:
            raise ConfigError(
                f"{options.scales!r} is no list of numbers", place="--scales", hint="0.75,1,1.25"
            ) from None
    return given


def least_score(text: str | None) -> float | None:
    """The value of --min-score; ConfigError if it is not a number from 0 to 1."""
    from bodyjax.detect.found import checked_score

    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        hint = "give a number from 0 to 1"
        raise ConfigError(f"{text!r} is no number", place="--min-score", hint=hint) from None
    return checked_score(value, "--min-score")


def check_writable(name: str | Path | None, *, folder: bool = False) -> None:
    """UserError if a file, or with `folder` a folder, could not be written at the end."""
    if not name:
        return
    path = Path(name)
    if not path.absolute().parent.is_dir():
        raise UserError("the folder is missing", file=name, hint="make it first")
    if path.exists() and path.is_dir() != folder:
        kind, other = ("file", "folder") if folder else ("folder", "file")
        raise UserError(f"is a {kind}", file=name, hint=f"name a {other}")
    if not os.access(path if path.is_dir() else path.absolute().parent, os.W_OK):
        raise UserError("the folder can't be written to", file=name)


def check_apart(outputs: dict[str, str | Path | None], others: dict[Path, str]) -> None:
    """UserError if an output, by its flag, would replace another one, or one of the `others`
    (files, each with a description)."""
    taken = {path.resolve(): what for path, what in others.items()}
    for flag, name in outputs.items():
        if not name:
            continue
        place = Path(name).resolve()
        if place in taken:
            what = f"{flag} would replace {taken[place]}"
            raise UserError(what, file=name, hint="name another file")
        taken[place] = f"what {flag} writes"


def label_files(data: Path) -> list[Path]:
    """The JSON files that hold the labels or splits of a set."""
    known = [data / name for name in ("annotations.json", "splits.json")]
    return [data, *([file for file in known if file.exists()] or data.glob("[!.]*.json"))]


def plain(value: Any) -> Any:
    """Metrics as JSON values: arrays as lists, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
