"""The path from a picture to its people, with a network whose maps are known: mapping back at every
shape, averaging over mirror and scales, guesses, pictures of every kind."""

import io
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from bodyjax import codec, detect, grouping
from bodyjax.data.video.writing import write_video
from bodyjax.detect import canvas
from bodyjax.errors import CheckpointError, ConfigError, DataError
from bodyjax.models.pose import CenterPose, Maps
from bodyjax.skeleton import BODY18, COCO17, LSP14

SIZE, STRIDE, CELLS = 128, 8, 16
MODEL = SimpleNamespace(stride=STRIDE, cell=32)
LEG = ("hip", "knee", "ankle")
ARM = tuple(BODY18.index(f"right_{part}") for part in ("shoulder", "elbow", "wrist"))
LIMBS = [BODY18.limbs.index(pair) for pair in (ARM[:2], ARM[1:])]


def _colours(variables, image):
    """A network that finds red, green and blue blobs as the joints of the right arm, and adds maps
    that are given as its variables: {"heatmaps" (h, w, 18), "pafs" (h, w, 38)}."""
    cells = image.astype(jnp.float32).reshape(
        len(image), image.shape[1] // STRIDE, STRIDE, image.shape[2] // STRIDE, STRIDE, 3
    )
    cells = cells.mean(axis=(2, 4)) / 255
    others = jnp.stack([jnp.maximum(cells[..., c - 1], cells[..., c - 2]) for c in range(3)], -1)
    colour = jnp.maximum(cells - others, 0)
    heat = jnp.zeros((*cells.shape[:3], 18)).at[..., jnp.array(ARM)].set(colour)
    heat = heat + variables["heatmaps"]
    heat = jnp.concatenate([heat, codec.background(heat)], axis=-1)
    pafs = jnp.broadcast_to(variables["pafs"], (*cells.shape[:3], 38))
    return Maps(heat[None], pafs[None])


COLOURS: Any = SimpleNamespace(bones=BODY18, model=MODEL, maps=_colours)


def _variables(direction=(1.0, 0.0), heatmaps=None, pafs=None) -> dict[str, Any]:
    if pafs is None:
        pafs = np.zeros((CELLS, CELLS, 38), np.float32)
        for limb in LIMBS:
            pafs[..., 2 * limb : 2 * limb + 2] = direction
    if heatmaps is None:
        heatmaps = np.zeros((CELLS, CELLS, 18), np.float32)
    return {"heatmaps": jnp.asarray(heatmaps), "pafs": jnp.asarray(pafs)}


@pytest.fixture(scope="module")
def detector():
    return detect.make(COLOURS, _variables(), detect.Settings(size=SIZE))


def _with(detector, variables):
    """The same compiled program with other variables."""
    return detect.Detector(variables, detector.predict, detector.skeleton, detector.settings)


def _blobs(shape: tuple[int, int], places: np.ndarray, sigma: float) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    squared = (x[..., None] - places[:, 0]) ** 2 + (y[..., None] - places[:, 1]) ** 2
    return np.round(255 * np.exp(-squared / (2 * sigma**2))).astype(np.uint8)


SHAPES = [(128, 128), (480, 640), (100, 400), (611, 97), (40, 57), (301, 300), (1000, 1501)]
SHAPES += [(2000, 100), (100, 2000)]


@pytest.mark.parametrize("shape", SHAPES)
def test_dots_of_a_picture_of_any_shape_are_found_where_they_are(detector, shape):
    scale = SIZE / max(shape)
    upright = shape[0] > shape[1]
    rng = np.random.default_rng(shape[0])
    along = (np.array([0.2, 0.5, 0.8]) + rng.uniform(-0.03, 0.03, 3)) * max(shape)
    narrow = min(shape) * scale <= 40
    aside = 0 if narrow else rng.uniform(-1, 1) / scale
    across = np.full(3, (min(shape) - 1) / 2 + aside)
    places = np.stack([across, along] if upright else [along, across], axis=-1)
    direction = (0.0, 1.0) if upright else (1.0, 0.0)
    picture = _blobs(shape, places, 8.0 / scale)
    one = _with(detector, _variables(direction))
    found = detect.people(one, picture, image_id=5)
    assert len(found) == 1
    assert found[0]["image_id"] == 5
    joints = np.reshape(found[0]["keypoints"], (17, 3))
    arm = [COCO17.index(BODY18.joints[j]) for j in ARM]
    assert [i for i, flag in enumerate(found[0]["found"]) if flag] == arm
    error = np.abs(joints[arm, :2] - places).max(0)
    # A picture that is scaled down is known to a share of a pixel of the canvas only. A narrow one
    # cuts the blobs, and cells see more of one side than of the other.
    exact = max(0.5, 0.08 / scale)
    across = 0.5 / scale if narrow else exact
    assert (error < ((across, exact) if upright else (exact, across))).all(), error
    rest = np.setdiff1d(np.arange(17), arm)
    assert (joints[rest] == 0).all()


