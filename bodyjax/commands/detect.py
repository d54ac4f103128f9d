"""Finds people in pictures and videos.

bodyjax detect --checkpoint NAME --input FILE|FOLDER [--out overlay] [--json result.json]
    [--ids labels.json] [--min-score S] [--max-people N] [--second NAME] [--on-bad skip]
    [--every N] [--gallery page.html]
bodyjax detect --checkpoint NAME --input CAMERA|ADDRESS [--allow-network] [--page PORT]

--out is a file for one picture or video, a folder for a folder. The JSON is a COCO results list:
each person has image_id (number of the file among those of the folder, or of the video's frame),
file_name, keypoints (COCO's 17 joints, or the detector's own for a custom skeleton), score and bbox
(x, y, width, height), found (joints that are more than a guess), overflow (people and peaks of the
picture beyond what is kept, also reported at the end); in videos also frame, time, identity and
bridged. --ids LABELS.json gives pictures the image_id that a COCO file has for them, by name, and
passes over the files that it does not list. Without --json the result is printed. People below
--min-score are left out and counted. Exit codes: 0 done; 1 some files could not be read, the others
are done; 2 a mistake in the input.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bodyjax import files
from bodyjax.commands import flags, gallery, live, outputs
from bodyjax.commands.outputs import Output
from bodyjax.data.video.live import is_live
from bodyjax.data.video.writing import WRITTEN
from bodyjax.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:
    import numpy as np

    from bodyjax.detect.detector import Detector
    from bodyjax.detect.videos import FramePeople
    from bodyjax.skeleton import Skeleton

EXIT_SOME_BAD = 1

MOST_PEOPLE = 200
"""The largest --max-people: time and memory of grouping grow with it."""


MOST_EVERY = 1000
"""The largest --every."""
MOST_BATCH = 256
"""The largest --batch."""


PICTURES_WRITTEN = tuple(e for e in files.PICTURES if e not in (".heic", ".heif"))
"""Endings that an overlay of a picture may have."""


class Read(NamedTuple):
    """A file's people (COCO results), how many were left out for their score, how many pictures or
    frames have more people than are kept, whether it is a picture of several frames (only the first
    is read), how many pictures of a video can't be decoded, and how many seem to be lost."""

    people: list[dict[str, Any]]
    left_out: int
    full: int
    several: bool = False
    damaged: int = 0
    lost: int = 0


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    settings = flags.detector_settings(options)
    least = flags.least_score(options.min_score)
    batch = flags.whole_number(options.batch, "--batch", MOST_BATCH)
    every = None
    if options.every is not None:
        every = flags.whole_number(options.every, "--every", MOST_EVERY)
    if options.max_people is not None:
        settings["max_people"] = flags.whole_number(options.max_people, "--max-people", MOST_PEOPLE)
    for flag in ("input", "ids", "checkpoint", "second"):
        if getattr(options, flag) == "":  # "" would be the folder where one stands
            raise ConfigError("is empty", place=f"--{flag}", hint="name a file or folder")
    watching = is_live(options.input) and not Path(options.input).exists()
    if watching:
        live.check(options)
    elif options.page is not None:
        raise ConfigError("--page is for cameras and streams", hint="--out draws files")
    root = Path(options.input)
    found_files = files.Listing([]) if watching else input_files(root)
    ids = picture_ids(root, found_files.files, options.ids) if options.ids else {}
    inputs = list(ids) if options.ids else found_files.files
    also = {Path(options.ids): "the file of ids"} if options.ids else {}
    if options.gallery is not None and options.out is None:
        raise ConfigError("--gallery shows overlays", hint="say where they go: --out FOLDER")
    page = Output("--gallery", options.gallery)
    targets = {} if watching else check_outputs(options, inputs, also, page)

    detector = _load(options.checkpoint, settings, batch)
    least = detector.settings.min_person if least is None else least
    if watching:
        return live.run(detector, options, every, least)
    people: list[dict[str, Any]] = []
    bad: list[str] = []
    weak = full = several = damaged = lost = 0
    read = _read(detector, inputs, targets, least, options.on_bad, every, batch)
    for number, (file, found) in enumerate(_bar(read, len(inputs), "file")):
        if isinstance(found, DataError):
            bad.append(str(found))
            targets.pop(file, None)  # it may be there from an earlier run
            continue
        weak, full = weak + found.left_out, full + found.full
        several, damaged = several + found.several, damaged + found.damaged
        lost += found.lost
        name = str(file.relative_to(root)) if root.is_dir() else file.name
        for person in found.people:
            if not files.is_video(file):
                person["image_id"] = ids.get(file, number)
            people.append({**person, "file_name": name})
    text = json.dumps(people)
    if options.json:
        files.write_text(options.json, text + "\n")
    else:
        print(text)
    if options.gallery:
        gallery.write(Path(options.gallery), root, targets, people)
    unlisted = len(found_files.files) - len(inputs)
    if unlisted:
        print(f"{unlisted} files that {options.ids} does not list passed over", file=sys.stderr)
    summary(found_files._replace(files=inputs), len(bad), len(people), full, weak, several, damaged)
    if lost:
        what = counted(lost, "frame seems to be lost", "frames seem to be lost")
        print(f"{what}: the times of videos leave room for more", file=sys.stderr)
    for line in bad:
        print(f"error: {line}", file=sys.stderr)
    return flags.EXIT_USER_ERROR if len(bad) == len(inputs) else EXIT_SOME_BAD if bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = flags.parser("detect", __doc__)
    parser.add_argument("--checkpoint", default="small", help="a run's folder or shipped weights")
    parser.add_argument(
        "--input",
        required=True,
        help="a picture, a video, a folder of them, a camera's number, or a stream's address",
    )
    parser.add_argument(
        "--allow-network", action="store_true", help="an address (rtsp, http, https) may be read"
    )
    parser.add_argument(
        "--page", metavar="PORT", help="show a camera or stream on 127.0.0.1 (0: any free port)"
    )
    parser.add_argument("--out", help="overlay: a file, or a folder for a folder")
    parser.add_argument("--json", help="file for the result")
    parser.add_argument("--ids", help="COCO file whose picture ids the result gets")
    parser.add_argument("--gallery", help="an HTML page of all overlays, which --out writes")
    parser.add_argument(
        "--min-score", help="leave out people below this score, 0 to 1 (default: the detector's)"
    )
    parser.add_argument("--max-people", help="the most people of a picture (default: 20)")
    parser.add_argument(
        "--on-bad", choices=("raise", "skip"), default="raise",
        help="skip: read what is whole of damaged videos",
    )  # fmt: skip
    parser.add_argument(
        "--every",
        help="the first network looks at one in so many frames of a video; in between, a second "
        "look follows people, or joints are interpolated (default: 5 with --second, otherwise 1)",
    )
    parser.add_argument(
        "--batch", default="1", help="pictures that the network sees at once, for a GPU (1)"
    )
    flags.add_detector_flags(parser)
    return parser


