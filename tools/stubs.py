"""Makes the type stubs of what Python's source doesn't show: the native core and the op table.

    python tools/stubs.py [DIRECTORY] [--core PATH]

    _core.pyi                 tools/core.pyi.in with the table's methods
    __init__.pyi              the top level: what its modules define, and the table's functions
    nn/_functional.pyi, ...   the table's functions for a module that has others beside them

The files go to DIRECTORY (the package itself, if it isn't given); `--core` is the native module,
if it lies elsewhere. They are made, not kept: by the wheel's build and by `make lint`.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TYPES = {
    "int": "_int", "float": "_float", "bool": "_bool", "str": "str", "Any": "Any",
    "Number": "_Number", "ScalarType": "_dtype", "Device": "_Device", "Layout": "_layout",
    "MemoryFormat": "_memory_format", "Generator": "Generator",
}  # fmt: skip
OPERATORS = {
    "_Number | Tensor": (
        "add sub mul truediv floordiv mod pow and or xor lshift rshift lt le gt ge eq ne "
        "radd rsub rmul rtruediv rfloordiv rmod rpow rand ror rxor rlshift rrshift "
        "iadd isub imul itruediv ifloordiv imod ipow iand ior ixor ilshift irshift"
    ),
    "Tensor": "matmul rmatmul",
    "": "neg pos abs invert",
}
HEADER = '''# Made by tools/stubs.py from the op table: don't edit.
# mypy: disable-error-code="overload-overlap, overload-cannot-match, override, misc"
'''
IMPORTS = """from collections.abc import Sequence
from typing import Any, NamedTuple, overload

from {dots}_core import {public}
from {dots}_core import _bool, _Device, _dtype, _float, _int, _layout, _memory_format, _Number
"""


# ---- One entry of the table ---------------------------------------------------------------------
def type_of(p: Any) -> str:
    base = "Tensor" if p.tensor else TYPES[p.type]
    if p.length is not None:
        item = f"{base} | None" if p.optional and p.default is not None else base
        base = f"{base} | Sequence[{item}]" if p.length else f"Sequence[{item}]"
    if p.number:
        base += " | _Number"
    return f"{base} | None" if p.optional or p.default is None else base


def default_of(p: Any, required: Any) -> str:
    if p.default is required:
        return ""
    plain = p.default is None or isinstance(p.default, bool | int) or p.type == "str"
    return f" = {p.default!r}" if plain else " = ..."


def result_of(op: Any) -> str:
    types = ["tuple[Tensor, ...]" if o.type.endswith("[]") else TYPES.get(o.type, "Tensor")
             for o in op.parsed.outputs]  # fmt: skip
    if len(types) > 1:
        return tuple_name(op) if is_named(op) else f"tuple[{', '.join(types)}]"
    return types[0] if types else "None"


def is_named(op: Any) -> bool:
    """Whether the result is a named tuple, as that of `max` along a dim."""
    outputs = op.parsed.outputs
    return len(outputs) > 1 and not outputs[0].name.startswith("result")


def tuple_name(op: Any) -> str:
    return "_" + op.name.replace(".", "_")


def signatures(op: Any, name: str, form: str) -> Iterator[str]:
    """The `def` lines of an op as a "function", a "method" or an "inplace" method or function."""
    from taimatsu.ops.schema import REQUIRED

    params, method = list(op.parsed.params), form.endswith("method")
    before, after = [], []
    for i, p in enumerate(params):
        first = i == 0 and p.name == "self"
        if first and method:
            before.append("self")
            continue
        # `from` is a keyword of Python's: such a parameter goes by position.
        given = "input" if first else "__from" if p.name == "from" else p.name
        side = after if p.keyword_only else before
        side.append(f"{given}: {type_of(p)}{default_of(p, REQUIRED)}")
    if form == "function" and op.out:
        after.append(f"out: {'Tensor' if len(op.parsed.outputs) == 1 else 'Any'} | None = None")
    result = "Tensor" if form.startswith("inplace") else result_of(op)

    positional = [p for p in params if not p.keyword_only]
    lists = [p for p in positional if p.name != "self"]
    if len(lists) == 1 and lists[0].type == "int" and lists[0].length == 0:  # f(2, 3)
        star = ", ".join([*before[:-1], f"*{lists[0].name}: _int", *after])
        yield f"def {name}({star}) -> {result}: ..."
    yield f"def {name}({', '.join([*before, *(['*'] if after else []), *after])}) -> {result}: ..."


def definitions(name: str, ops: Iterable[Any], form: str, indent: str = "") -> Iterator[str]:
    """All overloads of a name; the documentation is that of the first."""
    ops = list(ops)
    lines = [line for op in ops for line in signatures(op, name, form)]
    doc = (ops[0].doc or "").replace("\\", "\\\\").replace('"""', "'''")
    for i, line in enumerate(lines):
        if len(lines) > 1:
            yield f"{indent}@overload"
        if i == 0 and doc:
            text = "\n".join(f"{indent}    {t}".rstrip() for t in doc.splitlines()).strip()
            yield f"{indent}{line.removesuffix(' ...')}\n{indent}    \"\"\"{text}\"\"\""
        else:
            yield indent + line


