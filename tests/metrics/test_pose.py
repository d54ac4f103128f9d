"""Measures against pycocotools, scikit-learn, stored figures and plain NumPy."""

from __future__ import annotations

import gzip
import json

import jax
import numpy as np
import pytest

from bodyjax import metrics, skeleton
from bodyjax.errors import ConfigError, UserError
from bodyjax.metrics.intervals import bootstrap, paired_bootstrap
from tests.shared import GOLDENS, shared

LSP, COCO = skeleton.get("lsp14"), skeleton.get("coco17")


def scene(rng, batch=12):
    """LSP people, some joints unlabelled, some predictions missing."""
    target = rng.uniform(0, 100, (batch, 14, 2)).astype(np.float32)
    found = target + rng.normal(scale=10, size=target.shape).astype(np.float32)
    visible = rng.integers(0, 3, (batch, 14))
    found[rng.random((batch, 14)) < 0.1] = np.nan
    target[visible == 0] = np.nan
    return found, target, visible


def pck_by_loops(found, target, visible, length, threshold=0.2):
    right, counted, left_out = np.zeros(14, int), np.zeros(14, int), 0
    for picture in range(len(found)):
        if not length[picture] >= 10:
            left_out += 1
            continue
        for joint in range(14):
            if visible[picture, joint]:
                counted[joint] += 1
                d = np.hypot(*(found[picture, joint] - target[picture, joint]))
                right[joint] += bool(d <= threshold * length[picture])
    return right, counted, left_out


def test_pck_against_loops():
    rng = np.random.default_rng(0)
    found, target, visible = scene(rng)
    length = np.array(metrics.reference_length(target, visible, LSP))
    pair = visible[:, 9].astype(bool) & visible[:, 2].astype(bool)
    np.testing.assert_array_equal(np.isfinite(length), pair)
    distance = np.linalg.norm(target[:, 9] - target[:, 2], axis=-1)
    np.testing.assert_allclose(length[pair], distance[pair], rtol=1e-6)
    length[0], length[1] = 9.0, 50.0
    right, counted, left_out = pck_by_loops(found, target, visible, length)
    got = jax.jit(lambda *a: metrics.pck_counts(*a, minimum=10.0))(found, target, visible, length)
    np.testing.assert_array_equal(got.right, right)
    np.testing.assert_array_equal(got.counted, counted)
    assert (int(got.left_out), int(got.pictures)) == (left_out, len(found) - left_out)
    assert 0 < left_out < len(found)
    length[0] = 0.0
    pooled = jax.jit(metrics.pck)(found, target, visible, length)
    assert float(pooled) == pytest.approx(right.sum() / counted.sum())
    half = pck_by_loops(found, target, visible, np.where(length > 0, length, 0), 0.5)
    pckh = metrics.pckh(found, target, visible, length)
    assert float(pckh) == pytest.approx(half[0].sum() / half[1].sum())
    each = jax.jit(jax.vmap(metrics.pck))(found, target, visible, length)
    weights = ((visible > 0) & (length > 0)[:, None]).sum(1)
    assert np.nansum(each * weights) / weights.sum() == pytest.approx(float(pooled))


def test_keypoints_fold_leaves_padding_out():
    rng = np.random.default_rng(1)
    found, target, visible = scene(rng, 13)
    fold = metrics.Keypoints(LSP, head=("neck", "head_top"))
    update = jax.jit(fold.update)
    state = fold.init()
    for start in range(0, 13, 4):
        rows = np.arange(start, start + 4)
        batch = {
            "xy": target[rows % 13],
            "visible": visible[rows % 13],
            "mask": rows < 13,
        }
        state = update(state, {"xy": found[rows % 13]}, batch)
    result = fold.compute(state)
    host = metrics.lsp_pck(found, target, visible > 0)
    for key in host:
        if key != "left_out_reasons":
            assert result[key] == host[key] or np.isnan(host[key]), key
    assert result["n"] + result["left_out"] == 13
    head = np.asarray(metrics.reference_length(target, visible, LSP, ("neck", "head_top")))
    assert result["pckh"] == pytest.approx(float(metrics.pckh(found, target, visible, head)))
    assert set(result["per_joint"]) == set(LSP.joints)
    empty = fold.compute(fold.init())
    assert np.isnan(empty["pck"])
    assert empty["n"] == 0
    with pytest.raises(ConfigError, match="neck_of_nobody"):
        metrics.Keypoints(LSP, torso=("neck_of_nobody", "right_hip"))


