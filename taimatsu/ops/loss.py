"""Losses."""

from __future__ import annotations

from taimatsu import _core
from taimatsu.codegen import lang
from taimatsu.codegen.lang import constant, exp, log, log1p, pick, where
from taimatsu.codegen.promote import FLOATING, NUMERIC

from .reduction import any_outside
from .table import composite, native, pointwise, row

_F = {"module": "nn.functional", "method": False, "inplace": False}
_OLD = "bool? size_average=None, bool? reduce=None, str reduction='mean'"


def _reduction(reduction: str, size_average, reduce) -> str:
    """The reduction that the older parameters name, where they are given."""
    if size_average is None and reduce is None:
        return reduction
    return "none" if reduce is False else "mean" if size_average is not False else "sum"


def reduced(loss, reduction: str, size_average=None, reduce=None):
    """The loss as `reduction` says: 'none', 'mean' or 'sum'."""
    reduction = _reduction(reduction, size_average, reduce)
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction")


_PART = {"method": False, "inplace": False, "dtypes": FLOATING}


@pointwise("_squared_error(Tensor self, Tensor target) -> Tensor", **_PART)
def _squared(x, t):
    return (x - t) * (x - t)


@pointwise("_absolute_error(Tensor self, Tensor target) -> Tensor",
           **{**_PART, "dtypes": NUMERIC})
def _absolute(x, t):
    return lang.abs(x - t)


@composite(f"mse_loss(Tensor self, Tensor target, {_OLD}, Tensor? weight=None) -> Tensor", **_F)
def mse_loss(self, target, size_average, reduce, reduction, weight):
    """The mean squared error."""
    loss = _squared(self, target)
    return _weighted(loss, weight, reduction, size_average, reduce)


@composite(f"l1_loss(Tensor self, Tensor target, {_OLD}, Tensor? weight=None) -> Tensor", **_F)
def l1_loss(self, target, size_average, reduce, reduction, weight):
    """The mean absolute error."""
    return _weighted(_absolute(self, target), weight, reduction, size_average, reduce)


def _weighted(loss, weight, reduction, size_average, reduce):
    if weight is None:
        return reduced(loss, reduction, size_average, reduce)
    loss = loss * weight
    return loss.sum() / weight.expand(loss.shape).sum() if reduction == "mean" else \
        reduced(loss, reduction, size_average, reduce)


@pointwise("_smooth_l1(Tensor self, Tensor target, float beta) -> Tensor", **_PART)
def _smooth_l1(x, t, beta):
    d = lang.abs(x - t)
    return where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta)


@composite(f"smooth_l1_loss(Tensor self, Tensor target, {_OLD}, float beta=1.0) -> Tensor", **_F)
def smooth_l1_loss(self, target, size_average, reduce, reduction, beta):
    """Squared error below `beta`, absolute error above."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    loss = _absolute(self, target) if beta == 0 else _smooth_l1(self, target, beta)
    return reduced(loss, reduction, size_average, reduce)


@pointwise("_huber(Tensor self, Tensor target, float delta) -> Tensor", **_PART)
def _huber(x, t, delta):
    d = lang.abs(x - t)
    return where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta))


@composite("huber_loss(Tensor self, Tensor target, str reduction='mean', float delta=1.0,"
           " Tensor? weight=None) -> Tensor", **_F)
def huber_loss(self, target, reduction, delta, weight):
    """Half the squared error below `delta`, linear above."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    return _weighted(_huber(self, target, delta), weight, reduction, None, None)


@pointwise("_bce(Tensor self, Tensor target) -> Tensor", **_PART)
def _bce(p, t):
    # PyTorch's convention: logarithms are at least -100.
    return -(t * lang.clamp(log(p), -100.0, None) + (1 - t) * lang.clamp(log1p(-p), -100.0, None))


@_bce.gradient
def _(g, self, target):
    slope = (self - target) / lang.maximum(self * (1 - self), 1e-12)
    return g * slope, g * (lang.clamp(log1p(-self), -100.0, None)
                           - lang.clamp(log(self), -100.0, None))


@composite("binary_cross_entropy(Tensor self, Tensor target, Tensor? weight=None,"
           " bool? size_average=None, bool? reduce=None, str reduction='mean') -> Tensor", **_F)
