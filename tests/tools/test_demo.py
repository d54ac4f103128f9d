"""Building the page: its modules as one script, and what is missing is one line."""

import shutil
import subprocess

import pytest

from bodyjax.errors import UserError
from tools import demo, demo_single


@pytest.fixture
def modules(tmp_path):
    """A copy of the page's modules, to change."""
    for file in demo.PAGE.glob("*.mjs"):
        shutil.copyfile(file, tmp_path / file.name)
    return tmp_path


def test_the_modules_are_one_script_without_imports(modules):
    script = demo_single.joined(modules)
    for word in ("function people(", "function repetitions(", "start();"):
        assert script.count(word) == 1
    assert script.index("function rgb(") < script.index("async function detector(")
    if shutil.which("node"):
        (modules / "joined.js").write_text(f"(async () => {{{script}}})")
        done = subprocess.run(
            ["node", "--check", str(modules / "joined.js")], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_two_modules_with_one_name_are_refused(modules):
    with (modules / "canvas.mjs").open("a") as file:
        file.write("\nfunction people() {}\n")
    with pytest.raises(UserError, match=r"mjs both name people"):
        demo_single.joined(modules)


def test_without_a_runtime_the_line_says_what_fetches_it(tmp_path, capsys):
    words = ["--out", str(tmp_path / "page"), "--runtime", str(tmp_path / "none"), "--no-serve"]
    assert demo.main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "make demo fetches it" in said
    assert not (tmp_path / "page").exists()


def test_a_port_in_use_is_one_line(tmp_path):
    with (
        demo.server(tmp_path) as first,
        pytest.raises(UserError, match=r"can't be used: .*; name another one by --port"),
    ):
        demo.server(tmp_path, first.server_address[1])
