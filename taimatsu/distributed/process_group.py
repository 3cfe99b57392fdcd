"""`ProcessGroup`: processes that are all connected, and what they compute together.

Each pair has a connection. A thread for each puts what arrives into the mailbox, so that sending
never waits for the other side's program. Collectives are carried out by one more thread in the
order in which they were called, which is the same in every process. Sums are taken in the order of
ranks, so all processes get the same bits.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import taimatsu as torch

from .store import DistBackendError, PrefixStore, Store, receive
from .work import ReduceOp, Work

__all__ = ["ProcessGroup", "ReduceOp", "Work"]

DEFAULT_TIMEOUT = timedelta(minutes=30)
GLOO = MappingProxyType({"cpu": "gloo"})
_COLLECTIVE = -1  # the tag of what isn't sent by `send`
_SMALL = 1 << 16  # bytes up to which everybody sends everything to everybody


_COMBINE: dict[int, Callable] = {
    ReduceOp.SUM: lambda a, b: a.add_(b),
    ReduceOp.AVG: lambda a, b: a.add_(b),
    ReduceOp.PRODUCT: lambda a, b: a.mul_(b),
    ReduceOp.MIN: lambda a, b: torch.minimum(a, b, out=a),
    ReduceOp.MAX: lambda a, b: torch.maximum(a, b, out=a),
    ReduceOp.BAND: lambda a, b: a.bitwise_and_(b),
    ReduceOp.BOR: lambda a, b: a.bitwise_or_(b),
    ReduceOp.BXOR: lambda a, b: a.bitwise_xor_(b),
}


def combined(tensors: Sequence[Any], op: int) -> Any:
    """The first of the tensors, with the others combined into it in their order."""
    if op not in _COMBINE:
        raise ValueError(f"all_reduce: {ReduceOp.names[op]} is not supported by gloo")
    total = tensors[0]
    for other in tensors[1:]:
        _COMBINE[op](total, other)
    if op == ReduceOp.AVG:
        total.div_(len(tensors)) if total.is_floating_point() else total.floor_divide_(len(tensors))
    return total


def bytes_of(tensor: Any) -> memoryview:
    """A contiguous tensor's memory."""
    if not tensor.numel():
        return memoryview(b"")
    size = tensor.element_size()
    start = tensor.storage_offset() * size
    memory = memoryview(tensor.untyped_storage()).cast("B")
    return memory[start : start + tensor.numel() * size]


def tensor_of(data: bytearray, like: Any) -> Any:
    """A tensor of these bytes, of the sizes and dtype of another."""
    if len(data) != like.numel() * like.element_size():
        raise DistBackendError(
            f"collective: {len(data)} bytes arrived for a tensor of "
            f"{like.numel() * like.element_size()}; the processes' tensors have to be of one size"
        )
    if not data:
        return torch.empty_like(like, memory_format=torch.contiguous_format)
    return torch.frombuffer(data, dtype=like.dtype).view(like.shape)


class _Receipt(Work):
    """A message that is awaited: it is taken when somebody asks."""

    def __init__(self, ready: Callable[[], bool], take: Callable[[], Any]):
        super().__init__()
        self._ready, self._take = ready, take

    def wait(self, timeout: timedelta | None = None) -> bool:
        if not self._done.is_set():
            self._finish(self._take(), None)
        return super().wait(timeout)

    def is_completed(self) -> bool:
        return self._done.is_set() or self._ready()


