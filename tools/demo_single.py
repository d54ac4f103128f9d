"""The page as one HTML file that opens from disk: scripts, runtime and models inside.

Browsers load no module from a file:// address, so the modules become one script, in the order of
their imports, and what the page would fetch stands in it as base64 (docs/demo/assets.mjs reads
both). The policy allows this script by its digest, and no connection at all.
"""

from __future__ import annotations

import base64
import graphlib
import hashlib
import html
import re
from pathlib import Path

from bodyjax.errors import UserError

ASSETS = (
    "model.json",
    "pose.onnx",
    "scorer.onnx",
    "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm",
)
LICENCES = ("onnxruntime-LICENSE.txt", "onnxruntime-notices.txt")
START = "app.mjs"
IMPORT = re.compile(r'^import\s+\{[^}]*\}\s+from\s+"\./([\w.-]+)";\n', re.MULTILINE)
NAMED = re.compile(r"^(?:export )?(?:async )?(?:function\*?|const|let|class) (\w+)", re.MULTILINE)


def page(folder: Path) -> str:
    """The one file, of a folder that tools/demo.py has filled."""
    script = joined(folder)
    text = (folder / "index.html").read_text("utf-8")
    style = (folder / "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}' blob: 'wasm-unsafe-eval'; "
        "style-src 'unsafe-inline'; img-src blob: data:; media-src blob:; connect-src 'none'; "
        "base-uri 'none'; form-action 'none'"
    )
    text = replaced(text, r'(<meta http-equiv="Content-Security-Policy" content=")[^"]*', policy)
    text = replaced(text, r'()<link rel="stylesheet" href="page.css">', f"<style>{style}</style>")
    inside = "\n".join(
        f'<script type="application/octet-stream;base64" id="{name}">'
        f"{base64.b64encode((folder / name).read_bytes()).decode()}</script>"
        for name in ASSETS
    )
    text = replaced(text, r'()<p id="licences">(?:.|\n)*?</p>', licences(folder))
    whole = f'{inside}\n<script type="module">{script}</script>'
    return replaced(text, r'()<script type="module" src="app.mjs"></script>', whole)


def licences(folder: Path) -> str:
    """The runtime's licence and notices, folded in."""
    texts = [(folder / name).read_text("utf-8", "replace") for name in LICENCES]
    inside = "\n\n".join(html.escape(text) for text in texts)
    return f"<details><summary>Licences of the runtime</summary><pre>{inside}</pre></details>"


def replaced(text: str, pattern: str, new: str) -> str:
    """The page with the one place that fits the pattern replaced, its first group kept."""
    text, count = re.subn(pattern, lambda found: found.group(1) + new, text)
    if count != 1:
        raise UserError(f"index.html has {count} places of {pattern}", hint="there should be one")
    return text


def joined(folder: Path) -> str:
    """The modules of the page as one script. UserError if two of them use one name."""
    needs: dict[str, list[str]] = {}
    waiting = [START]
    while waiting:
        name = waiting.pop()
        if name not in needs:
            needs[name] = IMPORT.findall((folder / name).read_text("utf-8"))
            waiting += needs[name]
    parts, owner = [], dict[str, str]()
    for name in graphlib.TopologicalSorter(needs).static_order():
        text = IMPORT.sub("", (folder / name).read_text("utf-8"))
        for word in NAMED.findall(text):
            if word in owner:
                raise UserError(f"{name} and {owner[word]} both name {word}", file=folder)
            owner[word] = name
        parts.append(re.sub(r"^export ", "", text, flags=re.MULTILINE))
    script = "\n".join(parts)
    if "</script" in script or re.search(r"^(import|export)\b", script, re.MULTILINE):
        raise UserError("the modules can't be joined to one script", file=folder)
    return script
