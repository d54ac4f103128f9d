"""Poses for the lifter: motion capture, cameras, errors of a detector, and the stream of them."""

import numpy as np
import pytest

from bodyjax import camera
from bodyjax.data import feeds
from bodyjax.data.poses3d import views
from bodyjax.data.poses3d.mocap import POINTS, face, heights, mocap
from bodyjax.data.poses3d.rendered import as_lift16
from bodyjax.errors import ConfigError, DataError
from bodyjax.simulate import clips
from bodyjax.skeleton import COCO17, H36M17, LIFT16
from configs import lifter
from tests.shared import shared

QUIET = views.Noise(sure=0.0, unsure=0.0, bad=0.0, lost=0.0, drop=0.0, faceless=0.0)


def people(count=6):
    return np.concatenate([clips.picture(seed, (64, 64), 1)["h36m"] for seed in range(count)])


def write(file, **changes):
    """Motion capture of ten trials of six frames."""
    xyz = people()
    rel = xyz[:, 1:] - xyz[:, :1]
    world = np.stack([rel[..., 0], rel[..., 2], -rel[..., 1]], -1)  # y down to z up
    table = {
        "root_mm": np.zeros((60, 3), np.float32),
        "rel_tenth_mm": np.tile(np.round(world * 10).astype(np.int16), (10, 1, 1)),
        "trial_name": np.array([f"walk_{i}" for i in range(9)] + ["soccer_1_train"]),
        "trial_subject": np.array(["01"] * 8 + ["02", "unknown"]),
        "trial_split": np.array(["train"] * 7 + ["test"] + ["train"] * 2),
        "trial_start": np.arange(0, 60, 6, np.int32),
        "trial_len": np.full(10, 6, np.int32),
    }
    np.savez(file, **{**table, **changes})
    return file


def test_trials_whose_motions_are_measured_are_in_no_part_to_train_on(tmp_path):
    file = write(tmp_path / "m.npz")
    trained = {mocap(file, "trainvalid").names[i].split()[0] for i in range(42)}
    assert trained == {f"walk_{i}" for i in range(7)}
    assert {name.split()[0] for name in mocap(file, "test").names} == {"walk_7"}
    assert mocap(file, "test").heldout.all()
    train, both = mocap(file, "train", step=3), mocap(file, "trainvalid", step=3)
    assert len(train) < len(both) == 7 * 2


def test_poses_are_upright_and_as_tall_as_one(tmp_path):
    xyz = mocap(write(tmp_path / "m.npz"), "test").arrays["xyz"]
    assert xyz.shape == (6, 20, 3)
    np.testing.assert_allclose(np.median(heights(xyz[:, :17])), 1.0, atol=1e-3)
    truth = people()
    truth = (truth - truth[:, :1]) / np.median(heights(truth))
    np.testing.assert_allclose(xyz[:, :17], truth, atol=1e-3)


def test_the_face_looks_to_where_the_body_does():
    made = clips.picture(3, (64, 64), 1)
    body, coco = made["h36m"], made["xyz"]
    nose = face(body)[:, 0]
    head = body[:, H36M17.index("head_top")] - body[:, H36M17.index("neck")]
    assert np.linalg.norm(nose - coco[:, 0]) < 0.8 * np.linalg.norm(head)


