"""The commands against their table, measured from the posed joints, and exercises."""

import numpy as np
import pytest

from bodyjax.simulate import body, exercises, motion

SEEDS = range(12)


def arm(at, frames, side):
    """(T,) raised, outward, elbow in degrees, measured from the points in the trunk's frame."""
    upper = body.unit(at[f"{side}_elbow"] - at[f"{side}_shoulder"])
    fore = body.unit(at[f"{side}_wrist"] - at[f"{side}_elbow"])
    x, y, z = np.einsum("tji,tj->it", frames["trunk"], upper)
    raised = np.degrees(np.arccos(np.clip(-y, -1, 1)))
    outward = np.degrees(np.arctan2(x if side == "left" else -x, z))
    elbow = np.degrees(np.arccos(np.clip(np.sum(upper * fore, -1), -1, 1)))
    return raised, outward, elbow


def performed(name, seed, frames=75):
    rng = np.random.default_rng(seed)
    person = body.draw_body(rng)
    setting = motion.draw_setting(rng, frames, 15.0)
    pose, count = motion.command(name, person, setting, rng)
    at, frame = body.pose_points(person, pose)
    arms = {side: arm(at, frame, side) for side in ("left", "right")}
    t = np.arange(frames) / 15.0
    # the movement without raising and lowering (0.6 s each at most)
    held = (t > setting.before + 0.75) & (t < t[-1] - setting.after - 0.65)
    return arms, held, count


def swing(values):
    """Least and greatest of an angle, without the tremor's last percent."""
    return np.percentile(values, 1), np.percentile(values, 99)


def repeats(values):
    """How often a value goes over its middle upwards."""
    high = values > (values.min() + values.max()) / 2
    return int(np.sum(~high[:-1] & high[1:]))


def hangs(arms, side, held):
    assert arms[side][0][held].max() < 20


@pytest.mark.parametrize("seed", SEEDS)
def test_stop(seed):
    arms, held, count = performed("stop", seed)
    raised, _, elbow = (v[held] for v in arms["left"])
    assert raised.min() > 165
    assert 170 <= np.median(raised) <= 180
    assert elbow.max() < 25
    hangs(arms, "right", held)
    assert count == 0
    # it goes up in front, not sideways
    rising = (arms["left"][0] > 50) & (arms["left"][0] < 140)
    assert np.abs(arms["left"][1][rising]).max() < 50


@pytest.mark.parametrize("seed", SEEDS)
def test_go_straight(seed):
    arms, held, count = performed("go_straight", seed)
    assert np.abs(arms["left"][0][held] - 90).max() < 12
    assert np.abs(arms["left"][1][held] - 88).max() < 14
    raised, outward, elbow = (v[held] for v in arms["right"])
    assert np.abs(raised - 90).max() < 14
    low, high = swing(outward)
    assert low < 12
    assert high > 70
    assert 75 < elbow.max() < 108
    assert np.corrcoef(outward, elbow)[0, 1] < -0.9  # the elbow bends as the arm comes across
    assert count in (2, 3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "moving"), [("left_turn", "left"), ("right_turn", "right")])
