"""See `taimatsu.utils.data.collate`."""

import re

from taimatsu.utils.data.collate import *  # noqa: F403
from taimatsu.utils.data.collate import (
    _collate_floats,
    _collate_ints,
    _collate_tensors,
    _collate_text,
    default_collate,
    default_convert,
)

__all__ = ["default_collate", "default_convert"]

collate_tensor_fn, collate_float_fn, collate_int_fn = (
    _collate_tensors, _collate_floats, _collate_ints,
)  # fmt: skip
collate_str_fn = _collate_text

# What NumPy calls types of arrays that hold no numbers.
np_str_obj_array_pattern = re.compile(r"[SaUO]")
default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)
