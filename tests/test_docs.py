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


def test_folders_of_the_map_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = next(block for block in blocks(ROOT / "README.md") if block.language == "text")
    assert "bodyjax/" in text
    for line in tree.text.splitlines():
        folder = line.split()[0]
        assert (ROOT / folder).exists() or (ROOT / "bodyjax" / folder).exists(), folder


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
