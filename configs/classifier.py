"""System A: recognising a body movement in a video (US 2020/0042776 A1).

    python -m launch.train --config configs/classifier.py            (commands, simulated clips)
    python -m launch.train --config configs/classifier.py:jhmdb      (21 actions, real clips)

Variants: commands; commands_joints (the known joints); commands_shuffled and commands_middle
(controls); one_way, one_way_joints, one_way_joints_shuffled (sweeps that differ only in order);
jhmdb (heat maps of our detector); jhmdb_second (Gaussian maps of the joints that our detector with
a second look finds); jhmdb_maps and jhmdb_joints (Gaussian maps of the stored joints, without and
with coordinates beside them); jhmdb_simulated and jhmdb_joints_simulated (jhmdb and jhmdb_joints
with a simulated copy of every training clip); tiny (for tests). --config.data=PATH takes other
clips of the same layout (CLASS/NAME.mp4, or train/ valid/ test/).
"""

from ml_collections import ConfigDict

from bodyjax.errors import ConfigError

OPERATIONS = {
    "stop": "stop at the line",
    "go_straight": "go straight",
    "left_turn": "turn left",
    "left_turn_wait": "enter the waiting area",
    "right_turn": "turn right",
    "change_lane": "change lane",
    "slow_down": "slow down",
    "pull_over": "stop at the side",
    "idle": None,
}
"""What a car does at each command of Chinese traffic officers ([0058])."""


def commands() -> ConfigDict:
    """Nine commands of simulated traffic officers, through the shipped detector."""
    config = ConfigDict()
    config.system = "movement"
    config.seed = 0
    config.start = "small"
    config.second = ""  # a detector that looks again at people: input is the joints that they find
    config.labels = ()
    config.detector = ConfigDict()
    config.operations = ConfigDict(
        {
            name: dict(operation=operation, probability=0.8, hold=2)
            for name, operation in OPERATIONS.items()
            if operation
        }
    )
    config.model = ConfigDict(
        dict(
            input="maps", frames=12,
            sampling="random",  # docs/training.md; evaluation and recognition take the middles
            size=(192, 256), grid=24, sigma=1.5,
            threshold=0.15, channels=(16, 32, 64), embedding=128, hidden=128, dropout=0.2,
            coordinates=True,
            several=False,  # several movements at once, told by labels.json: docs/training.md
            class_weights=(), smoothing=0.05,
            fine_tune=False,  # trains the detector too; needs input "frames"
            augment=dict(scale=0.15, shift=0.06, rotation=0.15, flip=0.0, noise=0.005),
        )
    )  # fmt: skip
    config.data = ConfigDict(
        dict(
            kind="clips", path="simulated:commands", split="1", on_bad="raise",
            holdout=0.2,  # of training clips, where a folder has no valid/
            stored_frames=16, samples=1, batch=32, workers=0,
            simulated_copies=False,  # one of every training clip, zoomed or moved: docs/training.md
            worn_copies=0,  # of every training clip, blurred and encoded again; needs input "maps"
            shuffle=False,  # frames out of order, in training and evaluation: a control
            # Half the frames a second of other simulated sets: 16 of 20 to 32 are looked at.
            simulated=dict(train=40, valid=56, test=56, fps=7.5, length=(20, 32)),
            watched=72,  # validation clips that a training looks at meanwhile; 0: all
            augment=dict(rotation=10.0, scale=(0.8, 1.2), shift=0.08, colour=0.2),
        )
    )  # fmt: skip
    config.optimizer = ConfigDict(
        dict(
            name="adamw", rate=4e-3, warmup=0, decay="onecycle", final=0.0, clip=1.0,
            weight_decay=0.02, ema=0.0, accumulate=1,
        )
    )  # fmt: skip
    config.train = ConfigDict(
        dict(
            steps=500, log_every=25, eval_every=100, save_every=0, keep=1,
            # The last checkpoint, where the rate is 0: 72 clips are too few to choose another by.
            compute_dtype="float32", best=dict(metric="", mode="max"),
            stop=dict(loss=None, steps=None, plateau=None),
        )
    )  # fmt: skip
    return config


def commands_shuffled() -> ConfigDict:
    """A control: trained and evaluated on frames out of order; only poses are left."""
    config = commands()
    config.data.shuffle = True
    return config


def commands_middle() -> ConfigDict:
    """A control: one frame of a clip."""
    config = commands()
    config.model.frames = 1
    return config