def _load(checkpoint: str, settings: dict[str, Any], batch: int) -> Detector:
    """The detector, for single pictures from programs kept between runs where there is a folder for
    them."""
    gc.set_threshold(100_000, 20, 20)  # imports and tracing leave objects: a tenth of the start
    from bodyjax import detect
    from bodyjax.engine import compiled

    kept = compiled.keep()
    if settings.get("max_people", 0) > detect.Settings.max_peaks:
        settings["max_peaks"] = settings["max_people"]  # as many of each joint
    if kept is None or batch > 1:
        return detect.load(checkpoint, **settings)
    return detect.load_kept(kept / "traced", checkpoint, **settings)


def summary(
    found: files.Listing, bad: int, people: int, full: int, weak: int, several: int, damaged: int
) -> None:
    """One line on stderr: what was read and what was not."""
    count = len(found.files)
    parts = [f"{count - bad} of {counted(count, 'file')} read", counted(people, "result")]
    for number, one, many in (
        (weak, "person below the least score left out", "people below the least score left out"),
        (found.others, "file that is no picture or video", "files that are no pictures or videos"),
        (found.hidden, "hidden file passed over", "hidden files passed over"),
        (found.broken, "link to nothing", "links to nothing"),
        (found.linked, "link to a folder passed over", "links to folders passed over"),
        (found.closed, "folder that may not be read", "folders that may not be read"),
        (several, "picture of several frames or pages, only the first read", ""),
        (damaged, "damaged picture of videos left out", ""),
        (full, "picture with more people or peaks than are kept", ""),
    ):
        if number:
            parts.append(counted(number, one, many or one.replace("picture", "pictures", 1)))
    print(", ".join(parts), file=sys.stderr)


