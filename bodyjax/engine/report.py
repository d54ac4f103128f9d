"""What a run reports: lines or a bar on the terminal, metrics.jsonl, TensorBoard event files.

Each line of metrics.jsonl is {"step", "kind": "train" | "eval", "seconds", name: value, ...};
`seconds` counts the run's own time, over all its resumes.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
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
        self._path = workdir / "metrics.jsonl"
        cut_after(self._path, step)
        self._lines = self._path.open("a", encoding="utf-8")
        self._events = _Events(workdir / "events", step)
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
        for file in (self._lines, self._events):
            with suppress(OSError):  # every line was flushed, or an error was raised there
                file.close()

    def _write(self, kind: str, step: int, seconds: float, metrics: dict[str, Any]) -> None:
        if self._quiet:
            return
        values = plain(metrics)
        line = {"step": step, "kind": kind, "seconds": round(seconds, 3), **values}
        scalars = {name: x for name, x in values.items() if isinstance(x, int | float)}
        try:
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()
            self._events.add(kind, step, scalars)
        except OSError as error:
            raise files.unwritten(self._path, error) from None


class _Events:
    """An event file of TensorBoard, written in the calling thread: the thread of tensorboardX'
    SummaryWriter dies on a full disk with a traceback of its own, and leaves its caller waiting.

    `step` is where the run resumes: TensorBoard hides what an earlier process wrote after it.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(exist_ok=True)
        self._file = EventsWriter(str(folder / "events"))
        if step:
            self._add(step=step + 1, file_version="brain.Event:2")
            self._add(
                step=step + 1, session_log=_proto().SessionLog(status=_proto().SessionLog.START)
            )

    def add(self, kind: str, step: int, scalars: dict[str, float]) -> None:
        """Scalars under the names KIND/NAME, on the disk when it returns."""
        from tensorboardX.summary import scalar

        for name, value in scalars.items():
            self._add(step=step, summary=scalar(f"{kind}/{name}", value))
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _add(self, **fields: Any) -> None:
        self._file.write_event(_proto().Event(wall_time=time.time(), **fields))


def _proto() -> Any:
    from tensorboardX.proto import event_pb2

    return event_pb2


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
