"""A motion as a TRC file: places of joints over time, as OpenSim and other tools of sports science
read markers."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from bodyjax import files
from bodyjax.lift.bvh import y_up
from bodyjax.lift.motions import Motion, steady
from bodyjax.skeleton import H36M17


def write(file: str | PathLike[str], motion: Motion) -> None:
    """Writes one person: 17 markers named like the joints of h36m17, mm, y up, z towards the
    camera, at the constant rate of `motions.steady`.

    Places are from the camera, or from the pelvis where root is known in no frame. Cells of frames
    that are `motions.unknown` are empty, which OpenSim's TRCFileAdapter (since 4.0) and tools for
    tables read as NaN: a marker that was not seen. DataError if it can't be written,
    for a motion without frames, and for times that do not rise.
    """
    even, rate = steady(motion, gaps=True)
    places = y_up(even.xyz + even.root[:, None])
    count, joints = len(even.times), H36M17.joints
    names = [name for joint in joints for name in (joint, "", "")]
    axes = [f"{axis}{number}" for number in range(1, len(joints) + 1) for axis in "XYZ"]
    head = [f"{rate:.6f}", f"{rate:.6f}", count, len(joints), "mm", f"{rate:.6f}", 1, count]
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{Path(file).name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\t"
        "OrigNumFrames",
        "\t".join(map(str, head)),
        "\t".join(["Frame#", "Time", *names]).rstrip("\t"),
        "\t".join(["", "", *axes]),
        "",
    ]
    seconds = even.times - even.times[0]
    for number, (time, row) in enumerate(zip(seconds, places.reshape(count, -1), strict=True)):
        values = [f"{value:.3f}" if np.isfinite(value) else "" for value in row]
        lines.append("\t".join([str(number + 1), f"{time:.6f}", *values]))
    files.write_text(file, "\n".join(lines) + "\n")
