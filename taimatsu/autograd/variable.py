"""``Variable``: what a tensor that requires grad was called before PyTorch 0.4."""

from __future__ import annotations

from typing import Any

from taimatsu import _core
from taimatsu._core import Tensor

__all__ = ["Variable"]


class _Engine:
    """What is left of the old engine object that programs reach through ``Variable``."""

    queue_callback = staticmethod(_core.queue_callback)

    @staticmethod
    def is_checkpoint_valid() -> bool:
        return True


class _VariableMeta(type):
    def __instancecheck__(cls, other: Any) -> bool:
        return isinstance(other, Tensor)


class Variable(metaclass=_VariableMeta):
    """``Variable(data, requires_grad=False)`` gives a tensor of the same memory as ``data``."""

    _execution_engine = _Engine()

    def __new__(cls, data: Tensor, requires_grad: bool = False) -> Tensor:  # type: ignore[misc]
        return data.detach().requires_grad_(requires_grad)
