"""How tensors travel between processes: as handles of shared memory, not as data.

Importing this module teaches the standard library's ``ForkingPickler`` about storages, so that
its queues, pipes and arguments of processes carry tensors too. A tensor is a storage with sizes
and strides; a storage that is sent moves to shared memory and is then a part of a `Segment`; what
is written is the segment's handle.

Descriptors can't be written into a message. In a message of our connections (`pack`, `unpack`)
they travel beside it; for any other pickle `multiprocessing.reduction.DupFd` finds a way.
"""

from __future__ import annotations

import os
import sys
import threading
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import ForkingPickler
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _utils
from taimatsu._core import UntypedStorage
from taimatsu._storage import _of_bytes

from .shared_memory import Segment, segment_of, share_storage

__all__ = ["init_reductions", "pack", "rebuild_storage", "reduce_storage", "unpack"]

_local = threading.local()  # .packing: the Parcel being written; .unpacking: the one being read


class Parcel:
    """A message: bytes, and the descriptors that it mentions by position.

    `held` keeps their owners alive until they are sent; `handles` are those to take back if the
    message can't be.
    """

    def __init__(self, data: Any = b"", fds: list[int] | None = None):
        self.data = data
        self.fds: list[int] = fds or []
        self.held: list[Any] = []
        self.handles: list[Any] = []
        self.segments: dict[int, Segment] = {}  # of one being read, by position

    def place(self, owner: Any, fd: int) -> int:
        """The position of a descriptor, added unless it is there."""
        if fd not in self.fds:
            self.fds.append(fd)
            self.held.append(owner)
        return self.fds.index(fd)

    def take(self, position: int) -> int:
        """A descriptor of a message that was received, to own."""
        fd, self.fds[position] = self.fds[position], -1
        return fd

    def close(self) -> None:
        """Close the descriptors that nobody took."""
        for fd in self.fds:
            if fd >= 0:
                os.close(fd)
        self.fds = []


def pack(value: Any) -> Parcel:
    """A value as a message; tensors in it move to shared memory."""
    outer, parcel = getattr(_local, "packing", None), Parcel()
    _local.packing = parcel
    try:
        parcel.data = ForkingPickler.dumps(value)
    except BaseException:
        for segment in parcel.handles:
            segment.hand_out(-1)
        raise
    finally:
        _local.packing = outer
    return parcel


def unpack(parcel: Parcel) -> Any:
    """The value of a message that was received."""
    outer, _local.unpacking = getattr(_local, "unpacking", None), parcel
    try:
        return ForkingPickler.loads(parcel.data)
    finally:
        _local.unpacking = outer
        parcel.close()


def send_descriptor(owner: Any, fd: int) -> Any:
    """What to write for a descriptor; `receive_descriptor` makes another one of it."""
    if (parcel := getattr(_local, "packing", None)) is not None:
        return parcel.place(owner, fd)
    child = get_spawning_popen()
    if child is not None and child.method == "spawn" and fd in child._fds:
        return child.DupFd(fd)  # a spawned process can be given a descriptor only once
    return reduction.DupFd(fd)


def receive_descriptor(sent: Any) -> int:
    """A descriptor of this process's own."""
    return _local.unpacking.take(sent) if isinstance(sent, int) else sent.detach()


# ---- Storages ------------------------------------------------------------------------------------
def reduce_storage(storage: UntypedStorage) -> tuple:
    """A handle of a storage: of one on the CPU, which moves to shared memory, or on a GPU."""
    if storage.device.type == "cuda":
        from .gpu import reduce_storage as reduce_gpu_storage

        return reduce_gpu_storage(storage)
    if storage.device.type != "cpu":
        raise RuntimeError(
            f"sending a storage on {storage.device} to another process: it has no memory to share"
        )
    found = segment_of(share_storage(storage))
    if found is None and storage.filename is not None:
        return UntypedStorage.from_file, (storage.filename, True, storage.nbytes())
    if found is None:  # no bytes, or memory that was shared by other means
        return _storage_of_bytes, (bytes(storage),)
    segment, start = found
    key = segment.name or send_descriptor(segment, segment.fd)
    segment.hand_out()
    if (parcel := getattr(_local, "packing", None)) is not None:
        parcel.handles.append(segment)
    return rebuild_storage, (key, start, storage.nbytes())


def rebuild_storage(key: Any, start: int, nbytes: int) -> UntypedStorage:
    """The storage of a handle."""
    if isinstance(key, str):
        segment = Segment.attach_file(key)
    elif isinstance(key, int):  # several handles of one message may mention one descriptor
        known = _local.unpacking.segments
        segment = known.get(key) or known.setdefault(key, Segment.attach(receive_descriptor(key)))
    else:
        segment = Segment.attach(receive_descriptor(key))
    return UntypedStorage._sharing(segment.part(start, nbytes, handles=1), True)


def _storage_of_bytes(data: bytes) -> UntypedStorage:
    return share_storage(_of_bytes(data))


# ---- Tensors -------------------------------------------------------------------------------------
def reduce_tensor(tensor: Tensor) -> tuple:
    """A tensor or Parameter as a handle of its storage; its grad goes with it.

    RuntimeError for what the tape made: only leaves of the graph can be sent.
    """
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd "
            "does not support crossing process boundaries. If you just want to transfer the data, "
            "call detach() on the tensor before serializing (e.g., putting it on the queue)."
        )
    if tensor.device.type not in ("cpu", "cuda") or tensor.layout is not torch.strided:
        return tensor.__reduce_ex__(2)  # of a sparse tensor with its parts, which come here in turn
    layout = (tensor.storage_offset(), tuple(tensor.size()), tensor.stride())
    return _rebuild_tensor, (
        type(tensor), tensor.untyped_storage(), tensor.dtype, *layout, tensor.requires_grad,
        tensor.grad, _utils.attributes(tensor) or None,
    )  # fmt: skip


def _rebuild_tensor(
    kind: type, storage: UntypedStorage, dtype: Any, offset: int, size: tuple, stride: tuple,
    requires_grad: bool, grad: Tensor | None, attributes: dict | None,
) -> Tensor:  # fmt: skip
    tensor = torch._core.tensor_from_storage(storage, dtype, offset, size, stride)
    if kind is not Tensor:
        tensor = kind(tensor, requires_grad)
    elif requires_grad:
        tensor.requires_grad = True
    if grad is not None:
        tensor.grad = grad
    for name, value in (attributes or {}).items():
        setattr(tensor, name, value)
    return tensor


def init_reductions() -> None:
    """Register all this with ``ForkingPickler``; done on import, of `nn.parameter` too."""
    ForkingPickler.register(Tensor, reduce_tensor)
    if (parameter := sys.modules.get("taimatsu.nn.parameter")) is not None:
        ForkingPickler.register(parameter.Parameter, reduce_tensor)
    ForkingPickler.register(UntypedStorage, reduce_storage)
    # What `Tensor.__reduce_ex__` writes, for subclasses: with a handle in place of the bytes.
    ForkingPickler.register(_utils.TypedStorage, lambda s: (_utils.TypedStorage, tuple(s)))


init_reductions()
