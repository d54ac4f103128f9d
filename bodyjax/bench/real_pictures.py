"""A lifter on the real pictures of data/real3d: PA-MPJPE beside the mean pose, and pictures to see.

    python -m bodyjax.bench.real_pictures --data DATA --checkpoint NAME [--sheets FOLDER]

Thirteen pictures of people whose joints in space were measured (five of test subjects, eight of
training subjects, told apart) and 200 pictures of one person from four sides, whose joints are
triangulated (2 to 4 cm). DATA holds real3d and people, whose training part gives the mean pose. A
crop by the box around the labelled joints (as a detection's is), the camera given, a mean adult's
height; PA: aligned by turning, scaling and moving. Prints mm, means over pictures.
"""

from __future__ import annotations

import argparse
import sys
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

from bodyjax import draw, geometry, lift
from bodyjax.data.pictures.images import Archive
from bodyjax.data.pictures.labelled import read_arrays
from bodyjax.errors import DataError, UserError
from bodyjax.evaluate.lifting import mean_pose
from bodyjax.evaluate.lifting_views import BoxLifter, around
from bodyjax.lift import turning_view

SEEN_FROM = (0.0, 60.0)
"""Degrees to the right of the camera, of the two views in space on a sheet."""

NEEDED = ("image", "joints3d_cam_mm", "joints2d_px", "K")


class Real(NamedTuple):
    """Pictures by name in an archive, their group, xyz (N, 17, 3) mm, xy (N, 17, 2) px, camera (N,
    4) fx, fy, cx, cy."""

    archive: Archive
    names: tuple[str, ...]
    group: tuple[str, ...]
    xyz: np.ndarray
    xy: np.ndarray
    camera: np.ndarray


def read(folder: str | PathLike[str]) -> list[Real]:
    """The single pictures and those from four sides. DataError if a file is missing or damaged."""
    found = []
    for name in ("images", "multiview"):
        file = Path(folder) / f"{name}.npz"
        table = read_arrays(file, NEEDED)
        count = len(table["image"])
        if any(len(table[part]) != count for part in NEEDED):
            raise DataError("arrays of different lengths", file=file)
        matrix = table["K"]
        camera = np.stack([matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 0, 2], matrix[:, 1, 2]], 1)
        split = table.get("split")
        group = ["four sides"] * count if split is None else [f"{s} subjects" for s in split]
        names = tuple(str(one) for one in table["image"])
        archive = Archive(file.with_suffix(".zip"))
        found.append(
            Real(
                archive, names, tuple(group), table["joints3d_cam_mm"], table["joints2d_px"], camera
            )
        )
    return found


def lifted(look: BoxLifter, real: Real) -> np.ndarray:
    """xyz (N, 17, 3) mm of the person in each picture."""
    poses = []
    for row in tqdm(range(len(real.names)), disable=not sys.stderr.isatty()):
        picture = _picture(real, row)
        size = picture.shape[0], picture.shape[1]
        box = around(real.xy[row : row + 1], np.ones((1, real.xy.shape[1])), size)
        height = np.full(1, lift.MEAN_HEIGHT, np.float32)
        poses.append(look(picture, box, real.camera[row : row + 1], height).xyz[0])
    return np.stack(poses)


def apart(xyz: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """PA-MPJPE (N,) of poses (N, 17, 3)."""
    fitted = geometry.procrustes(jnp.asarray(xyz), jnp.asarray(truth))
    return np.asarray(jnp.linalg.norm(fitted - truth, axis=-1).mean(-1))


def sheet(real: Real, xyz: np.ndarray, rows: list[int], file: Path) -> None:
    """Pictures, each beside its labelled and its lifted pose from the camera and from the side."""
    tiles = []
    for row in rows:
        image = np.array(Image.fromarray(_picture(real, row)).resize((256, 256)))
        parts = [image]
        for pose in (real.xyz[row] - real.xyz[row][:1], xyz[row]):
            reach = turning_view.extent([pose[None]])
            parts += [turning_view.panel(pose[None], (160, 256), a, reach) for a in SEEN_FROM]
        tiles.append(draw.caption(np.concatenate(parts, axis=1), [real.names[row]]))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 2)
    lines = [np.concatenate(tiles[i : i + 2], axis=1) for i in range(0, len(tiles), 2)]
    Image.fromarray(np.concatenate(lines)).save(file)


def _picture(real: Real, row: int) -> np.ndarray:
    return real.archive.image(real.names[row])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bodyjax.bench.real_pictures")
    parser.add_argument("--data", required=True, type=Path, help="the folder of real3d and people")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--sheets", type=Path, help="a folder for pictures to look at")
    options = parser.parse_args(arguments)
    try:
        every = read(options.data / "real3d")
        mean = mean_pose(options.data / "people")
        if mean is None:
            raise DataError("has no training part, whose mean pose is the baseline",
                            file=options.data / "people")  # fmt: skip
        look = BoxLifter(lift.load(options.checkpoint))
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
        for real in every:
            report(real, lifted(look, real), mean, options.sheets)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def report(real: Real, xyz: np.ndarray, mean: np.ndarray, sheets: Path | None) -> None:
    """Prints the figures of each group of pictures, and draws them."""
    ours, theirs = apart(xyz, real.xyz), apart(np.broadcast_to(mean, xyz.shape), real.xyz)
    for group in sorted(set(real.group)):
        there = np.array([one == group for one in real.group])
        print(
            f"{group}: {there.sum()} pictures, PA-MPJPE {ours[there].mean():.0f} mm"
            f" (worst {ours[there].max():.0f}); mean pose {theirs[there].mean():.0f};"
            f" nearer than it in {(ours[there] < theirs[there]).sum()}",
            flush=True,
        )
    if sheets:
        rows = np.linspace(0, len(xyz) - 1, min(len(xyz), 14)).round().astype(int).tolist()
        sheet(real, xyz, rows, sheets / f"{real.archive.path.stem}.png")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
