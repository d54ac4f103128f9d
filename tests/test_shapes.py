# ruff: noqa: F722, F821 (shapes in strings are not forward references)
"""Shapes and dtypes that docstrings state, written down as types and checked by jaxtyping.

Each function below is a public one with the shapes of its docstring as annotations; a letter stands
for one size throughout a call. They are traced, not run, so nothing compiles.
"""

import jax
import jax.numpy as jnp
import pytest

jaxtyping = pytest.importorskip("jaxtyping", reason="the extra test is not installed")
beartype = pytest.importorskip("beartype", reason="the extra test is not installed").beartype

from jaxtyping import Array, Float, Int, jaxtyped  # noqa: E402

from bodyjax import codec, grouping, losses, metrics, skeleton  # noqa: E402

BODY = skeleton.get("body18")
LIMBS = tuple(BODY.limbs)
SIZES = [
    dict(B=1, P=1, J=18, H=5, W=7, S=1, C=3),
    dict(B=4, P=3, J=18, H=9, W=6, S=2, C=5),
    dict(B=2, P=6, J=18, H=16, W=16, S=3, C=19),
]
CASES = []


def case(**arguments):
    """Names the shape of each argument; a shape of letters is float32, `i` before it int32."""

    def add(function):
        typed = jaxtyped(function, typechecker=beartype)
        CASES.append(pytest.param(typed, arguments, id=function.__name__))
        return typed

    return add


@case(xy="BPJ2", visible="iBPJ")
def heatmaps(
    xy: Float[Array, "B P J 2"], visible: Int[Array, "B P J"]
) -> Float[Array, "B 12 10 J"]:
    return codec.heatmaps(xy, visible, (12, 10), 8, 7.0)


@case(xy="BPJ2", visible="iBPJ")
def pafs(xy: Float[Array, "B P J 2"], visible: Int[Array, "B P J"]) -> Float[Array, "B 12 10 38"]:
    return codec.pafs(xy, visible, LIMBS, (12, 10), 8, 7.0)


@case(maps="BHWJ")
def decode(
    maps: Float[Array, "B H W J"],
) -> tuple[Float[Array, "B J 2"], Float[Array, "B J"]]:
    for refine in (None, "quarter", "dark", "udp"):
        found = codec.decode(maps, 8, refine)
    return found


@case(maps="HWJ", fields="HW38")
def group(maps: Float[Array, "H W J"], fields: Float[Array, "H W 38"]) -> tuple[
    Float[Array, "20 J 2"], Float[Array, "20 J"], Float[Array, "20"], Int[Array, ""], Int[Array, ""]
]:  # fmt: skip
    people = grouping.group(maps, fields, BODY, stride=8)
    return people.xy, people.score, people.person_score, people.count, people.overflow


@case(prediction="BHWC", target="BHWC", mask="BHW1")
def masked_l2(
    prediction: Float[Array, "B H W C"],
    target: Float[Array, "B H W C"],
    mask: Float[Array, "B H W 1"],
) -> Float[Array, ""]:
    return losses.masked_l2(prediction, target, mask)


@case(prediction="BHWJ", target="BHWJ", mask="BHW1")
def hard_joints(
    prediction: Float[Array, "B H W J"],
    target: Float[Array, "B H W J"],
    mask: Float[Array, "B H W 1"],
) -> Float[Array, ""]:
    return losses.hard_joints(prediction, target, mask, 8)


@case(stages="SBHWC", target="BHWC", mask="BHW1")
def stage_losses(
    stages: Float[Array, "S B H W C"],
    target: Float[Array, "B H W C"],
    mask: Float[Array, "B H W 1"],
) -> Float[Array, "S"]:
    return losses.stage_losses(stages, target, mask)


@case(joints="BJ3", visible="iBJ")
def bone_ratio(joints: Float[Array, "B J 3"], visible: Int[Array, "B J"]) -> Float[Array, ""]:
    ones = jnp.ones(len(LIMBS))
    return losses.bone_ratio(joints, LIMBS, [[0, 1], [2, 3]], ones, visible)


@case(prediction="BJ", target="BJ", mask="BJ")
def depth_l2(
    prediction: Float[Array, "B J"], target: Float[Array, "B J"], mask: Float[Array, "B J"]
) -> Float[Array, ""]:
    return losses.depth_l2(prediction, target, mask)


@case(student="SBHWC", teacher="BHWC", target="BHWC", mask="BHW1")
def distillation(
    student: Float[Array, "S B H W C"],
    teacher: Float[Array, "B H W C"],
    target: Float[Array, "B H W C"],
    mask: Float[Array, "B H W 1"],
) -> Float[Array, ""]:
    return losses.distillation(student, teacher, target, mask, 0.5).total


@case(logits="BC", labels="iB")
def cross_entropy(logits: Float[Array, "B C"], labels: Int[Array, "B"]) -> Float[Array, ""]:
    return losses.cross_entropy(logits, labels)


@case(prediction="BJ2", target="BJ2", visible="iBJ", length="B")
def pck(
    prediction: Float[Array, "B J 2"],
    target: Float[Array, "B J 2"],
    visible: Int[Array, "B J"],
    length: Float[Array, "B"],
) -> Float[Array, ""]:
    return metrics.pck(prediction, target, visible, length)


@case(xy="P1J2", target="1CJ2", visible="i1CJ", area="1C")
def oks_of_all_pairs(
    xy: Float[Array, "P 1 J 2"],
    target: Float[Array, "1 C J 2"],
    visible: Int[Array, "1 C J"],
    area: Float[Array, "1 C"],
) -> Float[Array, "P C"]:
    return metrics.oks(xy, target, visible, area, jnp.full(18, 0.1))


@case(prediction="BPJ3", target="BPJ3", visible="iBPJ")
def mpjpe(
    prediction: Float[Array, "B P J 3"],
    target: Float[Array, "B P J 3"],
    visible: Int[Array, "B P J"],
) -> Float[Array, ""]:
    metrics.pa_mpjpe(prediction, target, visible)
    return metrics.mpjpe(prediction, target, visible, root=0)


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"{sizes['H']}x{sizes['W']}")
@pytest.mark.parametrize(("function", "arguments"), CASES)
def test_shapes_are_those_of_the_docstring(function, arguments, sizes):
    given = {}
    for name, shape in arguments.items():
        dtype = jnp.int32 if shape.startswith("i") else jnp.float32
        letters = shape.removeprefix("i").replace("38", "L")
        known = {**sizes, "L": 38, "1": 1, "2": 2, "3": 3}
        given[name] = jax.ShapeDtypeStruct([known[letter] for letter in letters], dtype)
    jax.eval_shape(function, **given)


def test_a_wrong_shape_is_noticed():
    wrong = jax.ShapeDtypeStruct((2, 3, 17, 2), jnp.float32)
    visible = jax.ShapeDtypeStruct((2, 3, 18), jnp.int32)
    with pytest.raises(jaxtyping.TypeCheckError):
        jax.eval_shape(heatmaps, wrong, visible)
