"""Recurrent layers and cells; the arithmetic is in `taimatsu/ops/rnn.py`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from . import init
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

# Of each mode: the gates in a weight, and the layers.
_MODES: dict[str, tuple[int, Callable]] = {
    "LSTM": (4, torch.lstm),
    "GRU": (3, torch.gru),
    "RNN_TANH": (1, torch.rnn_tanh),
    "RNN_RELU": (1, torch.rnn_relu),
}


def _draw(module: Module, hidden_size: int) -> None:
    """New weights and biases, U(-k, k) with k = 1 / sqrt(hidden_size)."""
    bound = 1.0 / math.sqrt(hidden_size) if hidden_size > 0 else 0
    for weight in module.parameters():
        init.uniform_(weight, -bound, bound)


def _permuted(state: Tensor, order: Tensor | None) -> Tensor:
    return state if order is None else state.index_select(1, order)


class RNNBase(Module):
    """What ``RNN``, ``LSTM`` and ``GRU`` have in common; the options are described there."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_options(dropout)
        gates, _ = _MODES[mode]
        directions = 2 if bidirectional else 1
        state_size = proj_size or hidden_size
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for direction in range(directions):
                features = directions * state_size if layer else input_size
                sizes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (gates * hidden_size, features),
                    "weight_hh": (gates * hidden_size, state_size),
                }
                if bias:
                    sizes |= {"bias_ih": (gates * hidden_size,), "bias_hh": (gates * hidden_size,)}
                if proj_size:
                    sizes["weight_hr"] = (proj_size, hidden_size)
                names = []
                for name, size in sizes.items():
                    names.append(f"{name}_l{layer}{'_reverse' if direction else ''}")
                    weight = torch.empty(size, device=device, dtype=dtype)
                    setattr(self, names[-1], Parameter(weight))
                self._all_weights.append(names)
        self.reset_parameters()

    def _check_options(self, dropout: Any) -> None:
        if isinstance(dropout, bool) or not 0 <= self.dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an "
                f"element being zeroed; got {dropout!r}"
            )
        if self.dropout and self.num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero "
                f"dropout expects num_layers greater than 1, but got dropout={dropout} and "
                "num_layers=1",
                stacklevel=4,
            )
        for name, type_ in (("input_size", int), ("hidden_size", int), ("num_layers", int),
                            ("bias", bool), ("batch_first", bool)):  # fmt: skip
            if not isinstance(value := getattr(self, name), type_):
                raise TypeError(
                    f"{name} should be of type {type_.__name__}, got: {type(value).__name__}"
                )
            if type_ is int and value <= 0:
                raise ValueError(f"{name} must be greater than zero; got {value}")
        if self.proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable "
                             f"projections; got {self.proj_size}")  # fmt: skip
        if self.proj_size >= self.hidden_size:
            raise ValueError(f"proj_size has to be smaller than hidden_size, {self.hidden_size}; "
                             f"got {self.proj_size}")  # fmt: skip
        if self.mode not in _MODES:
            raise ValueError(f"Unrecognized RNN mode: {self.mode}; use one of {', '.join(_MODES)}")

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [getattr(self, name) for name in self._flat_weights_names]

    def flatten_parameters(self) -> None:
        """Nothing to do: weights are packed by the layers themselves, wherever they lie."""

    def reset_parameters(self) -> None:
        """Draw new weights, U(-k, k) with k = 1 / sqrt(hidden_size)."""
        _draw(self, self.hidden_size)

    # ---- What is given to `forward` --------------------------------------------------------------

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        weight = getattr(self, self._all_weights[0][0])
        if input.dtype != weight.dtype and not torch.is_autocast_enabled(input.device.type):
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: "
                f"model.to({input.dtype})"
            )
        dims = 3 if batch_sizes is None else 2
        if input.dim() != dims:
            raise RuntimeError(f"input must have {dims} dimensions, got {input.dim()}")
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {input.size(-1)}"
            )

    def _batch(self, input: Tensor, batch_sizes: Tensor | None) -> int:
        if batch_sizes is not None:
            return int(batch_sizes[0])
        return input.size(0 if self.batch_first else 1)

    def _states(self) -> int:
        return self.num_layers * (2 if self.bidirectional else 1)

    def get_expected_hidden_size(
        self, input: Tensor, batch_sizes: Tensor | None
    ) -> tuple[int, int, int]:
        """(layers * directions, batch, state)."""
        size = self.proj_size or self.hidden_size
        return self._states(), self._batch(input, batch_sizes), size

    def check_hidden_size(
        self,
        hx: Tensor,
        expected_hidden_size: tuple[int, int, int],
        msg: str = "Expected hidden size {}, got {}",
    ) -> None:
        if hx.size() != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.size())))

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        return _permuted(hx, permutation)

    # ---- The layers ------------------------------------------------------------------------------
    # `hx` is one state here, and of an LSTM the pair of h and c: what differs is said there.

    def _initial(self, input: Tensor, batch_sizes: Tensor | None) -> Any:
        size = self.get_expected_hidden_size(input, batch_sizes)
        return torch.zeros(size, dtype=input.dtype, device=input.device)

    def _with_batch(self, hx: Any, batched: bool) -> Any:
        """The states with the dim of the batch, which an input without it has not either."""
        dims = 3 if batched else 2
        if hx.dim() != dims:
            raise RuntimeError(
                f"For {'batched' if batched else 'unbatched'} {dims}-D input, hx should also be "
                f"{dims}-D but got {hx.dim()}-D tensor"
            )
        return hx if batched else hx.unsqueeze(1)

    def _without_batch(self, hx: Any) -> Any:
        return hx.squeeze(1)

    def _run(self, hx: Any, *sequence: Any) -> tuple[Tensor, Any]:
        """(output, last states); `sequence`: the arguments before `hx`, and those behind."""
        before, behind = sequence
        _, layers = _MODES[self.mode]
        output, *last = layers(
            *before, hx, self._flat_weights, self.bias, self.num_layers, self.dropout,
            self.training, self.bidirectional, *behind,
        )  # fmt: skip
        return output, last[0] if len(last) == 1 else tuple(last)

    def _forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence):
            data, batch_sizes, sorted_indices, unsorted_indices = input
            if hx is None:
                hx = self._initial(data, batch_sizes)
            else:
                hx = self.permute_hidden(hx, sorted_indices)
            self.check_forward_args(data, hx, batch_sizes)
            output, hx = self._run(hx, (data, batch_sizes), ())
            packed = PackedSequence(output, batch_sizes, sorted_indices, unsorted_indices)
            return packed, self.permute_hidden(hx, unsorted_indices)
        if input.dim() not in (2, 3):
            raise ValueError(
                f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}D instead"
            )
        batched = input.dim() == 3
        batch_dim = 0 if self.batch_first else 1
        if not batched:
            input = input.unsqueeze(batch_dim)
        hx = self._initial(input, None) if hx is None else self._with_batch(hx, batched)
        self.check_forward_args(input, hx, None)
        output, hx = self._run(hx, (input,), (self.batch_first,))
        if batched:
            return output, hx
        return output.squeeze(batch_dim), self._without_batch(hx)

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False,
                    "dropout": 0.0, "bidirectional": False}  # fmt: skip
        parts += [f"{k}={v}" for k, d in defaults.items() if (v := getattr(self, k)) != d]
        return ", ".join(parts)


