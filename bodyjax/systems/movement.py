"""System A: a movement from the heat maps of a few frames of a video (US 2020/0042776 A1).

The classifier sees one square grid per clip, the box around the joints found in all its frames, so
the position and size of the person in the picture do not matter. The content of a batch decides
where the maps come from; from the grid on everything is the same:

frames (B, T, H, W, 3) uint8: maps of the detector in `frozen`, inside the program; maps (B, T, h,
w, J) uint8: the same maps, made earlier and stored, with 255 for 1; xy (B, T, J, 2) pixels with
score (B, T, J): Gaussian maps of known joints.

Another axis S before T holds several samplings of a clip; `predict` averages their probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bodyjax import codec, losses
from bodyjax.contract import ArraySpec, Aux, Batch, Variables
from bodyjax.engine import settings as engine_settings
from bodyjax.errors import ConfigError
from bodyjax.metrics import Classification
from bodyjax.metrics.classes import SeveralAtOnce
from bodyjax.models.movement import MovementClassifier
from bodyjax.skeleton import BODY18, common_name
from bodyjax.systems import movement_settings, pose, pose_network
from bodyjax.systems.movement_settings import Settings

Array = jax.Array

JOINTS = len(BODY18.joints)


class Clip(NamedTuple):
    """A clip on its grid: maps (B, T, g, g, J) in 0..1, xy (B, T, J, 2) with the box as -1..1,
    score (B, T, J)."""

    maps: Array
    xy: Array
    score: Array


@dataclass(frozen=True)
class Movement:
    """The classifier as a system; a classifier of known joints needs no detector."""

    model: MovementClassifier
    detector: pose.Pose | None
    labels: tuple[str, ...]
    settings: Settings

    @property
    def looker(self) -> pose.Pose:
        """The detector that gives the maps; a classifier of known joints has none."""
        assert self.detector is not None
        return self.detector

    @property
    def channels(self) -> slice | Array:
        """The channels of BODY18's joints in the detector's maps."""
        names = [common_name(joint) for joint in self.looker.bones.joints]
        order = [names.index(common_name(joint)) for joint in BODY18.joints]
        return slice(JOINTS) if order == list(range(JOINTS)) else jnp.array(order)

    # -- parameters --

    def init(self, key: Array) -> Variables:
        """Random parameters of the classifier; the detector's are zeros, to be replaced."""
        first, second = jax.random.split(key)
        maps = jnp.zeros((1, 2, self.settings.grid, self.settings.grid, JOINTS))
        clip = Clip(maps, jnp.zeros((1, 2, JOINTS, 2)), jnp.zeros((1, 2, JOINTS)))
        classifier = self.model.init(first, maps, self.features(clip))
        if self.settings.input == "joints":
            return {**pose.split(classifier), "frozen": {}}
        # A detector comes trained, from a checkpoint: no random start of it is compiled.
        shapes = pose.split(jax.eval_shape(self.looker.init, second))
        detector = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        if not self.settings.fine_tune:
            return {**pose.split(classifier), "frozen": {"detector": detector}}
        own = pose.split(classifier)
        return {
            "params": {"classifier": own["params"], "detector": detector["params"]},
            "batch_stats": {"classifier": own["batch_stats"]},
            "frozen": {"detector_batch_stats": detector["batch_stats"]},
        }

    def parts(self, variables: Variables) -> tuple[Variables, Variables]:
        """Variables of the classifier and of the detector."""
        params, stats, frozen = (variables[k] for k in ("params", "batch_stats", "frozen"))
        if self.settings.input == "joints":
            return {"params": params, "batch_stats": stats}, {}
        if not self.settings.fine_tune:
            # Also where it is not trained: no gradient is asked of the detector.
            detector = jax.lax.stop_gradient(frozen["detector"])
            return {"params": params, "batch_stats": stats}, detector
        detector = {
            "params": params["detector"],
            "batch_stats": frozen["detector_batch_stats"],
        }
        own = {"params": params["classifier"], "batch_stats": stats["classifier"]}
        return own, detector

    def input_spec(self, size: int) -> dict[str, ArraySpec]:
        settings = self.settings
        lead = (size, settings.frames)
        if settings.input == "frames":
            return {"frames": ArraySpec((*lead, *settings.size, 3), "uint8")}
        if settings.input == "maps":
            cells = (side // self.looker.model.stride for side in settings.size)
            return {"maps": ArraySpec((*lead, *cells, JOINTS), "uint8")}
        return {
            "xy": ArraySpec((*lead, JOINTS, 2), "float32"),
            "score": ArraySpec((*lead, JOINTS), "float32"),
        }

    def batch_spec(self, size: int) -> dict[str, ArraySpec]:
        label = ArraySpec((size,), "int32")
        if self.settings.several:
            label = ArraySpec((size, len(self.labels)), "float32")
        return {"label": label, **self.input_spec(size)}

    # -- from a batch to the clip on its grid --

    def heatmaps(self, detector: Variables, frames: Array) -> Array:
        """Frames (B, T, H, W, 3) -> joint heat maps (B, T, h, w, J) clipped to 0..1; on a CPU one
        frame at a time, which is a fifth faster there than all at once."""

        def together(flat: Array) -> Array:
            return self.looker.maps(detector, flat).heatmaps[-1, ..., self.channels]

        def in_turn(flat: Array) -> Array:
            return jax.lax.map(lambda frame: together(frame[None])[0], flat)

        flat = frames.reshape(-1, *frames.shape[-3:])
        maps = jax.lax.platform_dependent(flat, cpu=in_turn, default=together)
        return jnp.clip(maps, 0.0, 1.0).reshape(*frames.shape[:2], *maps.shape[1:])

    def joints(self, maps: Array) -> tuple[Array, Array]:
        """Highest peaks (B, T, J, 2) in pixels of the frames, and their scores (B, T, J)."""
        return codec.decode(maps, self.looker.model.stride, refine="quarter")

    def clip(self, detector: Variables, batch: Batch, key: Array | None) -> tuple[Clip, Clip]:
        """The clip on its grid, randomly changed if a key is given, and as found: maps, xy in
        pixels, score. The change is one similarity for all frames."""
        if self.settings.input == "joints" and "frames" not in batch:
            xy, score = batch["xy"], batch["score"]
            found = Clip(jnp.zeros(()), xy, score)
        else:
            if "frames" in batch:
                maps = self.heatmaps(detector, batch["frames"])
            else:
                maps = batch["maps"].astype(jnp.float32) / 255.0
            xy, score = self.joints(maps)
            found = Clip(maps, xy, score)
        centre, half = clip_box(xy, score, self.settings.threshold, self.settings.size)
        change = self.change(key, xy.shape[0])
        local = (xy - centre[:, None, None]) / half[:, None, None, None]
        if "maps" in batch or "frames" in batch:
            # Maps move along the axes only: a turn would mix them between cells.
            change = change._replace(turn=jnp.zeros_like(change.turn))
        local = move(local, change)
        if key is not None:
            noise = self.settings.augment.noise
            local = local + noise * jax.random.normal(jax.random.fold_in(key, 1), local.shape)
        mirror = jnp.array(BODY18.mirror)
        flipped = change.flip[:, None, None]
        local = jnp.where(flipped[..., None], local[:, :, mirror], local)
        score = jnp.where(flipped, score[:, :, mirror], score)
        if found.maps.ndim == 0:
            cells = (local + 1) * (self.settings.grid / 2) - 0.5
            drawn = codec.heatmaps(
                cells[:, :, None],
                score[:, :, None] > 0,
                (self.settings.grid, self.settings.grid),
                1,
                self.settings.sigma,
            )
            return Clip(drawn * score[:, :, None, None], local, score), found
        grid = sample_grid(
            found.maps, centre, half, change, self.settings.grid, self.looker.model.stride
        )
        grid = jnp.where(flipped[..., None, None], grid[..., mirror], grid)
        return Clip(grid, local, score), found

    def change(self, key: Array | None, batch: int) -> Change:
        """A random similarity per clip, or none without a key."""
        if key is None:
            one, zero = jnp.ones(batch), jnp.zeros(batch)
            return Change(one, zero, jnp.zeros((batch, 2)), jnp.zeros(batch, bool))
        limits = self.settings.augment
        scale, turn, shift, flip = jax.random.split(key, 4)

        def uniform(key: Array, shape: tuple[int, ...], limit: float) -> Array:
            return jax.random.uniform(key, shape, minval=-limit, maxval=limit)

        return Change(
            jnp.exp(uniform(scale, (batch,), limits.scale)),
            uniform(turn, (batch,), limits.rotation),
            uniform(shift, (batch, 2), 2 * limits.shift),
            jax.random.uniform(flip, (batch,)) < limits.flip,
        )

    def features(self, clip: Clip) -> Array | None:
        """Features beside the maps, all weighted by score: positions about the middle in units of
        the person's size, changes from frame to frame, directions of limbs, scores, the path of the
        middle."""
        if not self.settings.coordinates:
            return None
        weight = clip.score[..., None]
        total = jnp.maximum(weight.sum(axis=2), 1e-3)
        middle = (clip.xy * weight).sum(axis=2) / total
        offset = clip.xy - middle[:, :, None]
        spread = (jnp.abs(offset).sum(-1) * clip.score).sum((1, 2)) / total.sum((1, 2))
        offset = offset / jnp.maximum(spread, 0.05)[:, None, None, None]
        first, second = (jnp.array(ends) for ends in zip(*BODY18.limbs, strict=True))
        limbs = offset[:, :, second] - offset[:, :, first]
        limbs = limbs / jnp.sqrt(jnp.square(limbs).sum(-1, keepdims=True) + 1e-4)
        both = jnp.minimum(weight[:, :, first], weight[:, :, second])
        batch, frames = clip.xy.shape[:2]
        parts = (
            offset * weight,
            changes(offset) * jnp.minimum(weight, jnp.roll(weight, 1, axis=1)),
            limbs * both,
            clip.score,
            middle,
            changes(middle),
        )
        return jnp.concatenate([part.reshape(batch, frames, -1) for part in parts], axis=-1)

    # -- the contract --

    def loss(self, variables: Variables, batch: Batch, key: Array) -> tuple[Array, Aux]:
        classifier, detector = self.parts(variables)
        change, dropout = jax.random.split(key)
        batch = pose.arrays(batch)
        clip, _ = self.clip(detector, batch, change)
        logits, updates = self.model.apply(
            classifier, clip.maps, self.features(clip), train=True, mutable=["batch_stats"],
            rngs={"dropout": dropout},
        )  # fmt: skip
        weights = jnp.array(self.settings.class_weights) if self.settings.class_weights else None
        measure = losses.sigmoid_cross_entropy if self.settings.several else losses.cross_entropy
        value = measure(logits, batch["label"], weights, self.settings.smoothing)
        count = jnp.float32(logits.shape[0])
        metrics = {"loss": (value, count)}
        if not self.settings.several:
            right = (logits.argmax(-1) == batch["label"]).mean()
            counted = losses.row_weights(batch["label"], len(self.labels), weights).sum()
            metrics = {"loss": (value, counted), "accuracy": (right, count)}
        stats = updates.get("batch_stats", {})
        return value, Aux(metrics, {"classifier": stats} if self.settings.fine_tune else stats)

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """logits and probability (B, classes); xy (B, T, J, 2) pixels of the frames and score (B,
        T, J), the highest peak of each joint (of the first sampling if there are several); summary
        (B, hidden), the classifier's summary of the clip before its decision.
        """
        names = [name for name in ("frames", "maps", "xy", "score") if name in batch]
        batch = pose.arrays({name: batch[name] for name in names})
        usual = {"frames": 5, "maps": 5, "xy": 4, "score": 3}
        samples = 1
        if batch[names[0]].ndim > usual[names[0]]:
            samples = batch[names[0]].shape[1]
            batch = {name: batch[name].reshape(-1, *batch[name].shape[2:]) for name in names}
        classifier, detector = self.parts(variables)
        clip, found = self.clip(detector, batch, None)
        logits, made = self.model.apply(
            classifier, clip.maps, self.features(clip), mutable=["intermediates"]
        )
        logits, summary = jnp.asarray(logits), made["intermediates"]["summary"][0]
        activate = jax.nn.sigmoid if self.settings.several else jax.nn.softmax
        probability = activate(logits).reshape(-1, samples, logits.shape[-1]).mean(axis=1)
        return {
            "logits": jnp.log(probability + 1e-9) if samples > 1 else logits,
            "probability": probability,
            "xy": found.xy[::samples],
            "score": found.score[::samples],
            "summary": summary.reshape(-1, samples, summary.shape[-1]).mean(axis=1),
        }

    def metrics(self) -> Classification | SeveralAtOnce:
        return (SeveralAtOnce if self.settings.several else Classification)(self.labels)


CHANGE_GAIN = 5.0
"""Changes between frames are about a fifth of the positions; this brings them to the same size."""


def changes(x: Array) -> Array:
    """Differences to the frame before (B, T, ...), 0 for the first, times `CHANGE_GAIN`."""
    steps = x[:, 1:] - x[:, :-1]
    return CHANGE_GAIN * jnp.concatenate([jnp.zeros_like(x[:, :1]), steps], axis=1)


class Change(NamedTuple):
    """A similarity of each clip's box: scale (B,), turn (B,) radians, shift (B, 2), flip (B,)."""

    scale: Array
    turn: Array
    shift: Array
    flip: Array


def move(local: Array, change: Change) -> Array:
    """Points (B, T, J, 2) of the box -1..1, turned, scaled, shifted and mirrored."""
    cosine, sine = jnp.cos(change.turn), jnp.sin(change.turn)
    x, y = local[..., 0], local[..., 1]
    wide = (slice(None), None, None)
    turned = jnp.stack(
        [x * cosine[wide] - y * sine[wide], x * sine[wide] + y * cosine[wide]], axis=-1
    )
    moved = turned * change.scale[:, None, None, None] + change.shift[:, None, None]
    sign = jnp.where(change.flip, -1.0, 1.0)
    return moved * jnp.stack([sign, jnp.ones_like(sign)], axis=-1)[:, None, None]


def clip_box(
    xy: Array, score: Array, threshold: float, size: tuple[int, int], margin: float = 1.2
) -> tuple[Array, Array]:
    """The square around all joints of a clip with score above `threshold`, in pixels.

    xy (B, T, J, 2), score (B, T, J) -> centre (B, 2) and half side (B,), enlarged by `margin`; the
    whole frame if fewer than two joints are certain. No gradient flows through the box.
    """
    xy, score = jax.lax.stop_gradient((xy, score))
    sure = (score > threshold)[..., None]
    low = jnp.where(sure, xy, jnp.inf).min(axis=(1, 2))
    high = jnp.where(sure, xy, -jnp.inf).max(axis=(1, 2))
    enough = sure.sum(axis=(1, 2, 3)) > 1
    frame = jnp.array([size[1], size[0]], jnp.float32)
    low = jnp.where(enough[:, None], low, 0.0)
    high = jnp.where(enough[:, None], high, frame - 1)
    half = jnp.maximum((high - low).max(axis=-1) / 2 * margin, 1.0)
    return (low + high) / 2, half


def sample_grid(
    maps: Array, centre: Array, half: Array, change: Change, grid: int, stride: int
) -> Array:
    """Maps (B, T, h, w, J) read bilinearly on the clip's grid (B, T, g, g, J).

    The grid's axes are the picture's, so both interpolations are products with small matrices.
    """
    place = (2 * jnp.arange(grid) + 1) / grid - 1  # cell centres of the box -1..1

    def weights(axis: int, cells: int) -> Array:
        sign = jnp.where(change.flip, -1.0, 1.0) if axis == 0 else jnp.ones_like(change.scale)
        source = (place * sign[:, None] - change.shift[:, axis, None]) / change.scale[:, None]
        pixels = centre[:, axis, None] + source * half[:, None]
        at = codec.pixels_to_cells(pixels, stride)
        return jnp.maximum(1 - jnp.abs(at[..., None] - jnp.arange(cells)), 0.0)

    down, across = weights(1, maps.shape[2]), weights(0, maps.shape[3])
    rows = jnp.einsum("bgh,bthwj->btgwj", down, maps)
    return jnp.einsum("bfw,btgwj->btgfj", across, rows)


def check_joints(detector: pose.Pose) -> None:
    """ConfigError if the maps of a detector lack a joint of BODY18."""
    names = {common_name(joint) for joint in detector.bones.joints}
    missing = [joint for joint in BODY18.joints if common_name(joint) not in names]
    if missing:
        what = f"{detector.bones.name} has no {', '.join(missing)}: maps are of {BODY18.name}"
        hint = "take a detector of body18, or known joints (model.input = 'joints')"
        raise ConfigError(what, place="detector.skeleton", hint=hint)


def build(config: Any) -> Movement:
    """The classifier of `config.model`, `config.detector` (fields: configs/classifier.py)."""
    settings, labels = movement_settings.check_model(config), tuple(config["labels"])
    network = MovementClassifier(
        len(labels), settings.channels, settings.embedding, settings.hidden,
        settings.dropout, jnp.dtype(engine_settings.train(config["train"]).compute_dtype),
    )  # fmt: skip
    section = config.get("detector")
    detector = pose.build({**dict(config), "model": section}) if section else None
    if settings.input != "joints":
        if detector is None:
            hint = "input = 'joints', or the model of a detector"
            raise ConfigError(f"{settings.input} need one", place="detector", hint=hint)
        check_joints(detector)
        cell = detector.model.cell
        fits = all(side % cell == 0 for side in settings.size)
        wanted = f"multiples of {cell}: the detector's cells"
        pose_network.check(fits, "size", settings.size, wanted)
    return Movement(network, detector, labels, settings)
