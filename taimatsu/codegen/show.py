"""All that is derived from one entry of the op table, as text.

    print(show("gelu"))
    print(show("max_pool2d", statics={"kernel_size": (3, 3)}, only=("nest", "ptx")))

Expressions print as formulas. A value used several times has a name, `t1`, and is computed where
it stands; `x[a1, a0]` is an element; `sum[r0](...)` a reduction along r0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import engine, llvm, promote, ptx
from .ir import DTYPES, Axis, Buffer, Expr, Nest, Store, topological
from .schedule import Schedule

if TYPE_CHECKING:
    from taimatsu.ops.table import Op

    from .trace import Variant

SECTIONS = ("signature", "doc", "dtypes", "nest", "derivative", "llvm", "assembly", "ptx", "tests")
TARGETS = {
    "host": engine.host,
    "avx2": lambda: llvm.AVX2,
    "avx512": lambda: llvm.AVX512,
    "sse": lambda: llvm.SSE,
    "neon": lambda: llvm.NEON,
}
GPUS = ptx.TARGETS


# Expressions

_INFIX = {
    "mul": ("*", 6), "div": ("/", 6), "idiv": ("//", 6), "irem": ("%", 6), "add": ("+", 5),
    "sub": ("-", 5), "shl": ("<<", 4), "shr": (">>", 4), "and": ("&", 3), "xor": ("^", 2),
    "or": ("|", 1), "lt": ("<", 0), "le": ("<=", 0), "eq": ("==", 0), "ne": ("!=", 0),
}  # fmt: skip
_PREFIX = {"neg": "-", "not": "~"}
_TIGHT = 7  # binds more than any operator
_SHORT = 24  # characters that are rather repeated than named


class Printer:
    """Expressions as text, with names for what is used more than once."""

    def __init__(self, roots: Sequence[Expr]):
        self.names: dict[Expr, str] = {}
        self.lines: list[str] = []
        uses: dict[Expr, int] = {}
        order = topological(roots)
        for e in order:
            for s in e.src:
                uses[s] = uses.get(s, 0) + 1
        for e in order:
            if uses.get(e, 0) > 1 and e.src:
                text = self.text(e)
                if len(text) > _SHORT:
                    name = f"t{len(self.names) + 1}"
                    self.lines.append(f"{name} = {text}")
                    self.names[e] = name

    def text(self, e: Expr, binding: int = -1) -> str:
        """`e`, in brackets if it binds less than `binding`."""
        name = self.names.get(e)
        if name:
            return name
        if e.op in _INFIX:
            sign, own = _INFIX[e.op]
            left, right = self.text(e.src[0], own), self.text(e.src[1], own + 1)
            text = f"{left} {sign} {right}"
            return f"({text})" if own < binding else text
        if e.op in _PREFIX:
            text = _PREFIX[e.op] + self.text(e.src[0], _TIGHT)
            return f"({text})" if binding >= _TIGHT else text
        return self._call(e)

    def _call(self, e: Expr) -> str:
        args = ", ".join(map(self.text, e.src))
        match e.op:
            case "const":
                return repr(e.arg)
            case "param" | "axis":
                return e.arg.name
            case "load":
                return f"{e.arg.name}[{args}]"
            case "size":
                if isinstance(e.arg, Axis):
                    return f"extent({e.arg.name})"
                return f"size({e.arg[0].name}, {e.arg[1]})"
            case "reduce" | "scan":
                monoid, over = e.arg
                axes = over.name if isinstance(over, Axis) else ", ".join(a.name for a in over)
                running = "running " if e.op == "scan" else ""
                return f"{running}{monoid.name}[{axes}]({args})"
            case "hole":
                return f"s{e.arg}"
            case "loop":
                return self._loop(e)
            case "item":
                return f"{args}.{e.arg}"
            case "pick":
                return f"pick[{e.arg.name}]({args})"
            case "cast":
                return f"{e.dtype}({args})"
            case "bitcast":
                return f"bits.{e.dtype}({args})"
            case "stop":
                return f"constant({args})"
        return f"{e.op}({args})"


    def _loop(self, e: Expr) -> str:
        """`loop(s0 = x, s1 = n; while s0 < s1: s0 + 1)`: the state, what stays, the next state."""
        start = ", ".join(f"s{i} = {self.text(s)}" for i, s in enumerate(e.src))
        step = Printer(())  # a closed formula: it has no names of this one's
        following = ", ".join(map(step.text, e.arg.following))
        return f"loop({start}; while {step.text(e.arg.going)}: {following})"


def nest_text(nest: Nest) -> str:
    """A nest as text: axes, operands, named values, stores."""
    roots = [e for s in nest.stores for e in (s.value, *s.index, *([s.guard] if s.guard else []))]
    printer = Printer(roots)
    reduced = f", a row along {_names(nest.reduced)}" if nest.reduced else ""
    lines = [
        f"for each {_names(nest.axes)}{reduced}",
        f"  out {_operands(nest.outputs)}",
        f"  in  {_operands(nest.inputs)}",
    ]
    if nest.params:
        lines.append("  numbers " + ", ".join(f"{p.name}: {p.dtype}" for p in nest.params))
    lines += [f"    {line}" for line in printer.lines]
    lines += [f"    {_store_text(printer, s)}" for s in nest.stores]
    return "\n".join(lines)


def _store_text(printer: Printer, s: Store) -> str:
    index = ", ".join(map(printer.text, s.index))
    sign = "=" if s.combine is None else f"{s.combine.name}="
    guard = "" if s.guard is None else f"   if {printer.text(s.guard)}"
    return f"{s.buffer.name}[{index}] {sign} {printer.text(s.value)}{guard}"


def _names(axes: Sequence[Axis]) -> str:
    return ", ".join(a.name for a in axes)


def _operands(buffers: Sequence[Buffer]) -> str:
    return ", ".join(f"{b.name}: {b.dtype}{f' ({b.role})' if b.role else ''}" for b in buffers)


# An entry for given dtypes


def contiguous(nest: Nest) -> tuple[str, ...]:
    """The layout classes of contiguous operands; see docs/layout.md."""
    if not nest.reduced:
        pointwise = all(b.rank == 2 for b in nest.operands) and len(nest.axes) == 2
        if pointwise and all(s.index == nest.stores[0].index for s in nest.stores):
            return ("sc",) * len(nest.operands)
        return ("c",) * len(nest.operands)
    letters = {"row": "sc", "cell": "cu", "shared": "uc", None: "sc"}
    return tuple(letters[b.role] for b in nest.operands)


def default_statics(op: Op, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the attributes that select a kernel: as given, else the schema's defaults."""
    from taimatsu.ops.schema import REQUIRED

    plain = {"str": "", "bool": False, "int": 1, "float": 1.0, "ScalarType": "f32"}
    found = {}
    for p in op.parsed.attributes:
        if p.name in given:
            found[p.name] = given[p.name]
        elif p.default is not REQUIRED and (op.is_static(p) or p.default is None):
            found[p.name] = p.default
        elif op.is_static(p):
            one = plain.get(p.type, 1)
            found[p.name] = one if p.length is None else (one,) * (p.length or 1)
    return found


