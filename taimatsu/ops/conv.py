"""Convolutions. One linear map and its transpose, which are each other's gradients."""

from __future__ import annotations

from .table import composite, native

_SETTINGS = (
    "int[] stride, int[] padding, int[] dilation, bool transposed, int[] output_padding, int groups"
)


def _input_gradient(g, input_like, weight, stride, padding, dilation, transposed, groups):
    """The transposed map; output padding makes up for what the stride left over."""
    if transposed:
        out = convolution(g, weight, None, stride, padding, dilation, False, [0] * len(stride),
                          groups)
        # Output padding of a stride or more leaves room for places that the input hasn't.
        for d, n in enumerate(input_like.shape[2:], 2):
            out = out if out.size(d) == n else out.narrow(d, 0, n)
        return out
    left_over = [
        n - ((o - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, o, k, s, p, d in zip(input_like.shape[2:], g.shape[2:], weight.shape[2:], stride,
                                    padding, dilation, strict=True)
    ]
    return convolution(g, weight, None, stride, padding, dilation, True, left_over, groups)


def _convolution_gradient(g, input, weight, bias_like, stride, padding, dilation, transposed,
                          output_padding, groups, needs):
    by_input = by_weight = by_bias = None
    if needs[0]:
        by_input = _input_gradient(g, input, weight.conj(), stride, padding, dilation, transposed,
                                   groups)
    if needs[1]:
        by_weight = _convolution_weight(g, input.conj(), weight.shape, stride, padding, dilation,
                                        transposed, output_padding, groups)
    if needs[2]:
        by_bias = g.sum([d for d in range(g.dim()) if d != 1])
    return by_input, by_weight, by_bias


convolution = native(
    f"convolution(Tensor input, Tensor weight, Tensor? bias, {_SETTINGS}) -> Tensor",
    method=False,
    doc="""The convolution that `conv1d` ... `conv_transpose3d` are special cases of.

    input: (batch, in, *sizes), weight: (out, in / groups, *kernel), or of a transposed one
    (in, out / groups, *kernel); one to three dims. RuntimeError if sizes or dtypes don't match.
    """,
)
convolution.gradient(_convolution_gradient)


def _weight_gradient_gradient(g, grad, input, stride, padding, dilation, transposed,
                              output_padding, groups, needs):
    """`g` stands in the place of a weight."""
    by_grad = by_input = None
    if needs[0]:
        by_grad = convolution(input.conj(), g, None, stride, padding, dilation, transposed,
                              output_padding, groups)
    if needs[1]:
        by_input = _input_gradient(grad.conj(), input, g, stride, padding, dilation, transposed,
                                   groups)
    return by_grad, by_input


_convolution_weight = native(
    f"_convolution_weight(Tensor grad, Tensor input, int[] sizes, {_SETTINGS}) -> Tensor",
    method=False,
    module=None,
    doc="The gradient of a convolution's weight, which has the given sizes, if all is real.",
)
_convolution_weight.gradient(_weight_gradient_gradient)


# ---- The public forms ----------------------------------------------------------------------------


def _ntuple(value, n, name, what):
    values = [value] * n if isinstance(value, int) else list(value)
    if len(values) == 1:
        values *= n
    if len(values) != n:
        raise RuntimeError(f"{name}: expected {what} to be a single int or a list of {n} ints, but "
                           f"got {values}")
    return values


def _batched(name, n, input, weight, run):
    """A missing batch dim is added for the call."""
    if weight.dim() != n + 2:
        raise RuntimeError(f"{name}: expected a {n + 2}-dimensional weight for input of size "
                           f"{list(input.shape)}, but got weight of size {list(weight.shape)}")
    if input.dim() == n + 1:
        return run(input.unsqueeze(0)).squeeze(0)
    if input.dim() != n + 2:
        raise RuntimeError(f"{name}: Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to "
                           f"{name}, but got input of size: {list(input.shape)}")
    return run(input)


def _same(name, n, input, weight, stride, dilation):
    """Padding that keeps the sizes: what one side gets more is added to the input."""
    if any(s != 1 for s in stride):
        raise RuntimeError(f"{name}: padding='same' is not supported for strided convolutions")
    total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    if any(t % 2 for t in total):
        from .margins import constant_pad_nd

        input = constant_pad_nd(input, [v for t in reversed(total) for v in (0, t % 2)])
    return input, [t // 2 for t in total]


def _conv(n: int):
    name = f"conv{n}d"
    sizes = ", ".join(("L", "HW", "DHW")[n - 1])

    def conv(input, weight, bias, stride, padding, dilation, groups):
        stride = _ntuple(stride, n, name, "stride")
        dilation = _ntuple(dilation, n, name, "dilation")

        def run(x):
            if padding == "same":
                x, widths = _same(name, n, x, weight, stride, dilation)
            elif padding == "valid":
                widths = [0] * n
            elif isinstance(padding, str):
                raise RuntimeError(f"{name}: Invalid padding string: {padding!r}; use 'valid' or "
                                   "'same'")
            else:
                widths = _ntuple(padding, n, name, "padding")
            return convolution(x, weight, bias, stride, widths, dilation, False, [0] * n, groups)

        return _batched(name, n, input, weight, run)

    return composite(
        f"{name}(Tensor input, Tensor weight, Tensor? bias=None, int[{n}] stride=1,"
        f" Any padding=0, int[{n}] dilation=1, int groups=1) -> Tensor",
        method=False,
        doc=f"""Cross-correlation over {n} dims.

        input: (batch, in, {sizes}) or (in, {sizes}), weight: (out, in / groups, *kernel),
        bias: (out). `padding`: zeros on both sides, ints or 'valid' (none) or 'same'.
        RuntimeError if sizes or dtypes don't match, or the kernel is larger than the input.
        """,
    )(conv)


def _conv_transpose(n: int):
    name = f"conv_transpose{n}d"

    def conv_transpose(input, weight, bias, stride, padding, output_padding, groups, dilation):
        settings = [_ntuple(v, n, name, what) for v, what in
                    ((stride, "stride"), (padding, "padding"), (dilation, "dilation"))]
        extra = _ntuple(output_padding, n, name, "output_padding")
        return _batched(name, n, input, weight, lambda x: convolution(
            x, weight, bias, *settings, True, extra, groups))

    return composite(
        f"{name}(Tensor input, Tensor weight, Tensor? bias=None, int[{n}] stride=1,"
        f" int[{n}] padding=0, int[{n}] output_padding=0, int groups=1, int[{n}] dilation=1)"
        " -> Tensor",
        method=False,
        doc=f"""The transpose of `conv{n}d` as a linear map (also called deconvolution).

        input: (batch, in, *sizes), weight: (in, out / groups, *kernel), bias: (out).
        `output_padding` is added to one side of the result's sizes.
        """,
    )(conv_transpose)


conv1d, conv2d, conv3d = (_conv(n) for n in (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = (_conv_transpose(n) for n in (1, 2, 3))


@composite("conv_tbc(Tensor self, Tensor weight, Tensor bias, int pad=0) -> Tensor", method=False)
def conv_tbc(self, weight, bias, pad):
    """`conv1d` of (time, batch, in) by weight (kernel, in, out), giving (time, batch, out)."""
    if self.dim() != 3 or weight.dim() != 3 or bias.dim() != 1:
        raise RuntimeError("conv_tbc: needs input and weight of 3 dims and bias of 1; got shapes "
                           f"{list(self.shape)}, {list(weight.shape)}, {list(bias.shape)}")
    out = conv1d(self.permute(1, 2, 0), weight.permute(2, 1, 0), bias, 1, pad)
    return out.permute(2, 0, 1)
