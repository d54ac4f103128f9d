"""Traced programs are kept, taken again where all that decides them is the same, and never else."""

import dataclasses
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from bodyjax import detect
from bodyjax.detect import programs
from bodyjax.errors import CheckpointError, ConfigError
from tests.tiny_detector import untrained

NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3)


class Traced:
    """A function that counts how often it is traced."""

    def __init__(self, factor: float = 2.0) -> None:
        self.count, self.factor = 0, factor

    def __call__(self, tree, x):
        self.count += 1
        halves = jax.lax.map(lambda row: jax.lax.cond(row[0] > 1, jnp.sin, jnp.cos, row), x)
        return {"sum": self.factor * (tree["weights"] * halves).sum(), "x": x}


def keep(folder, function, weights=NUMBERS, x=NUMBERS, decides="", name="double", **more):
    arguments = ({"weights": weights}, x)
    return programs.kept(folder, name, function, arguments, decides, **more), arguments


def entries(folder):
    """Every file with what changes when it is written again."""
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.rglob("*")}


def test_the_second_time_nothing_is_traced_and_nothing_written(tmp_path):
    first, again = Traced(), Traced()
    program, arguments = keep(tmp_path / "traced", first)
    out, expected = program(*arguments), jax.jit(Traced())(*arguments)
    before = entries(tmp_path)
    assert len(before) == 2  # the folder and one program, no temporary file
    second, _ = keep(tmp_path / "traced", again)
    assert (first.count, again.count) == (1, 0)
    assert entries(tmp_path) == before
    for result in (out, second(*arguments)):
        assert jax.tree.map(np.array_equal, result, expected) == {"sum": True, "x": True}


def test_values_are_arguments_of_the_program(tmp_path):
    keep(tmp_path, Traced())
    again = Traced()
    program, _ = keep(tmp_path, again)
    others = ({"weights": NUMBERS + 1}, NUMBERS - 3)
    assert again.count == 0
    np.testing.assert_array_equal(program(*others)["sum"], jax.jit(Traced())(*others)["sum"])


OTHERS = {
    "name": {"name": "treble"},
    "decides": {"decides": "other settings"},
    "shape": {"x": NUMBERS[:1]},
    "dtype": {"x": NUMBERS.astype(np.float16)},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_whatever_differs_has_a_program_of_its_own(tmp_path, change):
    keep(tmp_path, Traced())
    before, other = entries(tmp_path), Traced()
    program, arguments = keep(tmp_path, other, **change)
    assert other.count == 1
    assert len(entries(tmp_path)) == 2
    assert before.items() <= entries(tmp_path).items()
    np.testing.assert_array_equal(program(*arguments)["x"], arguments[1])


def test_other_code_versions_or_settings_of_jax_have_programs_of_their_own(tmp_path, monkeypatch):
    keep(tmp_path, Traced())
    monkeypatch.setattr(programs.digests, "code", lambda: "changed")
    functions = [Traced(), Traced(), Traced()]
    keep(tmp_path, functions[0])
    monkeypatch.setattr(programs.run_folder, "versions", lambda: {"jax": "0"})
    keep(tmp_path, functions[1])
    precision = jax.config.values["jax_default_matmul_precision"]
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        keep(tmp_path, functions[2])
    finally:
        jax.config.update("jax_default_matmul_precision", precision)
    assert [function.count for function in functions] == [1, 1, 1]
    assert len(entries(tmp_path)) == 4


def test_a_change_of_any_file_of_the_package_changes_the_digest(tmp_path, monkeypatch):
    package = tmp_path / "bodyjax"
    (package / "models").mkdir(parents=True)
    for name in ("__init__.py", "canvas.py", "models/pose.py"):
        (package / name).write_text("a = 1\n")
    monkeypatch.setattr(programs.digests.bodyjax, "__file__", str(package / "__init__.py"))
    seen = {programs.digests.code.__wrapped__()}
    (package / "models" / "pose.py").write_text("a = 2\n")
    seen.add(programs.digests.code.__wrapped__())
    (package / "canvas.py").rename(package / "canvases.py")
    seen.add(programs.digests.code.__wrapped__())
    (package / "notes.txt").write_text("no code")
    assert len(seen | {programs.digests.code.__wrapped__()}) == 3


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def foreign(file):
    """Whole, but of another key."""
    other = file.parent / "other"
    keep(other, Traced(3.0), decides="other")
    (program,) = other.iterdir()
    program.replace(file)
    other.rmdir()


@pytest.mark.parametrize("damage", [cut, flip, foreign, lambda file: file.write_bytes(b"")])
def test_damaged_and_foreign_programs_are_written_anew(tmp_path, damage):
    keep(tmp_path, Traced())
    (file,) = tmp_path.iterdir()
    damage(file)
    damaged, function, again = file.read_bytes(), Traced(), Traced()
    program, arguments = keep(tmp_path, function)
    np.testing.assert_array_equal(
        program(*arguments)["sum"], jax.jit(Traced())(*arguments)["sum"]
    )  # not three times, as the foreign one says
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() != damaged
    keep(tmp_path, again)
    assert (function.count, again.count) == (1, 0)


@pytest.mark.parametrize("way", ["folder", "program"])
def test_what_can_t_be_written_is_no_error(tmp_path, way):
    """Also where root runs the tests, who may write to any folder: something is in the way."""
    folder = tmp_path / "traced"
    if way == "folder":
        folder.write_text("in the way")
    else:
        keep(folder, Traced())
        (file,) = folder.iterdir()
        file.unlink()
        (file / "in the way").mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    program, arguments = keep(folder, Traced())
    np.testing.assert_array_equal(program(*arguments)["x"], NUMBERS)
    assert set(tmp_path.rglob("*")) == before


def test_what_is_raised_before_tracing_is_passed_on_and_nothing_is_kept(tmp_path):
    def refuse():
        raise CheckpointError("of another model")

    function = Traced()
    with pytest.raises(CheckpointError):
        keep(tmp_path, function, before=refuse)
    assert function.count == 0
    assert not any(tmp_path.iterdir())
    keep(tmp_path, Traced())
    keep(tmp_path, Traced(), before=refuse)  # traced before: not asked again


def test_the_oldest_programs_go(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "MOST", 2)
    (tmp_path / "a file of the user.txt").write_text("")
    made = []
    for word in "abc":
        keep(tmp_path, Traced(), decides=word)
        (new,) = set(tmp_path.glob("*.program")) - set(made)
        made.append(new)
    assert set(tmp_path.iterdir()) == {*made[1:], tmp_path / "a file of the user.txt"}


class Pair(NamedTuple):
    one: jax.Array


def test_outputs_of_the_detector_are_known_to_jax_export(tmp_path):
    """Without its registration a type can't be written: then nothing is."""
    fields = detect.Detections._fields
    program = programs.kept(
        tmp_path, "all", lambda x: detect.Detections(*[x] * len(fields)), (NUMBERS,), ""
    )
    assert isinstance(program(NUMBERS), detect.Detections)
    with pytest.raises(ValueError, match="Pair"):
        programs.kept(tmp_path, "pair", Pair, (NUMBERS,), "")


# ---- detectors ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    return untrained()


@pytest.fixture(scope="module")
def kept(tiny, tmp_path_factory):
    """(folder, the detector that was traced there)"""
    folder = tmp_path_factory.mktemp("traced")
    return folder, detect.load_kept(folder, tiny)


PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def same(one, two) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, two)))


