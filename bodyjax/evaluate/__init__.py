"""Measuring a checkpoint on labelled data: one file per kind of data, and COCO's measures."""
