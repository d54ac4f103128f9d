"""The models of docs/demo, made from checkpoints: pose.onnx, scorer.onnx and model.json.

model.json names the files and all that the page must know of them, so that another detector or
scorer of the same kind is an exchange of files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax

from bodyjax import files, score, systems
from bodyjax.contract import Network
from bodyjax.data import affine
from bodyjax.detect import by_centers
from bodyjax.detect.centers import joint_sigmas
from bodyjax.engine import checkpoint
from bodyjax.engine.checkpoint import Checkpoint
from bodyjax.errors import ConfigError
from bodyjax.export import onnx_file, parity
from bodyjax.export.program import Program, Shape
from bodyjax.score import exercise
from bodyjax.score.scorer import GOOD, score_settings
from bodyjax.tasks import pose, sequence

FILE = "model.json"
EXAMPLES = 10
"""Pictures of structured noise on which an exported network is compared with ours."""


def write(detector: str, scorer: str, side: int, folder: Path) -> dict[str, Any]:
    """Writes the models into a folder and returns what model.json says.

    detector, scorer: runs' folders or names of shipped weights; side: of the canvas in pixels.
    UserError if the packages of the extra `onnx` are missing, or an exported network differs from
    ours by more than `parity.LIMITS`.
    """
    finder = checkpoint.load(detector, system="pose")
    judge = checkpoint.load(scorer, system="sequence")
    found = {
        "pose": of_detector(finder, Path(detector).name, side, folder / "pose.onnx"),
        "scorer": of_scorer(judge, Path(scorer).name, folder / "scorer.onnx"),
    }
    files.write_text(folder / FILE, json.dumps(found, indent=1) + "\n")
    return found


def of_detector(loaded: Checkpoint, name: str, side: int, file: Path) -> dict[str, Any]:
    """Writes the heads of a detector; what model.json says of them."""
    network = pose.heads(loaded.config, side)
    program = exported(network, loaded.variables, file)
    system: Any = systems.build(loaded.config)
    model, bones = system.model, system.bones
    return {
        "file": file.name,
        "checkpoint": name,
        "bytes": len(program.data),
        "canvas": side,
        "fill": affine.FILL,
        "stride": model.stride,
        "joints": list(bones.joints),
        "limbs": [list(limb) for limb in bones.limbs],
        "sigmas": [round(float(sigma), 4) for sigma in joint_sigmas(bones)],
        "middles": [
            [joint, *ends] for joint, ends in by_centers.middles(model.order, model.between).items()
        ],
        "settings": by_centers.Settings()._asdict(),
        "inputs": ends(program.inputs, network.says),
        "outputs": ends(program.outputs, network.says),
    }


def of_scorer(loaded: Checkpoint, name: str, file: Path) -> dict[str, Any]:
    """Writes a scorer of whole clips; what model.json says of it."""
    network = sequence.network(loaded.config)
    program = exported(network, loaded.variables, file)
    system: Any = systems.build(loaded.config)
    chosen, good = score_settings(loaded.config), [x for x in system.labels if x in GOOD]
    if "condition" in program.inputs or len(good) != 1 or len(system.labels) != 2:
        what = f"labels {', '.join(system.labels)}"
        raise ConfigError(what, file=name, hint="the page takes a scorer of one exercise")
    if loaded.config["data"].get("window"):
        raise ConfigError("sees windows of frames, the page whole clips", place="data.window")
    lacking = set(score.scorer.missing_joints(system))
    return {
        "file": file.name,
        "checkpoint": name,
        "bytes": len(program.data),
        "joints": [None if joint in lacking else joint for joint in system.skeleton.joints],
        "labels": list(system.labels),
        "good": system.labels.index(good[0]),
        "stored": system.stored,
        "steps": system.steps,
        "seconds": chosen.seconds,
        "exercise": {
            "weights": list(chosen.exercise),
            "limbs": [list(limb) for limb in exercise.ENDS],
            "seen": exercise.SEEN,
            "least_joints": exercise.LEAST_JOINTS,
            "hardly_seen": exercise.HARDLY_SEEN,
            "unlike": exercise.UNLIKE,
        },
        "inputs": ends(program.inputs, network.says),
        "outputs": ends(program.outputs, network.says),
    }


def exported(network: Network, variables: Any, file: Path) -> Program:
    """Writes a network with float16 weights, after comparing it with ours."""
    program = onnx_file.program(network, variables, float16=True)
    run = jax.jit(network.run)
    found = parity.differences(
        lambda arrays: run(variables, *arrays.values()),
        program.run,
        parity.examples(program.inputs, count=EXAMPLES),
    )
    parity.check(found, "float16", file)
    files.write_bytes(file, program.data)
    worst = max(found.values())
    print(f"{file}: {len(program.data) / 1e6:.2f} MB, off by {worst:.2g} of an output's range")
    return program


def ends(shapes: dict[str, Shape], says: dict[str, str]) -> list[dict[str, Any]]:
    """Inputs or outputs of a file, for model.json."""
    return [
        {"name": name, "shape": list(end.shape), "dtype": end.dtype, "what": says.get(name, "")}
        for name, end in shapes.items()
    ]
