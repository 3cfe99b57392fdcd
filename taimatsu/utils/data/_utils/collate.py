"""See `taimatsu.utils.data.collate`."""

from taimatsu.utils.data.collate import *  # noqa: F403
from taimatsu.utils.data.collate import default_collate, default_convert

__all__ = ["default_collate", "default_convert"]
