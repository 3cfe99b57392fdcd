"""Tests of CUDA, which need a driver: NVIDIA's, or the double that is built from double/*.c.

A process keeps the driver that it has found, and the rest of the suite is about machines without
one. So only `test_double.py` is collected there, which runs the other files on the double, in
processes of their own; and `test_absent.py`. To run one by hand:

    TAIMATSU_LIBCUDA=$(python tests/cuda/driver_double.py) pytest tests/cuda/test_streams.py
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import driver_double  # noqa: E402

WITHOUT_DRIVER = {"test_double.py", "test_absent.py", "test_hardware.py"}

if "TAIMATSU_LIBCUDA" in os.environ:
    collect_ignore = ["test_double.py", "test_absent.py"]
else:
    collect_ignore = [f.name for f in HERE.glob("test_*.py") if f.name not in WITHOUT_DRIVER]


@pytest.fixture
def double():
    """The double, to be asked and told."""
    known = driver_double.double()
    if known is None:
        pytest.skip("needs the double of the driver")
    return known


@pytest.fixture(autouse=True)
def _no_violation():
    """What a program mustn't do to a driver, and the double has seen, fails the test."""
    known = driver_double.double()
    yield
    if known is None:
        return
    import taimatsu as torch

    gc.collect()
    known.recover()
    torch.cuda.set_device(0)
    for d in range(torch.cuda.device_count()):
        torch.cuda.synchronize(d)
    assert known.violation() == ""
