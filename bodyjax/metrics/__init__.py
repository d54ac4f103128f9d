"""Measures: of joints in pictures (`pose`) and in space (`pose3d`), of classes, and intervals."""

from bodyjax.geometry import procrustes as procrustes
from bodyjax.metrics.classes import Classification as Classification
from bodyjax.metrics.classes import SeveralAtOnce as SeveralAtOnce
from bodyjax.metrics.classes import accuracy as accuracy
from bodyjax.metrics.classes import confusion_matrix as confusion_matrix
from bodyjax.metrics.classes import mean_class_accuracy as mean_class_accuracy
from bodyjax.metrics.pose import LIMB_PARTS as LIMB_PARTS
from bodyjax.metrics.pose import TORSO as TORSO
from bodyjax.metrics.pose import Keypoints as Keypoints
from bodyjax.metrics.pose import PckCounts as PckCounts
from bodyjax.metrics.pose import lsp_pck as lsp_pck
from bodyjax.metrics.pose import oks as oks
from bodyjax.metrics.pose import pck as pck
from bodyjax.metrics.pose import pck_counts as pck_counts
from bodyjax.metrics.pose import pckh as pckh
from bodyjax.metrics.pose import reference_length as reference_length
from bodyjax.metrics.pose import sigmas as sigmas
from bodyjax.metrics.pose import torso_of as torso_of
from bodyjax.metrics.pose3d import Joints3D as Joints3D
from bodyjax.metrics.pose3d import auc3d as auc3d
from bodyjax.metrics.pose3d import mpjpe as mpjpe
from bodyjax.metrics.pose3d import pa_mpjpe as pa_mpjpe
from bodyjax.metrics.pose3d import pck3d as pck3d