_OPTIONS = """
    ``input`` is (L, N, input_size), (N, L, input_size) if ``batch_first``, (L, input_size) for one
    sequence, or a ``PackedSequence``; {given} with D directions, 2 if ``bidirectional``. Gives the
    output of the last layer, (..., D * H), with the directions side by side, and {last}.
    ``dropout`` acts in training on what goes from a layer to the next.

    Parameters of layer k: ``weight_ih_l[k]`` ({gates} * hidden_size, input or D * H),
    ``weight_hh_l[k]`` ({gates} * hidden_size, H), ``bias_ih_l[k]`` and ``bias_hh_l[k]``
    ({gates} * hidden_size){more}, those of the other direction with ``_reverse``; drawn from
    U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)). Raises ValueError for options out of range or
    an input of another dtype or number of dims, RuntimeError for other sizes that don't fit.
"""


def _documented(gates: int, given: str, last: str, more: str = "") -> Callable[[type], type]:
    def fill(cls: type) -> type:
        about = _OPTIONS.strip("\n").format(gates=gates, given=given, last=last, more=more)
        cls.__doc__ = (cls.__doc__ or "").replace("{options}", about.strip())
        return cls

    return fill


_ONE_STATE = ("``hx`` (num_layers * D, N, H = hidden_size), zeros if None,", "the last states")


