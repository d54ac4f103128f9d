"""Scoring what people do in a video: standard or not, when, why, and how many times."""

from bodyjax.score.scorer import Scorer as Scorer
from bodyjax.score.scorer import load as load
from bodyjax.score.video import overlay as overlay
from bodyjax.score.video import recognize as recognize
from bodyjax.score.video import result as result
