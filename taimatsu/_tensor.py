"""Methods of Tensor that need no speed: printing, copying, pickling, NumPy's and override hooks.

They are put on the native type here, on import. What every program calls often is in C++:
csrc/python and the methods that the op table makes.
"""

from __future__ import annotations

import copy
import functools
import math
import warnings
from typing import Any

from . import _core, _storage
from ._core import Tensor
from ._interpreter import frames
from ._limits import finfo, iinfo

__all__ = ["e", "finfo", "iinfo", "inf", "nan", "newaxis", "pi"]

e, inf, nan, pi = math.e, math.inf, math.nan, math.pi
newaxis = None


def _method(function: Any) -> Any:
    """Puts a function on Tensor, as a method that ``__torch_function__`` sees."""

    @functools.wraps(function)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if _core._has_torch_function((self,)):
            from .overrides import handle_torch_function

            return handle_torch_function(method, (self,), self, *args, **kwargs)
        return function(self, *args, **kwargs)

    method.__qualname__ = f"Tensor.{function.__name__}"
    setattr(Tensor, function.__name__, method)
    return method


@_method
def __rdiv__(self: Tensor, other: Any) -> Tensor:
    """``other / self``, as overrides see it."""
    return other / self


# ---- Text --------------------------------------------------------------------------------------
@_method
def __repr__(self: Tensor, *, tensor_contents: str | None = None) -> str:
    from ._tensor_str import tensor_str

    return tensor_str(self, tensor_contents=tensor_contents)


@_method
def __format__(self: Tensor, spec: str) -> str:
    if self.dim() == 0 and not self.is_meta and self.__class__ is Tensor:
        return format(self.item(), spec)
    return object.__format__(self, spec)


# ---- Copies ------------------------------------------------------------------------------------
@_method
def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """A copy; where tensors share memory, their copies share the memory's copy.

    RuntimeError for tensors that are not leaves of the graph.
    """
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment; detach() or clone() this one first"
        )
    if id(self) in memo:
        return memo[id(self)]
    if self.layout is not _core.strided and self.__class__ is Tensor:
        from .sparse._members import deepcopy

        return deepcopy(self, memo)
    if self.is_meta:
        fresh = self.detach().clone()
    else:
        storage = copy.deepcopy(self.untyped_storage(), memo)
        fresh = _core.tensor_from_storage(
            storage, self.dtype, self.storage_offset(), self.size(), self.stride()
        )
    if self.__class__ is not Tensor:
        fresh = fresh.as_subclass(self.__class__)
    memo[id(self)] = fresh  # before the attributes, which may lead back here
    if self.grad is not None:
        fresh.grad = copy.deepcopy(self.grad, memo)
    fresh.requires_grad = self.requires_grad
    from ._utils import slot_names

    slots = [n for n in slot_names(self.__class__) if hasattr(self, n)]
    for name in (*self.__dict__, *slots):
        setattr(fresh, name, copy.deepcopy(getattr(self, name), memo))
    return fresh


@_method
def __reduce_ex__(self: Tensor, protocol: int) -> tuple:
    from ._utils import reduce_tensor

    return reduce_tensor(self, protocol)


# ---- Sequence ----------------------------------------------------------------------------------
@_method
def __reversed__(self: Tensor) -> Tensor:
    """The tensor with its first dim flipped, as ``reversed`` of it iterates."""
    return self if self.dim() == 0 else self.flip(0)


@_method
def __dir__(self: Tensor) -> list[str]:
    return sorted({*dir(self.__class__), *self.__dict__})


# ---- Quantized tensors ------------------------------------------------------------------------
def _quantized_method(name: str) -> None:
    def method(self: Tensor) -> Any:
        from . import _quantized

        return getattr(_quantized, name)(self)

    method.__name__ = name
    method.__doc__ = f"See `taimatsu.{name}`."
    _method(method)


for _name in ("dequantize", "int_repr", "q_per_channel_axis", "q_per_channel_scales",
              "q_per_channel_zero_points", "q_scale", "q_zero_point"):  # fmt: skip
    _quantized_method(_name)


@_method
def qscheme(self: Tensor) -> Any:
    """The scheme of a quantized tensor. NotImplementedError for others."""
    raise NotImplementedError(f"qscheme: needs a quantized tensor; got {self.dtype}")


