"""Published weights under our names: against a plain implementation of their own layout, and for
EfficientNet-lite0 against its golden features (MoveNet: tests/models/test_mobilenet.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax import published
from bodyjax.errors import CheckpointError
from bodyjax.models.backbone import VGG19, EfficientNetLite0, SEResNet
from bodyjax.models.backbones.mobilenet_v2_fpn import HEADS
from bodyjax.systems import build
from bodyjax.train import start
from configs.pose import get_config
from tests.shared import shared

LITE0 = "data/backbones/efficientnet_lite0.npz"
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def random_arrays(shapes, seed=0):
    """Arrays of a torch state dict; variances positive, layers that keep the size of signals."""
    rng, arrays = np.random.default_rng(seed), {}
    for name, shape in shapes.items():
        value = rng.normal(0, 0.1, shape)
        if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            value = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        arrays[name] = value.astype(np.float32)
    return arrays


def norm_shapes(name, width):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def resnet_shapes(blocks, planes):
    """Names and shapes of torchvision's ResNet with bottlenecks."""
    shapes = {"conv1.weight": (planes[0], 3, 7, 7), **norm_shapes("bn1", planes[0])}
    width = planes[0]
    for group, (count, plane) in enumerate(zip(blocks, planes, strict=True), 1):
        for block in range(count):
            at, kernels = f"layer{group}.{block}", (1, 3, 1)
            widths = (width, plane, plane, 4 * plane)
            for i, kernel in enumerate(kernels):
                shapes[f"{at}.conv{i + 1}.weight"] = (widths[i + 1], widths[i], kernel, kernel)
                shapes |= norm_shapes(f"{at}.bn{i + 1}", widths[i + 1])
            if block == 0:
                shapes[f"{at}.downsample.0.weight"] = (4 * plane, width, 1, 1)
                shapes |= norm_shapes(f"{at}.downsample.1", 4 * plane)
            width = 4 * plane
    return shapes | {"fc.weight": (10, width), "fc.bias": (10,)}


def convolved(x, weight, stride=1, pad=0):
    """NCHW with OIHW, as torch has it."""
    return jax.lax.conv_general_dilated(x, weight, (stride, stride), [(pad, pad)] * 2)


def normalised(x, arrays, name, eps=1e-5):
    scale, bias, mean, var = (
        arrays[f"{name}.{part}"][:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / jnp.sqrt(var + eps) * scale + bias


def pooled(x, size, stride, pad):
    window, pads = (1, 1, size, size), ((0, 0), (0, 0), (pad, pad), (pad, pad))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, (1, 1, stride, stride), pads)


def torch_resnet(arrays, x, blocks):
    """The published network, every group strided: its third group's output (B, C, H/16, W/16)."""
    x = jax.nn.relu(normalised(convolved(x, arrays["conv1.weight"], 2, 3), arrays, "bn1"))
    x = pooled(x, 3, 2, 1)
    for group, count in enumerate(blocks, 1):
        for block in range(count):
            at, stride = f"layer{group}.{block}", 2 if group > 1 and block == 0 else 1
            y = convolved(x, arrays[f"{at}.conv1.weight"])
            y = jax.nn.relu(normalised(y, arrays, f"{at}.bn1"))
            y = convolved(y, arrays[f"{at}.conv2.weight"], stride, 1)
            y = jax.nn.relu(normalised(y, arrays, f"{at}.bn2"))
            y = normalised(convolved(y, arrays[f"{at}.conv3.weight"]), arrays, f"{at}.bn3")
            if block == 0:
                x = convolved(x, arrays[f"{at}.downsample.0.weight"], stride)
                x = normalised(x, arrays, f"{at}.downsample.1")
            x = jax.nn.relu(x + y)
    return x


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)


def as_torch_has_it(pixels):
    return ((pixels / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2).astype(np.float32)


def test_imported_resnet_gives_the_published_values_at_stride_8():
    """Where the third group is dilated in place of its stride, every second cell is the original's:
    at any size, also odd ones."""
    blocks, planes = (1, 2, 2), (16, 32, 64)
    arrays = random_arrays(resnet_shapes(blocks, planes))
    params, statistics, _ = published.network(arrays)
    pixels = picture(40, 56)
    variables = {"params": params, "batch_stats": statistics}
    ours = jax.jit(SEResNet("small", 0).apply)(variables, pixels)[8]
    theirs = jax.jit(lambda x: torch_resnet(arrays, x, blocks))(as_torch_has_it(pixels))
    assert ours.shape == (1, 5, 7, 256)
    np.testing.assert_allclose(
        ours[:, ::2, ::2], theirs.transpose(0, 2, 3, 1), rtol=2e-3, atol=2e-3 * np.abs(theirs).max()
    )


@pytest.mark.parametrize(("depth", "blocks"), [("50", (3, 4, 6)), ("101", (3, 4, 23))])
@pytest.mark.parametrize("reduction", [0, 8])
def test_torchvision_s_names_fill_the_whole_network(depth, blocks, reduction):
    shapes = resnet_shapes(blocks, (64, 128, 256))
    shapes |= {"layer4.0.conv1.weight": (512, 1024, 1, 1)}
    arrays = {name: np.broadcast_to(np.float32(2), shape) for name, shape in shapes.items()}
    params, statistics, _ = published.network(arrays)
    shapes = jax.eval_shape(SEResNet(depth, reduction).init, jax.random.key(0), picture(32, 32))
    for tree, name in ((params, "params"), (statistics, "batch_stats")):
        fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes[name])
        got = start.fitted(tree, fresh, name)
        paths = jax.tree_util.tree_flatten_with_path(got)[0]
        left = {jax.tree_util.keystr(path) for path, leaf in paths if not np.all(leaf == 2)}
        assert all("['se']" in path for path in left)
        assert bool(left) == (name == "params" and reduction > 0)


