"""``__cuda_array_interface__``: arrays on GPUs, as CuPy and Numba describe them to others.

https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html, version 3.
"""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

from ._driver import core

_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}
_DEFAULT_STREAM = 1  # as the interface numbers it; the driver's handle is 0


def to_interface(tensor: Tensor) -> dict[str, Any]:
    """What describes a tensor on a GPU; whoever reads it waits for its current stream."""
    size = tensor.element_size()
    kind = "b" if tensor.dtype == _core.bool else "c" if tensor.is_complex() else (
        "f" if tensor.is_floating_point() else "i" if tensor.dtype.is_signed else "u")  # fmt: skip
    stream = core().current_stream(tensor.get_device())
    return {
        "typestr": f"<{kind}{size}" if size > 1 else f"|{kind}{size}",
        "version": 3,
        "shape": tuple(tensor.shape),
        "strides": None if tensor.is_contiguous() else tuple(size * s for s in tensor.stride()),
        "data": (tensor.data_ptr() if tensor.numel() else 0, False),
        "stream": stream or _DEFAULT_STREAM,
    }


def _dtype(typestr: str) -> Any:
    order, kind, size = typestr[0], typestr[1], int(typestr[2:])
    name = _KINDS.get(kind, "?") + ("" if kind == "b" else str(8 * size))
    if order not in "<|=" or not isinstance(getattr(torch, name, None), _core.dtype):
        raise TypeError(f"as_tensor: there is no dtype of the typestr {typestr!r}")
    return getattr(torch, name)


def _steps(strides: Any, shape: tuple, size: int) -> tuple:
    """Strides in elements."""
    if strides is None:
        return torch.empty(shape, device="meta").stride()
    if any(s % size or s < 0 for s in strides):
        raise ValueError(
            f"as_tensor: strides must be multiples of the {size} bytes of an element, and not "
            f"negative; got {tuple(strides)} bytes"
        )
    return tuple(s // size for s in strides)


def from_interface(array: Any) -> Tensor:
    """A tensor of the memory of another library's array, on the GPU that it is on.

    The current stream waits for the array's. ValueError for memory of no GPU, masks, and strides
    that tensors don't have; TypeError for memory that must not be written, and for other dtypes.
    """
    about = array.__cuda_array_interface__
    cuda = core("as_tensor")
    shape, dtype = tuple(about["shape"]), _dtype(about["typestr"])
    address, read_only = about["data"]
    if read_only:
        raise TypeError("as_tensor: the array is read-only, and tensors can be written; copy it")
    if about.get("mask") is not None:
        raise ValueError("as_tensor: masked arrays are not supported")
    if 0 in shape:
        return torch.empty(shape, dtype=dtype, device="cuda")
    device = cuda.device_of(address)
    if device < 0:
        raise ValueError(f"as_tensor: {address:#x} is not an address of a GPU's memory")
    size = dtype.itemsize
    steps = _steps(about.get("strides"), shape, size)
    reach = 1 + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
    stream = about.get("stream")
    if stream is not None:
        if stream < 1:
            raise ValueError(f"as_tensor: {stream} is no stream; 1 is the default one")
        here = cuda.current_stream(device)
        cuda.order(device, 0 if stream == _DEFAULT_STREAM else stream, here)
    storage = cuda.storage_at(address, reach * size, device, array)
    return _core.tensor_from_storage(storage, dtype, 0, shape, steps)
