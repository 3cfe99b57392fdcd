"""This package's layers, as TorchScript has them: methods that are written in more of Python.

`METHODS` has the form of a class's method, `LISTS` the attributes that are lists of parameters.
"""
# mypy: ignore-errors
# ruff: noqa: UP006, UP035  (the language's own names of types)

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, List, Tuple

import taimatsu as torch
from taimatsu import Tensor, nn
from taimatsu.nn import functional as F

from . import layers_attention

__all__ = ["LISTS", "METHODS"]

METHODS: dict[tuple[type, str], Callable] = dict(layers_attention.METHODS)
LISTS: dict[tuple[type, str], Callable[[Any], list[str]]] = {
    (nn.RNNBase, "_flat_weights"): lambda module: module._flat_weights_names,
}
aten = torch.ops.aten
_F = typing.TypeVar("_F", bound=Callable)


def _of(*classes: type, name: str = "forward") -> Callable[[_F], _F]:
    """The form of a method of layers."""

    def keep(function: _F) -> _F:
        METHODS.update({(cls, name): function for cls in classes})
        return function

    return keep


@_of(nn.modules.batchnorm._BatchNorm)
def batch_norm_forward(self: Any, input: Tensor) -> Tensor:
    self._check_input_dim(input)
    factor = 0.0 if self.momentum is None else self.momentum
    if self.num_batches_tracked is not None and self.training:
        self.num_batches_tracked.add_(1)
        if self.momentum is None:
            factor = 1.0 / float(self.num_batches_tracked)
    if self.running_mean is None:
        return aten.batch_norm(
            input, self.weight, self.bias, None, None, True, factor, self.eps, True
        )
    return aten.batch_norm(
        input, self.weight, self.bias, self.running_mean, self.running_var, self.training, factor,
        self.eps, True,
    )  # fmt: skip


@_of(nn.modules.batchnorm._NormBase, name="_check_input_dim")
def check_input_dim(self: Any, input: Tensor) -> None:
    if input.dim() not in self.dims:
        raise ValueError(f"expected {self.dims[0]}D input (got {input.dim()}D input)")


@_of(nn.Sequential)
def sequential_forward(self: Any, input):
    for module in self:
        input = module(input)
    return input


def conv_forward(self: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if self.padding_mode != "zeros":
        input = F.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)
        return self._convolve(input, weight, bias, False)
    return self._convolve(input, weight, bias, True)


def transposed_forward(
    self: Any, input: Tensor, output_size: List[int] | None = None
) -> Tensor:
    padding: List[int] = list(self.output_padding)
    if output_size is not None:
        dims = self.n_dims
        stride: List[int] = list(self.stride)
        pad: List[int] = list(self.padding)
        dilation: List[int] = list(self.dilation)
        kernel: List[int] = list(self.kernel_size)
        wanted = output_size[len(output_size) - dims :]
        padding = []
        for i in range(dims):
            smallest = (
                (input.size(i - dims) - 1) * stride[i] - 2 * pad[i]
                + dilation[i] * (kernel[i] - 1) + 1
            )  # fmt: skip
            padding.append(wanted[i] - smallest)
    return self._convolve(input, padding)


def _windowed(dims: int) -> None:
    """Convolutions and maxima, which differ in the op that they call."""
    convolution = getattr(aten, f"conv{dims}d")
    transposed = getattr(torch, f"conv_transpose{dims}d")
    pool, indexed = (getattr(aten, f"max_pool{dims}d{s}") for s in ("", "_with_indices"))
    layer, transposed_layer = (getattr(nn, f"Conv{s}{dims}d") for s in ("", "Transpose"))
    METHODS[layer, "_conv_forward"] = conv_forward
    METHODS[transposed_layer, "forward"] = transposed_forward

    @_of(layer, name="_convolve")
    def convolve(
        self: Any, input: Tensor, weight: Tensor, bias: Tensor | None, padded: bool
    ) -> Tensor:
        if not padded:
            return convolution(input, weight, bias, self.stride, 0, self.dilation, self.groups)
        return convolution(
            input, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )

    @_of(transposed_layer, name="_convolve")
    def spread(self: Any, input: Tensor, output_padding: List[int]) -> Tensor:
        return transposed(
            input, self.weight, self.bias, self.stride, self.padding, output_padding, self.groups,
            self.dilation,
        )  # fmt: skip

    @_of(getattr(nn, f"MaxPool{dims}d"))
    def maxima(self: Any, input: Tensor):
        if self.return_indices:
            return indexed(
                input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
            )
        else:
            return pool(
                input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
            )