class _Mailbox:
    """What has arrived, by sender and tag."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._messages: dict[tuple[int, int], deque[bytearray]] = {}
        self._gone: dict[int, str] = {}

    def put(self, sender: int, tag: int, data: bytearray) -> None:
        with self._arrived:
            self._messages.setdefault((sender, tag), deque()).append(data)
            self._arrived.notify_all()

    def close(self, sender: int, reason: str) -> None:
        with self._arrived:
            self._gone[sender] = reason
            self._arrived.notify_all()

    def find(self, sender: int | None, tag: int) -> int | None:
        """Who has sent something with this tag."""
        for (who, what), waiting in self._messages.items():
            if what == tag and waiting and sender in (None, who):
                return who
        return None

    def take(self, sender: int | None, tag: int, seconds: float) -> tuple[int, bytearray]:
        until = time.monotonic() + seconds
        with self._arrived:
            while (who := self.find(sender, tag)) is None:
                if sender in self._gone:
                    raise DistBackendError(f"[rank {sender}] {self._gone[sender]}")
                left = until - time.monotonic()
                if left <= 0:
                    raise DistBackendError(
                        f"Timed out waiting {seconds * 1000:.0f}ms for recv operation to complete"
                    )
                self._arrived.wait(left)
            return who, self._messages[who, tag].popleft()


class ProcessGroup:
    """Connected processes; ``rank`` is this one's number among them."""

    def __init__(
        self, store: Store, rank: int, size: int, timeout: timedelta = DEFAULT_TIMEOUT,
        name: str = "0", backends: Mapping[str, str] = GLOO,
    ):  # fmt: skip
        self._rank, self._size, self._name = rank, size, name
        self.backends = backends  # by types of devices
        self._elsewhere: dict[Any, Any] = {}  # what carries out on other devices than the CPU
        self.timeout = timeout
        self.mailbox = _Mailbox()
        self._peers: dict[int, socket.socket] = {}
        self._locks = [threading.Lock() for _ in range(size)]
        self._waiting: queue.SimpleQueue = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._closed = False
        if size > 1:
            self._connect(PrefixStore(f"group/{name}", store), store)

    # ---- Connections
    def _connect(self, store: Store, root: Store) -> None:
        while isinstance(root, PrefixStore):
            root = root.underlying_store
        host = getattr(root, "local_address", "127.0.0.1")
        if self._rank == 0:
            store.set("token", secrets.token_bytes(16))
        token = store.get("token")
        listener = socket.create_server((host, 0), backlog=self._size)
        listener.settimeout(self.timeout.total_seconds())
        store.set(f"address/{self._rank}", f"{host}:{listener.getsockname()[1]}")
        for peer in range(self._rank):
            where, _, port = store.get(f"address/{peer}").decode().rpartition(":")
            connection = socket.create_connection((where, int(port)))
            connection.sendall(token + struct.pack("<q", self._rank))
            self._add(peer, connection)
        with listener:
            while len(self._peers) < self._size - 1:
                connection, _ = listener.accept()
                hello = receive(connection, 24)
                if not secrets.compare_digest(bytes(hello[:16]), token):
                    connection.close()
                    continue
                self._add(struct.unpack("<q", hello[16:])[0], connection)

    def _add(self, peer: int, connection: socket.socket) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peers[peer] = connection
        threading.Thread(target=self._read, args=(peer, connection), daemon=True).start()

    def _read(self, peer: int, connection: socket.socket) -> None:
        try:
            while True:
                tag, size = struct.unpack("<qq", receive(connection, 16))
                self.mailbox.put(peer, tag, receive(connection, size))
        except OSError as error:
            self.mailbox.close(peer, f"Connection closed by peer: {error}")

    def post(self, peer: int, data: Any, tag: int = _COLLECTIVE) -> None:
        """Sends bytes to another process, or to this one."""
        if peer == self._rank:
            self.mailbox.put(peer, tag, bytearray(data))
            return
        try:
            with self._locks[peer]:
                self._peers[peer].sendall(struct.pack("<qq", tag, len(data)))
                self._peers[peer].sendall(data)
        except OSError as error:
            raise DistBackendError(f"[rank {peer}] Connection closed by peer: {error}") from error

    def take(self, peer: int | None, tag: int = _COLLECTIVE) -> tuple[int, bytearray]:
        """The next bytes of a process, or of any: (from which, bytes)."""
        return self.mailbox.take(peer, tag, self.timeout.total_seconds())

    def close(self) -> None:
        """Ends the connections."""
        self._closed = True
        for part in self._elsewhere.values():
            part.close()
        if self._worker is not None:
            self._waiting.put(None)
            self._worker.join(5)
        for connection in self._peers.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    # ---- The thread that carries out
    def submit(self, action: Callable[[], Any]) -> Work:
        """Carries it out after what was submitted before."""
        if self._closed:
            raise ValueError("Invalid process group specified: it was destroyed")
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, daemon=True)
            self._worker.start()
        work = Work()
        self._waiting.put((work, action))
        return work

    def _work(self) -> None:
        torch.set_grad_enabled(False)
        while (item := self._waiting.get()) is not None:
            work, action = item
            try:
                work._finish(action(), None)
            except Exception as error:
                work._finish(None, error)
            del item, work, action

    # ---- About it
    def rank(self) -> int:
        """This process's number in it."""
        return self._rank

    def size(self) -> int:
        """How many processes there are."""
        return self._size

    def name(self) -> str:
        """The name of the backend."""
        return self.backends.get("cpu") or next(iter(self.backends.values()))

    def on(self, tensor: Any) -> Any:
        """What carries out collectives where a tensor is: this, or its counterpart on GPUs."""
        device = tensor.device
        if device.type not in self.backends:
            raise RuntimeError(f"No backend type associated with device type {device.type}")
        if device.type == "cpu":
            return self
        if device not in self._elsewhere:
            from .nccl import NcclGroup

            self._elsewhere[device] = NcclGroup(self, device)
        return self._elsewhere[device]

    @property
    def group_name(self) -> str:
        """Its own name."""
        return self._name

    # ---- Bytes, everybody to everybody; only from what `submit` carries out
    def exchange(self, data: Sequence[Any]) -> list[bytearray]:
        """Sends data[i] to process i; what each of them sent."""
        for i in range(1, self._size + 1):  # not all to the same one first
            peer = (self._rank + i) % self._size
            self.post(peer, data[peer])
        return [self.take(peer)[1] for peer in range(self._size)]

    def share(self, data: Any) -> list[bytearray]:
        """Everybody's data."""
        return self.exchange([data] * self._size)

    # ---- Tensors
    def reduce_all(self, tensor: Any, op: int) -> Any:
        """``tensor``, combined over all."""
        flat = tensor.detach().contiguous().view(-1)
        if self._size == 1:
            return tensor
        if flat.numel() * flat.element_size() <= _SMALL:
            parts = [tensor_of(d, flat) for d in self.share(bytes_of(flat))]
            result = combined(parts, op)
        else:
            chunks = flat.tensor_split(self._size)
            mine = chunks[self._rank]
            parts = [tensor_of(d, mine) for d in self.exchange([bytes_of(c) for c in chunks])]
            whole = self.share(bytes_of(combined(parts, op)))
            result = torch.cat([tensor_of(d, c) for d, c in zip(whole, chunks, strict=True)])
        return tensor.copy_(result.view(tensor.shape))

    def spread(self, tensor: Any, root: int) -> Any:
        """The root's tensor, in every process."""
        if self._rank == root:
            data = bytes_of(tensor.detach().contiguous())
            for peer in range(self._size):
                if peer != root:
                    self.post(peer, data)
            return tensor
        return tensor.copy_(tensor_of(self.take(root)[1], tensor))

    def gather_at(self, tensor: Any, root: int) -> list[Any] | None:
        """Everybody's tensor, at the root."""
        self.post(root, bytes_of(tensor.detach().contiguous()))
        if self._rank != root:
            return None
        return [tensor_of(self.take(peer)[1], tensor) for peer in range(self._size)]

    def reduce_at(self, tensor: Any, op: int, root: int) -> Any:
        """``tensor``, combined over all, at the root."""
        parts = self.gather_at(tensor, root)
        return tensor if parts is None else tensor.copy_(combined(parts, op))

    def reduce_each(self, output: Any, inputs: Sequence[Any], op: int) -> Any:
        """Everybody's i-th input, combined in process i's output."""
        parts = [torch.empty_like(output, memory_format=torch.contiguous_format) for _ in inputs]
        return output.copy_(combined(self.swap(parts, inputs), op))

    def scatter_from(self, tensor: Any, parts: Sequence[Any], root: int) -> Any:
        """The root's i-th part, in process i."""
        for peer, part in enumerate(parts):
            self.post(peer, bytes_of(part.detach().contiguous()))
        return tensor.copy_(tensor_of(self.take(root)[1], tensor))

    def send_to(self, tensor: Any, peer: int, tag: int) -> Work:
        """Sends a tensor."""
        work = Work()
        self.post(peer, bytes_of(tensor.detach().contiguous()), tag)
        work._finish([tensor], None)
        return work

    def batch(self, calls: Sequence[tuple[bool, Any, int, int]]) -> list[Work]:
        """Sends (True) and receives tensors: (which of them, tensor, peer, tag) each."""
        return [(self.send_to if sends else self.receive_from)(t, peer, tag)
                for sends, t, peer, tag in calls]  # fmt: skip

    def receive_from(self, tensor: Any, peer: int | None, tag: int) -> Work:
        """Receives a tensor from a process, or from any; the work's `source` tells from which."""

        def take() -> list[Any]:
            receipt.source, data = self.take(peer, tag)
            with torch.no_grad():
                return [tensor.copy_(tensor_of(data, tensor))]

        receipt: Any = _Receipt(lambda: self.mailbox.find(peer, tag) is not None, take)
        return receipt

    def gather_all(self, tensor: Any) -> list[Any]:
        """Everybody's tensor."""
        return [tensor_of(d, tensor) for d in self.share(bytes_of(tensor.detach().contiguous()))]

    def swap(self, outputs: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Process i gets inputs[i]; outputs[i] is from process i."""
        data = self.exchange([bytes_of(t.detach().contiguous()) for t in inputs])
        return [o.copy_(tensor_of(d, o)) for o, d in zip(outputs, data, strict=True)]
