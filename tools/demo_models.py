"""The models of docs/demo, made from checkpoints: pose.onnx, scorer.onnx and model.json.

model.json names the files and all that the page must know of them, so that another detector or
scorer of the same kind is an exchange of files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax

from bodyjax import detect, files, systems
from bodyjax.contract import Network
from bodyjax.data import affine
from bodyjax.detect import by_centers
from bodyjax.detect.centers import joint_sigmas
from bodyjax.engine import checkpoint
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import ConfigError
from bodyjax.export import int8, onnx_file, parity
from bodyjax.export.program import Program
from bodyjax.score import exercise, scorer
from bodyjax.tasks import pose, sequence

FILE = "model.json"
EXAMPLES = 10
"""Pictures of structured noise on which an exported network is compared with ours."""
OUTPUTS = ("heatmaps", "center", "regress", "offset")
"""Of a detector with heads alone: what docs/demo/decode.mjs reads."""


def write(detector: str, judge: str, folder: Path, *, full: bool = False) -> dict[str, Any]:
    """Writes the models into a folder and returns what model.json says.

    detector, judge: runs' folders or names of shipped weights. full: float32, otherwise the
    detector's kernels are in 8 bits and the scorer's weights in half precision; computing is in
    float32 either way. UserError if the packages of the
    extra `onnx` are missing, or an exported network differs from ours by more than `parity.LIMITS`;
    ConfigError for a detector or scorer of another kind than the page runs.
    """
    finder = checkpoint.load(detector, system="pose")
    scores = checkpoint.load(judge, system="sequence")
    found = {
        "pose": of_detector(finder, detector, folder / "pose.onnx", full=full),
        "scorer": of_scorer(scores, judge, folder / "scorer.onnx", full=full),
    }
    files.write_text(folder / FILE, json.dumps(found, indent=1) + "\n")
    return found


def of_detector(loaded: Checkpoint, name: str, file: Path, *, full: bool) -> dict[str, Any]:
    """Writes a detector with heads alone; what model.json says of it."""
    network = pose.network(loaded.config)
    outputs = jax.eval_shape(network.run, loaded.variables, *network.inputs.values())
    if set(outputs) != set(OUTPUTS):
        hint = "take one with model.heads = center and model.stages = 0, such as phone"
        raise ConfigError("gives other maps than the page decodes", file=name, hint=hint)
    program = onnx_file.program(network, loaded.variables)
    if not full:
        program = int8.weights(loaded, program)
    written(network, loaded.variables, program, "float32" if full else "int8", file)
    system: Any = systems.build(loaded.config)
    bones, chosen = system.bones, detect.merged(dict(loaded.config.get("detect", {})))
    settings = by_centers.Settings(reach=chosen.fill_reach, same=chosen.same)
    return {
        "file": file.name,
        "checkpoint": Path(name).name,
        "bytes": len(program.data),
        "canvas": network.inputs["pixels"].shape[1],
        "fill": affine.FILL,
        "stride": system.model.stride,
        "joints": list(bones.joints),
        "limbs": [list(limb) for limb in bones.limbs],
        "sigmas": [round(float(sigma), 4) for sigma in joint_sigmas(bones)],
        "settings": settings._asdict(),
        "least": chosen.fill_threshold,
    }


def of_scorer(loaded: Checkpoint, name: str, file: Path, *, full: bool) -> dict[str, Any]:
    """Writes a scorer of whole clips; what model.json says of it."""
    network = sequence.network(loaded.config)
    system: Any = systems.build(loaded.config)
    chosen = scorer.score_settings(loaded.config)
    good = [label for label in system.labels if label in scorer.GOOD]
    if "condition" in network.inputs or len(good) != 1 or len(system.labels) != 2:
        what = f"labels {', '.join(system.labels)}"
        raise ConfigError(what, file=name, hint="the page takes a scorer of one exercise")
    if loaded.config["data"].get("window"):
        raise ConfigError("sees windows of frames, the page whole clips", place="data.window")
    program = onnx_file.program(network, loaded.variables, float16=not full)
    written(network, loaded.variables, program, "float32" if full else "float16", file)
    lacking = set(scorer.missing_joints(system))
    return {
        "file": file.name,
        "checkpoint": Path(name).name,
        "bytes": len(program.data),
        "joints": [None if joint in lacking else joint for joint in system.skeleton.joints],
        "labels": list(system.labels),
        "good": system.labels.index(good[0]),
        "stored": system.stored,
        "seconds": chosen.seconds,
        "exercise": {
            "weights": list(chosen.exercise),
            "limbs": [list(limb) for limb in exercise.ENDS],
            "seen": exercise.SEEN,
            "least_joints": exercise.LEAST_JOINTS,
            "hardly_seen": exercise.HARDLY_SEEN,
            "unlike": exercise.UNLIKE,
        },
    }


def written(network: Network, variables: Any, program: Program, kind: str, file: Path) -> None:
    """Writes a program after comparing it with the network; prints its size and how far it is off.
    What 8 bits cost is a matter of PCK: `launch.export --int8-weights` measures that."""
    run = jax.jit(network.run)
    found = parity.differences(
        lambda arrays: run(variables, *arrays.values()),
        program.run,
        parity.examples(program.inputs, count=EXAMPLES),
    )
    if kind != "int8":
        parity.check(found, kind, file.name)
    files.write_bytes(file, program.data)
    worst = max(found.values())
    size = f"{len(program.data) / 1e6:.2f} MB"
    print(f"{file.name}: {size}, weights in {kind}, off by {worst:.2g} of an output's range")