def test_imported_vgg19_gives_the_published_values():
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512]
    numbers = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23]
    shapes = {"classifier.0.weight": (8, 8), "classifier.0.bias": (8,)}
    for number, before, after in zip(numbers, widths, widths[1:], strict=False):
        shapes[f"features.{number}.weight"] = (after, before, 3, 3)
        shapes[f"features.{number}.bias"] = (after,)
    arrays = random_arrays(shapes)
    params, statistics, _ = published.network(arrays)
    assert statistics == {}
    pixels = picture(16, 24)
    ours = jax.jit(VGG19().apply)({"params": params}, pixels)[8]

    def theirs(x):
        for number in numbers[:-1]:
            if number in (5, 10, 19):
                x = pooled(x, 2, 2, 0)
            bias = arrays[f"features.{number}.bias"][:, None, None]
            x = jax.nn.relu(convolved(x, arrays[f"features.{number}.weight"], 1, 1) + bias)
        return x

    expected = jax.jit(theirs)(as_torch_has_it(pixels)).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


def test_efficientnet_lite0_equals_its_golden_features():
    params, statistics, _ = published.network(published.read(shared(LITE0)))
    variables = {"params": params, "batch_stats": statistics}
    with np.load(shared("data/backbones/efficientnet_lite0_golden.npz")) as file:
        golden = {name: file[name] for name in file.files}
    run = jax.jit(
        lambda v, x: EfficientNetLite0().apply(v, x, capture_intermediates=True, mutable=True)[1]
    )
    blocks = run(variables, golden["image"][None])["intermediates"]
    for passed in (1, 3, 5, 8, 11, 15, 16):
        ours = blocks[f"block{passed - 1}"]["__call__"][0]
        theirs = golden[f"same_block{passed}"].astype(np.float32).transpose(0, 2, 3, 1)
        # The stored weights are float16: moving each by half a unit in its last place moves block 1
        # by 0.2 % in the mean.
        error = np.abs(ours - theirs)
        assert error.max() < 5e-3 * np.abs(theirs).max(), passed
        assert error.mean() < 3e-3 * np.abs(theirs).mean(), passed


def test_every_parameter_of_lite0_comes_from_the_file():
    params, statistics, _ = published.network(published.read(shared(LITE0)))
    shapes = jax.eval_shape(EfficientNetLite0().init, jax.random.key(0), picture(32, 32))
    for tree, name in ((params, "params"), (statistics, "batch_stats")):
        given = jax.tree.map(np.shape, tree)
        assert given == jax.tree.map(lambda leaf: leaf.shape, shapes[name])


# ---- what can be wrong


def test_files_that_are_none(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        published.read(tmp_path / "none.npz")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(CheckpointError, match=r"not an \.npz file"):
        published.read(broken)
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, a=np.array([{"code": 1}], dtype=object))
    with pytest.raises(CheckpointError, match=r"not an \.npz file"):
        published.read(pickled)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"weight": np.zeros(3)}, "not the weights of a backbone"),
        ({"features.0.weight": np.zeros((4, 3, 3, 3)), "head.0.weight": np.zeros(3)}, "'head.0'"),
        ({"conv1.weight": np.zeros((4, 3, 7, 7)), "layer1.0.conv1.weight": np.zeros((4, 4, 1, 1)),
          "layer1.0.conv4.weight": np.zeros((4, 4, 1, 1))}, "layer1.0.conv4"),
        ({"layer1.0.conv1.weight": np.zeros((4, 4, 1, 1)), "conv1.scale": np.zeros(3)},
         "'conv1.scale' of shape"),
    ],
)  # fmt: skip
def test_names_without_a_place_are_errors(arrays, message):
    with pytest.raises(CheckpointError, match=message):
        published.network(arrays)


def test_weights_of_another_network_are_refused():
    like = {"layer3_0": {"conv1": {"kernel": np.zeros((1, 1, 4, 4), np.float32)}}}
    good = {"layer3_0": {"conv1": {"kernel": np.ones((1, 1, 4, 4))}}}
    np.testing.assert_array_equal(
        start.fitted(good, like, "backbone")["layer3_0"]["conv1"]["kernel"], 1
    )
    with pytest.raises(CheckpointError, match="backbone: the network has no layer3_6"):
        start.fitted({**good, "layer3_6": good["layer3_0"]}, like, "backbone")
    with pytest.raises(CheckpointError, match="the weights have no layer3_0"):
        start.fitted({}, like, "backbone")
    wrong = {"layer3_0": {"conv1": {"kernel": np.ones((1, 1, 4, 8))}}}
    with pytest.raises(CheckpointError, match=r"conv1/kernel: has shape"):
        start.fitted(wrong, like, "backbone")


