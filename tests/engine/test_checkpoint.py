"""bodyjax.engine.checkpoint: what is on disk, and what happens when it is not what it was."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from bodyjax import detect, files, lift, recognize, score
from bodyjax.engine import checkpoint as ckpt
from bodyjax.engine import run_folder, seals
from bodyjax.errors import CheckpointError
from tests.documents import ROOT, blocks

RNG = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


MODEL = {
    "params": {"a": {"kernel": array(3, 4), "bias": array(4)}},
    "batch_stats": {"n": {"var": array(4)}},
    "ema": {},
}
TRAIN = {"train": {"step": np.int32(7), "opt_state": ({"mu": array(3, 4)}, ())}}
FROZEN = {"detector": {"params": {"w": array(2, 2)}, "batch_stats": {}}}


def record(**other: Any) -> dict[str, Any]:
    return {
        "system": "toy",
        "config": {"system": "toy", "model": {"widths": [1, 2]}},
        "meta": {"labels": ["x", "y"], "skeleton": "body18"},
        "metrics": {"accuracy": 0.5, "confusion": [[1, 0], [0, 1]]},
        "frozen": None,
        **other,
    }


def on_device(tree: Any) -> Any:
    return jax.tree.map(jnp.asarray, tree)


def same(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), a, b)
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder: newest 10, 20 (5 was removed), best 10, frozen; not to be written to."""
    workdir = tmp_path_factory.mktemp("made")
    digest = run_folder.save_frozen(workdir, on_device(FROZEN))
    run = run_folder.Run(workdir, keep=2)
    for step in (5, 10, 20):
        model = {**MODEL, "params": {"a": {**MODEL["params"]["a"], "bias": np.full(4, step, "f4")}}}
        arguments = (step, on_device(model), on_device(TRAIN), record(frozen=digest))
        if step == 10:
            run.save("best", *arguments)
        run.save("newest", *arguments)
    run.close()
    return workdir


@pytest.fixture
def workdir(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


def test_what_was_saved_is_loaded(made: Path) -> None:
    assert [f"{p.parent.name}/{p.name}" for p in run_folder.candidates(made)] == [
        "newest/20",
        "newest/10",
        "best/10",
    ]
    best = ckpt.load(made)
    assert (best.step, best.system, best.skeleton, best.labels) == (10, "toy", "body18", ("x", "y"))
    assert best.config.model.widths == (1, 2)
    assert best.metrics["confusion"] == [[1, 0], [0, 1]]
    assert same(best.variables["frozen"]["detector"]["params"], FROZEN["detector"]["params"])
    assert same(best.variables["batch_stats"], MODEL["batch_stats"])
    assert ckpt.load(made, "newest").step == ckpt.load(made / "20").step == 20
    np.testing.assert_array_equal(ckpt.load(made / "20").variables["params"]["a"]["bias"], 20)
    assert ckpt.load(made / "newest" / "20").step == 20


def test_restore_gives_the_structure_of_its_target(made: Path) -> None:
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=place), TRAIN
    )
    assert same(run_folder.restore(made / "newest" / "20", "train", target), TRAIN)
    target["train"]["opt_state"][0]["mu"] = jax.ShapeDtypeStruct((3, 5), np.float32, sharding=place)
    with pytest.raises(CheckpointError, match=r"opt_state/0/mu is \(3, 4\) float32, needed is \(3"):
        run_folder.restore(made / "newest" / "20", "train", target)
    del target["train"]["opt_state"][0]["mu"]
    with pytest.raises(CheckpointError, match=r"mu is \(3, 4\) float32, needed is nothing"):
        run_folder.restore(made / "newest" / "20", "train", target)


def test_any_flipped_bit_is_noticed(workdir: Path) -> None:
    rng = np.random.default_rng(1)
    step = workdir / "newest" / "20"
    files = [path for path in step.rglob("*") if path.is_file() and path.stat().st_size]
    for _ in range(60):
        victim = files[rng.integers(len(files))]
        good = victim.read_bytes()
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        victim.write_bytes(bad)
        with pytest.raises(CheckpointError) as caught:
            seals.verify(step)
        assert "\n" not in str(caught.value)
        victim.write_bytes(good)
        seals.verify(step)


