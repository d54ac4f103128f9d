"""What a run reports: lines or a bar on the terminal, metrics.jsonl, TensorBoard event files.

Each line of metrics.jsonl is {"step", "kind": "train" | "eval", "seconds", name: value, ...};
`seconds` counts the run's own time, over all its resumes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import files


class Report:
    """Writes for one process; with `quiet` (any process but the first) it does nothing.

    On a terminal a bar shows loss, rate and time left; elsewhere a line is printed at each log.
    `step` is where the run resumes: later lines of an earlier, killed process are removed.
    """

    def __init__(self, workdir: Path, step: int, steps: int, quiet: bool = False) -> None:
        self._quiet = quiet
        self._steps = steps
        self._bar: Any = None
        if quiet:
            return
        from tensorboardX import SummaryWriter

        path = workdir / "metrics.jsonl"
        cut_after(path, step)
        self._lines = path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(workdir / "events"), purge_step=step + 1 if step else None)
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=steps, initial=step, unit="step", dynamic_ncols=True)

    def say(self, text: str) -> None:
        """One line on stderr, above the bar if there is one."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def train(self, step: int, seconds: float, metrics: dict[str, Any], rate: float) -> None:
        """A log line of training; `rate` in steps/s."""
        self._write("train", step, seconds, metrics)
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {metrics['loss']:.4g}", refresh=False)
            return
        left = clock((self._steps - step) / rate) if rate > 0 else "?"
        speed = f"{rate:.3g} steps/s, {left} left"
        rest = {name: x for name, x in metrics.items() if name != "steps_per_second"}
        self.say(f"step {step}/{self._steps}  {speed}  {numbers(rest)}")

    def evaluation(self, step: int, seconds: float, metrics: dict[str, Any]) -> None:
        """The result of a pass over the held-out examples."""
        self._write("eval", step, seconds, metrics)
        self.say(f"step {step}/{self._steps}  held out  {numbers(metrics)}")

    def close(self) -> None:
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.close()
        self._lines.close()
        self._events.close()

    def _write(self, kind: str, step: int, seconds: float, metrics: dict[str, Any]) -> None:
        if self._quiet:
            return
        line = {"step": step, "kind": kind, "seconds": round(seconds, 3), **plain(metrics)}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        for name, value in plain(metrics).items():
            if isinstance(value, int | float):
                self._events.add_scalar(f"{kind}/{name}", value, step)
        self._events.flush()


def cut_after(path: Path, step: int) -> None:
    """Drops the lines of metrics.jsonl beyond `step`, and a line cut short by a kill."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if entry.get("step", step + 1) <= step:
            kept.append(line + "\n")
    files.write_text(path, "".join(kept))


def plain(metrics: Any) -> Any:
    """Metrics as JSON values: floats, arrays as lists, None for anything that is not a finite
    number."""
    if isinstance(metrics, dict):
        return {str(name): plain(value) for name, value in metrics.items()}
    if isinstance(metrics, list | tuple):
        return [plain(value) for value in metrics]
    if metrics is None or isinstance(metrics, str):
        return metrics
    value = np.asarray(metrics).tolist()
    if isinstance(value, list):
        return plain(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value


def numbers(metrics: dict[str, Any]) -> str:
    """The scalars of `metrics` in one line."""
    skipped = (dict, list, tuple, str, type(None))
    scalars = {n: x for n, x in metrics.items() if not isinstance(x, skipped) and np.ndim(x) == 0}
    return "  ".join(f"{name} {float(x):.4g}" for name, x in scalars.items())


def clock(seconds: float) -> str:
    """1:02:03, or 2:03 below an hour."""
    minutes, second = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
