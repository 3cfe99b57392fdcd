"""A softmax over many classes, of which few are frequent (Grave et al., 2017)."""

from __future__ import annotations

import typing
from collections.abc import Sequence

import taimatsu as torch
from taimatsu import Tensor

from . import functional as F
from .containers import ModuleList, Sequential
from .linear import Linear
from .module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class _ASMoutput(typing.NamedTuple):
    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-probabilities of `n_classes` classes, sorted from the most to the least frequent.

    Classes below the first of the `cutoffs` are in the head, with one entry for each further
    cluster; cluster i has its classes in a space of in_features / div_value ** (i + 1) dims.
    ValueError for cutoffs that aren't increasing integers in [1, n_classes - 1].

    forward: (N, in_features), (N) or (in_features), () -> `output`, the log-probability of each
    target, and `loss`, the mean of its negative.

    >>> m = nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs=[5, 10])
    >>> m(torch.randn(3, 8), torch.tensor([0, 7, 19])).output.shape
    torch.Size([3])
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device=None,
        dtype=None,
    ):
        options = {"device": device, "dtype": dtype}
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cutoffs != sorted(set(cutoffs))
            or min(cutoffs) <= 0
            or max(cutoffs) > n_classes - 1
            or any(int(c) != c for c in cutoffs)
        ):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing "
                f"order, where each value is between 1 and n_classes-1; got {cutoffs}"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **options)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(zip(self.cutoffs[:-1], self.cutoffs[1:], strict=True)):
            hidden = int(in_features // div_value ** (i + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, bias=False, **options),
                    Linear(hidden, high - low, bias=False, **options),
                )
            )

    def reset_parameters(self) -> None:
        """Draws all weights anew."""
        for layer in self.modules():
            if isinstance(layer, Linear):
                layer.reset_parameters()

    def forward(self, input: Tensor, target: Tensor) -> _ASMoutput:
        if target.dim() not in (0, 1):
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if input.dim() == 0 or input.shape[:-1] != target.shape:
            raise RuntimeError(
                "Input and target should have the same size in the batch dimension; got "
                f"{tuple(input.shape)} and {tuple(target.shape)}"
            )
        rows, targets = (input, target) if target.dim() else (input[None], target[None])
        used = 0
        output = rows.new_zeros(targets.size(0))
        index = targets.clone()  # where in the head each target, or its cluster, is
        for i, (low, high) in enumerate(zip([0, *self.cutoffs], self.cutoffs, strict=False)):
            members = ((targets >= low) & (targets < high)).nonzero().squeeze(1)
            used += members.numel()
            if members.numel() == 0 or i == 0:
                continue
            log_probs = F.log_softmax(self.tail[i - 1](rows.index_select(0, members)), dim=1)
            within = targets.index_select(0, members) - low
            output = output.index_copy(0, members, log_probs.gather(1, within[:, None]).squeeze(1))
            index[members] = self.shortlist_size + i - 1
        if used != targets.size(0):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                f"[{targets.min().item()}, {targets.max().item()}] were found. "
            )
        head = F.log_softmax(self.head(rows), dim=1)
        output = output + head.gather(1, index[:, None]).squeeze(1)
        loss = (-output).mean()
        return _ASMoutput(output if target.dim() else output.squeeze(0), loss)

    def _all_log_probs(self, input: Tensor, head_output: Tensor) -> Tensor:
        head = F.log_softmax(head_output, dim=1)
        clusters = [
            F.log_softmax(tail(input), dim=1) + head[:, self.shortlist_size + i, None]
            for i, tail in enumerate(self.tail)
        ]
        return torch.cat([head[:, : self.shortlist_size], *clusters], 1)

    def log_prob(self, input: Tensor) -> Tensor:
        """The log-probabilities of all classes: (N, in_features) -> (N, n_classes)."""
        return self._all_log_probs(input, self.head(input))

    def predict(self, input: Tensor) -> Tensor:
        """The most likely class: (N, in_features) -> (N); clusters are computed where needed."""
        head_output = self.head(input)
        best = torch.argmax(head_output, dim=1)
        in_tail = best >= self.shortlist_size
        if not in_tail.any():
            return best
        if in_tail.all():
            return torch.argmax(self._all_log_probs(input, head_output), dim=1)
        full = self._all_log_probs(input[in_tail], head_output[in_tail])
        best[in_tail] = torch.argmax(full, dim=1)
        return best
