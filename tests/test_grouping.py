"""Grouping against published maps, against a plain NumPy reference, and on its own properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from bodyjax import codec, grouping, skeleton
from bodyjax.errors import ConfigError
from tests import grouping_reference as reference
from tests.shared import GOLDENS

BODY = skeleton.get("body18")
SHAPE, STRIDE = (46, 46), 8


@jax.jit
def draw(xy, visible):
    """Maps of up to 20 people: (P, 18, 2) -> heat maps (H, W, 18), fields (H, W, 38)."""
    return (
        codec.heatmaps(xy, visible, SHAPE, STRIDE, 7.0),
        codec.pafs(xy, visible, BODY.limbs, SHAPE, STRIDE, 8.0),
    )


def group(heatmaps, pafs):
    return grouping.group(heatmaps, pafs, BODY, stride=STRIDE, max_people=30, max_peaks=24)


@pytest.fixture(scope="module")
def run():
    """Groups the people of a batch of pictures."""
    return jax.jit(lambda h, f: jax.lax.map(lambda maps: group(*maps), (h, f)))


def maps(xy, visible):
    """Maps of these people, whose number may be anything up to 20."""
    empty = 20 - len(xy)
    return draw(np.pad(xy, ((0, empty), (0, 0), (0, 0))), np.pad(visible, ((0, empty), (0, 0))))


def found(people, i=0):
    """The people of picture i as arrays (18, 3), like those of the reference."""
    both = np.concatenate((people.xy[i], people.score[i][..., None]), axis=-1)
    return list(both[: int(people.count[i])])


def same(ours, theirs):
    """Whether both hold the same joint sets: the same joints at the same places."""
    theirs = list(theirs)
    for person in ours:
        there = person[:, 2] > 0
        for k, other in enumerate(theirs):
            if (there == (other[:, 2] > 0)).all() and (
                abs(person - other)[there].max(initial=0) < 0.05
            ):
                del theirs[k]
                break
        else:
            return False
    return not theirs


# ---- the published implementation: tests/data/goldens/README.md, "How bodyjax compares with them"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / "grouping.npz", allow_pickle=False) as file:
        arrays = dict(file)
    limbs = [tuple(limb) for limb in arrays["limbs"].tolist()]
    channels = arrays["paf_channels"][[limbs.index(limb) for limb in BODY.limbs]].ravel()
    count = int(arrays["n_scenes"])
    scenes = [
        {k[4:]: v for k, v in arrays.items() if k.startswith(f"s{i:02d}_")} for i in range(count)
    ]

    def padded(maps):  # to one shape, that one program groups them all
        maps = np.moveaxis(maps, 0, -1)
        return np.pad(maps, ((0, 46 - maps.shape[0]), (0, 82 - maps.shape[1]), (0, 0)))

    def group_32(heatmaps, pafs):
        return grouping.group(heatmaps, pafs, BODY, stride=8, max_people=30, max_peaks=32)

    people = jax.jit(lambda h, f: jax.lax.map(lambda maps: group_32(*maps), (h, f)))(
        np.stack([padded(scene["heatmaps"]) for scene in scenes]),
        np.stack([padded(scene["pafs"])[..., channels] for scene in scenes]),
    )
    assert not np.asarray(people.overflow).any()
    for i, scene in enumerate(scenes):
        scene["ours"] = found(people, i)
        there = scene["pose_entries"][:, :18, None] >= 0
        scene["poses"] = np.concatenate((scene["poses"][..., :2] * 2 + 0.5, there), axis=-1)
    return scenes


def agreeing(ours, theirs):
    """Joints of one type within 8 px of each other."""
    near = (abs(ours[:, :2] - theirs[:, :2]) <= 8).all(axis=-1)
    return near & (ours[:, 2] > 0) & (theirs[:, 2] > 0)


def test_small_scenes_give_the_published_people(golden):
    for scene in golden[:7]:
        assert len(scene["ours"]) == len(scene["poses"])
        for pose in scene["poses"]:
            there = pose[:, 2] > 0
            assert any(
                (agreeing(person, pose) == there).all() and (there == (person[:, 2] > 0)).all()
                for person in scene["ours"]
            )


def test_crowds_contain_the_published_people(golden):
    for i, scene in enumerate(golden[7:], 7):
        for k, pose in enumerate(scene["poses"]):
            share = max(agreeing(p, pose).sum() for p in scene["ours"]) / (pose[:, 2] > 0).sum()
            assert share >= (0.75 if (i, k) in ((8, 5), (12, 14)) else 0.9), (i, k)


def test_crowds_are_not_mixed(golden):
    for scene in golden[7:]:
        for person in scene["ours"]:
            parts = person[:, 2] > 0
            if parts.sum() >= 4:
                far = np.linalg.norm(person[:, :2] - scene["true_keypoints"], axis=-1)
                own = (far <= 16) & scene["true_visible"] & parts
                assert own.sum(axis=-1).max() >= 0.8 * parts.sum()


def test_crowds_keep_as_many_limbs_and_fewer_fragments(golden):
    published = (76, 73, 199, 177, 320, 297)
    for scene, limbs in zip(golden[7:], published, strict=True):
        joined = 0
        for truth, visible in zip(scene["true_keypoints"], scene["true_visible"], strict=True):
            near = np.array(
                [
                    (np.linalg.norm(p[:, :2] - truth, axis=-1) <= 16) & (p[:, 2] > 0) & visible
                    for p in scene["ours"]
                ]
            )
            joined += sum((near[:, a] & near[:, b]).any() for a, b in BODY.limbs)
        assert joined >= 0.99 * limbs
    assert sum(len(s["ours"]) for s in golden) < sum(len(s["poses"]) for s in golden)


# ---- the plain reference


def test_agrees_with_the_plain_reference_on_500_scenes(run):
    rng = np.random.default_rng(0)
    overflow = ties = compared = 0
    for _ in range(25):
        scenes = [reference.scene(rng, int(rng.integers(0, 21)), SHAPE) for _ in range(20)]
        heatmaps, pafs = (
            np.stack(m) + rng.normal(0, 0.01, np.shape(m)).astype(np.float32)
            for m in zip(*(maps(*scene) for scene in scenes), strict=True)
        )
        people = jax.tree.map(np.asarray, run(heatmaps, pafs))
        for i in range(20):
            if people.overflow[i]:
                overflow += 1
                continue
            theirs = reference.group(heatmaps[i], pafs[i], BODY.limbs, STRIDE)
            if same(found(people, i), theirs):
                compared += 1
                continue
            # A tie: the reference itself decides otherwise when its input changes by 1e-6.
            noise = [1 + rng.normal(0, 1e-6, a.shape) for a in (heatmaps[i], pafs[i])]
            other = reference.group(heatmaps[i] * noise[0], pafs[i] * noise[1], BODY.limbs, STRIDE)
            assert not same(other, theirs), "the reference is sure, and differs"
            ties += 1
    assert compared + ties + overflow == 500
    assert compared >= 480, (compared, ties, overflow)


def test_joints_are_found_to_half_a_pixel(run):
    rng = np.random.default_rng(1)
    errors = []
    for people in (1, 2, 5, 20):
        xy, visible = reference.scene(rng, people, SHAPE)
        ours = found(run(*(np.asarray(m)[None] for m in maps(xy, visible))))
        for j in range(18):
            for k in np.flatnonzero(visible[:, j]):
                rest = xy[(visible[:, j] > 0) & (np.arange(people) != k), j]
                alone = np.linalg.norm(rest - xy[k, j], axis=-1).min(initial=99) > 30
                inside = ((xy[k, j] > 8) & (xy[k, j] < 46 * 8 - 9)).all()
                at = np.array([p[j, :2] for p in ours if p[j, 2] > 0]).reshape(-1, 2)
                near = np.linalg.norm(at - xy[k, j], axis=-1).min(initial=99)
                if alone and inside and near < 16:
                    errors.append(near)
    assert len(errors) > 150
    assert max(errors) <= 0.5


def test_assign_is_greedy():
    rng = np.random.default_rng(2)
    assign = jax.jit(grouping.assign)
    for trial in range(50):
        scores = rng.random((3, 7, 7)) * (rng.random((3, 7, 7)) > 0.3)
        if trial % 2:
            scores = np.round(scores, 1)  # with ties: one to one all the same
        partner = np.asarray(assign(scores.astype(np.float32)))
        for score, row in zip(scores, partner, strict=True):
            taken = row[row >= 0]
            assert len(set(taken.tolist())) == len(taken)
            assert all(score[i, j] > 0 for i, j in enumerate(row) if j >= 0)
            if trial % 2:
                continue
            left, expected = score.copy(), np.full(7, -1)
            while left.max() > 0:
                i, j = np.unravel_index(left.argmax(), left.shape)
                expected[i], left[i], left[:, j] = j, 0, 0
            np.testing.assert_array_equal(row, expected)


# ---- properties


@pytest.fixture(scope="module")
def one_person():
    """A standing person with all joints, alone in the picture."""
    xy = (reference.FIGURE * 250 + (180, 90))[None]
    return xy, np.full((1, 18), 2)


def test_nobody_in_empty_maps(run):
    for fill in (0.0, 1.0, np.nan):
        people = run(np.full((1, *SHAPE, 18), fill), np.full((1, *SHAPE, 38), fill))
        assert int(people.count[0]) == 0
        assert not np.asarray(people.score).any()
        assert np.isfinite(people.xy).all()


def test_weak_fields_still_join_one_person(run, one_person):
    heatmaps, pafs = (np.asarray(m)[None] for m in maps(*one_person))
    (person,) = found(run(0.4 * heatmaps, 0.15 * pafs))
    assert (person[:, 2] > 0).all()
    assert abs(person[:, :2] - one_person[0][0]).max() < 0.5


@pytest.mark.parametrize("joints", [(1, 2, 3), (0, 1, 14, 15, 16, 17), (8, 9, 10), (5, 6, 7)])
def test_part_of_a_person_is_a_person(run, one_person, joints):
    xy, visible = one_person
    visible = np.where(np.isin(np.arange(18), joints), visible, 0)
    (person,) = found(run(*(np.asarray(m)[None] for m in maps(xy, visible))))
    assert tuple(np.flatnonzero(person[:, 2])) == joints


def test_a_joint_without_limbs_belongs_to_nobody(run, one_person):
    xy, visible = one_person
    visible = np.where(np.isin(np.arange(18), (1, 2, 3, 10)), visible, 0)
    (person,) = found(run(*(np.asarray(m)[None] for m in maps(xy, visible))))
    assert tuple(np.flatnonzero(person[:, 2])) == (1, 2, 3)


def test_fragments_of_one_body_are_merged(one_person):
    """Both arms are joined to themselves first, and by their later limbs to the neck."""
    order = sorted(range(19), key=lambda i: 1 in BODY.limbs[i])  # limbs of the neck come last
    body = skeleton.Skeleton(
        "arms first", BODY.joints, tuple(BODY.limbs[i] for i in order), BODY.mirror, None, {}
    )
    heatmaps, pafs = maps(*one_person)
    pafs = pafs.reshape(*SHAPE, 19, 2)[:, :, np.array(order)].reshape(*SHAPE, 38)

    @jax.jit
    def run(heatmaps, pafs):
        return grouping.group(heatmaps, pafs, body, stride=STRIDE, max_people=3, max_peaks=4)

    people = run(heatmaps, pafs)
    assert int(people.count) == 1
    assert (np.asarray(people.score[0]) > 0).all()


def test_overflow_is_reported_and_the_best_are_kept(run):
    rng = np.random.default_rng(4)
    figure = reference.FIGURE[None] * 110
    xy = figure + np.array([(x, y) for x in (50, 180, 310) for y in (60, 230)])[:, None]
    heatmaps, pafs = maps(xy + rng.normal(0, 1, xy.shape), np.full((6, 18), 2))

    def limited(**limits):
        few = jax.jit(lambda h, f: grouping.group(h, f, BODY, stride=STRIDE, **limits))
        return few(heatmaps, pafs)

    everybody = jax.tree.map(lambda a: a[0], run(heatmaps[None], pafs[None]))
    assert (int(everybody.count), int(everybody.overflow)) == (6, 0)
    scores = np.asarray(everybody.person_score)
    assert (np.diff(scores) <= 0).all()
    assert not scores[6:].any()
    fewer_people = limited(max_people=4, max_peaks=8)
    assert (int(fewer_people.count), int(fewer_people.overflow)) == (4, 2)
    np.testing.assert_allclose(fewer_people.person_score, scores[:4], rtol=1e-6)
    assert int(limited(max_people=8, max_peaks=4).overflow) >= 18 * 2


def test_settings_and_keywords_are_the_same(one_person):
    heatmaps, pafs = maps(*one_person)
    few = grouping.Settings(max_people=3, max_peaks=4, min_parts=19)
    shapes = dict(stride=STRIDE, settings=few)

    @jax.jit
    def run(heatmaps, pafs):
        plain = grouping.group(
            heatmaps, pafs, BODY, stride=STRIDE, max_people=3, max_peaks=4, min_parts=2
        )
        nobody = grouping.group(heatmaps, pafs, BODY, **shapes)
        return plain, nobody, grouping.group(heatmaps, pafs, BODY, **shapes, min_parts=2)

    plain, nobody, changed = run(heatmaps, pafs)
    assert (int(plain.count), int(nobody.count)) == (1, 0)
    jax.tree.map(np.testing.assert_array_equal, plain, changed)
    with pytest.raises(TypeError, match="max_persons"):
        grouping.group(heatmaps, pafs, BODY, stride=STRIDE, max_persons=3)


def test_background_half_precision_and_vmap_change_nothing(run, one_person):
    heatmaps, pafs = maps(*one_person)
    (expected,) = found(run(heatmaps[None], pafs[None]))
    with_background = jnp.concatenate((heatmaps, codec.background(heatmaps)), axis=-1)
    low = (with_background.astype(jnp.bfloat16)[None], pafs.astype(jnp.bfloat16)[None])
    (half,) = found(jax.jit(jax.vmap(group))(*low))
    assert ((half[:, 2] > 0) == (expected[:, 2] > 0)).all()
    assert abs(half - expected).max() < 0.5


def test_vmap_equals_one_by_one(run):
    rng = np.random.default_rng(6)
    heatmaps, pafs = zip(*(maps(*reference.scene(rng, n, SHAPE)) for n in (0, 3, 12)), strict=True)
    batch = jnp.stack(heatmaps), jnp.stack(pafs)
    mapped, single = jax.jit(jax.vmap(group))(*batch), run(*batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), mapped, single)


def test_export_keeps_the_result(one_person):
    heatmaps, pafs = maps(*one_person)

    def one(heatmaps, pafs):
        return grouping.group(heatmaps, pafs, BODY, stride=STRIDE, max_people=3, max_peaks=4)

    program = export.export(jax.jit(one), platforms=["cpu", "cuda", "tpu"])(heatmaps, pafs)
    loaded = export.deserialize(program.serialize())
    again = loaded.call(heatmaps, pafs)
    assert isinstance(again, grouping.People)
    jax.tree.map(np.testing.assert_array_equal, again, jax.jit(one)(heatmaps, pafs))


@pytest.mark.parametrize("shape", [(1, 1), (5, 3)])
def test_tiny_maps(shape):
    @jax.jit
    def run(heatmaps, pafs):
        return grouping.group(
            heatmaps, pafs, BODY, stride=8, max_people=2, max_peaks=9, min_parts=1
        )

    heatmaps = np.zeros((*shape, 18), np.float32)
    heatmaps[0, 0] = 1
    people = run(heatmaps, np.zeros((*shape, 38)))
    assert people.xy.shape == (2, 18, 2)
    assert int(people.count) == 2
    assert int(people.overflow) == 16
    np.testing.assert_array_equal(np.asarray(people.xy)[np.asarray(people.score) > 0], 3.5)


def test_maps_of_another_skeleton_are_an_error():
    with pytest.raises(ConfigError, match="18 joints"):
        grouping.group(np.zeros((4, 4, 17)), np.zeros((4, 4, 38)), BODY, stride=8)
    with pytest.raises(ConfigError, match="19 limbs"):
        grouping.group(np.zeros((4, 4, 18)), np.zeros((4, 4, 36)), BODY, stride=8)
