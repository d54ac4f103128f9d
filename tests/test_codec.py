"""Heat maps, fields and decoding against published arrays, and on their own properties."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import codec, skeleton
from bodyjax.errors import ConfigError
from tests import grouping_reference as reference
from tests.shared import GOLDENS

BODY = skeleton.get("body18")

heatmaps = jax.jit(codec.heatmaps, static_argnums=(2, 3, 4))
decode = jax.jit(codec.decode, static_argnums=(1, 2))


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def pafs(xy, visible, limbs, shape, stride, width):
    return codec.pafs(xy, visible, limbs, shape, stride, width)


def load(name):
    with np.load(GOLDENS / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def codecs():
    return load("heatmap_codecs")


@pytest.fixture(scope="module")
def fields():
    return load("openpose_fields")


def test_cells_and_pixels():
    assert float(codec.cells_to_pixels(0, 8)) == 3.5
    assert float(codec.cells_to_pixels(5, 1)) == 5
    cells = np.random.default_rng(0).normal(size=(3, 4, 2)) * 40
    back = codec.pixels_to_cells(codec.cells_to_pixels(cells, 4), 4)
    np.testing.assert_allclose(back, cells, atol=1e-5)


# ---- heatmap_codecs.npz, compared in cells (tests/data/goldens/README.md)


@pytest.mark.parametrize(("rule", "tolerance"), [("msra", 3e-3), ("dark", 1e-5), ("udp", 5e-3)])
def test_encode_equals_the_published_codecs(codecs, rule, tolerance):
    keypoints, size = codecs["keypoints"], codecs["heatmap_size_wh"]
    cells = {
        "msra": np.trunc(keypoints / 4 + 0.5),  # drawn at rounded centres
        "dark": keypoints / 4,
        "udp": keypoints * (size - 1) / (codecs["input_size_wh"] - 1),
    }[rule]
    ours = heatmaps(
        codec.cells_to_pixels(cells, 4)[:, None],
        codecs["keypoints_visible"][:, None],
        tuple(size[::-1].tolist()),
        4,
        4 * float(codecs["sigma"]),
    )
    theirs, drawn = codecs[f"{rule}_heatmaps"], codecs[f"{rule}_weights"] > 0
    difference = abs(np.moveaxis(ours, -1, 1) - theirs)[drawn]
    assert difference.max() <= tolerance
    if rule != "dark":  # they cut the Gaussian off at 6 cells
        assert difference[theirs[drawn] > 0].max() <= 1e-5


@pytest.mark.parametrize("kind", ["clean", "noisy"])
@pytest.mark.parametrize(
    ("rule", "refine", "pixels"),
    [("msra", "quarter", 1e-3), ("dark", "dark", 1e-3), ("udp",) * 2 + (5e-3,)],
)
def test_decode_equals_the_published_codecs(codecs, rule, refine, pixels, kind):
    maps = codecs[f"{rule}_heatmaps"] if kind == "clean" else codecs["noisy_heatmaps"]
    xy, score = decode(np.moveaxis(maps, 1, -1), 4, refine)
    cells = np.asarray(codec.pixels_to_cells(xy, 4))
    scale = (codecs["heatmap_size_wh"] - 1) / codecs["input_size_wh"] if rule == "udp" else 1 / 4
    theirs = codecs[f"{rule}_decode_{kind}_keypoints"] * scale
    valid = codecs[f"{rule}_decode_{kind}_valid"].astype(bool) & (maps.max(axis=(2, 3)) > 0)
    if kind == "noisy":
        valid &= codecs[f"{rule}_decode_noisy_stable"].astype(bool)
    if rule == "msra":  # the source has other rules for the first two rows and columns
        valid &= (np.floor(theirs + 0.5) >= 2).all(axis=-1)
    assert valid.sum() >= 15
    assert abs(cells - theirs)[valid].max() * 4 <= pixels
    np.testing.assert_array_equal(
        np.asarray(score)[valid], codecs[f"{rule}_decode_{kind}_scores"][valid]
    )


def test_flip_equals_the_published_flip(codecs):
    maps = np.moveaxis(codecs["flip_input"], 1, -1)
    mirror = codecs["flip_indices"]
    ours = codec.flip_heatmaps(maps, mirror)
    np.testing.assert_array_equal(np.moveaxis(ours, -1, 1), codecs["flip_shiftFalse"])
    ours = codec.flip_heatmaps(maps, np.arange(17))
    np.testing.assert_array_equal(np.moveaxis(ours, -1, 1), codecs["flip_noswap_shiftFalse"])


# ---- openpose_fields.npz


@pytest.mark.parametrize("i", [0, 1, 2])
def test_heatmaps_equal_openpose_where_one_person_covers_the_cell(fields, i):
    xy, visible = fields[f"s{i}_keypoints"], fields[f"s{i}_visible"]
    theirs = np.moveaxis(fields[f"s{i}_lw_heatmaps"], 0, -1)
    each = np.asarray(heatmaps(xy[:, None], visible[:, None], theirs.shape[:2], 8, 7.0))
    ours = np.asarray(heatmaps(xy, visible, theirs.shape[:2], 8, 7.0))
    np.testing.assert_array_equal(ours, each.max(axis=0))
    cut = np.where(ours > np.exp(-4.6052), ours, 0)
    alone = (each > 1e-3).sum(axis=0) <= 1
    assert abs(cut - theirs[..., :-1])[alone].max() <= 1e-5
    np.testing.assert_allclose(codec.background(ours)[..., 0], 1 - ours.max(axis=-1), atol=1e-7)


@pytest.mark.parametrize("i", [0, 1, 2])
def test_pafs_equal_openpose_where_one_person_covers_the_cell(fields, i):
    xy, visible = fields[f"s{i}_keypoints"], fields[f"s{i}_visible"]
    limbs = tuple(map(tuple, fields["limbs"].tolist()))
    theirs = np.moveaxis(fields[f"s{i}_lw_pafs"], 0, -1)
    shape = theirs.shape[:2]
    theirs = theirs.reshape(*shape, -1, 2)
    xy = xy + np.float32(3.5)  # the source's fields stand on the grid 8c
    each = np.asarray(pafs(xy[:, None], visible[:, None], limbs, shape, 8, 8.0))
    each = each.reshape(-1, *theirs.shape)
    drawn, theirs_drawn = ((field != 0).any(axis=-1) for field in (each, theirs))
    assert (drawn.any(axis=0) & theirs_drawn).sum() >= 0.75 * theirs_drawn.sum()

    # In a cell that one person covers, the source drew this one, or, as its outline is another one,
    # somebody later in its list: which, its direction tells.
    first, second = np.array(limbs).T
    vectors = xy[:, second] - xy[:, first]
    units = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    alone = (drawn.sum(axis=0) == 1) & theirs_drawn
    far = abs(units[:, None, None] - theirs).max(axis=-1)
    assert far.min(axis=0)[alone].max() <= 1e-5
    this = alone & (far.argmin(axis=0) == drawn.argmax(axis=0))
    assert abs(each.sum(axis=0) - theirs).max(axis=-1)[this].max() <= 1e-5
    assert this.sum() >= (1 if len(xy) == 1 else 0.9) * alone.sum()

    ours = np.asarray(pafs(xy, visible, limbs, shape, 8, 8.0)).reshape(theirs.shape)
    mean = each.sum(axis=0) / np.maximum(drawn.sum(axis=0), 1)[..., None]
    np.testing.assert_allclose(ours, mean, atol=1e-6)


def test_pafs_equal_the_plain_reference():
    rng = np.random.default_rng(3)
    xy, visible = reference.scene(rng, 3, (20, 24))
    xy = np.concatenate((xy, xy + rng.normal(0, 5, xy.shape)))  # everybody stands over another
    visible = np.concatenate((visible, visible[:, ::-1]))
    ours = np.asarray(pafs(xy, visible, BODY.limbs, (20, 24), 8, 8.0))
    theirs = reference.pafs(xy, visible, BODY.limbs, (20, 24), 8, 8.0)
    norms = np.linalg.norm(theirs.reshape(20, 24, 19, 2), axis=-1)
    assert ((norms > 0) & (norms < 0.99)).sum() > 20  # people do overlap here
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


# ---- properties


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize(
    ("refine", "pixels"), [(None, 0.51), ("quarter", 0.26), ("dark", 0.01), ("udp", 0.02)]
)
def test_round_trip(stride, refine, pixels):
    """Decode after heatmaps, joints 8 cells and more from the edge, sigma 1.5 cells."""
    rng = np.random.default_rng(0)
    size = 40 * stride
    xy = rng.uniform(8 * stride, size - 8 * stride, (25, 1, 4, 2))
    maps = heatmaps(xy, np.ones((25, 1, 4)), (40, 40), stride, 1.5 * stride)
    back, score = decode(maps, stride, refine)
    assert abs(np.asarray(back) - xy[:, 0]).max() <= pixels * stride
    assert np.asarray(score).min() > 0.75


def test_shift_by_a_cell_shifts_the_map():
    xy, visible = reference.scene(np.random.default_rng(1), 3, (20, 24))
    for draw in (
        lambda xy: heatmaps(xy, visible, (20, 24), 8, 7.0),
        lambda xy: pafs(xy, visible, BODY.limbs, (20, 24), 8, 8.1),
    ):
        moved = np.asarray(draw(xy + np.array([16, 8])))
        np.testing.assert_allclose(moved[1:, 2:], np.asarray(draw(xy))[:-1, :-2], atol=1e-4)


def test_flip_of_the_maps_is_the_map_of_the_flip():
    xy, visible = reference.scene(np.random.default_rng(2), 3, (20, 24))
    mirror = np.array(BODY.mirror)
    flipped = (24 * 8 - 1, 0) + xy[:, mirror] * (-1, 1)
    maps = heatmaps(flipped, visible[:, mirror], (20, 24), 8, 7.0)
    np.testing.assert_allclose(
        codec.flip_heatmaps(maps, mirror),
        heatmaps(xy, visible, (20, 24), 8, 7.0),
        atol=1e-5,
    )
    maps = pafs(flipped, visible[:, mirror], BODY.limbs, (20, 24), 8, 8.1)
    np.testing.assert_allclose(
        codec.flip_pafs(maps, BODY.limbs, mirror),
        pafs(xy, visible, BODY.limbs, (20, 24), 8, 8.1),
        atol=1e-5,
    )
    with pytest.raises(ConfigError, match="no mirror image"):
        codec.flip_pafs(maps[..., :2], BODY.limbs[:1], mirror)


def test_absent_joints_draw_nothing_and_may_be_nan():
    xy = np.array([[[40.0, 40], [80, 40], [80, 80]], [[np.nan] * 2, [np.inf] * 2, [60, 60]]])
    visible = np.array([[2, 1, 0], [0, 0, 1]])
    maps = np.asarray(heatmaps(xy, visible, (16, 16), 8, 7.0))
    assert np.isfinite(maps).all()
    np.testing.assert_array_equal(
        maps[..., :2], np.asarray(heatmaps(xy[0, :2], visible[0, :2], (16, 16), 8, 7.0))
    )
    np.testing.assert_array_equal(
        maps[..., 2],
        np.asarray(heatmaps(xy[1, 2:], visible[1, 2:], (16, 16), 8, 7.0))[..., 0],
    )
    field = np.asarray(pafs(xy, visible, ((0, 1), (1, 2)), (16, 16), 8, 8.0))
    assert np.isfinite(field).all()
    assert field[..., :2].any()
    assert not field[..., 2:].any()
    assert not np.asarray(heatmaps(np.zeros((0, 3, 2)), np.zeros((0, 3)), (4, 4), 8, 7.0)).any()


def test_joints_outside_the_picture():
    """They draw their tail; far outside nothing; what is decoded stays at the map."""
    near, far = np.array([[-6.0, 40]]), np.array([[-1000.0, 40]])
    maps = np.asarray(heatmaps(near, [1], (16, 16), 8, 7.0))
    assert 0.1 < maps.max() < 1
    assert not np.asarray(heatmaps(far, [1], (16, 16), 8, 7.0)).any()
    xy, _ = decode(maps, 8, "dark")
    assert -5 <= float(xy[0, 0]) <= 8
    noise = np.random.default_rng(0).normal(0, 1e-3, (16, 12, 30))
    for refine in ("dark", "udp"):
        xy, _ = decode(noise, 8, refine)
        assert np.isfinite(xy).all()
        assert (np.asarray(xy) >= -8).all()
        assert (np.asarray(xy) <= (12 * 8 + 8, 16 * 8 + 8)).all()


def test_a_limb_of_no_length_draws_nothing():
    assert not np.asarray(pafs(np.full((2, 2), 9.0), [1, 1], ((0, 1),), (4, 4), 8, 8.0)).any()


def test_empty_maps_have_score_zero():
    for refine in ("quarter", "dark", "udp"):
        xy, score = decode(np.zeros((2, 5, 6, 3)), 8, refine)
        assert not np.asarray(score).any()
        assert np.isfinite(xy).all()


def test_quarter_steps_at_the_edge_go_along_the_axis_that_has_neighbours():
    rows, columns = np.mgrid[:6, :8]
    for top, wanted in {
        (0, 3): (0, 3.25), (7, 3): (7, 3.25), (4, 0): (4.25, 0), (4, 5): (4.25, 5),
        (0, 0): (0, 0), (7, 5): (7, 5), (2, 2): (2.25, 2.25),
    }.items():  # fmt: skip
        far = (columns - top[0] - 0.2) ** 2 + (rows - top[1] - 0.2) ** 2
        xy, _ = decode(np.exp(-far / 2)[..., None], 1, "quarter")
        np.testing.assert_allclose(xy[0], wanted, err_msg=str(top))


def test_wrong_arguments_are_one_line():
    with pytest.raises(ConfigError, match="limbs name joints 0 to 2"):
        pafs(np.zeros((2, 2)), [1, 1], ((0, 2),), (4, 4), 8, 8.0)
    with pytest.raises(ConfigError, match="unknown refine 'darc'"):
        decode(np.zeros((4, 4, 1)), 8, "darc")
    with pytest.raises(ConfigError, match="belong together"):
        heatmaps(np.zeros((2, 3, 2)), np.zeros(3), (4, 4), 8, 7.0)


def test_integers_and_half_precision():
    xy = np.array([[16, 24], [40, 16]])
    expected = heatmaps(xy.astype(np.float32), [1, 2], (8, 8), 8, 7.0)
    for dtype in (np.int32, np.float16, jnp.bfloat16):
        maps = heatmaps(jnp.asarray(xy, dtype), jnp.ones(2, bool), (8, 8), 8, 7.0)
        np.testing.assert_array_equal(maps, expected)
        field = pafs(jnp.asarray(xy, dtype), [1, 1], ((0, 1),), (8, 8), 8, 8.0)
        assert field.dtype == jnp.float32
    for refine in ("quarter", "udp"):
        full, half = (decode(expected.astype(d), 8, refine) for d in ("float32", "float16"))
        np.testing.assert_allclose(full[0], half[0], atol=0.1)
        assert half[1].dtype == jnp.float32


def test_jit_vmap_and_grad():
    xy, visible = reference.scene(np.random.default_rng(4), 4, (12, 14))
    xy, visible = xy.reshape(2, 2, 18, 2).astype(np.float32), visible.reshape(2, 2, 18)
    xy[0, 0, 0], visible[0, 0, 0] = np.nan, 0
    xy[1, 0, 2] = xy[1, 0, 3]  # a limb of no length

    def labels(xy, visible):
        maps = heatmaps(xy, visible, (12, 14), 8, 7.0)
        return maps, pafs(xy, visible, BODY.limbs, (12, 14), 8, 8.0)

    batch = jax.jit(labels)(xy, visible)
    mapped = jax.jit(jax.vmap(labels))(xy, visible)
    for a, b in zip(batch, mapped, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)

    weights = np.random.default_rng(5).normal(size=(12, 14, 1))

    def loss(xy):
        return sum((m * weights).sum() for m in labels(xy, visible))

    gradient = np.asarray(jax.jit(jax.grad(loss))(xy))
    assert np.isfinite(gradient).all()
    assert gradient[0, 0, 0].tolist() == [0, 0]
    assert gradient.any()

    # A soft shift of the map moves the refined peak: the gradient exists and is finite.
    maps = batch[0][0]
    for refine in ("dark", "udp"):
        slope = jax.jit(jax.grad(lambda m, r=refine: decode(m, 8, r)[0].sum()))(maps)
        assert np.isfinite(slope).all()
        assert np.asarray(slope).any()


def test_a_map_without_a_single_top_keeps_its_cell():
    rng = np.random.default_rng(3)
    noise = rng.uniform(0, 1, (400, 24, 24, 1)).astype(np.float32) ** 4
    far, _ = codec.decode(noise, 8, "dark")
    cells, score = codec.decode(noise, 8, None)
    near, same = codec.decode_near(noise, 8)
    distance = np.abs(np.asarray(far - cells)).max(-1)
    assert (distance > 8).any()
    assert (distance <= 8).any()
    np.testing.assert_array_equal(near, np.where((distance > 8)[..., None], cells, far))
    np.testing.assert_array_equal(same, score)
    body = codec.heatmaps(np.array([[[50.3, 61.9]]]), np.ones((1, 1)), (24, 24), 8, 9.0)
    np.testing.assert_array_equal(codec.decode_near(body, 8)[0], codec.decode(body, 8)[0])