for _n in (1, 2, 3):
    _windowed(_n)


@_of(nn.AvgPool1d)
def avg_pool1d_forward(self: Any, input: Tensor) -> Tensor:
    return torch.avg_pool1d(
        input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
    )


@_of(nn.AvgPool2d)
def avg_pool2d_forward(self: Any, input: Tensor) -> Tensor:
    return aten.avg_pool2d(
        input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
        self.divisor_override,
    )  # fmt: skip


@_of(nn.AvgPool3d)
def avg_pool3d_forward(self: Any, input: Tensor) -> Tensor:
    return aten.avg_pool3d(
        input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
        self.divisor_override,
    )  # fmt: skip


def sizes_or_input(input: Tensor, wanted: List[int | None]) -> List[int]:
    sizes: List[int] = []
    for i, size in enumerate(wanted):
        sizes.append(input.size(i - len(wanted)) if size is None else size)
    return sizes


@_of(nn.AdaptiveAvgPool2d)
def adaptive_avg_pool2d_forward(self: Any, input: Tensor) -> Tensor:
    if torch.jit.isinstance(self.output_size, Tuple[int, int]) or isinstance(
        self.output_size, int
    ):
        return aten.adaptive_avg_pool2d(input, self.output_size)
    else:
        wanted: List[int | None] = [self.output_size[0], self.output_size[1]]
        return aten.adaptive_avg_pool2d(input, sizes_or_input(input, wanted))


@_of(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d)
def circular_pad_forward(self: Any, input: Tensor) -> Tensor:
    return F.pad(input, self.padding, "circular")


@_of(nn.Upsample)
def upsample_forward(self: Any, input: Tensor) -> Tensor:
    return F.interpolate(
        input, self.size, self.scale_factor, self.mode, self.align_corners,
        self.recompute_scale_factor,
    )  # fmt: skip


def initial_state(
    self: Any, input: Tensor, size: int, hx: Tensor | None, batched: bool
) -> Tensor:
    if hx is not None:
        return hx if batched else hx.unsqueeze(1)
    batch = input.size(0) if self.batch_first else input.size(1)
    directions = 2 if self.bidirectional else 1
    return torch.zeros(
        self.num_layers * directions, batch, size, dtype=input.dtype, device=input.device
    )


@_of(nn.LSTM)
def lstm_forward(
    self: Any, input: Tensor, hx: Tuple[Tensor, Tensor] | None = None
) -> Tuple[Tensor, Tuple[Tensor, Tensor]]:
    batched = input.dim() == 3
    batch_dim = 0 if self.batch_first else 1
    x = input if batched else input.unsqueeze(batch_dim)
    size = self.proj_size if self.proj_size > 0 else self.hidden_size
    first: Tensor | None = None
    second: Tensor | None = None
    if hx is not None:
        first, second = hx[0], hx[1]
    h = self._initial(x, size, first, batched)
    c = self._initial(x, self.hidden_size, second, batched)
    output, h, c = torch.lstm(
        x, [h, c], self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
        self.bidirectional, self.batch_first,
    )  # fmt: skip
    if batched:
        return output, (h, c)
    return output.squeeze(batch_dim), (h.squeeze(1), c.squeeze(1))


