"""What commands write never harms what they read, and is tried before the work begins."""

import os
import threading
from pathlib import Path

import pytest

from bodyjax import files
from bodyjax.commands import (
    archive,
    benchmark,
    detect,
    evaluate,
    outputs,
    prepare,
    recognize,
    train,
)
from bodyjax.commands.outputs import Output
from bodyjax.errors import ConfigError, UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path):
    """A folder with a picture, a video, labels and links to the picture beside it."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("a.png", "v.mp4", "annotations.json"):
        (folder / name).write_bytes(b"kept")
    (tmp_path / "soft.png").symlink_to(folder / "a.png")
    (tmp_path / "hard.png").hardlink_to(folder / "a.png")
    return folder


def tried(source):
    """(command, its words, a flag that names a file or folder to write)."""
    picture, video = str(source / "a.png"), str(source / "v.mp4")
    labelled = ["--checkpoint", "none", "--data", str(source)]
    watched = ["--checkpoint", "none", "--video", video]
    return [
        (detect, ["--input", picture], "--json"),
        (detect, ["--input", picture], "--out"),
        (evaluate, labelled, "--out"),
        (evaluate, labelled, "--results"),
        (recognize, watched, "--json"),
    ]


def test_no_command_writes_over_its_input_by_any_name(source, tmp_path):
    for command, words, flag in tried(source):
        read = source / ("v.mp4" if command is recognize else "a.png")
        links = [tmp_path / "soft", tmp_path / "hard"]
        for link, make in zip(links, (os.symlink, os.link), strict=True):
            link.unlink(missing_ok=True)
            make(read, link)
        names = [read, source / ".." / "source" / read.name]
        if flag != "--out" or command is evaluate:  # overlays have the endings of pictures
            names += links
        else:
            names += [tmp_path / "soft.png", tmp_path / "hard.png"]
        for name in names:
            # A hard link beside a folder that is read is a file of its own for evaluate.
            if command is evaluate and name.name.startswith("hard"):
                continue
            with pytest.raises(UserError, match=f"{flag} (would replace|lies in)") as caught:
                command.main([*words, flag, str(name)])
            assert "\n" not in str(caught.value)
    assert {file.read_bytes() for file in source.iterdir()} == {b"kept"}


def test_no_command_writes_into_its_source(source):
    inside = str(source / "deep" / "new")
    for command, words in (
        (detect, ["--input", str(source), "--out", inside]),
        (detect, ["--input", str(source), "--json", inside]),
        (evaluate, ["--checkpoint", "none", "--data", str(source), "--out", inside]),
        (evaluate, ["--checkpoint", "none", "--data", str(source), "--pictures", inside]),
        (recognize, ["--checkpoint", "none", "--video", str(source), "--out", inside]),
        (recognize, ["--checkpoint", "none", "--video", str(source), "--json", inside]),
        (prepare, ["--source", str(source), "--out", inside]),
        (archive, ["--checkpoint", "none", "--source", str(source), "--out", inside]),
        (prepare, ["--source", str(source), "--out", str(source.parent)]),  # OUT/source
        (prepare, ["--source", str(source), "--teacher", "small", "--out", inside]),
    ):
        with pytest.raises(UserError, match=r"lies in the (input|set|source|data)"):
            command.main(words)
    words = ["--config", "sequence:tables", f"--config.data={source}", "--workdir", str(source)]
    with pytest.raises(UserError, match="is the folder of the data"):
        train.main(words)
    assert not (source / "deep").exists()


def test_what_cannot_be_written_is_said_before_the_work(source, tmp_path):
    """The checkpoint `none` is not even looked for."""
    (tmp_path / "plain").write_text("in the way")
    for command, words, flag in [*tried(source), (benchmark, [], "--json")]:
        for name, message in (
            (tmp_path / "plain" / "x.png", "the folder can't be made"),
            (Path("/proc/none.png"), "can't be written"),
            (tmp_path / ("x" * 250 + ".png"), "can't be written"),
            (tmp_path, "lies in|is a folder|would replace"),
        ):
            if command is detect and flag == "--out" and name == tmp_path:
                continue  # a folder for overlays
            with pytest.raises(UserError, match=message) as caught:
                command.main([*words, flag, str(name)])
            assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="--out: is empty"):
        detect.main(["--input", str(source / "a.png"), "--out="])
    with pytest.raises(UserError, match="is a file; name a folder"):
        train.main(["--config", "sequence:tables", f"--config.data={source}",
                    "--workdir", str(tmp_path / "plain")])  # fmt: skip


def test_a_missing_folder_is_made(tmp_path):
    file = tmp_path / "new" / "deep" / "x.json"
    outputs.check([Output("--json", file)], {})
    assert list(tmp_path.rglob("*")) == [tmp_path / "new", tmp_path / "new" / "deep"]
    files.write_text(file, "text")
    assert file.read_text() == "text"


def test_two_outputs_are_two_files(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "x.json")
    for name in ("x.json", "link"):
        with pytest.raises(UserError, match="--results would replace what --out writes"):
            outputs.check(
                [Output("--out", tmp_path / "x.json"), Output("--results", tmp_path / name)], {}
            )
    outputs.check([Output("--out", "/dev/null"), Output("--results", "/dev/null")], {})


def test_a_checkpoint_stays_whole(tmp_path):
    run = tmp_path / "run"
    (run / "newest" / "20").mkdir(parents=True)
    (run / "newest" / "20" / "SHA256SUMS").write_text("sums")
    reads = outputs.of_checkpoint(run, None, "small")
    for name in ("newest/20/x.json", "newest/20/SHA256SUMS", "newest/x.json"):
        with pytest.raises(UserError, match="lies in a checkpoint"):
            outputs.check([Output("--out", run / name)], reads)
    outputs.check([Output("--out", run / "metrics.json")], reads)  # beside it
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "params.npz").write_bytes(b"kept")
    with pytest.raises(UserError, match="--out would replace a checkpoint"):
        outputs.check([Output("--out", weights / "params.npz")], outputs.of_checkpoint(weights))


def test_a_link_stays_a_link_and_a_pipe_a_pipe(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "x.json", tmp_path / "x.json"
    link.symlink_to(target)
    outputs.check([Output("--json", link)], {})
    files.write_text(link, "one")
    assert link.is_symlink()
    assert target.read_text() == "one"
    assert list(target.parent.iterdir()) == [target]

    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    outputs.check([Output("--json", pipe)], {})
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    files.write_text(pipe, "two")
    reader.join(10)
    assert got == ["two"]
    assert pipe.is_fifo()

    files.write_text("/dev/null", "three")
    assert Path("/dev/null").is_char_device()


def test_devices_of_the_process_are_written_to(capfd):
    outputs.check([Output("--json", "/dev/stdout")], {})
    files.write_text("/dev/stdout", "text\n")
    assert capfd.readouterr().out == "text\n"