def test_pictures_of_every_kind_have_nobody_where_nobody_is(detector):
    for shape in ((1, 1), (1, 4000), (4000, 1), (2, 3), (500, 400)):
        assert detect.people(detector, np.full((*shape, 3), 90, np.uint8)) == []


@pytest.mark.parametrize("mode", ["L", "I;16", "RGBA", "CMYK", "P", "1"])
def test_files_of_every_mode(detector, tmp_path, mode):
    grey = Image.fromarray(np.full((20, 30), 100, np.uint8))
    if mode == "I;16":
        picture = Image.fromarray(np.full((20, 30), 25000, np.uint16))
    else:
        picture = grey.convert(mode)
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture.save(file)
    assert detect.people(detector, file) == []
    assert detect.people(detector, file.read_bytes()) == []


def test_a_grey_picture_in_every_form_has_the_people_of_its_rgb_copy(detector):
    grey = _blobs((128, 128), np.array([[64.0, 64]]), 8.0)[..., 0]
    rgb = np.repeat(grey[..., None], 3, -1)
    # Colours alone are joints here: a known one is laid over.
    variables = _scene([_standing(64.0)])
    one = _with(detector, variables)
    expected = detect.people(one, rgb)
    assert len(expected) == 1
    kinds = grey, grey[..., None], grey.astype(np.uint16) << 8, Image.fromarray(grey)
    for kind in (*kinds, Image.fromarray(rgb), Image.fromarray(rgb).convert("CMYK")):
        assert detect.people(one, kind) == expected
    for found in detect.followed(one, kinds):
        np.testing.assert_array_equal(found.xy, detect.detect(one, rgb).xy)


def test_a_turned_photo_gives_joints_of_the_upright_one(detector):
    places = np.array([[30.0, 60], [90, 60], [150, 60]])
    upright = _blobs((120, 180), places, 11.0)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(upright)).save(stream, "png", exif=exif)
    (person,) = detect.people(detector, stream.getvalue())
    arm = [COCO17.index(BODY18.joints[j]) for j in ARM]
    np.testing.assert_allclose(np.reshape(person["keypoints"], (17, 3))[arm, :2], places, atol=0.5)


def test_broken_files_and_wrong_arrays_are_named(detector, tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        stream, "jpeg"
    )
    (tmp_path / "cut.jpg").write_bytes(stream.getvalue()[:900])
    (tmp_path / "none.png").write_bytes(b"")
    for name in ("cut.jpg", "none.png", "missing.png"):
        with pytest.raises(DataError, match=name):
            detect.people(detector, tmp_path / name)
    for array in (np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4), np.uint8)):
        with pytest.raises(DataError, match="is no picture"):
            detect.people(detector, array)


@jax.jit
def _drawn(xy, visible):
    shape = (CELLS, CELLS)
    heat = codec.heatmaps(xy, visible, shape, STRIDE, 9.0)
    return heat, codec.pafs(xy, visible, BODY18.limbs, shape, STRIDE, 8.0)


def _scene(people: list[np.ndarray], unlinked: tuple[str, ...] = ()) -> dict[str, Any]:
    """Variables with the maps of people (18, 2); limbs to `unlinked` joints have no field."""
    xy = np.full((2, 18, 2), np.nan, np.float32)
    xy[: len(people)] = people
    visible = np.isfinite(xy).all(-1).astype(np.uint8)
    heat, pafs = _drawn(xy, visible)
    pafs = np.array(pafs)
    for limb, pair in enumerate(BODY18.limbs):
        if any(BODY18.joints[j] in unlinked for j in pair):
            pafs[..., 2 * limb : 2 * limb + 2] = 0
    return _variables(heatmaps=heat, pafs=pafs)


