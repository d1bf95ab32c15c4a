"""Media: frames to files and back to what the files say of themselves."""

from mcm.media.metadata import read_metadata
from mcm.media.save import FORMATS, find_format, save_image, save_video

__all__ = ["FORMATS", "find_format", "read_metadata", "save_image", "save_video"]
