"""Rounding to a grid of few numbers, as quantized tensors hold them, in floating point."""

from taimatsu.codegen import lang
from taimatsu.codegen.lang import where
from taimatsu.codegen.promote import FLOATING

from .table import composite, pointwise


def _level(x, scale, zero_point):
    """The integer that x becomes, before it is clamped."""
    return lang.rint(x * (1 / scale)) + zero_point


@pointwise("_fake_quantize(Tensor self, Tensor|Number scale, Tensor|Number zero_point, "
           "float quant_min, float quant_max) -> Tensor", module=None, method=False,
           dtypes=FLOATING)  # fmt: skip
def fake_quantize(x, scale, zero_point, quant_min, quant_max):
    """x at the nearest of the numbers scale * (q - zero_point), quant_min <= q <= quant_max."""
    level = lang.clamp(_level(x, scale, zero_point), quant_min, quant_max)
    return (level - zero_point) * scale


@fake_quantize.gradient
def _(g, self, scale, zero_point, quant_min, quant_max):
    level = _level(self, scale, zero_point)  # straight through where nothing is cut off
    return where((level >= quant_min) & (level <= quant_max), g, 0), None, None


def _check(name, zero_point, quant_min, quant_max):
    if quant_min > quant_max:
        raise RuntimeError(
            f"{name}: `quant_min` should be less than or equal to `quant_max`; got {quant_min} "
            f"and {quant_max}"
        )
    whole = [zero_point] if isinstance(zero_point, (int, float)) else None
    if whole is None and not zero_point.dtype.is_floating_point and not zero_point.is_meta:
        whole = [*map(int, zero_point.aminmax())] if zero_point.numel() else None
    if whole and (min(whole) < quant_min or max(whole) > quant_max):
        raise RuntimeError(
            f"{name}: `zero_point` must be between `quant_min` and `quant_max`; got {zero_point} "
            f"outside of [{quant_min}, {quant_max}]"
        )


@composite("fake_quantize_per_tensor_affine(Tensor self, Tensor|Number scale, "
           "Tensor|Number zero_point, int quant_min, int quant_max) -> Tensor", method=False,
           replayed=False)  # fmt: skip
def fake_quantize_per_tensor_affine(self, scale, zero_point, quant_min, quant_max):
    """`self` rounded as a quantized tensor would hold it; what training for quantization sees.

    (clamp(round(self / scale) + zero_point, quant_min, quant_max) - zero_point) * scale. The
    gradient goes through where nothing is clamped. RuntimeError unless quant_min <= zero_point <=
    quant_max.

    >>> x = taimatsu.tensor([0.26, 9.0])
    >>> taimatsu.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 15)
    tensor([0.3000, 1.5000])
    """
    _check("fake_quantize_per_tensor_affine", zero_point, quant_min, quant_max)
    return fake_quantize.call(self, scale, zero_point, float(quant_min), float(quant_max))


@composite("fake_quantize_per_channel_affine(Tensor self, Tensor scale, Tensor zero_point, "
           "int axis, int quant_min, int quant_max) -> Tensor", method=False, replayed=False)
def fake_quantize_per_channel_affine(self, scale, zero_point, axis, quant_min, quant_max):
    """`fake_quantize_per_tensor_affine` with a scale and a zero point for each index of a dim.

    scale, zero_point: (self.size(axis),). RuntimeError for other sizes.

    >>> x, scale, zero = taimatsu.full((2, 1), 0.26), taimatsu.tensor([0.1, 1.0]), taimatsu.zeros(2)
    >>> taimatsu.fake_quantize_per_channel_affine(x, scale, zero, 0, 0, 15)
    tensor([[0.3000],
            [0.0000]])
    """
    name = "fake_quantize_per_channel_affine"
    if not 0 <= axis < self.dim():
        raise RuntimeError(
            f"{name}: `axis` must be between 0 and number of dimensions of input; got {axis} for "
            f"{self.dim()} dims"
        )
    for what, given in (("scale", scale), ("zero-point", zero_point)):
        if given.dim() != 1 or given.shape[0] != self.shape[axis]:
            raise RuntimeError(
                f"{name}: dimensions of {what} and input do not match: expected "
                f"({self.shape[axis]},); got {tuple(given.shape)}"
            )
    _check(name, zero_point, quant_min, quant_max)
    along = [1] * self.dim()
    along[axis] = -1
    return fake_quantize.call(self, scale.to(self.dtype).reshape(along), zero_point.reshape(along),
                              float(quant_min), float(quant_max))  # fmt: skip
