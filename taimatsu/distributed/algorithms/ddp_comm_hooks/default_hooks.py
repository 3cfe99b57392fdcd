"""How `DistributedDataParallel` may average a bucket of gradients.

>>> model.register_comm_hook(None, default_hooks.bf16_compress_hook)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu.distributed.collectives import _world

__all__ = [
    "allreduce_hook", "bf16_compress_hook", "bf16_compress_wrapper", "fp16_compress_hook",
    "fp16_compress_wrapper",
]  # fmt: skip


def allreduce_hook(process_group: Any, bucket: Any) -> Any:
    """The average, as without a hook."""
    group = process_group or _world()
    flat = bucket.buffer().div_(group.size())
    on = group.on(flat)
    return on.submit(lambda: [on.reduce_all(flat, 0)]).get_future()


def _compressed(process_group: Any, bucket: Any, dtype: Any) -> Any:
    group, whole = process_group or _world(), bucket.buffer()
    small = whole.to(dtype).div_(group.size())
    on = group.on(small)
    return on.submit(lambda: [whole.copy_(on.reduce_all(small, 0))]).get_future()


def fp16_compress_hook(process_group: Any, bucket: Any) -> Any:
    """The average of gradients that travel as float16."""
    return _compressed(process_group, bucket, torch.float16)


def bf16_compress_hook(process_group: Any, bucket: Any) -> Any:
    """The average of gradients that travel as bfloat16."""
    return _compressed(process_group, bucket, torch.bfloat16)


def _wrapper(hook: Callable, dtype: Any) -> Callable:
    def wrapped(state: Any, bucket: Any) -> Any:
        whole = bucket.buffer()
        bucket.set_buffer(whole.to(dtype))
        return hook(state, bucket).then(lambda f: [whole.copy_(f.value()[0])])

    return wrapped


def fp16_compress_wrapper(hook: Callable) -> Callable:
    """Another hook, whose gradients travel as float16."""
    return _wrapper(hook, torch.float16)


def bf16_compress_wrapper(hook: Callable) -> Callable:
    """Another hook, whose gradients travel as bfloat16."""
    return _wrapper(hook, torch.bfloat16)
