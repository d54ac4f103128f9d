"""The wheel holds bodyjax alone, and what is installed from it works in an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import bodyjax
from bodyjax.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
NEEDED = 77
"""The first setuptools that reads the licence as pyproject.toml gives it."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built without a network, from a copy: setuptools leaves its build/ where it works."""
    there = metadata.version("setuptools")
    if int(there.partition(".")[0]) < NEEDED:
        pytest.skip(f"setuptools {there} can't build the wheel: {NEEDED} or newer (make .venv)")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("bodyjax", "configs", "launch"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bodyjax_of_the_wheel(wheel, tmp_path_factory):
    """Calls the installed command from an empty folder: exit code, stdout, stderr."""
    target = tmp_path_factory.mktemp("site")
    empty = tmp_path_factory.mktemp("level") / "one" / "two"
    empty.mkdir(parents=True)
    pip("install", "--no-deps", "--no-index", "--target", target, wheel)
    env = {**os.environ, "PYTHONPATH": str(target), "JAX_PLATFORMS": "cpu"}

    def call(*words, command=(sys.executable, target / "bin" / "bodyjax")):
        done = subprocess.run(
            [*command, *words], cwd=empty, env=env, capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout, done.stderr

    code, where, _ = call("-c", "import bodyjax; print(bodyjax.__file__)", command=[sys.executable])
    assert code == 0
    assert Path(where.strip()).is_relative_to(target)
    return call


def pip(*words):
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def files_of(folder):
    """The files below a folder of the repository, as the wheel names them."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_it_holds_bodyjax_alone_with_the_configs_as_its_data(wheel):
    about = f"bodyjax-{bodyjax.__version__}.dist-info"
    assert wheel.name == f"bodyjax-{bodyjax.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        tops = archive.read(f"{about}/top_level.txt").decode().split()
    assert tops == ["bodyjax"]
    configs = {f"bodyjax/{name}" for name in files_of("configs")}
    assert "bodyjax/configs/classifier.py" in configs
    assert "bodyjax/py.typed" in names
    inside = {name for name in names if not name.startswith(f"{about}/")}
    assert inside == files_of("bodyjax") | configs


def test_help_lists_the_commands(bodyjax_of_the_wheel):
    code, said, _ = bodyjax_of_the_wheel("--help")
    assert code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in said
    code, said, _ = bodyjax_of_the_wheel("train", "--config", "classifier:tiny", "--help")
    assert code == 0
    assert "classifier, lifter, phone, pose, sequence or FILE.py" in said


def test_configs_are_found_and_data_that_is_not_there_is_one_line(bodyjax_of_the_wheel):
    code, _, error = bodyjax_of_the_wheel("train", "--config", "classifier:tny")
    assert code == 2
    assert error.startswith("error: no variant 'tny'; one of commands, ")
    for config, path in {
        "classifier:jhmdb": "../shared/data/jhmdb",
        "pose": "../shared/data",
        "sequence:penn_action": "../shared/data/penn_action",
    }.items():
        code, _, error = bodyjax_of_the_wheel("train", "--config", config)
        assert code == 2
        assert error.startswith(f"error: {path}: is not here; --config.data=PATH names your folder")
        assert error.count("\n") == 1


def test_it_names_its_commands_as_they_are_typed_there(bodyjax_of_the_wheel):
    program = "from bodyjax import tasks; print(tasks.typed('recognize'))"
    code, said, _ = bodyjax_of_the_wheel("-c", program, command=[sys.executable])
    assert (code, said) == (0, "bodyjax recognize\n")


def test_shipped_weights_are_inside(bodyjax_of_the_wheel):
    program = "from bodyjax.engine import checkpoint; print(checkpoint.load('small').system)"
    code, said, error = bodyjax_of_the_wheel("-c", program, command=[sys.executable])
    assert (code, said) == (0, "pose\n"), error
