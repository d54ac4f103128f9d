"""Push-ups of held-out people: the page counts what Python counts, and as the eye does."""

import pytest

from bodyjax.engine.checkpoint import WEIGHTS
from tests.demo import page_folder
from tests.score.test_repetitions import DATA, seen_by_eye
from tests.shared import shared
from tools import demo_pushups

DETECTOR = WEIGHTS / "phone"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_folder.built(tmp_path_factory.mktemp("page"), DETECTOR)


@pytest.mark.slow
def test_ten_held_out_clips_are_counted_as_in_python_and_by_eye(page):
    """The clips of groups that are multiples of 5 whose lowest points are stored, every frame."""
    videos = shared("data/pushfit/videos")
    lowest = demo_pushups.by_eye(DATA / "pushups_by_eye.csv")
    names = list(seen_by_eye("figure"))
    files = [videos / f"{name}.mp4" for name in names]
    ours = demo_pushups.in_page(files, page, page_folder.RUNTIME)
    pythons = demo_pushups.in_python(files, str(DETECTOR), "pushup")
    assert [one["repetitions"] for one in ours] == [one["repetitions"] for one in pythons]
    near = [
        abs(one["repetitions"] - lowest[name]) <= 1 for one, name in zip(ours, names, strict=True)
    ]
    assert sum(near) >= 9
