"""People in pictures and videos: restore a detector once, then one compiled program a picture."""

from bodyjax.detect.canvas import Detections as Detections
from bodyjax.detect.detector import TAKEN as TAKEN
from bodyjax.detect.detector import Detector as Detector
from bodyjax.detect.detector import canvas_map as canvas_map
from bodyjax.detect.detector import detect as detect
from bodyjax.detect.detector import find as find
from bodyjax.detect.detector import in_picture as in_picture
from bodyjax.detect.detector import load as load
from bodyjax.detect.detector import load_kept as load_kept
from bodyjax.detect.detector import make as make
from bodyjax.detect.detector import on_canvas as on_canvas
from bodyjax.detect.detector import people as people
from bodyjax.detect.found import Found as Found
from bodyjax.detect.results import PicturePeople as PicturePeople
from bodyjax.detect.results import Results as Results
from bodyjax.detect.results import as_skeleton as as_skeleton
from bodyjax.detect.results import coco_results as coco_results
from bodyjax.detect.settings import Settings as Settings
from bodyjax.detect.settings import merged as merged
from bodyjax.detect.videos import EVERY as EVERY
from bodyjax.detect.videos import FramePeople as FramePeople
from bodyjax.detect.videos import followed as followed
from bodyjax.detect.videos import in_video as in_video
from bodyjax.detect.videos import tracked as tracked
from bodyjax.detect.videos import video as video
