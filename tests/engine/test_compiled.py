"""Compiled programs are kept where the user lets them be kept, and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILE = """
import jax, jax.numpy as jnp
def program(x):
    return jnp.sin(x) @ x
def compiled_again():
    jax.clear_caches()
    return jax.jit(program)(jnp.ones((8, 8))).sum()
"""


def run(program: str, cache: Path, **environment: str) -> tuple[str, str]:
    """stdout and stderr of a program that starts with nothing set."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE + program],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
        env={**own, "JAX_PLATFORMS": "cpu", "BODYJAX_CACHE": str(cache), **environment},
    )  # fmt: skip
    return done.stdout.strip(), done.stderr


def programs(folder: Path) -> set[str]:
    return {path.name.split("-")[0] for path in folder.rglob("*-cache")}


KEEP = "from bodyjax.engine import compiled\ncompiled.LEAST_SECONDS = 0\nprint(compiled.keep())\n"


def test_programs_are_kept_in_the_cache_folder_and_read_back(tmp_path):
    said, errors = run(KEEP + "compiled_again()", tmp_path)
    assert Path(said).parent == tmp_path / "compiled"
    assert "jit_program" in programs(Path(said))
    assert errors == ""
    hits = """
from jax import monitoring
events = []
monitoring.register_event_listener(lambda name, **_: events.append(name))
compiled_again()
print(events.count('/jax/compilation_cache/cache_misses'))
print('/jax/compilation_cache/cache_hits' in events)
"""
    said, errors = run(KEEP + hits, tmp_path)
    assert said.splitlines()[1:] == ["0", "True"]
    assert errors == ""


def test_importing_changes_no_setting(tmp_path):
    said, _ = run(
        "import bodyjax.engine.compiled, bodyjax.detect, bodyjax.detect.found\n"
        "print(jax.config.values['jax_compilation_cache_dir'])\ncompiled_again()",
        tmp_path,
    )
    assert said == "None"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("chosen", ["own", ""])
def test_a_folder_in_the_environment_comes_first(tmp_path, chosen):
    cache, own = tmp_path / "cache", str(tmp_path / chosen) if chosen else ""
    said, _ = run(
        KEEP + "compiled_again()",
        cache,
        JAX_COMPILATION_CACHE_DIR=own,
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    assert said == "None"
    assert not cache.exists()
    assert ("jit_program" in programs(tmp_path)) == bool(chosen)


def test_a_folder_in_jax_s_config_comes_first(tmp_path):
    own = tmp_path / "own"
    program = f"jax.config.update('jax_compilation_cache_dir', {str(own)!r})\n"
    said, _ = run(
        program + KEEP + "compiled_again()",
        tmp_path / "cache",
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    assert said == "None"
    assert not (tmp_path / "cache").exists()
    assert "jit_program" in programs(own)


def test_a_folder_that_can_t_be_made_is_no_error_and_no_noise(tmp_path):
    (tmp_path / "file").write_text("")
    said, errors = run(KEEP + "print(compiled_again() > 0)", tmp_path / "file" / "cache")
    assert said.split() == ["None", "True"]
    assert errors == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_no_error_and_no_noise(tmp_path):
    tmp_path.chmod(0o500)
    said, errors = run(KEEP + "print(compiled_again() > 0)", tmp_path)
    assert said.split() == ["None", "True"]
    assert errors == ""


def test_half_a_program_is_written_anew_and_other_warnings_are_shown(tmp_path):
    said, _ = run(KEEP + "print(compiled_again())", tmp_path)
    folder, value = said.splitlines()
    (file,) = Path(folder).glob("jit_program-*-cache")
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    said, errors = run(KEEP + "print(compiled_again())", tmp_path)
    assert (said.splitlines()[1], errors) == (value, "")
    assert len(file.read_bytes()) > 100
    _, errors = run(KEEP + "import warnings\nwarnings.warn('another one')", tmp_path)
    assert "another one" in errors


def test_what_can_t_be_written_later_is_no_noise(tmp_path):
    gone = """
import shutil
from pathlib import Path
compiled_again()
folder = Path(jax.config.values['jax_compilation_cache_dir'])
shutil.rmtree(folder)
folder.write_text('in the way')
print(compiled_again() > 0)
"""
    said, errors = run(KEEP + gone, tmp_path)
    assert said.endswith("True")
    assert errors == ""
