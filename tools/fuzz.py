"""Damages files and reads them with the project's own readers, in processes of their own.

PYTHONPATH=. python tools/fuzz.py [--kinds videos pictures coco csv checkpoints] [--count 50]
    [--seed 0] [--out DIR] [--limit 60]

File number S of a kind is the same whenever the seed is S. A child process reads file after file;
the parent ends it if one takes longer than --limit seconds ("hang"), and starts another one if it
dies ("crash"). Once in 50 files, and at its end, a child must be back at the threads, processes and
open files it began with ("leak"). Prints a line of JSON a kind: seconds, and how many files had
each outcome (tools/fuzz_kinds.py); faults are listed with their seeds, and --out keeps their files.
Exit code 1 if there is a hang, a crash, a leak, an exception that is not a one-line error, a frame
in place of another ("wrong frame"), or one that differs although no decoder complained ("silent").
Motion JPEG and VP9 can't show all damage: their frames are counted and listed only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tools import fuzz_kinds

FINE = ("right", "error", "other")
"""Outcomes that need no second look."""
CHECK_EVERY = 50


# ---- the child ----


def child(kind: str, bases: Path, work: Path) -> int:
    """Reads a seed a line, answers a line of JSON each."""
    warnings.simplefilter("ignore")  # of Pillow, about odd files
    before: list[int] | None = None
    for number, line in enumerate(sys.stdin):
        seed = int(line)
        answer = {"seed": seed, **outcome(kind, bases, work, seed)}
        if before is None:
            before = holdings()
        elif number % CHECK_EVERY == 0 and answer["outcome"] in FINE and (leak := leaked(before)):
            answer |= {"outcome": "leak", "text": leak}
        print(json.dumps(answer), flush=True)
    leak = leaked(before) if before else ""
    print(json.dumps({"end": leak}), flush=True)
    return 0


def outcome(kind: str, bases: Path, work: Path, seed: int) -> dict[str, str]:
    """What becomes of one damaged file."""
    from bodyjax.errors import UserError

    path = fuzz_kinds.damaged(kind, bases, seed, work)
    base = bases / path.name.partition("-")[2]
    if kind == "coco":
        base = bases / path.name
    try:
        found, text = fuzz_kinds.read(kind, path, base), ""
    except UserError as error:
        found, text = "error", str(error)
        if "\n" in text:
            found = "fault"
    except Exception as error:
        found, text = "fault", f"{type(error).__name__}: {error}"
    keep = path if kind != "coco" else path.parent
    if found in FINE:
        shutil.rmtree(keep) if keep.is_dir() else keep.unlink()
    return {"outcome": found, "text": text[:300], "file": base.name}


def holdings() -> list[int]:
    """Threads, child processes and open files of this process."""
    children = 0
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread may end meanwhile
            children += len((task / "children").read_text().split())
    return [threading.active_count(), children, len(os.listdir("/proc/self/fd"))]


def leaked(before: Sequence[int], seconds: float = 5.0) -> str:
    """What this process holds beyond `before`, "" if that is nothing within some seconds."""
    end = time.monotonic() + seconds
    while True:
        now = holdings()
        if all(new <= old for new, old in zip(now, before, strict=True)):
            return ""
        if time.monotonic() > end:
            return f"threads, processes, files: {before} at first, now {now}"
        time.sleep(0.1)


# ---- the parent ----


class Reader:
    """A child process that reads; another one after it has died or hung."""

    def __init__(self, kind: str, bases: Path, work: Path, limit: float) -> None:
        self.command = [sys.executable, __file__, "--child", kind, str(bases), str(work)]
        self.limit = limit
        self.start_limit = limit + 120  # the first answer waits for imports as well
        self.process: subprocess.Popen[str] | None = None

    def read(self, seed: int) -> dict[str, Any]:
        """The child's answer about one file; "hang" or "crash" if it gives none."""
        if self.process is None:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, bufsize=1,
            )  # fmt: skip
            wait = self.start_limit
        else:
            wait = self.limit
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{seed}\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], wait)[0]:
            self.process.kill()
            self.process.wait()
            self.process = None
            return {"seed": seed, "outcome": "hang", "text": f"no answer in {wait:g} s"}
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.process = None
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return {"seed": seed, "outcome": "crash", "text": name}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> str:
        """Ends the child; what it leaked."""
        if self.process is None:
            return ""
        out, _ = self.process.communicate(timeout=60)
        leak: str = json.loads(out.splitlines()[-1])["end"] if out else "ended badly"
        return leak


def fuzz(
    kind: str, seeds: Sequence[int], limit: float, out: Path | None
) -> Iterator[dict[str, Any]]:
    """The answer about each file, then one line that sums them up."""
    begun, counts, files, texts = time.monotonic(), Counter[str](), Counter[str](), set()
    with tempfile.TemporaryDirectory(prefix="bodyjax-fuzz-") as folder:
        bases, work = Path(folder, "bases"), Path(folder, "work")
        fuzz_kinds.make_bases(kind, bases)
        work.mkdir()
        reader = Reader(kind, bases, work, limit)
        for seed in seeds:
            answer = reader.read(seed)
            counts[answer["outcome"]] += 1
            if answer["outcome"] == "other":
                files[answer["file"]] += 1
            texts.add(answer["text"])
            yield {"kind": kind, **answer}
        if leak := reader.end():
            counts["leak"] += 1
            yield {"kind": kind, "seed": -1, "outcome": "leak", "text": leak}
        if out is not None and any(work.iterdir()):
            shutil.copytree(work, out / kind, dirs_exist_ok=True)
    seconds = round(time.monotonic() - begun, 1)
    yield {
        "kind": kind, "files": len(seeds), "seconds": seconds, **dict(sorted(counts.items())),
        "other_in": dict(files.most_common()), "texts": len(texts),
    }  # fmt: skip


def is_unknowable(answer: dict[str, Any]) -> bool:
    """Whether the format may give the reader no way to notice that a frame differs."""
    differs = answer["outcome"] in ("silent", "wrong frame")
    return differs and answer["file"] in fuzz_kinds.UNMARKED


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--child"]:
        kind, bases, work = arguments[1:]
        return child(kind, Path(bases), Path(work))
    parser = argparse.ArgumentParser(prog="tools/fuzz.py", description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=fuzz_kinds.KINDS, choices=fuzz_kinds.KINDS)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=float, default=60.0)
    options = parser.parse_args(arguments)
    if options.count < 1 or not options.limit > 0:
        parser.error("--count must be at least 1, --limit above 0")
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        parser.error(f"--out {options.out} is no folder")
    seeds = range(options.seed, options.seed + options.count)
    bad = 0
    for kind in options.kinds:
        for answer in fuzz(kind, seeds, options.limit, options.out):
            odd = answer.get("outcome", "right") not in FINE
            bad += odd and not is_unknowable(answer)
            if odd or "files" in answer:
                print(json.dumps(answer), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
