"""What every test starts from: seeded numbers, default settings restored afterwards."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import taimatsu as torch

if "TAIMATSU_LIBCUDA" in os.environ:  # the double of CUDA's driver: tests/cuda
    sys.path.insert(0, str(Path(__file__).parent / "cuda"))
    import driver_double

    driver_double.follow_kernels()
if "TAIMATSU_TEST_DEVICE" not in os.environ:  # what another device than the CPU gives
    collect_ignore = ["ops/test_device.py"]


def pytest_collection_modifyitems(config, items):
    """What takes minutes runs where it is asked for, with `-m slow`, say; what compares with
    PyTorch where that is installed."""
    reasons = {}
    if "slow" not in config.getoption("markexpr"):
        reasons["slow"] = "takes minutes: run with -m slow"
    if find_spec("torch") is None:
        reasons["parity"] = "torch is not installed: run make parity"
    for item in items:
        for marker in reasons.keys() & item.keywords.keys():
            item.add_marker(pytest.mark.skip(reason=reasons[marker]))


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
