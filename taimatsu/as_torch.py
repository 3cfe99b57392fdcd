"""Runs programs written for PyTorch without changing them: `import torch` means this package.

    python -m taimatsu.as_torch train.py --epochs 3
    python -m taimatsu.as_torch -m pytest tests/

or, first of all imports in a program of one's own:

    import taimatsu.as_torch
    import torch                    # taimatsu
    import torch.nn.functional as F # taimatsu.nn.functional, the same module object

A PyTorch that is installed beside it isn't touched, and isn't seen. Subprocesses of a program that
is run in the first way find Taimatsu as their torch too, by the environment's PYTHONPATH; those of
one that imports this module only if they import it themselves.

Programs look at PyTorch's version to know what they may use, so `torch.__version__`, and
`importlib.metadata` for the name torch, then give the version whose behaviour is followed here.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import taimatsu
from taimatsu.torch_version import TorchVersion
from taimatsu.version import __version__, torch_api

__all__ = ["install"]


class _Loader(importlib.abc.Loader):
    """Gives the module that is there already, rather than a second copy of it."""

    def __init__(self, name: str):
        self.name = name
        self.own: tuple = ()

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        self.own = module.__spec__, module.__loader__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__, module.__loader__ = self.own  # importing it has run it

    def get_code(self, name: str):  # for `python -m torch.something`
        return importlib.util.find_spec(self.name).loader.get_code(self.name)  # type: ignore


class _NamingLoader(importlib.abc.Loader):
    """Loads one of this package's modules, whose classes then say that they are PyTorch's."""

    def __init__(self, loader: Any):
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self.loader  # type: ignore[union-attr]
        self.loader.exec_module(module)
        _name_classes(module)


# Of packages and modules: where PyTorch has their classes, if not in a module of that name.
_ELSEWHERE = {
    "torch._limits": "torch",
    "torch.optim.adam": "torch.optim.{name}",
    "torch.optim.adaptive": "torch.optim.{name}",
    "torch.optim.lr_scheduler": "torch.optim.lr_scheduler",
}


def _name_classes(module: ModuleType) -> None:
    """Gives the classes of a module the place that PyTorch's have: programs look at the names of
    types, ``type(layer).__module__.startswith("torch.nn")``, and print them."""
    ours = module.__spec__.name if module.__spec__ else module.__name__
    theirs = "torch" + ours.removeprefix("taimatsu")
    place = _ELSEWHERE.get(theirs.rpartition(".")[0]) or _ELSEWHERE.get(theirs) or theirs
    sys.modules.setdefault(theirs, module)
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == ours:
            with contextlib.suppress(AttributeError, TypeError):  # of types that can't be changed
                value.__module__ = place.format(name=value.__name__.lower())
    if ours == "taimatsu.nn":
        from taimatsu.nn import modules

        for place, layer in list(modules.places()):
            layer.__module__ = f"torch.nn.modules.{place}"
            sys.modules.setdefault(layer.__module__, getattr(modules, place))


# What programs import from PyTorch's distribution.
_PACKAGES = {"torch": "taimatsu", "functorch": "taimatsu._functorch.deprecated"}


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.startswith("taimatsu."):
            own = importlib.machinery.PathFinder.find_spec(name, path, target)
            if own is not None and isinstance(own.loader, importlib.machinery.SourceFileLoader):
                own.loader = _NamingLoader(own.loader)
            return own
        top, dot, rest = name.partition(".")
        if top not in _PACKAGES:
            return None
        ours = _PACKAGES[top] + dot + rest
        try:
            found = importlib.util.find_spec(ours)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return None
        spec = importlib.machinery.ModuleSpec(name, _Loader(ours), origin=found.origin)
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterator[importlib.metadata.Distribution]:
        if context is not None and context.name == "torch":
            yield _Distribution()


class _Distribution(importlib.metadata.Distribution):
    """What `importlib.metadata` tells of torch."""

    def read_text(self, filename: str) -> str | None:
        if filename == "METADATA":
            return f"Metadata-Version: 2.1\nName: torch\nVersion: {torch_api}\n"
        return None

    def locate_file(self, path: Any) -> Any:
        raise FileNotFoundError(f"torch is Taimatsu here, and has no file {path}")


def install() -> None:
    """Makes `import torch` give this package from now on.

    Raises RuntimeError if another torch was imported before.
    """
    present = sys.modules.get("torch")
    if present is not None and present is not taimatsu:
        raise RuntimeError(
            f"as_torch: torch is imported already, from {present.__file__}; "
            "import taimatsu.as_torch before anything that imports torch"
        )
    if not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    sys.modules["torch"] = taimatsu
    taimatsu.__version__ = TorchVersion(f"{torch_api}+taimatsu.{__version__}")
    # By these names programs tell whose namespace or array something is.
    for kind in vars(taimatsu._core).values():
        if isinstance(kind, type) and kind.__module__ == "taimatsu":
            kind.__module__ = "torch"
    taimatsu.Generator.__module__ = "torch._C"
    for name, module in list(sys.modules.items()):
        if name.startswith("taimatsu.") and name != "taimatsu.as_torch":
            _name_classes(module)
    taimatsu.__name__ = "torch"


install()


def _let_subprocesses_inherit() -> None:
    """Puts a folder with a module torch, and this package's own, in front of the search path."""
    package = Path(taimatsu.__path__[0])
    ours = (str(package / "_inherit"), str(package.parent))
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [folder for folder in others if folder and folder not in ours]
    os.environ["PYTHONPATH"] = os.pathsep.join((*ours, *others))
    sys.path.insert(1, ours[0])  # some programs give their processes their own path: pytest-xdist


def _main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    _let_subprocesses_inherit()
    if sys.argv[1] == "-m":
        del sys.argv[:2]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        del sys.argv[0]
        sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _main()
