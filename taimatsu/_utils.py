"""What pickles of tensors are made of: a storage, and a function that puts a tensor over it.

The names and arguments of the ``_rebuild_*`` functions are part of the checkpoint format.
"""

from __future__ import annotations

import typing
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import taimatsu as torch

# The storage class by which a checkpoint names a dtype; the younger dtypes have none and are
# written as an untyped storage and a dtype.
STORAGE_NAMES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
    "quint8": "QUInt8Storage",
    "qint8": "QInt8Storage",
    "qint32": "QInt32Storage",
}
STORAGE_DTYPES = {storage: dtype for dtype, storage in STORAGE_NAMES.items()}


def dtype_name(dtype: Any) -> str:
    """"float32" of torch.float32."""
    return str(dtype).rpartition(".")[2]


class TypedStorage(typing.NamedTuple):
    """A storage and the dtype of its elements, as a checkpoint refers to it.

    ``dtype`` is None for an untyped storage, ``untyped`` is None where only the meta device is
    wanted.
    """

    untyped: Any
    dtype: Any

    def __reduce__(self) -> tuple:
        # Reached when a tensor is pickled outside of `save`, which writes storages by itself.
        data = bytes(memoryview(self.untyped.cpu()))
        if self.untyped.is_cuda:
            return _rebuild_storage, (data, self.dtype, str(self.untyped.device))
        return _rebuild_storage, (data, self.dtype)


def _rebuild_storage(data: bytes, dtype: Any, device: str = "cpu") -> TypedStorage:
    storage = torch._core.UntypedStorage(len(data))
    if data:
        memoryview(storage).cast("B")[:] = data
    return TypedStorage(storage.to(device=device), dtype)


def attributes(tensor: Any) -> Any:
    """What a user set on a tensor: its attributes; a pair with those in slots, if it has any."""
    fields = dict(getattr(tensor, "__dict__", {}))
    slots = {n: getattr(tensor, n) for n in slot_names(type(tensor)) if hasattr(tensor, n)}
    return (fields, slots) if slots else fields


def slot_names(cls: type) -> list[str]:
    """What `__slots__` of a class and its bases name."""
    import copyreg

    return copyreg._slotnames(cls)  # type: ignore[attr-defined]


def reduce_tensor(tensor: Any, protocol: int) -> tuple:
    """What ``Tensor.__reduce_ex__`` gives: storage, offset, sizes and strides, so that tensors that
    share memory still do after unpickling.

    Raises RuntimeError for tensors that have no memory of their own, as results of the tape don't.
    """
    args = _reduce_data(tensor)
    state = attributes(tensor)
    if type(tensor) is torch.Tensor and not state:
        return args
    return _rebuild_from_type_v2, (args[0], type(tensor), args[1], state)


def _rebuild_sparse_tensor(layout, data):
    from .sparse._members import rebuild

    return rebuild(layout, data)


def _reduce_data(tensor: Any) -> tuple:
    if tensor.layout is not torch.strided:
        from .sparse._members import reduce

        return reduce(tensor)
    size, stride = tuple(tensor.size()), tensor.stride()
    if tensor.device.type == "meta":
        args = (tensor.dtype, size, stride, tensor.requires_grad)
        return _rebuild_meta_tensor_no_storage, args
    dtype = tensor.dtype
    typed = dtype_name(dtype) in STORAGE_NAMES
    storage = TypedStorage(tensor.untyped_storage(), dtype if typed else None)
    hooks: OrderedDict = OrderedDict()  # hooks are not saved; the format has a place for them
    fields = (storage, tensor.storage_offset(), size, stride, tensor.requires_grad, hooks)
    return (_rebuild_tensor_v2, fields) if typed else (_rebuild_tensor_v3, (*fields, dtype))


def _rebuild_tensor(storage, storage_offset, size, stride):
    dtype = storage.dtype or torch.uint8
    memory = storage.untyped
    if callable(memory):  # of torch.TypedStorage
        memory = memory()
    if memory is None or memory.device.type == "meta":
        return torch.empty_strided(size, stride, dtype=dtype, device="meta")
    return torch._core.tensor_from_storage(memory, dtype, storage_offset, size, stride)


