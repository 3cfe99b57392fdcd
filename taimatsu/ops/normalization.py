"""Softmax and the normalisations."""

from taimatsu.codegen.lang import constant, exp, log, rsqrt, sqrt
from taimatsu.codegen.promote import FLOATING, INEXACT

from .table import composite, row


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


@row("layer_norm(Row self, int[] normalized_shape, Shared? weight=None, Shared? bias=None,"
     " float eps=1e-05) -> Row", rows=("trailing", "normalized_shape"), module="nn.functional",
     dtypes=FLOATING)
def layer_norm(x, weight, bias, eps):
    """Each row shifted to mean 0 and scaled to variance 1, then `* weight + bias`."""
    d = x - x.mean()
    y = d / sqrt((d * d).mean() + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@row("rms_norm(Row self, int[] normalized_shape, Shared? weight=None, float? eps=None) -> Row",
     rows=("trailing", "normalized_shape"), module="nn.functional", dtypes=INEXACT)
def rms_norm(x, weight, eps):
    """Each row divided by its root mean square, then `* weight`."""
    if eps is None:
        eps = {"f32": 1.1920928955078125e-07, "f64": 2.220446049250313e-16}[x.dtype.real.name]
    y = x * rsqrt((x * x).mean() + eps)  # of complex numbers too their squares, as in PyTorch
    return y if weight is None else y * weight


# A channel (dim 1) is a cell, everything else its row.
_CHANNELS = {"rows": ("not", 1), "method": False, "out": False, "dtypes": FLOATING}


@row("_batch_norm_train(Row self, Cell? weight, Cell? bias, float eps)"
     " -> (Row, Cell mean, Cell var)", **_CHANNELS)
def batch_norm_train(x, weight, bias, eps):
    """The normalised batch, and the statistics that it was normalised by."""
    mean = x.mean()
    d = x - mean
    var = (d * d).mean()
    y = d / sqrt(var + eps)
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias), mean, var


@row("_batch_norm_eval(Row self, Cell mean, Cell var, Cell? weight, Cell? bias, float eps) -> Row",
     **_CHANNELS)
def batch_norm_eval(x, mean, var, weight, bias, eps):
    """The batch normalised by given statistics."""
    y = (x - mean) * rsqrt(var + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@composite("batch_norm(Tensor self, Tensor? running_mean, Tensor? running_var,"
           " Tensor? weight=None, Tensor? bias=None, bool training=False, float momentum=0.1,"
           " float eps=1e-05) -> Tensor", module="nn.functional")
def batch_norm(self, running_mean, running_var, weight, bias, training, momentum, eps):
    """Normalises each channel (dim 1) by the batch's statistics, or by the running ones.

    In training the running statistics move towards the batch's by `momentum`, the variance in its
    unbiased form. Raises ValueError for a batch of one value per channel.
    """
    from taimatsu import no_grad

    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("batch_norm: expected running_mean and running_var to be defined "
                               "when training=False")
        return batch_norm_eval(self, running_mean, running_var, weight, bias, eps)
    count = self.numel() // self.size(1) if self.size(1) else 0
    if count <= 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size "
                         f"{self.shape}")
    y, mean, var = batch_norm_train(self, weight, bias, eps)
    if running_mean is not None:
        with no_grad():
            running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
            unbiased = var.detach().to(running_var.dtype) * (count / (count - 1))
            running_var.lerp_(unbiased, momentum)
    return y
