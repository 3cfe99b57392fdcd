"""Layers that learn the size of their input from the first one they see."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from . import conv, linear, norm
from .module import Module
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy

__all__ = [
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LazyLinear",
]


class LazyModuleMixin:
    """A module whose parameters get their shapes in the first call; then it is `cls_to_become`.

    A class that derives from this and a module makes its parameters `UninitializedParameter`s and
    gives `initialize_parameters`, which is called with what `forward` is, and materialises them.
    Until then optimizers can't take them, and a state dict may be loaded that says their shapes.
    """

    cls_to_become: type[Module] | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._initialize_hook = self.register_forward_pre_hook(  # type: ignore[attr-defined]
            self._infer_parameters, with_kwargs=True
        )

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Materialise the parameters for this input."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer still has no shape."""
        own = (*self._parameters.values(), *self._buffers.values())  # type: ignore[attr-defined]
        return any(map(is_lazy, own))

    def _infer_parameters(self, module: Any, args: tuple, kwargs: dict | None = None) -> None:
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(
                f"module {type(self).__name__} has not been fully initialized; "
                "initialize_parameters must materialize every parameter"
            )
        module._initialize_hook.remove()
        del module._initialize_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def reset_parameters(self) -> None:
        """Draw new weights, if there are any yet."""
        own = self._parameters.values()  # type: ignore[attr-defined]
        if all(p is None or (not is_lazy(p) and p.numel()) for p in own):
            super().reset_parameters()  # type: ignore[misc]


class LazyLinear(LazyModuleMixin, linear.Linear):
    """A `Linear` whose ``in_features`` is the last size of its first input.

    >>> nn.LazyLinear(30)(torch.randn(128, 20)).shape
    torch.Size([128, 30])
    """

    cls_to_become = linear.Linear
    weight: Any
    bias: Any

    def __init__(self, out_features: int, bias: bool = True, device=None, dtype=None):
        super().__init__(0, 0, False, device, dtype)
        self.out_features = out_features
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input: Tensor) -> None:
        """Take ``in_features`` from the input."""
        if self.has_uninitialized_params():
            self.in_features = input.shape[-1]
            self.weight.materialize((self.out_features, self.in_features))
            if self.bias is not None:
                self.bias.materialize((self.out_features,))
            self.reset_parameters()
        self.in_features = self.weight.shape[1]  # as a state dict said


