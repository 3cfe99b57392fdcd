"""Stores: what processes tell one another before they are connected, as keys and bytes."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

__all__ = [
    "DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "FileStore",
    "HashStore", "PrefixStore", "Store", "TCPStore",
]  # fmt: skip

DEFAULT_TIMEOUT = timedelta(seconds=300)
Bytes = str | bytes


class DistError(RuntimeError):
    """An error of `taimatsu.distributed`."""


class DistBackendError(DistError):
    """An error of a process group's connections."""


class DistNetworkError(DistError):
    """An error of the network."""


class DistStoreError(DistError):
    """An error of a store, such as a key that nobody set in time."""


def _encoded(value: Bytes) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


class Store:
    """Keys and their values, shared by processes. A subclass gives `_change`."""

    def __init__(self, timeout: timedelta = DEFAULT_TIMEOUT):
        self._timeout = timeout

    @property
    def timeout(self) -> timedelta:
        """How long `get` and `wait` wait for a key."""
        return self._timeout

    def set_timeout(self, timeout: timedelta) -> None:
        """Sets it."""
        self._timeout = timeout

    def _change(self, change: Callable[[dict[str, bytes]], Any], until: float | None = None) -> Any:
        """What ``change`` makes of the entries; with a deadline, once that isn't None."""
        raise NotImplementedError

    def _request(self, name: str, key: str, values: Sequence[bytes], wait: float | None) -> Any:
        until = None if wait is None else time.monotonic() + wait
        return self._change(lambda entries: OPERATIONS[name](entries, key, *values), until)

    def _waited(self, name: str, keys: list[str], timeout: timedelta | None) -> Any:
        seconds = (timeout or self._timeout).total_seconds()
        found = self._request(name, "\n".join(keys), (), seconds)
        if found is None:
            raise DistStoreError(
                f"wait timeout after {seconds * 1000:.0f}ms, keys: /{', /'.join(keys)}"
            )
        return found

    def set(self, key: str, value: Bytes) -> None:
        """Gives a key its value."""
        self._request("set", key, (_encoded(value),), None)

    def get(self, key: str) -> bytes:
        """A key's value, once it is set. `DistStoreError` if it isn't in time."""
        return self._waited("get", [key], None)

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """Waits for keys to be set. `DistStoreError` if they aren't in time."""
        self._waited("wait", keys, timeout)

    def check(self, keys: list[str]) -> bool:
        """Whether all of the keys are set."""
        return self._request("wait", "\n".join(keys), (), None) is not None

    def add(self, key: str, amount: int) -> int:
        """Adds to a key's number, at first 0; the sum."""
        return int(self._request("add", key, (str(amount).encode(),), None))

    def append(self, key: str, value: Bytes) -> None:
        """Lengthens a key's value."""
        self._request("append", key, (_encoded(value),), None)

    def compare_set(self, key: str, expected_value: Bytes, desired_value: Bytes) -> bytes:
        """Sets a key that has the expected value, or none if that is empty; its value then."""
        values = (_encoded(expected_value), _encoded(desired_value))
        return self._request("compare_set", key, values, None)

    def delete_key(self, key: str) -> bool:
        """Forgets a key; whether there was one."""
        return self._request("delete", key, (), None) == b"1"

    def num_keys(self) -> int:
        """How many are set."""
        return int(self._request("count", "", (), None))

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """`get` of several."""
        return [self.get(k) for k in keys]

    def multi_set(self, keys: list[str], values: list[Bytes]) -> None:
        """`set` of several."""
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)


def _append(entries: dict[str, bytes], key: str, value: bytes) -> bytes:
    entries[key] = entries.get(key, b"") + value
    return b""


def _add(entries: dict[str, bytes], key: str, amount: bytes) -> bytes:
    entries[key] = str(int(entries.get(key, b"0")) + int(amount)).encode()
    return entries[key]


def _compare_set(entries: dict[str, bytes], key: str, expected: bytes, desired: bytes) -> bytes:
    if entries.get(key, b"") == expected:
        entries[key] = desired
    return entries.get(key, expected)


# Each gives bytes; None: not yet.
OPERATIONS: dict[str, Callable[..., bytes | None]] = {
    "set": lambda entries, key, value: entries.update({key: value}) or b"",
    "get": lambda entries, key: entries.get(key),
    "wait": lambda entries, keys: b"" if all(k in entries for k in keys.split("\n")) else None,
    "add": _add,
    "append": _append,
    "compare_set": _compare_set,
    "delete": lambda entries, key: b"1" if entries.pop(key, None) is not None else b"0",
    "count": lambda entries, key: str(len(entries)).encode(),
}


