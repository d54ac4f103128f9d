"""How much the probability of a movement depends on the encoding of one and the same clip:

    python -m bodyjax.bench.encodings --checkpoint commands --checkpoint runs/mine

Simulated clips of one side, spread over the classes, are drawn again and written in five encodings;
`recognize` answers for each file. For every checkpoint: accuracy and mean probability of the right
movement by encoding, and the spread of that probability over the five, a mean over clips. The first
checkpoint is compared with each of the others on the same files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import imageio_ffmpeg
import numpy as np
from tqdm import tqdm

from bodyjax import recognize, sections
from bodyjax.bench import rows
from bodyjax.data.clips.feed import SIMULATED
from bodyjax.engine import checkpoint as checkpoints
from bodyjax.errors import ConfigError, VideoError
from bodyjax.metrics.intervals import bootstrap, paired_bootstrap
from bodyjax.recognize.recognizer import Recognizer
from bodyjax.simulate import film
from bodyjax.simulate.clips import ClipSpec, classes, clip_seed, role

X264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "12")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "5")
ENCODINGS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "H.264 crf 23": ((".mp4", (*X264, "-crf", "23")),),
    "H.264 crf 35": ((".mp4", (*X264, "-crf", "35")),),
    "HEVC": ((".mp4", ("-c:v", "libx265", "-crf", "28", "-x265-params", "log-level=none")),),
    "MPEG-4 AVI": ((".avi", MPEG4),),
    "twice": ((".avi", MPEG4), (".mp4", (*X264, "-crf", "28"))),
}
"""What each encoding is: endings and options of ffmpeg, one pass after the other."""


class Drawn(NamedTuple):
    """A clip: its class, frames (T, H, W, 3) uint8, frames a second."""

    label: str
    frames: np.ndarray
    fps: float


def drawn(spec: ClipSpec, split: str, count: int) -> Iterator[Drawn]:
    """`count` clips of a side, the classes in turn, with the pixels from before any encoding."""
    names = classes(spec)
    there = getattr(spec, split) * len(names)
    if not 0 < count <= there:
        raise ConfigError(f"{count} of {there} clips", place="--clips", hint=f"from 1 to {there}")
    for number in range(count):
        index, name = number // len(names), names[number % len(names)]
        view, fault = role(name, index)
        clip = film.clip(
            name, clip_seed(spec, split, name, index), size=spec.size, fps=spec.fps,
            length=spec.length, view=view, fault=fault, one_way=spec.kind == "one_way",
        )  # fmt: skip
        yield Drawn(name, clip.film.frames, spec.fps)


def write(clip: Drawn, folder: Path) -> dict[str, Path]:
    """The file of every encoding. VideoError if ffmpeg lacks an encoder."""
    height, width = clip.frames.shape[1:3]
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(clip.fps))
    written = {}
    for number, (name, passes) in enumerate(ENCODINGS.items()):
        source: tuple[str, ...] = (*raw, "-i", "pipe:0")
        given = clip.frames.tobytes()
        for step, (ending, options) in enumerate(passes):
            out = folder / f"{number}_{step}{ending}"
            run(("-y", *source, "-an", *options, "-pix_fmt", "yuv420p", str(out)), given, name)
            source, given = ("-i", str(out)), b""
        written[name] = out
    return written


def run(arguments: Sequence[str], given: bytes, name: str) -> None:
    """ffmpeg with these arguments, `given` on its input."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise VideoError(f"ffmpeg could not write {name}: {lines[-1]}")


def answers(recognizer: Recognizer, written: dict[str, Path]) -> np.ndarray:
    """(E, C) probabilities of all movements in each encoding, what is unfamiliar included."""
    rows = []
    for path in written.values():
        frames = recognize.recognizer.read_clip(recognizer, path, "raise").frames
        rows.append(np.asarray(recognizer.predict(recognizer.variables, frames).probability))
    return np.stack(rows)


def spread(probability: np.ndarray) -> np.ndarray:
    """(N,) largest less smallest probability of each clip over the encodings; probability (N, E)
    of the right movement."""
    return probability.max(axis=1) - probability.min(axis=1)


def report(found: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The figures of one checkpoint: found (N, E, C), labels (N,). Intervals hold 80 % of the
    resampled clips."""
    right = of_label(found, labels)
    wide, best = spread(right), found.argmax(axis=-1)
    interval = bootstrap(lambda rows: float(wide[rows].mean()), len(wide))
    return {
        "spread": interval.value,
        "interval": [interval.low, interval.high],
        "median": float(np.median(wide)),
        "changed_answers": int((best != best[:, :1]).any(axis=1).sum()),
        "by_encoding": {
            name: {
                "probability": float(right[:, e].mean()),
                "accuracy": float((best[:, e] == labels).mean()),
            }
            for e, name in enumerate(ENCODINGS)
        },
    }


def of_label(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, E) probability of the right movement."""
    return np.take_along_axis(found, labels[:, None, None], axis=-1)[..., 0]


def compare(first: np.ndarray, other: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """How much wider the spread of the first is than the other's, on the same files."""
    wide, narrow = (spread(of_label(found, labels)) for found in (first, other))
    pair = paired_bootstrap(
        lambda rows: float(wide[rows].mean()), lambda rows: float(narrow[rows].mean()), len(wide)
    )
    return {"difference": pair.difference, "interval": [pair.low, pair.high]}


def spec_of(config: Any, path: str) -> ClipSpec:
    """The simulated clips of a classifier's config; ConfigError for other data."""
    if not path.startswith(SIMULATED):
        hint = "name a classifier of simulated clips first"
        raise ConfigError(f"{path} can't be drawn again", place="--checkpoint", hint=hint)
    given = {**dict(config.data.simulated), "kind": path.removeprefix(SIMULATED)}
    return sections.read(ClipSpec, given, "data.simulated")


def measure(names: Sequence[str], split: str, count: int) -> dict[str, Any]:
    """`report` of every checkpoint, and `compare` of the first with the others."""
    opened = [checkpoints.load(name) for name in names]
    recognizers = [recognize.load(one) for one in opened]
    config = opened[0].config
    spec = spec_of(config, str(config.data.path))
    for name, one in zip(names, recognizers, strict=True):
        if set(one.labels) != set(classes(spec)) or one.labels != recognizers[0].labels:
            raise ConfigError("has other classes than the clips", file=name)
    found: list[list[np.ndarray]] = [[] for _ in names]
    labels = []
    for clip in tqdm(drawn(spec, split, count), total=count, unit="clip", disable=None):
        labels.append(recognizers[0].labels.index(clip.label))
        with tempfile.TemporaryDirectory() as folder:
            written = write(clip, Path(folder))
            for rows, recognizer in zip(found, recognizers, strict=True):
                rows.append(answers(recognizer, written))
    right, tables = np.array(labels), [np.stack(rows) for rows in found]
    result: dict[str, Any] = {"clips": count, "split": split}
    result["checkpoints"] = [
        {"checkpoint": name, **report(table, right)}
        for name, table in zip(names, tables, strict=True)
    ]
    result["compared"] = [
        {"checkpoint": name, **compare(tables[0], table, right)}
        for name, table in zip(names[1:], tables[1:], strict=True)
    ]
    return result


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bodyjax.bench.encodings", description=__doc__)
    parser.add_argument("--checkpoint", action="append", required=True)
    parser.add_argument("--split", choices=("valid", "test"), default="test")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--json", help="write what is printed to a file as well")
    options = parser.parse_args(arguments)
    rows.print_json(
        parser, lambda: measure(options.checkpoint, options.split, options.clips), options.json
    )


if __name__ == "__main__":
    main(sys.argv[1:])
