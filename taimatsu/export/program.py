"""`ExportedProgram`: the graph of a module's forward with all that it needs; and its files."""

from __future__ import annotations

import inspect
import operator
import typing
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu._op_namespaces import OpOverload
from taimatsu.fx import Graph, GraphModule, Node
from taimatsu.nn import Module, Parameter
from taimatsu.utils._pytree import tree_flatten, tree_map, tree_unflatten

from .shapes import AdditionalInputs, Dim, ShapesCollection, open_sizes
from .signature import ExportGraphSignature, InputKind, InputSpec, OutputKind, OutputSpec
from .trace import Call, find_call, generalize, publish, record

__all__ = ["ExportedProgram", "draft_export", "export", "load", "save", "unflatten"]


class _ProgramModule(GraphModule):
    """A graph as a module that is called as the exported one was."""

    _program: ExportedProgram

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        program = self._program
        made = super().__call__(*program.flat_inputs(args, kwargs))
        return tree_unflatten(made, program.out_spec)


class ExportedProgram:
    """What `export` gives: ``module()`` runs it.

    graph, graph_module   ops, with parameters, buffers and constants among the inputs
    graph_signature       what the inputs and outputs are
    state_dict            parameters and buffers;   constants   other tensors
    example_inputs        (args, kwargs) that it was recorded with
    range_constraints     the limits of the open sizes, by name
    """

    def __init__(
        self, graph: Graph, graph_signature: ExportGraphSignature, state_dict: dict[str, Any],
        constants: dict[str, Tensor], example_inputs: tuple[tuple, dict], out_tree: Any,
        places: dict[tuple[int, int], Dim],
    ):  # fmt: skip
        self.graph_module = GraphModule(Module(), graph)
        self.graph_signature, self.state_dict = graph_signature, state_dict
        self.constants, self.example_inputs = constants, example_inputs
        self._places, self._out_tree = places, out_tree
        self._leaves, self.in_spec = tree_flatten(example_inputs)
        self.out_spec = tree_flatten(out_tree)[1]

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self.graph_module.graph

    @property
    def call_spec(self) -> Any:
        """The structures of inputs and outputs."""
        return _CallSpec(self.in_spec, self.out_spec)

    @property
    def range_constraints(self) -> dict[str, tuple[int, int]]:
        """The limits of the open sizes."""
        return {size.name: (size.min, size.max) for size in self._places.values()}

    @property
    def dialect(self) -> str:
        """ "ATEN"."""
        return "ATEN"

    def parameters(self) -> Iterator[Parameter]:
        """The parameters."""
        return (p for _, p in self.named_parameters())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters, by name."""
        return ((name, self.state_dict[name]) for name in self.graph_signature.parameters)

    def buffers(self) -> Iterator[Tensor]:
        """The buffers."""
        return (b for _, b in self.named_buffers())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """The buffers, by name."""
        names = self.graph_signature.buffers
        held = {**self.constants, **self.state_dict}
        return ((name, held[name]) for name in names)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Unable to call ExportedProgram directly. You should use `exported_program.module()` "
            "instead."
        )

    def flat_inputs(self, args: tuple, kwargs: dict) -> list[Tensor]:
        """The tensors of a call, checked against what was recorded.

        ValueError for another structure, RuntimeError for other sizes, dtypes or numbers.
        """
        leaves, spec = tree_flatten((tuple(args), kwargs))
        if spec != self.in_spec:
            raise ValueError(
                f"ExportedProgram: the arguments' structure is {self.in_spec}; got {spec}"
            )
        sizes: dict[str, int] = {}
        for i, (given, example) in enumerate(zip(leaves, self._leaves, strict=True)):
            if not isinstance(example, Tensor):
                if given != example:
                    raise RuntimeError(f"ExportedProgram: recorded with {example!r}; got {given!r}")
                continue
            if given.dtype != example.dtype or given.dim() != example.dim():
                raise RuntimeError(
                    f"ExportedProgram: input {i} is of {example.dtype} and {example.dim()} dims; "
                    f"got {given.dtype} of shape {tuple(given.shape)}"
                )
            for d, n in enumerate(given.shape):
                self._check_size(i, d, n, example.shape[d], sizes)
        return [x for x in leaves if isinstance(x, Tensor)]

    def _check_size(self, i: int, d: int, n: int, example: int, sizes: dict[str, int]) -> None:
        size = self._places.get((i, d))
        if size is None:
            fits, wanted = n == example, str(example)
        else:
            fits = size.min <= n <= size.max and sizes.setdefault(size.name, n) == n
            wanted = f"{size} and the same wherever it is named"
        if not fits:
            raise RuntimeError(
                f"Guard failed: input {i} has size {n} in dim {d}; it has to be {wanted}"
            )

    def module(self, check_guards: bool = True) -> Module:
        """A module that computes it, with the parameters and buffers under their names."""
        root = Module()
        lifted = Graph()
        values: dict[Node, Node] = {}
        specs = {spec.name: spec for spec in self.graph_signature.input_specs}
        for node in self.graph.nodes:
            spec = specs.get(node.name) if node.op == "placeholder" else None
            if spec is None or spec.kind is InputKind.USER_INPUT:
                values[node] = lifted.node_copy(node, lambda n: values[n])
                continue
            name = spec.target or spec.name
            place = root
            *path, last = name.split(".")
            for atom in path:
                if atom not in place._modules:
                    place.add_module(atom, Module())
                place = place.get_submodule(atom)
            held = self.state_dict.get(name, self.constants.get(name))
            if isinstance(held, Parameter):
                place.register_parameter(last, held)
            else:
                place.register_buffer(last, held, persistent=name in self.state_dict)
            values[node] = lifted.get_attr(name)
        made = _ProgramModule(root, lifted, "GraphModule")
        made.__dict__["_program"] = self
        return made

    def run_decompositions(self, decomp_table: Any = None) -> ExportedProgram:
        """The same in terms of fewer ops: composites are what they call."""
        module = self.module()
        return _export(module, *self.example_inputs, self._places, whole=False)

    def __str__(self) -> str:
        body = "\n".join(f"    {line}" for line in self.graph_module.code.strip().splitlines())
        return (
            f"ExportedProgram:\n{body}\n\nGraph signature:\n    {self.graph_signature}\n"
            f"Range constraints: {self.range_constraints}\n"
        )


class _CallSpec(typing.NamedTuple):
    in_spec: Any
    out_spec: Any


# ---- export -------------------------------------------------------------------------------------


def export(
    mod: Module, args: tuple, kwargs: dict[str, Any] | None = None, *, dynamic_shapes: Any = None,
    strict: bool = False, preserve_module_call_signature: tuple = (), **options: Any,
) -> ExportedProgram:  # fmt: skip
    """A module's forward for these inputs, as a graph of ops.

    dynamic_shapes   which sizes are open: by the parameter's name or position, {dim: `Dim`} or a
                     sequence of `Dim` for each tensor [none]

    Python's control flow and numbers taken from tensors are what they are for the example.
    ValueError for what isn't a module; RuntimeError where the ops depend on an open size otherwise
    than by sums and products.

    >>> batch = torch.export.Dim("batch")
    >>> program = export(nn.Linear(3, 2), (torch.ones(4, 3),), dynamic_shapes=({0: batch},))
    >>> program.module()(torch.ones(7, 3)).shape
    torch.Size([7, 2])
    """
    if not isinstance(mod, Module):
        raise ValueError(f"Expected `mod` to be an instance of `torch.nn.Module`, got {type(mod)}.")
    if not isinstance(args, tuple):
        raise TypeError(f"export: args is a tuple; got {type(args).__name__}")
    leaves = tree_flatten((args, kwargs or {}))[0]
    given: list[Any] = [None] * len(leaves)
    if isinstance(dynamic_shapes, (ShapesCollection, AdditionalInputs)):
        given = dynamic_shapes.dynamic_shapes(mod, args, kwargs)
    elif dynamic_shapes is not None:
        given = _shapes_of(mod, args, kwargs or {}, dynamic_shapes)
    return _export(mod, args, kwargs or {}, open_sizes(leaves, given))


def draft_export(mod: Module, args: tuple, kwargs: dict[str, Any] | None = None,
                 **options: Any) -> ExportedProgram:  # fmt: skip
    """`export`; where sizes that were to be open can't be, they are the example's."""
    try:
        return export(mod, args, kwargs, **options)
    except RuntimeError:
        options.pop("dynamic_shapes", None)
        return export(mod, args, kwargs, **options)


def _shapes_of(mod: Module, args: tuple, kwargs: dict, shapes: Any) -> list[Any]:
    """What is given for each leaf of the arguments."""
    if isinstance(shapes, dict):
        bound = inspect.signature(mod.forward).bind(*args, **kwargs).arguments
        names = list(bound)[: len(args)]
        shapes = ([shapes.get(n) for n in names], {n: shapes.get(n) for n in kwargs})
    else:
        shapes = (list(shapes)[: len(args)], dict(zip(kwargs, shapes[len(args) :], strict=False)))
    found: list[Any] = []

    def walk(value: Any, shape: Any) -> None:
        if isinstance(value, Tensor) or not isinstance(value, (list, tuple, dict)):
            leaves = tree_flatten(value)[0]
            found.extend([shape] * len(leaves))
        elif isinstance(value, dict):
            for key, v in value.items():
                walk(v, None if shape is None else shape[key])
        else:
            for k, v in enumerate(value):
                walk(v, None if shape is None else shape[k])

    walk([list(args), kwargs], shapes)
    return found


def _state(mod: Module) -> list[tuple[InputSpec, Tensor]]:
    found: list[tuple[InputSpec, Tensor]] = [
        (InputSpec(InputKind.PARAMETER, f"p_{name.replace('.', '_')}", name), p)
        for name, p in mod.named_parameters()
    ]
    kept = mod.state_dict(keep_vars=True)
    found += [
        (InputSpec(InputKind.BUFFER, f"b_{name.replace('.', '_')}", name, name in kept), b)
        for name, b in mod.named_buffers()
    ]
    return found


def _input_names(mod: Module, args: tuple, kwargs: dict, leaves: list[Any]) -> list[str]:
    try:
        bound = inspect.signature(mod.forward).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return [f"arg_{i}" for i in range(len(leaves))]
    names: list[str] = []
    for name, value in bound.items():
        count = len(tree_flatten(value)[0])
        names += [name] if count == 1 else [f"{name}_{i}" for i in range(count)]
    return names if len(names) == len(leaves) else [f"arg_{i}" for i in range(len(leaves))]


def _with_size(x: Tensor, dim: int, size: int) -> Tensor:
    return x.index_select(dim, torch.arange(size, device=x.device) % max(x.shape[dim], 1))


def _export(
    mod: Module, args: tuple, kwargs: dict, places: dict[tuple[int, int], Dim], whole: bool = True
) -> ExportedProgram:
    state = _state(mod)
    leaves, spec = tree_flatten((args, kwargs))
    names = _input_names(mod, args, kwargs, leaves)

    def run(leaves: list[Any]) -> tuple[Any, Any]:
        args, kwargs = tree_unflatten(leaves, spec)
        tensors = [(s.name, t) for s, t in state]
        tensors += [(n, x) for n, x in zip(names, leaves, strict=True) if isinstance(x, Tensor)]
        return record(lambda: mod(*args, **kwargs), tensors, whole)

    recording, result = run(leaves)
    graph = recording.graph
    holders = {n.target: n for n in graph.nodes if n.op == "placeholder"}
    if places:
        _open(graph, run, leaves, names, places, holders)
    publish(graph)
    user = [InputSpec(InputKind.USER_INPUT, holders[n].name)
            for n, x in zip(names, leaves, strict=True) if isinstance(x, Tensor)]  # fmt: skip
    lifted = [InputSpec(InputKind.CONSTANT_TENSOR, holders[n].name, n) for n in recording.constants]
    specs = {s.name: s for s in (*user, *lifted)}
    specs |= {holders[s.name].name: s for s, _ in state}
    for s, _ in state:
        s.name = holders[s.name].name
    graph.eliminate_dead_code(lambda n: _writes(n))
    inputs = [specs[n.name] for n in graph.nodes if n.op == "placeholder"]
    outputs = [OutputSpec(OutputKind.USER_OUTPUT, getattr(v, "name", v))
               for v in graph.output_node().args[0]]  # fmt: skip
    held = OrderedDict((s.target, t) for s, t in state if s.persistent is not False)
    constants = {s.target: t for s, t in state if s.persistent is False} | recording.constants
    count = iter(range(len(tree_flatten(result)[0])))
    tree = tree_map(lambda _: next(count), result)
    return ExportedProgram(
        graph, ExportGraphSignature(inputs, outputs), typing.cast(dict, held),
        typing.cast(dict, constants), (args, kwargs), tree, places,
    )  # fmt: skip


def _writes(node: Node) -> bool:
    into = isinstance(node.target, Call) and node.target.into
    return node.op in ("placeholder", "output") or bool(into)


def _open(graph: Graph, run: Callable, leaves: list[Any], names: list[str],
          places: dict[tuple[int, int], Dim], holders: dict[str, Node]) -> None:  # fmt: skip
    """Finds what depends on the open sizes, by running with others."""
    dims = {size.name: size for size in places.values()}
    where = {size.name: place for place, size in reversed(places.items())}
    sizes = {name: leaves[i].shape[d] for name, (i, d) in where.items()}

    def other(name: str, step: int) -> int:
        wanted = sizes[name] + step
        return wanted if wanted <= dims[name].max else max(dims[name].min, sizes[name] - step)

    def with_sizes(changed: dict[str, int]) -> tuple[dict[str, int], Graph]:
        fresh = list(leaves)
        for (i, d), size in places.items():
            if changed[size.name] != fresh[i].shape[d]:
                fresh[i] = _with_size(fresh[i], d, changed[size.name])
        return changed, run(fresh)[0].graph

    others = [with_sizes({**sizes, name: other(name, k + 1)}) for k, name in enumerate(sizes)]
    others.append(with_sizes({name: other(name, 2 * k + 3) for k, name in enumerate(sizes)}))
    generalize(graph, others, sizes, {n: (holders[names[i]], d) for n, (i, d) in where.items()})


def unflatten(module: ExportedProgram, flat_args_adapter: Any = None) -> Module:
    """The program as a module, with its parameters in submodules of their names."""
    return module.module()


# ---- files --------------------------------------------------------------------------------------


def _target(target: Any) -> Any:
    if isinstance(target, Call):
        return ["op", target.op.name, target.op.module, target.into]
    if isinstance(target, OpOverload):
        return ["aten", target.overloadpacket.__name__, target._overloadname]
    return ["operator", target.__name__] if callable(target) else ["name", target]


def _found(written: list[Any]) -> Any:
    kind, *rest = written
    if kind == "op":
        return find_call(*rest)
    if kind == "aten":
        return getattr(getattr(torch.ops.aten, rest[0]), rest[1])
    return getattr(operator, rest[0]) if kind == "operator" else rest[0]


def _written(value: Any) -> Any:
    if isinstance(value, Node):
        return {"node": value.name}
    if isinstance(value, slice):
        return {"slice": _written([value.start, value.stop, value.step])}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_written, value)) if type(value) in (list, tuple) else list(value)
    return {k: _written(v) for k, v in value.items()} if isinstance(value, dict) else value


def _read(value: Any, nodes: dict[str, Node]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"node"}:
            return nodes[value["node"]]
        if set(value) == {"slice"}:
            return slice(*_read(value["slice"], nodes))
        return {k: _read(v, nodes) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_read(v, nodes) for v in value)
    return value


def save(ep: ExportedProgram, f: Any, *, extra_files: dict[str, Any] | None = None,
         **options: Any) -> None:  # fmt: skip
    """Writes a program to a file, a name or a file object, usually ``.pt2``."""
    signature = ep.graph_signature
    torch.save(
        {
            "format": "taimatsu.export 1",
            "nodes": [[n.name, n.op, _target(n.target), _written(n.args), _written(n.kwargs)]
                      for n in ep.graph.nodes],
            "inputs": [[s.kind.name, s.name, s.target, s.persistent]
                       for s in signature.input_specs],
            "outputs": [s.name for s in signature.output_specs],
            "state_dict": dict(ep.state_dict), "constants": ep.constants,
            "example_inputs": ep.example_inputs, "out_tree": ep._out_tree,
            "places": [[i, d, s.name, s.min, s.max] for (i, d), s in ep._places.items()],
            "extra_files": extra_files or {},
        },
        f,
    )  # fmt: skip


def load(f: Any, *, extra_files: dict[str, Any] | None = None, **options: Any) -> ExportedProgram:
    """Reads what `save` wrote. ``extra_files``: a dict by name, whose values are filled in.

    RuntimeError for another file.
    """
    found = torch.load(f)
    if not isinstance(found, dict) or found.get("format") != "taimatsu.export 1":
        raise RuntimeError("export.load: the file is no exported program of this package")
    graph = Graph()
    nodes: dict[str, Node] = {}
    for name, op, target, args, kwargs in found["nodes"]:
        given = _read(tuple(args), nodes), _read(kwargs, nodes)
        nodes[name] = graph.create_node(op, _found(target), *given, name=name)
    sizes: dict[str, Dim] = {}
    places = {
        (i, d): sizes.setdefault(name, Dim(name, min=low, max=high))
        for i, d, name, low, high in found["places"]
    }
    signature = ExportGraphSignature(
        [InputSpec(InputKind[kind], *rest) for kind, *rest in found["inputs"]],
        [OutputSpec(OutputKind.USER_OUTPUT, name) for name in found["outputs"]],
    )
    if extra_files is not None:
        extra_files.update({k: found["extra_files"].get(k) for k in extra_files})
    return ExportedProgram(graph, signature, found["state_dict"], found["constants"],
                           found["example_inputs"], found["out_tree"], places)  # fmt: skip