def _standing(x: float) -> np.ndarray:
    """An upright person of 80 pixels, facing the camera."""
    rows = {
        "nose": (0, 20), "neck": (0, 32), "shoulder": (9, 33), "elbow": (14, 48), "wrist": (15, 62),
        "hip": (6, 62), "knee": (7, 80), "ankle": (7, 99), "eye": (3, 17), "ear": (6, 19),
    }  # fmt: skip
    out = np.zeros((18, 2))
    for j, joint in enumerate(BODY18.joints):
        dx, y = rows[joint.split("_")[-1]]
        out[j] = x + (-dx if joint.startswith("right") else dx), y
    return out


BLACK = np.zeros((SIZE, SIZE, 3), np.uint8)


def test_a_joint_that_grouping_did_not_attach_is_guessed_and_said_to_be_one(detector):
    person = _standing(40.0)
    one = _with(detector, _scene([person, _standing(92.0)], ("left_ankle",)))
    found = detect.detect(one, BLACK)
    assert len(found.xy) == 2
    ankle = BODY18.index("left_ankle")
    assert not found.found[:, ankle].any()
    assert np.delete(found.found, ankle, axis=1).all()
    left = int(np.argmin(found.xy[:, 0, 0]))
    np.testing.assert_allclose(found.xy[left, :, :], person, atol=0.3 * STRIDE)
    assert (found.score[:, ankle] > 0.3).all()


def test_a_part_of_a_body_is_no_person_of_its_own(detector):
    """Without fields from the neck to the hips, grouping leaves two legs beside the upper body; a
    second person stays one, since both have the same joints."""
    person, other = _standing(40.0), _standing(92.0)
    variables = _scene([person, other])
    pafs = np.array(variables["pafs"])
    legs = {BODY18.index(f"{side}_{part}") for side in ("left", "right") for part in LEG}
    for limb, (first, second) in enumerate(BODY18.limbs):
        if (first in legs) != (second in legs):
            pafs[..., 2 * limb : 2 * limb + 2] = 0
    found = detect.detect(_with(detector, {**variables, "pafs": jnp.asarray(pafs)}), BLACK)
    assert len(found.xy) == 2
    np.testing.assert_array_equal(found.found.sum(axis=1), 18 - 6)
    left = int(np.argmin(found.xy[:, 0, 0]))
    np.testing.assert_allclose(found.xy[left], person, atol=0.3 * STRIDE)
    np.testing.assert_allclose(found.xy[1 - left], other, atol=0.3 * STRIDE)


def test_a_joint_of_somebody_else_is_no_guess(detector):
    one, other = _standing(40.0), _standing(92.0)
    one[BODY18.index("left_wrist")] = np.nan
    found = detect.detect(_with(detector, _scene([one, other])), BLACK)
    wrist = BODY18.index("left_wrist")
    left = int(np.argmin(found.xy[:, 0, 0]))
    assert not found.found[left, wrist]
    distance = np.linalg.norm(found.xy[left, wrist] - other[wrist])
    assert np.isnan(found.xy[left, wrist]).all() or distance > STRIDE
    assert found.score[left, wrist] < 0.6


def test_coco_form_and_missing_joints(detector):
    person = _standing(64.0)
    person[BODY18.index("nose")] = np.nan
    (result,) = detect.people(_with(detector, _scene([person])), BLACK)
    assert set(result) == {"image_id", "category_id", "keypoints", "score", "found", "overflow"}
    assert result["overflow"] == 0
    table = np.reshape(result["keypoints"], (17, 3))
    assert len(result["found"]) == 17
    assert not result["found"][0]
    assert tuple(table[0]) == (0, 0, 0)
    order = [BODY18.index(joint) for joint in COCO17.joints[1:]]
    np.testing.assert_allclose(table[1:, :2], person[order], atol=0.3)


def test_people_beyond_the_maximum_are_counted_in_the_result():
    few = detect.make(COLOURS, _variables(), detect.Settings(size=SIZE, max_people=1))
    (result,) = detect.people(_with(few, _scene([_standing(40.0), _standing(92.0)])), BLACK)
    assert result["overflow"] == 1


@pytest.mark.parametrize(("cell", "size"), [(32, 144), (8, 140)])
def test_canvas_fits_the_network(cell, size):
    network = SimpleNamespace(bones=BODY18, model=SimpleNamespace(stride=8, cell=cell), maps=None)
    with pytest.raises(ConfigError, match=f"detect.size: {size} is not a multiple of {cell}"):
        detect.make(network, {}, detect.Settings(size=size))