def test_a_kept_detector_is_the_detector(kept, tiny):
    folder, first = kept
    before, plain = entries(folder), detect.load(tiny)
    again = detect.load_kept(folder, tiny)
    assert entries(folder) == before
    assert len(before) == 1
    found = plain.predict(plain.variables, PICTURE)
    assert np.isfinite(found.maxima_xy).all()
    for other in (first, again):
        out = other.predict(other.variables, PICTURE)
        assert isinstance(out, detect.Detections)
        assert same(out, found)
        assert (other.settings, other.skeleton) == (plain.settings, plain.skeleton)


def test_other_settings_and_configs_have_programs_of_their_own(kept, tiny, tmp_path):
    folder = tmp_path / "traced"
    shutil.copytree(kept[0], folder)
    detect.load_kept(folder, tiny, min_score=0.9)
    assert len(entries(folder)) == 2
    config = ml_collections.ConfigDict(tiny.config)
    config.model.sigma = 3.0
    detect.load_kept(folder, dataclasses.replace(tiny, config=config))
    assert len(entries(folder)) == 3
    with pytest.raises(ConfigError, match=r"detect\.sise"):
        detect.load_kept(folder, tiny, sise=3)


def test_weights_of_another_model_are_refused_as_ever(kept, tiny, tmp_path):
    """They have other shapes: another program, which isn't there."""
    variables = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf], -1), tiny.variables)
    wrong = dataclasses.replace(tiny, variables=variables)
    for folder in (kept[0], tmp_path):
        before = entries(folder)
        with pytest.raises(CheckpointError, match="of another model"):
            detect.load_kept(folder, wrong)
        assert entries(folder) == before


def test_detect_load_keeps_nothing_and_its_program_is_pure(tiny, kept, tmp_path, monkeypatch):
    """Traced alone: what is not pure, or written to a file before, fails there."""
    monkeypatch.setenv("BODYJAX_CACHE", str(tmp_path))
    detector = detect.load(tiny)
    several = jax.ShapeDtypeStruct((2, 64, 64, 3), np.uint8)
    out = jax.eval_shape(jax.vmap(detector.predict, (None, 0)), detector.variables, several)
    assert out.xy.shape == (2, 3, len(detector.skeleton.joints), 2)

    def highest(params):
        variables = {**detector.variables, "params": params}
        return detector.predict(variables, PICTURE).maxima_score.sum()

    params = detector.variables["params"]
    slopes = jax.eval_shape(jax.jit(jax.grad(highest)), params)
    assert jax.tree.structure(slopes) == jax.tree.structure(params)
    assert not any(tmp_path.iterdir())
    with pytest.raises(NotImplementedError, match="call_exported"):  # as load_kept says
        jax.eval_shape(jax.vmap(kept[1].predict, (None, 0)), detector.variables, several)


@pytest.mark.slow
def test_a_second_look_and_its_following_are_kept(tmp_path):
    settings = {"second": "large", "size": 128, "second_size": 128, "max_people": 2}
    plain = detect.load("small", **settings)
    canvas = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    found = plain.predict(plain.variables, canvas)
    people = (found.xy, found.score, found.person_score)
    followed = plain.follow(plain.variables, canvas, *people)
    assert (found.person_score > 0).any()
    for programs_there in (0, 2):
        assert len(entries(tmp_path)) == programs_there
        before = entries(tmp_path)
        kept = detect.load_kept(tmp_path, "small", **settings)
        assert same(kept.predict(kept.variables, canvas), found)
        assert same(kept.follow(kept.variables, canvas, *people), followed)
        assert before.items() <= entries(tmp_path).items()
    assert len(entries(tmp_path)) == 2
