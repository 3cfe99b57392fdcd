"""Tensors that only know sizes, dtype and device: programs run on them without data.

>>> from taimatsu._subclasses import FakeTensorMode
>>> with FakeTensorMode():
...     x = torch.randn(8, 3, device="cuda")
...     y = x @ x.mT
>>> y.shape, y.device
(torch.Size([8, 8]), device(type='cuda', index=0))

Each is backed by a tensor on the ``meta`` device, which ops are inferred on.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu._guards import active_fake_mode
from taimatsu.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    _get_current_dispatch_mode_stack,
)
from taimatsu.utils._pytree import tree_leaves, tree_map_only

__all__ = [
    "DataDependentOutputException", "DynamicOutputShapeException", "FakeTensor",
    "FakeTensorConverter", "FakeTensorMode", "UnsupportedFakeTensorException",
    "UnsupportedOperatorException", "is_fake", "maybe_get_fake_mode", "unset_fake_temporarily",
]  # fmt: skip

aten = torch.ops.aten


class UnsupportedFakeTensorException(RuntimeError):
    """A tensor of a kind that has no fake."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class _OfOp(RuntimeError):
    def __init__(self, func: Any):
        super().__init__(str(func))
        self.func = func


class DynamicOutputShapeException(_OfOp):
    """The sizes of an op's result depend on elements, which a fake tensor hasn't."""


class DataDependentOutputException(_OfOp):
    """An op gives an element as a Python number, which a fake tensor hasn't."""


class UnsupportedOperatorException(_OfOp):
    """An op of a program's own has no rule for tensors without data."""


class FakeTensor(Tensor):
    """A tensor with sizes, a dtype and a device, and no elements. `FakeTensorMode` makes them.

    ``elem`` is a tensor on the meta device, ``device`` the one that it stands for.
    """

    fake_mode: FakeTensorMode
    fake_device: torch.device
    constant: Tensor | None

    @staticmethod
    def __new__(
        cls, fake_mode: FakeTensorMode, elem: Tensor, device: Any, constant: Tensor | None = None
    ) -> FakeTensor:
        self = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, elem.shape, elem.stride(), elem.storage_offset(), dtype=elem.dtype,
            device=_concrete(device), requires_grad=elem.requires_grad,
        )  # fmt: skip
        self._meta = elem.detach()
        self.fake_mode, self.fake_device, self.constant = fake_mode, self.device, constant
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    @staticmethod
    def from_tensor(t: Tensor, fake_mode: FakeTensorMode) -> FakeTensor:
        """The fake of a tensor."""
        return fake_mode.from_tensor(t)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = [t for t in tree_leaves((args, kwargs)) if isinstance(t, FakeTensor)]
        with found[0].fake_mode:
            return func(*args, **(kwargs or {}))

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        parts = ["...", f"size={tuple(self.shape)}"]
        if self.device.type != "cpu":
            parts.insert(1, f"device='{self.device}'")
        if self.dtype not in (torch.get_default_dtype(), torch.int64, torch.bool):
            parts.append(f"dtype={self.dtype}")
        if self.grad_fn is not None:
            parts.append(f"grad_fn=<{type(self.grad_fn).__name__}>")
        elif self.requires_grad:
            parts.append("requires_grad=True")
        text = f"FakeTensor({', '.join(parts)})"
        return f"Parameter({text})" if isinstance(self, torch.nn.Parameter) else text

    def __deepcopy__(self, memo: dict[int, Any]) -> FakeTensor:
        if id(self) not in memo:
            with self.fake_mode, torch.no_grad():
                copied = self.clone()
            marked = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = (torch.nn.Parameter(copied, self.requires_grad) if marked else
                              copied.requires_grad_(self.requires_grad))  # fmt: skip
        return memo[id(self)]

    def tolist(self) -> Any:
        raise DataDependentOutputException(aten._local_scalar_dense.default)


def _concrete(device: Any) -> torch.device:
    """With an index, where there may be several such devices."""
    device = torch.device(device)
    if device.type in ("cpu", "meta") or device.index is not None:
        return device
    return torch.device(device.type, 0)


