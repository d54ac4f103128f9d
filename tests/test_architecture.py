"""The house keeps its shape: arrows between rooms, what starts without jax, no pickle, docs."""

import ast
import graphlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from bodyjax.__main__ import COMMANDS
from bodyjax.contract import Source

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path for room in ("bodyjax", "launch", "configs") for path in (ROOT / room).rglob("*.py")
)
LINES = 450
ONE_THEME = {  # one file, so that faults of files are dealt with in one place
    "bodyjax/engine/checkpoint.py": 520,
}


def name(path):
    return path.relative_to(ROOT).as_posix()


LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
FORBIDDEN = {
    "bodyjax/losses.py": "import bodyjax.systems",
    "bodyjax/systems/heads.py": "import launch.train",
    "launch/train.py": "import configs.pose",
    "bodyjax/engine/optim.py": "import bodyjax.data.sampling",
    "bodyjax/train/start.py": "import bodyjax.detect",
    "bodyjax/data/affine.py": "import jax",
    "bodyjax/simulate/scene.py": "import bodyjax.data.affine",
    "bodyjax/models/resize.py": "import pathlib",
}
"""For each contract of import-linter a line that breaks it."""


def run(*command, cwd=ROOT, **env):
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def test_arrows_between_rooms_hold():
    code, said = run(LINT_IMPORTS)
    assert code == 0, said
    assert "0 broken" in said


