"""Devices, processes, and where arrays lie.

All devices form one mesh with two axes: a batch is split over "data"; parameters are copied to
every device, or split over "model" if the config says `train.model_parallel` > 1. The axes are
Auto: the compiler inserts the communication, and a step gives the same numbers on any mesh.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bodyjax.errors import ConfigError, UserError

SILENCE = 30
"""Seconds without a sign of life of another process after which jax ends this one."""


def initialize_processes(coordinator: str, count: int, index: int, timeout: int = 60) -> None:
    """Joins this process to a run of `count` processes; call before anything else uses jax.

    `coordinator` is HOST:PORT of process 0, the same text for all; `index` is 0 .. count - 1. The
    other processes wait up to `timeout` seconds for process 0 and raise a UserError if it does not
    answer. (Once connected, jax itself ends a process whose peer never comes.)
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"coordinator {coordinator!r} is not HOST:PORT", hint="ports: 1 to 65535")
    if count < 1:
        raise ConfigError(f"{count} processes: at least 1")
    if not 0 <= index < count:
        raise ConfigError(f"process {index} is not one of 0 .. {count - 1}")
    if index > 0:
        _wait_for(host, int(port), timeout)
    jax.distributed.initialize(
        coordinator, count, index, initialization_timeout=timeout, heartbeat_timeout_seconds=SILENCE
    )


def _wait_for(host: str, port: int, timeout: int) -> None:
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise UserError(
                    f"no answer from process 0 at {host}:{port} in {timeout} s",
                    hint="start process 0 there first, or check the address",
                ) from error
            time.sleep(0.2)


def make_mesh(model_parallel: int = 1) -> Mesh:
    """A mesh of all devices of all processes, shape (devices / model_parallel, model_parallel)."""
    count = jax.device_count()
    if count % model_parallel:
        raise ConfigError(
            f"{count} devices do not divide into groups of {model_parallel}",
            place="train.model_parallel",
        )
    shape = (count // model_parallel, model_parallel)
    return jax.make_mesh(shape, ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def one_device() -> Mesh:
    """A mesh of this process's first device alone, for loaded checkpoints."""
    axes = (AxisType.Auto,) * 2
    return jax.make_mesh((1, 1), ("data", "model"), axes, devices=jax.local_devices()[:1])


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that are split along their first axis."""
    return NamedSharding(mesh, PartitionSpec("data"))


def shardings(tree: Any, mesh: Mesh) -> Any:
    """A sharding for every leaf of a tree of parameters, optimiser state or shapes.

    With a "model" axis of n > 1, leaves of two and more dimensions are split along the last one if
    n divides it (a parameter's moments are sharded like the parameter, because the rule only looks
    at shapes). Everything else is replicated.
    """
    parts = mesh.shape["model"]

    def place(leaf: Any) -> NamedSharding:
        shape = leaf.shape
        if parts > 1 and len(shape) >= 2 and shape[-1] % parts == 0:
            return NamedSharding(mesh, PartitionSpec(*(None,) * (len(shape) - 1), "model"))
        return replicated(mesh)

    return jax.tree.map(place, tree)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Host arrays (the same in every process) as device arrays that every device holds whole."""
    return jax.device_put(tree, replicated(mesh))


def to_device(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's slice of a batch, (B / processes, ...) each -> global arrays (B, ...)."""
    sharding = over_batch(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, np.asarray(value))
        for name, value in batch.items()
    }


def check_batch_size(size: int, mesh: Mesh) -> None:
    """A ConfigError unless a global batch of `size` divides evenly over the mesh."""
    if size % mesh.shape["data"]:
        raise ConfigError(
            f"a batch of {size} does not divide over {mesh.shape['data']} devices",
            hint="choose a multiple as batch size",
        )


def is_first() -> bool:
    """True in the process that writes reports and prints."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process gets here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def any_process(flag: bool) -> bool:
    """True if `flag` is true in some process; every process must call it."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())
