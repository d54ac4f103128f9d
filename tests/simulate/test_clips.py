"""The cache of clips: complete, exact, noticed when damaged, remade only where needed."""

import hashlib
import json
import os
import subprocess
import sys

import av
import numpy as np
import pytest

from bodyjax.errors import ConfigError, DataError
from bodyjax.simulate import clips, exercises

SPEC = clips.ClipSpec(train=1, valid=1, test=0, size=(64, 48), length=(8, 10))


def sums(root):
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    root = clips.ensure(SPEC, cache, workers=0, progress=False)
    return cache, root, sums(root)


def again(cache, monkeypatch):
    """ensure() once more; the names of the clips that it made."""
    names = []
    real = clips.make_clip

    def watched(task):
        names.append(task[-1])
        return real(task)

    monkeypatch.setattr(clips, "make_clip", watched)
    clips.ensure(SPEC, cache, workers=0, progress=False)
    return names


def test_layout_and_manifest(made):
    _, root, files = made
    assert len(files) == 2 * 9 * 2 + 1
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["version"] == clips.VERSION
    assert manifest["spec"]["size"] == [64, 48]
    named = {name: value for clip in manifest["clips"].values() for name, value in clip.items()}
    assert named == {name: value for name, value in files.items() if name != "manifest.json"}


def test_label_file_is_exact(made):
    _, root, _ = made
    label = json.loads((root / "train/stop/00000.json").read_text())
    assert label["class"] == "stop"
    assert label["seed"] == clips.clip_seed(SPEC, "train", "stop", 0)
    assert label["fault"] is None
    clip = clips.film.clip("stop", label["seed"], size=(64, 48), length=(8, 10))
    frames = label["frames"]
    assert len(clip.film.frames) == frames
    np.testing.assert_allclose(label["xy"], clip.film.xy, atol=6e-4)
    np.testing.assert_array_equal(label["visible"], clip.film.visible)
    point = np.array(label["xyz"]) @ np.array(label["camera"]["matrix"]).T
    np.testing.assert_allclose(point[..., :2] / point[..., 2:], label["xy"], atol=2e-3)


def test_video_shows_the_frames(made):
    _, root, _ = made
    label = json.loads((root / "valid/go_straight/00000.json").read_text())
    with av.open(str(root / "valid/go_straight/00000.mp4")) as file:
        frames = [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]
        assert float(file.streams.video[0].average_rate) == 15.0
    clip = clips.film.clip("go_straight", label["seed"], size=(64, 48), length=(8, 10))
    assert len(frames) == label["frames"]
    error = np.abs(np.stack(frames).astype(float) - clip.film.frames).mean()
    assert error < 12
    shifted = np.abs(np.roll(frames, 3, 2).astype(float) - clip.film.frames).mean()
    assert shifted > error + 1


def test_complete_cache_is_left_alone(made, monkeypatch):
    cache, root, files = made
    assert again(cache, monkeypatch) == []
    assert sums(root) == files


def test_damage_is_noticed_and_only_it_remade(made, monkeypatch):
    cache, root, files = made
    flipped = root / "train/idle/00000.mp4"
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    (root / "train/stop/00000.json").write_text("{")  # cut short
    (root / "valid/pull_over/00000.mp4").unlink()
    left_over = root / "valid/slow_down/.00000.77-77.tmp.mp4"
    left_over.write_bytes(b"of a process that was killed")
    os.utime(left_over, (0, 0))
    names = again(cache, monkeypatch)
    assert sorted(names) == ["train/idle/00000", "train/stop/00000", "valid/pull_over/00000"]
    assert sums(root) == files


def test_lost_or_outdated_manifest_remakes_all(made, monkeypatch):
    cache, root, files = made
    path = root / "manifest.json"
    old = json.loads(path.read_text())
    path.write_text(json.dumps(old | {"version": clips.VERSION - 1}))
    assert len(again(cache, monkeypatch)) == 18
    assert sums(root) == files


def test_stopped_run_goes_on(tmp_path, monkeypatch):
    real, count = clips.make_clip, 0

    def stops(task):
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        return real(task)

    monkeypatch.setattr(clips, "make_clip", stops)
    with pytest.raises(KeyboardInterrupt):
        clips.ensure(SPEC, tmp_path, workers=0, progress=False)
    monkeypatch.setattr(clips, "make_clip", real)
    assert len(again(tmp_path, monkeypatch)) == 18 - 5


def test_processes_make_the_same_files(made, tmp_path):
    _, _, files = made
    root = clips.ensure(SPEC, tmp_path, workers=2, progress=False)
    assert sums(root) == files


def test_two_processes_fill_one_cache(tmp_path):
    spec = "ClipSpec(train=1, valid=0, test=0, size=(64, 48), length=(8, 10))"
    code = (
        f"from bodyjax.simulate.clips import *; ensure({spec}, Path({str(tmp_path)!r}), workers=0)"
    )
    script = [sys.executable, "-c", f"from pathlib import Path; {code}"]
    both = [subprocess.Popen(script, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    (root,) = tmp_path.iterdir()
    named = json.loads((root / "manifest.json").read_text())["clips"].values()
    files = sums(root)
    del files["manifest.json"]
    assert files == {name: value for clip in named for name, value in clip.items()}
    assert len(files) == 2 * 9


def test_splits_and_classes_share_no_seed():
    spec = clips.ClipSpec()
    seeds = [clips.clip_seed(spec, s, c, i) for s, c, i, _ in clips.expected(spec)]
    assert len(seeds) == 9 * 60
    assert len(set(seeds)) == len(seeds)
    assert not set(seeds) & {
        clips.clip_seed(clips.ClipSpec(seed=1), s, c, i) for s, c, i, _ in clips.expected(spec)
    }


def test_exercises_are_balanced():
    for name in exercises.EXERCISES:
        roles = [clips.role(name, i) for i in range(40)]
        assert sum(view == "front" for view, _ in roles) == 20
        for view in exercises.VIEWS:
            assert sum(fault is None for v, fault in roles if v == view) == 10
        assert {fault for _, fault in roles} == {None, *exercises.FAULTS[name]}


def test_exercise_clip_names_fault_and_guilty_joints(tmp_path):
    spec = clips.ClipSpec("exercises", 4, 0, 0, size=(64, 48), length=(8, 8))
    root = clips.ensure(spec, tmp_path, workers=0, progress=False)
    label = json.loads((root / "train/push_up/00003.json").read_text())
    assert (label["view"], label["fault"]) == ("side", "shallow")
    assert label["guilty"] == ["left_elbow", "right_elbow"]
    assert json.loads((root / "train/push_up/00001.json").read_text())["fault"] is None


@pytest.mark.parametrize(
    "bad", [{"kind": "dances"}, {"size": (63, 48)}, {"length": (30, 20)}, {"train": -1}]
)
def test_bad_specs_are_refused(bad):
    with pytest.raises(ConfigError):
        clips.ClipSpec(**bad)


def test_cache_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="BODYJAX_CACHE"):
        clips.ensure(SPEC, tmp_path / "file", workers=0, progress=False)


def test_default_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BODYJAX_CACHE", str(tmp_path))
    assert clips.default_cache() == tmp_path
    monkeypatch.delenv("BODYJAX_CACHE")
    assert clips.default_cache().parts[-2:] == (".cache", "bodyjax")


def test_no_jax_is_imported():
    code = "import sys, bodyjax.simulate.clips; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
