"""Recording: the ops of one call, written as TorchScript's code."""

from __future__ import annotations

import ast
import itertools
import keyword
import typing
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import jit
from taimatsu._interpreter import Interpreter, frames
from taimatsu._op_namespaces import PREFIX_OF
from taimatsu.nn import Module
from taimatsu.ops.schema import REQUIRED

from .archive import ScriptModule
from .aten import REDUCTIONS, SIGNATURES, Error
from .language import Code, parsed, shifted
from .values import attribute, literal, quoted

__all__ = ["calling", "record"]

# Functions of this package that ATen doesn't have: what is recorded is what they call.
_NOT_ATENS = frozenset((
    "normalize", "cosine_embedding_loss", "soft_margin_loss", "gaussian_nll_loss",
    "softmin", "softsign", "tanhshrink", "logsigmoid",
))  # fmt: skip
_ATENS = {"cross_entropy": "cross_entropy_loss"}


_numbers = itertools.count()  # a class of this process has its name for itself


def _is_scripted(module: Any) -> typing.TypeGuard[ScriptModule]:
    """Whether its calls are recorded as calls."""
    return isinstance(module, ScriptModule) and module._jit_forward is not None


# ---- The tree of modules ----------------------------------------------------------------------
class Tree:
    """Modules as classes of an archive, and the expressions of their parameters and buffers."""

    def __init__(self, root: Module, known: dict[int, str] | None = None):
        self.root, self.expressions = root, {}  # type: ignore[var-annotated]
        self.known = known or {}  # the classes' names, if they have some
        self.tensors: list[Any] = []  # those that have expressions stay alive
        self.names: dict[int, str] = {}
        self.paths: dict[int, str] = {}
        self.used: list[tuple[Code, str]] = []  # scripted code that is called
        self._visit(root, "self")

    def _visit(self, module: Module, path: str) -> None:
        if id(module) in self.names:
            return
        self.paths[id(module)] = path
        if _is_scripted(module):
            self.names[id(module)] = module._jit_qualified
            self.used.append((module._jit_code, module._jit_qualified))
            return
        place = type(module).__module__.partition(".")[2] or type(module).__module__
        mangled = f"___torch_mangle_{next(_numbers)}"
        base = f"__torch__.{place}" if place.isidentifier() or "." in place else "__torch__"
        self.names[id(module)] = self.known.get(
            id(module), f"{base}.{mangled}.{type(module).__name__}"
        )
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                self.name(tensor, attribute(path, name))
        for name, child in module._modules.items():
            if child is not None:
                self._visit(child, attribute(path, name))

    def name(self, tensor: Any, expression: str) -> None:
        """What code calls a tensor from now on."""
        self.expressions[id(tensor)] = expression
        self.tensors.append(tensor)

    def files(self, methods: str) -> dict[str, str]:
        """The classes' sources; the root's has these methods."""
        found = {}
        for module in self.root.modules():
            qualified = self.names.get(id(module), "")
            if not qualified or _is_scripted(module):
                continue
            text = self._class(module) + (methods if module is self.root else "")
            found[qualified.rpartition(".")[0].replace(".", "/") + ".py"] = text
        return found

    def _class(self, module: Module) -> str:
        def listed(names: Any) -> str:
            return "[" + "".join(f'"{n}", ' for n in names) + "]"

        fields = {k: "NoneType" if t is None else "Tensor"
                  for k, t in (*module._parameters.items(), *module._buffers.items())}  # fmt: skip
        fields |= {"training": "bool", "_is_full_backward_hook": "Optional[bool]"}
        fields |= {
            k: "NoneType" if m is None else self.names[id(m)] for k, m in module._modules.items()
        }
        lines = [f"class {type(module).__name__}(Module):"]
        for title, names in (("parameters", module._parameters), ("buffers", module._buffers)):
            lines.append(f"  __{title}__ = {listed(n for n, t in names.items() if t is not None)}")
        for name, kind in fields.items():
            plain = name.isidentifier() and not keyword.iskeyword(name)
            lines.append(f"  {name} : {kind}" if plain else f'  __annotations__["{name}"] = {kind}')
        return "\n".join(lines) + "\n"

    def build(self, code: Code) -> ScriptModule:
        """The module, of the code's classes; parameters and buffers are shared with the root."""
        made: dict[int, ScriptModule] = {}

        def make(module: Module) -> ScriptModule:
            if _is_scripted(module):
                return module
            if id(module) not in made:
                new = made[id(module)] = object.__new__(code.resolve(self.names[id(module)]))
                Module.__init__(new)
                children = {k: m and make(m) for k, m in module._modules.items()}
                new._jit_restore({
                    **module._parameters, **module._buffers, **children,
                    "training": module.training,
                })  # fmt: skip
            return made[id(module)]

        return make(self.root)