def operand_types(op: Op, dtype: str) -> Iterator[tuple[tuple[str, str], ...]]:
    """Dtypes to try for the tensors, `dtype` wherever the entry doesn't fix another."""
    for kept in ("i64", "bool", dtype):
        yield tuple(
            ("i64" if p.type == "Index" else kept if p.name in op.keep else dtype, "tensor")
            for p in op.parsed.tensors
        )


def variant(op: Op, dtype: str, statics: Mapping[str, Any]) -> Variant:
    """The entry for contiguous tensors of `dtype`. Raises as the op does if it isn't defined."""
    failure: Exception | None = None
    for operands in operand_types(op, dtype):
        try:
            return op.variant(operands, statics)
        except (TypeError, RuntimeError, NotImplementedError) as error:
            failure = error
        if not op.keep:
            break
    assert failure is not None
    raise failure


# Sections


class Entry:
    """One entry, for one dtype and set of static attributes."""

    def __init__(self, op: Op, dtype: str, statics: Mapping[str, Any], target: str, gpu: str):
        self.op, self.dtype, self.target, self.gpu = op, dtype, target, gpu
        self.statics = default_statics(op, statics)

    def signature(self) -> str:
        op = self.op
        forms = ["function"]
        forms += ["method"] if op.method else []
        forms += ["in place"] if op.inplace else []
        forms += ["out="] if op.out else []
        where = ".".join(("taimatsu", *filter(None, (op.module, op.name))))
        lines = [op.schema, f"{where}: {op.kind} op; {', '.join(forms)}"]
        if op.names:
            lines.append(f"also {', '.join(op.names)}")
        return "\n".join(lines)

    def doc(self) -> str:
        return self.op.doc or "(none)"

    def defined(self) -> dict[str, Variant]:
        """The entry for operands of each dtype that it is defined for."""
        found = {}
        for name in DTYPES if self.op.is_formula else ():
            with suppress(TypeError, RuntimeError, NotImplementedError):
                found[name] = variant(self.op, name, self.statics)
        return found

    def dtypes(self) -> str:
        """What the outputs are for operands of each dtype."""
        defined = self.defined()
        lines = []
        for name, v in defined.items():
            outputs = ", ".join(t for t, _ in v.outputs)
            lines.append(f"{name:4} -> {outputs:10} computed in {v.compute}")
        if undefined := [name for name in DTYPES if name not in defined]:
            lines.append(f"not defined for {', '.join(undefined)}")
        return "\n".join(lines)

    def variant(self) -> Variant:
        return variant(self.op, self.dtype, self.statics)

    def nest(self) -> str:
        return nest_text(self.variant().nest)

    def derivative(self) -> str:
        """The plan: each step's formula, and which step is which gradient."""
        op, params = self.op, self.op.parsed.params
        inputs = [i for i, p in enumerate(params) if op.takes_gradient(p)]
        try:
            plan = op.plan(sum(1 << i for i in inputs), self.statics)
        except NotImplementedError as error:
            return str(error)
        lines = []
        for n, (callee, sources, _) in enumerate(plan.steps):
            arguments = ", ".join(self._source(s) for s in sources)
            name = getattr(callee, "name", None) or callee.__name__
            lines.append(f"step {n}: {name}({arguments})")
            formula = self._step_nest(callee, sources)
            if formula:
                lines += [f"  {line}" for line in formula.splitlines()]
        for i, source in zip(inputs, plan.grads, strict=True):
            what = "zero" if source is None else self._source(source)
            lines.append(f"gradient of {params[i].name}: {what}")
        return "\n".join(lines)

    def step_types(self, sources: Sequence[tuple[str, Any]]) -> list[str] | None:
        """The dtypes of a step's tensors; None if it takes other steps' results."""
        v = self.variant()
        operands = next(iter(operand_types(self.op, self.dtype)))
        types = {p.name: t for p, (t, _) in zip(self.op.parsed.tensors, operands, strict=True)}
        found = []
        for kind, at in sources:
            if kind in ("g", "out"):
                found.append(v.outputs[at][0])
            elif kind in ("arg", "like"):
                found.append(types.get(self.op.parsed.params[at].name, ""))
            elif kind == "step":
                found.append(v.compute)
            else:
                found.append("")
        return found

    def step_variant(self, callee: Any, sources: Sequence[tuple[str, Any]]) -> Variant | None:
        """A step's own op for the dtypes it is called with, if it is one of the table's kinds."""
        if not getattr(callee, "is_formula", False):
            return None
        types = dict(zip((p.name for p in callee.parsed.params), self.step_types(sources),
                         strict=False))  # fmt: skip
        operands = tuple((types[p.name], "tensor") for p in callee.parsed.tensors)
        try:
            return callee.variant(operands, default_statics(callee, self.statics))
        except (TypeError, RuntimeError, NotImplementedError, KeyError):
            return None

    def _step_nest(self, callee: Any, sources: Sequence[tuple[str, Any]]) -> str:
        v = self.step_variant(callee, sources)
        return nest_text(v.nest) if v else ""

    def _source(self, source: tuple[str, Any]) -> str:
        kind, at = source
        names = [p.name for p in self.op.parsed.params]
        match kind:
            case "g":
                return f"g{at}" if len(self.op.parsed.outputs) > 1 else "g"
            case "arg":
                return names[at]
            case "like":
                return f"sizes of {names[at]}"
            case "out":
                return f"out{at}" if len(self.op.parsed.outputs) > 1 else "result"
            case "step":
                return f"step {at[0]}" + (f"[{at[1]}]" if at[1] else "")
        return repr(at)

    def llvm(self) -> str:
        nest = self.variant().nest
        schedule = Schedule(nest, contiguous(nest))
        return engine.render(schedule, TARGETS[self.target](), self.op.name.replace(".", "_"))

    def assembly(self) -> str:
        return str(engine.emit(self.llvm(), TARGETS[self.target](), assembly=True))

    def ptx(self) -> str:
        nest = self.variant().nest
        name = self.op.name.replace(".", "_")
        launch = ptx.render(nest, contiguous(nest), GPUS[self.gpu], name)
        return f"// {launch.form}\n{launch.ptx}"

    def tests(self) -> str:
        """The rows of the test matrix that the entry gives rise to."""
        op = self.op
        layouts = "contiguous, transposed, stepped, expanded, empty"
        lines = [f"{op.name}[{promote.LONG_NAMES[name]}]: {layouts}" for name in self.defined()]
        checks = "finite differences in float64, special values, second order"
        lines += [
            f"gradient of {op.name} by {p.name}: {checks}"
            for p in op.parsed.params
            if op.differentiable and op.takes_gradient(p)
        ]
        return "\n".join(lines)


