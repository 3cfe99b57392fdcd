"""The op table: what an entry is, and the decorators that make entries.

    @pointwise("relu(Tensor self) -> Tensor")
    def relu(x):
        \"\"\"The positive part.\"\"\"
        return where(x <= 0, 0, x)

An entry of a formula kind (pointwise, row, indexed) is called by code generation with symbolic
values; one of the other kinds (view, composite, native) is carried out by the core or by the
Python function it decorates. `ENTRIES` lists them in order of definition for the core.
"""

from __future__ import annotations

import os
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

# `inspect` and `schema` are imported where they are needed: never by `import taimatsu` alone.
if TYPE_CHECKING:
    from .schema import Schema, SchemaParam

ENTRIES: list[Op] = []

FORMULA_KINDS = ("pointwise", "row", "indexed")
_MARGIN = "\n" if sys.version_info >= (3, 13) else "\n    "  # what a docstring's lines begin with
_STATIC_TYPES = frozenset(("str", "bool", "ScalarType", "MemoryFormat", "Layout", "Device"))


@cache
def _examples() -> dict[str, str]:
    with open(os.path.join(os.path.dirname(__file__), "examples.txt")) as file:
        return dict(block.split("\n", 1) for block in file.read().strip().split("\n\n")[1:])


class Plan(typing.NamedTuple):
    """A derivative: calls to make in order, and where each gradient then is.

    A source is a pair: ("g", i) gradient of output i, zeros if there is none, ("g?", i) None then,
    ("arg", i) argument i, ("out", i) output i, ("like", i) a tensor with the sizes, dtype and
    device of argument i whose elements are not read (an expanded scalar will do), ("step", (j, n))
    output n of step j, ("value", object).
    """

    steps: list[tuple[Any, list[tuple[str, Any]], int]]
    grads: list[tuple[str, Any] | None]


_NONE: Mapping = {}  # one for all: most entries have no such options


