"""Damaged files of every kind end right or in one line; faults found before stay mended."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import fuzz, fuzz_kinds

ROOT = Path(__file__).resolve().parents[2]
TOOL = [sys.executable, str(ROOT / "tools" / "fuzz.py")]
FOUND = {
    # Garbage in MJPEG; a WMV's frame twice; GIF; VP9; pictures without their ends.
    "videos": (175, 211, 203, 1093, 1477, 5064, 1041, 1145, 1111, 1529),
    "coco": (127, 148),  # a number as skeleton
    "checkpoints": (8, 163, 187),  # a number as table of dtypes; zlib's own error
}
"""Seeds that once were no one-line error, or a wrong frame."""


def answers(kind, seeds):
    *found, total = fuzz.fuzz(kind, seeds, 60, None)
    assert total["files"] == len(seeds)
    return {one["seed"]: one for one in found}


@pytest.mark.parametrize(
    "kind",
    [*fuzz_kinds.KINDS[:-1], pytest.param(fuzz_kinds.KINDS[-1], marks=pytest.mark.slow)],
)
def test_whole_files_are_read_right(kind, tmp_path):
    """Otherwise every outcome would be an error."""
    fuzz_kinds.make_bases(kind, tmp_path / "bases")
    bases = sorted((tmp_path / "bases").iterdir())
    if kind == "coco":
        for number in (1, 2, 3):
            fuzz_kinds.Image.new("RGB", (96, 64)).save(tmp_path / "bases" / f"{number}.png")
    assert [fuzz_kinds.read(kind, base, base) for base in bases] == ["right"] * len(bases)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOUND)
def test_what_was_found_stays_mended(kind):
    found = answers(kind, FOUND[kind])
    assert [found[seed]["outcome"] for seed in FOUND[kind]] == ["error"] * len(FOUND[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", fuzz_kinds.KINDS)
def test_fifty_damaged_files_of_a_kind(kind):
    bad = [one for one in answers(kind, range(50)).values() if one["outcome"] not in fuzz.FINE]
    assert [one for one in bad if not fuzz.is_unknowable(one)] == []


def test_the_same_seed_is_the_same_damage(tmp_path):
    fuzz_kinds.make_bases("pictures", tmp_path / "bases")
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
    one, same, other = (
        fuzz_kinds.damaged("pictures", tmp_path / "bases", seed, tmp_path / place).read_bytes()
        for seed, place in ((3, "a"), (3, "b"), (4, "a"))
    )
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("body", "outcome"),
    [("import time; time.sleep(60)", "hang"), ("os.abort()", "crash"), ("1 / 0", "fault")],
)
def test_a_reader_that_hangs_crashes_or_raises_is_seen(body, outcome, tmp_path):
    """In the child process of the tool, with a reader made to do so."""
    program = (
        "import os, sys; from pathlib import Path; from tools import fuzz, fuzz_kinds\n"
        f"def bad(path, base):\n    {body}\n"
        "fuzz_kinds.READERS['pictures'] = bad\n"
        "sys.exit(fuzz.child('pictures', Path(sys.argv[1]), Path(sys.argv[2])))"
    )
    fuzz_kinds.make_bases("pictures", tmp_path / "bases")
    (tmp_path / "work").mkdir()
    reader = fuzz.Reader("pictures", tmp_path / "bases", tmp_path / "work", 0.5)
    reader.command = [
        sys.executable,
        "-c",
        program,
        str(tmp_path / "bases"),
        str(tmp_path / "work"),
    ]
    reader.start_limit = 20.0 if outcome != "hang" else 3.0
    assert reader.read(0)["outcome"] == outcome
    assert reader.end() == ""


def test_the_tool_prints_a_line_a_kind_and_says_faults_by_its_exit_code():
    done = subprocess.run(
        [*TOOL, "--kinds", "csv", "--count", "50"], cwd=ROOT, capture_output=True, text=True,
        env={**fuzz.os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [total] = [json.loads(line) for line in done.stdout.splitlines()]
    assert total["files"] == 50
    assert total["error"] + total.get("other", 0) + total.get("right", 0) == 50
