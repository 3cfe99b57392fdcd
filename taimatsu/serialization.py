"""``save`` and ``load``: PyTorch's checkpoint format, readable and writable on both sides.

A checkpoint is an uncompressed zip archive of a folder with

    data.pkl            a pickle (protocol 2) in which every storage is a persistent id
                        ("storage", storage class, key, location, number of elements)
    data/<key>          the bytes of each storage, at a multiple of 64 bytes in the file
    byteorder, version, .format_version, .storage_alignment

The pickle names globals as PyTorch does ("torch._utils _rebuild_tensor_v2"); here they are mapped
to this package and back. Storages are written once, whatever number of tensors view them.
"""

from __future__ import annotations

import array
import contextlib
import io
import mmap as _mmap
import os
import pickle
import pickletools
import struct
import sys
import typing
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, ClassVar

import taimatsu as torch

from . import _checkpoint_options as _options
from . import _utils
from ._checkpoint_options import *  # noqa: F403  (options, and where storages belong)
from ._utils import STORAGE_DTYPES, STORAGE_NAMES, TypedStorage, dtype_name
from ._weights_unpickler import BUILTINS as _BUILTINS
from ._weights_unpickler import Unpickler as WeightsUnpickler

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "safe_globals",
    "save",
    *_options.__all__,
]

MAP_LOCATION: typing.TypeAlias = typing.Any  # what `load` takes as map_location, for annotations
ALIGNMENT = 64
DEFAULT_PROTOCOL = 2  # of pickles
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
PACKAGE = __name__.partition(".")[0]


# ---- names: the format's and this package's -----------------------------------------------------


class StorageType:
    """A storage class of the format, which stands for a dtype (None: untyped)."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    @property
    def dtype(self) -> Any:
        name = STORAGE_DTYPES.get(self.name)
        return None if name is None else getattr(torch, name)


def _get_layout(name: str) -> Any:
    """The layout called ``name``, such as "torch.strided"."""
    return getattr(torch, name.rpartition(".")[2])


def _tensor_globals() -> dict[str, Any]:
    """What a file of tensors may refer to, by the format's names."""
    return {
        "torch._tensor._rebuild_from_type_v2": _utils._rebuild_from_type_v2,
        "torch.serialization._get_layout": _get_layout,
        "torch.nn.parameter.Parameter": torch.nn.Parameter,
        "torch.Tensor": torch.Tensor,
        "torch.Size": torch.Size,
        "torch.device": torch.device,
        **{
            f"torch._utils.{name}": getattr(_utils, name)
            for name in (
                "_rebuild_tensor",
                "_rebuild_tensor_v2",
                "_rebuild_tensor_v3",
                "_rebuild_qtensor",
                "_rebuild_meta_tensor_no_storage",
                "_rebuild_sparse_tensor",
                "_rebuild_parameter",
                "_rebuild_parameter_with_state",
            )
        },
    }


def _find_data(full: str) -> Any:
    """The object for a global of the format that holds data only, or None."""
    module, _, name = full.rpartition(".")
    if module in ("torch", "torch.cuda") and name in STORAGE_DTYPES:
        return StorageType(module, name)
    if full in ("torch.storage.UntypedStorage", "torch.UntypedStorage"):
        return StorageType(module, name)
    found = _tensor_globals().get(full)
    if found is None and module == "torch":
        named = getattr(torch, name, None)  # a dtype, or how tensors are quantized
        found = named if isinstance(named, (torch.dtype, torch.qscheme)) else None
    return found


def _format_name(obj: Any, name: str | None = None) -> tuple[str, str]:
    """(module, name) under which the format knows a function or class."""
    for full, known in _tensor_globals().items():
        if known is obj:
            module, _, name = full.rpartition(".")
            return module, name
    module = getattr(obj, "__module__", None) or ""
    name = name or obj.__qualname__
    if module.startswith(PACKAGE + ".nn.") and getattr(torch.nn, name, None) is obj:
        return "torch.nn", name
    if module == PACKAGE or module.startswith(PACKAGE + "."):
        return "torch" + module[len(PACKAGE) :], name
    return module, name


def _package_module(module: str) -> str:
    """This package's module for one of the format."""
    if module.startswith("torch.nn.modules."):
        return f"{PACKAGE}.nn"
    if module == "torch" or module.startswith("torch."):
        return PACKAGE + module[len("torch") :]
    return module