# ---- Recording ----------------------------------------------------------------------------------
class _Recorder(Interpreter):
    def __init__(self, tree: Tree, constants: list[Any]):
        self.tree, self.constants, self._count = tree, constants, 0
        self.lines: list[str] = []

    def fresh(self, expression: str) -> str:
        """A name for an expression's value."""
        name = f"_{self._count}"
        self._count += 1
        self.lines.append(f"{name} = {expression}")
        return name

    def text(self, value: Any, kind: str = "") -> str:
        """The expression of an argument."""
        if isinstance(value, torch.Tensor):
            known = self.tree.expressions.get(id(value))
            if known is None:
                known = f"CONSTANTS.c{len(self.constants)}"
                self.constants.append(value.detach())
                self.tree.name(value, known)
            return known
        if isinstance(value, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in value):
            items = ", ".join(self.text(v) for v in value)
            optional = any(v is None for v in value)
            return f"annotate(List[Optional[Tensor]], [{items}])" if optional else f"[{items}]"
        return literal(value, kind)

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        base = op.name.partition(".")[0]
        if op.kind == "composite" and (base in _NOT_ATENS or base.startswith("_")):
            return self.descend(op, args, targets)
        if base in _SPECIAL:
            expression = _SPECIAL[base](self, *args)
        elif base.startswith("_"):
            raise Error(f"jit.trace: {base.strip('_')} can't be written as TorchScript yet")
        else:
            expression = self._op(op, base, args, targets)
        result = self.below(op, args, targets)
        if targets is not None and not any(t is args[0] for t in targets):
            self.lines.append(f"{self.text(targets[0])} = {expression}")  # out=
            return result
        self._bind(result, expression)
        return result

    def became(self, x: Any, view: Any) -> None:
        self.tree.name(x, self.text(view))

    def calling(self, expression: str, result: Any, code: Code, qualified: str) -> Any:
        """A call of scripted code, whose ops aren't recorded."""
        self.tree.used.append((code, qualified))
        self._bind_parts(result, self.fresh(expression))
        return result

    def _bind_parts(self, value: Any, expression: str) -> None:
        if isinstance(value, torch.Tensor):
            self.tree.name(value, expression)
        elif isinstance(value, (tuple, list)):
            for i, item in enumerate(value):
                self._bind_parts(item, f"({expression})[{i}]")
        elif isinstance(value, dict):
            for key, item in value.items():
                self._bind_parts(item, f"({expression})[{literal(key)}]")

    def _bind(self, result: Any, expression: str) -> None:
        if isinstance(result, (tuple, list)):
            whole = self.fresh(expression)
            for i, item in enumerate(result):
                if isinstance(item, torch.Tensor):
                    self.tree.name(item, f"({whole})[{i}]")
        elif isinstance(result, torch.Tensor):
            self.tree.name(result, self.fresh(expression))
        else:
            self.lines.append(expression)

    def _op(self, op: Any, base: str, args: tuple, targets: tuple | None) -> str:
        params = op.parsed.params
        given = dict(zip((p.name for p in params), args, strict=False))
        name = PREFIX_OF.get(op.module, "") + _ATENS.get(base, base)
        if targets is not None and targets[0] is args[0] and not base.endswith("_"):
            name += "_"
        if name in SIGNATURES:
            return self._in_atens_order(name, params, given)
        kept = list(params)
        while kept and kept[-1].default is not REQUIRED and _same(given[kept[-1].name], kept[-1]):
            kept.pop()
        texts = []
        for p in kept:
            value = given[p.name]
            if p.keyword_only and _same(value, p):
                continue
            if p.length and not isinstance(value, (list, tuple)) and value is not None:
                value = [value] * p.length
            text = self.text(value, p.type)
            texts.append(f"{p.name}={text}" if p.keyword_only else text)
        return f"torch.{name}({', '.join(texts)})"

    def _in_atens_order(self, name: str, params: Any, given: dict[str, Any]) -> str:
        texts = []
        for i, entry in enumerate(SIGNATURES[name].split()):
            parameter, _, fixed = entry.partition("=")
            if fixed:
                texts.append(fixed)
                continue
            value = next(iter(given.values())) if i == 0 else given[parameter]
            if parameter == "reduction":
                value = REDUCTIONS.index(value)
            kind = next((p.type for p in params if p.name == parameter), "")
            texts.append(self.text(value, kind))
        return f"torch.{name}({', '.join(texts)})"


