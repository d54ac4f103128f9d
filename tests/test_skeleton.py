import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from bodyjax import ConfigError, skeleton
from tests.shared import GOLDENS, shared

ALL = sorted(skeleton.SKELETONS)
SIZES = {
    "coco17": 17, "body18": 18, "lsp14": 14, "h36m17": 17,
    "penn13": 13, "jhmdb15": 15, "mediapipe33": 33, "uiprmd22": 22, "lift16": 16,
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
    with pytest.raises(ConfigError, match="'nose' is named twice"):
        skeleton.make("mine", "nose nose", "")
    with pytest.raises(ConfigError, match="mirror 'left_ear-ear' names a joint"):
        skeleton.make("mine", "left_ear right_ear", "", mirror="left_ear-ear")
    with pytest.raises(ConfigError, match="1 sigmas for 2 joints"):
        skeleton.make("mine", "nose neck", "nose-neck", sigmas=(0.1,))
    with pytest.raises(ConfigError, match="numbers above 0"):
        skeleton.make("mine", "nose neck", "nose-neck", sigmas=(0.1, 0.0))
    with pytest.raises(ConfigError, match=r"skeleton\.limbs: is missing"):
        skeleton.of({"name": "mine", "joints": "nose neck"})
    with pytest.raises(ConfigError, match=r"skeleton\.bones: there is no such field"):
        skeleton.of({"name": "mine", "joints": "nose neck", "limbs": "", "bones": ""})


DOG = skeleton.make(
    "dog", ("L_Eye", "R_Eye", "nose", "tail-base"), [("L_Eye", "nose"), ("R_Eye", "nose")]
)


def test_mirrors_follow_from_names_or_are_said():
    assert DOG.mirror == (1, 0, 2, 3)
    sides = skeleton.make("four", "paw left.paw hind_l hind_r", "")
    assert sides.mirror == (0, 1, 3, 2)  # there is no right.paw
    said = skeleton.make("two", "a b c", "", mirror="a-c")
    assert said.mirror == (2, 1, 0)
    assert skeleton.other_side("LEFT_ear") == "RIGHT_ear"
    assert skeleton.other_side("collar") == "collar"


def test_a_skeleton_goes_through_a_config():
    for name in ALL:
        assert skeleton.words(skeleton.get(name)) == name
        assert skeleton.of(name) is skeleton.get(name)
        assert not skeleton.own(skeleton.get(name))
    for bones in (DOG, skeleton.with_sigmas(DOG, (0.1, 0.1, 0.2, 0.3))):
        stored = json.loads(json.dumps(skeleton.words(bones)))
        assert skeleton.of(stored) == bones
        assert skeleton.of(ConfigDict(stored)) == bones
        assert skeleton.own(bones)


def test_joints_of_their_own_name_go_before_synonyms():
    paws = skeleton.make("paws", "left_hand left_wrist", "")
    xy = np.array([[1.0, 2.0], [3.0, 4.0]])
    moved, _ = skeleton.convert(xy, np.array([2, 2]), paws, paws)
    assert np.array_equal(moved, xy)
    moved, seen = skeleton.convert(xy, np.array([2, 2]), paws, skeleton.COCO17)
    assert seen.sum() == 2
    assert np.array_equal(moved[skeleton.COCO17.index("left_wrist")], (3, 4))


def test_a_joint_is_known_where_all_it_is_computed_of_is():
    known = np.ones(17, bool)
    known[skeleton.COCO17.index("left_shoulder")] = False
    mask = skeleton.convert_mask(known, skeleton.COCO17, skeleton.BODY18)
    assert {skeleton.BODY18.joints[j] for j in np.flatnonzero(~mask)} == {"neck", "left_shoulder"}
    with pytest.raises(ConfigError, match=r"set dogs has joints of dog, none of which .* uiprmd22"):
        skeleton.check_convertible(DOG, skeleton.UIPRMD22, "set dogs")
    skeleton.check_convertible(DOG, skeleton.COCO17, "set dogs")  # the nose
