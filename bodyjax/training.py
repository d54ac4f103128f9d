"""One training from a config: data, system, start, engine, and what is shown at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from bodyjax import start, stored_maps, systems
from bodyjax.contract import Feed, System, Variables
from bodyjax.data import clip_feed, feeds
from bodyjax.engine import checkpoint, loop


def train(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Trains as the config says; the same call again goes on where the run stopped.

    Returns {"checkpoint", "step", "reason", "metrics", "waited_share", "lines"}, the last what a
    person wants to read.
    """
    system, feed, initial, meta = prepare(config)
    result = loop.fit(system, feed, config, workdir, initial_variables=initial, meta=meta)
    return {
        "checkpoint": str(result.checkpoint),
        "step": result.step,
        "reason": result.reason,
        "metrics": result.metrics,
        "waited_share": result.waited_share,
        "lines": [f"done ({result.reason}), checkpoint: {result.checkpoint}"],
    }


def prepare(config: ConfigDict) -> tuple[System, Feed, Variables, dict[str, Any]]:
    """(system, feed, initial variables, what the checkpoint records beside the config)."""
    if config.system == "movement":
        return prepare_movement(config)
    system = systems.build(config)
    meta = {"skeleton": config.model.get("skeleton", "")}
    return system, feeds.open_feed(config), start.variables(config, system), meta


def prepare_movement(config: ConfigDict) -> tuple[System, Feed, Variables, dict[str, Any]]:
    """The classifier with its detector; `config.labels` and `config.detector` are filled in."""
    if not config.labels:
        config.labels = clip_feed.open_clips(config.data, "train").classes
    initial: Variables = {}
    stored = None
    if config.start:
        detector = checkpoint.load(config.start, system="pose")
        config.detector = detector.config.model
        parts = {name: detector.variables[name] for name in ("params", "batch_stats")}
        if not config.model.fine_tune:
            initial = {"frozen": {"detector": parts}}
    else:
        parts = {}
        config.detector = start.default_detector()
    system = systems.build(config)
    if config.model.fine_tune:
        initial = start.fine_tuning(config, system, parts)
    if config.model.input == "maps":
        stored = stored_maps.sources(config, system, parts)  # type: ignore[arg-type]
    feed = clip_feed.clip_feed(config, stored)
    meta = {"labels": list(config.labels), "skeleton": "body18"}
    return system, feed, initial, meta