def _same(value: Any, parameter: Any) -> bool:
    default = parameter.default
    if isinstance(value, torch.Tensor) or default is REQUIRED:
        return False
    if isinstance(default, str) and not isinstance(value, str):
        return value is getattr(torch, default, None)
    return (tuple(value) if isinstance(value, list) else value) == default


def _basic_index(recorder: _Recorder, x: Any, key: Any) -> str:
    keys = list(key) if isinstance(key, tuple) else [key]
    consumed = sum(k is not None and k is not ... for k in keys)
    if ... in keys:
        i = keys.index(...)
        keys[i : i + 1] = [slice(None)] * (x.dim() - consumed)
    text, dim = recorder.text(x), 0
    for k in keys:
        if k is None:
            text, dim = f"torch.unsqueeze({text}, {dim})", dim + 1
        elif isinstance(k, slice):
            if k != slice(None):
                start, stop = literal(k.start), literal(k.stop)
                text = f"torch.slice({text}, {dim}, {start}, {stop}, {k.step or 1})"
            dim += 1
        else:
            text = f"torch.select({text}, {dim}, {int(k)})"
    return text if text != recorder.text(x) else f"torch.alias({text})"


def _index(recorder: _Recorder, x: Any, indices: Any) -> str:
    return f"torch.index({recorder.text(x)}, {recorder.text(list(indices))})"


def _interpolate(
    recorder: _Recorder, x: Any, size: Any, scale_factor: Any, mode: str, align_corners: Any,
    recompute_scale_factor: Any, antialias: bool,
) -> str:  # fmt: skip
    dims = x.dim() - 2
    if antialias or mode in ("area", "nearest-exact"):
        raise Error(f"jit.trace: interpolate of mode {mode} can't be written as TorchScript yet")
    pair = [v if v is None or isinstance(v, (list, tuple)) else [v] * dims
            for v in (size, scale_factor)]  # fmt: skip
    texts = [recorder.text(x), literal(pair[0]), literal(pair[1], "float")]
    if mode != "nearest":
        texts.insert(2, str(bool(align_corners)))
    return f"torch.upsample_{mode}{dims}d({', '.join(texts)})"


def _index_put(recorder: _Recorder, x: Any, indices: Any, values: Any, accumulate: bool) -> str:
    given = (x, list(indices), values, accumulate)
    return f"torch.index_put_({', '.join(map(recorder.text, given))})"


_SPECIAL: dict[str, Callable] = {
    "_basic_index": _basic_index, "_index": _index, "interpolate": _interpolate,
    "_index_put_": _index_put,
}  # fmt: skip


def _parameter(value: Any, expression: str, tree: Tree) -> str:
    """The type of an argument; the tensors in it get their expressions."""
    if isinstance(value, torch.Tensor):
        tree.name(value, expression)
        return "Tensor"
    if isinstance(value, (list, tuple)) and value:
        kinds = [_parameter(v, f"({expression})[{i}]", tree) for i, v in enumerate(value)]
        return f"List[{kinds[0]}]" if isinstance(value, list) else f"Tuple[{', '.join(kinds)}]"
    if isinstance(value, dict) and value:
        kinds = [_parameter(v, f"({expression})[{quoted(k)}]", tree) for k, v in value.items()]
        return f"Dict[str, {kinds[0]}]"
    raise RuntimeError(
        f"jit.trace: the example's arguments have to be tensors, or tuples, lists and dicts of "
        f"them; got {type(value).__name__}"
    )


def _result(value: Any, recorder: _Recorder) -> str:
    if isinstance(value, torch.Tensor):
        return recorder.text(value)
    if isinstance(value, (tuple, list)):
        texts = [_result(v, recorder) for v in value]
        if isinstance(value, list):
            return f"[{', '.join(texts)}]"
        return f"({', '.join(texts)}{',' * (len(texts) == 1)})"
    if isinstance(value, dict):
        texts = [f"{quoted(k)}: {_result(v, recorder)}" for k, v in value.items()]
        return f"{{{', '.join(texts)}}}"
    raise RuntimeError(
        "Tracer cannot infer type of what the function returned: expected tensors, or tuples, "
        f"lists and dicts of them; got {type(value).__name__}"
    )


