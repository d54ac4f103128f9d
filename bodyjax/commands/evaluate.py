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
from pathlib import Path
from typing import Any

from bodyjax import files
from bodyjax.commands import flags, outputs
from bodyjax.commands.outputs import Output
from bodyjax.data.pictures.coco_files import json_files, official_files
from bodyjax.errors import ConfigError, UserError


def main(arguments: list[str]) -> int:
    parser = flags.parser("evaluate", __doc__)
    parser.add_argument("--checkpoint", required=True, help="a run's folder or shipped weights")
    parser.add_argument("--data", required=True, help="a set's folder or file")
    parser.add_argument("--split", help="train, valid, test, ... (default: every row)")
    parser.add_argument("--out", help="file for the metrics (JSON)")
    flags.add_detector_flags(parser)
    parser.add_argument(
        "--min-score",
        help="score from which people count for precision and recall (default: the detector's)",
    )
    parser.add_argument("--on-bad", choices=("raise", "skip"), help="bad pictures and labels")
    parser.add_argument(
        "--samples",
        type=int,
        help="bootstrap samples of intervals; of movements: samplings of a clip",
    )
    parser.add_argument(
        "--normalized", metavar="WIDTHxHEIGHT",
        help="x and y of joint tables are shares of pictures of this size",
    )  # fmt: skip
    parser.add_argument("--results", help="file for the people found (COCO results, JSON)")
    parser.add_argument(
        "--against", metavar="RESULTS", help="another detector's COCO results, to compare with"
    )
    parser.add_argument("--pictures", help="folder for the best and the worst pictures, drawn")
    options = parser.parse_args(arguments)
    if options.samples is not None and options.samples < 0:
        raise ConfigError(f"{options.samples} is below 0", place="--samples")
    more = flags.detector_settings(options)
    if (least := flags.least_score(options.min_score)) is not None:
        more["min_person"] = least
    for name in ("on_bad", "samples", "normalized", "results", "against", "pictures"):
        if getattr(options, name) is not None:
            more[name] = getattr(options, name)
    check_outputs(options)
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


def check_outputs(options: argparse.Namespace) -> None:
    """UserError unless everything can be written, away from the set, its labels, the results to
    compare with and the checkpoint."""
    data = Path(options.data)
    read = label_files(data) + [Path(name) for name in (options.against,) if name]
    reads = dict.fromkeys(read, "a file that is read")
    reads |= {data: "the set"} if data.is_dir() else {}
    outputs.check(
        [
            Output("--out", options.out),
            Output("--results", options.results),
            Output("--pictures", options.pictures, folder=True),
        ],
        reads | outputs.of_checkpoint(options.checkpoint),
    )


def label_files(data: Path) -> list[Path]:
    """The JSON files that hold the labels or splits of a set."""
    known = [data / name for name in ("annotations.json", "splits.json")]
    there = [file for file in known if file.exists()]
    return [data, *(there or json_files(data)), *official_files(data)]


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
