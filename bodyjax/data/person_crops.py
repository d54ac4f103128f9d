"""Crops of one person for the lifter from pictures: 2D labels and 3D labels in one stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bodyjax import sections
from bodyjax.contract import Feed
from bodyjax.data import affine, augment, feeds, sets
from bodyjax.data.pictures import rendered_people
from bodyjax.data.pictures.labelled import Pictures
from bodyjax.data.pictures.simulated3d import SimulatedPeople
from bodyjax.data.poses3d.mocap import heights
from bodyjax.data.poses3d.rendered import LEAST_AREA, checked
from bodyjax.data.stream import Mixture, Stream
from bodyjax.errors import ConfigError
from bodyjax.sections import check
from bodyjax.skeleton import H36M17

Example = dict[str, np.ndarray]

MIRROR = np.array(H36M17.mirror)

NECK = H36M17.index("neck")


@dataclass(frozen=True)
class CropData:
    """`config.data` of kind person_crops. sets, deep: {name: share} of 2D- and 3D-labelled sets
    below `path` (`simulated` is drawn); valid: the 3D-labelled set that is evaluated. alternate:
    batches of 2D and 3D pictures take turns, otherwise each batch mixes them. deep_share: the part
    of the 3D-labelled pictures that is used. person: the longer side of a box, relative to the
    crop."""

    kind: str
    path: str
    batch: int
    valid: str = "simulated"
    sets: dict[str, Any] = field(default_factory=dict)
    deep: dict[str, Any] = field(default_factory=dict)
    alternate: bool = False
    deep_share: float = 1.0
    person: float = 0.8
    rotation: float = 25.0
    colour: float = 0.25
    workers: int = 0


@dataclass(frozen=True)
class PersonCrop:
    """A random square crop of `size` pixels around one labelled person, in joints of h36m17.

    image (S, S, 3) uint8; xy (17, 2) pixels of the crop; visible (17,); depth (17,) float32: how
    far behind the pelvis a joint lies, along the ray to the pelvis, in sides of the crop at the
    pelvis' distance, so that x, y and depth have one unit; depth_mask (17,) bool, False where it is
    not known: everywhere for pictures without 3D labels. Joints outside the crop are absent.
    """

    size: int
    person: float
    rotation: float
    colour: float

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        who = int(rng.integers(len(example["boxes"])))
        scale = self.person * float(np.exp(rng.uniform(-0.25, 0.15)))
        matrix = crop_map(example["boxes"][who], self.size, scale,
                          rng.uniform(-self.rotation, self.rotation),
                          rng.uniform(-0.06, 0.06, 2))  # fmt: skip
        flipped = bool(rng.random() < 0.5)
        if flipped:
            matrix = affine.mirrored(matrix, self.size)
        made = cropped(example, who, matrix, self.size, flipped)
        if self.colour:
            made["image"] = augment.change_colours(made["image"], rng, self.colour)
        return made


@dataclass(frozen=True)
class WholePerson:
    """The evaluation transform: the first person, upright; beside what `PersonCrop` gives xyz (17,
    3) mm, root-relative, the camera (4,) of the crop, and the height (mm)."""

    size: int
    person: float

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        del rng
        matrix = crop_map(example["boxes"][0], self.size, self.person)
        made = cropped(example, 0, matrix, self.size, flipped=False)
        xyz = example["xyz"][0] - example["xyz"][0, :1]
        height = np.float32(example.get("height", [height_of(xyz)])[0])
        del made["depth"], made["depth_mask"], made["xy"]
        camera = moved_camera(example["camera"][0], matrix)
        made["visible"] = np.full(len(H36M17.joints), 2, np.uint8)
        return {**made, "xyz": xyz.astype(np.float32), "camera": camera, "height": height}


def crop_map(
    box: np.ndarray,
    size: int,
    person: float,
    degrees: float = 0.0,
    shift: np.ndarray | None = None,
) -> np.ndarray:
    """The (2, 3) map to a crop in which the longer side of a box takes the share `person`."""
    longer = max(float((box[2:] - box[:2]).max()), 1.0)
    target = (size - 1) / 2 + size * (np.zeros(2) if shift is None else shift)
    return affine.about((box[:2] + box[2:]) / 2, target, person * size / longer, degrees)


def moved_camera(camera: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A camera (4,) seen through an upright crop's map."""
    scale = affine.scale_of(matrix)
    return np.concatenate([camera[:2] * scale, affine.move(camera[2:], matrix)]).astype(np.float32)


def cropped(
    example: Example, who: int, matrix: np.ndarray, size: int, flipped: bool
) -> Example:  # fmt: skip
    """The crop of one person and their labels, as `PersonCrop` says."""
    xy, visible = affine.move(example["xy"][who], matrix), example["visible"][who]
    inside = ((xy >= 0) & (xy <= size - 1)).all(-1) & (visible > 0)
    depth, known = np.zeros(len(xy), np.float32), np.zeros(len(xy), bool)
    if "xyz" in example:
        depth, known = depths(example["xyz"][who], example["camera"][who], matrix, size)
    if flipped:
        xy, inside, depth, known = xy[MIRROR], inside[MIRROR], depth[MIRROR], known[MIRROR]
        visible = visible[MIRROR]
    taught = example["joint_mask"][MIRROR] if flipped else example["joint_mask"]
    return {
        "image": affine.warp(example["image"], matrix, (size, size)),
        "xy": np.where(inside[:, None], xy, np.float32(0)),
        "visible": np.where(inside, visible, 0).astype(np.uint8),
        "joint_mask": taught,
        "depth": np.where(known & inside, depth, np.float32(0)),
        "depth_mask": known & inside,
    }


