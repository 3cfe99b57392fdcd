"""`GraphModule`: a module whose forward is made of a graph."""

from __future__ import annotations

import copy
import linecache
from typing import Any

import taimatsu as torch
from taimatsu.nn import Module

from .graph import Graph, PythonCode

__all__ = ["GraphModule"]

_sources = 0


class GraphModule(Module):
    """A module with the attributes of ``root`` (a module, or a dict by name) that a graph uses, and
    the graph as its ``forward``. After changes of ``graph`` call `recompile`.

    RuntimeError if the graph refers to what the root doesn't have.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # Each has a class of its own, since its forward is its own.
        base = cls if "_of_one" not in vars(cls) else cls.__mro__[1]
        own = type(cls.__name__, (base,), {"_of_one": True, "__module__": cls.__module__})
        return super().__new__(own)

    def __init__(
        self, root: Module | dict[str, Any], graph: Graph, class_name: str = "GraphModule"
    ):
        super().__init__()
        type(self).__name__ = class_name
        if isinstance(root, Module):
            self.training = root.training
        for node in graph.nodes:
            if node.op in ("get_attr", "call_module"):
                self._take(root, node.target)
        self.graph = graph

    def _take(self, root: Any, target: str) -> None:
        """The attribute of the root, at the same place."""
        *path, name = target.split(".")
        owner: Any = None
        if isinstance(root, dict):
            if target not in root:
                raise RuntimeError(
                    f"GraphModule: the graph refers to {target}, which the root dict doesn't have"
                )
            found = root[target]
        else:
            owner = root
            for atom in path:
                owner = getattr(owner, atom)
            if not hasattr(owner, name):
                raise RuntimeError(
                    f"GraphModule: the graph refers to {target}, which the root doesn't have"
                )
            found = getattr(owner, name)
        here: Module = self
        for atom in path:
            if not hasattr(here, atom):
                here.add_module(atom, Module())
            here = getattr(here, atom)
        if hasattr(here, name):
            return
        is_plain = isinstance(found, torch.Tensor) and not isinstance(found, torch.nn.Parameter)
        if is_plain:
            kept = name not in getattr(owner, "_non_persistent_buffers_set", ())
            here.register_buffer(name, found, persistent=kept)
        else:
            setattr(here, name, found)

    # ---- the graph ----------------------------------------------------------------------------
    @property
    def graph(self) -> Graph:
        """The graph."""
        return self._graph

    @graph.setter
    def graph(self, g: Graph) -> None:
        self.__dict__["_graph"] = g
        g.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The source of its forward."""
        return self._code

    def recompile(self) -> PythonCode:
        """Makes forward anew, of the graph as it is now."""
        global _sources
        made = self._graph.python_code("self")
        _sources += 1
        file = f"<torch.fx {_sources}>"  # so that errors show the lines
        names: dict[str, Any] = dict(made.globals)
        exec(compile(made.src, file, "exec"), names)
        lines = made.src.splitlines(keepends=True)
        linecache.cache[file] = (len(made.src), None, lines, file)
        self.__dict__["_code"] = made.src
        type(self).forward = names["forward"]  # type: ignore[method-assign]
        return made

    # ---- submodules ---------------------------------------------------------------------------
    def add_submodule(self, target: str, m: Module) -> bool:
        """Puts a module at a place, whose parents are made; False if something else is there."""
        *path, name = target.split(".")
        here: Module = self
        for atom in path:
            if not hasattr(here, atom):
                here.add_module(atom, Module())
            here = getattr(here, atom)
            if not isinstance(here, Module):
                return False
        here.add_module(name, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Takes a module out; whether it was there."""
        owner, _, name = target.rpartition(".")
        try:
            here = self.get_submodule(owner)
        except AttributeError:
            return False
        if not isinstance(getattr(here, name, None), Module):
            return False
        delattr(here, name)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Takes out the modules that no node uses, nor their parents."""
        used: set[str] = set()
        for node in self.graph.nodes:
            if node.op in ("call_module", "get_attr"):
                atoms = node.target.split(".")
                used.update(".".join(atoms[: i + 1]) for i in range(len(atoms)))
                if node.op == "call_module":
                    inside = self.get_submodule(node.target).named_modules()
                    used.update(f"{node.target}.{name}" for name, _ in inside)
        for name in [n for n, _ in self.named_modules() if n and n not in used]:
            self.delete_submodule(name)

    # ---- copies and text ----------------------------------------------------------------------
    def __deepcopy__(self, memo: dict) -> GraphModule:
        made = self._again(copy.deepcopy(self._attributes(), memo))
        made.training = self.training
        return made

    def __copy__(self) -> GraphModule:
        return self._again(self._attributes())

    def _attributes(self) -> dict[str, Any]:
        own = ("_graph", "_code")
        return {k: v for k, v in self.__dict__.items() if k not in own}

    def _again(self, attributes: dict[str, Any]) -> GraphModule:
        root = Module()
        root.__dict__.update(attributes)
        return GraphModule(root, copy.deepcopy(self._graph), type(self).__name__)

    def __reduce__(self) -> tuple:
        made = self._graph.python_code("self")
        names = {k: v for k, v in made.globals.items() if v is not torch}
        return _restore, (self._attributes(), made.src, names, type(self).__name__)

    def __str__(self) -> str:
        return f"{super().__str__()}\n\n{self._code}\n\n# To see more debug info, please use `graph_module.print_readable()`"  # noqa: E501

    def print_readable(self, print_output: bool = True, **options: Any) -> str:
        """The source with its class; printed too."""
        body = "".join(f"    {line}\n" for line in self._code.strip().splitlines())
        text = f"class {type(self).__name__}(torch.nn.Module):\n{body}"
        if print_output:
            print(text)
        return text


def _restore(attributes: dict, source: str, names: dict, class_name: str) -> GraphModule:
    """Of a pickle: the source is traced again, with every submodule as one step."""
    from .proxy import Tracer

    class Whole(Tracer):
        def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
            return True

    table: dict[str, Any] = {"torch": torch, **names}
    exec(source, table)
    root = type("Root", (Module,), {"forward": table["forward"]})()
    root.__dict__.update(attributes)
    return GraphModule(root, Whole().trace(root), class_name)
