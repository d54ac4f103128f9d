"""The page's modules in plain node."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.documents import ROOT

PAGE = ROOT / "docs" / "demo"


def run(script: str, given: Any, folder: Path) -> Any:
    """What a script gives for `given`: it is the body of an async function of `given` and `page`,
    the address of the folder of modules, and returns what JSON can hold. Skips without node."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed: the page's modules are compared with Python in it")
    (folder / "given.json").write_text(json.dumps(given))
    (folder / "script.mjs").write_text(
        'import { readFileSync } from "node:fs";\n'
        f"const page = {json.dumps(PAGE.as_uri())};\n"
        'const given = JSON.parse(readFileSync(new URL("given.json", import.meta.url)));\n'
        f"const found = await (async () => {{ {script} }})();\n"
        "process.stdout.write(JSON.stringify(found));\n"
    )
    done = subprocess.run(
        ["node", str(folder / "script.mjs")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
