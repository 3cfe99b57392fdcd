"""How processes find one another: by an address in the environment, a host, or a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlparse

from .store import DEFAULT_TIMEOUT, FileStore, Store, TCPStore

__all__ = ["register_rendezvous_handler", "rendezvous"]

_handlers: dict[str, Callable[..., Iterator[tuple[Store, int, int]]]] = {}


def register_rendezvous_handler(scheme: str, handler: Callable) -> None:
    """Adds a way: ``handler(url, timeout=...)`` yields (store, rank, world size)."""
    if scheme in _handlers:
        raise RuntimeError(f"Rendezvous handler for {scheme}:// already registered")
    _handlers[scheme] = handler


def rendezvous(url: str, rank: int = -1, world_size: int = -1, **options: Any) -> Iterator:
    """Yields (store, rank, world size) for a URL such as ``env://`` or ``tcp://host:port``."""
    parts = urlparse(url)
    given = {k: int(v[0]) for k, v in parse_qs(parts.query).items()}
    if rank >= 0:
        given["rank"] = rank
    if world_size > 0:
        given["world_size"] = world_size
    if parts.scheme not in _handlers:
        raise RuntimeError(f"No rendezvous handler for {parts.scheme}://")
    query = "&".join(f"{k}={v}" for k, v in given.items())
    return _handlers[parts.scheme](parts._replace(query=query).geturl(), **options)


def _asked(url: str, name: str) -> int | None:
    found = parse_qs(urlparse(url).query).get(name)
    return int(found[0]) if found else None


def _missing(way: str, what: str) -> ValueError:
    return ValueError(f"Error initializing torch.distributed using {way}:// rendezvous: {what}")


def _tcp(url: str, timeout: timedelta = DEFAULT_TIMEOUT, **options: Any) -> Iterator:
    parts, rank, size = urlparse(url), _asked(url, "rank"), _asked(url, "world_size")
    if parts.port is None:
        raise _missing("tcp", "port number missing")
    if rank is None:
        raise _missing("tcp", "rank parameter missing")
    if size is None:
        raise _missing("tcp", "world size parameter missing")
    yield _served(parts.hostname or "", parts.port, rank, timeout), rank, size


def _served(host: str, port: int, rank: int, timeout: timedelta) -> TCPStore:
    # A launcher may serve the store itself.
    launched = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return TCPStore(host, port, None, rank == 0 and not launched, timeout)


def _env(url: str, timeout: timedelta = DEFAULT_TIMEOUT, **options: Any) -> Iterator:
    def env(name: str) -> str:
        value = os.environ.get(name)
        if value is None:
            raise _missing("env", f"environment variable {name} expected, but not set")
        return value

    rank, size = _asked(url, "rank"), _asked(url, "world_size")
    rank = int(env("RANK")) if rank is None else rank
    size = int(env("WORLD_SIZE")) if size is None else size
    yield _served(env("MASTER_ADDR"), int(env("MASTER_PORT")), rank, timeout), rank, size


def _file(url: str, **options: Any) -> Iterator:
    parts, rank, size = urlparse(url), _asked(url, "rank"), _asked(url, "world_size")
    if not parts.path:
        raise _missing("file", "path missing")
    if rank is None:
        raise _missing("file", "rank parameter missing")
    if size is None:
        raise _missing("file", "world size parameter missing")
    yield FileStore(parts.path, size), rank, size


_handlers |= {"tcp": _tcp, "env": _env, "file": _file}
