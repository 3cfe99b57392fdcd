"""Quantized tensors: 8-bit or 32-bit integers q that stand for scale * (q - zero_point).

    quantize_per_tensor   one scale and zero point       quantize_per_channel   one for each index
                                                                                of a dim
A `QuantizedTensor` holds its integers as a tensor of this memory layout. Ops that move elements
move the integers; those in `_ROUNDED` are computed in float32 and rounded to the same grid; those
in `_FLOAT` give ordinary tensors. All others raise NotImplementedError: call ``dequantize()``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

__all__ = [
    "Grid", "QuantizedTensor", "dequantize", "int_repr", "per_channel_affine",
    "per_channel_affine_float_qparams", "per_channel_symmetric", "per_tensor_affine",
    "per_tensor_symmetric", "q_per_channel_axis", "q_per_channel_scales",
    "q_per_channel_zero_points", "q_scale", "q_zero_point", "qscheme", "quantize_per_channel",
    "quantize_per_tensor", "quantize_per_tensor_dynamic",
]  # fmt: skip


class qscheme:
    """How the scale and the zero point of a quantized tensor are chosen, and for which elements."""

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return f"torch.{self._name}"

    def __reduce__(self) -> str:
        return self._name


qscheme.__module__ = "torch"
per_tensor_affine = qscheme("per_tensor_affine")
per_channel_affine = qscheme("per_channel_affine")
per_tensor_symmetric = qscheme("per_tensor_symmetric")
per_channel_symmetric = qscheme("per_channel_symmetric")
per_channel_affine_float_qparams = qscheme("per_channel_affine_float_qparams")

_INTEGERS = {torch.quint8: torch.uint8, torch.qint8: torch.int8, torch.qint32: torch.int32}


class Grid:
    """The numbers that can be represented: by the dtype, scales and zero points."""

    def __init__(self, dtype: Any, scale: Any, zero_point: Any, axis: int | None = None):
        self.dtype, self.scale, self.zero_point, self.axis = dtype, scale, zero_point, axis

    @property
    def integer_dtype(self) -> Any:
        """The dtype of its integers."""
        return _INTEGERS[self.dtype]

    @property
    def scheme(self) -> qscheme:
        if self.axis is None:
            return per_tensor_affine
        floating = self.zero_point.is_floating_point()
        return per_channel_affine_float_qparams if floating else per_channel_affine

    def _along(self, dims: int) -> tuple[Any, Any]:
        """Scale and zero point in float32, so that they broadcast."""
        if self.axis is None:
            return self.scale, self.zero_point
        shape = [1] * dims
        shape[self.axis] = -1
        return self.scale.float().reshape(shape), self.zero_point.float().reshape(shape)

    def integers(self, x: Tensor) -> Tensor:
        """The nearest of them to each element, by number."""
        scale, zero_point = self._along(x.dim())
        limits = torch.iinfo(self.integer_dtype)
        inverse = 1 / scale if self.axis is not None else torch.tensor(1.0) / scale
        if self.axis is not None and self.zero_point.is_floating_point():
            level = (x * inverse + zero_point).round()
        else:
            level = (x * inverse).round() + zero_point
        return level.clamp(limits.min, limits.max).to(self.integer_dtype)

    def numbers(self, integers: Tensor) -> Tensor:
        """What they stand for, in float32."""
        scale, zero_point = self._along(integers.dim())
        if self.axis is not None and self.zero_point.is_floating_point():
            return integers.float() * scale - zero_point * scale
        return (integers.float() - zero_point) * scale

    def of(self, integers: Tensor) -> QuantizedTensor:
        """A quantized tensor of these integers, whose memory it shares."""
        with _core.DisableTorchFunctionSubclass():
            made = integers.as_subclass(QuantizedTensor)
        made._grid = self
        return made

    def quantize(self, x: Tensor) -> QuantizedTensor:
        """A quantized tensor of these numbers, rounded."""
        with torch.no_grad():
            return self.of(self.integers(x.detach()))


# Ops by what they do: those that only move elements, or compare those of one grid; those whose
# results are rounded to the grid of the operand; those whose results are no elements.
_MOVED, _ROUNDED, _FLOAT = (frozenset(names.split()) for names in (
    "__getitem__ as_strided chunk clone contiguous cpu detach expand expand_as flatten flip gather "
    "index_select max max_pool1d max_pool2d max_pool3d min movedim moveaxis narrow permute repeat "
    "reshape select sort split squeeze swapaxes swapdims t tile topk transpose unbind unflatten "
    "unsqueeze view view_as reshape_as pixel_shuffle pixel_unshuffle channel_shuffle empty_like "
    "T mT real data requires_grad_ __iter__ roll tensor_split",
    "mean std relu relu_ relu6 clamp clamp_ hardtanh leaky_relu threshold avg_pool1d avg_pool2d "
    "avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d interpolate upsample "
    "cat concat concatenate stack masked_fill fill_ copy_ pad constant_pad_nd __setitem__ "
    "index_put index_put_ masked_fill_",
    "eq ne lt le gt ge __eq__ __ne__ __lt__ __le__ __gt__ __ge__ equal allclose isclose item "
    "__bool__ __float__ __int__",
))  # fmt: skip
# Functions whose values are known to lie in a range get a grid of that range.
_RANGES = {"sigmoid": (1 / 256, 0), "tanh": (2 / 256, 128), "softmax": (1 / 256, 0),
           "hardsigmoid": (1 / 256, 0)}  # fmt: skip


class QuantizedTensor(Tensor):
    """A tensor of integers with a grid; made by `quantize_per_tensor` and its kin.

    >>> q = torch.quantize_per_tensor(torch.tensor([0.26, -9.0]), 0.1, 10, torch.quint8)
    >>> q.int_repr()
    tensor([13,  0], dtype=torch.uint8)
    >>> q.dequantize()
    tensor([ 0.3000, -1.0000])
    """

    _grid: Grid

    dtype = property(lambda self: self._grid.dtype)
    is_quantized = property(lambda self: True)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        kwargs = kwargs or {}
        attribute = name in ("__get__", "__set__")
        if attribute:
            name = func.__self__.__name__
        grid = next(_found((args, kwargs)))._grid
        if name in _QUESTIONS:
            return func(*args, **kwargs)
        with _core.DisableTorchFunctionSubclass():
            if name in _FLOAT:
                return func(*_numbers(args), **_numbers(kwargs))
            if name == "interpolate" and kwargs.get("mode", "nearest") == "nearest":
                name = "repeat"  # moves elements
            if name in _ROUNDED:
                return _rounded(func, name, args, kwargs, grid)
            if name in _RANGES:
                scale, zero_point = _RANGES[name]
                zero_point += -128 if grid.dtype is torch.qint8 else 0
                made = func(*_numbers(args), **_numbers(kwargs))
                return Grid(grid.dtype, scale, zero_point).quantize(made)
            known = name in _MOVED
            if not (known or attribute or name in _OF_INTEGERS):
                raise NotImplementedError(
                    f"{name}: not defined for quantized tensors; call dequantize() first"
                )
            integers = _plain((args, kwargs))
            result = func(*integers[0], **integers[1])
            return _moved(name, args, result, grid) if known else result

    def int_repr(self) -> Tensor:
        """The integers, in memory of their own."""
        return _plain(self).clone()

    def dequantize(self) -> Tensor:
        """The numbers, in float32."""
        return self._grid.numbers(_plain(self))

    def qscheme(self) -> qscheme:
        """How many scales there are."""
        return self._grid.scheme

    def _uniform(self, name: str) -> Grid:
        if self._grid.axis is not None:
            raise RuntimeError(
                f"{name}: expected a tensor that is quantized by one scale (per_tensor_affine); "
                f"got {self._grid.scheme}"
            )
        return self._grid

    def _by_channel(self, name: str) -> Grid:
        if self._grid.axis is None:
            raise RuntimeError(
                f"{name}: expected a tensor that is quantized by channel (per_channel_affine); "
                f"got {self._grid.scheme}"
            )
        return self._grid

    def q_scale(self) -> float:
        """The scale. RuntimeError if there are several."""
        return self._uniform("q_scale").scale

    def q_zero_point(self) -> int:
        """The zero point. RuntimeError if there are several."""
        return self._uniform("q_zero_point").zero_point

    def q_per_channel_scales(self) -> Tensor:
        """The scales of the channels."""
        return self._by_channel("q_per_channel_scales").scale

    def q_per_channel_zero_points(self) -> Tensor:
        """The zero points of the channels."""
        return self._by_channel("q_per_channel_zero_points").zero_point

    def q_per_channel_axis(self) -> int:
        """The dim of the channels."""
        axis = self._by_channel("q_per_channel_axis").axis
        assert axis is not None
        return axis

    def is_floating_point(self) -> bool:
        """False."""
        return False

    def __repr__(self, **options: Any) -> str:
        grid = self._grid
        scale, zero = ("scale", "zero_point")
        body = repr(self.dequantize())[:-1]
        tail = f"size={tuple(self.shape)}, dtype={grid.dtype},\n       "
        tail += f"quantization_scheme={grid.scheme}, {scale}={grid.scale}, {zero}={grid.zero_point}"
        return f"{body}, {tail}{'' if grid.axis is None else f', axis={grid.axis}'})"

    def __deepcopy__(self, memo: dict) -> QuantizedTensor:
        if id(self) not in memo:
            memo[id(self)] = self._grid.of(_plain(self).clone())
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        from ._utils import TypedStorage, _rebuild_qtensor

        grid, plain = self._grid, _plain(self)
        storage = TypedStorage(plain.untyped_storage(), grid.dtype)
        axis = () if grid.axis is None else (grid.axis,)
        params = (grid.scheme, grid.scale, grid.zero_point, *axis)
        place = (plain.storage_offset(), tuple(plain.shape), plain.stride())
        return _rebuild_qtensor, (storage, *place, params, False, OrderedDict())


# What a quantized tensor answers by methods of its own, and what its integers answer.
_QUESTIONS, _OF_INTEGERS = (frozenset(names.split()) for names in (
    "int_repr dequantize qscheme q_scale q_zero_point q_per_channel_scales "
    "q_per_channel_zero_points q_per_channel_axis is_floating_point __repr__ __deepcopy__ "
    "__reduce_ex__ dtype is_quantized",
    "size stride dim ndimension numel nelement is_contiguous storage_offset data_ptr "
    "untyped_storage element_size get_device is_complex is_signed __len__ __hash__ is_set_to "
    "is_shared pin_memory __dir__ share_memory_",
))  # fmt: skip


def _each(value: Any, function: Callable[[QuantizedTensor], Any]) -> Any:
    """``value`` with the function applied to the quantized tensors in it."""
    if isinstance(value, QuantizedTensor):
        return function(value)
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return type(value)(_each(v, function) for v in value)
    if isinstance(value, dict):
        return {k: _each(v, function) for k, v in value.items()}
    return value


def _found(value: Any) -> Any:
    """The quantized tensors in arguments."""
    found: list[QuantizedTensor] = []
    _each(value, lambda q: found.append(q))
    return iter(found)


def _plain(value: Any) -> Any:
    """The integers of quantized tensors: the same memory, without the grid."""
    with _core.DisableTorchFunctionSubclass():
        return _each(value, lambda q: q.as_subclass(Tensor))


def _numbers(value: Any) -> Any:
    return _each(value, lambda q: q._grid.numbers(_plain(q)))


def _rounded(func: Any, name: str, args: tuple, kwargs: dict, grid: Grid) -> Any:
    inplace = (name.endswith("_") and not name.endswith("__")) or name == "__setitem__"
    made = func(*_numbers(args), **_numbers(kwargs))
    if not inplace:
        return grid.quantize(made)
    target = args[0]
    if not isinstance(target, QuantizedTensor):
        return target.copy_(_numbers(args[1])) if name == "copy_" else made
    if name == "__setitem__":
        made = target._grid.numbers(_plain(target))
        made[_numbers(args[1])] = _numbers(args[2])
    _plain(target).copy_(target._grid.integers(made))
    return target


def _moved(name: str, args: tuple, result: Any, grid: Grid) -> Any:
    """Of the integers that an op moved, the tensors on the same grid."""

    def wrap(t: Any) -> Any:
        if isinstance(t, (tuple, list)):
            return type(t)(map(wrap, t)) if type(t) in (tuple, list) else type(t)([*map(wrap, t)])
        if not isinstance(t, Tensor) or t.dtype is not _INTEGERS[grid.dtype]:
            return t
        return _grid_after(name, args, t, grid).of(t)

    return wrap(result)


def _grid_after(name: str, args: tuple, result: Tensor, grid: Grid) -> Grid:
    """The grid of what an op made of a tensor whose channels are quantized each by its own."""
    if grid.axis is None:
        return grid
    source = args[0]
    if name in ("clone", "contiguous", "cpu", "detach", "empty_like"):
        return grid
    if name == "__getitem__" and grid.axis == 0 and isinstance(args[1], int):
        scale, zero_point = grid.scale[args[1]].item(), grid.zero_point[args[1]].item()
        return Grid(grid.dtype, scale, zero_point)
    if name in ("transpose", "permute", "t", "movedim"):
        sizes = [7] * source.dim()
        sizes[grid.axis] = 8  # so that it is found again
        moved = getattr(torch.empty(sizes, device="meta"), name)(*args[1:])
        return Grid(grid.dtype, grid.scale, grid.zero_point, moved.shape.index(8))
    if result.dim() > grid.axis and result.shape[grid.axis] == grid.scale.numel():
        return grid
    raise RuntimeError(
        f"{name}: length of scales must equal to channel, expected {result.shape} along dim "
        f"{grid.axis} to have {grid.scale.numel()}; call dequantize() first"
    )


# ---- making -------------------------------------------------------------------------------------


def _check(name: str, input: Tensor, dtype: Any) -> None:
    if dtype not in _INTEGERS:
        raise RuntimeError(
            f"{name}: {dtype} is not supported; the dtype is torch.quint8, qint8 or qint32"
        )
    if input.dtype is not torch.float32:
        raise RuntimeError(f"{name}: Quantize only works on Float Tensor, got {input.dtype}")


def _check_zero_point(name: str, zero_point: int, dtype: Any) -> None:
    limits = torch.iinfo(_INTEGERS[dtype])
    for beyond, side in ((zero_point > limits.max, "above upper"),
                         (zero_point < limits.min, "below lower")):  # fmt: skip
        if beyond:
            raise RuntimeError(f"{name}: zero_point {zero_point} is {side} bound of {dtype}")


def quantize_per_tensor(input: Any, scale: Any, zero_point: Any, dtype: Any) -> Any:
    """The tensor rounded to multiples of ``scale``, kept as integers; of a list, each.

    input: float32; dtype: torch.quint8, qint8 or qint32. RuntimeError for others, or where the
    zero point isn't of the dtype.

    >>> torch.quantize_per_tensor(torch.tensor([0.26]), 0.1, 10, torch.quint8).int_repr()
    tensor([13], dtype=torch.uint8)
    """
    if isinstance(input, (list, tuple)):
        each = zip(input, scale, zero_point, strict=True)
        return tuple(quantize_per_tensor(x, s, z, dtype) for x, s, z in each)
    _check("quantize_per_tensor", input, dtype)
    zero_point = int(zero_point)
    _check_zero_point("quantize_per_tensor", zero_point, dtype)
    return Grid(dtype, float(scale), zero_point).quantize(input)


def quantize_per_channel(
    input: Tensor, scales: Tensor, zero_points: Tensor, axis: int, dtype: Any
) -> Tensor:
    """The tensor rounded to multiples of a scale for each index of the dim ``axis``.

    scales, zero_points: (input.size(axis),). RuntimeError for other sizes or dtypes.
    """
    _check("quantize_per_channel", input, dtype)
    if not 0 <= axis < input.dim():
        raise RuntimeError(
            f"quantize_per_channel: Channel axis out of range; got {axis} of {input.dim()} dims"
        )
    for given in (scales, zero_points):
        if given.dim() != 1 or given.numel() != input.shape[axis]:
            raise RuntimeError(
                f"quantize_per_channel: length of scales and zero points must equal to channel, "
                f"{input.shape[axis]}; got {tuple(given.shape)}"
            )
    floating = zero_points.is_floating_point()
    zeros = zero_points.float() if floating else zero_points.long()
    return Grid(dtype, scales.float() if floating else scales.double(), zeros, axis).quantize(
        input
    )


def choose_qparams(low: float, high: float, qmin: int, qmax: int) -> tuple[float, int]:
    """The scale and zero point whose grid covers [low, high] and 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (qmax - qmin)
    if scale == 0.0 or 1 / scale == float("inf"):
        scale = 0.1
    # The zero point of the end at which it is the more exact.
    from_low, from_high = qmin - low / scale, qmax - high / scale
    error_low, error_high = abs(qmin) - abs(low / scale), abs(qmax) - abs(high / scale)
    initial = from_low if error_low < error_high else from_high
    return scale, min(max(round(initial), qmin), qmax)


