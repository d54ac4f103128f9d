"""Real pictures with joints in space: reading, the figure, the sheet, mistakes."""

import numpy as np
import pytest
from PIL import Image

from bodyjax.bench import real_pictures
from tests.shared import shared


def turned(xyz):
    """The same poses turned, half as large and elsewhere."""
    c, s = np.cos(0.7), np.sin(0.7)
    rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return (0.5 * xyz @ rotation.T + [10.0, -300.0, 4000.0]).astype(np.float32)


def test_the_same_pose_elsewhere_is_no_distance_apart_and_a_mirrored_one_is():
    rng = np.random.default_rng(0)
    xyz = rng.normal(0, 300, (5, 17, 3)).astype(np.float32)
    assert real_pictures.apart(turned(xyz), xyz).max() < 0.1
    assert real_pictures.apart(xyz * [-1, 1, 1], xyz).min() > 30
    moved = xyz.copy()
    moved[:, 0] += [0, 0, 170.0]
    off = real_pictures.apart(moved, xyz)
    assert (off > 0).all()
    assert (
        off <= 170 / np.sqrt(17)
    ).all()  # the fit has the least root mean square, a mean is less


def test_the_pictures_are_read_by_group_and_drawn(tmp_path):
    singles, sides = real_pictures.read(shared("data/real3d"))
    assert [singles.group.count(one) for one in ("test subjects", "train subjects")] == [5, 8]
    assert sides.group == ("four sides",) * 200
    for real in (singles, sides):  # the camera given is the one that took the picture
        seen = real.xyz[..., :2] / real.xyz[..., 2:] * real.camera[:, None, :2]
        off = np.linalg.norm(seen + real.camera[:, None, 2:] - real.xy, axis=-1)
        assert np.median(off) < 6
    file = tmp_path / "sheet.png"
    real_pictures.sheet(singles, singles.xyz - singles.xyz[:, :1], [0, 3, 5], file)
    assert Image.open(file).size == (2 * (256 + 4 * 160), 2 * 256)


def test_mistakes_are_one_line(tmp_path, capsys):
    arguments = ["--data", str(tmp_path), "--checkpoint", "lifter"]
    assert real_pictures.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "images.npz: no such file" in said
    assert said.count("\n") == 1
    (tmp_path / "real3d").mkdir()
    names = {name: np.zeros(3) for name in real_pictures.NEEDED}
    np.savez(tmp_path / "real3d" / "images.npz", **{**names, "K": np.zeros((2, 3, 3))})
    assert real_pictures.main(arguments) == 2
    assert "arrays of different lengths" in capsys.readouterr().err


@pytest.mark.slow
def test_the_shipped_lifter_is_nearer_than_the_mean_pose_in_every_picture(capsys):
    data = shared("data/real3d").parent
    assert real_pictures.main(["--data", str(data), "--checkpoint", "lifter"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["5", "8", "200"]
