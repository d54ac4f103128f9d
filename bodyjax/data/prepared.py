"""Prepared sets: any source as a TFDS array_record set, written and read without tensorflow.

A set lies in OUT/NAME/1.0.0, next to TFDS's own description, with ROWS_FILE a split: what a stream
needs to know of all rows (names, labels, groups, held-out flags). Pictures and clips keep the bytes
of their files, so nothing is lost by preparing.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import bodyjax
from bodyjax import files, skeleton
from bodyjax.contract import Source
from bodyjax.data import prepared_shards
from bodyjax.data.clips.folder import ClipFolder
from bodyjax.data.opened_once import remove_notes
from bodyjax.data.pictures.images import read_image
from bodyjax.data.pictures.labelled import FilePath, Pictures, convert_xyz, read_arrays
from bodyjax.data.pictures.simulated import SimulatedPictures
from bodyjax.errors import DataError
from bodyjax.skeleton import Skeleton

Example = dict[str, Any]

ROWS_FILE = "bodyjax_rows_{split}.npz"
BYTES = ("image", "video")
RAGGED = ("xy", "visible", "score", "boxes", "ignore", "numbers", "xyz", "camera")
"""Arrays whose first dimensions differ between examples; stored flat, with their shape beside."""


def write(splits: Mapping[str, Source], out: FilePath, name: str) -> Path:
    """Write sources as the splits of one set; returns its folder, OUT/NAME/1.0.0.

    Pictures and clips of any size, or sources of fixed-shape arrays. Rows lie in shards in the
    order of a hash of their numbers, the same every time (data.prepared_shards). If the run is
    killed, the same call resumes: OUT/NAME/1.0.0.unfinished keeps the finished shards. Raises
    DataError if the splits differ in form, a file can't be read, the folder already exists, or the
    unfinished one is of other data.
    """
    import tensorflow_datasets as tfds

    odd = [split for split in splits if split == "all" or not split.isidentifier()]
    if odd or not splits:
        raise DataError(f"splits can't be called {odd}", hint="use train, valid, test")
    folder, unfinished = prepared_shards.new_folder(Path(out), name)
    first = {split: _stored(source, 0) for split, source in splits.items()}
    forms = {split: _features(example) for split, example in first.items()}
    if len({repr(form) for form in forms.values()}) != 1:
        raise DataError(f"the splits {', '.join(splits)} differ in form", file=folder)
    form = next(iter(forms.values()))
    words = {split: source.fingerprint for split, source in splits.items()}
    classes = [str(label) for label in next(iter(splits.values())).classes]

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore  # untyped
        """A set prepared by bodyjax."""

        VERSION = tfds.core.Version(prepared_shards.VERSION)
        url_infos: dict[str, Any] = {}  # noqa: RUF012 (nothing is downloaded; TFDS looks in vain)

        def _info(self) -> Any:
            metadata = tfds.core.MetadataDict(fingerprints=words, classes=classes)
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(form), metadata=metadata
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            raise NotImplementedError  # prepared_shards writes

        def _generate_examples(self) -> Iterator[tuple[int, Example]]:
            raise NotImplementedError

    Builder.name = name
    builder = Builder(data_dir=str(out), file_format="array_record")
    rows = {split: len(source) for split, source in splits.items()}
    made_of = {"sources": words, "rows": rows, "form": repr(form), "bodyjax": bodyjax.__version__}
    prepared_shards.begin(unfinished, made_of)
    for split, source in splits.items():
        _write_rows(unfinished, split, source, prepared_shards.order(split, len(source)))
    prepared_shards.write(builder, unfinished, splits, _stored)
    remove_notes(unfinished)
    os.replace(unfinished, folder)
    (folder / prepared_shards.MANIFEST).unlink()
    return folder


class Prepared:
    """One split of a prepared set as a source, or all of them one after the other ("all").

    Random access, picklable, for several threads.
    """

    def __init__(self, path: FilePath, split: str) -> None:
        self.path, self.split = _folder(Path(path)), split
        known = sorted(
            f.stem.removeprefix(ROWS_FILE.partition("{")[0]) for f in self.path.glob("*.npz")
        )
        if split not in (*known, "all") or not known:
            hint = f"there are {', '.join(known)}, all"
            raise DataError(f"no split {split!r}", file=self.path, hint=hint)
        self.splits = known if split == "all" else [split]
        tables = [
            read_arrays(
                self.path / ROWS_FILE.format(split=part), ("names", "heldout", "fingerprint")
            )
            for part in self.splits
        ]
        self._rows = [(k, i) for k, table in enumerate(tables) for i in range(len(table["names"]))]
        self.names = tuple(str(name) for table in tables for name in table["names"])
        self.labels, self.groups = _joined(tables, "labels"), _joined(tables, "groups")
        self.heldout = np.concatenate([table["heldout"] for table in tables])
        self.classes = tuple(str(label) for label in tables[0].get("classes", ()))
        # Sets that were prepared before they said it are of BODY18.
        words = json.loads(str(tables[0].get("skeleton", '"body18"')))
        self.skeleton = self._stored_skeleton = skeleton.of(words)
        self.bad: tuple[str, ...] = ()  # what could not be used was left out while it was prepared
        self.left_out: dict[str, int] = {}
        self.written = " ".join(str(table["fingerprint"]) for table in tables)
        self.fingerprint = hashlib.sha256(self.written.encode()).hexdigest()
        self._data: Any = None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> Prepared:
        """The source of these rows only."""
        other, rows = copy.copy(self), np.asarray(rows)
        other._rows = [self._rows[i] for i in rows]
        other.names = tuple(self.names[i] for i in rows)
        other.labels = None if self.labels is None else self.labels[rows]
        other.groups = None if self.groups is None else self.groups[rows]
        other.heldout = self.heldout[rows]
        words = f"{self.fingerprint} {rows.tolist()}"
        other.fingerprint = hashlib.sha256(words.encode()).hexdigest()
        return other

    def to(self, target: Skeleton) -> Prepared:
        """Pictures in the joints of another skeleton, as data.pictures.labelled says."""
        skeleton.check_convertible(self.skeleton, target, str(self.path))
        other = copy.copy(self)
        other.skeleton = target
        if target.joints != self.skeleton.joints:
            words = f"{self.fingerprint} {' '.join(target.joints)}"
            other.fingerprint = hashlib.sha256(words.encode()).hexdigest()
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None}

    def name(self, index: int) -> str:
        """What errors call an example."""
        return f"{self.path}[{self.split}]/{self.names[index]}"

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if self._data is None:
            self._data = [_open(self.path, split) for split in self.splits]
        which, row = self._rows[index]
        data, dtypes = self._data[which]
        try:
            record = data[row]
        except (RuntimeError, IndexError) as error:
            raise DataError(f"a damaged record ({error})", file=self.name(index)) from None
        example = _restored(record, dtypes, self.name(index))
        if self.skeleton.joints == self._stored_skeleton.joints:
            return example
        return _moved(example, self._stored_skeleton, self.skeleton)


def _joined(tables: list[dict[str, np.ndarray]], name: str) -> np.ndarray | None:
    known = [table[name] for table in tables if name in table]
    return np.concatenate(known) if len(known) == len(tables) else None


def _folder(path: Path) -> Path:
    """The folder of a set's description, from that folder or one above it."""
    if (path / "dataset_info.json").exists():
        return path
    found = sorted(path.glob("**/dataset_info.json")) if path.is_dir() else []
    if len(found) != 1:
        raise DataError(f"{len(found)} prepared sets", file=path, hint="name the folder of one")
    return found[0].parent


