"""`torch.jit.freeze`: a compiled module whose parameters and attributes are constants of its code.

Each module of the tree gets a class of its own, in which ``self.weight`` is ``CONSTANTS.c0``.
What a method assigns stays an attribute.
"""

from __future__ import annotations

import ast
import copy
from typing import Any

from taimatsu.nn import Module

from .archive import ScriptModule
from .language import Code, parsed, path_of
from .values import literal

__all__ = ["freeze"]


def freeze(
    mod: ScriptModule, preserved_attrs: list[str] | None = None, optimize_numerics: bool = True
) -> ScriptModule:
    """A copy of a compiled module in eval mode, whose parameters, buffers and plain attributes are
    constants: it has none of them any more. ``preserved_attrs``: attributes and methods to keep,
    besides ``forward``.

    RuntimeError for modules that aren't compiled, or that are in training mode.

    >>> frozen = torch.jit.freeze(torch.jit.script(nn.Linear(2, 1)).eval())
    >>> list(frozen.parameters())
    []
    """
    if not isinstance(mod, ScriptModule):
        raise RuntimeError(
            "Freezing expects a ScriptModule as input. Please use torch.jit.script or "
            "torch.jit.trace to script your 'nn.Module'."
        )
    if getattr(mod, "training", False):
        raise RuntimeError(
            "Freezing is currently only implemented for modules in eval mode. Please call .eval() "
            "on your module before freezing."
        )
    for name in preserved_attrs or ():
        if not hasattr(mod, name):
            raise RuntimeError(f"freeze: the module has no attribute {name!r} to preserve")
    return _Freezer(mod, set(preserved_attrs or ())).frozen


class _Freezer:
    def __init__(self, root: ScriptModule, preserved: set[str]):
        files, constants = root._jit_code.closure(root._jit_qualified)
        self.constants = list(constants)
        self.classes: dict[int, str] = {}
        self.texts: dict[str, str] = {}
        self.trees = {path: parsed(text) for path, text in files.items()}
        self.names: dict[int, dict[str, str]] = {}  # what is a constant, and its text
        modules: list[Any] = list(root.modules())
        for i, module in enumerate(modules):
            place, _, name = module._jit_qualified.rpartition(".")
            self.classes[id(module)] = f"{place}.___torch_mangle_frozen_{i}.{name}"
            self._fold(module, preserved if module is root else set())
        for module in modules:
            methods = (m for m in self._definition(module).body if isinstance(m, ast.FunctionDef))
            text = "".join(_indented(_Constants(self.names, module).method(m)) for m in methods)
            self.texts[self.classes[id(module)]] = self._header(module) + text
        rest = {p: self._without_modules(t) for p, t in self.trees.items()}
        files = {p: text for p, text in rest.items() if text}
        for qualified, text in self.texts.items():
            files[path_of(qualified)] = text
        code = Code(files, self.constants, ScriptModule)
        self.frozen = self._instance(root, code, {})

    def _definition(self, module: Any) -> ast.ClassDef:
        name = module._jit_qualified.rpartition(".")[2]
        for statement in self.trees[path_of(module._jit_qualified)].body:
            if isinstance(statement, ast.ClassDef) and statement.name == name:
                return statement
        raise RuntimeError(f"freeze: {module._jit_qualified} isn't defined")

    @staticmethod
    def _without_modules(tree: ast.Module) -> str:
        kept = [s for s in tree.body
                if not (isinstance(s, ast.ClassDef) and s.bases and _is(s.bases[0], "Module"))]
        return "".join(ast.unparse(s) + "\n" for s in kept)

    def _fold(self, module: Any, preserved: set[str]) -> None:
        """What of a module is constant: all that no method assigns."""
        assigned = {
            n.attr for n in ast.walk(self._definition(module))
            if isinstance(n, ast.Attribute) and _is(n.value, "self")
            and isinstance(n.ctx, ast.Store)
        }  # fmt: skip
        plain = {k: v for k, v in vars(module).items() if k in module._jit_declared}
        names = self.names[id(module)] = {}
        for name, value in (plain | module._parameters | module._buffers).items():
            text = None if name in assigned | preserved else self._constant(value)
            if text is not None:
                names[name] = text

    def _constant(self, value: Any) -> str | None:
        if hasattr(value, "detach"):
            self.constants.append(value.detach().clone())
            return f"CONSTANTS.c{len(self.constants) - 1}"
        plain = value is None or isinstance(value, (bool, int, float, str))
        return literal(value) if plain else None

    def _header(self, module: Any) -> str:
        names, definition = self.names[id(module)], self._definition(module)
        lines = [f"class {definition.name}(Module):"]
        for title, tensors in (("parameters", module._parameters), ("buffers", module._buffers)):
            left = (f'"{n}", ' for n, t in tensors.items() if n not in names and t is not None)
            lines.append(f"  __{title}__ = [{''.join(left)}]")
        for s in definition.body:
            if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name):
                name, kind = s.target.id, ast.unparse(s.annotation)
            elif isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Subscript):
                name, kind = ast.literal_eval(s.targets[0].slice), ast.unparse(s.value)
            else:
                continue
            if name in names and name != "training":
                continue
            child = module._modules.get(name)
            kind = self.classes[id(child)] if child is not None else kind
            value = f" = {ast.unparse(s.value)}" if kind.startswith("Final") and s.value else ""
            plain = name.isidentifier()
            lines.append(
                f"  {name} : {kind}{value}" if plain else f'  __annotations__["{name}"] = {kind}'
            )
        return "\n".join(lines) + "\n"

    def _instance(self, module: Any, code: Code, made: dict[int, ScriptModule]) -> ScriptModule:
        if id(module) not in made:
            new = made[id(module)] = object.__new__(code.resolve(self.classes[id(module)]))
            Module.__init__(new)
            new._jit_restore({
                **{k: v for k, v in (vars(module) | module._parameters | module._buffers).items()
                   if k in new._jit_declared and k not in module._modules},
                **{k: m and self._instance(m, code, made) for k, m in module._modules.items()},
            })  # fmt: skip
        return made[id(module)]


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


class _Constants(ast.NodeTransformer):
    """``self.name``, and ``self.child.name``, to a constant's text."""

    def __init__(self, names: dict[int, dict[str, str]], module: Any):
        self.names, self.module = names, module

    def method(self, definition: ast.FunctionDef) -> str:
        """A method's text."""
        definition = copy.deepcopy(definition)
        definition.args.args[0].annotation = None
        return ast.unparse(ast.fix_missing_locations(self.visit(definition)))

    def _module(self, node: ast.expr) -> Any:
        """The module that an expression is; None if it isn't one."""
        match node:
            case ast.Name(id="self"):
                return self.module
            case ast.Attribute(value=base, attr=name):
                pass
            case ast.Call(func=ast.Name(id="getattr"), args=[base, ast.Constant(value=name)]):
                pass
            case _:
                return None
        owner = self._module(base)
        return None if owner is None else owner._modules.get(name)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        owner = self._module(node.value)
        text = None if owner is None else self.names[id(owner)].get(node.attr)
        if text is not None:
            return ast.parse(text, mode="eval").body
        return self.generic_visit(node)  # type: ignore[return-value]
