"""Poses in space for the lifter: readers, checks, and the feed of `data.kind` poses3d."""

from bodyjax.data.poses3d.views import feed as feed
