"""Runs a checkpoint on every clip of a large folder, with workers that may die, and resumes.

bodyjax archive --checkpoint NAME --source FOLDER|LIST --out DIR [--workers N]
    [--format jsonl|parquet] [--engine local|beam] [--runner RUNNER] [--allow-ports]
    [--on-bad skip] [--exercise NAME] [the detector's flags] [-- OPTIONS OF BEAM]

LIST: a text file with a path a line. DIR gets results/ (a line a clip, in shards), dead/ (clips
that gave no result, and why), manifest.json and summary.html. The same command resumes where it
stopped; another checkpoint, source, option or version of the code is refused in the same DIR.
--engine beam needs --runner (FnApiRunner runs here). Exit codes: 0 done, dead letters or not; 2 a
mistake in the input; 3 stopped.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodyjax import files
from bodyjax.commands import flags, outputs
from bodyjax.commands.outputs import Output
from bodyjax.errors import ConfigError, UserError

if TYPE_CHECKING:
    from bodyjax.archive import Counts, Manifest, Work
    from bodyjax.engine.checkpoint import Checkpoint

ENGINES = ("local", "beam")
EVERY = 10.0
"""Seconds between two lines of progress at least."""


def main(arguments: list[str]) -> int:
    words, beam_options = split(arguments)
    parser = flags.parser("archive", __doc__)
    parser.add_argument("--checkpoint", required=True, help="a run's folder, or shipped weights")
    parser.add_argument(
        "--source", required=True, type=flags.named_path, help="a folder, or a list of files"
    )
    parser.add_argument("--out", required=True, type=flags.named_path, help="the archive's folder")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument("--format", default="jsonl", choices=("jsonl", "parquet"))
    parser.add_argument("--engine", default="local", choices=ENGINES)
    parser.add_argument("--runner", help="Beam's: FnApiRunner, DataflowRunner, FlinkRunner ...")
    parser.add_argument(
        "--allow-ports", action="store_true", help="let Beam's local workers open ports to anyone"
    )
    parser.add_argument(
        "--on-bad", choices=("raise", "skip"), help="skip: read what is whole of damaged videos"
    )
    parser.add_argument("--exercise", help="which one is done, for scorers that need to know it")
    flags.add_detector_flags(parser)
    options = parser.parse_args(words)
    given = flags.detector_settings(options)
    given |= {k: v for k in ("on_bad", "exercise") if (v := getattr(options, k)) is not None}
    check(options, beam_options)
    if options.engine == "beam":
        engine = beam_engine(options.runner, beam_options, options.allow_ports)
    else:
        from bodyjax.archive import local

        engine = local.run
    return archive(options, given, engine)


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The command's own words, and those behind "--"."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def check(options: Any, beam_options: list[str]) -> None:
    """Refuses what it can before anything is loaded."""
    from bodyjax.archive import results

    if options.workers < 1:
        raise ConfigError(f"{options.workers} workers", place="--workers", hint="1 or more")
    if options.engine == "beam" and not options.runner:
        hint = "FnApiRunner runs on this machine"
        raise ConfigError("beam needs to know where it runs", place="--runner", hint=hint)
    if options.engine == "local":
        others = {"--runner": options.runner, "--allow-ports": options.allow_ports}
        others["options behind --"] = beam_options
        for flag, value in others.items():
            if value:
                raise ConfigError(f"{flag} belong to --engine beam")
    if not options.source.exists():
        raise UserError("no such folder or list", file=options.source, place="--source")
    reads = {options.source: "the source"} | outputs.of_checkpoint(options.checkpoint)
    outputs.keep_apart([Output("--out", options.out, folder=True)], reads)
    results.check_kind(options.format)


def beam_engine(runner: str, options: list[str], allow_ports: bool) -> Callable[..., None]:
    """archive.beam.run with its runner; UserError if Beam is not installed."""
    try:
        from bodyjax.archive import beam
    except ModuleNotFoundError as error:
        if "apache_beam" not in str(error):
            raise
        hint = "pip install 'bodyjax[beam]', or --engine local"
        raise UserError("Apache Beam is not installed", place="--engine beam", hint=hint) from None
    return partial(beam.run, runner=runner, options=options, allow_ports=allow_ports)


def archive(options: Any, given: Mapping[str, Any], engine: Callable[..., None]) -> int:
    """Lists the source, runs what is not finished, and writes the page about it."""
    from bodyjax.archive import manifest as manifests
    from bodyjax.archive import results, summary

    out: Path = options.out
    work, made_of, about = fingerprints(options.checkpoint, given)
    source = manifests.listed(options.source, work.endings)
    made_of = {"source": manifests.fingerprint(source.rows), **made_of}
    about = {"source": f"{len(source.rows)} clips of {options.source}", **about}
    if source.passed_over:
        print(f"passed over: {source.passed_over}", file=sys.stderr)
    with manifests.locked(out):
        manifest = manifests.begin(out, source.rows, made_of, about, options.format, work.batch)
        del work, source.rows[:]  # the workers have their own
        files.remove_leftovers(out)
        before = results.totals(out, manifest)
        if before.clips or before.dead:
            print(f"there already: {before.clips + before.dead} clips", file=sys.stderr)
        todo = sum(not results.finished(out, k, manifest.kind) for k in manifest.shard_keys())
        if todo:
            left = manifest.clips - before.clips - before.dead
            print(f"to do: {left} clips, in shards: {todo}", file=sys.stderr)
        open_work = partial(opened, options.checkpoint, dict(given))
        say = progress(manifest, before.clips + before.dead)
        engine(out, source.root, open_work, options.workers, say)
        told = summary.gathered(out, manifest)
        if told.clips + told.dead != manifest.clips:
            raise UserError("shards are missing", file=out, hint="repeat the command")
        digest = results.digest(out, manifest)
        page = summary.write(out, source.root, manifest, told, digest)
    print(f"clips: {manifest.clips}, with a result {told.clips}, dead letters {told.dead}")
    for label, count in told.classes.most_common():
        print(f"  {label}: {count}")
    print(f"sha256 of all rows: {digest}")
    print(f"summary: {page}")
    return 0


def opened(checkpoint: str, given: Mapping[str, Any]) -> Work:
    """What the checkpoint's system does with a clip: called in every worker."""
    from bodyjax.engine import checkpoint as checkpoints
    from bodyjax.engine import compiled

    compiled.keep()
    return work_of(checkpoints.load(checkpoint), given)


