"""The notebooks run from the first cell to the last, and ship with the outputs of such a run."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from bodyjax.engine import checkpoint
from tests import tiny_classifier as tiny
from tests import tiny_detector
from tests.data import make_videos

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_ship_with_the_outputs_of_one_run(path):
    assert path.stat().st_size < 500_000
    cells = code_cells(nbformat.read(path, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [one for one in outputs if one.output_type == "error" or one.get("name") == "stderr"]
    assert sum("image/png" in one.get("data", {}) for one in outputs) >= 3
    assert not [one for one in outputs if str(ROOT) in str(one) or "/tmp/" in str(one)]


def test_the_notebook_shows_what_the_weights_do():
    """The shipped outputs: a person in the photo, and nearly all movements right."""
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / "recognize.ipynb", as_version=4)
    said = ["".join(one.get("text", "") for one in cell.outputs) for cell in code_cells(notebook)]
    assert "1 person in a picture" in said[1]
    right, of, total = said[2].split()[:3]
    assert (of, total) == ("of", "9")
    assert int(right) >= 8


def test_the_recognition_notebook_runs(tmp_path, monkeypatch):
    weights = tiny.export(tmp_path / "weights")
    detector = tmp_path / "detector"
    checkpoint.export(tiny_detector.untrained(), detector, "A test.", dtype="float32")
    video = make_videos.encode(tmp_path / "clip.mp4", 60, *make_videos.X264)
    monkeypatch.setenv("BODYJAX_CHECKPOINT", str(weights))
    monkeypatch.setenv("BODYJAX_DETECTOR", str(detector))
    monkeypatch.setenv("BODYJAX_VIDEO", str(video))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / "recognize.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [cell.outputs for cell in code_cells(notebook)]
    said = ["".join(one.get("text", "") for one in cell) for cell in outputs]
    drawn = [any("image/png" in one.get("data", {}) for one in cell) for cell in outputs]
    assert "4 movements: stop, go_straight" in said[0]
    assert "in a picture of 256 x 300" in said[1]
    assert said[2] == "1 of 4 right\n"  # these weights always say stop
    assert "movement: stop\n" in said[4]
    assert "operation: stop at the line" in said[4]
    assert said[6].startswith("stop Result(")
    assert drawn == [False, True, False, True, False, True, False]