@_method
def to_padded_tensor(self: Tensor, padding: float, output_size: Any = None) -> Tensor:
    """See `taimatsu.nested.to_padded_tensor`."""
    from .nested import to_padded_tensor

    return to_padded_tensor(self, padding, output_size)


# ---- Devices and memory ------------------------------------------------------------------------
@_method
def const_data_ptr(self: Tensor) -> int:
    """The address of the first element, for reading."""
    return self.data_ptr()


@_method
def xpu(self: Tensor, device: Any = None, non_blocking: bool = False, **options: Any) -> Tensor:
    """The tensor on an XPU device."""
    return self.to(_core.device("xpu" if device is None else device), non_blocking=non_blocking)


@_method
def mtia(self: Tensor, device: Any = None, non_blocking: bool = False, **options: Any) -> Tensor:
    """The tensor on an MTIA device."""
    return self.to(_core.device("mtia" if device is None else device), non_blocking=non_blocking)


def _removed_method(name: str, instead: str) -> None:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f"This function was deprecated since version 1.9 and is now removed; use {instead}"
        )

    method.__name__ = name
    method.__doc__ = f"RuntimeError: removed; use {instead}."
    _method(method)


for _name, _instead in (
    ("eig", "torch.linalg.eig"), ("lstsq", "torch.linalg.lstsq"), ("solve", "torch.linalg.solve"),
    ("symeig", "torch.linalg.eigh"),
):  # fmt: skip
    _removed_method(_name, _instead)


# ---- Factorisation -----------------------------------------------------------------------------
@_method
def lu(self: Tensor, pivot: bool = True, get_infos: bool = False) -> tuple[Tensor, ...]:
    """See `taimatsu.lu`."""
    from .functional import lu

    return lu(self, pivot, get_infos)


# ---- Types -------------------------------------------------------------------------------------
@_method
def type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The old name of the type ("torch.FloatTensor"), or the tensor converted to `dtype`.

    ``dtype`` is a torch.dtype, such a name or such a type. ValueError if it is an unknown name.
    """
    if dtype is None:
        place = "" if self.is_cpu else f"{self.device.type}."
        place += "" if self.layout is _core.strided else "sparse."
        return f"torch.{place}{self.dtype._legacy_name}Tensor"
    if isinstance(dtype, str):
        for known in _DTYPES:
            if dtype == f"torch.{known._legacy_name}Tensor":
                return self.to(known, non_blocking=non_blocking)
        raise ValueError(f"invalid type: {dtype!r}")
    if dtype is Tensor:  # the type of tensors that were made without saying a dtype
        dtype = _core.get_default_dtype()
    dtype = getattr(dtype, "dtype", dtype)  # of torch.FloatTensor and its kin
    return self.to(dtype, non_blocking=non_blocking)


# Those that tensors have: others are known by name only, and code generation has none for them.
_DTYPES = {
    d
    for d in vars(_core).values()
    if isinstance(d, _core.dtype) and d._code  # type: ignore[attr-defined]
}


@_method
def storage(self: Tensor) -> Any:
    """The memory as a `storage.TypedStorage`; `untyped_storage` is what replaced it."""
    from .storage import TypedStorage

    return TypedStorage(wrap_storage=self.untyped_storage(), dtype=self.dtype)


Tensor._typed_storage = storage  # type: ignore[attr-defined]  # without PyTorch's warning


@_method
def is_shared(self: Tensor) -> bool:
    """Whether other processes see the memory."""
    return self.untyped_storage().is_shared()


@_method
def share_memory_(self: Tensor) -> Tensor:
    """Moves the memory to where other processes see it; the tensor, and its views, stay valid.

    >>> torch.ones(2).share_memory_().is_shared()
    True
    """
    _storage.share_memory_(self.untyped_storage())
    return self


@_method
def is_pinned(self: Tensor) -> bool:
    """Whether a GPU can read the memory directly; memory of the CPU's allocator is not pinned."""
    return self.is_cpu and _storage.is_pinned(self.untyped_storage())


