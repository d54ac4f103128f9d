"""Movements in videos: restore a classifier once, then run one program from frames to class."""

from bodyjax.recognize.folders import recognize_folder as recognize_folder
from bodyjax.recognize.recognizer import Recognizer as Recognizer
from bodyjax.recognize.recognizer import Result as Result
from bodyjax.recognize.recognizer import fit_frames as fit_frames
from bodyjax.recognize.recognizer import from_system as from_system
from bodyjax.recognize.recognizer import load as load
from bodyjax.recognize.recognizer import predictor as predictor
from bodyjax.recognize.recognizer import recognize_long as recognize_long
from bodyjax.recognize.recognizer import recognize_video as recognize_video
from bodyjax.recognize.recognizer import video_files as video_files
from bodyjax.recognize.recognizer import windows as windows
