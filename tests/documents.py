"""The documents as the tests read them: fenced blocks of code and the commands in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, the words behind it, its text."""

    language: str
    words: str
    text: str


def blocks(document):
    """The fenced blocks of a document that name a language."""
    return [
        Block(language, words.strip(), text)
        for language, words, text in FENCE.findall(document.read_text(encoding="utf-8"))
    ]


def commands(document, words=""):
    """The command lines of a document's console blocks, as lists of words; `words`: those behind
    the block's language ("run": a test of its own runs them)."""
    lines = [
        line
        for block in blocks(document)
        if block.language == "console" and block.words == words
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    return [shlex.split(line, comments=True) for line in lines if line.strip()]
