"""Softmax and the normalisations.

Weights and biases follow the input: they may have a wider type, as under mixed precision.
"""

from __future__ import annotations

import math

from taimatsu.codegen.lang import constant, exp, log, rsqrt, sqrt
from taimatsu.codegen.promote import FLOATING, INEXACT

from .table import composite, pointwise, row

_TOP = {"method": False}
_AFFINE = ("weight", "bias")
_F = {"module": "nn.functional", "method": False}
_PART = {"module": None, "method": False, "dtypes": FLOATING}


@row("softmax(Row self, int dim, ScalarType? dtype=None) -> Row", dtypes=FLOATING)
def softmax(x):
    """exp(x) / sum(exp(x)) along `dim`.

    Shapes: as `self`. Raises IndexError for a `dim` that isn't there.

    >>> taimatsu.softmax(taimatsu.zeros(4), 0)
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    e = exp(x - constant(x.max()))
    return e / e.sum()


@row("log_softmax(Row self, int dim, ScalarType? dtype=None) -> Row", dtypes=FLOATING)
def log_softmax(x):
    """log(softmax(x)), without overflow."""
    d = x - constant(x.max())
    return d - log(exp(d).sum())


# ---- over the trailing dims ----------------------------------------------------------------------


def _scaled(y, weight, bias):
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@row("layer_norm(Row self, int[] normalized_shape, Shared? weight=None, Shared? bias=None,"
     " float eps=1e-05) -> Row", rows=("trailing", "normalized_shape"), follows=_AFFINE,
     module="nn.functional", dtypes=FLOATING)
def layer_norm(x, weight, bias, eps):
    """Each row shifted to mean 0 and scaled to variance 1, then `* weight + bias`."""
    d = x - x.mean()
    return _scaled(d / sqrt((d * d).mean() + eps), weight, bias)


@row("_layer_norm_stats(Row self, int[] normalized_shape, Shared? weight, Shared? bias, float eps)"
     " -> (Row, Cell mean, Cell rstd)", rows=("trailing", "normalized_shape"), follows=_AFFINE,
     **_PART)
def layer_norm_stats(x, weight, bias, eps):
    """`layer_norm`, and what it shifted and scaled by."""
    mean = x.mean()
    d = x - mean
    r = 1 / sqrt((d * d).mean() + eps)
    return _scaled(d * r, weight, bias), mean, r


@row("rms_norm(Row self, int[] normalized_shape, Shared? weight=None, float? eps=None) -> Row",
     rows=("trailing", "normalized_shape"), module="nn.functional", dtypes=INEXACT)
def rms_norm(x, weight, eps):
    """Each row divided by its root mean square, then `* weight`."""
    if eps is None:
        eps = {"f32": 1.1920928955078125e-07, "f64": 2.220446049250313e-16}[x.dtype.real.name]
    y = x * rsqrt((x * x).mean() + eps)  # of complex numbers too their squares, as in PyTorch
    return y if weight is None else y * weight


@composite("layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None,"
           " Tensor? bias=None, float eps=1e-05, bool cudnn_enable=True) -> Tensor", **_TOP)
def layer_norm_top(input, normalized_shape, weight, bias, eps, cudnn_enable):
    """`nn.functional.layer_norm`; `cudnn_enable` has no effect."""
    return layer_norm(input, normalized_shape, weight, bias, eps)


@composite("rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None)"
           " -> Tensor", **_TOP)
def rms_norm_top(input, normalized_shape, weight, eps):
    """`nn.functional.rms_norm`."""
    return rms_norm(input, normalized_shape, weight, eps)


@composite("native_layer_norm(Tensor input, int[] normalized_shape, Tensor? weight, Tensor? bias,"
           " float eps) -> (Tensor, Tensor, Tensor)", **_TOP)
def native_layer_norm(input, normalized_shape, weight, bias, eps):
    """`layer_norm`, and the mean and 1 / sqrt(var + eps) of each row, which have no gradient."""
    y, *stats = layer_norm_stats(input, normalized_shape, weight, bias, eps)
    shape = [*input.shape[: input.dim() - len(normalized_shape)], *[1] * len(normalized_shape)]
    return y, *(s.detach().reshape(shape) for s in stats)


# ---- over groups of channels ---------------------------------------------------------------------


@row("_group_norm_rows(Row self, Row? weight, Row? bias, float eps, int[] cells)"
     " -> (Row, Cell mean, Cell rstd)", rows=("not", "cells"), follows=_AFFINE, **_PART)
def group_norm_rows(x, weight, bias, eps):
    """Rows (channel, place) of (sample, group, channel, place)."""
    mean = x.mean()
    d = x - mean
    r = 1 / sqrt((d * d).mean() + eps)
    return _scaled(d * r, weight, bias), mean, r


@row("_gradient_sums(Row self, Row x, Cell mean, int dim=-1) -> (Cell, Cell)", **_PART)
def gradient_sums(g, x, mean):
    """The sums of a gradient, and of its products with what was normalised."""
    return g.sum(), (g * (x - mean)).sum()


@pointwise("_gradient_line(Tensor self, Tensor slope, Tensor x, Tensor mean, Tensor pull,"
           " Tensor shift) -> Tensor", inplace=False, **_PART)
def gradient_line(g, slope, x, mean, pull, shift):
    return g * slope + (x - mean) * pull + shift


def _grouped(x, groups: int):
    n, channels = x.shape[:2]
    if x.dim() < 4:  # only images may have their channels innermost
        x = x.contiguous()
    return x.reshape(n, groups, channels // groups, math.prod(x.shape[2:]))


@composite("_group_norm(Tensor input, Tensor? weight, Tensor? bias, int groups, float eps)"
           " -> (Tensor, Tensor mean, Tensor rstd)", module=None, **_TOP)
def group_norm_stats(input, weight, bias, groups, eps):
    """(batch, channels, ...) normalised over groups of channels; statistics (batch, groups)."""
    x = _grouped(input, groups)
    affine = [None if a is None else a.reshape(1, groups, -1, 1).expand(x.shape)
              for a in (weight, bias)]
    y, mean, rstd = group_norm_rows(x, *affine, eps, [0, 1])
    return y.reshape(input.shape), mean, rstd


@group_norm_stats.gradient  # weights would get a gradient for every element, then summed
def _(g0, g_mean, g_rstd, input, weight, mean, rstd, bias_like, groups, needs):
    x, g = _grouped(input, groups), _grouped(g0, groups)
    m, r = mean.unsqueeze(2), rstd.unsqueeze(2)  # (batch, groups, 1), beside channels
    total, product = gradient_sums(g, x, m.expand(x.shape[:3]))
    by_input = by_weight = by_bias = None
    if needs[0]:
        w = r.new_ones([1, 1, 1]) if weight is None else weight.reshape(1, groups, -1)
        count = x.size(2) * x.size(3)
        by_rstd = (product * w).sum(2, keepdim=True) + g_rstd.unsqueeze(2)
        by_mean = g_mean.unsqueeze(2) - r * (total * w).sum(2, keepdim=True)
        slope, pull, shift = r * w, by_rstd * r**3 / -count, by_mean / count
        by_input = gradient_line(g, slope.unsqueeze(3), x, *(
            a.unsqueeze(3) for a in (m, pull, shift))).reshape(input.shape)
    if needs[1]:
        by_weight = (product * r).sum(0).reshape(-1)
    if needs[2]:
        by_bias = total.sum(0).reshape(-1)
    return by_input, by_weight, by_bias


def _check_groups(input, num_groups: int, weight, bias) -> None:
    sizes = list(input.shape)
    if input.dim() < 2:
        raise RuntimeError(f"group_norm: Expected at least 2 dimensions for input tensor but "
                           f"received {input.dim()}")
    if num_groups == 0:
        raise ZeroDivisionError("group_norm: num_groups must not be 0")
    if num_groups < 0 or sizes[1] % num_groups:
        raise RuntimeError("group_norm: Expected number of channels in input to be divisible by "
                           f"num_groups, but got input of shape {sizes} and num_groups="
                           f"{num_groups}")
    for name, a in (("weight", weight), ("bias", bias)):
        if a is not None and list(a.shape) != [sizes[1]]:
            raise RuntimeError(f"group_norm: Expected {name} to be a vector of size equal to the "
                               f"number of channels in input, but got {name} of shape "
                               f"{list(a.shape)} and input of shape {sizes}")


def _group_norm(input, num_groups, weight, bias, eps):
    _check_groups(input, num_groups, weight, bias)
    if not input.numel():
        return input.clone()
    return group_norm_stats(input, weight, bias, num_groups, eps)[0]


@composite("group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None,"
           " float eps=1e-05) -> Tensor", **_F)
def group_norm(input, num_groups, weight, bias, eps):
    """Normalises (batch, channels, ...) over groups of channels, then scales and shifts each.

    Raises RuntimeError if `num_groups` doesn't divide the channels or weight and bias aren't one
    for each, ValueError for one value in each group.
    """
    if input.dim() > 1 and num_groups > 0 and input.numel() == input.shape[0] * num_groups \
            and input.shape[0] == 1:
        raise ValueError("Expected more than 1 value per channel when training, got input size "
                         f"{list(input.shape)}")
    return _group_norm(input, num_groups, weight, bias, eps)


@composite("group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None,"
           " float eps=1e-05, bool cudnn_enabled=True) -> Tensor", **_TOP)
def group_norm_top(input, num_groups, weight, bias, eps, cudnn_enabled):
    """`nn.functional.group_norm`; `cudnn_enabled` has no effect."""
    return _group_norm(input, num_groups, weight, bias, eps)


@composite("native_group_norm(Tensor input, Tensor? weight, Tensor? bias, int N, int C, int HxW,"
           " int group, float eps) -> (Tensor, Tensor, Tensor)", **_TOP)
def native_group_norm(input, weight, bias, N, C, HxW, group, eps):
    """`group_norm`, and the mean and 1 / sqrt(var + eps) of each group (batch, groups)."""
    _check_groups(input, group, weight, bias)
    if N * C * HxW != input.numel():
        raise RuntimeError(f"native_group_norm: N, C, HxW = {N}, {C}, {HxW} don't fit the input's "
                           f"shape {list(input.shape)}")
    return group_norm_stats(input, weight, bias, group, eps)


# ---- over all but the channels -------------------------------------------------------------------

# A channel (dim 1) is a cell, everything else its row.
_CHANNELS = {"rows": ("not", 1), "method": False, "out": False, "dtypes": FLOATING}


@row("_batch_norm_train(Row self, Cell? weight, Cell? bias, float eps)"
     " -> (Row, Cell mean, Cell var)", follows=_AFFINE, **_CHANNELS)
def batch_norm_train(x, weight, bias, eps):
    """The normalised batch, and the statistics that it was normalised by."""
    mean = x.mean()
    d = x - mean
    var = (d * d).mean()
    return _scaled(d / sqrt(var + eps), weight, bias), mean, var


@row("_batch_norm_eval(Row self, Cell mean, Cell var, Cell? weight, Cell? bias, float eps) -> Row",
     follows=("mean", "var", *_AFFINE), **_CHANNELS)
def batch_norm_eval(x, mean, var, weight, bias, eps):
    """The batch normalised by given statistics."""
    return _scaled((x - mean) * rsqrt(var + eps), weight, bias)


def _check_channels(self, training: bool, **of_channels) -> None:
    channels = self.shape[1] if self.dim() > 1 else 0
    for name, x in of_channels.items():
        if x is None and not training and name.startswith("running"):
            raise RuntimeError(f"batch_norm: {name} must be defined in evaluation mode")
        if x is not None and x.numel() != channels:
            raise RuntimeError(f"batch_norm: {name} should contain {channels} elements not "
                               f"{x.numel()}")


def _batch_norm(self, running_mean, running_var, weight, bias, training, momentum, eps):
    """The result, and in training the batch's mean and variance; moves the running ones."""
    from taimatsu import no_grad

    _check_channels(self, training, running_mean=running_mean, running_var=running_var,
                    weight=weight, bias=bias)
    if not training:
        y = batch_norm_eval(self, running_mean, running_var, weight, bias, eps)
        return y, None, None
    if self.dim() < 2 and not self.numel():
        return self.clone(), None, None
    if self.dim() < 2:
        raise IndexError(f"batch_norm: needs (batch, channels, ...), got shape {list(self.shape)}")
    y, mean, var = batch_norm_train(self, weight, bias, eps)
    count = self.numel() // self.size(1) if self.numel() else 0
    with no_grad():
        if running_mean is not None and count:
            running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
        if running_var is not None and count:
            unbiased = var.detach().to(running_var.dtype) * (count / max(count - 1, 1))
            running_var.lerp_(unbiased, momentum)
    return y, mean, var