def binary_cross_entropy(self, target, weight, size_average, reduce, reduction):
    """-(t log p + (1 - t) log(1 - p)) of probabilities p."""
    if self.shape != target.shape:
        raise ValueError(f"Using a target size ({target.shape}) that is different to the input "
                         f"size ({self.shape}) is deprecated. Please ensure they have the same "
                         "size.")
    if self.numel() and not self.is_meta and any_outside(self, 0.0, 1.0):
        least, largest = self.detach().aminmax()
        raise RuntimeError("all elements of input should be between 0 and 1; got "
                           f"{least.item()} to {largest.item()}")
    loss = _bce(self, target)
    return reduced(loss if weight is None else loss * weight, reduction, size_average, reduce)


@pointwise("_bce_logits(Tensor self, Tensor target, Tensor? pos_weight) -> Tensor", **_PART)
def _bce_logits(x, t, pos_weight):
    softplus = lang.maximum(-x, 0.0) + log1p(exp(-lang.abs(x)))  # log(1 + exp(-x))
    if pos_weight is None:
        return (1 - t) * x + softplus
    return (1 - t) * x + (1 + (pos_weight - 1) * t) * softplus


@_bce_logits.gradient
def _(g, self, target, pos_weight):
    s = lang.sigmoid(self)
    softplus = lang.maximum(-self, 0.0) + log1p(exp(-lang.abs(self)))
    if pos_weight is None:
        return g * (s - target), -g * self, None
    w = 1 + (pos_weight - 1) * target
    return (g * ((1 - target) - w * (1 - s)), g * ((pos_weight - 1) * softplus - self),
            g * target * softplus)


@composite("binary_cross_entropy_with_logits(Tensor self, Tensor target, Tensor? weight=None,"
           " bool? size_average=None, bool? reduce=None, str reduction='mean',"
           " Tensor? pos_weight=None) -> Tensor", **_F)
def binary_cross_entropy_with_logits(self, target, weight, size_average, reduce, reduction,
                                     pos_weight):
    """`binary_cross_entropy` of sigmoid(self), without overflow."""
    if self.shape != target.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size "
                         f"({self.shape})")
    loss = _bce_logits(self, target, pos_weight)
    return reduced(loss if weight is None else loss * weight, reduction, size_average, reduce)


# ---- classes ------------------------------------------------------------------------------------


@row("_nll(Row self, Cell target, int ignore_index) -> Cell", rows=1, keep=("target",),
     method=False, dtypes=FLOATING)
def _nll(x, target, ignore_index):
    """-x[target]; 0 where the target is to be ignored."""
    ignored = target == ignore_index
    return where(ignored, 0, -pick(x, where(ignored, 0, target)))


@row("_cross_entropy(Row self, Cell target, int ignore_index) -> Cell", rows=1, keep=("target",),
     method=False, dtypes=FLOATING)
def _cross_entropy(x, target, ignore_index):
    """-log_softmax(x)[target]; 0 where the target is to be ignored."""
    ignored = target == ignore_index
    m = constant(x.max())
    loss = m + log(exp(x - m).sum()) - pick(x, where(ignored, 0, target))
    return where(ignored, 0, loss)


