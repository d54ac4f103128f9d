"""Writing a prepared set in shards, so that a killed run resumes: a shard gets its name when it is
complete, and the set gets its folder when all of them are.

Rows are sorted by a hash of their numbers, the same every time, so that a reader that goes through
the files in order sees them mixed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bodyjax import files
from bodyjax.contract import Source
from bodyjax.errors import DataError

VERSION = "1.0.0"
MANIFEST = "manifest.json"
ROWS = 256
"""Rows of a shard: what a killed run loses."""

Example = dict[str, Any]


def order(split: str, count: int) -> np.ndarray:
    """(count,) row numbers in the order on disk."""

    def key(row: int) -> bytes:
        return hashlib.sha256(f"{split} {row}".encode()).digest()

    return np.array(sorted(range(count), key=key), np.int64)


def new_folder(out: Path, name: str) -> tuple[Path, Path]:
    """The folder of a set, OUT/NAME/1.0.0, and the one that it has until it is complete. DataError
    if it is complete."""
    folder = out / name / VERSION
    if folder.exists():
        raise DataError("is there already", file=folder, hint="remove it or choose another folder")
    return folder, folder.with_name(f"{VERSION}.unfinished")


def begin(folder: Path, made_of: Mapping[str, Any]) -> None:
    """Makes the folder of an unfinished set and notes what it is made of. DataError if it is there
    and made of something else, or can't be written."""
    file, text = folder / MANIFEST, json.dumps(made_of, indent=1, sort_keys=True) + "\n"
    if file.exists():
        if file.read_text("utf-8") != text:
            hint = "remove it, or go on with the data and the version of then"
            raise DataError("is an unfinished set of other data", file=folder, hint=hint)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.unwritten(folder, error) from None
    files.write_text(file, text)


def write(
    builder: Any,
    folder: Path,
    splits: Mapping[str, Source],
    stored: Callable[[Source, int], Example],
) -> None:
    """All shards of all splits that are not in `folder` yet, and TFDS's description of them.

    builder: TFDS's, with the features of the set; stored: (source, row) -> example of these
    features. Raises what the source raises; what is written stays.
    """
    from tensorflow_datasets.core import example_serializer, naming
    from tensorflow_datasets.core import splits as tfds_splits

    features = builder.info.features
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    infos = []
    for split, source in splits.items():
        template = naming.ShardedFileTemplate(
            data_dir=folder, dataset_name=builder.name, split=split,
            filetype_suffix="array_record",
        )  # fmt: skip
        shards = np.split(order(split, len(source)), range(ROWS, len(source), ROWS))
        shown = not sys.stderr.isatty()
        size = 0
        for number, rows in enumerate(tqdm(shards, desc=split, unit="shard", disable=shown)):
            path = template.sharded_filepath(shard_index=number, num_shards=len(shards))
            file = Path(os.fspath(path))
            if not file.exists():
                examples = (features.encode_example(stored(source, int(row))) for row in rows)
                # Otherwise every process has its own order of the features in a record.
                records = (
                    serializer.get_tf_example(example).SerializeToString(deterministic=True)
                    for example in examples
                )
                _write_shard(file, records)
            size += file.stat().st_size
        lengths = [len(rows) for rows in shards]
        infos.append(tfds_splits.SplitInfo(split, lengths, size, template))
    builder.info.set_splits(tfds_splits.SplitDict(infos))
    builder.info.write_to_directory(str(folder))


def _write_shard(file: Path, records: Any) -> None:
    """One file of records, completely or not at all."""
    from array_record.python import array_record_module

    with files.whole(file) as temporary:
        writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1")
        try:
            for record in records:
                writer.write(record)
        finally:
            writer.close()
