"""The notebooks run from the first cell to the last, and hold no outputs."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests import tiny_classifier as tiny
from tests.data import make_videos

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_no_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_recognition_notebook_runs(tmp_path, monkeypatch):
    weights = tiny.export(tmp_path / "weights")
    video = make_videos.encode(tmp_path / "clip.mp4", 60, *make_videos.X264)
    monkeypatch.setenv("BODYJAX_CHECKPOINT", str(weights))
    monkeypatch.setenv("BODYJAX_VIDEO", str(video))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / "recognize.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    cells = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    said = ["".join(output.get("text", "") for output in outputs) for outputs in cells]
    assert "4 movements: stop, go_straight" in said[0]
    assert "movement: stop\n" in said[1]
    assert "operation: stop at the line" in said[1]
    assert said[2].startswith("stop Result(")
    assert any("image/png" in output.get("data", {}) for output in cells[3])
    assert said[4].splitlines() == ["0.00-1.50 s stop None", "0.50-2.00 s stop stop at the line"]
