"""The 2D multi-person detector (system E).

    python -m launch.train --config configs/pose.py:small

Data: lspet, multi and people below `data.path`, and pictures of bodyjax.simulate.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "small") -> ConfigDict:
    """small: EfficientNet-lite0 start, light stages, stride 8, for CPUs."""
    config = ConfigDict()
    config.system = "pose"
    config.seed = 0
    config.start = "../shared/data/backbones/efficientnet_lite0.npz"
    config.model = ConfigDict(
        dict(
            skeleton="body18", backbone="efficientnet_lite0", depthwise="shifted", frozen_blocks=5,
            stride=8, stages=2, light=True, width=96, size=(160, 160), max_people=6, sigma=9.0,
            paf_width=6.0, peak_weight=10.0, hard_joints=0, hard_stages=0,
        )
    )  # fmt: skip
    config.data = ConfigDict(
        dict(
            kind="pictures", path="../shared/data", valid="lspet", batch=16, workers=0,
            sets=dict(lspet=0.7, multi=0.1, people=0.1, simulated=0.1),
            augment=dict(person=0.6, scale=(0.6, 1.5), rotation=40.0, shift=0.1, flip=0.5, colour=0.25),
        )
    )  # fmt: skip
    config.optimizer = ConfigDict(
        dict(
            name="adamw", rate=1.5e-3, warmup=200, decay="cosine", final=0.01, clip=0.0,
            weight_decay=0.01, ema=0.999, multipliers={"backbone": 0.4},
        )
    )  # fmt: skip
    config.train = ConfigDict(
        dict(
            steps=4000, log_every=20, eval_every=400, save_every=100, keep=1,
            best=dict(metric="pck_limbs", mode="max"),
        )
    )  # fmt: skip
    return config
