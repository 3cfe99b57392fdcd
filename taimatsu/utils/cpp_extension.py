"""``utils.cpp_extension``: functions written in C++ (or C), built and loaded while a program runs.

>>> source = "torch::Tensor twice(torch::Tensor x) { return x * 2; }"
>>> module = load_inline("example", source, functions=["twice"])  # doctest: +SKIP
>>> module.twice(torch.ones(2))  # doctest: +SKIP
tensor([2., 2.])

Extensions are compiled against the headers in `include_paths()`: ``torch/extension.h`` has the
names of PyTorch's C++ interface, over the C interface of ``taimatsu/taimatsu.h``. As only that
crosses the border, an extension need not be built again for a later version. What a block
``PYBIND11_MODULE`` defines becomes a function of the module, what ``TORCH_LIBRARY`` defines an op
of `taimatsu.library`, to which a derivative can be given.

Needed: a C++17 compiler, ``c++`` or what the variable CXX says. Objects are kept, in the folder
that TORCH_EXTENSIONS_DIR names (else the user's cache), and built again when what they depend on
changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taimatsu import _core

if typing.TYPE_CHECKING:
    import setuptools

    BuildExtension: type  # made on first use, see __getattr__

__all__ = [
    "BuildExtension", "CUDAExtension", "CppExtension", "check_compiler_is_gcc",
    "check_compiler_ok_for_platform", "get_cxx_compiler", "get_default_build_root",
    "include_paths", "is_ninja_available", "library_paths", "load", "load_inline",
    "verify_ninja_availability",
]  # fmt: skip

CUDA_HOME = ROCM_HOME = SYCL_HOME = None

_CFLAGS = ("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden")


# ---- What is there ------------------------------------------------------------------------------


def include_paths(device_type: str = "cpu") -> list[str]:
    """The folders with the headers that extensions include."""
    return [str(Path(_core.__file__).parent / "include")]


def library_paths(device_type: str = "cpu") -> list[str]:
    """The folders with libraries to link against: none, as extensions need none."""
    return []


def get_cxx_compiler() -> str:
    """The C++ compiler: the variable CXX, or c++."""
    return os.environ.get("CXX", "c++")


def check_compiler_ok_for_platform(compiler: str) -> bool:
    """Whether there is such a compiler."""
    return shutil.which(shlex.split(compiler)[0]) is not None


def check_compiler_is_gcc(compiler: str) -> bool:
    """Whether it is GCC's."""
    if not check_compiler_ok_for_platform(compiler):
        return False
    version = subprocess.run([*shlex.split(compiler), "-v"], capture_output=True, text=True)
    return "gcc version" in version.stderr


def is_ninja_available() -> bool:
    """Whether ninja is installed. It isn't needed."""
    return shutil.which("ninja") is not None


def verify_ninja_availability() -> None:
    """RuntimeError where ninja isn't installed."""
    if not is_ninja_available():
        raise RuntimeError("Ninja is required to load C++ extensions (pip install ninja to get it)")


def get_default_build_root() -> str:
    """The folder under which extensions are built, each in one of its own."""
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return given or os.path.join(cache, "taimatsu", "extensions")


# ---- Building -----------------------------------------------------------------------------------


def _dependencies(rule: Path) -> Iterator[Path]:
    """The files that a rule for make (as compilers write them) depends on."""
    words = rule.read_text().replace("\\\n", " ").replace("\\ ", "\0").partition(": ")[2].split()
    return (Path(word.replace("\0", " ")) for word in words)


def _up_to_date(target: Path, command: str) -> bool:
    """Whether the target was made by this command, after all that it depends on was changed."""
    rule, made_by = target.with_suffix(".d"), target.with_suffix(".command")
    try:
        made = target.stat().st_mtime_ns
        return made_by.read_text() == command and all(
            file.stat().st_mtime_ns <= made for file in _dependencies(rule)
        )
    except OSError:
        return False


def _run(command: list[str], name: str, verbose: bool) -> None:
    if verbose:
        print(shlex.join(command), file=sys.stderr)
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise RuntimeError(
            f"cpp_extension: there is no compiler {command[0]!r}; install one (Debian: apt install "
            "g++), or name another in the variable CXX"
        ) from None
    if verbose:
        print(done.stdout + done.stderr, end="", file=sys.stderr)
    if done.returncode:
        raise RuntimeError(f"Error building extension '{name}':\n{done.stdout}{done.stderr}")


