"""``ao.nn.quantized.dynamic``: modules with quantized weights, of floating-point tensors.

What they are given is quantized by its own range, at each call; results are floating-point.
"""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor, nn
from taimatsu.nn import functional as F

from . import layers

__all__ = ["GRU", "LSTM", "GRUCell", "LSTMCell", "Linear", "RNNCell"]


def _rounded(x: Tensor) -> Tensor:
    """x on the grid of its own range, with 7 bits."""
    return torch.quantize_per_tensor_dynamic(x, torch.quint8, reduce_range=True).dequantize()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if weight.dtype is torch.float16:
        return F.linear(x, weight.float(), bias)
    return F.linear(_rounded(x), weight.dequantize(), bias)


def _weights_of(mod: Any, names: list[str]) -> tuple[dict[str, Any], Any]:
    """The quantized weights of a recurrent module, and their dtype."""
    held: dict[str, Any] = {}
    dtype = None
    for name in names:
        value = getattr(mod, name, None)
        if value is None:
            held[name] = None
        elif name.startswith("bias"):
            held[name] = value.detach().clone()
        else:
            observer = mod.qconfig.weight()
            observer(value.detach())
            held[name] = layers.quantize_weight(value, observer)
            dtype = observer.dtype
    return held, dtype


class Linear(layers.Linear):
    """`nn.Linear` with a quantized weight, of floating-point tensors.

    >>> m = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 2)), {nn.Linear})
    >>> m[0]
    DynamicQuantizedLinear(in_features=4, out_features=2, dtype=torch.qint8, qscheme=torch.per_tensor_affine)
    """  # noqa: E501

    def forward(self, x: Tensor) -> Tensor:
        y = _product(x, *self._weight_bias()).to(x.dtype)
        return F.relu(y) if self._relu else y

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        """Of `nn.Linear` with a dynamic ``qconfig``."""
        inner, weight = layers._converted(mod)
        made = cls(inner.in_features, inner.out_features, dtype=weight.dtype)
        made.set_weight_bias(weight, inner.bias)
        return made

    def _get_name(self) -> str:
        return f"DynamicQuantized{type(self).__name__}"

    def extra_repr(self) -> str:
        """Sizes, and how the weight is quantized."""
        dtype = self._packed_params.dtype
        scheme = "" if dtype is torch.float16 else f", qscheme={self.weight().qscheme()}"
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, dtype={dtype}{scheme}"


class _Recurrent(nn.Module):
    """What recurrent modules share: quantized weights by the names of the float module's."""

    _FLOAT_MODULE: type[nn.Module]
    _weights: dict[str, Any]

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        """Of the floating-point module, with a dynamic ``qconfig``."""
        names = [n for n, _ in mod.named_parameters(recurse=False)]
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        for name, value in mod.__dict__.items():
            if not name.startswith("_") and name not in ("training", "qconfig"):
                setattr(made, name, value)
        made._weights, made.dtype = _weights_of(mod, names)
        return made.train(mod.training)

    def _gates(self, x: Tensor, kind: str, suffix: str) -> Tensor:
        weight = self._weights[f"weight_{kind}{suffix}"]
        return _product(x, weight, self._weights.get(f"bias_{kind}{suffix}"))

    def _get_name(self) -> str:
        return f"DynamicQuantized{type(self).__name__}"

    def extra_repr(self: Any) -> str:
        """The float module's."""
        return self._FLOAT_MODULE.extra_repr(self)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update({prefix + k: v for k, v in self._weights.items() if v is not None})

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name in self._weights:
            self._weights[name] = state_dict.pop(prefix + name, self._weights[name])
        super()._load_from_state_dict(state_dict, prefix, *args)


def _lstm_step(x_gates: Tensor, h_gates: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = (x_gates + h_gates).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru_step(x_gates: Tensor, h_gates: Tensor, h: Tensor) -> Tensor:
    xr, xz, xn = x_gates.chunk(3, -1)
    hr, hz, hn = h_gates.chunk(3, -1)
    r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    n = (xn + r * hn).tanh()
    return (h - n) * z + n


class _RNNBase(_Recurrent):
    """Several layers, in one direction or both."""

    def forward(self: Any, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        x = input.transpose(0, 1) if self.batch_first else input  # (time, batch, features)
        ways = 2 if self.bidirectional else 1
        states = self._initial(x, hx, self.num_layers * ways)
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            outputs = []
            for way in range(ways):
                suffix = f"_l{layer}{'_reverse' if way else ''}"
                state = tuple(s[layer * ways + way] for s in states)
                gates = self._gates(x, "ih", suffix)
                steps = []
                times = range(x.shape[0])
                for t in reversed(times) if way else times:
                    h_gates = self._gates(state[0], "hh", suffix)
                    state = self._step(gates[t], h_gates, *state)
                    steps.append(state[0])
                outputs.append(torch.stack(steps[::-1] if way else steps))
                last.append(state)
            x = torch.cat(outputs, -1)
            if self.dropout and self.training and layer + 1 < self.num_layers:
                x = F.dropout(x, self.dropout)
        found = tuple(torch.stack(parts) for parts in zip(*last, strict=True))
        result = x.transpose(0, 1) if self.batch_first else x
        return result, found if len(found) > 1 else found[0]

    _count = 1  # of tensors in the state

    def _initial(self: Any, x: Tensor, hx: Any, layers: int) -> tuple[Tensor, ...]:
        if hx is None:
            zeros = torch.zeros(layers, x.shape[1], self.hidden_size, dtype=x.dtype)
            return (zeros,) * self._count
        return tuple(hx) if self._count > 1 else (hx,)


class LSTM(_RNNBase):
    """`nn.LSTM` with quantized weights."""

    _FLOAT_MODULE = nn.LSTM
    _count = 2

    def _step(self, *given: Tensor) -> tuple[Tensor, ...]:
        return _lstm_step(*given)


class GRU(_RNNBase):
    """`nn.GRU` with quantized weights."""

    _FLOAT_MODULE = nn.GRU

    def _step(self, *given: Tensor) -> tuple[Tensor, ...]:
        return (_gru_step(*given),)


class LSTMCell(_Recurrent):
    """`nn.LSTMCell` with quantized weights."""

    _FLOAT_MODULE = nn.LSTMCell

    def forward(self: Any, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        if hx is None:
            zeros = torch.zeros(*input.shape[:-1], self.hidden_size, dtype=input.dtype)
            hx = zeros, zeros
        h, c = hx
        return _lstm_step(self._gates(input, "ih", ""), self._gates(h, "hh", ""), h, c)


class _Cell(_Recurrent):
    def _hidden(self: Any, input: Tensor, hx: Tensor | None) -> Tensor:
        if hx is not None:
            return hx
        return torch.zeros(*input.shape[:-1], self.hidden_size, dtype=input.dtype)


class GRUCell(_Cell):
    """`nn.GRUCell` with quantized weights."""

    _FLOAT_MODULE = nn.GRUCell

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        h = self._hidden(input, hx)
        return _gru_step(self._gates(input, "ih", ""), self._gates(h, "hh", ""), h)


class RNNCell(_Cell):
    """`nn.RNNCell` with quantized weights."""

    _FLOAT_MODULE = nn.RNNCell

    def forward(self: Any, input: Tensor, hx: Tensor | None = None) -> Tensor:
        gates = self._gates(input, "ih", "")
        gates = gates + self._gates(self._hidden(input, hx), "hh", "")
        return gates.tanh() if self.nonlinearity == "tanh" else gates.relu()