def _kind(value: Any) -> str:
    """The type of what is returned."""
    if isinstance(value, tuple):
        return f"Tuple[{', '.join(map(_kind, value))}]"
    if isinstance(value, list):
        return f"List[{_kind(value[0])}]" if value else "List[Tensor]"
    if isinstance(value, dict):
        key = type(next(iter(value))).__name__ if value else "str"
        return f"Dict[{key}, {_kind(next(iter(value.values()))) if value else 'Tensor'}]"
    return "Tensor"


def _passed(value: Any, recorder: _Recorder) -> str:
    """An argument of a scripted function."""
    if isinstance(value, tuple):
        return f"({', '.join(_passed(v, recorder) for v in value)}{',' * (len(value) == 1)})"
    if isinstance(value, list):
        return f"[{', '.join(_passed(v, recorder) for v in value)}]"
    if isinstance(value, dict):
        items = (f"{literal(k)}: {_passed(v, recorder)}" for k, v in value.items())
        return f"{{{', '.join(items)}}}"
    return recorder.text(value)


def calling(
    run: Callable, args: Any, kwargs: dict[str, Any], function: Any, code: Code, module: Any = None
) -> Any:
    """A call of scripted code while a trace is recorded: it is recorded as a call, so that its
    control flow is kept."""
    recorder = next((f for f in frames() if isinstance(f, _Recorder)), None)
    if recorder is None or recorder is not frames()[-1] or (
        module is not None and id(module) not in recorder.tree.paths
    ):
        return run(*args, **kwargs)
    given = dict(zip((p.name for p in function.params), args, strict=False)) | kwargs
    texts = [_passed(given[p.name], recorder) for p in function.params if p.name in given]
    recorder.__exit__()
    try:
        result = run(*args, **kwargs)
    finally:
        recorder.__enter__()
    callee, qualified = function.qualified, function.qualified
    if module is not None:
        callee = f"({recorder.tree.paths[id(module)]}).{function.name}"
        qualified = module._jit_qualified
    expression = f"{callee}({''.join(f'{t}, ' for t in texts)})"
    return recorder.calling(expression, result, code, qualified)


def record(
    root: Module, function: Callable, names: list[str], args: tuple, method: str = "forward",
    *others: tuple[Callable, list[str], tuple, str],
) -> ScriptModule:  # fmt: skip
    """A module whose ``method`` does what ``function``, a method of root or one that has nothing
    to do with it, does in the call with ``args``; and so with ``others``."""
    constants: list[Any] = []
    tree = Tree(root)
    text, used = "", []
    for called, parameters, given, name in ((function, names, args, method), *others):
        tree = Tree(root, tree.names)
        text += _method(tree, _Recorder(tree, constants), called, parameters, given, name)
        used += tree.used
    files = tree.files(text)
    for path, more in scripted_files(used, constants).items():
        files[path] = more + files.get(path, "")
    return tree.build(Code(files, constants, ScriptModule))


def _method(
    tree: Tree, recorder: _Recorder, function: Callable, names: list[str], args: tuple, method: str
) -> str:
    kinds = [_parameter(a, n, tree) for n, a in zip(names, args, strict=True)]
    jit._tracing += 1
    try:
        with torch.no_grad(), recorder:
            output = function(*args)
    finally:
        jit._tracing -= 1
    returned = _result(output, recorder)
    head = ",\n    ".join(f"{n}: {k}" for n, k in zip(names, kinds, strict=True))
    body = "".join(f"    {line}\n" for line in (*recorder.lines, f"return {returned}"))
    qualified = tree.names[id(tree.root)]
    return f"  def {method}(self: {qualified},\n    {head}) -> {_kind(output)}:\n{body}"


def scripted_files(used: list[tuple[Code, str]], constants: list[Any]) -> dict[str, str]:
    """The files of scripted code that a trace calls; its constants go behind the trace's own."""
    found: dict[str, dict[str, str]] = {}
    for code, qualified in used:
        files, more = code.closure(qualified)
        for path, text in files.items():
            for statement in parsed(shifted(text, len(constants))).body:
                name = getattr(statement, "name", "")
                found.setdefault(path, {}).setdefault(name, ast.unparse(statement) + "\n")
        constants.extend(more)
    return {path: "".join(texts.values()) for path, texts in found.items()}