# ---- what weights_only allows beyond tensors ----------------------------------------------------

_safe_globals: dict[str, Any] = {}


def _safe_name(entry: Any) -> tuple[str, Any]:
    if isinstance(entry, tuple):
        obj, name = entry
        return name, obj
    module, name = _format_name(entry)
    return f"{module}.{name}", entry


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Let ``load(weights_only=True)`` use these functions and classes.

    Entries are the objects, or (object, "module.name") where the file has another name.
    """
    _safe_globals.update(_safe_name(entry) for entry in safe_globals)


def get_safe_globals() -> list[Any]:
    """What `add_safe_globals` added."""
    return list(_safe_globals.values())


def clear_safe_globals() -> None:
    """Allow nothing beyond tensors and plain containers again."""
    _safe_globals.clear()


class safe_globals:
    """A context in which further functions and classes are allowed.

    >>> from fractions import Fraction
    >>> torch.save(Fraction(1, 3), "state.pt")
    >>> with torch.serialization.safe_globals([Fraction]):
    ...     torch.load("state.pt")
    Fraction(1, 3)
    """

    def __init__(self, safe_globals: list[Any]):
        self._entries = safe_globals

    def __enter__(self) -> None:
        self._before = dict(_safe_globals)
        add_safe_globals(self._entries)

    def __exit__(self, *exc: object) -> None:
        _safe_globals.clear()
        _safe_globals.update(self._before)


def _find_safe(full: str) -> Any:
    found = _find_data(full)
    return _safe_globals.get(full) if found is None else found


def _may_have_state(instance: Any) -> bool:
    return isinstance(instance, torch.Tensor) or any(
        isinstance(cls, type) and type(instance) is cls for cls in _safe_globals.values()
    )


# ---- writing ------------------------------------------------------------------------------------


class _Pickler(pickle._Pickler):
    """A pickler that names globals as the format does and collects storages by key.

    It is the one in Python, since that in C can't be told another name for a global.
    """

    def __init__(self, file: Any, protocol: int, legacy: bool = False):
        super().__init__(file, protocol)
        self._no_view = (None,) if legacy else ()  # of another storage, which there was once
        self.storages: dict[str, Any] = {}
        self._keys: dict[tuple, tuple[str, Any]] = {}
        self.dispatch_table = {
            torch.Size: lambda size: (torch.Size, (tuple(size),)),
            torch.device: lambda d: (
                torch.device,
                (d.type,) if d.index is None else (d.type, d.index),
            ),
            type(torch.strided): lambda layout: (_get_layout, (f"torch.{dtype_name(layout)}",)),
        }

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, torch.Tensor) and type(obj).__reduce_ex__ is torch.Tensor.__reduce_ex__:
            return _utils.reduce_tensor(obj, self.proto)
        return NotImplemented

    def persistent_id(self, obj: Any) -> tuple | None:
        if not isinstance(obj, TypedStorage):
            return None
        storage, dtype = obj
        nbytes = storage.nbytes()
        name = "UntypedStorage" if dtype is None else STORAGE_NAMES[dtype_name(dtype)]
        identity = (storage.data_ptr(), nbytes) if nbytes else (id(obj), len(self._keys))
        key, written_as = self._keys.setdefault(identity, (str(len(self._keys)), name))
        if written_as != name:
            raise RuntimeError(
                "save: tensors that view one memory as different types can't be saved together; "
                f"got {written_as} and {name}; clone() one of them"
            )
        self.storages[key] = storage, 1 if dtype is None else dtype.itemsize
        kind = StorageType("torch.storage" if dtype is None else "torch", name)
        numel = nbytes if dtype is None else nbytes // dtype.itemsize
        location = _options.location_tag(storage)
        return "storage", kind, key, location, numel, *self._no_view

    def _write_global(self, obj: Any, module: str, name: str) -> None:
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module, name = _format_name(obj, name)
        if module == "torch" or module.startswith("torch."):
            self._write_global(obj, module, name)
        else:
            super().save_global(obj, name)

    def _save_dtype(self, obj: Any) -> None:
        self._write_global(obj, "torch", dtype_name(obj))

    def _save_storage_type(self, obj: StorageType) -> None:
        self._write_global(obj, obj.module, obj.name)

    dispatch: ClassVar[dict[type, Any]] = {
        **pickle._Pickler.dispatch,
        FunctionType: save_global,
        StorageType: _save_storage_type,
        torch.dtype: _save_dtype,
    }


def save(
    obj: Any,
    f: str | os.PathLike | Any,
    pickle_module: Any = pickle,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write ``obj``, any picklable object with tensors in it, to a path or a binary file.

    Tensors that share memory share it in the file too. ``_use_new_zipfile_serialization=False``
    writes the format of before PyTorch 1.6. ``pickle_module`` is accepted and not used.

    >>> torch.save(model.state_dict(), "model.pt")
    >>> model.load_state_dict(torch.load("model.pt"))
    <All keys matched successfully>
    """
    if isinstance(f, (str, os.PathLike)):
        folder = os.path.splitext(os.path.basename(os.fspath(f)))[0] or "archive"
        parent = os.path.dirname(os.path.abspath(os.fspath(f)))
        if not os.path.isdir(parent):
            raise RuntimeError(f"save: Parent directory {parent} does not exist.")
    else:
        if not hasattr(f, "write"):
            raise AttributeError(
                f"save: expected a path or an object with write(); got {type(f).__name__}"
            )
        folder = "archive"
    data = io.BytesIO()
    pickler = _Pickler(data, pickle_protocol, legacy=not _use_new_zipfile_serialization)
    pickler.dump(obj)  # before a file that may be there is written over
    if not _use_new_zipfile_serialization:
        with _opened(f, "wb") as file:
            return _save_legacy(file, data.getvalue(), pickler.storages, pickle_protocol)
    with _opened(f, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _write(archive, f"{folder}/data.pkl", data.getvalue())
        _write(archive, f"{folder}/.format_version", b"1")
        _write(archive, f"{folder}/.storage_alignment", str(ALIGNMENT).encode())
        if not _disable_byteorder_record:
            _write(archive, f"{folder}/byteorder", sys.byteorder.encode())
        for key, (storage, _) in pickler.storages.items():
            _write(archive, f"{folder}/data/{key}", _bytes_of(storage))
        _write(archive, f"{folder}/version", b"3\n")


def _opened(f: Any, mode: str) -> Any:
    """A context with the file of a path, or the file that is given, which stays open."""
    return open(f, mode) if isinstance(f, (str, os.PathLike)) else contextlib.nullcontext(f)


def _bytes_of(storage: Any) -> Any:
    if not storage.nbytes():
        return b""
    return bytes(storage.nbytes()) if _options.skipping() else memoryview(storage.cpu()).cast("B")


def _write(archive: zipfile.ZipFile, name: str, data: Any) -> None:
    """Add a record whose bytes begin at a multiple of the alignment, by a padding extra field."""
    info = zipfile.ZipInfo(name)
    info.file_size = len(data)
    large = info.file_size * 1.05 > zipfile.ZIP64_LIMIT
    header = 30 + len(name.encode()) + 20 * large + 4
    padding = -(archive.start_dir + header) % ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    with archive.open(info, "w", force_zip64=large) as record:
        record.write(data)


# ---- reading ------------------------------------------------------------------------------------


def load(
    f: str | os.PathLike | Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what `save`, here or in PyTorch, wrote to a path or a seekable binary file.

    ``weights_only`` (the default): only tensors, plain containers and what `add_safe_globals`
    allows; anything else raises pickle.UnpicklingError. With False a file can run any code: only
    for files you trust. ``map_location``: a device, a dict from device names to device names, or
    a function (storage, location) -> storage. ``mmap``: map the file's pages (a path is needed)
    instead of reading them; writes stay in memory.

    >>> torch.save({"epoch": 3, "weight": torch.ones(2)}, "state.pt")
    >>> torch.load("state.pt")
    {'epoch': 3, 'weight': tensor([1., 1.])}
    """
    if weights_only and pickle_module is not None:
        raise RuntimeError("load: weights_only=True takes no pickle_module; leave it out")
    if weights_only is None:
        weights_only = pickle_module is None
    opened = isinstance(f, (str, os.PathLike))
    shared = bool(mmap) and _options.get_default_mmap_options() == _mmap.MAP_SHARED
    if mmap and not opened:
        raise ValueError("load: mmap=True needs a path; got a file object")
    if not opened and not (hasattr(f, "read") and hasattr(f, "seek")):
        raise AttributeError(
            f"load: expected a path or a file with read() and seek(); got {type(f).__name__}"
        )
    with _opened(f, "r+b" if shared else "rb") as file:
        start = file.tell()
        magic = file.read(4)
        file.seek(start)
        if not magic:
            raise EOFError("load: the file is empty")
        if magic != b"PK\x03\x04":
            if mmap:
                raise RuntimeError("load: mmap=True needs the zip format; this file is older")
            return _load_legacy(file, map_location, weights_only, pickle_load_args)
        try:
            source = _ZipSource(file, bool(mmap))
            if source.is_script:
                return _load_script(file, start, map_location, weights_only)
            reader = _StorageReader(source.read_storage, map_location)
            return _unpickle(source.pickle(), reader.load, weights_only, pickle_load_args)
        except (zipfile.BadZipFile, struct.error, zlib.error) as error:
            raise RuntimeError(f"load: the file is damaged: {error}") from error


def _load_script(file: Any, start: int, map_location: Any, weights_only: bool) -> Any:
    if weights_only:
        raise RuntimeError(
            "Cannot use ``weights_only=True`` with TorchScript archives passed to ``torch.load``; "
            "this file is one: use torch.jit.load, or weights_only=False"
        )
    warnings.warn(
        "'torch.load' received a zip file that looks like a TorchScript archive dispatching to "
        "'torch.jit.load' (call 'torch.jit.load' directly to silence this warning)",
        UserWarning, stacklevel=3,
    )  # fmt: skip
    file.seek(start)
    return torch.jit.load(file, map_location)


def _unpickle(
    file: Any, persistent_load: Callable, weights_only: bool, options: dict[str, Any]
) -> Any:
    if weights_only:
        return WeightsUnpickler(file, _find_safe, persistent_load, _may_have_state).load()

    class FullUnpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found = _find_data(f"{module}.{name}")
            return super().find_class(_package_module(module), name) if found is None else found

    unpickler = FullUnpickler(file, **options)
    unpickler.persistent_load = persistent_load
    return unpickler.load()


class PyTorchFileReader:
    """The records of a checkpoint by name, for programs that read parts of one.

    >>> torch.save(model.state_dict(), "model.pt")
    >>> "data.pkl" in PyTorchFileReader("model.pt").get_all_records()
    True
    """

    def __init__(self, name_or_buffer: Any):
        self._archive = zipfile.ZipFile(name_or_buffer)
        self._folder = self._archive.namelist()[0].partition("/")[0]

    def get_all_records(self) -> list[str]:
        """Their names."""
        return [name.partition("/")[2] for name in self._archive.namelist()]

    def has_record(self, name: str) -> bool:
        """Whether there is one of this name."""
        return f"{self._folder}/{name}" in self._archive.namelist()

    def get_record(self, name: str) -> bytes:
        """Its bytes. RuntimeError if there is none."""
        if not self.has_record(name):
            raise RuntimeError(f"PyTorchFileReader: there is no record {name}")
        return self._archive.read(f"{self._folder}/{name}")

    def get_storage_from_record(self, name: str, numel: int, dtype: Any) -> Any:
        """A tensor of its first ``numel`` elements, which are bytes if an UntypedStorage is asked
        for in place of a dtype."""
        dtype = torch.uint8 if dtype is torch.UntypedStorage else dtype
        return torch.frombuffer(bytearray(self.get_record(name)), dtype=dtype, count=numel)


class _ZipSource:
    """The records of a checkpoint."""

    def __init__(self, file: Any, mapped: bool):
        self._file = file
        self._archive = zipfile.ZipFile(file)
        names = self._archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if not pickles:
            raise RuntimeError("load: the archive has no data.pkl; it is not a checkpoint")
        self._folder = pickles[0].rpartition("/")[0]
        self.is_script = f"{self._folder}/constants.pkl" in names
        order = f"{self._folder}/byteorder"
        told = self._archive.read(order).decode() if order in names else _default_byteorder()
        self._swapped = told != sys.byteorder
        self._map = None
        if mapped:
            shared = _options.get_default_mmap_options() == _mmap.MAP_SHARED
            access = _mmap.ACCESS_WRITE if shared else _mmap.ACCESS_COPY
            self._map = _mmap.mmap(file.fileno(), 0, access=access)

    def read(self, name: str) -> bytes | None:
        """A record's bytes; None if there is no such record."""
        full = f"{self._folder}/{name}"
        return self._archive.read(full) if full in self._archive.NameToInfo else None

    def below(self, folder: str, ending: str) -> Iterator[tuple[str, bytes]]:
        """The records of a folder whose names end so."""
        prefix = f"{self._folder}/{folder}"
        for name in self._archive.namelist():
            if name.startswith(prefix) and name.endswith(ending):
                yield name.removeprefix(prefix), self._archive.read(name)

    def pickle(self, name: str = "data") -> io.BytesIO:
        return io.BytesIO(self.read(f"{name}.pkl") or b"")

    def read_storage(self, key: str, nbytes: int, dtype: Any, pickle: str = "data") -> Any:
        name = f"{self._folder}/{pickle}/{key}"
        if name not in self._archive.NameToInfo:
            raise RuntimeError(f"load: the file is damaged: the storage {key} is missing")
        info = self._archive.getinfo(name)
        if info.file_size < nbytes:
            raise RuntimeError(
                f"load: the storage {key} should have {nbytes} bytes; the file has "
                f"{info.file_size}; it is damaged"
            )
        if self._map is not None and nbytes and not self._swapped:
            data = torch.frombuffer(
                self._map, dtype=torch.uint8, count=nbytes, offset=self._offset(info)
            )
            return data.untyped_storage()
        storage = torch._core.UntypedStorage(nbytes)
        if nbytes and not _options.skipping():
            view = memoryview(storage).cast("B")
            if info.compress_type == zipfile.ZIP_STORED:
                self._file.seek(self._offset(info))
                _read_into(self._file, view)
            else:
                view[:] = self._archive.read(info)[:nbytes]
            if self._swapped:
                _swap_bytes(view, dtype)
        return storage

    def _offset(self, info: zipfile.ZipInfo) -> int:
        """Where a record's bytes begin: after its own header, whose extra field may be longer."""
        self._file.seek(info.header_offset)
        header = self._file.read(30)
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        return info.header_offset + 30 + name_length + extra_length


def _default_byteorder() -> str:
    """Of a file that doesn't tell its own."""
    given = _options.get_default_load_endianness()
    if given in (None, _options.LoadEndianness.NATIVE):
        return sys.byteorder
    return given.name.lower()


def _read_into(file: Any, view: memoryview) -> None:
    done = 0
    while done < len(view):
        if hasattr(file, "readinto"):
            n = file.readinto(view[done:])
        else:
            chunk = file.read(len(view) - done)
            n = len(chunk)
            view[done : done + n] = chunk
        if not n:
            raise RuntimeError(
                f"load: the file ends after {done} of {len(view)} bytes of a storage"
            )
        done += n


def _swap_bytes(view: memoryview, dtype: Any) -> None:
    size = 1 if dtype is None else dtype.itemsize // (2 if dtype.is_complex else 1)
    if size > 1:
        words = array.array({2: "H", 4: "I", 8: "Q"}[size], view.tobytes())
        words.byteswap()
        view[:] = words.tobytes()


class _StorageReader:
    """Resolves persistent ids: reads each storage once and puts it where it belongs."""

    def __init__(
        self, read: Callable[[str, int, Any], Any], map_location: Any, filled_later: bool = False
    ):
        self._read, self._filled_later = read, filled_later
        self._map_location = map_location
        self._loaded: dict[str, TypedStorage] = {}

    def load(self, persistent_id: Any) -> TypedStorage:
        if not isinstance(persistent_id, tuple) or persistent_id[0] != "storage":
            raise RuntimeError(f"load: unknown persistent id {persistent_id!r}")
        _, kind, key, location, numel = persistent_id[:5]
        if key not in self._loaded:
            nbytes = numel * (1 if kind.dtype is None else kind.dtype.itemsize)
            where = self._where(location)
            storage = None if where == "meta" else self._read(key, nbytes, kind.dtype)
            if storage is not None:
                storage = self._mapped(storage, location) or self._placed(storage, where)
            self._loaded[key] = TypedStorage(storage, kind.dtype)
        return self._loaded[key]

    def _mapped(self, storage: Any, location: str) -> Any:
        return self._map_location(storage, location) if callable(self._map_location) else None

    def _placed(self, storage: Any, where: str) -> Any:
        if self._filled_later and where != "cpu":
            raise RuntimeError(
                f"load: the storage belongs on {where}, which can't be filled from this old "
                "format; pass map_location='cpu'"
            )
        return _options.default_restore_location(storage, where)

    def _where(self, location: str) -> str:
        """The place that a storage from ``location`` goes to."""
        place = self._map_location
        if isinstance(place, dict):
            place = place.get(location, location)
        if place is None or callable(place):
            place = location
        return str(place)


# ---- the format before PyTorch 1.6 --------------------------------------------------------------


def _save_legacy(file: Any, data: bytes, storages: dict[str, Any], protocol: int) -> None:
    """What `_load_legacy` reads."""
    sizes = {name: struct.calcsize(code) for name, code in zip(("short", "int"), "hi", strict=True)}
    info = {
        "protocol_version": LEGACY_PROTOCOL, "little_endian": sys.byteorder == "little",
        "type_sizes": {**sizes, "long": 4},
    }  # fmt: skip
    for part in (LEGACY_MAGIC, LEGACY_PROTOCOL, info):
        pickle.dump(part, file, protocol)
    file.write(data)
    pickle.dump(sorted(storages), file, protocol)
    for key in sorted(storages):
        storage, itemsize = storages[key]
        file.write(struct.pack("=q", storage.nbytes() // itemsize))
        file.write(_bytes_of(storage))


def _load_legacy(file: Any, map_location: Any, weights_only: bool, options: dict) -> Any:
    """Four pickles (magic number, version, facts about the machine, the object), a list of storage
    keys, and the storages in that order: the number of elements, then their bytes."""

    def refuse(persistent_id: Any) -> Any:
        raise pickle.UnpicklingError(f"load: unexpected persistent id {persistent_id!r}")

    def plain() -> Any:
        return _unpickle(file, refuse, weights_only, options)

    try:
        magic = plain()
    except (pickle.UnpicklingError, EOFError) as error:
        raise pickle.UnpicklingError(f"load: this is no checkpoint: {error}") from error
    if magic != LEGACY_MAGIC:
        raise RuntimeError("load: invalid magic number; this is no checkpoint")
    if (version := plain()) != LEGACY_PROTOCOL:
        raise RuntimeError(f"load: protocol version {version} is not {LEGACY_PROTOCOL}")
    info = plain()
    swapped = info["little_endian"] != (sys.byteorder == "little")
    waiting: dict[str, tuple[Any, Any]] = {}

    def allocate(key: str, nbytes: int, dtype: Any) -> Any:
        storage = torch._core.UntypedStorage(nbytes)
        waiting[key] = storage, dtype
        return storage

    def persistent_load(persistent_id: Any) -> Any:
        if persistent_id[0] == "module":  # a module's class with its source text
            return persistent_id[1]
        if persistent_id[5:] not in ((), (None,)):
            raise RuntimeError("load: storages that view other storages are not supported")
        return reader.load(persistent_id)

    reader = _StorageReader(allocate, map_location, filled_later=True)
    result = _unpickle(file, persistent_load, weights_only, options)
    for key in plain():
        (numel,) = struct.unpack("<q" if info["little_endian"] else ">q", file.read(8))
        storage, dtype = waiting[key]
        if numel * (1 if dtype is None else dtype.itemsize) != storage.nbytes():
            raise RuntimeError(f"load: the storage {key} has another size than its tensors say")
        if storage.nbytes():
            view = memoryview(storage).cast("B")
            _read_into(file, view)
            if swapped:
                _swap_bytes(view, dtype)
    return result


def get_unsafe_globals_in_checkpoint(f: str | os.PathLike | Any) -> list[str]:
    """The globals in a checkpoint that ``load(weights_only=True)`` would refuse, by name."""
    with _opened(f, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("get_unsafe_globals_in_checkpoint: needs a file in the zip format")
        file.seek(0)
        names = dict.fromkeys(_globals_of(_ZipSource(file, False).pickle()))
    return [name for name in names if _find_safe(name) is None and name not in _BUILTINS]


def _globals_of(file: Any) -> Iterator[str]:
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL":
            yield argument.replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif isinstance(argument, str):
            texts.append(argument)