def _compile(source: Path, folder: Path, flags: list[str], name: str, verbose: bool) -> Path:
    """The object of a source, made again where that is needed."""
    mark = hashlib.sha256(str(source).encode()).hexdigest()[:8]
    target = folder / f"{source.stem}-{mark}.o"
    rule = target.with_suffix(".d")
    kind = ["-x", "c", "-std=c11"] if source.suffix == ".c" else []
    flags = [f for f in flags if not (kind and f.startswith("-std="))]
    compiler = shlex.split(get_cxx_compiler())
    command = [*compiler, *kind, *flags, "-MMD", "-MF", str(rule), "-c", str(source), "-o"]
    if not _up_to_date(target, shlex.join(command)):
        fresh = target.with_suffix(".new")
        _run([*command, str(fresh)], name, verbose)
        fresh.replace(target)
        target.with_suffix(".command").write_text(shlex.join(command))
    return target


def _link(objects: list[Path], folder: Path, flags: list[str], name: str, verbose: bool) -> Path:
    """The shared library. Its name tells what is in it: one that is loaded is never changed."""
    mark = hashlib.sha256(shlex.join(flags).encode())
    for file in objects:
        mark.update(file.read_bytes())
    target = folder / f"{name}-{mark.hexdigest()[:16]}.so"
    if not target.exists():
        fresh = target.with_suffix(".new")
        compiler = shlex.split(get_cxx_compiler())
        _run([*compiler, "-shared", *map(str, objects), *flags, "-o", str(fresh)], name, verbose)
        for old in folder.glob(f"{name}-*.so"):
            old.unlink()
        fresh.replace(target)
    return target


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time builds in a folder; the others find what it made."""
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(
    name: str, sources: Sequence[Path], folder: Path, flags: list[str], ldflags: list[str],
    verbose: bool,
) -> Path:  # fmt: skip
    headers = [f"-I{path}" for path in include_paths()]
    everything = [*_CFLAGS, *headers, f"-DTORCH_EXTENSION_NAME={name}", *flags]
    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    with ThreadPoolExecutor(max(1, min(jobs, len(sources)))) as pool:
        objects = list(
            pool.map(lambda source: _compile(source, folder, everything, name, verbose), sources)
        )
    return _link(objects, folder, ldflags, name, verbose)


# ---- Loading ------------------------------------------------------------------------------------


def load_members(library: str) -> dict[str, Any]:
    """Loads a library that was built: a module's members; its ops go to `torch.ops`."""
    from taimatsu import library as registry

    members: dict[str, Any] = {}
    for name, schema, member in _core.load_extension(library):
        if "::" in name:
            registry.define(name, schema[schema.index("(") :])
            registry.impl(name, "CPU", member)
        else:
            members[name] = member
    return members


def _fill(module: types.ModuleType, library: str) -> None:
    """What a module that setuptools built calls when it is imported."""
    vars(module).update(load_members(library))


