"""Memory that processes share: what tensors move into when they are sent or told to.

A `Segment` is a mapping of a file that lives in memory. It starts with a count of its users:
processes that hold a part of it, and handles on their way to one. Storages get parts of segments
(`allocate`); small ones share a segment, so that a model's parameters don't need a file each.

Two strategies name a segment to other processes (`set_sharing_strategy`):

* ``file_descriptor``, the default on Linux: the file has no name, a descriptor of it is sent. The
  kernel frees the memory with its last user, however that one ends, and /dev/shm's size is no
  limit.
* ``file_system``: a file in /dev/shm, removed by its last user; after a crash by the standard
  library's resource tracker, when all processes of the program have ended.

A new page costs more than copying into one that is there. So a segment without a name whose users
have all gone is used again by the process that made it, if sizes like its come back (`_Pool`).
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
import threading
import weakref
from multiprocessing import util
from typing import Any

from taimatsu._core import UntypedStorage, atomic_add

__all__ = [
    "Segment", "allocate", "get_all_sharing_strategies", "get_sharing_strategy", "release_all",
    "segment_of", "set_sharing_strategy", "share_storage",
]  # fmt: skip

HEADER = 64  # bytes before the first part; an int64 at 0 counts the users
SMALL = 1 << 16  # parts below this many bytes share a segment of about a megabyte
ARENA = (1 << 20) - HEADER
POOL_BYTES = 1 << 28  # what a process keeps of segments that nobody uses,
POOL_SEGMENTS = 32  # and how many: each is an open file
FOLDER = "/dev/shm"

_STRATEGIES = ("file_descriptor", "file_system") if sys.platform == "linux" else ("file_system",)
_strategy = _STRATEGIES[0]
_lock = threading.RLock()
_serial = itertools.count()


def get_all_sharing_strategies() -> set[str]:
    """The sharing strategies that this platform has."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """How tensors that are shared from now on are named to other processes."""
    return _strategy


def set_sharing_strategy(new_strategy: str) -> None:
    """Choose "file_descriptor" or "file_system", for tensors that are shared from now on.

    AssertionError for a strategy that the platform doesn't have.

    >>> set_sharing_strategy("file_descriptor")
    """
    global _strategy
    if new_strategy not in _STRATEGIES:
        raise AssertionError(
            f"set_sharing_strategy: {new_strategy!r} is not among {sorted(_STRATEGIES)}"
        )
    _strategy = new_strategy
    if new_strategy == "file_system":
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # now, so that child processes have the same one


class Segment(mmap.mmap):
    """A mapping of shared memory, with the count of its users at its start.

    This process is one of the users as long as it has parts of the segment (`part`); the mapping
    may stay longer. Use `create`, `attach`, `attach_file`.
    """

    fd: int
    key: tuple[int, int]  # device and inode: the same for all mappings of one segment
    name: str | None  # of the file in /dev/shm
    creator: int  # pid, 0 where another process made it
    address: int
    parts: dict[int, weakref.ref]  # the memoryviews that storages hold, by the reference's id

    @classmethod
    def create(cls, nbytes: int) -> Segment:
        """A new one with room for `nbytes` in parts. RuntimeError where the memory isn't there."""
        nbytes += HEADER
        if _strategy == "file_system":
            name = f"/taimatsu_{os.getpid()}_{next(_serial)}_{os.urandom(4).hex()}"
            segment = cls._mapped(_new_file(name, nbytes), nbytes, name)
        else:
            fd = os.memfd_create("taimatsu", os.MFD_CLOEXEC)
            os.ftruncate(fd, nbytes)
            segment = cls._mapped(fd, nbytes)
        segment.creator = os.getpid()
        return segment

    @classmethod
    def attach(cls, fd: int) -> Segment:
        """The segment of a descriptor, which is taken over."""
        with _lock:
            status = os.fstat(fd)
            segment = _segments.get((status.st_dev, status.st_ino))
            if segment is None:
                return cls._mapped(fd, status.st_size)
            if fd != segment.fd:  # a spawned process inherits one for several handles
                os.close(fd)
            return segment

    @classmethod
    def attach_file(cls, name: str) -> Segment:
        """The segment of a file in /dev/shm. RuntimeError if it is gone."""
        with _lock:
            for segment in list(_segments.values()):
                if segment.name == name:
                    return segment
            try:
                fd = os.open(FOLDER + name, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                raise RuntimeError(
                    f"shared memory: {name} is gone; all processes that used it have ended"
                ) from None
            return cls._mapped(fd, os.fstat(fd).st_size, name)

    @classmethod
    def _mapped(cls, fd: int, nbytes: int, name: str | None = None) -> Segment:
        segment = cls(fd, nbytes)
        status = os.fstat(fd)
        segment.fd, segment.name, segment.creator = fd, name, 0
        segment.key = (status.st_dev, status.st_ino)
        segment.parts = {}
        segment.held = False
        segment.end = HEADER
        segment.address = UntypedStorage._sharing(segment).data_ptr()
        _segments[segment.key] = segment
        return segment

    def users(self) -> int:
        """How many processes and handles on their way use the segment now."""
        return atomic_add(self, 0, 0)

    def hand_out(self, handles: int = 1) -> None:
        """Count handles on their way, or take back some that were not sent."""
        atomic_add(self, 0, handles)

    def part(self, start: int, nbytes: int, handles: int = 0) -> memoryview:
        """A part, which its storage keeps, in place of handles that came for it."""
        with _lock:
            view = memoryview(self)[start : start + nbytes]
            reference = weakref.ref(view, self._part_died)
            self.parts[id(reference)] = reference
            # The handles count until here, so that nobody takes the segment for an unused one.
            atomic_add(self, 0, (not self.held) - handles)
            self.held = True
            return view

    def _part_died(self, reference: Any) -> None:
        with _lock:
            self.parts.pop(id(reference), None)
            if not self.parts and self is not _arena.segment:
                self.release()

    def release(self) -> None:
        """This process has no part of it any more."""
        with _lock:
            if not self.held:
                return
            self.held = False
            left = atomic_add(self, 0, -1)
            if self.name is None:
                if self.creator == os.getpid():
                    _pool.put(self)
            elif left <= 0:
                _unlink(self.name)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            if self.held and self.name:  # an arena of which no part was left
                self.release()
            os.close(self.fd)


_segments: weakref.WeakValueDictionary[tuple[int, int], Segment] = weakref.WeakValueDictionary()


class _Pool:
    """Segments of this process that it may use again, once nobody else uses them.

    Only sizes that come back are kept: of each size class as many as were asked for when one had
    just been given up. What is shared once is freed at once.
    """

    def __init__(self) -> None:
        self.free: list[Segment] = []  # the latest last
        self.dropped: dict[int, int] = {}  # by size: how many were not kept
        self.kept: dict[int, int] = {}  # by size: how many to keep

    def get(self, nbytes: int) -> Segment | None:
        size = nbytes + HEADER
        for i in reversed(range(len(self.free))):
            segment = self.free[i]
            if len(segment) == size and segment.users() == 0:
                del self.free[i]
                segment.end = HEADER
                return segment
        if self.dropped.get(size, 0):
            self.dropped[size] -= 1
            self.kept[size] = self.kept.get(size, 0) + 1
        return None

    def put(self, segment: Segment) -> None:
        size = len(segment)
        self.free = [s for s in self.free if not s.held]  # those that came back in a handle
        if sum(len(s) == size for s in self.free) >= self.kept.get(size, 0):
            self.dropped[size] = self.dropped.get(size, 0) + 1
            return
        self.free.append(segment)
        while len(self.free) > POOL_SEGMENTS or sum(map(len, self.free)) > POOL_BYTES:
            self.free.pop(0)


class _Arena:
    """The segment from which small parts are cut at present."""

    segment: Segment | None = None


_pool, _arena = _Pool(), _Arena()


def _size_class(nbytes: int) -> int:
    """Rounded up to one of 8 sizes for each power of two: segments then fit nearly equal parts."""
    step = max(mmap.PAGESIZE, 1 << max(0, nbytes.bit_length() - 4))
    return -(-(nbytes + HEADER) // step) * step - HEADER


def allocate(nbytes: int) -> UntypedStorage:
    """A new storage in shared memory, its bytes not initialised.

    RuntimeError if there is too little memory.

    >>> allocate(16).is_shared()
    True
    """
    if nbytes == 0:
        return UntypedStorage._sharing(b"", True)
    return UntypedStorage._sharing(_allocate(nbytes), True)


def _allocate(nbytes: int) -> memoryview:
    with _lock:
        if nbytes >= SMALL:
            capacity = _size_class(nbytes)
            segment = _reused(capacity) or Segment.create(capacity)
            return segment.part(HEADER, nbytes)
        segment = _arena.segment
        if segment is not None and not segment.parts and segment.held and segment.users() == 1:
            segment.end = HEADER
        if segment is None or len(segment) - segment.end < nbytes or _is_file(segment):
            full, segment = segment, _reused(ARENA) or Segment.create(ARENA)
            _arena.segment = segment
            if full is not None and not full.parts:
                full.release()
        start, segment.end = segment.end, segment.end + -(-nbytes // 64) * 64
        return segment.part(start, nbytes)


def _reused(nbytes: int) -> Segment | None:
    return _pool.get(nbytes) if _strategy == "file_descriptor" else None


def _is_file(segment: Segment) -> bool:  # of the other strategy than the present one
    return (segment.name is not None) != (_strategy == "file_system")


def share_storage(storage: UntypedStorage) -> UntypedStorage:
    """Move a storage's bytes to shared memory; tensors over it, and views, stay valid."""
    if not storage.is_shared() and storage.device.type == "cpu":
        storage._share(_allocate(storage.nbytes()) if storage.nbytes() else b"")
    return storage


def segment_of(storage: UntypedStorage) -> tuple[Segment, int] | None:
    """The segment that a storage lies in, and where; None if it isn't in shared memory."""
    segment = getattr(storage._owner(), "obj", None)
    if not isinstance(segment, Segment):
        return None
    return segment, storage.data_ptr() - segment.address


# ---- Files in /dev/shm ---------------------------------------------------------------------------
def _available(folder: str) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _too_small(nbytes: int) -> RuntimeError:
    return RuntimeError(
        f"shared memory: {FOLDER} is too small; {nbytes} bytes are needed, {_available(FOLDER)} "
        "are free; make it larger (docker run --shm-size=8g, or mount -o remount,size=8g "
        f"{FOLDER}), share less (DataLoader: fewer workers, a smaller prefetch_factor), or use "
        "set_sharing_strategy('file_descriptor'), which needs no room there"
    )


def _new_file(name: str, nbytes: int) -> int:
    if nbytes > _available(FOLDER):
        raise _too_small(nbytes)
    _tracker("register", name)  # first: this process may be killed at any time
    fd = os.open(FOLDER + name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, nbytes)  # writing to a page that can't be had ends the process
    except OSError:
        os.close(fd)
        _unlink(name)
        raise _too_small(nbytes) from None
    return fd


def _tracker(action: str, name: str) -> None:
    from multiprocessing import resource_tracker

    getattr(resource_tracker, action)(name, "shared_memory")


def _unlink(name: str) -> None:
    try:
        os.unlink(FOLDER + name)
    except FileNotFoundError:
        return
    _tracker("unregister", name)


# ---- The ends of processes -----------------------------------------------------------------------
def _before_fork() -> None:
    _lock.acquire()
    for segment in list(_segments.values()):
        if segment.held:
            segment.hand_out()  # the child is a user too


def _after_fork_in_child() -> None:
    _lock.release()
    _pool.__init__()  # the parent may use those again
    full, _arena.segment = _arena.segment, None  # and cuts parts from that one
    if full is not None and not full.parts:
        full.release()


def release_all() -> None:
    """What interpreters leave undone at their end: the others would count this one for ever."""
    for segment in list(_segments.values()):
        segment.release()


def _at_exit(_: object = None) -> None:
    util.Finalize(None, release_all, exitpriority=-100)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_lock.release,
        after_in_child=_after_fork_in_child,
    )
_at_exit()
util.register_after_fork(_pool, _at_exit)  # a child process has forgotten it
