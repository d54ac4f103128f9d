"""Clips of movements: folders of videos, what is read from each, and batches of them."""

from bodyjax.data.clips.feed import TrainClip as TrainClip
from bodyjax.data.clips.feed import WholeClip as WholeClip
from bodyjax.data.clips.feed import open_clips as open_clips
from bodyjax.data.clips.folder import ClipFolder as ClipFolder
