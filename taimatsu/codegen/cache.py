"""What compiling gives, on disk, and the state that all of code generation shares.

A file is a digest of the rest, the length of the description, the description (JSON) and the
machine code. Whatever is wrong with it, it is made again. This module imports little (of the
standard library too): where all kernels are there already, nothing else of code generation has to
be.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import threading
import typing
from functools import lru_cache
from importlib.util import find_spec

from taimatsu import _forks

from . import image


class Loaded(typing.NamedTuple):
    """What the core is told about a kernel; see docs/layout.md."""

    address: int
    finish_address: int
    parallel: tuple[int, ...]
    scratch_bytes_per_row_element: int
    state_bytes: int


class Statistics:
    """Counts since the process began. `compile_ms` is rendering and LLVM, without cache hits."""

    def __init__(
        self, kernels: int = 0, compiled: int = 0, cache_hits: int = 0, compile_ms: float = 0.0
    ):
        self.kernels, self.compiled, self.cache_hits = kernels, compiled, cache_hits
        self.compile_ms = compile_ms

    def __repr__(self) -> str:
        return f"Statistics({', '.join(f'{k}={v}' for k, v in vars(self).items())})"


lock = _forks.guard(threading.RLock())
counts = Statistics()


def statistics() -> Statistics:
    """A copy of the counts.

    >>> statistics().kernels >= 0
    True
    """
    with lock:
        return Statistics(**vars(counts))


class Cache:
    def __init__(self, directory: str | None) -> None:
        self.directory = directory

    @staticmethod
    def default() -> Cache:
        """Where `TAIMATSU_CACHE` says; empty switches the cache off."""
        place = os.environ.get("TAIMATSU_CACHE")
        if place == "":
            return Cache(None)
        home = os.path.expanduser("~")
        if not place and home == "~":  # there is none
            return Cache(None)
        return Cache(place or os.path.join(home, ".cache", "taimatsu"))

    def path(self, key: str) -> str:
        assert self.directory is not None
        return os.path.join(self.directory, key[:2], key)

    def get(self, key: str) -> tuple[dict, bytes] | None:
        if self.directory is None:
            return None
        try:
            with open(self.path(key), "rb", 0) as f:
                data = f.read()
            body = memoryview(data)[32:]
            if hashlib.sha256(body).digest() != data[:32]:
                return None
            (n,) = struct.unpack("<I", body[:4])
            return json.loads(bytes(body[4 : 4 + n])), bytes(body[4 + n :])
        except (OSError, ValueError, struct.error):
            return None

    def put(self, key: str, description: dict, code: bytes = b"") -> None:
        """Written beside its place and renamed: another process sees all of it or nothing."""
        text = json.dumps(description).encode()
        body = struct.pack("<I", len(text)) + text + code

        def write(path: str) -> None:
            with open(path, "xb") as f:
                f.write(hashlib.sha256(body).digest() + body)

        self._place(key, write)

    def alias(self, key: str, other: str) -> None:
        """Another key for what is there."""
        self._place(key, lambda path: os.link(self.path(other), path))

    def _place(self, key: str, make) -> None:
        if self.directory is None:
            return
        path = self.path(key)
        temporary = f"{path}.{os.getpid()}.{threading.get_ident()}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            make(temporary)
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


@lru_cache(maxsize=1)
def cache() -> Cache:
    """The process' cache."""
    return Cache.default()


def kernel(description: dict, code: bytes) -> Loaded | None:
    """Puts a kernel from the cache into memory; None if it has to be linked."""
    entries = description.get("entries")
    base = image.load(code) if entries else None
    if base is None:
        return None
    address, finish = (base + e for e in (*entries, *entries)[:2])
    return Loaded(
        address,
        finish if description["finish"] else 0,
        tuple(description["parallel"]),
        description["scratch"],
        description["state"],
    )


_CPU = ("vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features")


@lru_cache(maxsize=1)
def hardware() -> bytes | None:
    """What of this machine and of LLVM kernels depend on; None where only LLVM could tell."""
    spec = find_spec("llvmlite")
    try:
        with open("/proc/cpuinfo") as f:
            first = f.read().partition("\n\n")[0]
        assert spec is not None and spec.origin is not None
        folder = os.path.dirname(spec.origin)
        with open(os.path.join(folder, "_version.py")) as f:
            version = f.read()
    except (OSError, AssertionError):
        return None
    lines = (line for line in first.splitlines() if line.partition(":")[0].strip() in _CPU)
    return "\n".join((*lines, version)).encode()