def _cuda_array_interface(self: Tensor) -> dict[str, Any]:
    """Numba's and CuPy's description of an array on a GPU. AttributeError of other tensors."""
    if not self.is_cuda:
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()} "
            "If CUDA data is required use tensor.cuda() to copy tensor to device memory."
        )
    if self.requires_grad:
        raise RuntimeError(
            "Can't get __cuda_array_interface__ on Variable that requires grad. "
            "If gradients aren't required, use var.detach() to get Variable that doesn't require "
            "grad."
        )
    from .cuda._arrays import to_interface

    return to_interface(self)


setattr(Tensor, "_cdata", property(id, doc="The same number for the same tensor."))  # noqa: B010
setattr(Tensor, "__cuda_array_interface__", property(_cuda_array_interface))  # noqa: B010


@_method
def record_stream(self: Tensor, stream: Any) -> None:
    """Tells that `stream` uses the memory of this tensor of a GPU, besides the stream it is for.

    So it is not given to another tensor before the work that is on `stream` when this one is freed.
    """
    if not self.is_cuda:
        raise RuntimeError("record_stream: the tensor must be on a GPU")
    address = self.untyped_storage().data_ptr()
    _core._cuda.record_stream(address, stream.device_index, stream.cuda_stream)


# ---- More tensors -------------------------------------------------------------------------------
@_method
def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of `data`, by default of this tensor's dtype and on its device.

    >>> torch.ones(1, dtype=torch.float64).new_tensor([1, 2])
    tensor([1., 2.], dtype=torch.float64)
    """
    options: dict[str, Any] = {"dtype": dtype or self.dtype, "device": device or self.device}
    make = functools.partial(_core.asarray, copy=True) if isinstance(data, Tensor) else _core.tensor
    return make(data, requires_grad=requires_grad, **options)


@_method
def resize_as_(self: Tensor, other: Tensor, *, memory_format: Any = None) -> Tensor:
    """`resize_` to the sizes of `other`."""
    return self.resize_(other.shape, memory_format=memory_format or _core.contiguous_format)


@_method
def cuda(self: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """The tensor on a GPU, the current one by default. RuntimeError where there is none."""
    return self.to(_core.device("cuda") if device is None else device, non_blocking=non_blocking)


@_method
def new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """A tensor of this dtype: of these sizes, uninitialised, of the data of a sequence, or over
    all of a storage."""
    options: dict[str, Any] = {"dtype": self.dtype, "device": device or self.device}
    if not args:
        return self.new_empty((0,), device=device)
    if all(isinstance(a, int) for a in args) or isinstance(args[0], _core.Size):
        sizes = args[0] if isinstance(args[0], _core.Size) else args
        return self.new_empty(sizes, device=device)
    if isinstance(args[0], Tensor):
        return args[0].to(**options).view_as(args[0])
    if hasattr(args[0], "untyped"):
        memory = args[0].untyped()
        n = memory.nbytes() // self.itemsize
        return _core.tensor_from_storage(memory, self.dtype, 0, (n,), (1,))
    return _core.tensor(args[0], **options)


@_method
def new_empty_strided(
    self: Tensor, size: Any, stride: Any, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """An uninitialised tensor of these sizes and strides, by default of this dtype and device."""
    import taimatsu

    return taimatsu.empty_strided(
        size, stride, dtype=dtype or self.dtype, device=device or self.device,
        requires_grad=requires_grad,
    )  # fmt: skip


# ---- Comparison and choice ----------------------------------------------------------------------
@_method
def allclose(
    self: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether `isclose` holds everywhere."""
    return bool(self.isclose(other, rtol=rtol, atol=atol, equal_nan=equal_nan).all())


