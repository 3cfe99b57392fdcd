"""A linear layer and a loss of its scores as one module."""

from __future__ import annotations

import math

from taimatsu import Tensor

from . import functional as F
from .functional_linear_loss import LinearCrossEntropyOptions
from .linear import Linear
from .module import Module

__all__ = ["LinearCrossEntropyLoss", "LinearCrossEntropyOptions"]


class LinearCrossEntropyLoss(Module):
    """The cross entropy of linear scores: see `linear_cross_entropy`.

    ``linear`` holds the weight (num_classes prod(out_features), in_features), and with ``bias`` the
    bias. (N, in_features) with targets (N, *out_features).

    >>> loss = nn.LinearCrossEntropyLoss(8, 10)
    >>> loss(torch.randn(4, 8), torch.tensor([1, 0, 9, 3])).shape
    torch.Size([])
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device=None,
        dtype=None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ):
        super().__init__()
        self.in_features = in_features
        self.num_classes = num_classes
        self.out_features = tuple(out_features)
        self.bias = bias
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.options = options
        self.linear = Linear(
            in_features, num_classes * math.prod(out_features), bias=bias, device=device,
            dtype=dtype,
        )  # fmt: skip
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape(*shape, self.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        names = ("in_features", "num_classes", "out_features", "bias", "reduction", "ignore_index",
                 "label_smoothing", "options")  # fmt: skip
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
