"""Overrides on the command line: what they set, and what they refuse; commands that are stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from bodyjax.commands import flags
from bodyjax.engine import loop
from bodyjax.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config():
    return ConfigDict(
        {
            "seed": 0,
            "data": {"path": "clips", "batch": 8, "augment": {"scale": (0.8, 1.2), "flip": 0.5}},
            "operations": {"stop": {"hold": 2}, "idle": {"hold": 1}},
        }
    )


def test_a_value_keeps_the_type_of_its_field(config):
    texts = {"seed": "3", "data.augment.flip": "1", "data.augment.scale": "[0.9, 1.1]"}
    flags.override(config, texts)
    assert config.seed == 3
    assert config.data.augment.to_dict() == {"scale": (0.9, 1.1), "flip": 1.0}
    assert isinstance(config.data.augment.flip, float)


def test_a_section_may_be_set_by_its_path(config):
    flags.override(config, {"data": "mine"})
    assert config.data.path == "mine"
    assert config.data.batch == 8


def test_braces_set_the_fields_they_name_and_keep_the_others(config):
    flags.override(config, {"data": "{'batch': 4, 'path': 'mine', 'augment': {'flip': 0}}"})
    augment = {"scale": (0.8, 1.2), "flip": 0.0}
    assert config.data.to_dict() == {"path": "mine", "batch": 4, "augment": augment}


def test_braces_set_the_whole_of_a_table(config):
    flags.override(config, {"operations": "{'wave': {'hold': 1}}"})
    assert config.operations.to_dict() == {"wave": {"hold": 1}}


def test_clips_without_labels_can_be_named():
    config = flags.load_config("phone:taught_96")
    flags.override(config, {"data.unlabelled": "{'jhmdb': 0.2}"})
    assert config.data.unlabelled.to_dict() == {"jhmdb": 0.2}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("sed", "1", "config.sed: there is no such field; did you mean seed?"),
        ("seed", "1.5", "config.seed: '1.5' is not int; now 0"),
        ("data.augment", "{'flop': 1}", "config.data.augment.flop: there is no such field"),
        ("data.augment", "{'flip': 'often'}", "config.data.augment.flip: 'often' is not float"),
        ("data.augment", "{'flip'", "is not a section"),
        ("operations", "none", "config.operations: 'none' is not a section"),
    ],
)
def test_mistakes_name_the_field_in_one_line(config, name, text, message):
    before = config.to_dict()
    with pytest.raises(ConfigError) as caught:
        flags.override(config, {name: text})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert config.to_dict() == before


# ---- configs by name


def test_a_config_is_found_by_name_and_by_path(monkeypatch, tmp_path):
    by_path = flags.load_config(str(ROOT / "configs/classifier.py:tiny")).to_dict()
    monkeypatch.chdir(tmp_path)
    assert flags.load_config("classifier:tiny").to_dict() == by_path
    assert flags.load_config("classifier").to_dict() != by_path
    assert set(flags.shipped_configs()) == {
        "classifier",
        "lifter",
        "phone",
        "pose",
        "sequence",
    }


def test_a_file_goes_before_a_config_of_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pose.py").write_text("def get_config(variant='own'): return {'own': variant}")
    assert flags.load_config("pose.py:mine") == {"own": "mine"}
    assert "own" not in flags.load_config("pose")


def test_a_config_inside_the_package_is_the_installed_one(monkeypatch, tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/own.py").write_text("def get_config(): return {'own': 1}")
    monkeypatch.setattr(flags, "PACKAGE", tmp_path)
    assert flags.load_config("own") == {"own": 1}


# ---- stopped


def test_the_exit_code_is_the_engine_s():
    assert flags.EXIT_INTERRUPTED == loop.EXIT_INTERRUPTED


AS_ON_A_TERMINAL = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("launch.train", run_name="__main__")
"""
"""What is started in the background, as these tests may be, ignores Ctrl-C otherwise."""


