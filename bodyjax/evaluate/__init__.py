"""Measuring a checkpoint on labelled data: one file a kind of data, and COCO's measures."""