def test_bad_motion_capture(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        mocap(tmp_path / "none.npz", "train")
    for changes, words in (
        ({"rel_tenth_mm": np.zeros((60, 15, 3), np.int16)}, r"\(F, 16, 3\)"),
        ({"rel_tenth_mm": np.ones((60, 16, 3), np.int16)}, "no person's"),
        ({"trial_split": np.array(["test"] * 10)}, "no trial is in part train"),
    ):
        with pytest.raises(DataError, match=words):
            mocap(write(tmp_path / "m.npz", **changes), "train")


def test_a_view_without_noise_shows_the_pose_as_its_camera_does(tmp_path):
    source = mocap(write(tmp_path / "m.npz"), "test")
    made = views.Views(40, QUIET)(source[0], np.random.default_rng(0))
    assert made["xy"].shape == (40, 16, 2)
    assert (made["score"] > 0).all()
    shared_joints = [name for name in LIFT16.joints if name in H36M17.joints]
    seen = made["xy"][:, [LIFT16.index(name) for name in shared_joints]]
    xyz = made["xyz"][:, [H36M17.index(name) for name in shared_joints]]
    # Some focal length and distance explain each view: x / z, with z = distance + depth.
    for view in range(40):
        u, place = seen[view], xyz[view]
        rows = np.concatenate([np.stack([-u[:, i], place[:, i]], 1) for i in (0, 1)])
        right = np.concatenate([u[:, i] * place[:, 2] for i in (0, 1)])
        (distance, focal), *_ = np.linalg.lstsq(rows, right, rcond=None)
        error = focal * place[:, :2] / (distance + place[:, 2:]) - u
        assert np.abs(error).max() < 2e-3, view
        assert distance > 0.2


def test_a_mirrored_pose_swaps_sides():
    points = np.random.default_rng(0).normal(size=(20, 3))
    for i, j in enumerate(views.MIRROR):
        assert POINTS[j] == POINTS[i].replace("left", "LEFT").replace("right", "left").replace(
            "LEFT", "right"
        )
    seen = views.turned_points(points, 200, np.random.default_rng(1))
    # Distances within the body stay, also in the mirror.
    body = seen[:, :17]
    lengths = np.linalg.norm(body[:, None] - body[:, :, None], axis=-1)
    first = np.linalg.norm(points[None, :17] - points[:17, None], axis=-1)
    order = views.MIRROR[:17]
    mirrored = first[order][:, order]
    same = [min(abs(one - first).max(), abs(one - mirrored).max()) for one in lengths]
    assert max(same) < 1e-9


def test_joints_found_in_the_poses_own_picture_are_the_first_view(tmp_path):
    source = mocap(write(tmp_path / "m.npz"), "test")
    own = {
        **source[0],
        "xy": np.full((16, 2), 7.0, np.float32),
        "score": np.full(16, 0.4, np.float32),
        "camera": np.array([300, 300, 9, 9], np.float32),
    }
    made = views.Views(3, QUIET)(own, np.random.default_rng(0))
    assert (made["xy"][0] == 7).all()
    assert made["camera"][0].tolist() == [300, 300, 9, 9]
    np.testing.assert_array_equal(made["xyz"][0], own["xyz"][:17])


def test_joints_of_coco_become_those_that_the_lifter_sees():
    xy, score = np.zeros((2, 17, 2)), np.full((2, 17), 0.5)
    xy[0, 3], score[1, 4] = np.nan, 0.0  # one ear of each: no middle of the head
    found = as_lift16(xy, score, "coco17")
    head, ear = LIFT16.index("head"), LIFT16.index("left_ear")
    assert found[:, head, 2].tolist() == [0, 0]
    assert found[0, ear, 2] == 0
    assert found[1, ear, 2] == 0.5
    assert np.isfinite(found).all()
    assert COCO17.joints[3] == "left_ear"


def test_a_stream_of_batches_that_the_system_takes(tmp_path):
    config = lifter.get_config("maps")
    config.data.update({"mocap": str(write(tmp_path / "m.npz")), "batch": 4, "views": 2})
    stream = feeds.open_feed(config)
    batch = next(stream.train_batches(0))
    assert {name: part.shape for name, part in batch.items()} == {
        "xy": (4, 2, 16, 2), "score": (4, 2, 16), "camera": (4, 2, 4), "xyz": (4, 2, 17, 3),
    }  # fmt: skip
    held = next(stream.eval_batches())
    assert held["xyz"].shape == (4, 17, 3)
    assert np.median(np.abs(held["xyz"])) > 50  # mm
    config.data.mocap = ""
    with pytest.raises(ConfigError, match="no set of poses"):
        feeds.open_feed(config)


def test_motion_capture_as_its_readme_has_it():
    source = mocap(shared("data/mocap") / "cmu_30fps.npz", "trainvalid")
    assert len(source) == 33_862
    assert not source.heldout.any()


def test_human36m_is_projected_to_where_it_was_detected():
    from bodyjax.data.poses3d import human36m

    rows = human36m.measured_side(shared("data/real3d"), step=200).arrays
    apart = np.linalg.norm(rows["found"][:, :12, :2] - rows["true"][:, :12, :2], axis=-1)
    assert np.median(apart) < 10  # README: 8.9 px
    floor = np.linalg.norm(rows["near"] - rows["xyz"], axis=-1).mean()
    assert 50 < floor < 70  # about 60 mm
    again = camera.project(rows["xyz"] + rows["root"][:, None], rows["camera"])
    np.testing.assert_allclose(again, rows["projected"], atol=0.05)
