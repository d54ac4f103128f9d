"""Clips of every kind, made once for all tests of videos."""

from pathlib import Path

import pytest

from tests.data import make_videos


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_videos.variants(tmp_path_factory.mktemp("clips"))
