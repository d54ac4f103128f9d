"""What the documents tell the reader to type is right: Python runs, commands have these flags."""

import ast
import importlib
import re
import runpy

import pytest

from bodyjax.commands import flags
from tests.documents import DOCUMENTS, ROOT, blocks, commands

PYTHON = [
    (document, number, block)
    for document in DOCUMENTS
    for number, block in enumerate(blocks(document))
    if block.language == "python"
]
COMMANDS = [(document, words) for document in DOCUMENTS for words in commands(document)]


def ids(cases):
    return [f"{case[0].name}-{number}" for number, case in enumerate(cases)]


@pytest.mark.parametrize(("document", "number", "block"), PYTHON, ids=ids(PYTHON))
def test_python_runs(document, number, block, tmp_path, monkeypatch):
    ast.parse(block.text)
    if block.words:  # "skip": needs files or weights; "file=...": tests/test_adding.py runs it
        assert block.words == "skip" or block.words.startswith("file=")
        return
    script = tmp_path / "block.py"
    script.write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script))


@pytest.mark.parametrize(("document", "words"), COMMANDS, ids=ids(COMMANDS))
def test_commands_exist_with_these_flags(document, words, capsys, monkeypatch):
    if words[0] == "make":
        targets = re.findall(r"^([.\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in words[1:] if "=" not in word and word not in targets] == []
        return
    if words[0] in ("git", "cd"):
        return
    assert words[:2] == ["python", "-m"], words
    launcher = importlib.import_module(words[2])
    with pytest.raises(SystemExit):
        launcher.main(["--help"])
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    rest, overrides = flags.split_overrides(words[3:])
    used = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert used <= known | {"--debug"}
    monkeypatch.chdir(ROOT)
    if "--config" in rest:
        config = flags.load_config(rest[rest.index("--config") + 1])
        flags.override(config, overrides)


def test_pictures_and_links_are_there():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def named(line):
    """The folders and files at the start of a line of the map."""
    words = line.split()
    return words[: next(i for i, word in enumerate(words) if not word.endswith(("/", ".py")))]


def test_the_map_names_every_room_and_every_file_beside_them_once():
    tree = next(block for block in blocks(ROOT / "README.md") if block.language == "text")
    lines = tree.text.splitlines()
    inside = [name for line in lines if line.startswith("  ") for name in named(line)]
    top = [name for line in lines if not line.startswith(" ") for name in named(line)]
    package = ROOT / "bodyjax"
    rooms = {f"{folder.name}/" for folder in package.iterdir() if folder.is_dir()}
    files = {file.name for file in package.glob("*.py")} - {"__init__.py"}
    assert sorted(inside) == sorted(files | rooms - {"__pycache__/"})
    assert sorted(top) == ["bodyjax/", "configs/", "docs/", "launch/", "tests/"]
    assert all((ROOT / name).is_dir() for name in top)


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