def groups(module: str | None) -> dict[tuple[str, str], list[Any]]:
    """(name, form) -> ops: the functions of a module, the methods of Tensor for None."""
    from taimatsu.ops.table import ENTRIES

    found: dict[tuple[str, str], list[Any]] = {}
    for op in ENTRIES:
        base = op.name.partition(".")[0]
        if op.module is None or base.startswith("_"):
            continue
        if op.method if module is None else op.module == module:
            kind = "method" if module is None else "function"
            for name in (base, *op.names):
                if module is None or not name.endswith("_"):
                    found.setdefault((name, kind), []).append(op)
                if op.inplace:
                    found.setdefault((name + "_", "inplace " + kind), []).append(op)
    return found


def named_tuples(ops: Iterable[Any]) -> Iterator[str]:
    for op in {o.name: o for o in ops if is_named(o)}.values():
        fields = "".join(f"    {o.name}: Tensor\n" for o in op.parsed.outputs)
        yield f"class {tuple_name(op)}(NamedTuple):\n{fields}"


# ---- The files ----------------------------------------------------------------------------------
def defined_in(tree: ast.Module) -> set[str]:
    """Names that a module's source defines by itself."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def untyped(name: str, value: Any, indent: str) -> str:
    """A definition for what C++ or the package adds and core.pyi.in doesn't know."""
    if isinstance(value, type):
        return f"{indent}class {name}: ..."
    if callable(value):
        first = "self, " if indent else ""
        return f"{indent}def {name}({first}*args: Any, **kwargs: Any) -> Any: ..."
    return f"{indent}{name}: Any"


def core() -> str:
    from taimatsu import _core

    text = (ROOT / "tools/core.pyi.in").read_text().partition("import builtins")
    template = "import builtins" + text[2]
    tree = ast.parse(template)
    tensor = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Tensor")
    known = {n.name for n in tensor.body if isinstance(n, ast.FunctionDef)}
    known |= {n.target.id for n in tensor.body
              if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}  # fmt: skip

    operators = [
        f"    def __{name}__(self{f', other: {other}, /' if other else ''}) -> Tensor: ..."
        for other, names in OPERATORS.items()
        for name in names.split()
    ]
    table = groups(None)
    methods = [
        line
        for (name, form), ops in table.items()
        if name not in known
        for line in definitions(name, ops, form, "    ")
    ]
    known |= {name for name, _ in table}
    for name, value in vars(_core.Tensor).items():
        if name not in known and not name.startswith("_"):
            methods.append(untyped(name, value, "    "))
    tuples = named_tuples(op for ops in table.values() for op in ops)
    template = template.replace("    # [operators]", "\n".join(operators))
    template = template.replace("    # [methods]", "\n".join(methods))
    names = defined_in(tree) | {
        n.target.id for n in tree.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }  # fmt: skip
    rest = [untyped(n, v, "") for n, v in vars(_core).items()
            if n not in names and not n.startswith("__")]  # fmt: skip
    return "\n".join([HEADER, template, *tuples, *rest, ""])


def module(name: str) -> str:
    """The table's part of a module that is written in Python too."""
    import taimatsu

    package, _, stem = name.rpartition(".")
    source = ROOT / "taimatsu" / package.replace(".", "/") / f"{stem}.py"
    own = defined_in(ast.parse(source.read_text()))
    table = {k: v for k, v in groups(name).items() if k[0] not in own}
    dots = "." * (name.count(".") + 1)
    public = vars(importlib.import_module(f"taimatsu.{name}"))
    shared = [
        n
        for n, function in taimatsu.ops.namespaces[""].items()
        if n not in own and public.get(n) is function
    ]
    lines = [f"from {dots} import {n} as {n}" for n in shared]
    lines += [d for (n, form), ops in table.items() for d in definitions(n, ops, form)]
    tuples = named_tuples(op for ops in table.values() for op in ops)
    imports = IMPORTS.format(dots=dots, public="Generator, Tensor")
    return "\n".join([HEADER, imports, *tuples, *lines, ""])


def top_level() -> str:
    import taimatsu

    package = ROOT / "taimatsu"
    lines = [HEADER, IMPORTS.format(dots=".", public="*")]
    tree = ast.parse((package / "__init__.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            names = [a.name if a.name == "*" else f"{a.name} as {a.name}" for a in node.names]
            lines.append(f"from {'.' * node.level}{node.module or ''} import {', '.join(names)}")
    names = sorted(m.name for m in pkgutil.iter_modules(taimatsu.__path__) if m.name[0] != "_")
    lines += [
        f"from . import {name} as {name}"
        for name in names  # not the libraries that lie beside them
        if (package / f"{name}.py").exists() or (package / name).is_dir()
    ]
    lines += [f"from .{m} import {n} as {n}" for n, m in sorted(taimatsu._LAZY_NAMES.items())]
    table = groups("")
    own = set(vars(taimatsu)) - set(taimatsu.ops.namespaces[""])
    lines += named_tuples(op for ops in table.values() for op in ops)
    for (name, form), ops in table.items():
        if name not in own:
            lines += definitions(name, ops, form)
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "taimatsu")
    parser.add_argument("--core", type=Path, help="the native module, if not in the package")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if args.core:
        spec = importlib.util.spec_from_file_location("taimatsu._core", args.core)
        assert spec and spec.loader, args.core
        sys.modules[spec.name] = native = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(native)
    files = {"_core": core(), "__init__": top_level()}
    for name in ("linalg", "nn.functional"):
        package, _, stem = name.rpartition(".")
        files[f"{package.replace('.', '/')}/_{stem}".lstrip("/")] = module(name)
    for name, text in files.items():
        path = args.directory / f"{name}.pyi"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
