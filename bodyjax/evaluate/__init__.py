"""Measuring a checkpoint on labelled data: one file per kind of data, and COCO's measures.

    report = evaluate.pictures.evaluate("small", "../shared/data/lspet", "test")

`pictures`, `lifting`, `movements` and `sequences` each have one function `evaluate`; `coco_ap`
compares any results with any labels in COCO's form; `calibration` makes scores of people
probabilities; `exercise` tells a scorer's exercise from other movements.
"""

from bodyjax.evaluate import calibration as calibration
from bodyjax.evaluate import coco_ap as coco_ap
from bodyjax.evaluate import exercise as exercise
from bodyjax.evaluate import lifting as lifting
from bodyjax.evaluate import movements as movements
from bodyjax.evaluate import pictures as pictures
from bodyjax.evaluate import sequences as sequences