def work_of(found: Checkpoint, given: Mapping[str, Any]) -> Work:
    """Of a checkpoint; ConfigError for an option in `given`, by its name in the task, that its
    system lacks."""
    from bodyjax import tasks

    function = tasks.offered(found.system, "archive")
    if function is None:
        raise UserError(f"system {found.system} works on no archives", file=found.path)
    flags.check_options(function, given, found.system)
    work: Work = function(found, **given)
    return work


def fingerprints(
    checkpoint: str, given: Mapping[str, Any]
) -> tuple[Work, dict[str, str], dict[str, str]]:
    """The work with what it is made of, as digests and in words."""
    from bodyjax.engine import checkpoint as checkpoints
    from bodyjax.engine import digest, run_folder

    found = checkpoints.load(checkpoint)
    work = work_of(found, given)
    config = json.dumps(found.config.to_dict(), sort_keys=True)
    versions = run_folder.versions()
    versions |= {name: importlib.metadata.version(name) for name in ("av", "pillow")}
    named = ", ".join(f"{k} {v}" for k, v in versions.items())
    chosen = json.dumps(dict(given), sort_keys=True)
    made_of = {
        "checkpoint": sha256(digest.digest(work.variables), config),
        "options": sha256(chosen),
        "code": sha256(digest.code(), named),
    }
    return work, made_of, {"checkpoint": checkpoint, "options": chosen, "code": named}


def sha256(*words: str) -> str:
    """A digest of words."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def progress(manifest: Manifest, before: int) -> Callable[[Counts], None]:
    """Prints how many clips are done, how many a second, and the time left, when a shard is
    finished, but not more often than every EVERY seconds."""
    began = said = time.monotonic()
    done = 0

    def say(counts: Counts) -> None:
        nonlocal said, done
        done += counts.clips + counts.dead
        now = time.monotonic()
        if now - said >= EVERY:
            said = now
            print(line(before + done, manifest.clips, done / (now - began)), file=sys.stderr)

    return say


def line(done: int, clips: int, rate: float) -> str:
    """How far an archive is, with `rate` clips a second."""
    seconds = round((clips - done) / rate) if rate else 0
    left = f"{seconds // 3600} h {seconds // 60 % 60} min" if seconds >= 3600 else ""
    left = left or (f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s")
    return f"{done} of {clips} clips, {rate:.3g} a second, {left} left"
