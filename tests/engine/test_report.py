"""bodyjax.engine.report."""

import json
from pathlib import Path

import numpy as np

from bodyjax.engine import report


def test_lines_beyond_a_step_and_torn_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        "".join(json.dumps({"step": s}) + "\n" for s in (1, 2, 2, 3)) + '{"step": 2, "l'
    )
    report.cut_after(path, 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 2]
    report.cut_after(tmp_path / "none", 2)


def test_metrics_become_json() -> None:
    metrics = {"a": np.float32(0.5), "b": np.eye(2, dtype=int), "c": float("nan"), "d": 3}
    plain = report.plain({**metrics, "e": np.array([1.0, np.inf])})
    assert plain == {"a": 0.5, "b": [[1, 0], [0, 1]], "c": None, "d": 3, "e": [1.0, None]}
    json.dumps(plain, allow_nan=False)
    assert report.numbers(metrics) == "a 0.5  c nan  d 3"


def test_clock() -> None:
    assert [report.clock(s) for s in (5.4, 125, 3723)] == ["0:05", "2:05", "1:02:03"]


def test_other_processes_write_nothing(tmp_path: Path, capsys) -> None:
    quiet = report.Report(tmp_path / "none", 0, 10, quiet=True)
    quiet.say("x")
    quiet.train(1, 1.0, {"loss": 1.0}, 2.0)
    quiet.close()
    assert not (tmp_path / "none").exists()
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(tmp_path: Path, capsys, monkeypatch) -> None:
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    told = report.Report(tmp_path, 0, 10)
    told.advance(4)
    told.train(4, 1.0, {"loss": 0.25}, 2.0)
    told.advance(10)
    told.close()
    seen = capsys.readouterr().err
    assert "10/10" in seen
    assert "loss 0.25" in seen
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1
