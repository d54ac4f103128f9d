"""One training from a config, or one for every fold: start, stored maps, cross-validation."""

from bodyjax.train.run import prepare as prepare
from bodyjax.train.run import train as train