def test_turns(seed, name, moving):
    still = "right" if moving == "left" else "left"
    arms, held, count = performed(name, seed)
    assert np.abs(arms[still][0][held] - 90).max() < 12
    assert np.abs(arms[still][1][held]).max() < 16
    raised, outward, elbow = (v[held] for v in arms[moving])
    assert raised.min() > 36
    assert raised.max() < 64
    low, high = swing(outward)
    assert low < -20  # across, to the other front
    assert high > 70
    assert elbow.max() < 25
    assert count in (2, 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_left_turn_wait(seed):
    arms, held, _ = performed("left_turn_wait", seed)
    raised, outward, elbow = (v[held] for v in arms["left"])
    low, high = swing(raised)
    assert 38 < high < 53
    assert 12 < high - low < 26
    assert outward.min() > 60
    assert elbow.max() < 25
    hangs(arms, "right", held)


@pytest.mark.parametrize("seed", SEEDS)
def test_change_lane(seed):
    arms, held, _ = performed("change_lane", seed)
    raised, outward, _ = (v[held] for v in arms["right"])
    assert np.abs(raised - 90).max() < 12
    low, high = swing(outward)
    assert 52 < high - low < 86
    assert abs(high - 6) < 12
    hangs(arms, "left", held)


@pytest.mark.parametrize("seed", SEEDS)
def test_slow_down(seed):
    arms, held, _ = performed("slow_down", seed)
    raised, outward, elbow = (v[held] for v in arms["right"])
    low, high = swing(raised)
    assert abs(high - 90) < 10
    assert 38 < high - low < 66
    assert np.abs(outward - 45).max() < 20
    assert elbow.max() < 25
    hangs(arms, "left", held)


@pytest.mark.parametrize("seed", SEEDS)
def test_pull_over(seed):
    arms, held, _ = performed("pull_over", seed)
    assert arms["left"][0][held].min() > 160
    raised, outward, _ = (v[held] for v in arms["right"])
    assert np.abs(raised - 46).max() < 12
    low, high = swing(outward)
    assert 46 < high - low < 72
    assert abs(high) < 14


@pytest.mark.parametrize("name", [n for n in motion.COMMANDS if n not in ("stop", "idle")])
def test_repetitions_are_what_the_label_says(name):
    for seed in SEEDS:
        arms, held, count = performed(name, seed)
        side = "left" if name in ("left_turn", "left_turn_wait") else "right"
        angle = 0 if name in ("left_turn_wait", "slow_down") else 1
        values = -arms[side][angle][held]
        # the window may cut the first and the last excursion at their feet, not their tops
        assert repeats(np.concatenate([[values.min()], values])) == count, (name, seed)


def test_idle_never_gives_a_command():
    for seed in range(40):
        arms, _, count = performed("idle", seed)
        assert count == 0
        for side in ("left", "right"):
            straight = arms[side][2] < 40
            assert not np.any(straight & (arms[side][0] > 40))


def test_unknown_names_are_refused():
    rng = np.random.default_rng(0)
    person, setting = body.draw_body(rng), motion.draw_setting(rng, 20, 15.0)
    with pytest.raises(ValueError, match="no command"):
        motion.command("dance", person, setting, rng)
    with pytest.raises(ValueError, match="no exercise"):
        exercises.exercise("squat", "sagging_hips", person, setting, rng)


def drill(name, fault, seed):
    rng = np.random.default_rng(seed)
    person = body.draw_body(rng)
    setting = motion.draw_setting(rng, 45, 15.0)
    done = exercises.exercise(name, fault, person, setting, rng)
    return body.pose_points(person, done.pose)[0], person


def bend(at, a, b, c):
    """(T,) angle at b in degrees, 180 straight; the lesser of left and right."""
    both = []
    for side in ("left", "right"):
        first, second = (body.unit(at[f"{side}_{n}"] - at[f"{side}_{b}"]) for n in (a, c))
        both.append(np.degrees(np.arccos(np.clip(np.sum(first * second, -1), -1, 1))))
    return np.minimum(*both)


@pytest.mark.parametrize("seed", range(6))
def test_standard_and_faulty_exercises_differ_where_they_should(seed):
    good, _ = drill("push_up", None, seed)
    assert bend(good, "shoulder", "elbow", "wrist").min() < 95
    assert bend(good, "shoulder", "hip", "knee").min() > 162
    assert bend(drill("push_up", "shallow", seed)[0], "shoulder", "elbow", "wrist").min() > 100
    for fault in ("sagging_hips", "raised_hips"):
        assert bend(drill("push_up", fault, seed)[0], "shoulder", "hip", "knee").min() < 160

    good, person = drill("squat", None, seed)
    assert (good["left_hip"][:, 1] - good["left_knee"][:, 1]).min() < 0.06 * person.height
    shallow, _ = drill("squat", "shallow", seed)
    assert (shallow["left_hip"][:, 1] - shallow["left_knee"][:, 1]).min() > 0.08 * person.height
    gap = [
        at["left_knee"][:, 0] - at["right_knee"][:, 0]
        for at in (good, drill("squat", "knees_in", seed)[0])
    ]
    assert gap[1].min() < 0.75 * gap[0].min()

    for fault, over in ((None, True), ("shallow", False)):
        at, person = drill("pull_up", fault, seed)
        chin = at["neck"][:, 1].max() - at["left_wrist"][:, 1].mean()
        assert (chin > 0) == over
    assert bend(drill("pull_up", None, seed)[0], "shoulder", "elbow", "wrist").max() > 155
    assert bend(drill("pull_up", "no_extension", seed)[0], "shoulder", "elbow", "wrist").max() < 150

    def rise(at):
        trunk = body.unit(at["thorax"] - at["pelvis"])
        return np.degrees(np.arcsin(trunk[:, 1])).max()

    assert rise(drill("sit_up", None, seed)[0]) > 58
    assert rise(drill("sit_up", "shallow", seed)[0]) < 50
    lifted, person = drill("sit_up", "feet_lifted", seed)
    assert lifted["left_ankle"][:, 1].max() > person.length["ankle"] + 120


def test_weight_bearing_hands_and_feet_stay():
    for name, still in (
        ("push_up", ("wrist", "ankle")),
        ("pull_up", ("wrist",)),
        ("sit_up", ("ankle",)),
    ):
        for seed in range(5):
            at, _ = drill(name, None, seed)
            for joint in still:
                for side in ("left", "right"):
                    assert np.ptp(at[f"{side}_{joint}"], axis=0).max() < 3, (name, joint)


def test_faults_name_joints_of_coco():
    from bodyjax import skeleton

    names = skeleton.get("coco17").joints
    assert set(exercises.FAULTS) == set(exercises.EXERCISES)
    for faults in exercises.FAULTS.values():
        for guilty in faults.values():
            assert guilty
            assert set(guilty) <= set(names)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_way_sweeps_turn_late(count):
    t = np.linspace(0, 4, 4001)
    for seed in range(20):
        even, late = (
            motion.cycles(np.random.default_rng(seed), t, 0.0, 4.0, count, turning)
            for turning in (motion.EVEN, motion.LATE)
        )
        out, back = (np.diff(late) > 1e-7).sum(), (np.diff(late) < -1e-7).sum()
        assert out / (out + back) > 0.74
        assert 0.33 < (np.diff(even) > 1e-7).mean() < 0.6
        if count == 1:  # the arm stands still at its farthest
            top = np.flatnonzero(late > late.max() - 1e-9)
            assert (top[0] + top[-1]) / 2 / len(t) >= 0.75
