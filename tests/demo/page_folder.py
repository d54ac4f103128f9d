"""A built page for the tests: the real one, with a small network of random weights."""

import argparse
import os
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from bodyjax import systems
from bodyjax.engine import checkpoint
from bodyjax.errors import UserError
from configs.phone import get_config
from tests.documents import ROOT
from tests.export import needs
from tests.random_variables import drawn
from tools import demo, demo_browser

RUNTIME = Path(os.environ.get("BODYJAX_DEMO_RUNTIME", ROOT / "build" / "demo_runtime"))
BACKBONE = "mobilenet_v2_short_1_0"


def browser():
    """Skips without Chromium."""
    try:
        demo_browser.program()
    except UserError as error:
        pytest.skip(str(error))


def dist():
    """The folder of the runtime's files; skips where `npm ci` has not fetched it."""
    folder = RUNTIME / "node_modules" / "onnxruntime-web" / "dist"
    if not folder.exists():
        pytest.skip(f"{folder} is missing: make demo fetches it (or set BODYJAX_DEMO_RUNTIME)")
    return folder


def random_phone(folder):
    """Weights of the form of `phone`, random: everywhere are people."""
    config = get_config("phone")
    config.model.backbone = BACKBONE
    with config.unlocked():
        del config.distill
    variables = drawn(systems.build(config))
    made = checkpoint.Checkpoint(variables, ConfigDict(config.to_dict()), "pose", "coco17")
    return checkpoint.export(made, folder / "random", "# random\n", dtype="float32")


def built(folder, detector):
    """The page in a folder, with this detector and the shipped scorer, in float32."""
    needs.jax2onnx()
    dist()
    options = argparse.Namespace(
        checkpoint=str(detector), scorer="pushup", out=folder, float32=True, runtime=RUNTIME
    )
    demo.build(options)
    return folder
