"""The detector's program as a user's own: written to a file and read again, explained by help(),
and differentiable with respect to the pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from bodyjax import detect
from tests import tiny_detector
from tests.detect import test_canvas, test_detector

SIZE = 64


@pytest.fixture(scope="module")
def restored():
    """An untrained network with the settings of a small canvas."""
    return detect.load(tiny_detector.untrained())


@pytest.fixture(scope="module")
def dots():
    """A detector of four coloured dots, by every map that a network with centres has."""
    settings = detect.Settings(size=SIZE, min_parts=1)
    return detect.make(test_canvas.DOTS, jnp.zeros(2), settings)


@pytest.fixture(scope="module")
def looking_twice():
    settings = detect.Settings(size=SIZE, min_parts=1, max_people=2)
    one = detect.make(test_canvas.DOTS, jnp.zeros(2), settings)
    return detect.make(test_canvas.DOTS, jnp.zeros(2), settings, second=one)


def scene(side=SIZE):
    places = np.array([[0.5, 0.16], [0.47, 0.35], [0.52, 0.6], [0.47, 0.86]]) * side
    return test_canvas.picture(places, (side, side), side / 16)


@pytest.mark.parametrize("kind", ["restored", "dots", "looking_twice"])
def test_predict_is_written_to_a_file_and_read_with_equal_outputs(request, tmp_path, kind):
    detector = request.getfixturevalue(kind)
    canvas = jax.ShapeDtypeStruct((detector.side, detector.side, 3), np.uint8)
    program = export.export(detector.predict)(detector.variables, canvas)
    (tmp_path / "predict").write_bytes(program.serialize())
    again = export.deserialize(bytearray((tmp_path / "predict").read_bytes()))
    wanted = detector.predict(detector.variables, scene(detector.side))
    got = again.call(detector.variables, scene(detector.side))
    assert isinstance(got, detect.Detections)
    jax.tree.map(np.testing.assert_array_equal, got, wanted)


def test_help_says_what_predict_takes_and_gives(dots, looking_twice):
    for detector in (dots, looking_twice):
        assert "canvas (" in detector.predict.__doc__
        assert "best first" in detector.predict.__doc__


def joints(found):
    return found.score[0].sum()


def certainty(found):
    return found.person_score[0]


def places(found):
    return jnp.where((found.score[0] > 0)[:, None], found.xy[0], 0.0).sum()


@pytest.mark.parametrize(("what", "near"), [(joints, 1e-6), (certainty, 3e-7), (places, 3e-5)])
def test_gradients_of_the_result_to_the_pixels_are_right(what, near):
    """By affinity fields: against differences along the gradient and along random directions."""
    detector = detect.make(
        test_detector.COLOURS, test_detector._variables(), detect.Settings(size=128)
    )
    spots = np.array([[30.0, 64], [64, 64], [100, 64]])
    canvas = jnp.asarray(test_detector._blobs((128, 128), spots, 8.0), jnp.float32)

    @jax.jit
    def value(canvas):
        return what(detector.predict(detector.variables, canvas))

    slope = np.asarray(jax.grad(value)(canvas))
    assert np.isfinite(slope).all()
    rng, lit = np.random.default_rng(0), np.asarray(canvas) > 5
    random = [rng.normal(size=canvas.shape) * lit for _ in range(3)]
    steps = (slope / np.abs(slope).max(), *random)
    for step in (jnp.asarray(step, jnp.float32) for step in steps):
        difference = (value(canvas + 0.5 * step) - value(canvas - 0.5 * step)) / 1.0
        assert float((slope * step).sum()) == pytest.approx(float(difference), rel=0.03, abs=near)


@pytest.mark.parametrize("kind", ["restored", "dots", "looking_twice"])
def test_gradients_are_numbers_also_where_nobody_is(request, kind):
    detector = request.getfixturevalue(kind)

    def value(canvas):
        found = detector.predict(detector.variables, canvas)
        return found.score.sum() + found.person_score.sum() + found.maxima_score.sum()

    slope = jax.jit(jax.grad(value))
    for canvas in (scene(detector.side), np.full((detector.side, detector.side, 3), 90)):
        assert np.isfinite(slope(jnp.asarray(canvas, jnp.float32))).all()
