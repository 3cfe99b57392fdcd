"""Connections that carry tensors: messages on a Unix socket, with descriptors of shared memory.

A message is one packet, so that no lock is needed around it and a process that is killed while it
sends or receives leaves nothing half done. Descriptors are in the kernel's hands on the way: the
sender may end before the receiver looks, and what is never received is freed.
"""

from __future__ import annotations

import array
import errno
import io
import os
import socket
from collections import OrderedDict
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from .reductions import Parcel, pack, receive_descriptor, send_descriptor, unpack
from .shared_memory import Segment

__all__ = ["Connection", "Pipe"]

INLINE = 1 << 14  # longer messages are a file in memory
DESCRIPTORS = 250  # the most that a packet carries
MAPPINGS_BYTES = 1 << 28  # what a connection keeps mapped for segments that come again,
MAPPINGS = 64  # and how many of them
_CREDIT = socket.CMSG_SPACE((DESCRIPTORS + 2) * 4)


class Connection(connection.Connection):
    """One end of a `Pipe`."""

    def __init__(self, handle: int, readable: bool = True, writable: bool = True):
        super().__init__(handle, readable, writable)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=handle)
        # Segments that came more than once stay mapped: their sender uses them again and again.
        self._seen: OrderedDict[tuple, Segment | None] = OrderedDict()

    def _close(self) -> None:
        self._socket.close()
        self._seen.clear()

    def send(self, obj: Any) -> None:
        """Send a value; tensors in it move to shared memory."""
        self._check_closed()
        self._check_writable()
        self.send_parcel(pack(obj))

    def recv(self) -> Any:
        """The next value. EOFError where nobody is left to send one."""
        self._check_closed()
        self._check_readable()
        return self.unpack(self.receive_parcel())

    def unpack(self, parcel: Parcel) -> Any:
        """The value of a message that came here."""
        value = unpack(parcel)
        for segment in parcel.segments.values():
            again = segment.key in self._seen
            self._seen[segment.key] = segment if again else None
            self._seen.move_to_end(segment.key)
        if parcel.segments:
            self._forget()
        return value

    def _forget(self) -> None:
        while len(self._seen) > 1 and (
            len(self._seen) > MAPPINGS
            or sum(len(s) for s in self._seen.values() if s) > MAPPINGS_BYTES
        ):
            self._seen.popitem(last=False)

    def _send_bytes(self, buf: Any) -> None:
        self.send_parcel(Parcel(buf))

    def _recv_bytes(self, maxsize: int | None = None) -> Any:
        parcel = self.receive_parcel()
        parcel.close()
        if maxsize is not None and len(parcel.data) > maxsize:
            return None
        received = io.BytesIO()
        received.write(parcel.data)  # and stands at its end, which tells the length
        return received

    def send_parcel(self, parcel: Parcel, flags: int = 0) -> None:
        """Send a message as a packet. BlockingIOError with MSG_DONTWAIT if there is no room."""
        fds, head, data, bag = parcel.fds, b"", parcel.data, None
        spilled = -1
        try:
            if len(fds) > DESCRIPTORS:
                bag, fds = _bag(fds)
                head += b"b"
            if len(data) > INLINE:
                spilled = _file_of(data)
                fds, head, data = [*fds, spilled], head + b"f", b""
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            self._socket.sendmsg([head + b".", data], ancillary if fds else [], flags)
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                if flags & socket.MSG_DONTWAIT:
                    raise BlockingIOError(errno.EAGAIN, "too many descriptors sent") from None
                raise _too_many() from None
            raise
        finally:
            if spilled >= 0:
                os.close(spilled)
            if bag is not None:
                bag.close()

    def receive_parcel(self, flags: int = 0) -> Parcel:
        """The next message. EOFError, or BlockingIOError with MSG_DONTWAIT if there is none."""
        data, ancillary, flags, _ = self._socket.recvmsg(
            INLINE + 16, _CREDIT, flags | socket.MSG_CMSG_CLOEXEC
        )
        if not data:
            raise EOFError
        received = array.array("i")
        for _, _, part in ancillary:
            received.frombytes(part[: len(part) - len(part) % received.itemsize])
        parcel = Parcel(data, received.tolist())
        try:
            if flags & socket.MSG_CTRUNC:
                raise _too_many()
            end = data.index(b".")
            parcel.data = memoryview(data)[end + 1 :]
            if b"f" in data[:end]:
                parcel.data = _content(parcel.fds.pop())
            if b"b" in data[:end]:
                parcel.fds = _of_bag(parcel.fds.pop())
        except BaseException:
            parcel.close()
            raise
        return parcel


def _too_many() -> OSError:
    return OSError(
        errno.EMFILE,
        "sending tensors: too many open files; raise the limit (ulimit -n), send fewer storages at "
        "a time, or use taimatsu.multiprocessing.set_sharing_strategy('file_system')",
    )


def _file_of(data: Any) -> int:
    fd = os.memfd_create("taimatsu-message", os.MFD_CLOEXEC)
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
    return fd


def _content(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()


def _bag(fds: list[int]) -> tuple[socket.socket, list[int]]:
    """More descriptors than a packet takes, as one: a socket in which they wait."""
    bag, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with end:
        for i in range(0, len(fds), DESCRIPTORS):
            socket.send_fds(end, [b"."], fds[i : i + DESCRIPTORS])
    return bag, [bag.fileno()]


def _of_bag(fd: int) -> list[int]:
    fds: list[int] = []
    with socket.socket(fileno=fd) as bag:
        while True:
            data, more, flags, _ = socket.recv_fds(bag, 1, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
            fds += more
            if flags & socket.MSG_CTRUNC:
                for extra in fds:
                    os.close(extra)
                raise _too_many()
            if not data:
                return fds


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Two connected `Connection` s; without `duplex` the first receives, the second sends.

    >>> receiver, sender = Pipe(duplex=False)
    >>> sender.send(torch.ones(2))
    >>> receiver.recv()
    tensor([1., 1.])
    """
    first, second = (s.detach() for s in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    return Connection(first, True, duplex), Connection(second, duplex, True)


def _reduce_connection(self: Connection) -> tuple:
    sent = send_descriptor(self, self.fileno())
    return _rebuild_connection, (sent, self.readable, self.writable)


def _rebuild_connection(sent: Any, readable: bool, writable: bool) -> Connection:
    return Connection(receive_descriptor(sent), readable, writable)


ForkingPickler.register(Connection, _reduce_connection)
