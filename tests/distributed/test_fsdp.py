"""`distributed.fsdp`: parameters that are divided among processes."""

from __future__ import annotations

import pytest

from tests.distributed.test_distributed import together


@pytest.mark.parametrize("function, size", [("sharded", 3), ("hybrid", 4), ("wrapped", 2)])
def test_processes(function, size):
    together(function, size, "fsdp_workers")
