"""``ao.nn.intrinsic``: modules that are quantized as one, in a row; see `fuse_modules`."""

from __future__ import annotations

from typing import Any

from taimatsu import nn
from taimatsu._lazy import submodules

__all__ = [
    "BNReLU2d", "BNReLU3d", "ConvAdd2d", "ConvAddReLU2d", "ConvBn1d", "ConvBn2d", "ConvBn3d",
    "ConvBnReLU1d", "ConvBnReLU2d", "ConvBnReLU3d", "ConvReLU1d", "ConvReLU2d", "ConvReLU3d",
    "LinearBn1d", "LinearLeakyReLU", "LinearReLU", "LinearTanh",
]  # fmt: skip

__getattr__ = submodules(__name__)


class _Fused(nn.Sequential):
    """Modules of these types, one after the other. AssertionError for others."""

    _types: tuple[type, ...] = ()

    def __init__(self, *modules: nn.Module):
        wanted = self._types
        if len(modules) != len(wanted) or any(
            not isinstance(m, t) for m, t in zip(modules, wanted, strict=False)
        ):
            given = ", ".join(type(m).__name__ for m in modules)
            raise AssertionError(
                f"Incorrect types for input modules of {type(self).__name__}: it takes "
                f"{', '.join(t.__name__ for t in wanted)}; got {given}"
            )
        super().__init__(*modules)


def _fused(name: str, *types: type) -> type[_Fused]:
    doc = f"{' and '.join(t.__name__ for t in types)} as one module."
    return type(name, (_Fused,), {"_types": types, "__doc__": doc, "__module__": __name__})


ConvReLU1d, ConvReLU2d, ConvReLU3d = (
    _fused(f"ConvReLU{n}d", conv, nn.ReLU)
    for n, conv in enumerate((nn.Conv1d, nn.Conv2d, nn.Conv3d), 1)
)
ConvBn1d, ConvBn2d, ConvBn3d = (
    _fused(f"ConvBn{n}d", conv, norm)
    for n, conv, norm in (
        (1, nn.Conv1d, nn.BatchNorm1d), (2, nn.Conv2d, nn.BatchNorm2d),
        (3, nn.Conv3d, nn.BatchNorm3d),
    )
)  # fmt: skip
ConvBnReLU1d, ConvBnReLU2d, ConvBnReLU3d = (
    _fused(f"ConvBnReLU{n}d", *pair._types, nn.ReLU)
    for n, pair in enumerate((ConvBn1d, ConvBn2d, ConvBn3d), 1)
)
LinearReLU: type = _fused("LinearReLU", nn.Linear, nn.ReLU)
LinearLeakyReLU = _fused("LinearLeakyReLU", nn.Linear, nn.LeakyReLU)
LinearTanh = _fused("LinearTanh", nn.Linear, nn.Tanh)
LinearBn1d = _fused("LinearBn1d", nn.Linear, nn.BatchNorm1d)
BNReLU2d = _fused("BNReLU2d", nn.BatchNorm2d, nn.ReLU)
BNReLU3d = _fused("BNReLU3d", nn.BatchNorm3d, nn.ReLU)


class ConvAdd2d(nn.Sequential):
    """A convolution, and the sum with a second tensor: ``add(conv(x1), x2)``."""

    def __init__(self, conv: Any, add: Any):
        super().__init__(conv)
        self.add = add

    def forward(self, x1: Any, x2: Any) -> Any:  # type: ignore[override]
        return self.add(self[0](x1), x2)


class ConvAddReLU2d(ConvAdd2d):
    """`ConvAdd2d` and a ReLU."""

    def __init__(self, conv: Any, add: Any, relu: Any):
        super().__init__(conv, add)
        self.relu = relu

    def forward(self, x1: Any, x2: Any) -> Any:  # type: ignore[override]
        return self.relu(super().forward(x1, x2))
