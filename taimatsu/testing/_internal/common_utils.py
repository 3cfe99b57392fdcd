"""A `unittest.TestCase` that compares tensors, and what programs of tests ask of the platform."""

from __future__ import annotations

import contextlib
import random
import sys
import unittest
from collections.abc import Iterator
from typing import Any

import taimatsu as torch
from taimatsu.testing import assert_close, make_tensor

__all__ = [
    "IS_LINUX", "IS_MACOS", "IS_WINDOWS", "TEST_CUDA", "TestCase", "freeze_rng_state",
    "make_tensor", "run_tests", "set_default_dtype",
]  # fmt: skip

IS_WINDOWS, IS_MACOS, IS_LINUX = (sys.platform == p for p in ("win32", "darwin", "linux"))
TEST_CUDA = torch.cuda.is_available()


class TestCase(unittest.TestCase):
    """A test case whose `assertEqual` takes tensors, numbers and containers of them, each within a
    tolerance; every test begins with the same random numbers."""

    precision: float = 0.0  # the least tolerance, where none is given
    rel_tol: float = 0.0

    def setUp(self) -> None:
        torch.manual_seed(1234)
        random.seed(1234)

    def assertEqual(
        self, x: Any, y: Any, msg: Any = None, *, atol: float | None = None,
        rtol: float | None = None, equal_nan: bool = True, exact_dtype: bool = True,
        exact_device: bool = False, exact_layout: bool = False, exact_stride: bool = False,
    ) -> None:  # fmt: skip
        """AssertionError unless ``x`` and ``y`` are equal, or close where they hold numbers."""
        if not _has_numbers(x) or not _has_numbers(y):
            return super().assertEqual(x, y, msg)
        if atol is None and rtol is None and (self.precision or self.rel_tol):
            atol, rtol = self.precision, self.rel_tol
        elif (atol is None) != (rtol is None):
            atol, rtol = atol or 0.0, rtol or 0.0
        assert_close(
            x, y, atol=atol, rtol=rtol, equal_nan=equal_nan, check_dtype=exact_dtype,
            check_device=exact_device, check_layout=exact_layout, check_stride=exact_stride,
            msg=msg,
        )  # fmt: skip

    def assertNotEqual(  # type: ignore[override]
        self, x: Any, y: Any, msg: Any = None, **options: Any
    ) -> None:
        """AssertionError if ``x`` and ``y`` are equal, as `assertEqual` sees it."""
        with self.assertRaises(AssertionError, msg=msg):
            self.assertEqual(x, y, **options)


def _has_numbers(x: Any) -> bool:
    if isinstance(x, dict):
        return all(map(_has_numbers, x.values()))
    if isinstance(x, (list, tuple)):
        return all(map(_has_numbers, x))
    return isinstance(x, (torch.Tensor, int, float, complex)) or hasattr(x, "__array__")


@contextlib.contextmanager
def set_default_dtype(dtype: Any) -> Iterator[None]:
    """A context with another default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def freeze_rng_state() -> Iterator[None]:
    """A context after which random numbers go on from where they were before."""
    with torch.random.fork_rng(devices=[]):
        yield


def run_tests(argv: list[str] | None = None) -> None:
    """Runs the tests of the calling program."""
    unittest.main(argv=argv)
