"""TorchScript archives: a zip file with code in text, and the module as a pickle.

data.pkl, data/<key>            the module: instances of classes of the code, with their state
constants.pkl, constants/<key>  a tuple of tensors, which code calls ``CONSTANTS.c<i>``
code/__torch__/....py           the code; see `language`
extra/<name>, version, byteorder
"""

from __future__ import annotations

import copyreg
import io
import os
import sys
import typing
import zipfile
from contextlib import nullcontext
from functools import partial
from typing import Any

from taimatsu import serialization
from taimatsu._weights_unpickler import Unpickler
from taimatsu.nn import Module, Parameter

from .language import Code, Declared

__all__ = ["ScriptModule", "load", "save"]

VERSION = b"10\n"  # of ATen's ops, as the code calls them
_CONTAINERS = ("intlist", "tensorlist", "doublelist", "boollist")


class ScriptModule(Module, Declared):
    """A module whose methods are compiled code: one that `jit.load` or `jit.trace` made.

    It has its parameters and buffers as any other, and can be trained, moved and saved.
    """

    _parameter_names: frozenset[str] = frozenset()
    _buffer_names: frozenset[str] = frozenset()
    _qualified = ""
    _code: Code

    def _restore(self, state: dict[str, Any]) -> None:
        """What the archive has of it."""
        for name, value in state.items():
            if isinstance(value, Module):
                self.add_module(name, value)
            elif name in self._parameter_names:
                kept = value is None or isinstance(value, Parameter)
                self.register_parameter(
                    name, value if kept else Parameter(value, value.requires_grad)
                )
            elif name in self._buffer_names:
                self.register_buffer(name, value)
            elif name != "_is_full_backward_hook":
                setattr(self, name, value)

    def _state(self) -> dict[str, Any]:
        """What an archive has of it, in the order of its class."""
        named = {**self._parameters, **self._buffers, **self._modules}
        others = {k: v for k, v in self.__dict__.items() if k in self._declared and k not in named}
        state = {"training": self.training, "_is_full_backward_hook": None, **others}
        for name, value in named.items():
            is_parameter = isinstance(value, Parameter)
            state[name] = (
                value.detach().requires_grad_(value.requires_grad) if is_parameter else value
            )
        return state

    def __getattr__(self, name: str) -> Any:
        if name == "forward" and "forward__0" in self._declared:
            return self.forward__0  # the first of the overloads
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def original_name(self) -> str:
        """The name of the class that was compiled."""
        return type(self).__name__

    @property
    def code(self) -> str:
        """The text of `forward`, and of what else is in its file."""
        return self._code.source(self._qualified)

    def save(self, f: Any, **options: Any) -> None:
        """Writes an archive; see `torch.jit.save`."""
        save(self, f, **options)

    def save_to_buffer(self, **options: Any) -> bytes:
        """The bytes of an archive."""
        buffer = io.BytesIO()
        save(self, buffer, **options)
        return buffer.getvalue()

    def _get_name(self) -> str:
        return "RecursiveScriptModule"

    def extra_repr(self) -> str:
        """The compiled class's name."""
        return f"original_name={self.original_name}"

    def __deepcopy__(self, memo: dict) -> ScriptModule:
        buffer = io.BytesIO()
        save(self, buffer)
        buffer.seek(0)
        return load(buffer)


# ---- Reading ------------------------------------------------------------------------------------
class _Reader(Unpickler):
    """The weights' unpickler, for which the code's classes may be made too."""

    def _op_newobj(self, _: Any) -> None:
        arguments, cls = self._stack.pop(), self._stack.pop()
        if not (isinstance(cls, type) and issubclass(cls, Declared)) or arguments:
            raise serialization.pickle.UnpicklingError(f"jit.load: unexpected instance of {cls!r}")
        made = cls.__new__(cls)
        if isinstance(made, Module):
            Module.__init__(made)
        self._stack.append(made)

    def _op_build(self, _: Any) -> None:
        instance = self._stack[-2]
        if isinstance(instance, ScriptModule):
            instance._restore(self._stack.pop())
        elif isinstance(instance, Declared):
            instance.__dict__.update(self._stack.pop())
        else:
            super()._op_build(_)


