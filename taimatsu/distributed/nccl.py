"""The part of a process group that is on GPUs: the same functions, by NCCL.

Nothing waits here: what is launched goes to a stream of the group's own, behind what is on the
caller's current stream; `Work.wait` puts the current stream behind it. Objects, and finding one
another, go by the group's connections between processes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import taimatsu as torch
from taimatsu.cuda._libraries import found, missing
from taimatsu.cuda.libraries import Int, Library, Pointer, Size, enter
from taimatsu.futures import Future

from .work import ReduceOp, Work

if TYPE_CHECKING:
    from .process_group import ProcessGroup


class _Id(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 128)]


_DATA = [Size, Int]  # the number of elements, and their type
_PLACE = [Pointer, Pointer]  # communicator, stream
nccl = Library("nccl", {
    "ncclGetVersion?": [ctypes.POINTER(Int)],
    "ncclGetUniqueId": [ctypes.POINTER(_Id)],
    "ncclCommInitRank": [ctypes.POINTER(Pointer), Int, _Id, Int],
    "ncclCommDestroy": [Pointer],
    "ncclGroupStart": [],
    "ncclGroupEnd": [],
    "ncclAllReduce": [Pointer, Pointer, *_DATA, Int, *_PLACE],
    "ncclReduce": [Pointer, Pointer, *_DATA, Int, Int, *_PLACE],
    "ncclBroadcast": [Pointer, Pointer, *_DATA, Int, *_PLACE],
    "ncclAllGather": [Pointer, Pointer, *_DATA, *_PLACE],
    "ncclReduceScatter": [Pointer, Pointer, *_DATA, Int, *_PLACE],
    "ncclSend": [Pointer, *_DATA, Int, *_PLACE],
    "ncclRecv": [Pointer, *_DATA, Int, *_PLACE],
})  # fmt: skip
# ncclDataType_t, ncclRedOp_t
_TYPES = {
    torch.int8: 0, torch.uint8: 1, torch.int32: 2, torch.uint32: 3, torch.int64: 4, torch.uint64: 5,
    torch.float16: 6, torch.float32: 7, torch.float64: 8, torch.bfloat16: 9,
}  # fmt: skip
_OPS = {
    ReduceOp.SUM: 0, ReduceOp.PRODUCT: 1, ReduceOp.MAX: 2, ReduceOp.MIN: 3, ReduceOp.AVG: 4,
}  # fmt: skip
_OF_BOOLS = {ReduceOp.SUM: ReduceOp.MAX, ReduceOp.PRODUCT: ReduceOp.MIN}


def is_available() -> bool:
    """Whether there are a GPU and NCCL."""
    return torch.cuda.is_available() and bool(found("nccl"))


def why_absent() -> str:
    """What to do where it isn't available."""
    if not torch.cuda.is_available():
        return "there is no GPU; use backend='gloo'"
    return missing("nccl", "init_process_group")


class _Launched(Work):
    """What is on the group's stream up to an event."""

    def __init__(self, event: Any, result: Any):
        super().__init__()
        self._event = event
        self._finish(result, None)

    def wait(self, timeout: timedelta | None = None) -> bool:
        """The current stream goes on when it is done; the host doesn't wait."""
        torch.cuda.current_stream().wait_event(self._event)
        return True

    def is_completed(self) -> bool:
        return self._event.query()

    is_success = is_completed

    def get_future(self) -> Future:
        self.wait()
        return super().get_future()


def _numbers(x: torch.Tensor) -> torch.Tensor:
    """The memory of a contiguous tensor as numbers that NCCL knows."""
    if x.is_complex():
        return torch.view_as_real(x)
    return x.view(torch.uint8) if x.dtype == torch.bool else x