@composite("batch_norm(Tensor self, Tensor? running_mean, Tensor? running_var,"
           " Tensor? weight=None, Tensor? bias=None, bool training=False, float momentum=0.1,"
           " float eps=1e-05) -> Tensor", module="nn.functional")
def batch_norm(self, running_mean, running_var, weight, bias, training, momentum, eps):
    """Normalises each channel (dim 1) by the batch's statistics, or by the running ones.

    In training the running statistics move towards the batch's by `momentum`, the variance in its
    unbiased form. Raises ValueError for a batch of one value per channel.
    """
    sizes = self.shape
    if training and self.dim() != 1 and sizes[0] * math.prod(sizes[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size "
                         f"{sizes}")
    return _batch_norm(self, running_mean, running_var, weight, bias, training, momentum, eps)[0]


_GIVEN = ("Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var,"
          " bool {}, float momentum, float eps")


@composite(f"batch_norm({_GIVEN.format('training')}, bool cudnn_enabled) -> Tensor", **_TOP)
def batch_norm_top(input, weight, bias, running_mean, running_var, training, momentum, eps,
                   cudnn_enabled):
    """`nn.functional.batch_norm`, its arguments in another order; `cudnn_enabled` has no effect."""
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)[0]


@composite(f"native_batch_norm({_GIVEN.format('training')}) -> (Tensor, Tensor, Tensor)", out=True,
           **_TOP)