@_of(nn.GRU)
def gru_forward(
    self: Any, input: Tensor, hx: Tensor | None = None
) -> Tuple[Tensor, Tensor]:
    batched = input.dim() == 3
    batch_dim = 0 if self.batch_first else 1
    x = input if batched else input.unsqueeze(batch_dim)
    h = self._initial(x, self.hidden_size, hx, batched)
    output, h = torch.gru(
        x, h, self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
        self.bidirectional, self.batch_first,
    )  # fmt: skip
    if batched:
        return output, h
    return output.squeeze(batch_dim), h.squeeze(1)


@_of(nn.RNN)
def rnn_forward(
    self: Any, input: Tensor, hx: Tensor | None = None
) -> Tuple[Tensor, Tensor]:
    batched = input.dim() == 3
    batch_dim = 0 if self.batch_first else 1
    x = input if batched else input.unsqueeze(batch_dim)
    h = self._initial(x, self.hidden_size, hx, batched)
    if self.mode == "RNN_TANH":
        output, h = torch.rnn_tanh(
            x, h, self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
            self.bidirectional, self.batch_first,
        )  # fmt: skip
    else:
        output, h = torch.rnn_relu(
            x, h, self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
            self.bidirectional, self.batch_first,
        )  # fmt: skip
    if batched:
        return output, h
    return output.squeeze(batch_dim), h.squeeze(1)


for _layer in (nn.RNN, nn.LSTM, nn.GRU):
    METHODS[_layer, "_initial"] = initial_state


def cell_state(self: Any, input: Tensor, hx: Tensor | None) -> Tensor:
    if hx is not None:
        return hx if input.dim() == 2 else hx.unsqueeze(0)
    batch = input.size(0) if input.dim() == 2 else 1
    return torch.zeros(batch, self.hidden_size, dtype=input.dtype, device=input.device)


@_of(nn.LSTMCell)
def lstm_cell_forward(
    self: Any, input: Tensor, hx: Tuple[Tensor, Tensor] | None = None
) -> Tuple[Tensor, Tensor]:
    batched = input.dim() == 2
    x = input if batched else input.unsqueeze(0)
    first: Tensor | None = None
    second: Tensor | None = None
    if hx is not None:
        first, second = hx[0], hx[1]
    states = [self._state(input, first), self._state(input, second)]
    h, c = torch.lstm_cell(
        x, states, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
    )
    if batched:
        return h, c
    return h.squeeze(0), c.squeeze(0)


@_of(nn.GRUCell)
def gru_cell_forward(self: Any, input: Tensor, hx: Tensor | None = None) -> Tensor:
    batched = input.dim() == 2
    x = input if batched else input.unsqueeze(0)
    h = torch.gru_cell(
        x, self._state(input, hx), self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
    )
    return h if batched else h.squeeze(0)


@_of(nn.RNNCell)
def rnn_cell_forward(self: Any, input: Tensor, hx: Tensor | None = None) -> Tensor:
    batched = input.dim() == 2
    x = input if batched else input.unsqueeze(0)
    state = self._state(input, hx)
    if self.nonlinearity == "tanh":
        h = torch.rnn_tanh_cell(
            x, state, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        )
    else:
        h = torch.rnn_relu_cell(
            x, state, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        )
    return h if batched else h.squeeze(0)


for _layer in (nn.RNNCell, nn.LSTMCell, nn.GRUCell):
    METHODS[_layer, "_state"] = cell_state


@_of(nn.LPPool1d)
def lp_pool1d_forward(self: Any, input: Tensor) -> Tensor:
    return F.lp_pool1d(input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


@_of(nn.LPPool2d)
def lp_pool2d_forward(self: Any, input: Tensor) -> Tensor:
    return F.lp_pool2d(input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


@_of(nn.LPPool3d)
def lp_pool3d_forward(self: Any, input: Tensor) -> Tensor:
    return F.lp_pool3d(input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


@_of(nn.GaussianNLLLoss)
def gaussian_nll_loss_forward(self: Any, input: Tensor, target: Tensor, var: Tensor) -> Tensor:
    return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)
