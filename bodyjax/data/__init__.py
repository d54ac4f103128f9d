"""Pictures, videos and joints from files to batches: NumPy only; nothing here touches a device.

    clips = data.open_set("../shared/data/jhmdb", "1:train")     any set, recognised by its files
    feed = data.open_feed(config)                                what a config trains on

`video` reads and writes videos, `pictures`, `clips` and `sequences` hold the readers of each kind.
"""

from bodyjax.data.feeds import open_feed as open_feed
from bodyjax.data.feeds import picture_source as picture_source
from bodyjax.data.sets import open_set as open_set
