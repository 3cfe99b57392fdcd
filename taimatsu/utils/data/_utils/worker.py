"""Where PyTorch keeps what workers know of themselves, and how they seed NumPy."""

from __future__ import annotations

from .._fetch import WorkerInfo, get_worker_info

__all__ = ["WorkerInfo", "get_worker_info"]


def _generate_state(base_seed: int, worker_id: int) -> list[int]:
    """Four words for NumPy's generator: of the worker's number and the two halves of the seed."""
    import numpy as np

    entropy = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    return np.random.SeedSequence(entropy).generate_state(4).tolist()