# ---- MoveNet as a start


class Zeros:
    """The detector `small` by the names and shapes of its variables alone: nothing to compile."""

    def __init__(self):
        self.shapes = jax.eval_shape(build(get_config("small")).init, jax.random.key(0))

    def init(self, key):
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), self.shapes)


@pytest.fixture(scope="module")
def small():
    return Zeros()


@pytest.fixture(scope="module")
def movenet(small):
    """Arrays of MoveNet's names and shapes, those of its boxes among them."""
    arrays, rng = {"box_scale/out/bias": np.zeros(2, np.float32)}, np.random.default_rng(0)
    parts = ("backbone", *HEADS)
    params = {part: small.shapes["params"][part] for part in parts}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        part, *rest = (key.key for key in path)
        if part == "backbone" and rest[0].startswith(("lateral", "smooth")):
            part = "fpn"
        value = rng.normal(size=leaf.shape).astype(np.float16)
        arrays["/".join((part, *rest))] = value
    return arrays


def stored(tmp_path, arrays):
    file = tmp_path / "start.npz"
    np.savez(file, **arrays)
    return str(file)


def test_a_start_fills_backbone_and_heads_and_leaves_the_rest(tmp_path, movenet, small):
    config = {"start": stored(tmp_path, movenet), "seed": 0}
    found = start.variables(config, small, None)
    assert jax.tree.map(np.shape, found["params"]) == jax.tree.map(
        lambda leaf: leaf.shape, small.shapes["params"]
    )
    assert set(found) == {"params", "batch_stats"}
    for name, array in movenet.items():
        part, *path = name.split("/")
        if part == "box_scale":
            continue
        tree = found["params"][part if part in HEADS else "backbone"]
        for step in path:
            tree = tree[step]
        assert tree.dtype == np.float32
        np.testing.assert_array_equal(tree, array)
    for name in ("pyramid", "stages"):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(found["params"][name]))


def without(arrays, start):
    return {name: array for name, array in arrays.items() if not name.startswith(start)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: without(a, "center/"), r": center: the weights have no such head"),
        (lambda a: without(a, "fpn/smooth8/"), r": backbone: the weights have no smooth8"),
        (lambda a: without(a, "regress/out/bias"), r": regress/out: the weights have no bias"),
        (lambda a: without(a, "backbone/stem/"), "not the weights of a backbone that is known"),
        (lambda a: a | {"offset/out/kernel": np.zeros((1, 1, 96, 32))},
         r": offset/out/kernel: has shape \(1, 1, 96, 32\), not \(1, 1, 96, 34\)"),
        (lambda a: a | {"backbone/head/bias": np.zeros(7)}, r"backbone/head/bias: has shape"),
        (lambda a: a | {"backbone/block17/expand/bias": np.zeros(7)}, "the network has no block17"),
        (lambda a: a | {"depth/out/kernel": np.zeros(7)}, "no place .* 'depth/out/kernel'"),
        (lambda a: a | {"fpn": np.zeros(7)}, "no place is known for 'fpn'"),
        (lambda a: a | {"heatmap/out/scale": np.zeros(7)}, "no place .* 'heatmap/out/scale'"),
        (lambda a: a | {"fpn/lateral4/bias/bias": np.zeros(7)}, "no place .* 'fpn/lateral4/b"),
        (lambda a: a | {"fpn/lateral4/bias": np.array([{}])}, r"not an \.npz file of arrays"),
    ],
    ids=["head", "layer", "array", "stem", "shape", "backbone_shape", "block", "part", "no_path",
         "leaf", "below_an_array", "pickled"],
)  # fmt: skip
def test_a_start_that_does_not_fit_is_one_line_with_its_file(
    change, message, tmp_path, movenet, small
):
    file = stored(tmp_path, change(movenet))
    with pytest.raises(CheckpointError, match=message) as caught:
        start.from_published(file, 0, small, None, None)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 100, 0.5, -30])
def test_a_truncated_start_is_one_line_with_its_file(kept, tmp_path, movenet, small):
    file = stored(tmp_path, movenet)
    with open(file, "r+b") as held:
        size = held.seek(0, 2)
        held.truncate(int(kept * size) if 0 < kept < 1 else kept % size)
    with pytest.raises(CheckpointError, match=r"not an \.npz file") as caught:
        start.from_published(file, 0, small, None, None)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_backbones_without_heads_start_networks_that_have_none():
    arrays = {
        "layer1.0.conv1.weight": np.zeros((4, 4, 1, 1)),
        "conv1.weight": np.zeros((4, 3, 7, 7)),
    }
    params, statistics, heads = published.network(arrays)
    assert set(params) == {"layer1_0", "conv1"}
    assert statistics == heads == {}
