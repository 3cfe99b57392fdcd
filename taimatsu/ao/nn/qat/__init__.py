"""``ao.nn.qat``: modules whose weights are rounded as they will be when quantized.

Each is the floating-point module, with ``weight_fake_quant`` of its ``qconfig`` over the weight.
"""

from __future__ import annotations

from typing import Any

from taimatsu import Tensor, nn
from taimatsu.nn import functional as F

__all__ = ["Conv1d", "Conv2d", "Conv3d", "Embedding", "EmbeddingBag", "Linear", "WeightRounded"]


class WeightRounded:
    """What the modules of this package share: made of the float module, and back."""

    _FLOAT_MODULE: type[nn.Module]
    qconfig: Any

    def _round_weight(self, qconfig: Any) -> None:
        if not qconfig:
            raise AssertionError("qconfig must be provided for QAT module")
        self.qconfig = qconfig
        self.weight_fake_quant = qconfig.weight()

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        """The module that trains what ``mod`` has, by its ``qconfig``. AssertionError for others
        than the float module."""
        if type(mod) is not cls._FLOAT_MODULE and not isinstance(mod, cls._FLOAT_MODULE):
            raise AssertionError(
                f"qat.{cls.__name__}.from_float only works for {cls._FLOAT_MODULE.__name__}; got "
                f"{type(mod).__name__}"
            )
        made = cls.__new__(cls)
        nn.Module.__init__(made)  # type: ignore[arg-type]
        made.__dict__.update({k: v for k, v in mod.__dict__.items() if k[0] != "_"})
        for table in ("_parameters", "_buffers"):
            getattr(made, table).update(getattr(mod, table))
        for name, value in mod.__dict__.items():  # what Conv and others keep privately
            if name.startswith("_") and name not in made.__dict__:
                made.__dict__[name] = value
        made._round_weight(mod.qconfig)
        made.train(mod.training)  # type: ignore[attr-defined]
        return made

    def to_float(self: Any) -> nn.Module:
        """The float module with the weight of this one."""
        made = self._FLOAT_MODULE.__new__(self._FLOAT_MODULE)
        nn.Module.__init__(made)
        own = ("qconfig", "weight_fake_quant")
        made.__dict__.update(
            {k: v for k, v in self.__dict__.items() if k not in (*own, *made.__dict__)}
        )
        made._parameters.update(self._parameters)
        made._buffers.update(self._buffers)
        return made.train(self.training)


class Linear(WeightRounded, nn.Linear):
    """`nn.Linear` with a rounded weight."""

    _FLOAT_MODULE = nn.Linear

    def __init__(self, in_features: int, out_features: int, bias: bool = True,
                 qconfig: Any = None, device: Any = None, dtype: Any = None):  # fmt: skip
        nn.Linear.__init__(self, in_features, out_features, bias, device=device, dtype=dtype)
        self._round_weight(qconfig)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight_fake_quant(self.weight), self.bias)


class _Conv(WeightRounded):
    def __init__(self, *args: Any, qconfig: Any = None, **kwargs: Any):
        self._FLOAT_MODULE.__init__(self, *args, **kwargs)  # type: ignore[arg-type]
        self._round_weight(qconfig)

    def forward(self: Any, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight_fake_quant(self.weight), self.bias)


class Conv1d(_Conv, nn.Conv1d):
    """`nn.Conv1d` with a rounded weight."""

    _FLOAT_MODULE = nn.Conv1d


class Conv2d(_Conv, nn.Conv2d):
    """`nn.Conv2d` with a rounded weight."""

    _FLOAT_MODULE = nn.Conv2d


class Conv3d(_Conv, nn.Conv3d):
    """`nn.Conv3d` with a rounded weight."""

    _FLOAT_MODULE = nn.Conv3d


class Embedding(WeightRounded, nn.Embedding):
    """`nn.Embedding` with a rounded weight."""

    _FLOAT_MODULE = nn.Embedding

    def __init__(self, *args: Any, qconfig: Any = None, **kwargs: Any):
        nn.Embedding.__init__(self, *args, **kwargs)
        self._round_weight(qconfig)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(
            input, self.weight_fake_quant(self.weight), self.padding_idx, self.max_norm,
            self.norm_type, self.scale_grad_by_freq, self.sparse,
        )  # fmt: skip


class EmbeddingBag(WeightRounded, nn.EmbeddingBag):
    """`nn.EmbeddingBag` with a rounded weight."""

    _FLOAT_MODULE = nn.EmbeddingBag

    def __init__(self, *args: Any, qconfig: Any = None, **kwargs: Any):
        nn.EmbeddingBag.__init__(self, *args, **kwargs)
        self._round_weight(qconfig)

    def forward(self, input: Tensor, offsets: Tensor | None = None,
                per_sample_weights: Tensor | None = None) -> Tensor:  # fmt: skip
        return F.embedding_bag(
            input, self.weight_fake_quant(self.weight), offsets, self.max_norm, self.norm_type,
            self.scale_grad_by_freq, self.mode, self.sparse, per_sample_weights,
            self.include_last_offset, self.padding_idx,
        )  # fmt: skip
