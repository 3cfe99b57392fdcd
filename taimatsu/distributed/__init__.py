"""``distributed``: several processes that train together. Not there yet: `is_available` is False.

Programs ask that before anything else; names that they need to be imported are here, and what
would need a process group raises.
"""

from __future__ import annotations

from typing import Any

from taimatsu._absent import Absent

__all__ = ["is_available", "is_initialized"]


def is_available() -> bool:
    """Whether there are process groups: False."""
    return False


def is_initialized() -> bool:
    """Whether the default process group was made: False."""
    return False


def is_torchelastic_launched() -> bool:
    """Whether an elastic launcher started this process: False."""
    return False


class _NoGroups(Absent):
    def refusal(self, name: str = "") -> Exception:
        return self.error(
            f"distributed.{name}: torch.distributed is not available in this build; "
            "ask torch.distributed.is_available() first"
        )


_groups = _NoGroups(globals(), "DISTRIBUTED", RuntimeError)
_groups.refuse(
    "all_gather all_gather_into_tensor all_gather_object all_reduce all_to_all "
    "all_to_all_single barrier broadcast broadcast_object_list destroy_process_group gather "
    "gather_object init_device_mesh init_process_group irecv isend monitored_barrier new_group "
    "recv reduce reduce_scatter reduce_scatter_tensor scatter scatter_object_list send"
)
_uninitialized = _NoGroups(globals(), "DISTRIBUTED", ValueError)
_uninitialized.refuse("get_backend get_rank get_world_size")
_groups.types("DeviceMesh ProcessGroup Store TCPStore FileStore HashStore Work")
__all__ += [*_groups.names, *_uninitialized.names]


class ReduceOp:
    """How `all_reduce` combines tensors."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR = range(8)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(
        f"module 'torch.distributed' has no attribute {name!r}: torch.distributed is not "
        "available in this build"
    )