def test_scales_are_those_that_the_network_can_take():
    network = SimpleNamespace(bones=BODY18, model=SimpleNamespace(stride=8, cell=32), maps=None)
    asked = detect.Settings(size=192, scales=(0.75, 1.0, 1.05, 1.25))
    assert detect.make(network, {}, asked).settings.scales == (128 / 192, 1.0, 256 / 192)


def test_networks_without_a_pyramid_take_368_pixels():
    network = SimpleNamespace(
        bones=BODY18, model=SimpleNamespace(stride=STRIDE, cell=8), maps=_equivariant
    )
    chosen = detect.Settings(size=368, scales=(0.5, 1.0))
    picture = jnp.zeros((368, 368, 3), jnp.uint8)
    heat, pafs, *_ = canvas.averaged_maps(network, 1.0, picture, chosen)
    assert (heat.shape, pafs.shape) == ((46, 46, 18), (46, 46, 38))


def test_maxima_of_the_maps_stand_for_a_single_person(detector):
    person = _standing(64.0)
    found = detect.detect(_with(detector, _scene([person], BODY18.joints)), BLACK)
    assert len(found.xy) == 0
    np.testing.assert_allclose(found.maxima_xy, person, atol=0.5)


@pytest.mark.parametrize("rule", ["dark", "udp"])
def test_dark_and_udp_find_the_same_places(detector, rule):
    people = [_standing(34.3), _standing(95.1)]
    variables = _scene(people)
    heat = variables["heatmaps"]
    grouped = detector.predict(variables, BLACK)
    base = jax.device_get(grouping.People(*(grouped[i] for i in range(5))))
    xy = jax.jit(lambda h: canvas._refined(h, base, STRIDE, rule))(heat)
    for person in people:
        row = int(np.argmin(np.abs(np.asarray(xy)[:2, 0, 0] - person[0, 0])))
        assert np.abs(np.asarray(xy)[row] - person).max() < 0.35 * STRIDE


def _equivariant(variables, image):
    """Maps that turn with the mirror: every joint sees brightness, every field its slope."""
    side = image.shape[1] // STRIDE
    light = image.astype(jnp.float32).mean(-1).reshape(len(image), side, STRIDE, side, STRIDE)
    light = light.mean(axis=(2, 4)) / 255 * variables
    padded = jnp.pad(light, ((0, 0), (0, 0), (1, 1)), mode="edge")
    slope = padded[:, :, 2:] - padded[:, :, :-2]
    heat = jnp.repeat(light[..., None], 19, -1)
    pafs = jnp.stack([slope, light], -1)[..., None, :].repeat(19, axis=-2)
    return Maps(heat[None], pafs.reshape(*light.shape, 38)[None])


EVEN = SimpleNamespace(bones=BODY18, model=MODEL, maps=_equivariant)


def _averaged(system, picture, **settings):
    chosen = detect.Settings(size=SIZE, **settings)
    return jax.jit(lambda image: canvas.averaged_maps(system, 1.0, image, chosen)[:2])(picture)