@_documented(1, *_ONE_STATE)
class RNN(RNNBase):
    """Recurrent layers with h' = tanh(W_ih x + b_ih + W_hh h + b_hh).

    RNN(input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False,
    dropout=0.0, bidirectional=False, device=None, dtype=None); ``nonlinearity`` "tanh" or "relu".

    {options}

    >>> output, h = nn.RNN(10, 20, 2)(torch.randn(5, 3, 10))
    >>> output.shape, h.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    def __init__(self, *args, **kwargs):
        _refuse_projection(kwargs)
        if len(args) > 3:
            self.nonlinearity = args[3]
            args = (*args[:3], *args[4:])
        else:
            self.nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{self.nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(f"RNN_{self.nonlinearity.upper()}", *args, **kwargs)

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        return self._forward(input, hx)


@_documented(3, *_ONE_STATE)
class GRU(RNNBase):
    """Layers of gated recurrent units: with gates r = sigmoid(W_ir x + b_ir + W_hr h + b_hr), z
    likewise, and n = tanh(W_in x + b_in + r * (W_hn h + b_hn)), h' = (1 - z) * n + z * h.

    GRU(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, device=None, dtype=None)

    {options}

    >>> output, h = nn.GRU(10, 20, bidirectional=True)(torch.randn(5, 3, 10))
    >>> output.shape, h.shape
    (torch.Size([5, 3, 40]), torch.Size([2, 3, 20]))
    """

    def __init__(self, *args, **kwargs):
        _refuse_projection(kwargs)
        super().__init__("GRU", *args, **kwargs)

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        return self._forward(input, hx)


@_documented(
    4,
    "``hx`` = (h, c), (num_layers * D, N, H) and (num_layers * D, N, hidden_size), zeros if None,\n"
    "    H = ``proj_size`` or hidden_size,",
    "the last (h, c)",
    " and with ``proj_size`` ``weight_hr_l[k]`` (H, hidden_size)",
)
class LSTM(RNNBase):
    """Layers of long short-term memory: with gates i, f, o = sigmoid(W_i x + b_i + W_h h + b_h)
    and n = tanh of the same with its own weights, c' = f * c + i * n and h' = o * tanh(c').

    LSTM(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, proj_size=0, device=None, dtype=None); with ``proj_size`` h' = W_hr h' has
    so many features.

    {options}

    >>> output, (h, c) = nn.LSTM(10, 20, proj_size=7)(torch.randn(5, 3, 10))
    >>> output.shape, h.shape, c.shape
    (torch.Size([5, 3, 7]), torch.Size([1, 3, 7]), torch.Size([1, 3, 20]))
    """

    def __init__(self, *args, **kwargs):
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(
        self, input: Tensor, batch_sizes: Tensor | None
    ) -> tuple[int, int, int]:
        """(layers * directions, batch, hidden_size)."""
        return self._states(), self._batch(input, batch_sizes), self.hidden_size

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        self.check_input(input, batch_sizes)
        expected = (
            self.get_expected_hidden_size(input, batch_sizes),
            self.get_expected_cell_size(input, batch_sizes),
        )
        for i, size in enumerate(expected):
            self.check_hidden_size(hidden[i], size, f"Expected hidden[{i}] size {{}}, got {{}}")

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        return _permuted(hx[0], permutation), _permuted(hx[1], permutation)

    def _initial(self, input: Tensor, batch_sizes: Tensor | None) -> Any:
        cells = self.get_expected_cell_size(input, batch_sizes)
        c = torch.zeros(cells, dtype=input.dtype, device=input.device)
        return super()._initial(input, batch_sizes), c

    def _with_batch(self, hx: Any, batched: bool) -> Any:
        dims = 3 if batched else 2
        h, c = hx[0], hx[1]
        if h.dim() != dims or c.dim() != dims:
            raise RuntimeError(
                f"For {'batched' if batched else 'unbatched'} {dims}-D input, hx and cx should "
                f"also be {dims}-D but got ({h.dim()}-D, {c.dim()}-D) tensors"
            )
        return (h, c) if batched else (h.unsqueeze(1), c.unsqueeze(1))

    def _without_batch(self, hx: Any) -> Any:
        return hx[0].squeeze(1), hx[1].squeeze(1)

    def forward(
        self, input: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        return self._forward(input, hx)


def _refuse_projection(options: dict) -> None:
    if "proj_size" in options:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


class RNNCellBase(Module):
    """What ``RNNCell``, ``LSTMCell`` and ``GRUCell`` have in common.

    Parameters ``weight_ih`` (num_chunks * hidden_size, input_size), ``weight_hh`` (num_chunks *
    hidden_size, hidden_size), ``bias_ih`` and ``bias_hh`` (num_chunks * hidden_size), None without
    ``bias``; drawn from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size

        def parameter(*size: int) -> Parameter:
            return Parameter(torch.empty(size, device=device, dtype=dtype))

        self.weight_ih = parameter(rows, input_size)
        self.weight_hh = parameter(rows, hidden_size)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, parameter(rows) if bias else None)
        self.reset_parameters()

    def extra_repr(self) -> str:
        bias = "" if self.bias else f", bias={self.bias}"
        return f"{self.input_size}, {self.hidden_size}{bias}"

    def reset_parameters(self) -> None:
        """Draw new weights, U(-k, k) with k = 1 / sqrt(hidden_size)."""
        _draw(self, self.hidden_size)

    def _batch(self, input: Tensor, states: Sequence[Tensor] | None, names: Sequence[str]) -> list:
        """The input and the states (zeros if there are none), each (batch, features)."""
        for x, what in ((input, "input"), *zip(states or (), names, strict=False)):
            if x.dim() not in (1, 2):
                raise ValueError(
                    f"{type(self).__name__}: Expected {what} to be 1D or 2D, got {x.dim()}D instead"
                )
        given = [input, *(states or ())]
        batched = given if input.dim() == 2 else [x.unsqueeze(0) for x in given]
        if states is None:
            zeros = torch.zeros(
                batched[0].size(0), self.hidden_size, dtype=input.dtype, device=input.device
            )
            batched += [zeros] * len(names)
        return batched

    def _weights(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh


class RNNCell(RNNCellBase):
    """A recurrent step, h' = tanh(W_ih x + b_ih + W_hh h + b_hh); ``nonlinearity`` "tanh", "relu".

    ``input`` (batch, input_size) or (input_size), ``hx`` (batch, hidden_size) or (hidden_size),
    zeros if None; gives the next state. Raises ValueError for other numbers of dims, RuntimeError
    for other sizes.

    >>> nn.RNNCell(10, 20)(torch.randn(3, 10)).shape
    torch.Size([3, 20])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device=None,
        dtype=None,
    ):
        super().__init__(input_size, hidden_size, bias, 1, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        plain = self.nonlinearity == "tanh"
        return super().extra_repr() + ("" if plain else f", nonlinearity={self.nonlinearity}")

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h = self._batch(input, None if hx is None else (hx,), ("hidden",))
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        step = torch.rnn_tanh_cell if self.nonlinearity == "tanh" else torch.rnn_relu_cell
        h = step(x, h, *self._weights())
        return h if input.dim() == 2 else h.squeeze(0)


class LSTMCell(RNNCellBase):
    """A step of long short-term memory; see ``LSTM`` for the formula.

    ``input`` (batch, input_size) or (input_size), ``hx`` = (h, c), each (batch, hidden_size) or
    (hidden_size), zeros if None; gives the next (h, c). Raises ValueError for other numbers of
    dims, RuntimeError for other sizes.

    >>> h, c = nn.LSTMCell(10, 20)(torch.randn(3, 10))
    >>> h.shape, c.shape
    (torch.Size([3, 20]), torch.Size([3, 20]))
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device=None, dtype=None
    ):
        super().__init__(input_size, hidden_size, bias, 4, device=device, dtype=dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        if isinstance(hx, Tensor):
            raise TypeError("LSTMCell: hx must be a tuple of Tensors, h and c; got a Tensor")
        x, *states = self._batch(input, hx, ("hx[0]", "hx[1]"))
        h, c = torch.lstm_cell(x, states, *self._weights())
        return (h, c) if input.dim() == 2 else (h.squeeze(0), c.squeeze(0))


class GRUCell(RNNCellBase):
    """A step of a gated recurrent unit; see ``GRU`` for the formula.

    ``input`` (batch, input_size) or (input_size), ``hx`` (batch, hidden_size) or (hidden_size),
    zeros if None; gives the next state. Raises ValueError for other numbers of dims, RuntimeError
    for other sizes.

    >>> nn.GRUCell(10, 20)(torch.randn(3, 10)).shape
    torch.Size([3, 20])
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device=None, dtype=None
    ):
        super().__init__(input_size, hidden_size, bias, 3, device=device, dtype=dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h = self._batch(input, None if hx is None else (hx,), ("hidden",))
        h = torch.gru_cell(x, h, *self._weights())
        return h if input.dim() == 2 else h.squeeze(0)
