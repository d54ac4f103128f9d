"""The command `bodyjax`: what it lists, what it hands on, and what it refuses."""

import subprocess
import sys

import pytest

import bodyjax
from bodyjax import __main__


def said(*words, cwd):
    """Exit code, stdout and stderr of `bodyjax WORDS`."""
    command = [sys.executable, "-m", "bodyjax", *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_help_has_a_line_for_every_command(monkeypatch, capsys):
    for words in ([], ["-h"], ["--help"]):
        monkeypatch.setattr(sys, "argv", ["bodyjax", *words])
        __main__.main()
        lines = capsys.readouterr().out.splitlines()
        told = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ")}
        assert list(told) == list(__main__.COMMANDS)
        assert all(len(words) >= 3 and words[-1].endswith(".") for words in told.values())


def test_the_version_is_the_package_s(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bodyjax", "--version"])
    __main__.main()
    assert capsys.readouterr().out == f"bodyjax {bodyjax.__version__}\n"


def test_an_unknown_command_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bodyjax", "trian"])
    with pytest.raises(SystemExit) as left:
        __main__.main()
    assert left.value.code == 2
    line = "error: no command 'trian'; one of train, evaluate, recognize, detect, lift"
    assert capsys.readouterr().err.startswith(line)


def test_a_command_gets_the_words_behind_its_name(tmp_path):
    code, out, error = said("train", "--config", "classifer", cwd=tmp_path)
    hint = "one of classifier, lifter, phone, pose, sequence, or a file, FILE.py"
    assert (code, out, error) == (2, "", f"error: --config: no config 'classifer'; {hint}\n")
    code, _, error = said("train", "--config", "classifier:tny", "--debug", cwd=tmp_path)
    assert code == 2
    assert error.startswith("Traceback")
    assert error.splitlines()[-1].startswith("error: no variant 'tny'; one of commands, ")
