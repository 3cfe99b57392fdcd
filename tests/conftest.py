"""What every test starts from: seeded numbers, default settings restored afterwards."""

from __future__ import annotations

import pytest

import taimatsu as torch


@pytest.fixture(autouse=True)
def _fresh_settings():
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.manual_seed(0)
    yield
    if torch.get_default_dtype() != dtype:
        torch.set_default_dtype(dtype)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