def quantize_per_tensor_dynamic(input: Tensor, dtype: Any, reduce_range: bool) -> Tensor:
    """`quantize_per_tensor` with the scale and zero point that cover the tensor's values.

    ``reduce_range`` leaves one bit unused, for products of 8-bit numbers in 16 bits.
    """
    _check("quantize_per_tensor_dynamic", input, dtype)
    limits = torch.iinfo(_INTEGERS[dtype])
    qmin, qmax = limits.min, limits.max
    if reduce_range:
        qmin, qmax = qmin // 2, qmax // 2
    low, high = input.aminmax() if input.numel() else (torch.zeros(()), torch.zeros(()))
    scale, zero_point = choose_qparams(low.item(), high.item(), qmin, qmax)
    return Grid(dtype, scale, zero_point).quantize(input)


# ---- functions of quantized tensors -------------------------------------------------------------


def dequantize(tensor: Any) -> Any:
    """The numbers that quantized tensors stand for, in float32; of others, the tensor in it."""
    if isinstance(tensor, (list, tuple)):
        return tuple(map(dequantize, tensor))
    return tensor.dequantize() if isinstance(tensor, QuantizedTensor) else tensor.float()


def _question(name: str) -> Callable[[Tensor], Any]:
    def ask(input: Tensor) -> Any:
        if not isinstance(input, QuantizedTensor):
            raise NotImplementedError(
                f"{name}: needs a quantized tensor; got {getattr(input, 'dtype', type(input))}"
            )
        return getattr(input, name)()

    ask.__name__ = ask.__qualname__ = name
    ask.__doc__ = getattr(QuantizedTensor, name).__doc__
    return ask


int_repr = _question("int_repr")
q_scale = _question("q_scale")
q_zero_point = _question("q_zero_point")
q_per_channel_scales = _question("q_per_channel_scales")
q_per_channel_zero_points = _question("q_per_channel_zero_points")
q_per_channel_axis = _question("q_per_channel_axis")