def _open(path: Path, split: str) -> tuple[Any, dict[str, Any]]:
    """TFDS's data source, and the dtype of each feature (its scalars come as Python numbers)."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(str(path))
        dtypes = {name: feature.np_dtype for name, feature in builder.info.features.items()}
        return builder.as_data_source(split), dtypes
    except Exception as error:  # TFDS and array_record each have their own
        raise DataError(f"not a readable prepared set ({error})", file=path) from None


def _stored(source: Source, row: int) -> Example:
    """An example as it is stored: files as bytes, ragged arrays flat with their shapes."""
    if isinstance(source, Pictures):
        example: Example = {**source.labels_of(row), "image": source.files.read(source.names[row])}
    elif isinstance(source, ClipFolder):
        example = dict(source[row])
        example["video"] = source.files[row].read_bytes()
        del example["path"]
    else:
        example = dict(source[row])
    out: Example = {"row": np.asarray(row, np.int64)}
    for name, value in example.items():
        out[name] = value if name in BYTES else np.asarray(value)
        if name in RAGGED:
            out[name] = out[name].reshape(-1)
            out[f"{name}_shape"] = np.array(np.shape(value), np.int64)
    return out


def _features(example: Example) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    features = {}
    for name, value in example.items():
        if name in BYTES:
            features[name] = tfds.features.Tensor(shape=(), dtype=np.object_)
        else:
            shape = (None,) if name in RAGGED else value.shape
            features[name] = tfds.features.Tensor(shape=shape, dtype=value.dtype)
    return features


def _restored(record: Example, dtypes: dict[str, Any], name: str) -> dict[str, np.ndarray]:
    out = {}
    for key, value in record.items():
        if key == "image":
            out[key] = read_image(value, name)
        elif key == "video":
            out[key] = np.frombuffer(value, np.uint8)
        elif key in RAGGED:
            out[key] = np.asarray(value, dtypes[key]).reshape(record[f"{key}_shape"])
        elif key != "row" and not key.endswith("_shape"):
            out[key] = np.asarray(value, dtypes[key])
    return out


def _moved(example: Example, source: Skeleton, target: Skeleton) -> Example:
    """The example of a picture in the joints of another skeleton."""
    flags = example["visible"]
    xy, visible = skeleton.convert(example["xy"], flags, source, target)
    moved: Example = {"xy": xy, "visible": visible}
    if "xyz" in example:
        moved["xyz"] = convert_xyz(example["xyz"], source, target)
    moved["joint_mask"] = skeleton.convert_mask(example["joint_mask"], source, target)
    return {**example, **moved}


def _write_rows(folder: Path, split: str, source: Source, order: np.ndarray) -> None:
    names = source.names
    arrays = {
        "names": np.array([str(names[row]) for row in order]),
        "heldout": source.heldout[order],
        "classes": np.array([str(label) for label in source.classes], np.str_),
    }
    if isinstance(source, Pictures | SimulatedPictures | Prepared):
        arrays["skeleton"] = np.array(json.dumps(skeleton.words(source.skeleton)))
    for key, values in (("labels", source.labels), ("groups", source.groups)):
        if values is not None:
            arrays[key] = np.asarray(values)[order]
    words = f"prepared 1 {split} {source.fingerprint} {order.tolist()}"
    arrays["fingerprint"] = np.array(hashlib.sha256(words.encode()).hexdigest())
    with files.whole(folder / ROWS_FILE.format(split=split)) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
