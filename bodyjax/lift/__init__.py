"""Joints of people in space: restore a lifter once, then lift pictures, or joints already found."""

from bodyjax.lift.lifter import MEAN_HEIGHT as MEAN_HEIGHT
from bodyjax.lift.lifter import Lifter as Lifter
from bodyjax.lift.lifter import load as load
from bodyjax.lift.lifter import make as make
from bodyjax.lift.lifter import people as people
from bodyjax.lift.lifter import poses as poses
from bodyjax.lift.lifter import seen_joints as seen_joints
from bodyjax.lift.motions import Lifted as Lifted
from bodyjax.lift.motions import Motion as Motion
from bodyjax.lift.motions import video as video
