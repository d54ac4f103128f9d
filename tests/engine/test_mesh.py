"""bodyjax.engine.mesh: many devices and processes do what one device does."""

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from bodyjax.engine import loop, mesh, run_folder, trees
from bodyjax.errors import ConfigError, UserError
from tests.engine.test_resume import end
from tests.engine.toy import Points, Toy, config

Start = Callable[..., "subprocess.Popen[str]"]
STOP = 'stop={"steps": 6}'


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps on one device."""
    workdir = tmp_path_factory.mktemp("single")
    loop.fit(Toy(bad_value=77.0), Points(), config(stop={"steps": 6}), workdir)
    return workdir


def assert_close(workdir: Path, single: Path, step: int = 6) -> None:
    for item in ("model", "train"):
        mine, theirs = (
            trees.flatten(run_folder.read_arrays(folder / "newest" / str(step), item))
            for folder in (workdir, single)
        )
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_eight_devices_equal_one_and_one_may_go_on(
    single: Path, tmp_path: Path, start: Start
) -> None:
    """The batch over four groups of two devices that share the parameters."""
    code, said = end(start(tmp_path, STOP, "model_parallel=2", devices=8))
    assert code == 0, said
    assert "8 cpu device(s)" in said
    assert_close(tmp_path, single)
    result = loop.fit(Toy(bad_value=77.0), Points(), config(stop={"steps": 7}), tmp_path)
    assert result.step == 7


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_how_close_several_devices_come_to_one(
    single: Path, tmp_path: Path, start: Start, devices: int
) -> None:
    """The same bits on one device in another process; elsewhere sums have another order."""
    code, said = end(start(tmp_path, STOP, devices=devices))
    assert code == 0, said
    assert_close(tmp_path, single)
    far, same, count = 0.0, 0, 0
    for item in ("model", "train"):
        mine, theirs = (
            trees.flatten(run_folder.read_arrays(folder / "newest" / "6", item))
            for folder in (tmp_path, single)
        )
        for name in mine:
            one, other = np.asarray(mine[name]), np.asarray(theirs[name])
            same, count = same + int(np.array_equal(one, other)), count + 1
            if one.dtype.kind == "f":
                far = max(far, float(np.abs(one - other).max(initial=0)))
    print(
        f"{devices} devices: {same} of {count} arrays the same bits, largest difference {far:.2g}"
    )
    assert devices > 1 or same == count


@pytest.mark.slow
def test_two_processes_equal_one(single: Path, tmp_path: Path, start: Start) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [start(tmp_path, "--processes", port, 2, index, STOP, devices=2) for index in (0, 1)]
    ends = [end(process) for process in both]
    assert [code for code, _ in ends] == [0, 0], ends
    assert "4 cpu device(s) in 2 process(es)" in ends[0][1]
    assert_close(tmp_path, single)


def test_where_arrays_lie() -> None:
    one = mesh.make_mesh()
    assert one.shape == {"data": jax.device_count(), "model": 1}
    assert one.axis_types == (jax.sharding.AxisType.Auto,) * 2
    batch = mesh.to_device({"x": np.arange(6).reshape(2, 3)}, one)
    np.testing.assert_array_equal(batch["x"], np.arange(6).reshape(2, 3))
    two = jax.sharding.AbstractMesh((1, 2), ("data", "model"))
    shapes = {
        "k": np.zeros((3, 4)),
        "odd": np.zeros((4, 3)),
        "bias": np.zeros(4),
        "n": np.zeros(()),
    }
    found = {name: place.spec for name, place in mesh.shardings(shapes, two).items()}
    split, whole = jax.P(None, "model"), jax.P()
    assert found == {"k": split, "odd": whole, "bias": whole, "n": whole}


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"train\.model_parallel: 1 devices do not divide"):
        mesh.make_mesh(3)
    two = jax.sharding.AbstractMesh((2, 1), ("data", "model"))
    with pytest.raises(ConfigError, match="a batch of 7 does not divide over 2 devices"):
        mesh.check_batch_size(7, two)
    with pytest.raises(ConfigError, match="is not HOST:PORT"):
        mesh.initialize_processes("here", 2, 0)
    with pytest.raises(ConfigError, match=r"process 2 is not one of 0 \.\. 1"):
        mesh.initialize_processes("localhost:1", 2, 2)
    with pytest.raises(UserError, match=r"no answer from process 0 at 127\.0\.0\.1:1 in 0 s"):
        mesh.initialize_processes("127.0.0.1:1", 2, 1, timeout=0)
