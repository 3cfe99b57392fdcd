"""Arithmetic as modules, so that a conversion finds it."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.nn import Identity, Module

__all__ = ["FXFloatFunctional", "FloatFunctional", "QFunctional"]


class _Arithmetic(Module):
    """The operations, whose results ``_finished`` receives."""

    def _finished(self, result: Tensor) -> Tensor:
        return result

    def _operand(self, x: Any) -> Any:
        return x

    def forward(self, x: Any) -> Any:
        """RuntimeError: call an operation."""
        name = type(self).__name__
        raise RuntimeError(
            f"{name} is not intended to use the 'forward'. Please use the underlying operation"
        )

    def add(self, x: Any, y: Any) -> Tensor:
        """x + y."""
        return self._finished(self._operand(x) + self._operand(y))

    def add_scalar(self, x: Any, y: float) -> Tensor:
        """x + y, y a number."""
        return self._finished(self._operand(x) + y)

    def mul(self, x: Any, y: Any) -> Tensor:
        """x * y."""
        return self._finished(self._operand(x) * self._operand(y))

    def mul_scalar(self, x: Any, y: float) -> Tensor:
        """x * y, y a number."""
        return self._finished(self._operand(x) * y)

    def matmul(self, x: Any, y: Any) -> Tensor:
        """x @ y."""
        return self._finished(self._operand(x) @ self._operand(y))

    def add_relu(self, x: Any, y: Any) -> Tensor:
        """relu(x + y)."""
        return self._finished(torch.relu(self._operand(x) + self._operand(y)))

    def cat(self, x: Any, dim: int = 0) -> Tensor:
        """`taimatsu.cat`."""
        return self._finished(torch.cat([self._operand(t) for t in x], dim))


class FloatFunctional(_Arithmetic):
    """Sums and products of a model that may be quantized: of floating-point tensors, as they are.

    Each result goes through ``activation_post_process``, where observers are put.
    """

    def __init__(self) -> None:
        super().__init__()
        self.activation_post_process = Identity()

    def _finished(self, result: Tensor) -> Tensor:
        return self.activation_post_process(result)


class FXFloatFunctional(_Arithmetic):
    """The same without observers: for graphs, in which the operations are nodes."""


class QFunctional(_Arithmetic):
    """Sums and products of quantized tensors; results have the scale and zero point given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.zero_point = 1.0, 0
        self.activation_post_process = Identity()

    def _operand(self, x: Any) -> Any:
        return x.dequantize() if isinstance(x, Tensor) else x

    def _finished(self, result: Tensor) -> Tensor:
        q = torch.quantize_per_tensor(result, self.scale, self.zero_point, torch.quint8)
        return self.activation_post_process(q)

    def add_scalar(self, x: Any, y: float) -> Tensor:
        """x + y, on the grid of x moved by y."""
        scale, zero_point = x.q_scale(), x.q_zero_point()
        return self._shifted(x, self._operand(x) + y, scale, zero_point - round(y / scale))

    def mul_scalar(self, x: Any, y: float) -> Tensor:
        """x * y, on the grid of x scaled by y."""
        scale = x.q_scale() * abs(y) or x.q_scale()
        limits = torch.iinfo(torch.uint8)
        zero_point = x.q_zero_point() if y >= 0 else limits.max - x.q_zero_point()
        return self._shifted(x, self._operand(x) * y, scale, zero_point)

    def _shifted(self, x: Any, result: Tensor, scale: float, zero_point: int) -> Tensor:
        zero_point = min(max(zero_point, 0), 255)
        q = torch.quantize_per_tensor(result, scale, zero_point, x.dtype)
        return self.activation_post_process(q)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> QFunctional:
        """Of a `FloatFunctional` whose results were observed."""
        made = cls()
        scale, zero_point = mod.activation_post_process.calculate_qparams()
        made.scale, made.zero_point = float(scale), int(zero_point)
        return made

    def _get_name(self) -> str:
        return "QFunctional"

    def extra_repr(self) -> str:
        """The grid of results."""
        return f"scale={self.scale}, zero_point={self.zero_point}"

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "scale"] = torch.tensor(self.scale)
        destination[prefix + "zero_point"] = torch.tensor(self.zero_point)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        self.scale = float(state_dict.pop(prefix + "scale"))
        self.zero_point = int(state_dict.pop(prefix + "zero_point"))
        super()._load_from_state_dict(state_dict, prefix, *args)