def native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """`batch_norm`, and the batch's mean and 1 / sqrt(var + eps), which have no gradient.

    In evaluation these have no elements.
    """
    y, mean, var = _batch_norm(input, running_mean, running_var, weight, bias, training, momentum,
                               eps)
    if not training:
        return y, input.new_empty([0]), input.new_empty([0])
    return y, mean.detach(), (var.detach() + eps).rsqrt()


def _instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps):
    from taimatsu import no_grad

    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError("instance_norm: Expected running_mean and running_var to be defined "
                           "when use_input_stats is false")
    if not input.numel():
        return input.clone()
    if input.dim() < 2:
        raise RuntimeError("instance_norm: needs (batch, channels, ...), got shape "
                           f"{list(input.shape)}")
    n, channels, *places = input.shape
    if use_input_stats and running_mean is None and running_var is None:
        return _group_norm(input, channels, weight, bias, eps)
    # A batch norm of one sample with as many channels as all samples have together.
    mean, var, weight, bias = (None if a is None else a.repeat(n) for a in
                               (running_mean, running_var, weight, bias))
    y = _batch_norm(input.reshape(1, n * channels, *places), mean, var, weight, bias,
                    use_input_stats, momentum, eps)[0]
    if use_input_stats:
        with no_grad():
            for running, moved in ((running_mean, mean), (running_var, var)):
                if running is not None and moved is not None:
                    running.copy_(moved.reshape(n, channels).mean(0))
    return y.reshape(input.shape)


@composite("instance_norm(Tensor input, Tensor? running_mean=None, Tensor? running_var=None,"
           " Tensor? weight=None, Tensor? bias=None, bool use_input_stats=True, float momentum=0.1,"
           " float eps=1e-05) -> Tensor", **_F)
def instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps):
    """Normalises each channel of each sample: (batch, channels, ...).

    The running statistics move towards the means of the samples', or are used instead of them.
    ValueError for channels of one element, RuntimeError where statistics are missing.
    """
    if use_input_stats and math.prod(input.shape[2:]) == 1:
        raise ValueError("Expected more than 1 spatial element when training, got input size "
                         f"{input.shape}")
    return _instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum,
                          eps)


@composite(f"instance_norm({_GIVEN.format('use_input_stats')}, bool cudnn_enabled) -> Tensor",
           **_TOP)
def instance_norm_top(input, weight, bias, running_mean, running_var, use_input_stats, momentum,
                      eps, cudnn_enabled):
    """`nn.functional.instance_norm`, its arguments in another order."""
    return _instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum,
                          eps)
