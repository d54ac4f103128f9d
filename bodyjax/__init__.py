"""bodyjax: pictures and videos of people into joints, movements and advice."""

from bodyjax.errors import CheckpointError, ConfigError, DataError, UserError, VideoError

__version__ = "0.1.0"
__all__ = ["CheckpointError", "ConfigError", "DataError", "UserError", "VideoError", "__version__"]
