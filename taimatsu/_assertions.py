"""Assertions that PyTorch offers beside Python's: ``torch._assert`` and ``torch._check``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _core
from ._overridable import overridable

__all__ = ["_assert", "_assert_async", "_check", "_check_index", "_check_is_size",
           "_check_not_implemented", "_check_tensor_all", "_check_tensor_all_with",
           "_check_type", "_check_value", "_check_with"]  # fmt: skip


@overridable
def _assert(condition: Any, message: str) -> None:
    """AssertionError with this message unless the condition, a bool or a tensor of one, holds."""
    if not condition:
        raise AssertionError(message)


def _assert_async(condition: Any, message: str = "") -> None:
    """RuntimeError unless the tensor's one element isn't zero."""
    if not condition:
        raise RuntimeError(message or "Expected Tensor with single nonzero value, but got zero")


def _check_with(error: type[Exception], cond: bool, message: Callable[[], Any] | None) -> None:
    """Raises ``error`` with ``message()`` unless the condition holds."""
    if not isinstance(cond, bool) and not isinstance(cond, _core.Tensor):
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if not cond:
        raise error(str(message()) if message is not None else "Expected cond to be True")


def _check(cond: bool, message: Callable[[], Any] | None = None) -> None:
    """RuntimeError unless it holds."""
    _check_with(RuntimeError, cond, message)


def _check_index(cond: bool, message: Callable[[], Any] | None = None) -> None:
    """IndexError unless it holds."""
    _check_with(IndexError, cond, message)


def _check_value(cond: bool, message: Callable[[], Any] | None = None) -> None:
    """ValueError unless it holds."""
    _check_with(ValueError, cond, message)


def _check_type(cond: bool, message: Callable[[], Any] | None = None) -> None:
    """TypeError unless it holds."""
    _check_with(TypeError, cond, message)


def _check_not_implemented(cond: bool, message: Callable[[], Any] | None = None) -> None:
    """NotImplementedError unless it holds."""
    _check_with(NotImplementedError, cond, message)


def _check_is_size(i: int, message: Callable[[], Any] | None = None, *, max: Any = None) -> None:
    """RuntimeError for a negative number, or one above ``max``."""
    _check(i >= 0 and (max is None or i <= max), message)


def _check_tensor_all_with(
    error_type: type[Exception], cond: _core.Tensor, message: Callable[[], Any] | None = None
) -> None:
    """Raises ``error_type`` with ``message()`` unless all elements of a tensor of bools hold."""
    if not isinstance(cond, _core.Tensor):
        raise TypeError(f"cond must be a tensor, but got {type(cond)}")
    if cond.dtype != _core.bool:
        raise TypeError(f"cond tensor must have dtype torch.bool, but got {cond.dtype}")
    _check_with(error_type, bool(cond.all()), message)


def _check_tensor_all(cond: _core.Tensor, message: Callable[[], Any] | None = None) -> None:
    """RuntimeError unless all elements hold."""
    _check_tensor_all_with(RuntimeError, cond, message)
