"""TorchScript archives: a zip file with code in text, and the module as a pickle.

data.pkl, data/<key>            the module: instances of classes of the code, with their state
constants.pkl, constants/<key>  a tuple of tensors, which code calls ``CONSTANTS.c<i>``
code/__torch__/....py           the code; see `language`
extra/<name>, version, byteorder
"""

from __future__ import annotations

import ast
import copy
import copyreg
import io
import os
import sys
import typing
import zipfile
from contextlib import nullcontext
from functools import partial
from typing import Any

from taimatsu import jit, serialization
from taimatsu._weights_unpickler import Unpickler
from taimatsu.nn import Module, Parameter
from taimatsu.nn.module import PLAIN_GETATTR

from .language import Code, Declared

__all__ = ["ScriptModule", "load", "save"]

VERSION = b"10\n"  # of ATen's ops, as the code calls them
_CONTAINERS = ("intlist", "tensorlist", "doublelist", "boollist")


class _Made(type):
    """A user's own ``class M(ScriptModule)`` is compiled when an instance has been made."""

    def __call__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        if cls._jit_qualified or cls is ScriptModule:
            return made
        from ._script import script_module

        return script_module(made)


class ScriptModule(Module, Declared, metaclass=_Made):
    """A module whose methods are compiled code: `jit.script`, `jit.trace` and `jit.load` make them.

    It has its parameters and buffers as any other, and can be trained, moved and saved. A class of
    one's own derived from it is compiled when it is made: ``forward``, and what `script_method`
    marks.
    """

    _jit_parameters: frozenset[str] = frozenset()
    _jit_buffers: frozenset[str] = frozenset()
    _jit_constants: frozenset[str] = frozenset()
    _jit_qualified = ""
    _jit_code: Code
    _jit_forward: Any = None  # its declaration, by which arguments are checked

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._jit_forward is not None:
            from ._script import check

            args, kwargs = check(self._jit_forward, args, kwargs)  # type: ignore[assignment]
            if jit.is_tracing():
                from .record import calling

                return calling(
                    super().__call__, args, kwargs, self._jit_forward, self._jit_code, self
                )
        return super().__call__(*args, **kwargs)

    def _jit_restore(self, state: dict[str, Any]) -> None:
        """What the archive has of it."""
        for name, value in state.items():
            if isinstance(value, Module):
                self.add_module(name, value)
            elif name in self._jit_parameters:
                kept = value is None or isinstance(value, Parameter)
                self.register_parameter(
                    name, value if kept else Parameter(value, value.requires_grad)
                )
            elif name in self._jit_buffers:
                self.register_buffer(name, value)
            elif name != "_is_full_backward_hook":
                setattr(self, name, value)

    def _jit_state(self) -> dict[str, Any]:
        """What an archive has of it, in the order of its class."""
        named = {**self._parameters, **self._buffers, **self._modules}
        kept = self._jit_declared - self._jit_constants - named.keys()
        others = {k: v for k, v in self.__dict__.items() if k in kept}
        state = {"training": self.training, "_is_full_backward_hook": None, **others}
        for name, value in named.items():
            is_parameter = isinstance(value, Parameter)
            state[name] = (
                value.detach().requires_grad_(value.requires_grad) if is_parameter else value
            )
        return state

    def __getattr__(self, name: str) -> Any:
        if name == "forward" and "forward__0" in self._jit_declared:
            return self.forward__0  # the first of the overloads
        if f"_get_{name}" in self._jit_declared:
            return getattr(self, f"_get_{name}")()  # a property
        original = self.__dict__.get("_jit_original")
        method = None if original is None else getattr(type(original), name, None)
        if getattr(method, "_torchscript_modifier", None) in ("ignore", "unused"):
            return getattr(original, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def original_name(self) -> str:
        """The name of the class that was compiled."""
        return type(self).__name__

    @property
    def code(self) -> str:
        """The text of ``forward``."""
        source = self._jit_code.source(self._jit_qualified)
        return _method_text(source, type(self).__name__, "forward")

    @property
    def code_with_constants(self) -> tuple[str, Any]:
        """The text of ``forward``, and the tensors that it calls ``CONSTANTS.c0``."""
        from ._script import Constants

        return self.code, Constants(self._jit_code.constants)

    @property
    def graph(self) -> Any:
        """The ops of ``forward``, as a graph."""
        from .graph import graph_of

        return graph_of(self._jit_code, self._jit_qualified, "forward")

    inlined_graph = graph

    def graph_for(self, *args: Any, **kwargs: Any) -> Any:
        """The graph that runs for these arguments: `graph`."""
        return self.graph

    @property
    def _c(self) -> ScriptModule:
        """PyTorch's native module, for programs that ask it for methods: the module itself."""
        return self

    def forward_magic_method(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a method such as ``__len__``."""
        return getattr(self, method_name)(*args, **kwargs)

    def get_debug_state(self, *args: Any, **kwargs: Any) -> Any:
        """What a graph executor has compiled. RuntimeError: there is none."""
        raise RuntimeError("get_debug_state: compiled modules have no graph executor here")

    def _get_method(self, name: str) -> Any:
        return getattr(self, name)

    def _has_method(self, name: str) -> bool:
        return name in self._jit_declared and callable(getattr(self, name, None))

    def define(self, src: str) -> None:
        """Adds a method, from its text in TorchScript. RuntimeError: it has to be in the class."""
        raise RuntimeError(
            "ScriptModule.define: methods are compiled with their class; write it in the class and "
            "mark it with torch.jit.export"
        )

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

    # Of containers.
    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Any:
        from taimatsu.nn import ModuleDict

        keyed = isinstance(getattr(self, "_jit_original", None), ModuleDict)
        return iter(self._modules if keyed else self._modules.values())

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self._modules[key]
        return list(self._modules.values())[key]

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def __bool__(self) -> bool:
        return True

    def extra_repr(self) -> str:
        """The compiled class's name."""
        return f"original_name={self.original_name}"

    def __deepcopy__(self, memo: dict) -> ScriptModule:
        made = memo[id(self)] = object.__new__(type(self))
        Module.__init__(made)
        made._jit_restore({k: copy.deepcopy(v, memo) for k, v in self._jit_live_state().items()})
        for name in self._jit_constants & vars(self).keys():
            object.__setattr__(made, name, vars(self)[name])
        return made

    def __copy__(self) -> ScriptModule:
        made = object.__new__(type(self))
        Module.__init__(made)
        made._jit_restore(self._jit_live_state())
        return made

    def _jit_live_state(self) -> dict[str, Any]:
        return {**self._jit_state(), **self._parameters, "training": self.training}


def _method_text(source: str, cls: str, method: str) -> str:
    """A method's definition, as the text of a function."""
    for statement in ast.parse(source).body:
        for part in getattr(statement, "body", ()) if getattr(statement, "name", "") == cls else ():
            if isinstance(part, ast.FunctionDef) and part.name == method:
                lines = source.splitlines()[part.lineno - 1 : part.end_lineno]
                return "\n".join(line[2:] for line in lines) + "\n"
    return source


PLAIN_GETATTR.add(ScriptModule.__getattr__)


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
            instance._jit_restore(self._stack.pop())
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

    >>> torch.jit.script(model).save("model.pt")
    >>> torch.jit.load("model.pt")(x).shape
    torch.Size([4, 2])
    """
    opened = isinstance(f, (str, os.PathLike))
    if opened and not os.path.isfile(f):
        raise ValueError(f"The provided filename {os.fspath(f)} does not exist")
    with open(f, "rb") if opened else nullcontext(f) as file:
        try:
            return _read(file, map_location, {} if _extra_files is None else _extra_files)
        except (RuntimeError, MemoryError):
            raise
        except Exception as error:  # of zip files, of pickles, of text, as the damage has it
            raise RuntimeError(
                f"jit.load: the file is no TorchScript archive, or it is damaged: {error}"
            ) from error


def _read(file: Any, map_location: Any, extra_files: dict[str, Any]) -> Any:
    source = serialization._ZipSource(file, False)
    if not source.is_script:
        raise RuntimeError(
            "jit.load: the file is a checkpoint of torch.save, no TorchScript archive: "
            "use torch.load"
        )
    for name in extra_files:
        content = source.read(f"extra/{name}")
        if content is not None:
            extra_files[name] = content
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
            return new, (type(obj),), obj._jit_state()
        return super().reducer_override(obj)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        qualified = getattr(obj, "_jit_qualified", None)
        if qualified:
            module, _, name = qualified.rpartition(".")
            self._write_global(obj, module, name)
        else:
            super().save_global(obj, name)

    dispatch: typing.ClassVar = {**serialization._Pickler.dispatch, type: save_global}


def save(m: Any, f: Any, _extra_files: dict[str, Any] | None = None) -> None:
    """Writes a compiled module or function as a TorchScript archive.

    ``f``: a path or a binary file. ``_extra_files``: names and texts to keep with it.
    """
    if hasattr(m, "as_module"):  # a function
        m = m.as_module()
    if not isinstance(m, ScriptModule):
        raise TypeError(
            "jit.save: expected what jit.script, jit.trace or jit.load made; got "
            f"{type(m).__name__}"
        )
    opened = isinstance(f, (str, os.PathLike))
    folder = os.path.splitext(os.path.basename(os.fspath(f)))[0] if opened else "archive"
    files, constants = m._jit_code.closure(m._jit_qualified)
    with open(f, "wb") if opened else nullcontext(f) as file, zipfile.ZipFile(file, "w") as archive:
        write = lambda name, data: serialization._write(archive, f"{folder}/{name}", data)
        for name, value in (("data", m), ("constants", tuple(constants))):
            data = io.BytesIO()
            pickler = _Pickler(data, 2)
            pickler.dump(value)
            write(f"{name}.pkl", data.getvalue())
            for key, (storage, _) in pickler.storages.items():
                write(f"{name}/{key}", serialization._bytes_of(storage))
        for path, text in files.items():
            write(f"code/{path}", text.encode())
        for name, text in (_extra_files or {}).items():
            write(f"extra/{name}", text if isinstance(text, bytes) else text.encode())
        write("version", VERSION)
        write("byteorder", sys.byteorder.encode())