def _find(code: Code, full: str) -> Any:
    if full.startswith("__torch__."):
        return code.resolve(full)
    module, _, name = full.rpartition(".")
    if module == "torch.jit._pickle":
        if name == "restore_type_tag":
            return lambda value, kind: value
        if name.removeprefix("build_") in _CONTAINERS:
            return lambda values: list(values)
    return serialization._find_data(full)


def load(
    f: Any, map_location: Any = None, _extra_files: dict[str, Any] | None = None,
    _restore_shapes: bool = False,
) -> Any:  # fmt: skip
    """The module of a TorchScript archive that `save`, here or in PyTorch, wrote.

    ``f``: a path or a binary file. ``map_location``: as of `torch.load`. ``_extra_files``: the
    names in this dict get the contents that the archive has for them. The code can compute and
    nothing else: it can't reach Python's functions, files or other objects.

    ValueError if there is no such file, RuntimeError for files that are no archives, and
    `torch.jit.Error` for code that calls what isn't here.

    >>> model = torch.jit.load("model.pt")
    """
    opened = isinstance(f, (str, os.PathLike))
    if opened and not os.path.isfile(f):
        raise ValueError(f"The provided filename {os.fspath(f)} does not exist")
    with open(f, "rb") if opened else nullcontext(f) as file:
        try:
            source = serialization._ZipSource(file, False)
        except zipfile.BadZipFile as error:
            raise RuntimeError(f"jit.load: the file is no TorchScript archive: {error}") from error
        if not source.is_script:
            raise RuntimeError(
                "jit.load: the file is a checkpoint of torch.save, no TorchScript archive: "
                "use torch.load"
            )
        for name in _extra_files or ():
            content = source.read(f"extra/{name}")
            if content is not None:
                _extra_files[name] = content  # type: ignore[index]

        files = {path: text.decode() for path, text in source.below("code/", ".py")}
        constants: list[Any] = []
        code = Code(files, constants, ScriptModule)

        def unpickle(name: str) -> Any:
            reader = serialization._StorageReader(
                partial(source.read_storage, pickle=name), map_location
            )
            return _Reader(
                source.pickle(name), partial(_find, code), reader.load, lambda _: False
            ).load()

        constants.extend(unpickle("constants"))
        return unpickle("data")


# ---- Writing ------------------------------------------------------------------------------------
class _Pickler(serialization._Pickler):
    """The checkpoints' pickler, which knows the code's classes by their names there."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, ScriptModule):
            new = copyreg.__newobj__  # type: ignore[attr-defined]
            return new, (type(obj),), obj._state()
        return super().reducer_override(obj)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        qualified = getattr(obj, "_qualified", None)
        if qualified:
            module, _, name = qualified.rpartition(".")
            self._write_global(obj, module, name)
        else:
            super().save_global(obj, name)

    dispatch: typing.ClassVar = {**serialization._Pickler.dispatch, type: save_global}


def save(m: Any, f: Any, _extra_files: dict[str, Any] | None = None) -> None:
    """Writes a module that `jit.trace` or `jit.load` made as a TorchScript archive.

    ``f``: a path or a binary file. ``_extra_files``: names and texts to keep with it.
    """
    if not isinstance(m, ScriptModule):
        raise TypeError(
            f"jit.save: expected a module that jit.trace or jit.load made; got {type(m).__name__}"
        )
    opened = isinstance(f, (str, os.PathLike))
    folder = os.path.splitext(os.path.basename(os.fspath(f)))[0] if opened else "archive"
    code = m._code
    with open(f, "wb") if opened else nullcontext(f) as file, zipfile.ZipFile(file, "w") as archive:
        write = lambda name, data: serialization._write(archive, f"{folder}/{name}", data)
        for name, value in (("data", m), ("constants", tuple(code.constants))):
            data = io.BytesIO()
            pickler = _Pickler(data, 2)
            pickler.dump(value)
            write(f"{name}.pkl", data.getvalue())
            for key, (storage, _) in pickler.storages.items():
                write(f"{name}/{key}", serialization._bytes_of(storage))
        for path, text in code.files.items():
            write(f"code/{path}", text.encode())
        for name, text in (_extra_files or {}).items():
            write(f"extra/{name}", text if isinstance(text, bytes) else text.encode())
        write("version", VERSION)
        write("byteorder", sys.byteorder.encode())
