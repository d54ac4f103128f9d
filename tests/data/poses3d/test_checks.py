"""What is noticed in joints in space: units, sides, numbers, shapes."""

import numpy as np
import pytest

from bodyjax.data.poses3d import checks
from bodyjax.errors import DataError
from bodyjax.simulate import clips
from bodyjax.skeleton import H36M17


@pytest.fixture(scope="module")
def people():
    """Forty simulated people with joints in mm."""
    return np.concatenate([clips.picture(seed, (64, 64), 4)["h36m"] for seed in range(10)])


def test_people_in_mm_pass_and_unknown_joints_too(people):
    checks.check(people, "set")
    some = people.copy()
    some[3, 5] = np.nan
    checks.check(some, "set")


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "metres"), (0.1, "centimetres")])
def test_other_units_are_named(people, factor, unit):
    with pytest.raises(DataError, match=rf"look like {unit}"):
        checks.check(people * factor, "set")
    with pytest.raises(DataError, match="no person's"):
        checks.check(people * 1e5, "set")


def test_swapped_sides_and_mirrored_space_are_noticed(people):
    bent = np.repeat(people, 10, 0)
    with pytest.raises(DataError, match="left and right are swapped"):
        checks.check(bent[:, list(H36M17.mirror)], "set")
    with pytest.raises(DataError, match="left and right are swapped"):
        checks.check(bent * [-1, 1, 1], "set")
    # Of a mirrored picture with its labels swapped, people are people.
    checks.check((bent * [-1, 1, 1])[:, list(H36M17.mirror)], "set")


def test_shapes_and_infinities(people):
    with pytest.raises(DataError, match=r"want joints \(N, 17, 3\)"):
        checks.check(people[:, :16], "set")
    people = people.copy()
    people[2, 4, 1] = np.inf
    with pytest.raises(DataError, match="pose 2"):
        checks.check(people, "set")
    people[2] = np.nan
    with pytest.raises(DataError, match="pose 2"):
        checks.check(people, "set")