def test_lsp_pck_of_the_stored_teacher():
    """The figures of the set's own README: 706 pictures, 7,929 limb joints, 0.709."""
    labels = np.load(shared("data/lspet/labels.npz"), allow_pickle=False)
    teacher = np.load(shared("data/lspet/teacher.npz"), allow_pickle=False)
    heldout = labels["heldout"]
    np.testing.assert_array_equal(labels["ids"], teacher["ids"])
    limbs = [16, 14, 12, 11, 13, 15, 10, 8, 6, 5, 7, 9]
    xy = teacher["xy"].astype(np.float64)
    neck = (xy[:, 5] + xy[:, 6])[:, None] / 2
    found = np.concatenate([xy[:, limbs], neck, np.full_like(neck, np.nan)], axis=1)
    got = metrics.lsp_pck(found[heldout], labels["joints"][heldout], labels["labelled"][heldout])
    assert (got["n"], got["n_joints"], got["n_limb_joints"]) == (706, 9220, 7929)
    assert got["left_out_reasons"] == {"torso not labelled": 291, "torso too short": 3}
    assert got["pck_limbs"] == pytest.approx(0.709, abs=5e-4)
    table = {
        "right": (0.651, 0.713, 0.640, 0.768, 0.774, 0.793),
        "left": (0.605, 0.668, 0.620, 0.741, 0.788, 0.754),
    }
    for side, values in table.items():
        for part, value in zip(
            ("ankle", "knee", "hip", "wrist", "elbow", "shoulder"), values, strict=True
        ):
            assert got["per_joint"][f"{side}_{part}"] == pytest.approx(value, abs=6e-4)
    assert got["per_joint"]["neck"] == pytest.approx(0.774, abs=5e-4)
    assert got["per_joint"]["head_top"] == 0


def test_oks_equals_pycocotools():
    golden = json.loads((GOLDENS / "coco_stats.json").read_text())
    truth = json.loads(gzip.decompress((GOLDENS / "coco_gt.json.gz").read_bytes()))
    found = json.loads(gzip.decompress((GOLDENS / "coco_dt.json.gz").read_bytes()))
    people = {person["id"]: person for person in truth["annotations"]}
    compute = jax.jit(metrics.oks)
    sigmas, pairs = metrics.sigmas(COCO), 0
    detections, labels, areas, boxes, expected = [], [], [], [], []
    for record in golden["oks"]:
        for row, number in enumerate(record["dt_index"]):
            for column, key in enumerate(record["gt_ids"]):
                detections.append(np.reshape(found[number]["keypoints"], (17, 3)))
                labels.append(np.reshape(people[key]["keypoints"], (17, 3)))
                areas.append(people[key]["area"])
                boxes.append(people[key]["bbox"])
                expected.append(record["oks"][row][column])
                pairs += 1
    xy, gt = np.array(detections)[..., :2], np.array(labels)
    areas, boxes, expected = np.array(areas), np.array(boxes), np.array(expected)
    got = compute(xy, gt[..., :2], gt[..., 2], areas, sigmas, boxes)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert pairs > 500
    there = (gt[..., 2] > 0).any(-1)
    assert 0 < there.sum() < pairs
    # Without the boxes people without joints get 0; a joint that was not found adds nothing.
    bare = metrics.oks(xy, gt[..., :2], gt[..., 2], areas, sigmas)
    np.testing.assert_allclose(bare, np.where(there, expected, 0), atol=1e-6)
    one = gt[there][0]
    perfect = one[:, :2].copy()
    perfect[np.flatnonzero(one[:, 2] > 0)[0]] = np.nan
    n = (one[:, 2] > 0).sum()
    partial = metrics.oks(perfect, one[:, :2], one[:, 2], areas[there][0], sigmas)
    assert float(partial) == pytest.approx((n - 1) / n)
    # Leading axes broadcast to all pairs.
    table = metrics.oks(xy[:3, None], gt[None, :4, :, :2], gt[None, :4, :, 2], areas[:4], sigmas)
    assert table.shape == (3, 4)
    np.testing.assert_allclose(np.diagonal(table), bare[:3], atol=1e-6)


