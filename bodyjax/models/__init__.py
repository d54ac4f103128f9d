"""Networks, one Flax (linen) file per family. They take arrays and never read files."""

from bodyjax.models.lifter import JointLifter as JointLifter
from bodyjax.models.lifter import Lifter as Lifter
from bodyjax.models.movement import MovementClassifier as MovementClassifier
from bodyjax.models.pose import CenterPose as CenterPose
from bodyjax.models.pose import MultiStagePose as MultiStagePose
from bodyjax.models.sequence import SequenceClassifier as SequenceClassifier
