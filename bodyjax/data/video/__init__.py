"""Video files: exact frames by number, frames in order, and writing."""

from bodyjax.data.video.files import Video as Video
from bodyjax.data.video.files import forget_indexes as forget_indexes
from bodyjax.data.video.files import open_video as open_video
from bodyjax.data.video.writing import write_overlay as write_overlay
from bodyjax.data.video.writing import write_video as write_video
