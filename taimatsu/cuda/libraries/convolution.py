"""Convolutions by cuDNN: forward, by the input (which a transposed one is), by the weight."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu.backends import cudnn as settings
from taimatsu.ops.anywhere import computes

from . import dnn

# The operation's descriptor, and its attributes alpha, beta, convolution, and x, w, y or their
# gradients in this order.
_FORWARD = 10, (700, 701, 702), (704, 703, 705)
_BY_INPUT = 12, (706, 707, 708), (710, 709, 711)
_BY_WEIGHT = 11, (712, 713, 714), (716, 715, 717)
_CROSS_CORRELATION = 1


def _graph(kind: tuple, operands: tuple, window: tuple) -> dnn.Graph:
    descriptor, (alpha, beta, about), places = kind
    stride, padding, dilation = map(list, window)
    wide = operands[0].dtype == torch.float64
    computed, number = (1, dnn.DOUBLE) if wide else (0, dnn.FLOAT)
    convolution = dnn.Descriptor(dnn.CONVOLUTION, [
        (100, dnn.DATA_TYPE, computed), (101, dnn.CONVOLUTION_MODE, _CROSS_CORRELATION),
        (102, dnn.INT64, dilation), (103, dnn.INT64, stride), (104, dnn.INT64, padding),
        (105, dnn.INT64, padding), (106, dnn.INT64, len(stride)),
    ])  # fmt: skip
    graph = dnn.Graph()
    graph.operations.append(dnn.Descriptor(descriptor, [
        (alpha, number, 1.0), (beta, number, 0.0), (about, dnn.DESCRIPTOR, convolution),
        *((place, dnn.DESCRIPTOR, graph.given(x))
          for place, x in zip(places, operands, strict=True)),
    ]))  # fmt: skip
    return graph


def _run(kind: tuple, x: Any, w: Any, y: Any, window: tuple) -> bool:
    """False where cuDNN has no engine. x, w, y: one of them is the result."""
    operands = tuple(t.unsqueeze(2) if t.dim() == 3 else t for t in (x, w, y))
    if x.dim() == 3:  # cuDNN wants two dims in space
        stride, padding, dilation = window
        window = (1, *stride), (0, *padding), (1, *dilation)
    rounds = settings.allow_tf32 and settings.conv.fp32_precision != "ieee"
    exact = x.dtype == torch.float32 and not rounds
    return dnn.run((kind, window), dnn.handle(x), lambda: _graph(kind, operands, window), operands,
                   exact)  # fmt: skip


def _usable(*operands: torch.Tensor) -> bool:
    good = all(t.numel() and t.dtype in dnn.DATA_TYPES and t.dim() <= 5 for t in operands)
    return good and settings.enabled and dnn.cudnn.usable()


def _full(values: Any, n: int) -> tuple[int, ...]:
    return tuple(values) * (n if len(values) == 1 else 1)


def _dense(*operands: torch.Tensor) -> list[torch.Tensor]:
    """All by channels last, or all contiguous, as the first is."""
    formats: dict[int, Any] = {4: torch.channels_last, 5: torch.channels_last_3d}
    last = formats.get(operands[0].dim())
    by_channels = last is not None and operands[0].is_contiguous(memory_format=last) \
        and not operands[0].is_contiguous()  # fmt: skip
    wanted: Any = last if by_channels else torch.contiguous_format
    return [t.contiguous(memory_format=wanted) for t in operands]


def _result(sizes: list[int], like: torch.Tensor) -> torch.Tensor:
    """Of a convolution, in the memory order of its operands."""
    out = torch.empty(sizes, dtype=like.dtype, device=like.device)
    return out if like.is_contiguous() else _ordered(out, like)


def _ordered(out: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    last = torch.channels_last if like.dim() == 4 else torch.channels_last_3d
    return torch.empty_like(out, memory_format=last)


@computes("convolution", device="cuda")
def _(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    if not _usable(input, weight):
        return NotImplemented
    n = weight.dim() - 2
    window = tuple(_full(v, n) for v in (stride, padding, dilation))
    more = _full(output_padding, n)
    x, w = _dense(input, weight)
    space = zip(x.shape[2:], w.shape[2:], *window, more, strict=True)
    if transposed:
        sizes = [(i - 1) * s - 2 * p + d * (k - 1) + e + 1 for i, k, s, p, d, e in space]
        out = _result([x.size(0), w.size(1) * groups, *sizes], x)
        done = math.prod(sizes) and _run(_BY_INPUT, out, w, x, window)
    else:
        sizes = [(i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d, _ in space]
        out = _result([x.size(0), w.size(0), *sizes], x)
        done = math.prod(sizes) and _run(_FORWARD, x, w, out, window)
    if not done:
        return NotImplemented
    return out if bias is None else out.add_(bias.reshape(-1, *[1] * n))


@computes("_convolution_weight", device="cuda")
def _(grad, input, sizes, stride, padding, dilation, transposed, output_padding, groups):
    if not _usable(grad, input):
        return NotImplemented
    n = len(sizes) - 2
    window = tuple(_full(v, n) for v in (stride, padding, dilation))
    x, y = _dense(*((grad, input) if transposed else (input, grad)))
    w = _result(list(sizes), x)
    return w if _run(_BY_WEIGHT, x, w, y, window) else NotImplemented
