"""``export``: a module's forward for certain inputs, as a graph of ops without Python.

>>> program = torch.export.export(nn.Linear(3, 2), (torch.ones(1, 3),))
>>> [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
['aten.linear.default']
>>> torch.allclose(program.module()(torch.ones(1, 3)), program.module()(torch.ones(1, 3)))
True

The module runs on the example inputs, and every call of an op of the table is written down;
Python's control flow is what it was for them. Parameters, buffers and constants are inputs of the
graph.
Sizes that ``dynamic_shapes`` leaves open are found by running it on inputs of other sizes too:
numbers in the graph that change with them become expressions of them.

`signature`: what the graph's inputs and outputs are; `trace`: how it is recorded; `program`: the
result, `ExportedProgram`, and its files; `shapes`: `Dim`.
"""

from __future__ import annotations

from .program import ExportedProgram, draft_export, export, load, save, unflatten
from .shapes import AdditionalInputs, Dim, ShapesCollection, dims
from .signature import ExportGraphSignature

__all__ = [
    "AdditionalInputs", "Dim", "ExportGraphSignature", "ExportedProgram", "ShapesCollection",
    "dims", "draft_export", "export", "load", "register_dataclass", "save", "unflatten",
]  # fmt: skip


def register_dataclass(cls: type, *, serialized_type_name: str | None = None) -> None:
    """Makes a dataclass a container of inputs and outputs, as tuples and dicts are.

    ValueError for other classes.
    """
    import dataclasses

    from taimatsu.utils import _pytree

    if not dataclasses.is_dataclass(cls):
        raise ValueError(f"register_dataclass: expected a dataclass; got {cls}")
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    _pytree.register_pytree_node(
        cls,
        lambda value: ([getattr(value, name) for name in names], None),
        lambda leaves, _: cls(**dict(zip(names, leaves, strict=True))),
        serialized_type_name=serialized_type_name,
    )
