"""The cache of compiled kernels, as bytes: see `save_cache_artifacts`."""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from dataclasses import dataclass, field

from taimatsu.codegen.cache import cache

__all__ = ["CacheInfo", "packed", "unpacked"]

_KEY = re.compile(r"[0-9a-f]{2,128}")


@dataclass
class CacheInfo:
    """The keys of what was packed or unpacked."""

    artifacts: list[str] = field(default_factory=list)


def packed() -> tuple[bytes, CacheInfo] | None:
    """The files of the cache, and their keys."""
    folder = cache().directory
    info, data = CacheInfo(), io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for parent, _, names in os.walk(folder or os.devnull):
            for key in sorted(filter(_KEY.fullmatch, names)):
                archive.write(os.path.join(parent, key), key)
                info.artifacts.append(key)
    return (data.getvalue(), info) if info.artifacts else None


def unpacked(data: bytes) -> CacheInfo | None:
    """Puts files into the cache: those that are whole and aren't there. Kernels are machine code;
    take them only from where you trust."""
    info = CacheInfo()
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        return None
    place = cache()
    with archive:
        for key in archive.namelist():
            if not _KEY.fullmatch(key) or place.directory is None:
                continue
            content = archive.read(key)
            if hashlib.sha256(content[32:]).digest() != content[:32]:
                continue
            if not os.path.exists(place.path(key)):
                place._place(key, lambda path, content=content: _write(path, content))
            info.artifacts.append(key)
    return info


def _write(path: str, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
