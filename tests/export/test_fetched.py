"""Packages that are fetched, and the lines for what is missing."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from bodyjax.errors import UserError
from bodyjax.export import fetched


def test_a_missing_extra_is_named():
    with pytest.raises(UserError, match=r'tflite needs no_such; pip install "bodyjax\[tflite\]"'):
        fetched.need(("no_such", "numpy"), "tflite")


def test_a_package_is_fetched_once_without_its_dependencies(tmp_path, monkeypatch, capsys):
    calls = []

    def pip(command, **options):
        calls.append(command)
        (tmp_path / "export" / "package-1.0").mkdir(parents=True)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setenv("BODYJAX_CACHE", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", pip)
    for _ in range(2):
        assert fetched._installed("package==1.0") == tmp_path / "export" / "package-1.0"
    assert len(calls) == 1
    assert {"--no-deps", "--target", "package==1.0"} <= set(calls[0])
    assert calls[0][0] == sys.executable
    assert capsys.readouterr().err.startswith("fetching package==1.0 into ")


def test_without_a_network_the_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("BODYJAX_CACHE", str(tmp_path))
    failed = SimpleNamespace(returncode=1, stderr="WARNING: x\nERROR: No matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: failed)
    with pytest.raises(UserError, match=r"can't be fetched: ERROR: No matching.*; with a network"):
        fetched._installed("package==1.0")
    assert not list(tmp_path.rglob(".complete"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("No plugins registered for primitive 'sort'", "ONNX can't hold the step sort"),
        ("no implementation for Where(16) node", "ONNX can't hold the step Where"),
        ("'NoneType' object", "ONNX can't hold it: 'NoneType' object"),
        ("something\nelse", "ONNX can't hold it: something else"),
    ],
)
def test_a_converter_s_error_becomes_one_line(said, told):
    line = str(fetched.unsupported(NotImplementedError(said), "ONNX"))
    assert line == f"{told}; take --format stablehlo, which holds every step"
