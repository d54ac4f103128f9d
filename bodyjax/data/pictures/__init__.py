"""Labelled pictures of people: LSP arrays, COCO files, rendered people, simulated ones."""

from bodyjax.data.pictures.coco_keypoints import coco as coco
from bodyjax.data.pictures.images import read_image as read_image
from bodyjax.data.pictures.labelled import Pictures as Pictures
from bodyjax.data.pictures.lsp_arrays import lsp as lsp
from bodyjax.data.pictures.rendered_people import people as people