def commands_joints() -> ConfigDict:
    """Gaussian maps of the known joints instead of the detector's: the limit of the classifier."""
    config = commands()
    config.start = ""
    config.model.input = "joints"
    return config


def one_way() -> ConfigDict:
    """Four sweeps, slow out and quick back, and the same clips played backward: the two of a pair
    differ only in the order of the frames."""
    config = commands()
    config.operations = ConfigDict()
    config.model.frames = 24
    config.model.sampling = "middle"
    config.data.path = "simulated:one_way"
    config.data.stored_frames = 24
    # The quick way back takes 0.2 s and more: three frames of fifteen a second.
    config.data.simulated = ConfigDict(dict(train=80, valid=16, test=63, fps=15.0, length=(40, 64)))
    config.data.watched = 0
    config.train.steps = 800
    return config


def one_way_joints() -> ConfigDict:
    """The same from Gaussian maps of the known joints."""
    config = one_way()
    config.start = ""
    config.model.input = "joints"
    return config


def one_way_joints_shuffled() -> ConfigDict:
    """A control: frames out of order; poses alone can get one half of the pairs."""
    config = one_way_joints()
    config.data.shuffle = True
    return config


def jhmdb() -> ConfigDict:
    """JHMDB split 1, heat maps of our own detector on the whole picture, no boxes at test time."""
    config = commands()
    config.operations = ConfigDict()
    config.model.frames = 8
    config.model.size = (192, 256)
    config.model.smoothing = 0.1
    config.model.augment.flip = 0.5
    config.data.path = "../shared/data/jhmdb"
    config.data.holdout = 0.0
    config.data.samples = 5
    config.train.steps = 1240  # 60 epochs of 660 clips
    config.train.eval_every = 0
    return config


def jhmdb_second() -> ConfigDict:
    """JHMDB split 1, Gaussian maps of the joints that `small` and `large`, which looks again at
    each person, find of the best person; coordinates beside them. Works on videos."""
    config = jhmdb()
    config.second = "large"
    config.model.input = "joints"
    config.data.samples = 2  # of 8 frames: the 16 that are stored
    return config


def jhmdb_joints() -> ConfigDict:
    """JHMDB split 1, Gaussian maps of the stored joints with their coordinates beside them."""
    config = jhmdb()
    config.start = ""
    config.model.input = "joints"
    return config


def jhmdb_simulated() -> ConfigDict:
    """`jhmdb` with a simulated copy of every training clip, zoomed or moved ([0098-0100])."""
    config = jhmdb()
    config.data.simulated_copies = True
    return config


def jhmdb_joints_simulated() -> ConfigDict:
    """`jhmdb_joints` with a simulated copy of every training clip."""
    config = jhmdb_joints()
    config.data.simulated_copies = True
    return config


def jhmdb_maps() -> ConfigDict:
    """JHMDB split 1, Gaussian maps of the stored joints alone, as in the patent."""
    config = jhmdb_joints()
    config.model.coordinates = False
    return config


def tiny() -> ConfigDict:
    """For tests, takes seconds: four frames of a few small clips, maps of the known joints."""
    config = commands()
    config.start = ""
    config.model.input = "joints"
    config.model.frames = 4
    config.model.grid = 8
    config.model.channels = (4, 4)
    config.model.embedding = 16
    config.model.hidden = 16
    config.data.simulated = ConfigDict(
        dict(train=2, valid=1, test=1, size=(64, 48), length=(8, 12))
    )
    config.data.batch = 6
    config.train.steps = 6
    config.train.eval_every = 3
    config.train.log_every = 3
    return config


VARIANTS = {
    "commands": commands, "commands_joints": commands_joints,
    "commands_shuffled": commands_shuffled, "commands_middle": commands_middle,
    "one_way": one_way, "one_way_joints": one_way_joints,
    "one_way_joints_shuffled": one_way_joints_shuffled,
    "jhmdb": jhmdb, "jhmdb_second": jhmdb_second, "jhmdb_joints": jhmdb_joints,
    "jhmdb_maps": jhmdb_maps, "jhmdb_simulated": jhmdb_simulated,
    "jhmdb_joints_simulated": jhmdb_joints_simulated, "tiny": tiny,
}  # fmt: skip


def get_config(variant: str = "commands") -> ConfigDict:
    """The config of a variant; ConfigError lists them."""
    if variant not in VARIANTS:
        raise ConfigError(f"no variant {variant!r}", hint=f"one of {', '.join(VARIANTS)}")
    return VARIANTS[variant]()