class NcclGroup:
    """The processes of ``group``, each with the GPU ``device``."""

    def __init__(self, group: ProcessGroup, device: Any):
        self.group, self.device = group, device
        self.stream = torch.cuda.Stream(device)
        self._communicator: int | None = None

    def rank(self) -> int:
        """This process's number."""
        return self.group.rank()

    def size(self) -> int:
        """How many processes there are."""
        return self.group.size()

    def submit(self, action: Callable[[], Any]) -> Work:
        """Launches what `action` does on the group's stream."""
        if self._communicator is None:
            self._connect()
        with torch.cuda.device(self.device.index):
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream), torch.no_grad():
                result = action()
            return _Launched(self.stream.record_event(), result)

    def _connect(self) -> None:
        unique = _Id()
        if self.rank() == 0:
            nccl.ncclGetUniqueId(unique)
        shared = self.group.submit(lambda: self.group.share(bytes(unique))).result()
        made = Pointer()
        enter(torch.empty(0, device=self.device))
        nccl.ncclCommInitRank(made, self.size(), _Id.from_buffer_copy(shared[0]), self.rank())
        self._communicator = made.value

    def close(self) -> None:
        """Ends the connections."""
        if self._communicator is not None:
            self.stream.synchronize()
            nccl.ncclCommDestroy(self._communicator)
            self._communicator = None

    # ---- Launching
    def _place(self) -> tuple[int | None, int]:
        return self._communicator, self.stream.cuda_stream

    def _memory(self, x: torch.Tensor) -> int:
        """Where a contiguous tensor is, which isn't given to another before this is done."""
        x.record_stream(self.stream)
        return x.data_ptr()

    def _data(self, x: torch.Tensor) -> tuple[int, int]:
        x = _numbers(x)
        if x.dtype not in _TYPES:
            raise TypeError(f"Input tensor data type is not supported for NCCL process group: "
                            f"{x.dtype}")  # fmt: skip
        return x.numel(), _TYPES[x.dtype]

    def _op(self, x: torch.Tensor, op: int) -> int:
        op = _OF_BOOLS.get(op, op) if x.dtype == torch.bool else op
        if op not in _OPS:
            raise ValueError(f"Cannot use ReduceOp.{ReduceOp.names[op]} with NCCL")
        return _OPS[op]

    @contextmanager
    def _together(self):
        """What is sent and received inside goes at once."""
        nccl.ncclGroupStart()
        try:
            yield
        finally:
            nccl.ncclGroupEnd()

    def _send(self, x: torch.Tensor, peer: int) -> None:
        nccl.ncclSend(self._memory(x), *self._data(x), peer, *self._place())

    def _receive(self, x: torch.Tensor, peer: int) -> None:
        nccl.ncclRecv(self._memory(x), *self._data(x), peer, *self._place())

    # ---- As ProcessGroup has them
    def reduce_all(self, tensor: Any, op: int) -> Any:
        """``tensor``, combined over all."""
        x = tensor.contiguous()
        nccl.ncclAllReduce(self._memory(x), self._memory(x), *self._data(x), self._op(x, op),
                           *self._place())  # fmt: skip
        return tensor if x is tensor else tensor.copy_(x)

    def reduce_at(self, tensor: Any, op: int, root: int) -> Any:
        """``tensor``, combined over all, at the root."""
        x = tensor.contiguous()
        nccl.ncclReduce(self._memory(x), self._memory(x), *self._data(x), self._op(x, op), root,
                        *self._place())  # fmt: skip
        return tensor if x is tensor or self.rank() != root else tensor.copy_(x)

    def reduce_each(self, output: Any, inputs: Sequence[Any], op: int) -> Any:
        """Everybody's i-th input, combined in process i's output."""
        parts = torch.stack(list(inputs))
        out = torch.empty_like(output, memory_format=torch.contiguous_format)
        nccl.ncclReduceScatter(self._memory(parts), self._memory(out), *self._data(out),
                               self._op(out, op), *self._place())  # fmt: skip
        return output.copy_(out)

    def spread(self, tensor: Any, root: int) -> Any:
        """The root's tensor, in every process."""
        x = tensor.contiguous()
        nccl.ncclBroadcast(self._memory(x), self._memory(x), *self._data(x), root, *self._place())
        return tensor if x is tensor else tensor.copy_(x)

    def gather_all(self, tensor: Any) -> list[Any]:
        """Everybody's tensor."""
        x = tensor.contiguous()
        out = x.new_empty([self.size(), *x.shape])
        nccl.ncclAllGather(self._memory(x), self._memory(out), *self._data(x), *self._place())
        return list(out.unbind(0))

    def gather_at(self, tensor: Any, root: int) -> list[Any] | None:
        """Everybody's tensor, at the root."""
        x = tensor.contiguous()
        parts = [torch.empty_like(x) for _ in range(self.size())] if self.rank() == root else None
        with self._together():
            self._send(x, root)
            for peer, part in enumerate(parts or ()):
                self._receive(part, peer)
        return parts

    def scatter_from(self, tensor: Any, parts: Sequence[Any], root: int) -> Any:
        """The root's i-th part, in process i."""
        x = torch.empty_like(tensor, memory_format=torch.contiguous_format)
        sent = [p.contiguous() for p in parts]
        with self._together():
            for peer, part in enumerate(sent):
                self._send(part, peer)
            self._receive(x, root)
        return tensor.copy_(x)

    def swap(self, outputs: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Process i gets inputs[i]; outputs[i] is from process i."""
        sent = [t.contiguous() for t in inputs]
        received = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in outputs]
        with self._together():
            for peer, (x, y) in enumerate(zip(sent, received, strict=True)):
                self._send(x, peer)
                self._receive(y, peer)
        return [o.copy_(r) for o, r in zip(outputs, received, strict=True)]

    def batch(self, calls: Sequence[tuple[bool, Any, int, int]]) -> list[Work]:
        """Sends (True) and receives tensors, all at once; NCCL knows no tags."""

        def action() -> list[Any]:
            memory = [t.detach().contiguous() if sends else torch.empty_like(
                t, memory_format=torch.contiguous_format) for sends, t, _, _ in calls]  # fmt: skip
            with self._together():
                for (sends, _, peer, _), x in zip(calls, memory, strict=True):
                    (self._send if sends else self._receive)(x, peer)
            return [t if sends else t.copy_(x)
                    for (sends, t, _, _), x in zip(calls, memory, strict=True)]  # fmt: skip

        return [self.submit(action)]

    def send_to(self, tensor: Any, peer: int, tag: int) -> Work:
        """Sends a tensor."""
        return self.batch([(True, tensor, peer, tag)])[0]

    def receive_from(self, tensor: Any, peer: int | None, tag: int) -> Work:
        """Receives a tensor, from a process that is named."""
        if peer is None:
            raise ValueError("recv: NCCL receives from a process that is named; give src")
        work: Any = self.batch([(False, tensor, peer, tag)])[0]
        work.source = peer
        return work