def counted(number: int, one: str, many: str = "") -> str:
    """1 person, 2 people."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def input_files(root: Path) -> files.Listing:
    """The pictures and videos at a path, and how many other files were skipped."""
    if root.is_file():
        return files.Listing([root])
    if not root.is_dir():
        raise DataError("no such file or folder", file=root)
    endings = files.PICTURES + files.VIDEOS
    found = files.listed(root, endings)
    if not found.files:
        raise DataError("no pictures or videos", file=root, hint=" ".join(endings))
    return found


def picture_ids(root: Path, inputs: list[Path], labels: str) -> dict[Path, Any]:
    """The pictures that a COCO file lists, with its id of each, in their order."""
    from bodyjax.data.pictures.coco_files import ids_of

    base = root if root.is_dir() else root.absolute().parent
    pictures = [file for file in inputs if not files.is_video(file)]
    if not pictures:
        raise ConfigError("no pictures: ids are of pictures", file=root, place="--ids")
    names = [str(file.absolute().relative_to(base.absolute())) for file in pictures]
    ids = zip(pictures, ids_of(labels, names), strict=True)
    return {file: one for file, one in ids if one is not None}


def check_outputs(
    options: argparse.Namespace, inputs: list[Path], also: Mapping[Path, str], *more: Output
) -> dict[Path, Path]:
    """Where the overlay of each file goes. UserError unless these, the JSON and `more` can be
    written, away from the input, the checkpoints and what is read `also`."""
    root, out = Path(options.input), options.out
    reads = dict.fromkeys(inputs, "an input") | ({root: "the input"} if root.is_dir() else {})
    reads |= outputs.of_checkpoint(options.checkpoint, options.second) | dict(also)
    written = [Output("--json", options.json), *more]
    targets = {}
    if out is not None:
        several = root.is_dir() or Path(out).is_dir()
        if several or out == "":
            written.append(Output("--out", out, folder=True))
        if out:
            targets = overlay_files(root, inputs, Path(out), several)
            written += [Output("--out", target) for target in targets.values()]
    outputs.check(written, reads)
    return targets


def overlay_files(root: Path, inputs: list[Path], out: Path, several: bool) -> dict[Path, Path]:
    """Where the overlay of each file goes: OUT itself, or in a folder OUT the file's full name and
    .png, for videos .mp4, so that no two files share an overlay."""
    if not several:
        known = WRITTEN if files.is_video(root) else PICTURES_WRITTEN
        if out.suffix.lower() not in known:
            hint = f"use {' '.join(known)}"
            raise UserError("the ending does not fit the overlay", file=out, hint=hint)
        return {root: out}
    base = root if root.is_dir() else root.parent
    return {
        file: outputs.overlay(out, file.relative_to(base), video=files.is_video(file))
        for file in inputs
    }


def _read(
    detector: Any,
    inputs: list[Path],
    targets: Mapping[Path, Path],
    least: float,
    on_bad: str,
    every: int | None,
    batch: int,
) -> Iterator[tuple[Path, Read | DataError]]:
    """What each file holds, or why it can't be read: in order, pictures `batch` at a time."""
    waiting: list[Path] = []
    for file in inputs:
        if not files.is_video(file):
            waiting.append(file)
        if len(waiting) == batch or (waiting and files.is_video(file)):
            yield from _pictures(detector, waiting, targets, least, batch)
            waiting = []
        if files.is_video(file):
            try:
                yield file, _video(detector, file, targets.get(file), least, on_bad, every)
            except DataError as error:
                yield file, error
    yield from _pictures(detector, waiting, targets, least, batch)


def _pictures(
    detector: Any, inputs: list[Path], targets: Mapping[Path, Path], least: float, batch: int
) -> Iterator[tuple[Path, Read | DataError]]:
    from bodyjax import detect
    from bodyjax.data.pictures.images import any_picture, has_several
    from bodyjax.detect.found import write_picture

    read: dict[Path, np.ndarray | DataError] = {}
    for file in inputs:
        try:
            read[file] = any_picture(file)
        except DataError as error:
            read[file] = error
    whole = [picture for picture in read.values() if not isinstance(picture, DataError)]
    each = iter(detect.find(detector, whole, min_score=least, batch=batch))
    for file, picture in read.items():
        if isinstance(picture, DataError):
            yield file, picture
            continue
        found = next(each)
        try:
            if file in targets:
                write_picture(found.plot(), targets[file])
            several = has_several(file)
        except DataError as error:
            yield file, error
        else:
            yield file, Read(found.coco(), found.left_out, int(found.overflow > 0), several)


def _video(
    detector: Any, file: Path, target: Path | None, least: float, on_bad: str, every: int | None
) -> Read:
    from bodyjax import detect, skeleton
    from bodyjax.data.video.files import open_video
    from bodyjax.data.video.writing import write_overlay
    from bodyjax.detect import videos

    clip = open_video(file, on_bad)
    frames = detect.in_video(
        detector, clip, every=every, progress=lambda it, count: _bar(it, count, "frame")
    )
    full = sum(people.overflow > 0 for people in frames)
    frames, left_out = videos.without_weak(frames, least)
    if target is not None:
        bones = skeleton.reported(detector.skeleton)
        pairs = zip(clip.iter_frames(), frames, strict=True)
        write_overlay(target, (drawn(image, people, bones) for image, people in pairs), clip)
    results = videos.coco_list(frames, clip)
    return Read(results, left_out, full, damaged=clip.left_out, lost=clip.gaps)


def drawn(image: np.ndarray, people: FramePeople, bones: Skeleton) -> np.ndarray:
    """A frame with the joints that were found (guesses are in the JSON only) and each person's
    number."""
    from bodyjax import draw

    numbers = people.identity.tolist()
    return draw.skeletons(image, people.xy, people.shown, bones, numbers=numbers)


def _bar(items: Iterable[Any], count: int, unit: str) -> Iterator[Any]:
    """The items, with a progress bar on a terminal where there are several."""
    from tqdm import tqdm

    quiet = count < 2 or not sys.stderr.isatty()
    yield from tqdm(items, total=count, unit=unit, disable=quiet, leave=unit == "file")
