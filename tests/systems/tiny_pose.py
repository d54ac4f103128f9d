"""The smallest detector: pictures of 64 x 64 pixels, seven joints, three limbs, two stages."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from bodyjax import skeleton
from bodyjax.models.backbones.layers import Norm
from bodyjax.models.pose import MultiStagePose
from bodyjax.systems.pose import Pose

BONES = skeleton.make(
    "seven", "neck left_shoulder right_shoulder left_hip right_hip left_eye right_eye",
    "neck-left_shoulder neck-right_hip neck-left_eye",
)  # fmt: skip
EYES = [BONES.index("left_eye"), BONES.index("right_eye")]
KEY = jax.random.key(0)


class Patches(nn.Module):
    """The smallest backbone: one convolution over cells of 8 x 8 pixels."""

    width: int = 8

    strides = (8,)
    normed = True

    @nn.compact
    def __call__(self, pixels, train=False):
        x = pixels.astype(jnp.float32) / 255 - 0.5
        x = nn.Conv(self.width, (8, 8), (8, 8), use_bias=False, name="conv")(x)
        return {8: nn.relu(Norm(name="norm")(x, train))}


def network(width=8, stages=2):
    return MultiStagePose(
        Patches(width), len(BONES.joints), len(BONES.limbs), stages=stages, light=True, width=width
    )


PLAIN = Pose(network(), BONES, (64, 64), 2, 8.0, 6.0, 10.0, 1.0, 0, 0)


def scene(system=PLAIN, rows=3, seed=0):
    rng = np.random.default_rng(seed)
    spec = system.batch_spec(rows)
    batch = {name: np.ones(one.shape, one.dtype) for name, one in spec.items()}
    batch["image"] = rng.integers(0, 256, spec["image"].shape, dtype=np.uint8)
    batch["xy"] = rng.uniform(4, 60, spec["xy"].shape).astype(np.float32)
    batch["visible"] = rng.integers(0, 3, spec["visible"].shape).astype(np.uint8)
    if "teacher_xy" in spec:
        batch["teacher_xy"] = rng.uniform(20, 40, spec["teacher_xy"].shape).astype(np.float32)
        batch["teacher_visible"] = np.full(spec["teacher_visible"].shape, 2, np.uint8)
    return batch


def value_and_grad(system):
    def loss(params, rest, batch):
        return system.loss({"params": params, **rest}, batch, KEY)

    compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def run(variables, batch):
        rest = {name: tree for name, tree in variables.items() if name != "params"}
        (value, aux), grads = compiled(variables["params"], rest, batch)
        return float(value), aux, grads

    return run


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def close(one, two, atol=1e-4):
    return largest(jax.tree.map(jnp.subtract, one, two)) < atol * max(largest(one), 1.0)