class _LazyConv(LazyModuleMixin):
    """A convolution whose ``in_channels`` is that of its first input."""

    n_dims: int
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    groups: int
    transposed: bool
    weight: Any
    bias: Any

    def _make_lazy(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        self.out_channels = out_channels
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Take ``in_channels`` from the input."""
        n = self.n_dims
        if input.dim() not in (n + 1, n + 2):
            raise RuntimeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {list(input.shape)}"
            )
        if self.has_uninitialized_params():
            self.in_channels = input.shape[-n - 1]
            if self.in_channels % self.groups:
                raise ValueError("in_channels must be divisible by groups")
            first, second = self.out_channels, self.in_channels
            if self.transposed:
                first, second = second, first
            self.weight.materialize((first, second // self.groups, *self.kernel_size))
            if self.bias is not None:
                self.bias.materialize((self.out_channels,))
            self.reset_parameters()
        sizes = self.weight.shape
        self.in_channels = sizes[0] if self.transposed else sizes[1] * self.groups


class _LazyForward(_LazyConv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ):
        super().__init__(
            0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode, device,
            dtype,
        )  # fmt: skip
        self._make_lazy(out_channels, bias, device, dtype)


class _LazyTranspose(_LazyConv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ):
        super().__init__(
            0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation,
            padding_mode, device, dtype,
        )  # fmt: skip
        self._make_lazy(out_channels, bias, device, dtype)


class LazyConv1d(_LazyForward, conv.Conv1d):  # type: ignore[misc]
    """A `Conv1d` whose ``in_channels`` is that of its first input.

    >>> nn.LazyConv1d(6, 3)(torch.ones(1, 3, 8)).shape
    torch.Size([1, 6, 6])
    """

    cls_to_become = conv.Conv1d


class LazyConv2d(_LazyForward, conv.Conv2d):  # type: ignore[misc]
    """A `Conv2d` whose ``in_channels`` is that of its first input.

    >>> nn.LazyConv2d(6, 3)(torch.ones(1, 3, 8, 8)).shape
    torch.Size([1, 6, 6, 6])
    """

    cls_to_become = conv.Conv2d


class LazyConv3d(_LazyForward, conv.Conv3d):  # type: ignore[misc]
    """A `Conv3d` whose ``in_channels`` is that of its first input.

    >>> nn.LazyConv3d(6, 3)(torch.ones(1, 3, 8, 8, 8)).shape
    torch.Size([1, 6, 6, 6, 6])
    """

    cls_to_become = conv.Conv3d


class LazyConvTranspose1d(_LazyTranspose, conv.ConvTranspose1d):  # type: ignore[misc]
    """A `ConvTranspose1d` whose ``in_channels`` is that of its first input.

    >>> nn.LazyConvTranspose1d(6, 3)(torch.ones(1, 3, 8)).shape
    torch.Size([1, 6, 10])
    """

    cls_to_become = conv.ConvTranspose1d


class LazyConvTranspose2d(_LazyTranspose, conv.ConvTranspose2d):  # type: ignore[misc]
    """A `ConvTranspose2d` whose ``in_channels`` is that of its first input.

    >>> nn.LazyConvTranspose2d(6, 3)(torch.ones(1, 3, 8, 8)).shape
    torch.Size([1, 6, 10, 10])
    """

    cls_to_become = conv.ConvTranspose2d


class LazyConvTranspose3d(_LazyTranspose, conv.ConvTranspose3d):  # type: ignore[misc]
    """A `ConvTranspose3d` whose ``in_channels`` is that of its first input.

    >>> nn.LazyConvTranspose3d(6, 3)(torch.ones(1, 3, 4, 4, 4)).shape
    torch.Size([1, 6, 6, 6, 6])
    """

    cls_to_become = conv.ConvTranspose3d


class _LazyNorm(LazyModuleMixin):
    """A norm whose ``num_features`` is that of its first input."""

    num_features: int
    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    dims: tuple[int, ...]

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device=None,
        dtype=None,
        *,
        bias: bool = True,
    ):
        super().__init__(0, eps, momentum, False, False, device, dtype)
        self.affine = affine
        self.track_running_stats = track_running_stats
        factory = {"device": device, "dtype": dtype}
        if affine:
            self.weight = UninitializedParameter(**factory)
            if bias:
                self.bias = UninitializedParameter(**factory)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(**factory)
            self.running_var = UninitializedBuffer(**factory)
            self.num_batches_tracked = torch.tensor(0, dtype=torch.long, device=device)

    def _channel_dim(self, input: Tensor) -> int:
        return 1

    def initialize_parameters(self, input: Tensor) -> None:
        """Take ``num_features`` from the input."""
        self._check_input_dim(input)  # type: ignore[attr-defined]
        own = (self.weight, self.bias, self.running_mean, self.running_var)
        channels = input.shape[self._channel_dim(input)]
        if self.has_uninitialized_params():
            self.num_features = channels
            for tensor in own:
                if is_lazy(tensor):
                    tensor.materialize((channels,))
            self.reset_parameters()
        sizes = [tensor.shape[0] for tensor in own if tensor is not None]
        self.num_features = sizes[0] if sizes else channels


class LazyBatchNorm1d(_LazyNorm, norm.BatchNorm1d):  # type: ignore[misc]
    """A `BatchNorm1d` whose ``num_features`` is that of its first input.

    >>> nn.LazyBatchNorm1d()(torch.ones(4, 3)).shape
    torch.Size([4, 3])
    """

    cls_to_become = norm.BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, norm.BatchNorm2d):  # type: ignore[misc]
    """A `BatchNorm2d` whose ``num_features`` is that of its first input.

    >>> nn.LazyBatchNorm2d()(torch.ones(2, 3, 4, 4)).shape
    torch.Size([2, 3, 4, 4])
    """

    cls_to_become = norm.BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, norm.BatchNorm3d):  # type: ignore[misc]
    """A `BatchNorm3d` whose ``num_features`` is that of its first input.

    >>> nn.LazyBatchNorm3d()(torch.ones(2, 3, 4, 4, 4)).shape
    torch.Size([2, 3, 4, 4, 4])
    """

    cls_to_become = norm.BatchNorm3d


class _LazyInstanceNorm(_LazyNorm):
    def _channel_dim(self, input: Tensor) -> int:
        return input.dim() - (self.dims[1] - 1)


class LazyInstanceNorm1d(_LazyInstanceNorm, norm.InstanceNorm1d):  # type: ignore[misc]
    """An `InstanceNorm1d` whose ``num_features`` is that of its first input.

    >>> nn.LazyInstanceNorm1d()(torch.ones(2, 3, 4)).shape
    torch.Size([2, 3, 4])
    """

    cls_to_become = norm.InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, norm.InstanceNorm2d):  # type: ignore[misc]
    """An `InstanceNorm2d` whose ``num_features`` is that of its first input.

    >>> nn.LazyInstanceNorm2d()(torch.ones(2, 3, 4, 4)).shape
    torch.Size([2, 3, 4, 4])
    """

    cls_to_become = norm.InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, norm.InstanceNorm3d):  # type: ignore[misc]
    """An `InstanceNorm3d` whose ``num_features`` is that of its first input.

    >>> nn.LazyInstanceNorm3d()(torch.ones(2, 3, 4, 4, 4)).shape
    torch.Size([2, 3, 4, 4, 4])
    """

    cls_to_become = norm.InstanceNorm3d
