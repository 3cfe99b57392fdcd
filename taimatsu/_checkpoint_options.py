"""What `save` and `load` may be told beforehand: where storages belong, byte orders, mapping.

All of it is public as `taimatsu.serialization`.
"""

from __future__ import annotations

import contextlib
import enum
import mmap
import re
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import taimatsu as torch

__all__ = [
    "LoadEndianness", "SourceChangeWarning", "check_module_version_greater_or_equal",
    "default_restore_location", "get_crc32_options", "get_default_load_endianness",
    "get_default_mmap_options", "location_tag", "mkdtemp", "normalize_storage_type",
    "register_package", "set_crc32_options", "set_default_load_endianness",
    "set_default_mmap_options", "skip_data", "storage_to_tensor_type", "validate_cuda_device",
    "validate_hpu_device",
]  # fmt: skip


class SourceChangeWarning(Warning):
    """The source of a module's class is not what it was when the module was saved."""


class LoadEndianness(enum.Enum):
    """The byte order of a file that doesn't tell it."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


# ---- options ------------------------------------------------------------------------------------

_endianness: LoadEndianness | None = None
_mmap_flags = mmap.MAP_PRIVATE
_crc32 = True
_skipping = False


def get_default_load_endianness() -> LoadEndianness | None:
    """What `set_default_load_endianness` set; None is the machine's."""
    return _endianness


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """The byte order of files that don't tell theirs. TypeError for what isn't one."""
    global _endianness
    if endianness is not None and not isinstance(endianness, LoadEndianness):
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    _endianness = endianness


def get_default_mmap_options() -> int:
    """How ``load(mmap=True)`` maps files; by default ``mmap.MAP_PRIVATE``."""
    return _mmap_flags


class set_default_mmap_options:
    """How ``load(mmap=True)`` maps files, from now on or inside a ``with`` block.

    ``mmap.MAP_PRIVATE``: writes to tensors stay in memory; ``mmap.MAP_SHARED``: they go to the
    file, which has to be writable. ValueError for other flags.
    """

    def __init__(self, flags: int):
        global _mmap_flags
        if flags not in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            raise ValueError(
                "Invalid argument in function set_default_mmap_options, expected mmap.MAP_PRIVATE "
                f"or mmap.MAP_SHARED, but got {flags}"
            )
        self._before, _mmap_flags = _mmap_flags, flags

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        global _mmap_flags
        _mmap_flags = self._before


def get_crc32_options() -> bool:
    """What `set_crc32_options` set; by default True."""
    return _crc32


def set_crc32_options(compute_crc32: bool) -> None:
    """Whether `save` has to write checksums of records. It does in either case: any unzip reads
    its files."""
    global _crc32
    _crc32 = compute_crc32


@contextlib.contextmanager
def skip_data(materialize_fake_tensors: bool = False):
    """Inside, `save` leaves room for the elements of tensors without writing them, and `load`
    gives tensors whose elements aren't read.

    >>> with torch.serialization.skip_data():
    ...     torch.save({"w": torch.ones(3)}, "weights.pt")
    """
    global _skipping
    before, _skipping = _skipping, True
    try:
        yield
    finally:
        _skipping = before


def skipping() -> bool:
    """Whether the caller is inside of `skip_data`."""
    return _skipping


def check_module_version_greater_or_equal(
    module: Any, req_version_tuple: tuple[int, ...], error_if_malformed: bool = True
) -> bool:
    """Whether a module's ``__version__`` is a version or a later one.

    RuntimeError for a text that isn't one, or a warning and True.
    """
    try:
        parts = module.__version__.split(".")
        version = tuple(
            type(wanted)(part) for wanted, part in zip(req_version_tuple, parts, strict=False)
        )
    except Exception as error:
        message = (
            f"'{module.__name__}' module version string is malformed '{module.__version__}' and "
            f"cannot be compared with tuple {req_version_tuple}"
        )
        if error_if_malformed:
            raise RuntimeError(message) from error
        warnings.warn(message + ", but continuing assuming that requirement is met", stacklevel=2)
        return True
    return version >= req_version_tuple


def mkdtemp() -> contextlib.AbstractContextManager[str]:
    """A folder that is there inside a ``with`` block."""
    return tempfile.TemporaryDirectory()


