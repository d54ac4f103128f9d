"""Angles over time from videos: which frames and sides count, and a run on simulated clips."""

import numpy as np
import pytest

from bodyjax import geometry
from bodyjax.bench import lift_angles
from bodyjax.bench.lift_angles import Angles
from bodyjax.errors import ConfigError
from bodyjax.lift.motions import Motion
from bodyjax.skeleton import COCO17, H36M17

LEFT_KNEE, RIGHT_KNEE = ([*geometry.FLEXIONS].index(f"{s}_knee_flexion") for s in ("left", "right"))


def test_errors_count_found_frames_of_both_sides_and_those_where_the_picture_is_wrong():
    truth = np.zeros((2, len(geometry.FLEXIONS)))
    lifted, picture, exact = np.full((3, *truth.shape), 99.0)
    lifted[:, LEFT_KNEE], picture[:, LEFT_KNEE] = (4.0, np.nan), (-20.0, np.nan)
    lifted[:, RIGHT_KNEE], picture[:, RIGHT_KNEE] = (6.0, 8.0), (10.0, 15.0)  # not above OFF
    exact[:, [LEFT_KNEE, RIGHT_KNEE]] = 2.0
    found = lift_angles.errors([Angles(truth, lifted, picture, exact, -exact)], "knee")
    assert found.found == 0.75
    assert found.video == {"lift": 6.0, "picture": 15.0}
    assert found.off == {"share": 0.3333, "lift": 4.0, "picture": 20.0}
    assert found.exact == {"lift": 2.0, "picture": 2.0}


def test_a_person_who_is_never_found_has_no_error():
    truth = np.zeros((2, len(geometry.FLEXIONS)))
    unknown = np.full(truth.shape, np.nan)
    found = lift_angles.errors([Angles(truth, unknown, unknown, truth, truth)], "hip")
    assert found.found == 0
    assert found.video == {"lift": None, "picture": None}
    assert found.off == {"share": 0.0, "lift": None, "picture": None}
    assert found.exact == {"lift": 0.0, "picture": 0.0}


def test_angles_with_a_joint_that_is_not_seen_are_left_out():
    rng = np.random.default_rng(0)
    xy, xyz = rng.normal(size=(3, 17, 2)), rng.normal(size=(3, 17, 3))
    score = np.ones((3, 17))
    score[1, COCO17.index("left_ankle")] = 0
    motion = Motion(0, np.arange(3), np.arange(3) / 10, xy, score, xyz, xyz[:, 0])
    lifted, picture = lift_angles.of_motion(motion)
    for found, joints, bones in ((lifted, xyz, H36M17), (picture, xy, COCO17)):
        expected = np.array(geometry.flexions(joints, bones))
        expected[1, LEFT_KNEE] = np.nan
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("count", "names", "said"),
    [(8, ["squat", "jump"], "--exercises: no exercise 'jump'"), (1, ["squat"], "--clips: 1 clips")],
)
def test_mistakes_are_told_before_clips_are_made(count, names, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        lift_angles.measure("lifter", count, names, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_squat_is_measured_from_its_video(tmp_path):
    """From the side a knee is seen in the plane of the picture: both ways must read it."""
    report = lift_angles.measure("lifter", 2, ["squat"], tmp_path)
    rows = {(row["view"], row["joint"]): row for row in report["rows"]}
    assert set(rows) == {
        (view, joint) for view in ("front", "side") for joint in lift_angles.JOINTS
    }
    knee = rows["side", "knee"]
    assert knee["found"] > 0.9
    assert knee["video"]["lift"] < 15
    assert knee["exact"]["picture"] < 10