def test_oks_needs_sigmas():
    with pytest.raises(UserError, match="skeleton 'lsp14' has no sigmas"):
        metrics.sigmas(LSP)
    with pytest.raises(UserError, match="has no sigmas"):
        metrics.Keypoints(LSP, with_oks=True)
    with pytest.raises(UserError, match="one sigma a joint"):
        metrics.oks(np.zeros((14, 2)), np.zeros((14, 2)), np.ones(14), 1.0, LSP.sigmas)
    fold = metrics.Keypoints(COCO, with_oks=True)
    xy = np.random.default_rng(2).uniform(0, 50, (2, 17, 2)).astype(np.float32)
    batch = {"xy": xy, "visible": np.full((2, 17), 2), "area": np.array([900.0, 900.0])}
    batch["mask"] = np.array([True, False])
    result = fold.compute(fold.update(fold.init(), {"xy": xy}, batch))
    assert result["oks"] == 1


def test_labels_without_an_area_have_no_oks():
    xy = np.random.default_rng(3).uniform(0, 50, (5, 17, 2)).astype(np.float32)
    area = np.array([900.0, 0.0, -900.0, np.nan, 900.0], np.float32)
    visible = np.full((5, 17), 2)
    visible[4] = 0
    got = jax.jit(metrics.oks)(xy + 1, xy, visible, area, metrics.sigmas(COCO))
    known = float(metrics.oks(xy[:1] + 1, xy[:1], visible[:1], area[:1], metrics.sigmas(COCO))[0])
    assert 0 < known < 1
    np.testing.assert_allclose(got, [known, 0, 0, 0, 0])
    # The fold leaves out what the function can't measure, and counts it; padding is neither.
    fold = metrics.Keypoints(COCO, with_oks=True)
    for mask, left_out in ((np.full(5, True), 4), (np.arange(5) < 3, 2)):
        batch = {"xy": xy, "visible": visible, "area": area, "mask": mask}
        result = fold.compute(fold.update(fold.init(), {"xy": xy + 1}, batch))
        assert result["oks"] == pytest.approx(known)
        assert result["left_out_oks"] == left_out


def test_bootstrap_covers_as_often_as_it_says():
    rng = np.random.default_rng(6)
    covered = 0
    for trial in range(150):
        values = rng.normal(size=60)
        got = bootstrap(lambda r, v=values: v[r].mean(), 60, samples=150, seed=trial)
        assert got.value == pytest.approx(values.mean())
        covered += got.low <= 0 <= got.high
    assert 0.7 < covered / 150 < 0.9
    values = rng.random(50)
    again = bootstrap(lambda r: values[r].mean(), 50, samples=50, seed=3)
    assert again == bootstrap(lambda r: values[r].mean(), 50, samples=50, seed=3)


def test_paired_bootstrap_sees_small_differences():
    rng = np.random.default_rng(7)
    hard = rng.normal(size=80)  # pictures differ by far more than the two methods do
    better = hard + 0.1 + rng.normal(scale=0.05, size=80)
    got = paired_bootstrap(lambda r: better[r].mean(), lambda r: hard[r].mean(), 80, samples=200)
    assert got.difference == pytest.approx((better - hard).mean())
    assert 0.08 < got.low < got.difference < got.high < 0.12
    assert got.share_above == 1
    single = bootstrap(lambda r: better[r].mean(), 80, samples=200)
    assert single.high - single.low > 5 * (got.high - got.low)


def test_without_a_torso_pck_is_measured_by_the_box_of_the_labelled_joints():
    dog = skeleton.make("dog", "nose left_eye right_eye tail", "nose-tail")
    assert metrics.torso_of(dog) is None
    assert metrics.torso_of(skeleton.COCO17) == metrics.TORSO
    target = np.array([[[0.0, 0], [30, 10], [99, 99], [60, 50]]] * 2)
    visible = np.array([[2, 1, 0, 2], [2, 0, 0, 0]])
    length = metrics.reference_length(target, visible, dog, None)
    np.testing.assert_allclose(length, [60, np.nan])
    found = target + np.array([[0, 0], [0, 11.9], [0, 0], [12.1, 0]])  # a fifth of 60 is 12
    fold = metrics.Keypoints(dog, torso=None)
    out = fold.compute(fold.update(fold.init(), {"xy": found}, {"xy": target, "visible": visible}))
    assert out["pck"] == pytest.approx(2 / 3)
    assert (out["n"], out["left_out"]) == (1, 1)
