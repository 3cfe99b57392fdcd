"""Writes the reference pages: for each module of the op table a page, each op from its entry."""

from __future__ import annotations

from pathlib import Path

from taimatsu.ops.table import ENTRIES, Op

TITLES = {"": "taimatsu", "Tensor": "taimatsu.Tensor"}


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


def section(name: str, ops: list[Op]) -> str:
    schemas = "\n".join(op.schema for op in ops)
    text, doctest = [], False
    for line in (ops[0].doc or "").splitlines():
        example = line.startswith((">>>", "...")) or (doctest and line.strip() != "")
        if example != doctest:
            text.append("```" + ("" if doctest else "python"))
        doctest = example
        text.append(line)
    if doctest:
        text.append("```")
    return "\n\n".join(
        part
        for part in (
            f"## {name}", f"```text\n{schemas}\n```", "\n".join(text), forms(ops, name),
            dtypes(ops[0]),
        )
        if part
    )  # fmt: skip


def write(directory: Path) -> None:
    """One file a module, and an index of them."""
    modules: dict[str, dict[str, list[Op]]] = {}
    for op in ENTRIES:
        base = op.name.partition(".")[0]
        if op.module is not None and not base.startswith("_"):
            modules.setdefault(op.module, {}).setdefault(base, []).append(op)
    directory.mkdir(exist_ok=True)
    pages = []
    for module, ops in sorted(modules.items()):
        title = TITLES.get(module, f"taimatsu.{module}")
        body = "\n\n".join(section(name, ops[name]) for name in sorted(ops))
        (directory / f"{title}.md").write_text(f"# {title}\n\n{body}\n")
        pages.append(title)
    listing = "\n".join(pages)
    (directory / "index.md").write_text(
        f"# Reference\n\n{sum(map(len, modules.values()))} functions, from the op table.\n\n"
        f"```{{toctree}}\n{listing}\n```\n"
    )
