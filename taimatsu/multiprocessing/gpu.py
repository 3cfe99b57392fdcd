"""Memory of GPUs that processes share: what is sent is a handle, not the bytes.

The process that allocated the memory keeps it until all others have let go of it: a count in
shared memory, one for each time that a storage is sent, tells (`collect`). An event that is sent
along puts the receiver's current stream behind what the sender had queued.

The processes are started with "spawn" or "forkserver": a fork can't use a GPU that was in use.
"""

from __future__ import annotations

import itertools
import os
import warnings
import weakref
from multiprocessing import util
from multiprocessing.context import get_spawning_popen
from typing import Any

import taimatsu as torch
from taimatsu._core import UntypedStorage, atomic_add
from taimatsu.cuda._driver import core, device_count

from . import reductions, shared_memory

__all__ = ["collect", "rebuild_storage", "reduce_storage"]

_serial = itertools.count()


class _Descriptor:
    """Closes a file descriptor when it is not needed any more."""

    def __init__(self, fd: int):
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class _Sent:
    """A storage that other processes use, or will."""

    def __init__(self, storage: UntypedStorage):
        self.storage = storage
        self.device: int = storage.device.index
        self.users = shared_memory.allocate(8)  # how many there are, an int64
        self.users.fill_(0)
        self.hand_out()
        self.event = torch.cuda.Event(interprocess=True)
        with torch.cuda.device(self.device):
            self.handle = self.event.ipc_handle()
        self.event.record(torch.cuda.current_stream(self.device))
        *self.place, fds = core().export_memory(storage.data_ptr(), storage.nbytes())
        self.descriptors = [_Descriptor(fd) for fd in fds]

    def hand_out(self, handles: int = 1) -> None:
        """Counts one on its way, or takes it back if it was not sent."""
        atomic_add(self.users._owner(), 0, handles)

    def in_use(self) -> bool:
        return atomic_add(self.users._owner(), 0, 0) > 0


_sent: dict[int, _Sent] = {}


class _Received:
    """Memory of another process: the owner of a storage here."""

    def __init__(self, device: int, place: tuple, fds: list[int], users: UntypedStorage):
        offset, handle, granule = place
        self.device, self.users = device, users
        self.mapped = granule * len(fds)
        self.base = core().open_memory(device, handle, granule, fds)
        self.address: int = self.base + offset
        _received.add(self)

    def release(self) -> None:
        """Closes the memory when nothing here uses it, and tells the sender."""
        base, self.base = getattr(self, "base", 0), 0
        if base:
            core().synchronize(self.device)
            core().close_memory(self.device, base, self.mapped)
            atomic_add(self.users._owner(), 0, -1)

    def __del__(self) -> None:
        self.release()


_received: weakref.WeakSet[_Received] = weakref.WeakSet()


def collect() -> None:
    """Lets go of the storages that no other process uses any more."""
    for serial, sent in list(_sent.items()):
        if not sent.in_use():
            _sent.pop(serial, None)


def reduce_storage(storage: UntypedStorage) -> tuple:
    """A handle of a storage on a GPU. RuntimeError for one that came from another process."""
    collect()
    if storage.nbytes() == 0:
        return _empty, (storage.device.index,)
    if isinstance(storage._owner(), _Received):
        raise RuntimeError(
            "Attempted to send CUDA tensor received from another process; this is not currently "
            "supported. Consider cloning before sending."
        )
    sent = _Sent(storage)
    serial = next(_serial)
    _sent[serial] = sent
    _prepare()
    uuid = torch.cuda.get_device_properties(sent.device).uuid.bytes
    fds = [reductions.send_descriptor(d, d.fd) for d in sent.descriptors]
    if get_spawning_popen() is None:  # else they are wanted when the process is started
        sent.descriptors.clear()
    if (parcel := getattr(reductions._local, "packing", None)) is not None:
        parcel.handles.append(sent)
    return rebuild_storage, (
        os.getpid(), serial, uuid, storage.nbytes(), tuple(sent.place), fds, sent.handle,
        sent.users,
    )  # fmt: skip


def _empty(device: int) -> UntypedStorage:
    return torch.empty(0, dtype=torch.uint8, device=f"cuda:{device}").untyped_storage()


def _index_of(uuid: bytes) -> int:
    for i in range(device_count()):
        if torch.cuda.get_device_properties(i).uuid.bytes == uuid:
            return i
    raise RuntimeError(
        "a tensor is received whose GPU is not visible to this process; see CUDA_VISIBLE_DEVICES"
    )


def rebuild_storage(
    process: int, serial: int, uuid: bytes, nbytes: int, place: tuple, sent_fds: list[Any],
    handle: bytes, users: UntypedStorage,
) -> UntypedStorage:  # fmt: skip
    """The storage of a handle."""
    descriptors = [_Descriptor(reductions.receive_descriptor(s)) for s in sent_fds]
    if process == os.getpid():  # it comes back to where it was sent
        atomic_add(users._owner(), 0, -1)
        return _sent[serial].storage
    cuda = core("sharing tensors")
    device = _index_of(uuid)
    owner = _Received(device, place, [d.fd for d in descriptors], users)
    event = torch.cuda.Event.from_ipc_handle(device, handle)
    event.wait(torch.cuda.current_stream(device))
    _prepare()
    return cuda.storage_at(owner.address, nbytes, device, owner)


# ---- The ends of processes -----------------------------------------------------------------------
def _finish() -> None:
    for received in list(_received):
        received.release()
    collect()
    if _sent:
        warnings.warn(
            "Producer process has been terminated before all shared CUDA tensors released: "
            f"{len(_sent)} are in use by other processes, which must not use them any more",
            RuntimeWarning, stacklevel=2,
        )  # fmt: skip


_prepared = False


def _prepare() -> None:
    """With the first handle: what is to be done at the end, and when memory is short."""
    global _prepared
    if not _prepared:
        _prepared = True
        core().set_collector(collect)
        util.Finalize(None, _finish, exitpriority=-50)  # before shared memory is released
