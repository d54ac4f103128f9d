"""Drawn scenes of people with centres, grouped by the one compiled program of these tests."""

import jax
import numpy as np

from bodyjax.detect import centers
from bodyjax.skeleton import COCO17
from tests import centers_reference as reference

SHAPE, STRIDE, BATCH = (24, 24), 4, 25
SETTINGS = centers.Settings(max_people=6, max_peaks=8)
LIMBS = list(COCO17.limbs)


def group(*maps):
    return centers.group(*maps, COCO17, stride=STRIDE, settings=SETTINGS)


MAPPED = jax.jit(jax.vmap(group))


def run(*scenes):
    """People of up to BATCH scenes, all by the same compiled program."""
    parts = [np.stack(part) for part in zip(*(one.maps() for one in scenes), strict=True)]
    empty = BATCH - len(scenes)
    parts = [np.pad(part, [(0, empty)] + [(0, 0)] * (part.ndim - 1)) for part in parts]
    people = jax.device_get(MAPPED(*parts))
    return [centers.Bodies(*(leaf[i] for leaf in people)) for i in range(len(scenes))]


def drawn(xy, visible=None, **options):
    xy = np.asarray(xy, float)
    visible = np.ones(xy.shape[:2], bool) if visible is None else visible
    return reference.draw(xy, visible, LIMBS, SHAPE, **options)


def standing(*middles, size=14.0):
    """Upright people about these places, in cells: (P, 17, 2)."""
    return np.stack([reference.FIGURE * size + (x, y - 0.3 * size) for x, y in middles])


def pixels(cells):
    return STRIDE * np.asarray(cells) + (STRIDE - 1) / 2


def same(ours, theirs):
    """Whether Bodies hold the reference's people: the same ones in the same order."""
    if int(ours.there.sum()) != len(theirs.people) or int(ours.overflow) != theirs.overflow:
        return False
    for i, person in enumerate(theirs.people):
        agree = (
            ours.there[i]
            and (ours.found[i] == person.found).all()
            and abs(ours.xy[i] - pixels(person.xy)).max() < 0.05
            and abs(ours.score[i] - person.score).max() < 1e-4
            and abs(ours.center[i] - person.center) < 1e-4
        )
        if not agree:
            return False
    return True