class Op:
    """An entry of the table; see the module's decorators for the options.

    Called with tensors it is the operator; called with symbolic values, inside another formula, it
    is its own formula.
    """

    __slots__ = (
        "__dict__", "__weakref__", "_doc", "_plans", "accumulates", "backward", "call",
        "coordinates", "dtypes", "dynamic", "follows", "formula", "handle", "inplace", "keep",
        "keep_dtypes", "kind", "method", "module", "name", "names", "nonempty", "out", "outside",
        "over", "promote", "ranks", "refusal", "replayed", "rows", "schema", "settle", "single",
        "static", "storage",
    )  # fmt: skip

    def __init__(
        self,
        schema: str,
        kind: str,
        formula: Callable | None = None,
        *,
        module: str = "",
        method: bool | None = None,
        names: tuple[str, ...] = (),
        inplace: bool | None = None,
        out: Any = None,
        promote: str = "common",
        dtypes: frozenset | None = None,
        refusal: type[Exception] = NotImplementedError,
        keep: tuple[str, ...] | Mapping[str, frozenset] = (),
        follows: tuple[str, ...] = (),
        single: tuple[str, ...] = (),
        static: tuple[str, ...] = (),
        dynamic: tuple[str, ...] = (),
        settle: Mapping[str, tuple[float, ...]] | None = None,
        rows: Any = None,
        nonempty: bool = False,
        storage: bool = False,
        outside: type[Exception] = IndexError,
        doc: str | None = None,
        replayed: bool = True,
        coordinates: tuple[str, ...] = (),  # this and what follows: of derived indexed ops
        accumulates: tuple[str, ...] = (),
        over: str | None = None,
        ranks: Mapping[str, int] | None = None,
    ):
        self.schema, self.kind = schema, kind
        self.formula: Any = formula  # a function, but for views and routines of the core
        self.name = schema[: schema.index("(")].strip()
        takes_self = schema.partition("(")[2].partition(",")[0].partition(" ")[2][:4] == "self"
        self.module, self.names = module, tuple(names)
        self.method = (module in ("", "Tensor") and takes_self) if method is None else method
        self.inplace = (kind == "pointwise" and self.method) if inplace is None else inplace
        self.out = kind in FORMULA_KINDS and module == "" if out is None else out
        self.promote, self.dtypes, self.follows = promote, dtypes, tuple(follows)
        self.refusal, self.single = refusal, tuple(single)
        self.keep = (*keep, *follows)
        self.keep_dtypes = dict(keep) if isinstance(keep, Mapping) else _NONE
        self.static, self.dynamic, self.rows = tuple(static), tuple(dynamic), rows
        self.settle = dict(settle) if settle else _NONE
        self.nonempty, self.outside, self.storage = nonempty, outside, storage
        self._doc = doc
        self.replayed = replayed
        self.coordinates, self.accumulates = tuple(coordinates), tuple(accumulates)
        self.over, self.ranks = over, dict(ranks) if ranks else _NONE
        self.backward: Any = None  # a function, or one for each input, or for several, by names
        self.call: Callable | None = None  # the core's callable, once it is defined there
        self.handle: int | None = None  # the core's own record of the op
        self._plans: dict[tuple, Plan] | None = None

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    @property
    def doc(self) -> str:
        """The documentation: the formula's docstring, unless given, and an example."""
        # Not by inspect.getdoc: `import taimatsu` asks for all, and that module is large.
        if self._doc is not None:
            text = self._doc.replace("\n    ", "\n").strip()
        else:
            text = (getattr(self.formula, "__doc__", None) or "").replace(_MARGIN, "\n").strip()
        base = self.name.partition(".")[0]
        example = _examples().get(f"{self.module}.{base}" if self.module else base, "")
        return f"{text}\n\n{example}".strip()

    @cached_property
    def parsed(self) -> Schema:
        from .schema import parse

        return parse(self.schema)

    @property
    def row_spec(self) -> Any:
        """Which dims a row op's rows run along; the parameter `dim` by default."""
        if self.rows is not None:
            return self.rows
        return "dim" if any(p.name == "dim" for p in self.parsed.params) else "all"

    def names_rows(self, p: SchemaParam) -> bool:
        """Whether an attribute of a row op tells the rows, or whether their dims are kept."""
        spec = self.row_spec
        while isinstance(spec, tuple):  # ("not", spec), ("trailing", name)
            spec = spec[1]
        return self.kind == "row" and p.name in (spec, "keepdim")

    @property
    def is_formula(self) -> bool:
        """Whether code generation calls `formula`, with symbolic values."""
        return self.kind in FORMULA_KINDS

    @cached_property
    def draws(self) -> bool:
        """Whether random numbers are drawn."""
        return any(p.type == "Generator" for p in self.parsed.params)

    def is_static(self, p: SchemaParam) -> bool:
        """Whether an attribute's value selects the kernel, rather than being passed to it."""
        if p.name in self.static or p.name in self.dynamic:
            return p.name in self.static
        return p.type in _STATIC_TYPES or p.length is not None

    @property
    def differentiable(self) -> bool:
        """Whether there may be a derivative: given, or to be derived."""
        return self.is_formula or self.backward is not None

    def takes_gradient(self, p: SchemaParam) -> bool:
        """Whether the derivative by this parameter is one of the op's gradients."""
        kept = p.name in self.keep and p.name not in self.follows
        return p.tensor and p.type != "Index" and not kept

    def sizes(self, *shapes: tuple[int, ...] | None, **attributes: Any) -> list:
        """The sizes of each output of an indexed op, from those of the tensors."""
        from inspect import signature

        if not callable(self.out):
            return [shapes[0]]
        wanted = signature(self.out).parameters
        found = self.out(*shapes, **{k: v for k, v in attributes.items() if k in wanted})
        return [found] if all(isinstance(n, int) for n in found) else found

    def variant(self, operands: tuple, statics: Mapping[str, Any], common: str | None = None):
        """The op for operands of certain dtypes: see `codegen.trace.variant`."""
        from taimatsu.codegen import trace

        return trace.variant(self, operands, statics, common)

    def recalled(self, operands: tuple, statics: Mapping[str, Any], common: str | None = None):
        """The same for the core, which looks at less of it: see `codegen.recall`."""
        from taimatsu.codegen import recall

        return recall.variant(self, operands, statics, common)

    def plan(
        self, mask: int, statics: Mapping[str, Any], present: Mapping[str, bool] | None = None
    ) -> Plan:
        """How the gradients of the parameters in `mask` (bit i: parameter i) are computed.

        `present` says which optional parameters are given; all are if it isn't there.
        """
        present = present or {}
        absent = {n: None for n, there in present.items() if not there}
        statics = {
            k: tuple(v) if isinstance(v, list) else v
            for k, v in (*statics.items(), *absent.items())
            if k != "dtype"  # acts on the inputs, before what is derived
        }
        key = (mask, tuple(sorted(statics.items(), key=lambda kv: kv[0])), tuple(sorted(absent)))
        if self._plans is None:
            self._plans = {}
        if key not in self._plans:
            from taimatsu.codegen import derive

            self._plans[key] = Plan(*derive.plan(self, mask, statics, present))
        return self._plans[key]

    def gradient(self, formula: Callable | None = None, /, **by_input: Callable):
        """Declares the derivative instead of having it derived.

        As a decorator: a function of what it names: gradients (`g`, or `g0`, `g1`, or `g_` and an
        output's name), inputs, outputs (`result` or the schema's names), attributes. It returns
        one gradient for each differentiable tensor in the schema's order, None for zero. For a
        formula kind it is a formula itself; an indexed one takes coordinates too and may add to
        accumulators, named `g` and the input. Else it is a function of tensors, and can take
        `needs`: for each gradient, whether it is asked for. A gradient `g_...` of an output that
        nobody used is zeros, or None where that is the parameter's default.

        In a row op, what is returned for a cell may vary along the row, and for a shared input from
        row to row: it is summed.

        By keyword: functions of tensors, one for an input:

            mm.gradient(self=lambda g, mat2: g @ mat2.mH, mat2=lambda g, self: self.mH @ g)

        Only what is named is saved. `x_like` names an input of which only the sizes are kept.
        """
        if by_input:
            self.backward = {(name,): function for name, function in by_input.items()}
            return self
        assert formula is not None, "gradient: needs a function"
        self.backward = formula
        return formula

    def gradients(self, *inputs: str) -> Callable[[Callable], Callable]:
        """Declares the derivatives by several inputs at once: a function that returns them all.

        Taken where all of them are asked for, in place of those that `gradient` has by keyword.
        """

        def declare(formula: Callable) -> Callable:
            self.backward[inputs] = formula
            return formula

        return declare

    @property
    def anywhere(self) -> Callable | None:
        """How a native op is computed by others, where a device has no routine for it: a function
        of all arguments in the schema's order (see `ops.anywhere`), or None."""
        if self.kind != "native":
            return None
        from .anywhere import routines

        return routines().get(self.name)

    def routine(self, device: str) -> Callable | None:
        """What computes a native op on devices of a type for which the core has nothing: a library
        of the device, else `anywhere`; or None. It returns NotImplemented where it can't."""
        from .anywhere import routine

        return routine(self.name, device)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        traced = _symbolic(args) or (kwargs and _symbolic(kwargs.values()))
        if traced and (self.is_formula or self.kind == "composite"):
            return self._inline(args, kwargs)
        if self.call is None:
            from taimatsu import _core

            self.call = _core.define(self)
        return self.call(*args, **kwargs)

    def _inline(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The formula's result for symbolic arguments; an overriding gradient goes with it."""
        if self.kind == "composite":
            return self.formula(*args, **kwargs)
        from taimatsu.codegen import trace

        given = self.bind(args, kwargs)
        tensors = [given.pop(p.name, None) for p in self.parsed.tensors]
        wanted = trace.signature(self.formula, len(tensors)).wanted(given)
        result = self.formula(*tensors, **wanted)
        return trace.custom(self, tensors, given, result) if callable(self.backward) else result

    def bind(self, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, with the schema's defaults; one that has none may be missing."""
        from .schema import REQUIRED

        params = self.parsed.params
        if len(args) > len(params):
            raise TypeError(
                f"{self.name}: takes {len(params)} arguments, {len(args)} were given; "
                f"its schema is {self.schema}"
            )
        given = {p.name: p.default for p in params if p.default is not REQUIRED}
        given.update((p.name, a) for p, a in zip(params, args, strict=False))
        for name, a in kwargs.items():
            if all(p.name != name for p in params):
                raise TypeError(f"{self.name}: has no parameter {name!r}; see {self.schema}")
            given[name] = a
        return given


def _symbolic(args: Iterable[Any]) -> bool:
    """Whether some are values of a formula: it is traced with them in place of tensors."""
    lang = sys.modules.get("taimatsu.codegen.lang")
    return lang is not None and lang.Value in map(type, args)


def _entry(kind: str, schema: str, options: dict[str, Any]) -> Callable[[Callable | None], Op]:
    def define(formula: Callable | None) -> Op:
        op = Op(schema, kind, formula, **options)
        ENTRIES.append(op)
        return op

    return define


def _routine(kind: str, schema: str, options: dict[str, Any]) -> Any:
    """An op that the core carries out: with `doc=` the entry, else a decorator of its docstring."""
    define = _entry(kind, schema, options)
    return define(None) if "doc" in options else define


def pointwise(schema: str | Callable, **options: Any):
    """One element of the output from the elements of the inputs.

    Options of all formula kinds (defaults in brackets):
    module    "nn.functional", "linalg", "special" ... [the top level and a method]; "Tensor" for
              what is a method only
    method, inplace, out   whether these forms exist (out="exact": nothing is cast into the given
              tensor); names   aliases
    promote   "common" [operands meet in one dtype], "float" [as common, integers become floating],
              "none"; keep   operands outside of promotion: conditions, indices, targets; those that
              only some dtypes will do for with these, {"condition": BOOLEAN};
              follows   operands that have no say in it, and that the formula converts;
              single   those of them that have to be numbers or 0-dim
    dtypes    the compute types it is defined for, a set of `codegen.promote` [all];
              refusal   what is raised for others [NotImplementedError];
              storage   8-bit floats will do too, which are for storage: for what only moves,
              converts or compares elements
    static, dynamic   attributes that deviate from the rule: str, bool and lists are static
    settle   {"exponent": (0.5, 2)}: numbers in place of that operand which have a kernel of their
             own; to the formula they are constants

    On a bare function (no schema) it makes a fused op of a user's own: parameters without a
    default are tensors or numbers, the others attributes.

        @taimatsu.pointwise
        def smooth_relu(x, beta=1.0):
            return torch.log1p(torch.exp(beta * x)) / beta
    """
    if callable(schema):
        from taimatsu.codegen.lang import Value

        Value.__torch_function__ = _in_formula  # type: ignore[attr-defined]
        return Op(_schema_of(schema), "pointwise", schema, method=False, inplace=False, **options)
    return _entry("pointwise", schema, options)


@classmethod  # type: ignore[misc]
def _in_formula(cls: type, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
    """A function of the library that a formula calls with its values: that op's formula."""
    space = (func.__module__ or "").partition(".")[2]
    found = [op for op in ENTRIES if func.__name__ in (op.name.partition(".")[0], *op.names)]
    for op in sorted(found, key=lambda op: op.module != space):
        if op.kind in ("pointwise", "composite"):
            return op(*args, **(kwargs or {}))
    raise TypeError(
        f"formula: {func.__name__} is not a function of one element from each operand; in a "
        "pointwise formula only such ones can be called"
    )


def row(schema: str, **options: Any):
    """One row of the output from a row of the inputs: reductions, normalisations, scans.

    Parameter types: `Row`, `Cell` (one value per row), `Shared` (the same along every row).
    rows   which dims a row is: a parameter's name ["dim"], "all", an int (below 0 from the end),
           ("not", spec), ("trailing", name of a sizes parameter)
    """
    return _entry("row", schema, options)


def indexed(schema: str, **options: Any):
    """The value at an output coordinate, by loads at computed coordinates.

    The formula takes the tensors, then the coordinates, then after `*` the attributes.
    out    function of the sizes of each tensor and the static attributes by name, giving the sizes
           of the output (or a list of those of each) [those of the first tensor]
    outside   what an index out of range raises, RuntimeError or [IndexError]
    """
    return _entry("indexed", schema, options)


def view(schema: str, **options: Any) -> Any:
    """New sizes, strides and offset for the same storage: a routine of csrc/ops/view.cpp."""
    return _routine("view", schema, options)


def composite(schema: str, **options: Any):
    """A Python function of other ops. A gradient of its own takes the place of theirs.

    replayed   whether what it calls follows from its arguments' sizes, strides and dtypes, its
              other arguments and the modes, or from elements that it looks at: then the calls of
              one run are repeated without it [True]
    """
    return _entry("composite", schema, options)


def core_composite(schema: str, doc: str, **options: Any) -> Op:
    """A composite that every program passes through, written in csrc/ops/composite.cpp."""

    def formula(*args):
        from taimatsu import _core

        return _core.compose(op, *args)

    op = _entry("composite", schema, {**options, "doc": doc})(formula)
    return op


def native(schema: str, **options: Any) -> Any:
    """A routine of the core or of a library, registered there by the op's name (TM_NATIVE).

        mm = native("mm(Tensor self, Tensor mat2) -> Tensor", doc="The matrix product.")

    Without `doc` it decorates a function whose docstring is the documentation.
    """
    return _routine("native", schema, options)


def _schema_of(formula: Callable) -> str:
    """A schema for a user's own formula, from its signature and a trial call."""
    from inspect import signature

    from taimatsu.codegen.trace import count_outputs

    kinds = {bool: "bool", int: "int", float: "float", str: "str"}
    params = []
    for p in signature(formula).parameters.values():
        if p.default is p.empty:
            params.append(f"Tensor|Number {p.name}")
        elif type(p.default) in kinds:
            params.append(f"{kinds[type(p.default)]} {p.name}={p.default!r}")
        else:
            raise TypeError(
                f"{formula.__name__}: the default of {p.name!r} is {p.default!r}; "
                "an attribute is a bool, int, float or str"
            )
    outputs = ", ".join(["Tensor"] * count_outputs(formula))
    name = formula.__name__ if formula.__name__.isidentifier() else "formula"  # of a lambda
    return f"{name}({', '.join(params)}) -> ({outputs})"
