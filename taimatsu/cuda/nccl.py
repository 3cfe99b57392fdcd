"""``cuda.nccl``: NVIDIA's library of collectives, which needs GPUs."""

from __future__ import annotations

from taimatsu._absent import Absent

_absent = Absent(globals(), "CUDA")
_absent.answer(bool, "is_available", "False.")
_absent.refuse("all_gather all_reduce broadcast init_rank reduce reduce_scatter unique_id version")

__all__ = list(_absent.names)