def _classes(self, target, weight):
    """Input and target with a batch dim, so that classes are dim 1."""
    if self.dim() == 0:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if self.dim() == 1:
        if target.dim() == 1 and target.size(0) != 1:
            raise ValueError(
                f"For 1D input, 1D target must have size 1, but got target size: {target.size(0)}"
            )
        self, target = self.unsqueeze(0), target.reshape(-1) if target.dim() == 1 else target[None]
    if self.dim() >= 2 and target.dim() >= 1 and self.size(0) != target.size(0):
        raise ValueError(
            f"Expected input batch_size ({self.size(0)}) to match target batch_size "
            f"({target.size(0)})."
        )
    if target.dim() != self.dim() - 1 or self.shape[2:] != target.shape[1:]:
        raise RuntimeError(
            f"Expected target size {[*self.shape[:1], *self.shape[2:]]}, got {list(target.shape)}"
        )
    if target.dtype not in (_core.int64, _core.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {target.dtype}")
    if weight is not None:
        if weight.dim() != 1 or weight.numel() != self.size(1):
            raise RuntimeError(
                f"weight tensor should be defined either for all {self.size(1)} classes or no "
                f"classes but got weight tensor of shape: {list(weight.shape)}"
            )
        if weight.dtype != self.dtype:
            raise RuntimeError(f"expected scalar type {self.dtype} but found {weight.dtype}")
    return self, target


@row("_mean_of_used(Row self, Row target, int ignore_index) -> Cell", rows="all", keep=("target",),
     method=False, dtypes=FLOATING)
def _mean_of_used(loss, target, ignore_index):
    """The mean of the losses whose target is not to be ignored; the others are 0."""
    return loss.sum() / where(target == ignore_index, 0.0, 1.0).sum()


def _by_class(loss, target, weight, ignore_index, reduction):
    """Losses of single elements, weighted by class and reduced."""
    if weight is None:
        if reduction == "mean":
            return _mean_of_used(loss, target, ignore_index)
        return reduced(loss, reduction)
    used = target != ignore_index
    scale = weight[target * used] * used
    loss = loss * scale
    return loss.sum() / scale.sum() if reduction == "mean" else reduced(loss, reduction)


@composite("nll_loss(Tensor self, Tensor target, Tensor? weight=None, bool? size_average=None,"
           " int ignore_index=-100, bool? reduce=None, str reduction='mean') -> Tensor", **_F)
def nll_loss(self, target, weight, size_average, ignore_index, reduce, reduction):
    """The negative log likelihood of class indices, given log probabilities along dim 1."""
    reduction = _reduction(reduction, size_average, reduce)
    batched = self.dim() > 1
    x, t = _classes(self, target, weight)
    loss = _by_class(_nll(x, t, ignore_index), t, weight, ignore_index, reduction)
    return loss if batched or reduction != "none" else loss.squeeze(0)


@composite("cross_entropy(Tensor self, Tensor target, Tensor? weight=None,"
           " bool? size_average=None, int ignore_index=-100, bool? reduce=None,"
           " str reduction='mean', float label_smoothing=0.0) -> Tensor", **_F)
def cross_entropy(self, target, weight, size_average, ignore_index, reduce, reduction,
                  label_smoothing):
    """The cross entropy of unnormalised scores along dim 1 with classes.

    Shapes: `self` (C) or (N, C, ...); `target` without the C, class indices (int64), or as `self`,
    probabilities. `reduction="mean"` weights by `weight` and leaves out `ignore_index`.
    """
    reduction = _reduction(reduction, size_average, reduce)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(
            f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}"
        )
    if target.shape == self.shape:
        if not target.is_floating_point():
            raise RuntimeError(
                "Expected floating point type for target with class probabilities, got "
                f"{target.dtype}"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _soft_cross_entropy(self, target, weight, reduction, label_smoothing)
    batched = self.dim() > 1
    x, t = _classes(self, target, weight)
    loss = _by_class(_cross_entropy(x, t, ignore_index), t, weight, ignore_index, reduction)
    if label_smoothing:
        logp = x.log_softmax(1)
        used = t != ignore_index
        smooth = -(logp if weight is None else logp * _channel(weight, x)).sum(1) * used
        if reduction == "mean":
            count = used.sum() if weight is None else (weight[t * used] * used).sum()
            smooth = smooth.sum() / count
        else:
            smooth = reduced(smooth, reduction)
        loss = (1 - label_smoothing) * loss + label_smoothing / x.size(1) * smooth
    return loss if batched or reduction != "none" else loss.squeeze(0)


def _channel(weight, x):
    return weight.reshape([-1] + [1] * (x.dim() - 2))


def _soft_cross_entropy(self, target, weight, reduction, label_smoothing):
    dim = 1 if self.dim() > 1 else 0
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / self.size(dim)
    terms = self.log_softmax(dim) * target
    if weight is not None:
        terms = terms * (_channel(weight, self) if dim else weight)
    loss = -terms.sum(dim)
    if reduction == "mean":
        return loss.sum() / max(1, loss.numel())
    return reduced(loss, reduction)


@pointwise("_kl_div(Tensor self, Tensor target, bool log_target) -> Tensor", **_PART)
def _kl(x, t, log_target):
    if log_target:
        return exp(t) * (t - x)
    return where(t == 0, 0, t * log(t)) - t * x


@composite("kl_div(Tensor self, Tensor target, bool? size_average=None, bool? reduce=None,"
           " str reduction='mean', bool log_target=False) -> Tensor", **_F)
def kl_div(self, target, size_average, reduce, reduction, log_target):
    """The Kullback-Leibler divergence of `target` from log probabilities `self`."""
    loss = _kl(self, target, log_target)
    if reduction == "batchmean":
        return loss.sum() / self.size(0) if self.dim() else loss.sum()
    return reduced(loss, reduction, size_average, reduce)


# ---- connectionist temporal classification ------------------------------------------------------

_ctc_loss_backward = native(
    "_ctc_loss_backward(Tensor log_probs, Tensor targets, Tensor input_lengths,"
    " Tensor target_lengths, Tensor grad, Tensor loss, Tensor log_alpha, int blank,"
    " bool zero_infinity) -> Tensor",
    doc="",
)
_ctc_loss = native(
    "_ctc_loss(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths,"
    " int blank=0, bool zero_infinity=False) -> (Tensor loss, Tensor log_alpha)",
    doc="",
).gradient(
    log_probs=lambda g_loss, log_probs, targets, input_lengths, target_lengths, loss, log_alpha,
    blank, zero_infinity: _ctc_loss_backward(
        log_probs, targets, input_lengths, target_lengths, g_loss, loss, log_alpha, blank,
        zero_infinity,
    )
)  # fmt: skip


def _lengths(name: str, lengths, batch: int, batched: bool, device):
    """The lengths of sequences as an int64 vector."""
    from taimatsu import Tensor, int64, tensor

    if not isinstance(lengths, Tensor):
        lengths = tensor(lengths, dtype=int64)
    elif lengths.is_floating_point() or lengths.is_complex():
        raise RuntimeError(f"ctc_loss: {name} must be integral; got {lengths.dtype}")
    lengths = lengths.reshape(-1) if not batched else lengths
    if list(lengths.shape) != [batch]:
        raise RuntimeError(
            f"ctc_loss: {name} must be of size batch_size, {batch}; got {tuple(lengths.shape)}"
        )
    return lengths.to(device)


@composite("ctc_loss(Tensor log_probs, Tensor targets, Any input_lengths, Any target_lengths,"
           " int blank=0, str reduction='mean', bool zero_infinity=False) -> Tensor", **_F)
def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity):
    """-log of the probability of label sequences, summed over their alignments with the input.

    log_probs: (T, N, C) or (T, C), of `log_softmax` (the gradient takes that for granted);
    targets: (N, S), padded, or all one after the other; lengths: N integers, or one.
    ``reduction="mean"`` divides each loss by its target's length first; ``zero_infinity`` makes the
    losses, and gradients, of targets longer than their input 0. RuntimeError for lengths that are
    more than there is, or shapes that don't match. (Graves et al., 2006)

    >>> uniform = taimatsu.zeros(4, 1, 3).log_softmax(2)
    >>> taimatsu.nn.functional.ctc_loss(uniform, taimatsu.tensor([[1, 2]]), [4], [2])
    tensor(0.8432)
    """
    from taimatsu import inf, where

    if log_probs.dim() not in (2, 3):
        raise RuntimeError(
            f"ctc_loss: log_probs must be (T, N, C) or (T, C); got {tuple(log_probs.shape)}"
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if targets.is_floating_point():
        raise RuntimeError(f"ctc_loss: targets must be integral; got {targets.dtype}")
    batched = log_probs.dim() == 3
    x = log_probs if batched else log_probs.unsqueeze(1)
    if targets.dim() not in (1, 2) or (targets.dim() == 2 and targets.size(0) != x.size(1)):
        raise RuntimeError(
            f"ctc_loss: targets must be (N, S) or (sum of the lengths); got "
            f"{tuple(targets.shape)} for log_probs {tuple(log_probs.shape)}"
        )
    if x.size(1) == 0:
        raise RuntimeError("ctc_loss: the batch must not be empty")
    wanted = x.size(1), batched, x.device
    input_lengths = _lengths("input_lengths", input_lengths, *wanted)
    target_lengths = _lengths("target_lengths", target_lengths, *wanted)
    loss, _ = _ctc_loss(x, targets, input_lengths, target_lengths, blank, zero_infinity)
    if zero_infinity:
        loss = where(loss == inf, 0.0, loss)
    if reduction == "mean":
        return (loss / target_lengths.clamp(min=1).to(loss.dtype)).mean()
    loss = reduced(loss, reduction)
    return loss if batched or reduction != "none" else loss.squeeze(0)
