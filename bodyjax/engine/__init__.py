"""Trains any system (contract.System) on any feed (contract.Feed); knows none of them.

settings.py    the `optimizer` and `train` sections of a config, checked (no jax)
mesh.py        devices, processes, and where arrays lie
optim.py       optax: schedule, clipping, per-part factors, accumulation; the moving average
step.py        the state, and the one training step
loop.py        fit: steps, evaluation, checkpoints, stop conditions, resume
evaluate.py    the one loop that predicts, in training and after it
checkpoint.py  everything on disk: runs, exported weights, and what guards them
timing.py      where the time goes, waiting for data included
report.py      progress, metrics.jsonl, TensorBoard
"""