def depths(
    xyz: np.ndarray, camera: np.ndarray, matrix: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Depth (17,) behind the pelvis along its ray, in sides of the crop, and where it is known."""
    root = xyz[0]
    known = np.isfinite(xyz).all(-1) & np.isfinite(root).all() & (root[2] > 0)
    ray = root / max(float(np.linalg.norm(root)), 1e-6) if known[0] else np.zeros(3)
    behind = np.where(known, np.nan_to_num(xyz - root) @ ray, 0.0)
    pixels = float(camera[0]) / float(root[2]) if known[0] else 0.0  # of a mm at the pelvis
    return (behind * pixels * affine.scale_of(matrix) / size).astype(np.float32), known


def height_of(xyz: np.ndarray) -> float:
    """How tall a person of joints (17, 3) is."""
    return float(heights(xyz[None])[0])


def deep_source(name: str, root: Path, part: str) -> Any:
    """A 3D-labelled set of pictures in joints of h36m17; DataError for labels that no one should
    learn from (poses3d.rendered.checked)."""
    if name == "simulated":
        return SimulatedPeople(part, 20_000 if part == "train" else 200)
    if not (root / name).exists() or sets.recognise(root / name) != "people":
        what = f"no 3D-labelled set {name!r} in {root}"
        raise ConfigError(what, place="data.deep", hint="rendered people, or simulated")
    checked(root / name)
    source = rendered_people.people(root / name, part, joints=H36M17, least_area=LEAST_AREA)
    return with_people(source)


def flat_source(name: str, root: Path, part: str) -> Any:
    """A 2D-labelled set in joints of h36m17. The neck that such sets label is a point of the
    throat, h36m17's lies between the ears' lower ends: it is not taught."""
    return Necks(with_people(feeds.picture_source(name, root, part, bones=H36M17)))


def with_people(source: Pictures) -> Pictures:
    """The pictures that show somebody with a label."""
    return source.take(np.flatnonzero([len(one.boxes) > 0 for one in source.people]))


class Necks:
    """A source of pictures whose neck is masked."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.fingerprint = hashlib.sha256(f"no neck {source.fingerprint}".encode()).hexdigest()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        example: Example = self.source[index]
        visible, mask = example["visible"].copy(), example["joint_mask"].copy()
        visible[:, NECK], mask[NECK] = 0, False
        return {**example, "visible": visible, "joint_mask": mask}


class Alternating:
    """A feed whose batches come from two streams in turn (CN 111260774 B, [0082])."""

    def __init__(self, first: Stream, second: Stream) -> None:
        self.first, self.second, self.batch_size = first, second, first.batch_size
        words = f"alternating {first.fingerprint} {second.fingerprint}"
        self.fingerprint = hashlib.sha256(words.encode()).hexdigest()

    def train_batches(self, start: int) -> Iterator[Example]:
        """From global batch number `start` on."""
        streams = (
            self.first.train_batches((start + 1) // 2),
            self.second.train_batches(start // 2),
        )
        while True:
            yield next(streams[start % 2])
            start += 1

    def eval_batches(self) -> Iterator[Example]:
        """The held-out examples of the second stream."""
        return self.second.eval_batches()


def feed(config: Mapping[str, Any], *, host: tuple[int, int] = (0, 1)) -> Feed:
    """Crops of 2D- and 3D-labelled people, mixed by their shares or in turns."""
    data, size = sections.read(CropData, config["data"], "data"), int(config["model"]["size"])
    check(data.batch >= 1, "data.batch", data.batch, "a whole number from 1 on")
    check(0 < data.deep_share <= 1, "data.deep_share", data.deep_share, "above 0, at most 1")
    check(data.person > 0, "data.person", data.person, "above 0")
    root = Path(data.path)
    flat = {k: float(v) for k, v in data.sets.items() if v}
    deep = {k: float(v) for k, v in data.deep.items() if v}
    if not flat and not deep:
        raise ConfigError("no set has a share", place="data", hint="data.sets or data.deep")
    flats = [flat_source(name, root, "train") for name in flat]
    deeps = [thinned(deep_source(name, root, "train"), data.deep_share) for name in deep]
    crop = PersonCrop(size, data.person, data.rotation, data.colour)

    def stream(parts: list[Any], shares: list[float]) -> Stream:
        return Stream(
            parts[0] if len(parts) == 1 else Mixture(parts, shares),
            crop,
            seed=config["seed"],
            batch_size=data.batch,
            eval_source=deep_source(data.valid, root, "valid") if data.valid else None,
            eval_transform=WholePerson(size, data.person),
            workers=data.workers,
            host_index=host[0],
            host_count=host[1],
        )

    if data.alternate:
        if not flat or not deep:
            what = "batches take turns between 2D and 3D sets: both are needed"
            raise ConfigError(what, place="data.alternate")
        return Alternating(
            stream(flats, list(flat.values())), stream(deeps, list(deep.values()))
        )  # fmt: skip
    return stream(flats + deeps, [*flat.values(), *deep.values()])


def thinned(source: Any, share: float) -> Any:
    """The first `share` of a source's rows in an order fixed by their names."""
    if share == 1.0:
        return source
    order = np.argsort(
        [hashlib.sha256(name.encode()).hexdigest() for name in source.names], kind="stable"
    )
    kept = np.sort(order[: max(1, round(share * len(source)))])
    if isinstance(source, SimulatedPeople):
        raise ConfigError("simulated pictures are not thinned", place="data.deep_share")
    return source.take(kept)