@_method
def equal(self: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and elements."""
    return self.shape == other.shape and bool((self == other).all())


@_method
def is_nonzero(self: Tensor) -> bool:
    """Whether the only element isn't zero. RuntimeError if there are more or none."""
    return bool(self)


@_method
def where(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """This tensor's elements where `condition` holds, else those of `other`."""
    import taimatsu

    return taimatsu.where(condition, self, other)


# ---- Element by element, in Python: slow, for what no op does -----------------------------------
def _elements_to(self: Tensor, values: list) -> Tensor:
    return self.copy_(_core.tensor(values, dtype=self.dtype).reshape(self.shape))


def _on_cpu(self: Tensor, name: str) -> None:
    if not self.is_cpu:
        raise TypeError(f"{name} is only implemented on CPU tensors; got one on {self.device}")
    if self.requires_grad:
        raise RuntimeError(f"Can't call {name} on a tensor that requires grad; use detach()")


@_method
def apply_(self: Tensor, callable: Any) -> Tensor:
    """Replaces each element by what a Python function makes of it. Slow; on the CPU only."""
    _on_cpu(self, "apply_")
    return _elements_to(self, [callable(v) for v in self.reshape(-1).tolist()])


@_method
def map_(self: Tensor, tensor: Tensor, callable: Any) -> Tensor:
    """Replaces each element by ``callable(element, element of the tensor)``. Slow."""
    _on_cpu(self, "map_")
    others = tensor.expand(self.shape).reshape(-1).tolist()
    pairs = zip(self.reshape(-1).tolist(), others, strict=True)
    return _elements_to(self, [callable(*pair) for pair in pairs])


@_method
def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Any) -> Tensor:
    """Replaces each element by a function of it and those of `x` and `y`. Slow."""
    _on_cpu(self, "map2_")
    rest = [t.expand(self.shape).reshape(-1).tolist() for t in (x, y)]
    triples = zip(self.reshape(-1).tolist(), *rest, strict=True)
    return _elements_to(self, [callable(*triple) for triple in triples])


# ---- Parts --------------------------------------------------------------------------------------
@_method
def unsafe_chunk(self: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """`chunk`."""
    return self.chunk(chunks, dim)


@_method
def unsafe_split(self: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """`split`."""
    return self.split(split_size, dim)


@_method
def unsafe_split_with_sizes(self: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """`split` into parts of these sizes."""
    return self.split(list(split_sizes), dim)


@_method
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Fills the main diagonal; with ``wrap`` it begins anew below a tall matrix.

    RuntimeError for fewer than 2 dims, and for more unless all sizes are equal.
    """
    if self.dim() < 2:
        raise RuntimeError("dimensions must larger than 1")
    if self.dim() > 2 and len(set(self.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    n, step, start = min(self.shape), sum(self.stride()), self.storage_offset()
    self.as_strided((n,), (step,), start).fill_(fill_value)
    rows, columns = self.shape[0], self.shape[1]
    if wrap and self.dim() == 2 and rows > columns + 1:
        rest: Any = self[columns + 1 :]
        rest.fill_diagonal_(fill_value, True)
    return self


@_method
def dim_order(self: Tensor, *, ambiguity_check: Any = False) -> tuple[int, ...]:
    """The dims from the outermost to the innermost in memory.

    RuntimeError where equal strides or sizes of 1 leave the order open and ambiguity_check is
    True, or a list of memory formats of which not exactly one fits. TypeError for other checks.
    """
    strides = self.stride()
    order = tuple(sorted(range(self.dim()), key=lambda d: -strides[d]))
    if ambiguity_check is False:
        return order
    formats: Any = [] if ambiguity_check is True else ambiguity_check
    known = _core.memory_format
    if not isinstance(formats, list) or not all(isinstance(f, known) for f in formats):
        raise TypeError("The ambiguity_check argument must be a bool or a list of memory formats.")
    fitting = [f for f in formats if self.is_contiguous(memory_format=f)]
    if (len(set(strides)) < len(strides) or 1 in self.shape) and len(fitting) != 1:
        raise RuntimeError(
            "The tensor does not have unique dim order, or cannot map to exact one of the given "
            f"memory formats; its sizes are {tuple(self.shape)}, its strides {strides}"
        )
    return order


@_method
def resize(self: Tensor, *sizes: Any) -> Tensor:
    """The old name of ``view`` that may copy; deprecated."""
    warnings.warn("non-inplace resize is deprecated", FutureWarning, stacklevel=3)
    return self.reshape(*sizes)


@_method
def resize_as(self: Tensor, tensor: Tensor) -> Tensor:
    """`resize` to the sizes of another tensor; deprecated."""
    warnings.warn("non-inplace resize_as is deprecated", FutureWarning, stacklevel=3)
    return self.reshape(tensor.shape)


@_method
def is_distributed(self: Tensor) -> bool:
    """Always False: kept for programs that ask."""
    return False


@_method
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """A copy in memory that a GPU reads directly; itself if it is. RuntimeError without a GPU."""
    cuda = getattr(_core, "_cuda", None)
    if cuda is None or not cuda.device_count():
        raise RuntimeError("Cannot access accelerator device when none is available.")
    if not self.is_cpu:
        raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")
    return self if self.is_pinned() else cuda.pinned(self.detach()).copy_(self)


@_method
def module_load(self: Tensor, other: Tensor, assign: bool = False) -> Tensor:
    """What `Module.load_state_dict` puts in this tensor's place when it swaps tensors."""
    if assign:
        return other if isinstance(other, self.__class__) else other.as_subclass(self.__class__)
    return self.detach().copy_(other)


def _in_place(view: str) -> Any:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        seen = getattr(self, view)(*args, **kwargs)
        self._become(seen)
        for frame in frames():
            frame.became(self, seen)
        return self

    method.__name__ = f"{view}_"
    method.__doc__ = f"In-place `{view}`: this tensor becomes the view."
    return _method(method)


for _view in ("as_strided", "squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze"):
    _in_place(_view)


# ---- NumPy -------------------------------------------------------------------------------------
@_method
def __array_wrap__(
    self: Tensor, array: Any, context: Any = None, return_scalar: bool = False
) -> Tensor:
    """What NumPy's functions of a tensor return: a tensor again, masks as uint8 like PyTorch's."""
    return _core.from_numpy(array.astype("uint8") if array.dtype == bool else array)


# ---- The array API standard --------------------------------------------------------------------
@_method
def __array_namespace__(self: Tensor, *, api_version: str | None = None) -> Any:
    """The functions of the Python array API standard: `taimatsu.array_api`.

    ValueError for a version that it doesn't have.
    """
    from . import array_api

    if api_version is not None and api_version not in array_api.VERSIONS:
        raise ValueError(
            f"__array_namespace__: version {api_version!r} of the standard is not among "
            f"{array_api.VERSIONS}"
        )
    return array_api


@_method
def to_device(self: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The standard's name of ``to(device)``."""
    return self.to(device)


# ---- Overrides ---------------------------------------------------------------------------------
def _as_class(result: Any, cls: Any) -> Any:
    if isinstance(result, Tensor):
        return result if isinstance(result, cls) else result.as_subclass(cls)
    if isinstance(result, (tuple, list)):
        items = [_as_class(r, cls) for r in result]
        # Named tuples take their fields one by one; structseqs, which the core makes, at once.
        return result.__class__(*items) if hasattr(result, "_fields") else result.__class__(items)
    return result


def __torch_function__(
    cls: Any, func: Any, types: tuple, args: tuple = (), kwargs: dict | None = None
) -> Any:
    """Runs ``func`` on plain tensors; what it returns becomes ``cls`` again.

    Subclasses override this to see the calls of ops on their instances, and call
    ``super().__torch_function__`` to carry them out.
    """
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    with _core.DisableTorchFunctionSubclass():
        result = func(*args, **(kwargs or {}))
    return result if cls is Tensor else _as_class(result, cls)


Tensor.__torch_function__ = classmethod(__torch_function__)  # type: ignore[method-assign, assignment]


def __init_subclass__(cls: Any, **kwargs: Any) -> None:
    """A class that carries ops out sees them there, not twice, unless it wants the functions."""
    super(Tensor, cls).__init_subclass__(**kwargs)
    if _core._class_dispatches(cls):
        _core._note_dispatching_class()
        inherited = getattr(cls.__torch_function__, "__func__", None)
        if inherited is __torch_function__:
            cls.__torch_function__ = _core._disabled_torch_function_impl


def _make_wrapper_subclass(cls: Any, *args: Any, **kwargs: Any) -> Any:
    from ._dispatch import make_wrapper_subclass

    return make_wrapper_subclass(cls, *args, **kwargs)


Tensor.__init_subclass__ = classmethod(__init_subclass__)  # type: ignore
Tensor._make_wrapper_subclass = staticmethod(_make_wrapper_subclass)  # type: ignore[attr-defined]


def _rebuild_from_type_v2(func: Any, new_type: Any, args: tuple, state: Any) -> Any:
    """Where pickles of a subclass's tensors look for it."""
    from ._utils import _rebuild_from_type_v2 as rebuild

    return rebuild(func, new_type, args, state)