class HashStore(Store):
    """A store of the threads of one process."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def _change(self, change: Callable, until: float | None = None) -> Any:
        with self._changed:
            while (found := change(self._entries)) is None and until is not None:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            self._changed.notify_all()
            return found


class FileStore(Store):
    """A store in a file that the processes share."""

    def __init__(self, file_name: str, world_size: int = -1):
        super().__init__()
        self.path = os.fspath(file_name)

    @contextmanager
    def _locked(self):
        import fcntl

        with open(self.path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            yield file

    def _change(self, change: Callable, until: float | None = None) -> Any:
        while True:
            with self._locked() as file:
                text = file.read()
                before = {k: bytes.fromhex(v) for k, v in json.loads(text or b"{}").items()}
                entries = dict(before)
                found = change(entries)
                if entries != before:
                    file.truncate(0)
                    file.write(json.dumps({k: v.hex() for k, v in entries.items()}).encode())
            if found is not None or until is None or time.monotonic() > until:
                return found
            time.sleep(0.01)


class PrefixStore(Store):
    """Another store's keys that begin with a prefix."""

    def __init__(self, prefix: str, store: Store):
        super().__init__(store.timeout)
        self.prefix, self.underlying_store = prefix, store

    def _request(self, name: str, key: str, values: Sequence[bytes], wait: float | None) -> Any:
        keys = "\n".join(f"{self.prefix}/{k}" for k in key.split("\n"))
        return self.underlying_store._request(name, keys, values, wait)


# ---- Over the network ---------------------------------------------------------------------------
def receive(connection: socket.socket, size: int) -> bytearray:
    """Exactly so many bytes; ConnectionError if the other side is gone."""
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        n = connection.recv_into(view[done:])
        if not n:
            raise ConnectionError("Connection closed by peer")
        done += n
    return data


def _send(connection: socket.socket, parts: Sequence[bytes]) -> None:
    sizes = struct.pack(f"<{len(parts) + 1}q", len(parts), *map(len, parts))
    connection.sendall(b"".join((sizes, *parts)))


def _receive(connection: socket.socket) -> list[bytes]:
    (count,) = struct.unpack("<q", receive(connection, 8))
    if not 0 <= count <= 8:
        raise ConnectionError("not a store's message")
    sizes = struct.unpack(f"<{count}q", receive(connection, 8 * count))
    return [bytes(receive(connection, n)) for n in sizes]


class TCPStore(Store):
    """A store in one process, which serves it to the others.

    ``is_master``: this is the one. ``port``: 0 finds a free one, `port` tells which.
    ``wait_for_workers``: wait for ``world_size`` processes. `DistNetworkError` if it can't be
    reached in time.
    """

    def __init__(
        self, host_name: str, port: int, world_size: int | None = None, is_master: bool = False,
        timeout: timedelta = DEFAULT_TIMEOUT, wait_for_workers: bool = True,
        multi_tenant: bool = False, master_listen_fd: int | None = None, use_libuv: bool = True,
    ):  # fmt: skip
        super().__init__(timeout)
        self.host, self._port = host_name, port
        self._connections = threading.local()
        self._entries = HashStore() if is_master else None
        if self._entries is not None:
            self._listener = socket.create_server(
                ("", port), family=socket.AF_INET, reuse_port=False, backlog=512
            ) if master_listen_fd is None else socket.socket(fileno=master_listen_fd)  # fmt: skip
            self._port = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, daemon=True).start()
        connection = self._connection()
        self.local_address = connection.getsockname()[0]
        if wait_for_workers and world_size:
            here = self.add("taimatsu/workers", 1)
            if here == world_size:
                self.set("taimatsu/all", b"")
            self.wait(["taimatsu/all"])

    @property
    def port(self) -> int:
        """Where it is served."""
        return self._port

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        assert self._entries is not None
        try:
            with connection:
                while True:
                    name, key, wait, *values = _receive(connection)
                    seconds = float(wait) if wait else None
                    found = self._entries._request(name.decode(), key.decode(), values, seconds)
                    _send(connection, [] if found is None else [found])
        except (OSError, ConnectionError, ValueError, KeyError, TypeError):
            return  # that process is gone, or no store's client

    def _connection(self) -> socket.socket:
        connection = getattr(self._connections, "socket", None)
        until = time.monotonic() + self._timeout.total_seconds()
        while connection is None:
            try:
                connection = socket.create_connection((self.host, self._port), timeout=5)
                connection.settimeout(None)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.socket = connection
            except OSError as error:
                if time.monotonic() > until:
                    raise DistNetworkError(
                        f"The client socket has failed to connect to {self.host}:{self._port}: "
                        f"{error}"
                    ) from error
                time.sleep(0.05)
        return connection

    def _request(self, name: str, key: str, values: Sequence[bytes], wait: float | None) -> Any:
        connection = self._connection()
        limit = b"" if wait is None else str(wait).encode()
        try:
            _send(connection, (name.encode(), key.encode(), limit, *values))
            found = _receive(connection)
        except (OSError, ConnectionError) as error:
            self._connections.socket = None
            raise DistNetworkError(f"the store's process is gone: {error}") from error
        return found[0] if found else None
