"""Building the page: its modules as one script, and what is missing is one line."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from bodyjax.errors import UserError
from tools import demo, demo_models, demo_single


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


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """Files with the names of the runtime's and its licences', which say nothing."""
    folder = tmp_path / "runtime/node_modules/onnxruntime-web/dist"
    folder.mkdir(parents=True)
    for name in (*demo.RUNTIME, *demo.LICENCES):
        (folder / name).write_text(name)
    found = SimpleNamespace(origin=str(folder / "__init__.py"))
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: found)
    return tmp_path / "runtime"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--checkpoint", "none"], "there is no such checkpoint"),
        (["--checkpoint", "commands"], "is of system movement, not pose"),
        (["--scorer", "none"], "there is no such checkpoint"),
    ],
)
def test_a_wrong_checkpoint_leaves_no_page_and_an_older_one_whole(
    wrong, said, runtime, tmp_path, capsys
):
    words = ["--runtime", str(runtime), "--no-serve", *wrong]
    assert demo.main([*words, "--out", str(tmp_path / "pages/new")]) == 2
    assert said in capsys.readouterr().err
    old = tmp_path / "pages/old"
    old.mkdir()
    (old / "app.mjs").write_text("of an earlier page")
    assert demo.main([*words, "--out", str(old)]) == 2
    assert list((tmp_path / "pages").rglob("*")) == [old, old / "app.mjs"]
    assert (old / "app.mjs").read_text() == "of an earlier page"


def test_a_page_is_there_when_all_is_made(runtime, tmp_path, monkeypatch, capsys):
    """With models that say nothing: making them needs the packages of the extra `onnx`."""
    out = tmp_path / "page"

    def write(detector, judge, folder, *, full):
        assert not out.exists() or (out / "pose.onnx").read_text() == "first"
        for name in ("model.json", "pose.onnx", "scorer.onnx"):
            (folder / name).write_text(judge)

    monkeypatch.setattr(demo_models, "write", write)
    for judge in ("first", "second"):
        words = ["--scorer", judge, "--runtime", str(runtime), "--no-serve", "--out", str(out)]
        assert demo.main(words) == 0
        made = {file.name for file in out.iterdir()}
        assert {"index.html", "app.mjs", "scorer.onnx", demo.SINGLE, *demo.RUNTIME} <= made
        assert (out / "pose.onnx").read_text() == judge
    assert f"{out / demo.SINGLE}: " in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"page", "runtime"}


def test_a_port_in_use_is_one_line(tmp_path):
    with (
        demo.server(tmp_path) as first,
        pytest.raises(UserError, match=r"can't be used: .*; name another one by --port"),
    ):
        demo.server(tmp_path, first.server_address[1])
