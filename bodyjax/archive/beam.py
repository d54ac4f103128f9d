"""An archive on Apache Beam (extra `beam`): the same shards, each an element.

Every worker needs the archive's folder and the source under the same paths: a shared file system.
Beam's own counters see only what ran since the last start; counts come from the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from bodyjax.archive import manifest as manifests
from bodyjax.archive import marks, results
from bodyjax.archive.local import STARTS, Open, Say
from bodyjax.archive.shard import Counts, do_shard
from bodyjax.errors import ConfigError, UserError

LOCAL = "FnApiRunner"
"""Beam's runner on this machine. DirectRunner is refused: where there is internet it downloads a
program and runs that instead."""


class _Held:
    """Work that can be shared: `Shared` needs a weak reference, which a tuple can't have."""

    def __init__(self, open_work: Open) -> None:
        self.work = open_work()


class _DoShard(apache_beam.DoFn):
    """The key of a shard to its counts; a process opens the checkpoint once."""

    def __init__(self, out: str, root: str, open_work: Open) -> None:
        self.out, self.root, self.open_work = Path(out), Path(root), open_work
        self.shared = Shared()

    def setup(self) -> None:
        self.manifest = manifests.read(self.out)
        self.held = self.shared.acquire(lambda: _Held(self.open_work))

    def process(self, key: str) -> Iterator[Counts]:
        # Beam does not say how a worker died: what an earlier one had in hand is to blame.
        if marks.left(self.out, key) is not None:
            known = marks.blame(self.out, key, "its process ended")
            if len(known.get(marks.NOBODY, ())) >= STARTS:
                marks.forget(self.out, key)
                raise UserError("workers die on it", file=self.out, place=f"shard {key}")
        yield do_shard(self.out, key, self.manifest, self.root, self.held.work)


def run(
    out: Path,
    root: Path,
    open_work: Open,
    workers: int,
    say: Say,
    *,
    runner: str,
    options: Sequence[str] = (),
    allow_ports: bool = False,
) -> None:
    """Finishes all shards of the archive `out` with a runner of Beam and its further `options`
    (["--region=..."]).

    LOCAL with one worker runs in this process, with several it starts processes and opens ports on
    all interfaces without a password: refused unless `allow_ports`, or if this machine's network
    (here: network namespace) is the loopback alone. Beam does not start workers anew here: if one
    dies, end the command and repeat it. ConfigError for other impossible wishes; UserError if the
    pipeline fails. `say` gets the counts at the end.
    """
    words = [f"--runner={runner}", *options]
    if runner == "DirectRunner":
        raise ConfigError("downloads a program", place="--runner DirectRunner", hint=LOCAL)
    if runner == LOCAL and workers > 1:
        if not allow_ports and not _alone():
            what = "Beam's workers open ports on all interfaces, to anyone"
            hint = "--allow-ports, --workers 1, --engine local, or: unshare -rn sh -c 'ip link ...'"
            raise ConfigError(what, place="--workers", hint=hint)
        words += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    elif runner == LOCAL:
        words += ["--direct_running_mode=in_memory"]
    manifest = manifests.read(out)
    before = results.totals(out, manifest)
    todo = [k for k in manifest.shard_keys() if not results.finished(out, k, manifest.kind)]
    try:
        with apache_beam.Pipeline(options=PipelineOptions(words)) as pipeline:
            keys = pipeline | apache_beam.Create(todo, reshuffle=True)
            _ = keys | apache_beam.ParDo(_DoShard(str(out), str(root), open_work))
    except Exception as error:  # each runner has its own; the last line of its text is the cause
        told = " ".join(str(error).splitlines()[0].split()) if str(error) else ""
        raise UserError(f"Beam failed ({type(error).__name__}: {told[:300]})", file=out) from error
    after = results.totals(out, manifest)
    say(Counts(after.clips - before.clips, after.dead - before.dead))


def _alone() -> bool:
    """Whether this process sees no network but the loopback."""
    try:
        lines = Path(f"/proc/{os.getpid()}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return False
    return {line.partition(":")[0].strip() for line in lines} <= {"lo"}