_FORMULA_ONLY = ("dtypes", "nest", "llvm", "assembly", "ptx")


def show(
    name: str,
    dtype: str = "f32",
    target: str = "host",
    gpu: str = "sm_80",
    only: Sequence[str] = SECTIONS,
    statics: Mapping[str, Any] | None = None,
) -> str:
    """What is derived from the entries of the table called `name`, section by section.

    `target` is the CPU of the LLVM IR and assembly (host, avx2, avx512, sse, neon), `gpu` the GPU
    of the PTX; `statics` sets attributes that select a kernel. Raises KeyError if there is no such
    op, naming the ones that are spelled alike.
    """
    parts = []
    for op in find(name):
        entry = Entry(op, dtype, statics or {}, target, gpu)
        for section in only:
            if section in _FORMULA_ONLY and not op.is_formula:
                continue
            parts.append(f"=== {op.name}: {section} ===\n{_attempt(getattr(entry, section))}")
    return "\n\n".join(parts)


def _attempt(section: Callable[[], str]) -> str:
    """A section's text, or why there is none: the others are worth seeing all the same."""
    try:
        return section().rstrip()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        return f"none: {error}"


def find(name: str) -> list[Op]:
    """The table's entries of that name, overloads and aliases too."""
    import difflib

    import taimatsu.ops  # noqa: F401  (fills the table)
    from taimatsu.ops.table import ENTRIES

    found = [op for op in ENTRIES if name in (op.name, op.name.partition(".")[0], *op.names)]
    if not found:
        alike = difflib.get_close_matches(name, {op.name for op in ENTRIES})
        raise KeyError(f"show: no op is called {name!r}; {', '.join(alike) or 'none'} is similar")
    return found
