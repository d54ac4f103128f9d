"""The embedded data as files: labelled mp4 clips in a cache folder, made on first use.

    ROOT/{train,valid,test}/CLASS/00012.mp4     H.264
    ROOT/{train,valid,test}/CLASS/00012.json    labels (see `describe`)
    ROOT/manifest.json                          spec, version, SHA-256 of every file

`ensure` makes what is missing, damaged or outdated, and nothing else. Splits differ in bodies,
cameras and seeds: every clip has its own seed.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bodyjax.errors import ConfigError, DataError, VideoError
from bodyjax.files import default_cache, remove_leftovers, sha256, whole, write_text
from bodyjax.simulate import film
from bodyjax.simulate.exercises import EXERCISES, FAULTS, VIEWS
from bodyjax.simulate.film import Clip, picture
from bodyjax.simulate.motion import COMMANDS, ONE_WAY

__all__ = ["VERSION", "ClipSpec", "classes", "describe", "ensure", "picture"]

VERSION = 4
"""Version of the generator: raised with every change of its pixels, so that caches are rebuilt."""

SPLITS = ("train", "valid", "test")
KINDS = {"commands": COMMANDS, "exercises": EXERCISES, "one_way": ONE_WAY}


@dataclass(frozen=True)
class ClipSpec:
    """A set of clips: kind "commands", "exercises" or "one_way"; clips per class in each split;
    size (W, H), both even; frames per second; range of frames; seed."""

    kind: str = "commands"
    train: int = 40
    valid: int = 8
    test: int = 12
    size: tuple[int, int] = (192, 144)
    fps: float = 15.0
    length: tuple[int, int] = (40, 64)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"no simulated set {self.kind!r}", hint=f"one of {', '.join(KINDS)}")
        if any(side <= 0 or side % 2 for side in self.size):
            raise ConfigError(f"size {self.size} must be even and positive (H.264, 4:2:0)")
        if not 8 <= self.length[0] <= self.length[1]:
            raise ConfigError(f"length {self.length} must be a range of at least 8 frames")
        if min(self.train, self.valid, self.test) < 0 or self.fps <= 0:
            raise ConfigError("clips per class and frames per second must not be negative")


def classes(spec: ClipSpec) -> tuple[str, ...]:
    """Class names of a set, in their order."""
    return KINDS[spec.kind]


def clip_seed(spec: ClipSpec, split: str, label: str, index: int) -> int:
    """The seed of one clip, below 2**63: other clips, classes, splits and sets get different
    seeds."""
    name = f"{spec.kind}/{spec.seed}/{split}/{label}/{index}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def role(label: str, index: int) -> tuple[str, str | None]:
    """(view, fault) of clip `index` of a class: views alternate, every second pair is standard
    (fault None), the rest goes through the exercise's faults in turn. Commands have no fault."""
    if label not in FAULTS:
        return "front", None
    faults = tuple(FAULTS[label])
    view, pair = VIEWS[index % 2], index // 2
    return view, faults[pair // 2 % len(faults)] if pair % 2 else None


def expected(spec: ClipSpec) -> Iterator[tuple[str, str, int, str]]:
    """(split, class, index, path below the root without ending) of every clip of the set."""
    for split in SPLITS:
        for label in classes(spec):
            for index in range(getattr(spec, split)):
                yield split, label, index, f"{split}/{label}/{index:05d}"


def ensure(
    spec: ClipSpec,
    cache: Path | None = None,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """The folder with all clips of `spec`; missing, damaged and outdated ones are made first.

    cache: folder of all sets, default $BODYJAX_CACHE, else ~/.cache/bodyjax. workers: processes
    (started by spawn; default one per core, at most 8); 0 works in this process. DataError if the
    folder cannot be written. A stopped run loses at most the clips of its last moments: the next
    run continues.
    """
    root = (cache or default_cache()) / f"{spec.kind}-{_digest(asdict(spec))[:12]}"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make the cache: {error.strerror}", file=str(root), hint="set BODYJAX_CACHE"
        ) from error
    jobs = {path: (split, label, index) for split, label, index, path in expected(spec)}
    known = _read_manifest(root, spec)
    good = {path: known[path] for path in jobs if path in known and _intact(root, known[path])}
    todo = [path for path in jobs if path not in good]
    if not todo:
        return root
    remove_leftovers(root)
    if workers is None:
        workers = min(os.cpu_count() or 1, 8)
    tasks = [(spec, str(root), *jobs[path], path) for path in todo]
    bar = tqdm(
        total=len(jobs), initial=len(good), desc=f"simulated {spec.kind}", unit="clip",
        disable=not progress,
    )  # fmt: skip
    try:
        for number, (path, sums) in enumerate(_results(tasks, workers), 1):
            good[path] = sums
            bar.update()
            if number % 25 == 0:
                _write_manifest(root, spec, good)
    finally:
        bar.close()
        _write_manifest(root, spec, good)
    return root


def _results(tasks: list[tuple[Any, ...]], workers: int) -> Iterator[tuple[str, dict[str, str]]]:
    """(path, sums) of every task as it is done."""
    if workers == 0 or len(tasks) == 1:
        yield from map(make_clip, tasks)
        return
    # never fork: the caller may hold a device or threads
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context)
    try:
        with _ctrl_c_for_this_process():
            futures = [pool.submit(make_clip, task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_for_this_process() -> Iterator[None]:
    """Processes started inside get no SIGINT: a terminal sends it to all processes, and each worker
    would show a traceback. This process gets it at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def make_clip(task: tuple[Any, ...]) -> tuple[str, dict[str, str]]:
    """Make one clip: its mp4 and, last, its JSON. Returns its path and the SHA-256 of both."""
    spec, root, split, label, index, path = task
    seed = clip_seed(spec, split, label, index)
    view, fault = role(label, index)
    clip = film.clip(
        label, seed, size=spec.size, fps=spec.fps, length=spec.length, view=view, fault=fault,
        one_way=spec.kind == "one_way",
    )  # fmt: skip
    base = Path(root) / path
    base.parent.mkdir(parents=True, exist_ok=True)
    sums = {}
    video = base.with_suffix(".mp4")
    with whole(video) as temporary:
        write_h264(temporary, clip.film.frames, spec.fps)
        sums[f"{path}.mp4"] = sha256(temporary)
    text = json.dumps(describe(clip, seed), separators=(",", ":"))
    sums[f"{path}.json"] = hashlib.sha256(text.encode()).hexdigest()
    write_text(base.with_suffix(".json"), text)
    return path, sums


def describe(clip: Clip, seed: int) -> dict[str, Any]:
    """The label file of a clip.

    class, seed, fps, size [W, H], frames, repetitions, view ("front" or "side"), fault (a name or
    null: standard), guilty (joint names that make the fault), joints (COCO17 names), xy (T, P, J,
    2) pixels, visible (T, P, J) in {0 outside, 1 hidden, 2 seen}, xyz (T, P, J, 3) and h36m (T, P,
    17, 3) mm in the camera frame, camera {matrix, rotation, position}."""
    made = clip.film
    return {
        "class": clip.label,
        "seed": seed,
        "version": VERSION,
        "fps": clip.fps,
        "size": list(made.camera.size),
        "frames": len(made.frames),
        **clip.details,
        "joints": list(film.COCO),
        "h36m_joints": list(film.H36M),
        "xy": np.round(made.xy, 3).tolist(),
        "visible": made.visible.tolist(),
        "xyz": np.round(made.xyz, 2).tolist(),
        "h36m": np.round(made.h36m, 2).tolist(),
        "camera": made.camera.to_json(),
    }


def write_h264(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write (T, H, W, 3) uint8 as H.264 (crf 23, a keyframe every 12 frames), one thread: the same
    frames give the same file. VideoError with ffmpeg's last line if it fails."""
    import imageio_ffmpeg  # 165 MB binary: found when needed

    height, width = frames.shape[1:3]
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-nostdin"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps)),
        *("-i", "pipe:0", "-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23"),
        *("-g", "12", "-pix_fmt", "yuv420p", "-threads", "1", "-map_metadata", "-1"),
        *("-fflags", "+bitexact", "-movflags", "+faststart", str(path)),
    ]
    done = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise VideoError(f"ffmpeg could not write the clip: {lines[-1]}", file=str(path))


def _read_manifest(root: Path, spec: ClipSpec) -> dict[str, dict[str, str]]:
    """path -> sums of the clips that a manifest of this spec and version names; {} otherwise."""
    try:
        manifest = json.loads((root / "manifest.json").read_text())
        same = manifest["version"] == VERSION and manifest["spec"] == _plain(asdict(spec))
        return dict(manifest["clips"]) if same else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_manifest(root: Path, spec: ClipSpec, clips: dict[str, dict[str, str]]) -> None:
    manifest = {"version": VERSION, "spec": asdict(spec), "clips": dict(sorted(clips.items()))}
    write_text(root / "manifest.json", json.dumps(manifest, indent=1))


def _intact(root: Path, sums: dict[str, str]) -> bool:
    """Whether the files of a clip exist with the contents that the manifest names."""
    try:
        return len(sums) == 2 and all(sha256(root / name) == sums[name] for name in sums)
    except (OSError, TypeError):
        return False


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(value))


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