def test_an_arrow_that_points_down_breaks_a_contract(tmp_path):
    """Each contract is broken by a file that breaks it: none is written so that it holds always."""
    for room in ("bodyjax", "launch", "configs"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("weights"))
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for file, line in FORBIDDEN.items():
        with (tmp_path / file).open("a") as text:
            text.write(f"\n{line}\n")
    code, said = run(LINT_IMPORTS, "--no-cache", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert code == 1
    assert "0 kept" in said, said


def imported_after(program):
    code, said = run(
        sys.executable,
        "-c",
        f"{program}\nimport sys; print('MODULES', *(m for m in sys.modules if '.' not in m))",
    )
    assert code == 0, said
    return set(said.rsplit("MODULES", 1)[1].split())


def test_data_and_simulate_start_without_jax():
    rooms = ("bodyjax/data", "bodyjax/simulate")
    modules = [
        name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in SOURCES
        if name(path).startswith(rooms)
    ]
    assert len(modules) > 20
    loaded = imported_after(f"import {', '.join(modules)}")
    assert not loaded & {"jax", "jaxlib", "flax", "optax", "orbax", "grain", "tensorflow"}


def test_help_answers_without_jax():
    """Of every command, with the flag that all of them have."""
    loaded = imported_after(
        "import contextlib, importlib, io\n"
        f"for name in {COMMANDS}:\n"
        "    said = io.StringIO()\n"
        "    try:\n"
        "        with contextlib.redirect_stdout(said):\n"
        "            importlib.import_module(f'launch.{name}').main(['--help'])\n"
        "    except SystemExit as done: assert done.code in (0, None), done.code\n"
        "    assert f'usage: bodyjax {name}' in said.getvalue(), name\n"
        "    assert '--debug' in said.getvalue(), name"
    )
    assert "argparse" in loaded
    assert not loaded & {"jax", "flax", "grain", "tensorflow"}


def test_every_command_has_its_two_files():
    for folder in ("launch", "bodyjax/commands"):
        files = {path.stem for path in (ROOT / folder).glob("*.py")}
        parts = {"__init__", "flags", "gallery", "live", "one_of_several", "outputs"}
        assert files - parts == set(COMMANDS), folder


def test_a_wrong_config_is_told_in_one_line_without_jax():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "launch.train", "--config", "configs/none.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2
    assert said == ["error: configs/none.py: no such config file"]
    assert " jax\n" not in done.stderr


def test_what_is_general_names_no_system():
    """Commands, training, engine and measuring take any system: none compares with a name."""
    systems = {
        path.stem
        for path in (ROOT / "bodyjax/systems").glob("*.py")
        if any(
            isinstance(node, ast.FunctionDef) and node.name == "build"
            for node in ast.parse(path.read_text()).body
        )
    } - {"__init__"}
    assert {"movement", "pose", "sequence"} <= systems
    rooms = tuple(
        f"bodyjax/{room}/" for room in ("commands", "train", "engine", "bench", "export", "archive")
    )
    for path in SOURCES:
        if name(path).startswith(("launch/", *rooms)):
            for node in ast.walk(ast.parse(path.read_text())):
                named = isinstance(node, ast.Constant) and node.value in systems
                assert not named, f"{name(path)}, line {node.lineno}: {node.value!r}"


def imported_at_once(path: Path) -> set[str]:
    """The modules of the package that a file imports when it is imported itself."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_module_imports_itself_on_the_way():
    """Faces of rooms aside, which import the files below them."""
    modules = {
        name(path).removesuffix(".py").replace("/", "."): imported_at_once(path)
        for path in SOURCES
        if path.name != "__init__.py"
    }
    graph = {module: found & modules.keys() for module, found in modules.items()}
    assert sum(map(len, graph.values())) > 500
    order = graphlib.TopologicalSorter(graph)
    order.prepare()  # CycleError names the circle


def test_what_a_source_has_is_read_without_asking_whether_it_has_it():
    members = set(vars(Source)) - set(vars(Protocol))
    assert {"heldout", "bad", "left_out", "classes", "names", "name"} <= members
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
                asked = node.args[1]
                known = isinstance(asked, ast.Constant) and asked.value in members
                assert not known, f"{name(path)}: {ast.unparse(node)}"


def faults(check):
    """What `check` finds wrong in any source, a line for each file."""
    found = {name(path): check(path) for path in SOURCES}
    return [f"{file}: {fault}" for file, fault in found.items() if fault]


PICKLES = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "runpy",
    "numpy.load", "os.system", "os.popen",
}  # fmt: skip
RUNS = ("eval", "exec", "builtins.eval", "builtins.exec", "torch.load", "yaml.load")
SHELLS = ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput")


def what_runs_data(path):
    """Calls and imports that would run what a file of data says."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = {module, *(f"{module}.{alias.name}".strip(".") for alias in node.names)}
            found += names & PICKLES
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in RUNS or called.endswith("read_pickle"):
                found.append(f"{called} in line {node.lineno}")
            unsafe = "allow_pickle=False" not in ast.unparse(node)
            if called in ("np.load", "numpy.load") and unsafe:
                found.append(f"{called} with pickle in line {node.lineno}")
            if called in SHELLS or any(word.arg == "shell" for word in node.keywords):
                found.append(f"a shell in line {node.lineno}")
    return ", ".join(found)


def test_nothing_runs_what_data_says(tmp_path):
    assert faults(what_runs_data) == []
    bad = tmp_path / "bad.py"
    for text in (
        "import pickle", "from joblib import load", "eval('1')", "np.load('a.npz')",
        "os.system('ls')", "subprocess.run('ls', shell=True)", "os.popen('ls')",
        "subprocess.getoutput('ls')", "pd.read_pickle('a')", "import marshal", "import runpy",
        "from numpy import load", "from os import system", "builtins.exec('1')",
    ):  # fmt: skip
        bad.write_text(text)
        assert what_runs_data(bad), text


def too_long(path):
    """How many lines a file has that holds more than one theme."""
    lines = len(path.read_text().splitlines())
    return f"{lines} lines: split it by theme" if lines > ONE_THEME.get(name(path), LINES) else ""


def test_files_hold_one_theme():
    assert faults(too_long) == []


def undocumented(path):
    """The public functions and classes of a file, and the file itself, without a docstring."""
    module = ast.parse(path.read_text())
    nodes = [node for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    silent = [node.name for node in nodes if node.name[0] != "_" and not ast.get_docstring(node)]
    silent = [word for word in silent if word not in ("main", "build", "get_config")]
    if not ast.get_docstring(module):
        silent.append("the file itself")
    return f"no docstring: {', '.join(silent)}" if silent else ""


def test_public_functions_say_what_they_do():
    assert faults(undocumented) == []


def test_models_open_no_files():
    for path in (ROOT / "bodyjax/models").rglob("*.py"):
        calls = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        ]
        names = {ast.unparse(node.func).rsplit(".", 1)[-1] for node in calls}
        assert not names & {"open", "load", "read_text", "read_bytes", "loadtxt", "imread"}