def _strings(given: str | Sequence[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else [*(given or ())]


def load(
    name: str,
    sources: str | Sequence[str],
    extra_cflags: Sequence[str] | None = None,
    extra_cuda_cflags: Any = None,
    extra_sycl_cflags: Any = None,
    extra_ldflags: Sequence[str] | None = None,
    extra_include_paths: str | Sequence[str] | None = None,
    build_directory: str | None = None,
    verbose: bool = False,
    with_cuda: bool | None = None,
    with_sycl: bool | None = None,
    is_python_module: bool = True,
    is_standalone: bool = False,
    keep_intermediates: bool = True,
) -> Any:
    """Builds an extension from its sources (.cpp, .cc, .cxx or .c), and loads it.

    Gives a module with its functions; with ``is_python_module=False`` the path of the library,
    whose ops are then in ``torch.ops``. Only what has changed is built again. RuntimeError with the
    compiler's messages where that fails, and for sources in CUDA or SYCL.
    """
    paths = [Path(source).resolve() for source in _strings(sources)]
    foreign = [p.name for p in paths if p.suffix not in (".cpp", ".cc", ".cxx", ".c")]
    if foreign or with_cuda or with_sycl or is_standalone:
        raise RuntimeError(
            f"load: extensions are built from C++ and C into libraries; got {foreign or 'options'} "
            "for CUDA, SYCL or a program of its own, which isn't supported"
        )
    if not name.isidentifier():
        raise ValueError(f"load: the name is to be an identifier; got {name!r}")
    folder = Path(build_directory or os.path.join(get_default_build_root(), name))
    folder.mkdir(parents=True, exist_ok=True)
    flags = [*_strings(extra_cflags), *(f"-I{p}" for p in _strings(extra_include_paths))]
    with _locked(folder):
        library = _build(name, paths, folder, flags, _strings(extra_ldflags), verbose)
        module = types.ModuleType(name)
        module.__file__ = str(library)
        _fill(module, str(library))
    return module if is_python_module else str(library)


def load_inline(
    name: str,
    cpp_sources: str | Sequence[str],
    cuda_sources: Any = None,
    sycl_sources: Any = None,
    functions: str | Sequence[str] | Mapping[str, str] | None = None,
    extra_cflags: Sequence[str] | None = None,
    extra_cuda_cflags: Any = None,
    extra_sycl_cflags: Any = None,
    extra_ldflags: Sequence[str] | None = None,
    extra_include_paths: str | Sequence[str] | None = None,
    build_directory: str | None = None,
    verbose: bool = False,
    with_cuda: bool | None = None,
    with_sycl: bool | None = None,
    is_python_module: bool = True,
    with_pytorch_error_handling: bool = True,
    keep_intermediates: bool = True,
    use_pch: bool = False,
    no_implicit_headers: bool = False,
) -> Any:
    """`load` of source text. ``torch/extension.h`` is included.

    ``functions``: the names of what the module offers, or these with their documentation.
    """
    if cuda_sources or sycl_sources:
        raise RuntimeError("load_inline: sources in CUDA or SYCL aren't supported")
    lines = [] if no_implicit_headers else ["#include <torch/extension.h>"]
    lines += _strings(cpp_sources)
    if functions is not None:
        names = functions if isinstance(functions, Mapping) else dict.fromkeys(_strings(functions))
        lines.append("PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {")
        for function, doc in names.items():
            text = (doc or function).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            lines.append(f'  m.def("{function}", &{function}, "{text}");')
        lines.append("}")
    folder = Path(build_directory or os.path.join(get_default_build_root(), name))
    folder.mkdir(parents=True, exist_ok=True)
    source, content = folder / "main.cpp", "\n".join(lines) + "\n"
    with _locked(folder):
        if not source.exists() or source.read_text() != content:
            source.write_text(content)
    return load(
        name, [str(source)], extra_cflags, None, None, extra_ldflags, extra_include_paths,
        str(folder), verbose, with_cuda, with_sycl, is_python_module,
    )  # fmt: skip


# ---- With setuptools ----------------------------------------------------------------------------


def CppExtension(
    name: str, sources: Sequence[str], *args: Any, **kwargs: Any
) -> setuptools.Extension:
    """A `setuptools.Extension` with the headers and flags that extensions need.

    The module is one for Python's stable interface: it serves every later version.
    """
    from setuptools import Extension

    kwargs["include_dirs"] = [*kwargs.get("include_dirs", ()), *include_paths()]
    kwargs.setdefault("language", "c++")
    kwargs.setdefault("py_limited_api", True)
    return Extension(name, [*sources], *args, **kwargs)


def CUDAExtension(*args: Any, **kwargs: Any) -> typing.NoReturn:
    """RuntimeError: sources in CUDA can't be built."""
    raise RuntimeError("CUDAExtension: sources in CUDA aren't supported; use CppExtension")


def _build_extension() -> type:
    from setuptools.command.build_ext import build_ext

    class BuildExtension(build_ext):
        """The command ``build_ext`` with what C++ extensions need added to the flags."""

        @classmethod
        def with_options(cls, **options: Any) -> type:
            """A subclass whose options are set. PyTorch's are accepted; none is needed."""
            return type(cls.__name__, (cls,), {"options": options})

        def build_extension(self, ext: Any) -> None:
            flags = ext.extra_compile_args or []
            if isinstance(flags, dict):  # by compiler, as for CUDA
                flags = flags.get("cxx", [])
            last = ext.name.rpartition(".")[2]
            names = [f"-DTORCH_EXTENSION_NAME={last}", "-DTM_PYTHON_MODULE"]
            ext.extra_compile_args = [*_CFLAGS, *names, *flags]
            super().build_extension(ext)

    return BuildExtension


def __getattr__(name: str) -> Any:
    if name == "BuildExtension":  # imports setuptools, which most programs never need
        globals()[name] = _build_extension()
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
