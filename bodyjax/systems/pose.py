"""System E, and the detector of system A: pictures to heat maps, affinity fields and people.

Batch: image (B, H, W, 3) uint8; xy (B, P, J, 2) pixels and visible (B, P, J); joint_mask (B, J),
the joints that the picture's set labels; area_mask (B, H/s, W/s), cells where its labels are valid.
Labels are drawn on the device from the joints.

With a teacher (system B: distillation) the loss is (1 - alpha) x labels + alpha x teacher. The
teacher is a larger network in `frozen`, run inside the step, or comes with the batch. Its stored
maps: teacher_maps (B, h, w, J + 2L) float16 of its canvas, teacher_matrix (B, 2, 3) from the
canvas' pixels to the picture's, teacher_known (B,) False for pictures without. Stored joints of one
person: teacher_xy (B, J, 2), teacher_visible (B, J) and teacher_mask (B, J), joints about which the
teacher says something (mask without visible: the joint is not visible). With agreement: neighbour,
as image, the next frame of an unlabelled clip, and neighbour_known (B,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bodyjax import codec, losses, skeleton
from bodyjax.contract import ArraySpec, Aux, Batch, Variables
from bodyjax.engine import settings as engine_settings
from bodyjax.metrics.pose import Keypoints, torso_of
from bodyjax.models.pose import CenterPose, Maps, MultiStagePose
from bodyjax.skeleton import Skeleton
from bodyjax.systems import agreement, hints, pose_settings
from bodyjax.systems.heads import head_losses, taught_losses
from bodyjax.systems.moved_maps import MapForm, moved
from bodyjax.systems.pose_network import Network, check, network
from bodyjax.systems.teaching import Teaching, around, common_maps

Array = jax.Array


class Targets(NamedTuple):
    """What the maps should be, and how much each cell and channel counts (W of CMU-Pose, eq. 5)."""

    heatmaps: Array
    pafs: Array
    heatmap_mask: Array
    paf_mask: Array


@dataclass(frozen=True)
class SinglePerson:
    """PCK@0.2 of the first person of each picture (LSP has one), relative to the torso if the
    skeleton has one."""

    keypoints: Keypoints

    def init(self) -> Any:
        return self.keypoints.init()

    def update(self, state: Any, outputs: Any, batch: Batch) -> Any:
        first = {**batch, "xy": batch["xy"][:, 0], "visible": batch["visible"][:, 0]}
        return self.keypoints.update(state, outputs, first)

    def compute(self, state: Any) -> dict[str, Any]:
        return self.keypoints.compute(state)


@dataclass(frozen=True)
class Pose:
    """The detector as a system. Sizes in input pixels: `size` (H, W) of training pictures, `sigma`
    of the Gaussians, `width` of the fields. Cells are weighted 1 + `peak_weight` x target; the loss
    of the fields counts `paf_weight` times that of the heat maps. `hard_stages` of the last stages
    keep only each picture's `hard_joints` worst joints (0: all). `head_weight`: the weight of the
    losses of CenterPose's heads (systems.heads); 0: they don't change.
    """

    model: MultiStagePose | CenterPose
    bones: Skeleton
    size: tuple[int, int]
    max_people: int
    sigma: float
    width: float
    peak_weight: float
    paf_weight: float
    hard_joints: int
    hard_stages: int
    teaching: Teaching | None = None
    head_weight: float = 0.0

    def init(self, key: Array) -> Variables:
        # Parameters do not depend on the picture's size: the smallest one compiles fastest.
        pixels = jnp.zeros((1, 64, 64, 3), jnp.uint8)
        variables = split(self.model.init(key, pixels))
        if self.teaching is None:
            return {**variables, "frozen": {}}
        variables["batch_stats"] = {
            **variables["batch_stats"],
            "teaching": {"step": jnp.zeros((), jnp.float32)},
        }
        network = self.teaching.network
        teacher = {"teacher": split(network.init(key, pixels))} if network else {}
        if network and self.teaching.hints:
            ends = hints.shapes(self.model, pixels), hints.shapes(network, pixels)
            variables["params"] = {**variables["params"], hints.PART: hints.init(*ends)}
        return {**variables, "frozen": teacher}

    def input_spec(self, size: int) -> dict[str, ArraySpec]:
        return {"image": ArraySpec((size, *self.size, 3), "uint8")}

    def batch_spec(self, size: int) -> dict[str, ArraySpec]:
        (height, width), stride = self.size, self.model.stride
        people, joints = self.max_people, len(self.bones.joints)
        spec = {
            **self.input_spec(size),
            "xy": ArraySpec((size, people, joints, 2), "float32"),
            "visible": ArraySpec((size, people, joints), "uint8"),
            "joint_mask": ArraySpec((size, joints), "bool"),
            "area_mask": ArraySpec((size, height // stride, width // stride), "float32"),
        }
        if self.teaching and self.teaching.maps:
            cells = self.teaching.maps.side // self.teaching.maps.stride
            channels = len(self.teaching.bones.joints) + 2 * len(self.teaching.bones.limbs)
            spec["teacher_maps"] = ArraySpec((size, cells, cells, channels), "float16")
            spec["teacher_matrix"] = ArraySpec((size, 2, 3), "float32")
            spec["teacher_known"] = ArraySpec((size,), "bool")
        elif self.teaching and self.teaching.agreement:
            spec["neighbour"] = spec["image"]
            spec["neighbour_known"] = ArraySpec((size,), "bool")
        elif self.teaching and self.teaching.network is None:
            spec["teacher_xy"] = ArraySpec((size, joints, 2), "float32")
            spec["teacher_visible"] = ArraySpec((size, joints), "uint8")
            spec["teacher_mask"] = ArraySpec((size, joints), "bool")
        return spec

    def maps(self, variables: Variables, image: Array) -> Maps:
        """All stages for pictures (B, H, W, 3); H, W: multiples of the network's cell."""
        return applied(self.model, variables, image)

    def heads(self, variables: Variables, image: Array) -> Maps:
        """`maps` without the stages (CenterPose.heads_alone), for a look at one person, without
        fields for grouping."""
        maps: Any = self.model.apply(split(variables), image, method="heads_alone")
        return maps

    def drawn(self, xy: Array, visible: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
        """Heat maps with background (B, *shape, J + 1) and fields (B, *shape, 2L) of people."""
        joints = codec.heatmaps(xy, visible, shape, self.model.stride, self.sigma)
        fields = codec.pafs(xy, visible, self.bones.limbs, shape, self.model.stride, self.width)
        return jnp.concatenate([joints, codec.background(joints)], axis=-1), fields

    def channels(self, taught: Array) -> tuple[Array, Array]:
        """Which channels (B, 1, 1, J + 1) and (B, 1, 1, 2L) say something, given (B, J) joints.

        A limb needs both its joints; the background is known only if every joint is.
        """
        first, second = (jnp.array(ends) for ends in zip(*self.bones.limbs, strict=True))
        limbs = jnp.repeat(taught[:, first] & taught[:, second], 2, axis=-1)
        heatmaps = jnp.concatenate([taught, taught.all(-1, keepdims=True)], axis=-1)
        return heatmaps[:, None, None], limbs[:, None, None]

    def targets(self, batch: Batch) -> Targets:
        """Labels and weights of a batch, drawn from its joints."""
        batch = arrays(batch)
        shape, area = batch["area_mask"].shape[1:], batch["area_mask"][..., None]
        heatmaps, fields = self.drawn(batch["xy"], batch["visible"], shape)
        of_joints, of_limbs = self.channels(batch["joint_mask"])
        peaks = jnp.concatenate([heatmaps[..., :-1], jnp.zeros_like(heatmaps[..., -1:])], axis=-1)
        strength = jnp.linalg.norm(fields.reshape(*fields.shape[:-1], -1, 2), axis=-1)
        on_limbs = jnp.repeat(strength, 2, axis=-1)
        return Targets(
            heatmaps,
            fields,
            area * of_joints * (1 + self.peak_weight * peaks),
            area * of_limbs * (1 + 0.3 * self.peak_weight * on_limbs),
        )

    def loss(self, variables: Variables, batch: Batch, key: Array) -> tuple[Array, Aux]:
        del key
        batch = arrays(batch)
        maps, updates, features = hints.with_features(
            self.model, split(variables), batch["image"], train=True, mutable=["batch_stats"]
        )
        target, statistics = self.targets(batch), updates.get("batch_stats", {})
        count = jnp.float32(batch["image"].shape[0])
        metrics, second, alpha, taught = {}, None, jnp.float32(0), jnp.zeros(1)
        if self.teaching is not None:
            step = variables["batch_stats"]["teaching"]["step"]
            statistics = {**statistics, "teaching": {"step": step + 1}}
            alpha = self.teaching.alpha(step)
            teacher, taught = self.teacher_loss(variables, batch, maps, features)
            second = alpha * teacher
            # Pictures without a teacher keep their labels at full weight.
            keep = (1 - alpha * taught)[:, None, None, None]
            target = target._replace(
                heatmap_mask=keep * target.heatmap_mask, paf_mask=keep * target.paf_mask
            )
            metrics = {"teacher": (teacher, count), "alpha": (alpha, count)}
        heads, total = maps.center is not None, jnp.float32(0)
        if self.staged:
            stages = losses.heatmap_stage_losses(
                of_stages(maps).heatmaps, target.heatmaps, target.heatmap_mask,
                joints=len(self.bones.joints),
                k=self.hard_joints or len(self.bones.joints),
                hard_stages=self.hard_stages if self.hard_joints else 0,
                joint_mask=batch["joint_mask"],
            )  # fmt: skip
            fields = losses.stage_losses(maps.pafs, target.pafs, target.paf_mask)
            total = stages.sum() + self.paf_weight * fields.sum()
            metrics |= {"heatmaps": (stages[-1], count), "pafs": (fields[-1], count)}
        if heads and self.head_weight:
            assert isinstance(self.model, CenterPose)
            known = tuple(channel >= 0 for channel in self.model.order)
            terms = head_losses(maps, batch, known, self.model.stride)
            share = 1 - alpha * jnp.mean(taught) if self.teaches_heads else 1.0
            total = total + share * self.head_weight * sum(terms.values())
            metrics |= {name: (term, count) for name, term in terms.items()}
        if second is not None:
            total = total + second
        if self.teaching is not None and self.teaching.agreement:
            apart = agreement.of_frames(self.model, split(variables), batch, maps)
            total = total + self.teaching.agreement * apart
            metrics["disagreement"] = (apart, count)
        metrics["loss"] = (total, count)
        return total, Aux(metrics, statistics)

    def teacher_loss(
        self, variables: Variables, batch: Batch, maps: Maps, features: hints.Features
    ) -> tuple[Array, Array]:
        """The loss against the teacher, and which pictures (B,) have a teacher, or how sure it is.
        `features`: of the student's backbone, for hints.

        Masks of the labels do not count here: pictures and cells without labels learn from the
        teacher. Where the teacher says nothing, its map is the student's own, so there is no
        gradient. The student's stages learn from the teacher's heads; its heads do so if
        `head_weight` allows it and the teacher has heads with the same joints.
        """
        teaching = self.teaching
        assert teaching is not None
        student, maps, of_heads = maps, of_stages(maps), jnp.float32(0)
        counts = jnp.ones((1, 1, 1, 1))
        if teaching.maps is not None:
            aims, counts, taught = self.mapped_lesson(batch, teaching.maps, maps)
            pairs = common_maps(maps, self.bones, aims, teaching.bones)
            pairing = "last"
        elif teaching.network is None:
            aims, taught = self.stored_lesson(batch, maps)
            pairs = [(maps.heatmaps, aims.heatmaps), (maps.pafs, aims.pafs)]
            pairing = "same"
        else:
            aims, _, theirs = hints.with_features(
                teaching.network, split(variables["frozen"]["teacher"]), batch["image"]
            )
            taught = teaching.sure(aims.heatmaps[-1])
            counts = taught[:, None, None, None]
            if teaching.hints:
                hint = hints.loss(variables["params"][hints.PART], features, theirs, taught)
                of_heads = teaching.hints * hint
            if self.teaches_heads:
                lesson = in_joints(aims, self.bones, teaching.bones)
                of_heads += self.head_weight * sum(taught_losses(student, lesson, taught).values())
            if not self.staged:
                return of_heads, taught
            aims = of_stages(aims) if teaching.pairing == "same" else aims
            pairs = common_maps(maps, self.bones, aims, teaching.bones)
            pairing = teaching.pairing
        none = jnp.zeros((1, 1, 1, 1))  # the label's term is the caller's
        heat, *fields = (
            losses.distillation(
                ours, theirs, ours[-1], none, 1.0, pairing=pairing, teacher_mask=counts * weight
            ).teacher
            for (ours, theirs), weight in zip(pairs, self.teacher_weights(pairs), strict=False)
        )
        of_fields = self.paf_weight * sum(fields, start=jnp.float32(0.0))
        return heat + of_fields + of_heads, taught

    @property
    def teaches_heads(self) -> bool:
        """Whether the teacher's heads teach ours, which must be trained and have no joint beyond
        the teacher's."""
        teaching = self.teaching
        return (
            self.head_weight > 0
            and teaching is not None
            and isinstance(teaching.network, CenterPose)
            and {*named(self.bones)} <= {*named(teaching.bones)}
        )

    @property
    def staged(self) -> bool:
        """Whether the network has stages, not the heads of `CenterPose` alone."""
        return self.model.stages > 0

    def teacher_weights(self, pairs: list[tuple[Array, Array]]) -> tuple[Array, ...]:
        """Weights of cells as in `targets`, from the teacher's last maps instead of labels, so that
        both terms of the loss have the same scale."""
        peaks = jnp.clip(pairs[0][1][-1], 0.0, 1.0)
        if peaks.shape[-1] > len(self.bones.joints):  # the background is not weighted
            peaks = peaks.at[..., -1].set(0.0)
        weights = [1 + self.peak_weight * peaks]
        for _, field in pairs[1:]:
            strength = jnp.linalg.norm(field[-1].reshape(*field.shape[1:-1], -1, 2), axis=-1)
            weights.append(1 + 0.3 * self.peak_weight * jnp.repeat(strength, 2, axis=-1))
        return tuple(jax.lax.stop_gradient(weight) for weight in weights)

    def mapped_lesson(
        self, batch: Batch, form: MapForm, maps: Maps
    ) -> tuple[Maps, Array, Array]:  # fmt: skip
        """The teacher's stored maps in the student's cells, with background, as one stage; which
        cells count (B, H, W, 1), namely those it saw; and which pictures are taught."""
        assert self.teaching is not None
        bones, (height, width) = self.teaching.bones, maps.heatmaps.shape[2:4]
        known = batch["teacher_known"].astype(jnp.float32)
        heat, fields, seen = moved(
            batch["teacher_maps"], batch["teacher_matrix"], bones, form, (height, width),
            self.model.stride,
        )  # fmt: skip
        heat = jnp.concatenate([heat, codec.background(heat)], axis=-1)
        return Maps(heat[None], fields[None]), seen * known[:, None, None, None], known

    def stored_lesson(self, batch: Batch, maps: Maps) -> tuple[Maps, Array]:
        """Maps of every stage from the stored joints of one person per picture; and which pictures
        are taught.

        The teacher saw that person alone: it says nothing about cells far from the joints.
        """
        xy, visible, known = batch["teacher_xy"], batch["teacher_visible"], batch["teacher_mask"]
        height, width = maps.heatmaps.shape[2:4]
        drawn = self.drawn(xy[:, None], visible[:, None], (height, width))
        near = around(xy, visible, (height, width), self.model.stride)
        aims = (
            jnp.where(near & said, aim, jax.lax.stop_gradient(stages))
            for aim, said, stages in zip(drawn, self.channels(known), maps[:2], strict=True)
        )
        taught = known.any(-1) & (visible > 0).any(-1)
        return Maps(*aims), taught.astype(jnp.float32)

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """heatmaps (B, h, w, J + 1), pafs (B, h, w, 2L) of the last stage, and the highest peak of
        each joint as the joints of one person: xy (B, J, 2) pixels, score (B, J)."""
        maps = self.maps(variables, batch["image"])
        heatmaps = maps.heatmaps[-1]
        xy, score = codec.decode_near(heatmaps[..., :-1], self.model.stride)
        return {
            "heatmaps": heatmaps,
            "pafs": maps.pafs[-1],
            "xy": xy,
            "score": score,
        }

    def metrics(self) -> SinglePerson:
        return SinglePerson(Keypoints(self.bones, torso=torso_of(self.bones)))


def split(variables: Any) -> Variables:
    """The variables of a network: its parameters and statistics ({} without norms)."""
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def arrays(batch: Batch) -> Batch:
    """A batch as JAX arrays: inside a trace, NumPy's can't be indexed by others."""
    return {name: jnp.asarray(value) for name, value in batch.items()}


def named(bones: Skeleton) -> list[str]:
    """The common names of a skeleton's joints."""
    return [skeleton.common_name(joint) for joint in bones.joints]


def in_joints(maps: Maps, bones: Skeleton, theirs: Skeleton) -> Maps:
    """The heads' maps of a network with the joints of `theirs` in those of `bones`, by name."""
    if bones == theirs:
        return maps
    assert maps.regress is not None
    assert maps.offset is not None
    place = np.array([named(theirs).index(name) for name in named(bones)])
    known = maps.heatmaps[..., place]
    heat = jnp.concatenate([known, codec.background(known)], axis=-1)
    return maps._replace(
        heatmaps=heat, regress=maps.regress[..., place, :], offset=maps.offset[..., place, :]
    )


def of_stages(maps: Maps) -> Maps:
    """Heat maps and fields of the stages alone, without the outputs of CenterNet-style heads."""
    return Maps(maps.heatmaps if maps.center is None else maps.heatmaps[:-1], maps.pafs)


def applied(network: Network, variables: Any, image: Array) -> Maps:
    """All stages of the network, statistics fixed."""
    maps: Any = network.apply(split(variables), image)
    return maps


def cost(system: Pose, size: tuple[int, int]) -> dict[str, float]:
    """parameters (a count) and flops of the network for one picture of `size` (H, W), a
    multiply-add as two, as XLA counts the uncompiled program. Nothing is compiled."""
    variables = jax.eval_shape(system.init, jax.random.key(0))
    picture = jax.ShapeDtypeStruct((1, *size, 3), jnp.uint8)
    lowered = jax.jit(system.maps).lower({**variables, "frozen": {}}, picture)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    analysis: Any = lowered.cost_analysis()
    return {"parameters": count, "flops": float(analysis["flops"])}


def build(config: Any) -> Pose:
    """The detector of `config.model`, with the teacher of `config.distill`: configs/pose.py."""
    model = pose_settings.model(config["model"])
    dtype = jnp.dtype(engine_settings.train(config["train"]).compute_dtype)
    built, bones = network(model, dtype)
    hard = model.hard_joints, model.hard_stages
    check(hard[0] <= len(bones.joints), "hard_joints", hard[0], f"0 to {len(bones.joints)}")
    check(hard[1] <= model.stages, "hard_stages", hard[1], f"0 to {model.stages}")
    pose = Pose(
        built, bones, (model.size[0], model.size[1]), model.max_people, model.sigma,
        model.paf_width, model.peak_weight, model.paf_weight,
        *hard, teaching(config, bones, dtype), model.head_weight,
    )  # fmt: skip
    if not pose.staged:  # only the heads are left to learn
        check(pose.head_weight > 0, "head_weight", pose.head_weight, "above 0 without stages")
        teaches = pose.teaching is None or pose.teaches_heads
        wanted = "a network with centres and all our joints, as we have no stages"
        check(teaches, "teacher", config["distill"]["teacher"] if not teaches else "", wanted,
              "distill")  # fmt: skip
    return pose


def teaching(config: Any, bones: Skeleton, dtype: Any) -> Teaching | None:
    """The teacher of `config.distill`, None without that section."""
    distill, place = pose_settings.distill(config), "distill"
    if distill is None:
        return None
    teacher, maps = None, None
    if distill.stored:
        fits = distill.pairing == "last"
        check(fits, "pairing", "same", "last: stored maps have one stage", place)
        form = distill.maps  # of bodyjax.detect.teacher_maps.take_form
        bones, maps = skeleton.get(form["skeleton"]), MapForm(form["stride"], form["size"])
    elif distill.teacher:
        teacher, bones = network(distill.model, dtype)
        if distill.pairing == "same":
            fits = config["model"]["stages"] == teacher.stages
            check(fits, "pairing", "same", "last: stages differ", place)
    return Teaching(
        teacher, bones, distill.alpha, distill.alpha_end, distill.alpha_steps, distill.pairing,
        maps, distill.hints, distill.agreement, distill.confident,
    )  # fmt: skip
