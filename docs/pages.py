"""Writes the reference: a page for each public module, its ops from the table, the rest from
docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import taimatsu
from taimatsu.ops.table import ENTRIES, Op

MODULES = """
    amp array_api autograd autograd.forward_ad autograd.functional autograd.graph compiler cuda
    distributed distributed.checkpoint distributed.fsdp distributed.tensor distributions
    distributions.constraints distributions.transforms export fft func futures fx hub jit library
    linalg masked multiprocessing nested nn nn.attention nn.functional nn.init nn.utils
    nn.utils.parametrizations nn.utils.parametrize nn.utils.prune nn.utils.rnn optim
    optim.lr_scheduler optim.swa_utils overrides profiler quasirandom random serialization
    signal.windows sparse special testing utils.benchmark utils.checkpoint utils.cpp_extension
    utils.data utils.dlpack utils.flop_counter
""".split()  # noqa: SIM905


def forms(ops: list[Op], name: str) -> str:
    """Under which names an op is there."""
    module = ops[0].module
    prefix = "taimatsu." + (f"{module}." if module else "")
    found = [] if module == "Tensor" else [f"`{prefix}{name}`"]
    if any(op.method for op in ops):
        found.append(f"`Tensor.{name}`")
    if any(op.inplace for op in ops):
        found.append(f"in place: `{name}_`")
    if any(op.out for op in ops):
        found.append("with `out=`")
    return ", ".join([*found, *(f"alias `{prefix}{n}`" for n in ops[0].names)])


def dtypes(op: Op) -> str:
    names = sorted(str(getattr(d, "name", d)) for d in op.dtypes or ())
    return f"Computed in: {', '.join(names)}." if names else ""


def markdown(docstring: str) -> str:
    """With its examples as blocks of code."""
    text, example = [], False
    for line in docstring.splitlines():
        inside = line.startswith((">>>", "...")) or (example and line.strip() != "")
        if inside != example:
            text.append("```" + ("" if example else "python"))
        example = inside
        text.append(line)
    return "\n".join([*text, "```"] if example else text)


def joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def code(text: str) -> str:
    return f"```text\n{text}\n```"


def op_section(name: str, ops: list[Op]) -> str:
    schemas = "\n".join(op.schema for op in ops)
    return joined(f"## {name}", code(schemas), markdown(ops[0].doc), forms(ops, name),
                  dtypes(ops[0]))  # fmt: skip


def signature(name: str, thing: Any) -> str:
    try:
        text = f"{name}{inspect.signature(thing)}"
    except (TypeError, ValueError):  # a builtin's
        return name
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text).replace("taimatsu._core.", "")


def own_doc(thing: Any) -> str:
    inherited = inspect.isclass(thing) and thing.__doc__ is None
    return "" if inherited else inspect.getdoc(thing) or ""


def methods(cls: type) -> dict[str, Any]:
    return {n: m for n, m in vars(cls).items()
            if n[0] != "_" and inspect.isroutine(m) and own_doc(m)}  # fmt: skip


def python_section(name: str, thing: Any, heading: str = "##") -> str:
    members = methods(thing) if inspect.isclass(thing) else {}
    inner = [python_section(f"{name}.{n}", m, "###") for n, m in members.items()]
    return joined(f"{heading} {name}", code(signature(name, thing)), markdown(own_doc(thing)),
                  *inner)  # fmt: skip


def ops_of(module: str) -> dict[str, list[Op]]:
    found: dict[str, list[Op]] = {}
    for op in ENTRIES:
        base = op.name.partition(".")[0]
        if op.module == module and not base.startswith("_"):
            found.setdefault(base, []).append(op)
    return found


def things_of(module: ModuleType | type) -> dict[str, Any]:
    """What else is public there: functions and classes with documentation."""
    if isinstance(module, type):
        return methods(module)
    names = getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]
    found = {name: getattr(module, name, None) for name in names}
    return {
        name: thing
        for name, thing in found.items()
        if (inspect.isclass(thing) or inspect.isfunction(thing))
        and (getattr(thing, "__module__", None) or "").startswith("taimatsu")
        and own_doc(thing)
        and thing is not taimatsu.Tensor  # which has a page
    }


def page(title: str, module: ModuleType | type, ops: dict[str, list[Op]]) -> str:
    sections = {name: op_section(name, ops[name]) for name in ops}
    for name, thing in things_of(module).items():
        if name not in sections:
            sections[name] = python_section(name, thing)
    return joined(f"# {title}", markdown(own_doc(module)),
                  *(sections[name] for name in sorted(sections))) + "\n"  # fmt: skip


def write(directory: Path) -> None:
    """One file a module, and an index of them."""
    directory.mkdir(exist_ok=True)
    modules = {"": taimatsu, "Tensor": taimatsu.Tensor}
    modules |= {name: importlib.import_module(f"taimatsu.{name}") for name in MODULES}
    titles = []
    for name, module in modules.items():
        titles.append(f"taimatsu.{name}".rstrip("."))
        ops = {} if name == "optim" else ops_of(name)  # those are what its classes call
        (directory / f"{titles[-1]}.md").write_text(page(titles[-1], module, ops))
    listing = "\n".join(titles)
    (directory / "index.md").write_text(
        f"# Reference\n\n```{{toctree}}\n:maxdepth: 1\n\n{listing}\n```\n"
    )