def test_missing_cut_and_foreign_files_are_noticed(workdir: Path) -> None:
    step = workdir / "newest" / "20"
    for path in [path for path in step.rglob("*") if path.is_file()]:
        good = path.read_bytes()
        path.unlink()
        with pytest.raises(CheckpointError):
            seals.verify(step)
        if good:
            path.write_bytes(good[: len(good) // 2])
            with pytest.raises(CheckpointError):
                seals.verify(step)
        path.write_bytes(good)
    seals.verify(step)
    (step / "model" / "other").write_bytes(b"")
    with pytest.raises(CheckpointError, match="model/other does not belong here"):
        seals.verify(step)


def test_the_sums_can_be_checked_by_hand(made: Path) -> None:
    line = (made / "newest" / "20" / seals.SUMS).read_text().splitlines()[0]
    digest, name = line.split("  ")
    assert digest == files.sha256(made / "newest" / "20" / name)
    assert len(digest) == 64


def test_load_falls_back_and_says_so(workdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    (workdir / "best" / "10" / "record" / "metadata").write_text("{}")
    assert ckpt.load(workdir).step == 20
    assert "best/10: is damaged: record/metadata has changed" in caplog.text
    with pytest.raises(CheckpointError, match="record/metadata has changed"):
        ckpt.load(workdir / "best" / "10")
    (workdir / "newest" / "30").mkdir()
    caplog.clear()
    assert ckpt.load(workdir, "newest").step == 20
    assert "newest/30: was never finished" in caplog.text


def test_frozen_parameters_are_guarded_too(workdir: Path, made: Path) -> None:
    other = {"detector": {"params": {"w": array(2, 2)}}}
    run_folder.save_frozen(workdir, on_device(other))
    with pytest.raises(CheckpointError, match="frozen parameters are of another run"):
        ckpt.load(workdir)
    (workdir / "frozen" / "0" / seals.SUMS).unlink()
    with pytest.raises(CheckpointError, match="never finished"):
        ckpt.load(workdir)


def test_where_a_run_goes_on(workdir: Path) -> None:
    said: list[str] = []
    assert run_folder.latest_good(workdir, said.append) == workdir / "newest" / "20"
    (workdir / "newest" / "20" / seals.SUMS).unlink()
    good = run_folder.latest_good(workdir, said.append)
    assert good == workdir / "newest" / "10"
    assert len(said) == 1
    run_folder.discard(workdir, good)
    assert run_folder.candidates(workdir) == [workdir / "newest" / "10", workdir / "best" / "10"]
    for folder in run_folder.candidates(workdir):
        (folder / seals.SUMS).unlink()
    assert run_folder.latest_good(workdir, said.append) is None, "none was ever finished"
    run_folder.discard(workdir, None)
    assert run_folder.candidates(workdir) == []
    assert run_folder.latest_good(workdir / "new", said.append) is None


def test_a_save_that_writes_nothing_is_an_error_and_rests_are_removed(workdir: Path) -> None:
    rest = workdir / "newest" / "25.orbax-checkpoint-tmp"
    rest.mkdir()
    run = run_folder.Run(workdir, keep=1)
    deadline = time.monotonic() + 30  # Orbax removes them in a thread of its own
    while rest.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not rest.exists()
    arguments = (on_device(MODEL), on_device(TRAIN), record())
    for step in (20, 15):
        with pytest.raises(CheckpointError, match="was not written"):
            run.save("newest", step, *arguments)
    run.save("newest", 30, *arguments)
    run.close()
    assert [p.name for p in run_folder.candidates(workdir, ("newest",))] == ["30"]


@pytest.mark.parametrize("load", [ckpt.load, detect.load, recognize.load, score.load, lift.load])
@pytest.mark.parametrize("given", [5, None, b"small", ["small"]])
def test_what_is_no_name_of_a_checkpoint(load: Callable[[Any], object], given: object) -> None:
    what = f"^checkpoint: {type(given).__name__} names none; a run's folder, or one of the shipped"
    with pytest.raises(CheckpointError, match=what):
        load(given)


def test_what_is_no_checkpoint(tmp_path: Path, made: Path) -> None:
    for path, message in (
        (tmp_path / "none", "there is no such checkpoint; a run's folder, or one of the shipped"),
        ("no_such_name", "there is no such checkpoint"),
        (made / "11", "there is no such checkpoint"),
        (tmp_path, "holds no checkpoint; train first"),
    ):
        with pytest.raises(CheckpointError, match=message) as caught:
            ckpt.load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="is of system toy, not detector"):
        ckpt.load(made, system="detector")
    with pytest.raises(CheckpointError, match="neither best nor newest"):
        ckpt.load(made, "latest")


def test_variables_of_another_model(made: Path) -> None:
    variables = ckpt.load(made).variables
    ckpt.check_variables(variables, jax.eval_shape(lambda: variables), made)
    other = {**variables, "params": {"a": {"kernel": array(3, 9), "bias": array(4)}}}
    with pytest.raises(CheckpointError, match=r"of another model: params/a/kernel is \(3, 4\)"):
        ckpt.check_variables(variables, other, made)


# ---- exported weights -----------------------------------------------------------------------


def model(**other: Any) -> ckpt.Checkpoint:
    variables = {
        "params": {"a": {"kernel": array(3, 4), "n": np.int32([3])}},
        "batch_stats": {"n": {"var": np.float32([1e6, 1e-9])}},
        "frozen": {},
    }
    fields: dict[str, Any] = {
        "variables": variables,
        "config": ml_collections.ConfigDict({"system": "toy", "model": {"widths": (1, 2)}}),
        "system": "toy",
        "skeleton": "body18",
        "labels": ("x", "y"),
        "meta": {"labels": ["x", "y"], "skeleton": "body18"},
        "metrics": {"accuracy": 0.5},
        "versions": run_folder.versions(),
    }
    return ckpt.Checkpoint(**{**fields, **other})


@pytest.mark.parametrize(
    ("dtype", "error"), [("float32", 0), ("float16", 2**-11), ("bfloat16", 2**-8)]
)
def test_export_and_load(tmp_path: Path, dtype: str, error: float) -> None:
    before = model()
    folder = ckpt.export(before, tmp_path / "out", "# A card\n", dtype)
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.md",
        "config.json",
        "params.npz",
    ]
    after = ckpt.load(folder)
    kernel, loaded = before.variables["params"]["a"]["kernel"], after.variables["params"]["a"]
    np.testing.assert_allclose(loaded["kernel"], kernel, rtol=error)
    assert loaded["kernel"].dtype == np.float32
    assert loaded["n"].dtype == np.int32
    assert same(after.variables["batch_stats"], before.variables["batch_stats"]), "stay float32"
    for name in ("system", "skeleton", "labels", "metrics", "versions", "meta"):
        assert getattr(after, name) == getattr(before, name)
    assert after.config.to_dict() == before.config.to_dict()
    again = ckpt.export(after, tmp_path / "again", "# A card\n", dtype)
    assert (again / "params.npz").read_bytes() == (folder / "params.npz").read_bytes()


def test_a_run_can_be_exported(made: Path, tmp_path: Path) -> None:
    trained = ckpt.load(made)
    loaded = ckpt.load(ckpt.export(trained, tmp_path / "w", "card", "float32"))
    assert same(loaded.variables["params"], trained.variables["params"])
    assert same(
        loaded.variables["frozen"]["detector"]["params"],
        trained.variables["frozen"]["detector"]["params"],
    )


def test_numbers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    big = model(variables={"params": {"w": np.float32([7e4])}})
    with pytest.raises(CheckpointError, match="params/w does not fit into float16"):
        ckpt.export(big, tmp_path / "big", "")


def test_damaged_weights(tmp_path: Path) -> None:
    folder = ckpt.export(model(), tmp_path / "w", "card")
    good = (folder / "params.npz").read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    (folder / "params.npz").write_bytes(bad)
    with pytest.raises(CheckpointError, match=r"not the file that config\.json names"):
        ckpt.load(folder)
    (folder / "params.npz").write_bytes(good)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="can't be read: JSONDecodeError"):
        ckpt.load(folder)


