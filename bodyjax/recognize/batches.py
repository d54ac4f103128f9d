"""Many clips at once: batches of one size, so that one compiled program serves all."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from bodyjax.recognize.recognizer import Clip, Recognizer, Result, clip_result


def of_clips(recognizer: Recognizer, clips: list[Clip], size: int) -> list[dict[str, Any]]:
    """The results of 1 to `size` clips that have been read (recognizer.read_clip), as
    `recognize_video` gives them. The batch is filled up with the last clip."""
    frames = np.stack([clip.frames for clip in clips] + [clips[-1].frames] * (size - len(clips)))
    found = jax.device_get(recognizer.predict(recognizer.variables, frames))
    strange = np.broadcast_to(found.strange, size)  # one number if the classifier can't tell
    fields = (*found[:-1], strange)
    each = [Result(*(field[i] for field in fields)) for i in range(len(clips))]
    return [clip_result(recognizer, *pair) for pair in zip(clips, each, strict=True)]
