"""Folders of pictures and videos that outgrow an afternoon: shards, workers that may die, results
that are each there once (docs/ARCHIVE.md)."""

from bodyjax.archive.manifest import Manifest as Manifest
from bodyjax.archive.shard import Counts as Counts
from bodyjax.archive.shard import do_shard as do_shard
from bodyjax.archive.work import Answer as Answer
from bodyjax.archive.work import Beat as Beat
from bodyjax.archive.work import Work as Work