class FakeTensorConverter:
    """Fakes of tensors, one for each as long as it lives."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref, FakeTensor]] = {}

    def from_real_tensor(self, fake_mode: FakeTensorMode, t: Tensor) -> FakeTensor:
        """The fake of t, with its strides; a parameter's is one too. Views become tensors of their
        own."""
        known = self._known.get(id(t))
        if known is not None and known[0]() is t:
            return known[1]
        if t.layout is not torch.strided:
            raise UnsupportedFakeTensorException(f"FakeTensorMode: no fakes of layout {t.layout}")
        with _disable_current_modes(), torch.no_grad():
            meta = torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta")
            fake = FakeTensor(fake_mode, meta, t.device)
            if isinstance(t, torch.nn.Parameter):
                fake._is_param = True  # type: ignore[attr-defined]
        fake.requires_grad_(t.requires_grad)
        self._known[id(t)] = (weakref.ref(t), fake)
        return fake


class FakeTensorMode(TorchDispatchMode):
    """Inside, tensors are fakes: ops give sizes, dtypes and devices, and compute nothing.

    ``allow_non_fake_inputs``: tensors from outside are taken for their fakes; else AssertionError.
    `DataDependentOutputException` for ``x.item()``, `DynamicOutputShapeException` for ``nonzero``.
    """

    def __init__(
        self,
        *,
        allow_fallback_kernels: bool = True,
        allow_non_fake_inputs: bool = False,
        shape_env: Any = None,
        static_shapes: bool | None = None,
        export: bool = False,
    ):
        super().__init__()
        self.allow_fallback_kernels = allow_fallback_kernels
        self.allow_non_fake_inputs = allow_non_fake_inputs
        self.shape_env = shape_env
        self.static_shapes = shape_env is None if static_shapes is None else static_shapes
        self.export = export
        self.fake_tensor_converter = FakeTensorConverter()
        self._depth = 0

    def __enter__(self) -> Any:  # within itself it is on already
        if self not in _get_current_dispatch_mode_stack():
            super().__enter__()
        self._depth += 1
        return self

    def __exit__(self, *exc: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            super().__exit__(*exc)

    def from_tensor(self, tensor: Tensor, **options: Any) -> FakeTensor:
        """The fake of a tensor, always the same one."""
        if isinstance(tensor, FakeTensor):
            return tensor
        return self.fake_tensor_converter.from_real_tensor(self, tensor)

    def is_our_fake(self, t: Any) -> bool:
        """Whether it is a fake of this mode."""
        return isinstance(t, FakeTensor) and t.fake_mode is self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.dispatch(func, types, args, kwargs or {})

    def dispatch(self, func: Any, types: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """What the op gives, on fakes."""
        name = func._opname
        if name == "lift_fresh":
            return args[0] if isinstance(args[0], FakeTensor) else self._lifted(args[0])
        if name == "_local_scalar_dense":
            known = args[0].constant if isinstance(args[0], FakeTensor) else args[0]
            if known is None:
                raise DataDependentOutputException(func)
            return func(known)
        args, kwargs = tree_map_only(Tensor, lambda t: self._taken(func, t), (args, kwargs))
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, FakeTensor)]
        device = self._device(func, name, tensors, kwargs)
        kwargs = {k: v for k, v in kwargs.items() if k != "device"}
        if not tensors:
            kwargs["device"] = "meta"
        metas = tree_map_only(FakeTensor, lambda t: t._meta, (args, kwargs))
        try:
            result = func(*metas[0], **metas[1])
        except NotImplementedError as error:
            depends = "depend" in str(error)
            raise (DynamicOutputShapeException if depends else UnsupportedOperatorException)(
                func
            ) from error
        constant = self._constant(func, args, kwargs, tensors)
        if "out" in kwargs:
            return kwargs["out"]
        if name.endswith("_") and not name.endswith("__"):
            args[0].constant = constant
            return args[0]
        return tree_map_only(
            Tensor, lambda t: FakeTensor(self, t, device, constant if t is result else None), result
        )

    def _lifted(self, t: Tensor) -> FakeTensor:
        """The fake of a tensor made of numbers: of a single one the number is kept."""
        fake = self.from_tensor(t)
        fake.constant = t if t.numel() == 1 else None
        return fake

    def _constant(self, func: Any, args: tuple, kwargs: dict, tensors: list) -> Tensor | None:
        """What the op gives where all that it is given are known numbers."""
        if not tensors or any(t.constant is None for t in tensors):
            return None
        with _disable_current_modes():
            args, kwargs = tree_map_only(FakeTensor, lambda t: t.constant, (args, kwargs))
            found = func(*args, **kwargs)
        return found if isinstance(found, Tensor) and found.numel() == 1 else None

    def _taken(self, func: Any, t: Tensor) -> FakeTensor:
        """An argument as a fake."""
        if isinstance(t, FakeTensor):
            if t.fake_mode is not self:
                raise AssertionError(f"Mixing fake modes NYI: a tensor of another mode in {func}")
            return t
        # The tape's own stand-ins for sizes have a single element.
        stand_in = t.untyped_storage().nbytes() <= t.element_size()
        if not (stand_in or self.allow_non_fake_inputs):
            raise AssertionError(
                "Please convert all Tensors to FakeTensors first or instantiate FakeTensorMode "
                f"with 'allow_non_fake_inputs'. Found in {func}(sizes {tuple(t.shape)})"
            )
        return self.from_tensor(t)

    def _device(self, func: Any, name: str, tensors: list, kwargs: dict[str, Any]) -> torch.device:
        if kwargs.get("device") is not None:
            return _concrete(kwargs["device"])
        if not tensors:
            return _concrete(torch.get_default_device())
        if name == "copy_":
            return tensors[0].device
        places = {t.device for t in tensors if t.dim()} or {t.device for t in tensors}
        if name.startswith("index"):  # by positions that may be on the CPU
            return tensors[0].device
        if len(places) > 1:
            first, second, *_ = sorted(map(str, places))
            raise RuntimeError(
                f"Unhandled FakeTensor Device Propagation for {func}, found two different devices "
                f"{first}, {second}; move one with .to()"
            )
        return places.pop()


def is_fake(x: Any) -> bool:
    """Whether a tensor is a `FakeTensor`, or a wrapper made of such."""
    from taimatsu.utils._python_dispatch import is_traceable_wrapper_subclass

    if isinstance(x, FakeTensor):
        return True
    if is_traceable_wrapper_subclass(x):
        return all(is_fake(getattr(x, name)) for name in x.__tensor_flatten__()[0])
    return False


def maybe_get_fake_mode(t: Any) -> FakeTensorMode | None:
    """The mode that a fake is of; None of other tensors."""
    return t.fake_mode if isinstance(t, FakeTensor) else None


@contextlib.contextmanager
def unset_fake_temporarily() -> Iterator[FakeTensorMode | None]:
    """Inside, tensors are real again; gives the mode that was on."""
    mode = active_fake_mode()
    with _disable_current_modes():
        yield mode