# ---- where storages belong ----------------------------------------------------------------------

_packages: list[tuple[int, Callable[[Any], str | None], Callable[[Any, str], Any]]] = []


def register_package(
    priority: int, tagger: Callable[[Any], str | None], deserializer: Callable[[Any, str], Any]
) -> None:
    """Tells how files name a device, and how what they hold gets there.

    ``tagger(storage)`` gives the name of the storage's place, or None; ``deserializer(storage,
    location)`` the storage there, or None. Those of the lowest priority are asked first; the CPU
    has 10, CUDA 20, the meta device 22.

    >>> torch.serialization.register_package(50, lambda s: None, lambda s, location: None)
    """
    _packages.append((priority, tagger, deserializer))
    _packages.sort(key=lambda entry: entry[0])


def location_tag(storage: Any) -> str:
    """The name of a storage's place in a file. RuntimeError where nobody knows it."""
    for _, tagger, _ in _packages:
        if (location := tagger(storage)) is not None:
            return location
    raise RuntimeError(
        f"don't know how to determine data location of {type(storage).__name__}; "
        "see torch.serialization.register_package"
    )


def default_restore_location(storage: Any, location: str) -> Any:
    """A storage in the place that a file names. RuntimeError where nobody knows the place."""
    for _, _, deserializer in _packages:
        if (result := deserializer(storage, location)) is not None:
            return result
    raise RuntimeError(
        f"don't know how to restore data location of {type(storage).__name__} (tagged with "
        f"{location}); pass map_location='cpu'"
    )


def _device_type(storage: Any) -> str:
    return torch.device(storage.device).type


def _of_device(kind: str, validated: Callable[[str], int]) -> tuple[Callable, Callable]:
    def tagger(storage: Any) -> str | None:
        if _device_type(storage) != kind:
            return None
        return f"{kind}:{storage.device.index or 0}"

    def deserializer(storage: Any, location: str) -> Any:
        if not location.startswith(kind):
            return None
        return storage.to(device=torch.device(kind, validated(location)))

    return tagger, deserializer


def _index(kind: str, location: str, available: bool, count: int) -> int:
    """The number in "cuda:1". RuntimeError where there is no such device."""
    if not available:
        raise RuntimeError(
            f"Attempting to deserialize object on a {kind.upper()} device but "
            f"torch.{kind}.is_available() is False. If you are running on a CPU-only machine, "
            "please use torch.load with map_location=torch.device('cpu') to map your storages to "
            "the CPU."
        )
    text = location.partition(":")[2]
    index = int(text) if text else 0
    if not 0 <= index < count:
        raise RuntimeError(
            f"Attempting to deserialize object on {kind.upper()} device {index} but "
            f"torch.{kind}.device_count() is {count}. Please use torch.load with map_location to "
            "map your storages to an existing device."
        )
    return index


def validate_cuda_device(location: str) -> int:
    """The number of the GPU that a file names. RuntimeError if there is none such."""
    return _index("cuda", location, torch.cuda.is_available(), torch.cuda.device_count())


def validate_hpu_device(location: str) -> int:
    """The number of the HPU that a file names. RuntimeError: there are none."""
    return _index("hpu", location, False, 0)


register_package(
    10,
    lambda storage: "cpu" if _device_type(storage) == "cpu" else None,
    lambda storage, location: storage if location == "cpu" else None,
)
register_package(20, *_of_device("cuda", validate_cuda_device))
register_package(
    22,
    lambda storage: "meta" if _device_type(storage) == "meta" else None,
    lambda storage, location: storage.to(device="meta") if location == "meta" else None,
)


def normalize_storage_type(storage_type: type) -> type:
    """The type of a storage on the CPU: that of the top level, for ``torch.cuda.FloatStorage``."""
    return getattr(torch, storage_type.__name__)


def storage_to_tensor_type(storage: Any) -> type:
    """The type of the tensors that a storage is of: ``torch.FloatTensor`` for floats."""
    name = storage._legacy_name() if hasattr(storage, "_legacy_name") else type(storage).__name__
    return getattr(torch, re.sub(r"Storage$", "Tensor", name))