def test_mirror_and_scales_average_in_step():
    picture = _blobs((SIZE, SIZE), np.array([[40.0, 70], [41, 71], [39, 69]]), 14.0)
    plain = _averaged(EVEN, picture)
    for ours, theirs in zip(_averaged(EVEN, picture, flip=True), plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    scaled = _averaged(EVEN, picture, scales=(0.5, 1.0, 1.5), flip=True)
    assert scaled[0].shape == (CELLS, CELLS, 18)
    grid = np.arange(CELLS)
    for axis in (0, 1):
        sums = [np.asarray(maps[0])[..., 3].sum(axis) for maps in (plain, scaled)]
        centres = [float((one * grid).sum() / one.sum()) for one in sums]
        assert abs(centres[0] - centres[1]) < 0.02


def test_flip_averages_what_is_not_symmetric():
    def lopsided(variables, image):
        out = _equivariant(variables, image)
        first = jnp.arange(19) == BODY18.index("left_knee")
        return Maps(out.heatmaps + first, out.pafs)

    system = SimpleNamespace(bones=BODY18, model=MODEL, maps=lopsided)
    heat, _ = _averaged(system, BLACK, flip=True)
    assert float(heat[0, 0, BODY18.index("left_knee")]) == 0.5
    assert float(heat[0, 0, BODY18.index("right_knee")]) == 0.5
    assert float(heat[0, 0, BODY18.index("nose")]) == 0


def test_predict_is_pure_and_maps_over_batches(detector):
    variables = _scene([_standing(50.0)])
    picture = np.stack([BLACK, BLACK])
    many = jax.vmap(detector.predict, in_axes=(None, 0))(variables, picture)
    one = detector.predict(variables, BLACK)
    for batch, single in zip(many, one, strict=True):
        np.testing.assert_allclose(batch[1], single, atol=1e-4)


def test_videos_have_identities_and_times(detector, tmp_path):
    places = [np.array([[20.0 + f, 64], [50 + f, 64], [80 + f, 64]]) for f in range(8)]
    frames = [_blobs((128, 128), place, 8.0) for place in places]
    frames[4] = np.zeros_like(frames[4])
    write_video(tmp_path / "v.mp4", frames, 25)
    found = detect.video(detector, tmp_path / "v.mp4")
    assert [len(people) for people in found] == [1] * 8
    assert {people[0]["identity"] for people in found} == {0}
    assert [people[0]["bridged"] for people in found] == [f == 4 for f in range(8)]
    assert [people[0]["frame"] for people in found] == list(range(8))
    np.testing.assert_allclose(
        [people[0]["time"] for people in found], np.arange(8) / 25, atol=1e-3
    )
    arm = COCO17.index("right_elbow")
    x = [people[0]["keypoints"][3 * arm] for people in found]
    assert np.abs(np.array(x) - [place[1, 0] for place in places]).max() < 4


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"size": 16}, "detect.size"),
        ({"size": 100000}, "detect.size: 100000 is more than 2048"),
        ({"size": 256, "scales": (1, 100)}, "detect.size: 256 at scales"),
        ({"second_size": 4096}, "detect.second_size"),
        ({"size": "128"}, "detect.size: '128' is not a whole number"),
        ({"size": 128.0}, "detect.size"),
        ({"max_people": 0}, "detect.max_people: 0 is less than 1"),
        ({"max_people": 2.5}, "detect.max_people"),
        ({"max_people": True}, "detect.max_people"),
        ({"max_peaks": 0}, "detect.max_peaks"),
        ({"threshold": float("nan")}, "detect.threshold: nan is not a finite number"),
        ({"flip": "yes"}, "detect.flip: 'yes' is not True or False"),
        ({"scales": 1}, "detect.scales: 1 is not a list of numbers"),
        ({"scales": ["a"]}, "detect.scales"),
        ({"min_person": None}, "detect.min_person"),
        ({"scales": (0,)}, "detect.scales"),
        ({"scales": (float("nan"),)}, "detect.scales"),
        ({"scales": ()}, "detect.scales"),
        ({"refine": "best"}, "detect.refine"),
        ({"sise": 128}, "detect.sise"),
    ],
)
def test_settings_that_are_none(fields, place):
    with pytest.raises(ConfigError, match=place):
        detect.merged(fields)


def test_no_such_checkpoint():
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        detect.load("no/such/run")


def _center_pose(bones: Any) -> Any:
    """A system with a network of CenterPose's form, whose maps nobody asks for."""
    below: Any = SimpleNamespace(strides=(4, 32))
    model: Any = CenterPose(backbone=below, order=(), between=(0, 1))
    return SimpleNamespace(bones=bones, model=model, maps=None, heads=None)


def test_a_second_look_by_a_network_that_cannot_is_one_line(detector):
    fits = detect.make(_center_pose(BODY18), {})
    assert detect.make(COLOURS, {}, detect.Settings(size=SIZE), second=fits).side == 2 * SIZE
    other = detect.make(_center_pose(LSP14), {})
    twice = detect.make(_center_pose(BODY18), {}, second=fits)
    for second in (detector, other, twice):  # without centres, of other joints, with a second look
        with pytest.raises(ConfigError, match="second: a second look takes") as caught:
            detect.load("small", second=second)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        detect.load("small", second="no/such/run")


def test_other_skeletons(detector):
    found = detect.detect(_with(detector, _scene([_standing(64.0)])), BLACK)
    xy, score, flags = detect.as_skeleton(found, BODY18, LSP14)
    assert xy.shape == (1, 14, 2)
    top = LSP14.index("head_top")
    assert np.isnan(xy[0, top]).all()
    assert score[0, top] == 0
    assert flags[0, :top].all()
    assert not flags[0, top]
