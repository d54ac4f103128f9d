"""The whole function in a file that needs nothing of ours to run."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from bodyjax import tasks
from bodyjax.export import parity, stablehlo
from tests.random_variables import drawn
from tests.test_lowering import small_sequence
from tests.tiny_detector import untrained

ALONE = """
import sys
import numpy as np
from jax import export

data = open(sys.argv[1], "rb").read()
out = export.deserialize(bytearray(data)).call(np.load(sys.argv[2]))
np.savez(sys.argv[3], **{name: np.asarray(value) for name, value in out.items()})
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"bodyjax", "flax", "orbax"}))
"""


@pytest.fixture(scope="module")
def detector():
    """(deployed function, variables, program) of the tiny detector."""
    checkpoint = untrained()
    deployed = tasks.deployed(checkpoint.config)
    return deployed, checkpoint.variables, stablehlo.program(deployed, checkpoint.variables)


def test_a_detector_takes_any_batch_and_gives_what_ours_gives(detector):
    deployed, variables, program = detector
    assert program.inputs["0"].shape == ("b", 64, 64, 3)
    assert program.fixed == ""
    found = parity.differences(
        stablehlo.ours(deployed, variables), program.run, parity.examples(program.inputs, count=2)
    )
    assert {"xy", "score", "person_score"} < found.keys()
    parity.check(found, "float32", "f")


def test_the_file_runs_where_only_jax_is(detector, tmp_path):
    deployed, variables, program = detector
    canvases = np.concatenate([e["0"] for e in parity.examples(program.inputs, count=2)])
    (tmp_path / "detector").write_bytes(program.data)
    np.save(tmp_path / "in.npy", canvases)
    files = [str(tmp_path / name) for name in ("detector", "in.npy", "out.npz")]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *files], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    run = jax.jit(deployed.run)
    with np.load(tmp_path / "out.npz") as out:
        for number, canvas in enumerate(canvases):
            ours = run(variables, canvas)
            assert out["xy"].shape[1:] == ours.xy.shape
            np.testing.assert_allclose(out["maxima_score"][number], ours.maxima_score, atol=1e-5)
            np.testing.assert_allclose(out["score"][number], ours.score, atol=1e-5)


def test_half_precision_halves_the_file(detector):
    deployed, variables, program = detector
    half = stablehlo.program(deployed, variables, float16=True)
    assert len(half.data) < 0.65 * len(program.data)


def test_a_scorer_s_inputs_have_their_names_and_its_batch_is_free():
    config = small_sequence()
    deployed = tasks.deployed(config)
    variables = drawn(tasks.systems.build(config))
    program = stablehlo.program(deployed, variables)
    assert program.inputs["0/joints"].shape == ("b", 6, 17, 2)
    assert program.outputs["probability"].shape == ("b", 2)
    found = parity.differences(
        stablehlo.ours(deployed, variables), program.run, parity.examples(program.inputs, count=3)
    )
    parity.check(found, "float32", "f")