def test_no_pickle(tmp_path: Path) -> None:
    folder = ckpt.export(model(), tmp_path / "w", "card")
    np.savez(folder / "params.npz", **{"params/w": np.array([{"code": 1}], dtype=object)})
    config = json.loads((folder / "config.json").read_text())
    config["sha256"] = files.sha256(folder / "params.npz")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="can't be read: ValueError: Object arrays"):
        ckpt.load(folder)


def test_weights_may_refer_to_other_shipped_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ckpt, "WEIGHTS", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert ckpt.export(model(), "small", "card") == tmp_path / "small"
    small = ckpt.load("small").variables
    frozen = {
        "detector": {name: small[name] for name in ("params", "batch_stats")},
        "other": {"w": np.float32([1.5])},
    }
    head = {"params": {"w": array(2)}, "batch_stats": {}, "frozen": frozen}
    classifier = model(variables=head)
    ckpt.export(classifier, "commands", "card", "float32", frozen_from={"detector": "small"})
    loaded = ckpt.load("commands").variables
    assert same(loaded["frozen"], frozen)
    assert same(loaded["params"], head["params"])
    with np.load(tmp_path / "commands" / "params.npz") as file:
        assert set(file.files) == {"params/w", "frozen/other/w"}
    changed = {"params": small["params"], "batch_stats": {"n": {"var": np.float32([1, 2])}}}
    unlike = model(variables={**head, "frozen": {"detector": changed}})
    with pytest.raises(CheckpointError, match="frozen 'detector' is not the weights 'small'"):
        ckpt.export(unlike, "bad", "card", frozen_from={"detector": "small"})
    ckpt.export(model(), "small", "other values")
    with pytest.raises(CheckpointError, match="made with other weights 'small'"):
        ckpt.load("commands")
    shutil.rmtree(tmp_path / "small")
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        ckpt.load("commands")


def test_orbax_alone_restores_as_the_page_says(made):
    block = next(one for one in blocks(ROOT / "docs/checkpoints.md") if "orbax" in one.text)
    names: dict[str, Any] = {}
    assert '"runs/classifier-default"' in block.text
    exec(block.text.replace("runs/classifier-default", str(made)), names)
    assert names["step"].name == "20"
    kernel = names["model"]["params"]["a"]["kernel"]
    np.testing.assert_array_equal(kernel, MODEL["params"]["a"]["kernel"])
    assert names["record"]["meta"]["labels"] == ["x", "y"]


def test_a_failed_write_waits_for_orbax_threads_whatever_they_raise(tmp_path):
    """Their `join` raises what they raised."""
    done = []

    class Raising(threading.Thread):
        __module__ = "orbax.threads"

        def run(self):
            time.sleep(0.3)
            done.append(True)

        def join(self, timeout=None):
            raise ValueError("no space")

    Raising().start()
    error = run_folder._unwritten(tmp_path, OSError("full"))
    assert done
    assert str(error).endswith("OSError: full; is the disk full?")
