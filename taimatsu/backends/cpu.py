"""``backends.cpu``: the vector instructions that kernels use."""

from __future__ import annotations

__all__ = ["get_cpu_capability"]


def get_cpu_capability() -> str:
    """ "AVX512", "AVX2" or "DEFAULT"."""
    from taimatsu.cpu import get_capabilities

    there = get_capabilities()
    if there.get("avx512f"):
        return "AVX512"
    return "AVX2" if there.get("avx2") else "DEFAULT"
