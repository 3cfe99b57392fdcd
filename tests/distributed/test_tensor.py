"""`distributed.tensor`: tensors that lie on several processes."""

from __future__ import annotations

import pytest

from tests.distributed.test_distributed import together


@pytest.mark.parametrize("function, size", [("moves", 4), ("ops", 2), ("parallel", 2)])
def test_processes(function, size):
    together(function, size, "tensor_workers")
