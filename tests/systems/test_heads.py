"""Losses of the heads of CenterNet's form: against a plain implementation, their masks, and what
each term reaches. Maps are arrays here: no network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax.models.pose import Maps
from bodyjax.systems import heads

STRIDE, HEIGHT, WIDTH, PEOPLE, JOINTS = 4, 12, 16, 3, 5
KNOWN = (True, True, False, True, True)
"""Joint 2 stands for the neck, of which the heads have no channel."""
FIELDS = ("heatmaps", "center", "regress", "offset")
TERM = {"heatmap": "heatmaps", "center": "center", "regress": "regress", "offset": "offset"}
"""The field of Maps that each term is of."""


def labels(seed=0, rows=2):
    """People in the picture, the last of the first row with two joints alone; every mask is 1."""
    rng = np.random.default_rng(seed)
    low, high = (3, 3), (STRIDE * WIDTH - 4, STRIDE * HEIGHT - 4)
    visible = rng.integers(1, 3, (rows, PEOPLE, JOINTS)).astype(np.uint8)
    visible[0, 1, 0] = 0
    visible[0, 2, [0, 1, 4]] = 0  # two known joints are left: no middle
    xy = rng.uniform(low, high, (rows, PEOPLE, JOINTS, 2)).astype(np.float32)
    return {
        "xy": np.where(visible[..., None] > 0, xy, np.float32(np.nan)),
        "visible": visible,
        "joint_mask": np.ones((rows, JOINTS), bool),
        "area_mask": np.ones((rows, HEIGHT, WIDTH), np.float32),
    }


def random_maps(seed=1, rows=2):
    rng = np.random.default_rng(seed)
    shape = (rows, HEIGHT, WIDTH)
    return Maps(
        rng.uniform(0.02, 0.98, (2, *shape, JOINTS + 1)).astype(np.float32),
        np.zeros((1, *shape, 4), np.float32),
        rng.uniform(0.02, 0.98, shape).astype(np.float32),
        rng.normal(0, 2, (*shape, JOINTS, 2)).astype(np.float32),
        rng.normal(0, 0.3, (*shape, JOINTS, 2)).astype(np.float32),
    )


@jax.jit
def terms(maps, batch):
    return heads.head_losses(maps, batch, KNOWN, STRIDE)


@jax.jit
def slopes(maps, batch):
    """Gradients of each term by the maps."""
    names = list(TERM)

    def each(maps):
        found = heads.head_losses(maps, batch, KNOWN, STRIDE)
        return jnp.stack([found[name] for name in names])

    jacobian = jax.jacrev(each)(maps)
    return {name: jax.tree.map(lambda x, i=i: x[i], jacobian) for i, name in enumerate(names)}


# ---- a plain implementation


def cell_of(place):
    """The nearest cell, (x, y)."""
    return tuple(int(np.rint(p)) for p in place)


def on_map(cell):
    return 0 <= cell[0] < WIDTH and 0 <= cell[1] < HEIGHT


def bump(cell, sigma):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    squares = (x - cell[0]) ** 2 + (y - cell[1]) ** 2
    return np.exp(-squares * STRIDE**2 / (2 * sigma**2))


def focal(p, target, weight):
    """Objects as Points, eq. 1, over everything that counts."""
    counted = weight > 0
    p, target, weight = p[counted], target[counted], weight[counted]
    peak = target == 1
    cost = np.where(peak, -((1 - p) ** 2) * np.log(p), -((1 - target) ** 4) * p**2 * np.log(1 - p))
    return (weight * cost).sum() / max(peak.sum(), 1)


def reference(maps, batch):
    """The unweighted terms, person by person and joint by joint."""
    rows = len(batch["xy"])
    heat = np.zeros((rows, HEIGHT, WIDTH, JOINTS))
    middle_heat = np.zeros((rows, HEIGHT, WIDTH))
    regress, offset = [], []
    for row in range(rows):
        area = batch["area_mask"][row]
        for person in range(PEOPLE):
            places = {
                j: (batch["xy"][row, person, j].astype(float) - (STRIDE - 1) / 2) / STRIDE
                for j in range(JOINTS)
                if batch["visible"][row, person, j] and KNOWN[j] and batch["joint_mask"][row, j]
            }
            for j, place in places.items():
                cell = cell_of(place)
                heat[row, ..., j] = np.maximum(heat[row, ..., j], bump(cell, heads.SIGMA))
                if on_map(cell) and area[cell[::-1]]:
                    found = maps.offset[row, cell[1], cell[0], j]
                    offset += list(np.abs(found - (place - np.array(cell))))
            if len(places) < 3:
                continue
            middle = cell_of(np.mean(list(places.values()), axis=0))
            drawn = bump(middle, heads.CENTER_SIGMA)
            middle_heat[row] = np.maximum(middle_heat[row], drawn)
            if on_map(middle) and area[middle[::-1]]:
                for j, place in places.items():
                    found = maps.regress[row, middle[1], middle[0], j]
                    regress += list(np.abs(found - (place - np.array(middle))))
    area = batch["area_mask"]
    taught = np.array(KNOWN) & batch["joint_mask"]
    weight = area[..., None] * taught[:, None, None]
    return {
        "heatmap": focal(maps.heatmaps[-1][..., :-1], heat, weight),
        "center": focal(maps.center, middle_heat, area),
        "regress": np.sum(regress) / max(len(regress), 1),
        "offset": np.sum(offset) / max(len(offset), 1),
    }


def masked_labels():
    """Labels with everything that can be missing: joints of a set, cells, places off the map."""
    batch = labels(seed=3)
    batch["joint_mask"][1, 3] = False
    batch["area_mask"][0, :, 10:] = 0
    batch["xy"][1, 0, 0] = -30.0, 20.0
    batch["xy"][1, 1] += 60.0  # the person's middle lies off the map
    return batch


@pytest.mark.parametrize("batch", [labels(), masked_labels()], ids=["whole", "masked"])
def test_terms_equal_a_plain_implementation(batch):
    maps = random_maps()
    found, expected = terms(maps, batch), reference(maps, batch)
    assert set(found) == set(expected) == set(heads.WEIGHTS)
    for name, value in expected.items():
        assert value > 0
        np.testing.assert_allclose(found[name], heads.WEIGHTS[name] * value, rtol=2e-5)


def test_terms_under_vmap_are_those_of_each_picture():
    maps, batch = random_maps(), labels()
    axes = Maps(1, 1, 0, 0, 0)  # of the pictures

    def one(maps, batch):
        whole = Maps(*(jnp.expand_dims(x, axis) for x, axis in zip(maps, axes, strict=True)))
        return heads.head_losses(whole, {k: v[None] for k, v in batch.items()}, KNOWN, STRIDE)

    many = jax.jit(jax.vmap(one, (axes, 0)))(maps, batch)
    for row in range(2):
        alone = Maps(*(np.take(x, [row], axis) for x, axis in zip(maps, axes, strict=True)))
        expected = terms(alone, {name: array[[row]] for name, array in batch.items()})
        for name, value in expected.items():
            np.testing.assert_allclose(many[name][row], value, rtol=1e-5)


def test_exact_predictions_cost_nothing():
    batch = labels()
    maps = Maps(*(np.zeros_like(x) for x in random_maps()))
    for row in range(2):
        for person in range(PEOPLE):
            there = (batch["visible"][row, person] > 0) & np.array(KNOWN)
            places = (batch["xy"][row, person] - (STRIDE - 1) / 2) / STRIDE
            for j in np.flatnonzero(there):
                x, y = cell_of(places[j])
                maps.heatmaps[-1, row, y, x, j] = 1
                maps.offset[row, y, x, j] = places[j] - (x, y)
            if there.sum() >= 3:
                x, y = cell_of(places[there].mean(0))
                maps.center[row, y, x] = 1
                maps.regress[row, y, x, there] = places[there] - (x, y)
    for value in terms(maps, batch).values():
        assert abs(value) < 1e-5


def test_each_term_reaches_its_own_head_alone():
    by_term = slopes(random_maps(), masked_labels())
    for name, gradient in by_term.items():
        moved = {field for field in Maps._fields if np.any(getattr(gradient, field))}
        assert moved == {TERM[name]}, name
    heat = by_term["heatmap"].heatmaps
    assert not np.any(heat[:-1])  # the stages' maps
    assert not np.any(heat[..., -1])  # the background
    for name, gradient in by_term.items():
        if name != "center":
            joints = getattr(gradient, TERM[name])
            neck = joints[-1, ..., 2] if name == "heatmap" else joints[..., 2, :]
            assert not np.any(neck), name  # the heads don't know it


def test_joints_that_a_set_does_not_teach_move_nothing():
    batch = labels()
    batch["joint_mask"][0, 1] = False
    other = {name: array.copy() for name, array in batch.items()}
    other["xy"][0, :, 1] = 20.0
    other["visible"][0, :, 1] = 2
    other["xy"][:, :, 2] = np.nan  # nor does the neck
    other["visible"][:, :, 2] = 0
    maps = random_maps()
    for one, two in zip(terms(maps, batch).values(), terms(maps, other).values(), strict=True):
        np.testing.assert_array_equal(one, two)
    by_term = slopes(maps, batch)
    assert not np.any(by_term["heatmap"].heatmaps[:, 0, ..., 1])
    for name in ("regress", "offset"):
        gradient = getattr(by_term[name], name)
        assert not np.any(gradient[0, ..., 1, :])
        assert np.any(gradient[1, ..., 1, :])


def test_masked_cells_teach_nothing():
    maps, batch = random_maps(), labels()
    batch["area_mask"][:, :, 8:] = 0
    for name, gradient in slopes(maps, batch).items():
        cells = getattr(gradient, TERM[name])
        cells = cells[-1] if name == "heatmap" else cells
        assert not np.any(cells[:, :, 8:]), name
        assert np.any(cells[:, :, :8]), name
    batch["area_mask"][:] = 0
    assert all(value == 0 for value in terms(maps, batch).values())


def test_what_is_absent_leaks_nowhere():
    """Absent joints may be anything, NaN too; without people only the heat maps teach: nobody."""
    maps, batch = random_maps(), labels()
    clean = dict(batch, xy=np.nan_to_num(batch["xy"], nan=7.0))
    one, two = (jax.tree.leaves((terms(maps, b), slopes(maps, b))) for b in (batch, clean))
    for ours, theirs in zip(one, two, strict=True):
        assert np.isfinite(ours).all()
        np.testing.assert_array_equal(ours, theirs)
    batch["visible"][:] = 0
    batch["xy"][:] = np.nan
    nobody, gradients = terms(maps, batch), slopes(maps, batch)
    assert nobody["regress"] == nobody["offset"] == 0
    assert np.isfinite(nobody["heatmap"])
    assert (gradients["center"].center > 0).all()  # every cell less
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


def test_a_teacher_that_agrees_teaches_nothing_and_another_one_every_head():
    maps, teacher = random_maps(), random_maps(seed=2)

    def total(maps, teacher):
        return sum(heads.taught_losses(maps, teacher).values())

    both = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    value, (gradient, _) = both(maps, maps)
    assert value == 0
    assert not np.any(gradient.heatmaps)
    assert not np.any(gradient.center)
    value, (gradient, to_teacher) = both(maps, teacher)
    assert value > 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(to_teacher))
    for name in ("heatmaps", "center", "regress", "offset"):
        assert np.any(getattr(gradient, name)), name
    assert np.isfinite(value)