def test_ctrl_c_while_clips_are_made_is_said_in_one_line(tmp_path):
    command = [sys.executable, "-c", AS_ON_A_TERMINAL, "--config=configs/classifier.py:tiny"]
    process = subprocess.Popen(
        [*command, "--config.data.simulated.train=500", f"--workdir={tmp_path / 'run'}"],
        cwd=ROOT, env={**os.environ, "BODYJAX_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        while not any(tmp_path.rglob("0*.mp4")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers too
        out, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == flags.EXIT_INTERRUPTED, said
    assert said.splitlines()[-1] == flags.STOPPED
    assert "Traceback" not in said + out
    assert len(list(tmp_path.rglob("0*.mp4"))) < 500


IN_A_CALLBACK = """
def collecting(phase, details):
    signal.raise_signal(signal.SIGTERM)
    gc.callbacks.remove(collecting)
    print("to the end")

gc.callbacks.append(collecting)
gc.collect()
"""
IN_AN_IMPORT = """
sys.path.insert(0, ".")
open("delicate.py", "w").write(
    "import signal; signal.raise_signal(signal.SIGTERM); print('to the end')"
)
import delicate
"""


@pytest.mark.parametrize("code", [IN_A_CALLBACK, IN_AN_IMPORT], ids=["callback", "import"])
def test_a_signal_where_it_would_be_lost_or_do_harm_counts_a_moment_later(code, tmp_path):
    lines = [f"    {line}" for line in f"{code}\ntime.sleep(20)\nreturn 0".splitlines()]
    script = ["import gc, signal, sys, time", "from bodyjax.commands import flags"]
    script += ["def main(arguments):"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*script, *lines, "flags.run(main)"])],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (flags.EXIT_INTERRUPTED, "to the end\n"), done.stderr
    assert done.stderr == f"{flags.STOPPED}\n"


A_THREAD_GOES_ON = """
import signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from bodyjax.commands import flags

idle = ThreadPoolExecutor(1)
idle.submit(time.sleep, 0)  # its thread ends only with the process

def compile():
    time.sleep(0.5)  # stands for a program of XLA, which nothing stops
    print("very slow compile", file=sys.stderr)

def main(arguments):
    threading.Thread(target=compile).start()
    signal.raise_signal(signal.SIGTERM)

flags.run(main)
"""


def test_what_a_thread_says_does_not_follow_the_line_of_a_stopped_command():
    done = subprocess.run(
        [sys.executable, "-c", A_THREAD_GOES_ON], cwd=ROOT, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == flags.EXIT_INTERRUPTED, done.stderr
    assert done.stderr.splitlines() == ["very slow compile", flags.STOPPED]


# ---- a full disk

FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from bodyjax.commands import flags
from bodyjax.engine import run_folder

def main(arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # stands for a full disk
    folder, what = Path(arguments[0]), arguments[1]
    noise = np.random.default_rng(0).normal(size=(400, 400))
    if what == "frozen":
        run_folder.save_frozen(folder, {"w": noise})
    elif what == "run":
        run_folder.Run(folder, 1).save("newest", 3, {"w": noise}, {"step": np.int32(3)}, {})
    elif what == "array":
        np.save(folder / "x.npy", noise)
    else:
        (folder / "x.txt").write_text("x" * 1_000_000)

flags.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit stands for a full disk on Linux")
@pytest.mark.parametrize("what", ["run", "frozen", "array", "text"])
def test_a_full_disk_is_said_in_the_last_line(tmp_path, what):
    """Orbax' threads report the failure as well, in many lines, some when the process ends."""
    command = [sys.executable, "-c", FULL, str(tmp_path), what]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == flags.EXIT_USER_ERROR
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "the disk full?" in line


@pytest.mark.parametrize("flag", ["--scale", "--siz", "--debu", "--second-f"])
def test_the_beginning_of_a_flag_is_a_wrong_flag(flag, capsys):
    parser = flags.parser("any", "what it does")
    flags.add_detector_flags(parser)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args([flag, "1"])
    assert caught.value.code == 2
    assert f"unrecognized arguments: {flag}" in capsys.readouterr().err
