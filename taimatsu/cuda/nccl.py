"""``cuda.nccl``: collectives of this process' own GPUs.

They are made of copies between the GPUs, in the order of their current streams, so they need no
library. Those between processes are `distributed`'s, with the backend "nccl", which is NCCL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from ._driver import core

__all__ = [
    "all_gather", "all_reduce", "broadcast", "init_rank", "is_available", "reduce",
    "reduce_scatter", "unique_id", "version",
]  # fmt: skip

SUM = 0  # ncclRedOp_t
_REDUCE = {0: torch.add, 1: torch.mul, 2: torch.maximum, 3: torch.minimum}


def is_available(tensors: Sequence[Tensor]) -> bool:
    """Whether these can take part: dense, contiguous, each on a GPU of its own."""
    devices = set()
    for t in tensors:
        if t.is_sparse or not t.is_contiguous() or not t.is_cuda or t.get_device() in devices:
            return False
        devices.add(t.get_device())
    return torch.cuda.is_available()


def version() -> tuple[int, ...]:
    """NCCL's version. RuntimeError where the library isn't found."""
    number = ctypes.c_int()
    _library("version").ncclGetVersion(ctypes.byref(number))
    major = 10000 if number.value >= 10000 else 1000  # before 2.9
    return number.value // major, number.value % major // 100, number.value % 100


def unique_id() -> bytes:
    """What processes share to find one another. RuntimeError where NCCL isn't found."""
    from taimatsu.distributed.nccl import _Id

    made = _Id()
    _library("unique_id").ncclGetUniqueId(ctypes.byref(made))
    return bytes(made)


def init_rank(num_ranks: int, uid: bytes, rank: int) -> Any:
    """RuntimeError: communicators between processes are made by `distributed`."""
    core("init_rank")
    raise RuntimeError(
        "cuda.nccl.init_rank: communicators are made by torch.distributed; use "
        "init_process_group('nccl')"
    )


def _library(name: str) -> Any:
    core(name)
    from taimatsu.cuda._libraries import missing
    from taimatsu.distributed.nccl import nccl

    if not nccl.usable():
        raise RuntimeError(missing("nccl", f"cuda.nccl.{name}"))
    return nccl


def _check(name: str, tensors: Any) -> None:
    core(name)
    if not isinstance(tensors, Sequence) or isinstance(tensors, Tensor):
        raise TypeError("Inputs should be a collection of tensors")
    if not is_available(tensors):
        raise RuntimeError(
            f"cuda.nccl.{name}: tensors must be dense and contiguous, each on a GPU of its own; "
            f"got {[str(t.device) for t in tensors]}"
        )


def _reduced(inputs: Sequence[Tensor], to: Any, op: int) -> Tensor:
    if op not in _REDUCE:
        raise RuntimeError(f"cuda.nccl: there is no reduction {op}; 0 sum, 1 product, 2 max, 3 min")
    total = inputs[0].to(to)
    for x in inputs[1:]:
        total = _REDUCE[op](total, x.to(to))
    return total


@torch.no_grad()
def all_reduce(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor] | None = None, op: int = SUM,
    streams: Any = None, comms: Any = None,
) -> None:  # fmt: skip
    """The sum (product, maximum, minimum) of all ``inputs`` in each of ``outputs``, or in place."""
    _check("all_reduce", inputs)
    total = _reduced(inputs, inputs[0].device, op)
    for out in inputs if outputs is None else outputs:
        out.copy_(total)


@torch.no_grad()
def reduce(
    inputs: Sequence[Tensor], output: Tensor | Sequence[Tensor] | None = None, root: int = 0,
    op: int = SUM, streams: Any = None, comms: Any = None, *,
    outputs: Sequence[Tensor] | None = None,
) -> None:  # fmt: skip
    """The sum (...) of ``inputs`` in ``output``; by default in the ``root``-th of them."""
    _check("reduce", inputs)
    to = outputs if output is None else output
    target = inputs[root] if to is None else to if isinstance(to, Tensor) else to[root]
    target.copy_(_reduced(inputs, target.device, op))


@torch.no_grad()
def broadcast(
    inputs: Sequence[Tensor], root: int = 0, streams: Any = None, comms: Any = None
) -> None:
    """The ``root``-th of ``inputs`` into the others."""
    _check("broadcast", inputs)
    for i, x in enumerate(inputs):
        if i != root:
            x.copy_(inputs[root])


@torch.no_grad()
def all_gather(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], streams: Any = None, comms: Any = None
) -> None:
    """All of ``inputs``, one behind the other, into each of ``outputs``."""
    _check("all_gather", inputs)
    for out in outputs:
        torch.cat([x.reshape(-1).to(out.device) for x in inputs], out=out.view(-1))


@torch.no_grad()
def reduce_scatter(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], op: int = SUM, streams: Any = None,
    comms: Any = None,
) -> None:  # fmt: skip
    """The sum (...) of ``inputs``, split into equal parts: the i-th into ``outputs[i]``."""
    _check("reduce_scatter", inputs)
    parts = [x.reshape(-1).chunk(len(outputs)) for x in inputs]
    for i, out in enumerate(outputs):
        out.view(-1).copy_(_reduced([p[i] for p in parts], out.device, op))