def _rebuild_tensor_v2(
    storage, storage_offset, size, stride, requires_grad, backward_hooks, metadata=None
):
    tensor = _rebuild_tensor(storage, storage_offset, size, stride)
    if metadata and metadata.get("conj"):
        tensor = tensor.conj().resolve_conj()
    if metadata and metadata.get("neg"):
        tensor = -tensor
    tensor.requires_grad = requires_grad
    return tensor


def _rebuild_tensor_v3(
    storage, storage_offset, size, stride, requires_grad, backward_hooks, dtype, metadata=None
):
    typed = TypedStorage(storage.untyped, dtype)
    return _rebuild_tensor_v2(
        typed, storage_offset, size, stride, requires_grad, backward_hooks, metadata
    )


def _rebuild_qtensor(
    storage, storage_offset, size, stride, quantizer_params, requires_grad, backward_hooks
):
    from ._quantized import Grid

    _, scale, zero_point, *axis = quantizer_params
    grid = Grid(storage.dtype, scale, zero_point, *axis)
    integers = TypedStorage(storage.untyped, grid.integer_dtype)
    return grid.of(_rebuild_tensor(integers, storage_offset, size, stride))


def _rebuild_meta_tensor_no_storage(dtype, size, stride, requires_grad):
    tensor = torch.empty_strided(size, stride, dtype=dtype, device="meta")
    tensor.requires_grad = requires_grad
    return tensor


def _rebuild_parameter(data, requires_grad, backward_hooks):
    return torch.nn.Parameter(data, requires_grad)


def _rebuild_parameter_with_state(data, requires_grad, backward_hooks, state):
    return _set_state(torch.nn.Parameter(data, requires_grad), state)


def _rebuild_from_type_v2(func, new_type, args, state):
    tensor = func(*args)
    if not isinstance(tensor, torch.Tensor) or not issubclass(new_type, torch.Tensor):
        raise TypeError(f"_rebuild_from_type_v2: makes tensors only; got {new_type}")
    if type(tensor) is not new_type:
        tensor = tensor.as_subclass(new_type)
    return _set_state(tensor, state)


def _set_state(tensor: Any, state: Any) -> Any:
    fields, slots = state if isinstance(state, tuple) else (state, None)
    for values in (fields, slots):
        for name, value in (values or {}).items():
            setattr(tensor, name, value)
    return tensor


# ---- Lists of tensors as one ------------------------------------------------------------------
def _flatten_dense_tensors(tensors: Iterable[Any]) -> Any:
    """One 1-d tensor of all elements."""
    return torch.cat([t.reshape(-1) for t in tensors])


def _unflatten_dense_tensors(flat: Any, tensors: Iterable[Any]) -> tuple[Any, ...]:
    """Views of ``flat`` in the sizes of ``tensors``."""
    tensors = list(tensors)
    parts = flat.split([t.numel() for t in tensors])
    return tuple(part.view_as(t) for part, t in zip(parts, tensors, strict=True))


def _element_size(dtype: Any) -> int:
    """The bytes of an element. RuntimeError if it isn't a dtype."""
    if not isinstance(dtype, torch.dtype):
        raise RuntimeError(f"_element_size: expected a torch.dtype; got {type(dtype).__name__}")
    return dtype.itemsize


# ---- Devices ----------------------------------------------------------------------------------
def _get_device_index(device: Any, optional: bool = False, allow_cpu: bool = False) -> int:
    """The index of a device; -1 for the CPU. ValueError if there is none and it isn't optional."""
    if isinstance(device, int):
        return device
    given = None if device is None else torch.device(device)
    if given is not None and given.type == "cpu":
        if allow_cpu:
            return -1
        raise ValueError(f"_get_device_index: expected a device that is not the CPU; got {device}")
    if given is not None and given.index is not None:
        return given.index
    if not optional:
        raise ValueError(f"_get_device_index: expected a device with an index; got {device}")
    return torch.cuda.current_device()


def _get_available_device_type() -> str | None:
    """The type of the accelerator that is there, if any."""
    return "cuda" if torch.cuda.is_available() else None


def _get_device_module(device_type: str) -> Any:
    """The module of a type of devices. RuntimeError for unknown ones."""
    return torch.get_device_module(device_type)
