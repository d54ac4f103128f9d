import numpy as np
import pytest

from bodyjax import ConfigError, skeleton
from tests.shared import GOLDENS, shared

ALL = sorted(skeleton.SKELETONS)
SIZES = {
    "coco17": 17, "body18": 18, "lsp14": 14, "h36m17": 17,
    "penn13": 13, "jhmdb15": 15, "mediapipe33": 33, "uiprmd22": 22,
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_joints_limbs_and_groups_fit(name):
    bones = skeleton.get(name)
    assert len(bones.joints) == SIZES[name] == len(set(bones.joints))
    assert all(a != b and min(a, b) >= 0 and max(a, b) < SIZES[name] for a, b in bones.limbs)
    assert len({frozenset(limb) for limb in bones.limbs}) == len(bones.limbs)
    reached = {j for limb in bones.limbs for j in limb}
    alone = {bones.joints[j] for j in set(range(SIZES[name])) - reached}
    assert all(word.endswith(("_inner", "_outer")) for word in alone)
    for limbs in bones.groups.values():
        assert limbs
        assert max(limbs) < len(bones.limbs)


@pytest.mark.parametrize("name", ALL)
def test_mirror_swaps_left_and_right_and_keeps_limbs(name):
    bones = skeleton.get(name)
    mirror = np.array(bones.mirror)
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    for j, m in enumerate(mirror):
        a, b = bones.joints[j], bones.joints[m]
        sides = {a.split("_")[0], b.split("_")[0]}
        assert sides == {"left", "right"} or (a == b and not sides & {"left", "right"})
    pairs = {frozenset(limb) for limb in bones.limbs}
    assert {frozenset(int(mirror[j]) for j in limb) for limb in pairs} == pairs


def test_orders_equal_those_stored_with_the_data():
    def names(path, key):
        return tuple(str(x) for x in np.load(shared(path), allow_pickle=False)[key])

    assert skeleton.JHMDB15.joints == names("data/jhmdb/joints.npz", "joints")
    assert skeleton.PENN13.joints == names("data/penn_action/penn_action.npz", "joint_names")
    assert skeleton.UIPRMD22.joints == names("data/ui_prmd/ui_prmd.npz", "joint_names")
    assert skeleton.H36M17.joints == names("data/people/labels.npz", "h36m_names")
    assert skeleton.COCO17.joints == names("data/people/labels.npz", "coco_names")
    stored = names("data/pose_trainer/pose_trainer.npz", "joint_names")
    assert skeleton.BODY18.joints == stored


def test_body18_limbs_are_in_the_order_of_the_published_fields():
    fields = np.load(GOLDENS / "openpose_fields.npz", allow_pickle=False)
    assert np.array_equal(np.array(skeleton.BODY18.limbs), fields["limbs"])


def test_uiprmd_limbs_are_the_stored_tree():
    parents = np.load(shared("data/ui_prmd/ui_prmd.npz"), allow_pickle=False)["parents"]
    stored = {frozenset((int(p), i)) for i, p in enumerate(parents) if p >= 0}
    assert {frozenset(limb) for limb in skeleton.UIPRMD22.limbs} == stored


def test_only_published_sigmas():
    assert [name for name in ALL if skeleton.get(name).sigmas] == ["coco17"]
    assert len(skeleton.COCO17.sigmas) == 17


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("target", ALL)
def test_convert_moves_joints_by_name_and_middles(source, target):
    rng = np.random.default_rng(3)
    a, b = skeleton.get(source), skeleton.get(target)
    xy = rng.normal(size=(2, 5, len(a.joints), 3))
    visible = rng.integers(0, 3, (2, 5, len(a.joints)))
    out, seen = skeleton.convert(xy, visible, a, b)
    assert out.shape == (2, 5, len(b.joints), 3)
    assert (out[seen == 0] == 0).all()
    for j, joint in enumerate(b.joints):
        middle = skeleton.MIDDLES.get((target, joint))
        if joint in a.joints and (middle is None or source == target):
            i = a.index(joint)
            assert (seen[..., j] == visible[..., i]).all()
            assert (out[..., j, :] == np.where(visible[..., i, None] > 0, xy[..., i, :], 0)).all()
        elif middle and all(part in a.joints for part in middle):
            left, right = (a.index(part) for part in middle)
            assert (seen[..., j] == np.minimum(visible[..., left], visible[..., right])).all()
            both = seen[..., j] > 0
            mean = (xy[..., left, :] + xy[..., right, :]) / 2
            assert np.allclose(out[..., j, :][both], mean[both])


def test_coco_survives_the_way_through_body18():
    rng = np.random.default_rng(4)
    xy, visible = rng.normal(size=(3, 17, 2)), rng.integers(1, 3, (3, 17))
    there = skeleton.convert(xy, visible, skeleton.COCO17, skeleton.BODY18)
    back = skeleton.convert(*there, skeleton.BODY18, skeleton.COCO17)
    assert np.array_equal(back[0], xy)
    assert np.array_equal(back[1], visible)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="coco17"):
        skeleton.get("coco_17")
    with pytest.raises(ConfigError, match="left_toe"):
        skeleton.COCO17.index("left_toe")
    with pytest.raises(ConfigError, match="nose-chin"):
        skeleton.make("mine", "nose neck", "nose-chin")
    with pytest.raises(ConfigError, match="not a limb"):
        skeleton.make("mine", "nose neck hip", "nose-neck", groups={"head": "neck-hip"})
    with pytest.raises(ValueError, match="17 joints"):
        skeleton.convert(np.zeros((16, 2)), np.zeros(16), skeleton.COCO17, skeleton.BODY18)
