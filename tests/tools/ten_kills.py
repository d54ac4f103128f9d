"""What both soaks must hold with ten kills."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def ten_kills(tool: str, out: Path, seed: int) -> list[dict]:
    """Runs a soak of tools/ with ten kills: one digest, exit code 0. Its reports."""
    run = subprocess.run(
        [sys.executable, f"tools/{tool}", "--out", str(out), "--kills", "10", "--seed", str(seed)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    *lines, last = run.stdout.splitlines()
    reports = [json.loads(line) for line in lines]
    assert sum(report["kills"] for report in reports) == 10
    assert len({report["sha256"] for report in reports}) == 1
    assert last.endswith("same end")
    return reports
