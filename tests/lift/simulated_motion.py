"""Exercises of the simulator as motions: exact joints, no pictures."""

from __future__ import annotations

import numpy as np

from bodyjax.lift.motions import Motion
from bodyjax.simulate import film, motion, scene
from bodyjax.simulate.body import draw_body, joints, pose_points
from bodyjax.simulate.exercises import exercise

SIZE = (320, 240)
YAW = {"front": (-25.0, 25.0), "side": (68.0, 112.0)}


def simulated(name, fault=None, seed=0, view="front", frames=90, fps=15.0):
    """(Motion, camera (4,)) of an exercise, by its seed."""
    streams = (film.generator(seed, stream) for stream in ("body", "scene", "setting", "motion"))
    who, around, when, acting = streams
    body = draw_body(who)
    done = exercise(name, fault, body, motion.draw_setting(when, frames, fps), acting)
    camera = scene.draw_camera(around, SIZE, np.array(done.target), done.extent, yaw=YAW[view])
    at, _ = pose_points(body, done.pose)
    xyz = camera.view(joints(at, film.H36M))
    xy = camera.project(camera.view(joints(at, film.COCO)))
    numbers = np.arange(frames)
    lens = np.array([camera.focal, camera.focal, *camera.centre])
    root = xyz[:, 0]
    return Motion(
        0, numbers, numbers / fps, xy, np.ones(xy.shape[:2]), xyz - root[:, None], root
    ), lens  # fmt: skip
