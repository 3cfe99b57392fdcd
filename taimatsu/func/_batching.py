"""Batching: what `vmap` makes of each op.

Inside `vmap` a tensor that has a batch is a `Batched`: it has the sizes of one example and stands
for a `value` with the batch in front. The interpreter turns each call of an op into one call on
values. How follows from the op's kind: pointwise operands are aligned, the rows of a row op and the
dims of a view move up by one, a composite falls apart into its ops. Native and indexed ops have a
rule below, or run once for each example.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core
from taimatsu._interpreter import Interpreter, frames, without
from taimatsu.ops.shape import wrap_dim

_ANYWHERE = _core.UntypedStorage(2**62, device="meta")  # the memory of tensors that have none


class Batched(Tensor):
    """A tensor of one example, standing for a batch of them.

    It has sizes but, like a meta tensor, no elements: checks of elements leave it alone.
    """

    __torch_function__ = _core._disabled_torch_function_impl

    value: Tensor  # the batch is its dim 0
    owner: VMap

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.value.device

    @property
    def requires_grad(self) -> bool:  # type: ignore[override]
        return self.value.requires_grad

    @property
    def grad_fn(self) -> Any:  # type: ignore[override]
        return self.value.grad_fn

    def detach(self) -> Tensor:
        with below(self.owner):
            return self.owner.wrap(self.value.detach())

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        raise RuntimeError("data: a tensor inside vmap can't be given other contents; use copy_")

    def untyped_storage(self) -> Any:
        return self.value.untyped_storage()

    def resize_(self, *sizes: Any, **options: Any) -> Batched:
        raise RuntimeError(
            "resize_: a tensor inside vmap has no memory of its own; use narrow, or pad"
        )

    def set_(self, *source: Any, **options: Any) -> Batched:
        raise RuntimeError("set_: a tensor inside vmap has no memory of its own; use copy_")

    def requires_grad_(self, requires_grad: bool = True) -> Batched:
        raise RuntimeError(
            "requires_grad_: a tensor inside vmap can't be made a leaf; use func.grad inside it"
        )

    def backward(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("backward: not inside vmap; use func.grad there, or call it outside")

    def item(self) -> Any:
        raise RuntimeError(
            "vmap: It looks like you're calling .item() on a Tensor, which has a number for each "
            "example; use operations on tensors instead"
        )

    def _depends_on_data(self, *args: Any) -> Any:
        raise RuntimeError(
            "vmap: It looks like you're attempting to use a Tensor in some data-dependent control "
            "flow: its elements differ from example to example. Use torch.where, which chooses "
            "for each"
        )

    __bool__ = __int__ = __float__ = __index__ = __complex__ = _depends_on_data

    def tolist(self) -> Any:
        return self.item()

    def numpy(self, *, force: bool = False) -> Any:
        return self.item()

    def __repr__(self, **kwargs: Any) -> str:
        return f"Batched({self.owner.size} examples of sizes {tuple(self.shape)}, {self.dtype})"


def below(frame: Interpreter) -> Any:
    """Inside, only interpreters further out than `frame` see ops."""
    return without(frames().index(frame))


def vmaps() -> list[VMap]:
    """The maps that are running, the innermost last."""
    return [f for f in frames() if isinstance(f, VMap)]


class VmapInfo(typing.NamedTuple):
    """What a Function's `vmap` is told of the map."""

    batch_size: int
    randomness: str


class VMap(Interpreter):
    """Carries out ops on `Batched` tensors of its own, for the whole batch at once."""

    def __init__(self, size: int, randomness: str = "error"):
        self.size, self.randomness = size, randomness

    # ---- values ------------------------------------------------------------------------------

    def owns(self, x: Any) -> bool:
        """Whether x has this map's batch."""
        return isinstance(x, Batched) and x.owner is self

    def wrap(self, value: Tensor) -> Batched:
        """What stands for `value`, which has the batch in front."""
        shell = _core.tensor_from_storage(
            _ANYWHERE, value.dtype, 0, value.shape[1:], value.stride()[1:]
        )
        batched = Tensor._make_subclass(Batched, shell)
        batched.value, batched.owner = value, self
        return batched

    def wrap_all(self, results: Any) -> Any:
        """`wrap` of what an op gave: a tensor, or several."""
        if isinstance(results, (tuple, list)):
            return tuple(self.wrap_all(r) for r in results)
        return self.wrap(results) if isinstance(results, Tensor) else results

    def batched(self, x: Any) -> Tensor:
        """The value of x; of a tensor without batch the same for every example."""
        return x.value if self.owns(x) else x.expand(self.size, *x.shape)

    def aligned(self, x: Any, rank: int) -> Any:
        """The value of x with its example's dims stretched to `rank`, so that it broadcasts."""
        if not self.owns(x):
            return x
        missing = rank - x.dim()
        return x.value[(slice(None), *(None,) * missing)] if missing > 0 else x.value

    def has_batch(self, args: Any) -> bool:
        return any(self.has_batch(a) if isinstance(a, (tuple, list)) else self.owns(a)
                   for a in args)  # fmt: skip

    # ---- calls -------------------------------------------------------------------------------

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        if op.kind == "composite":
            if op.name in NEW:
                if not self.owns(args[0]):  # it may be a batch of a level below
                    return self.below(op, args, targets)
                value, size, *rest = (args[0].value, *args[1:])
                return self.wrap(self.below(op, (value, [self.size, *size], *rest)))
            if op.name in LOOKING and self.has_batch(args):
                return each_example(self, op, args, targets)
            return self.descend(op, args, targets)
        if op.draws and self.randomness != "same":
            return self._random(op, args)
        if not self.has_batch(args) and not self.has_batch(targets or ()):
            return self.below(op, args, targets)
        for target in targets or self._written(op, args):
            if not self.owns(target):
                raise RuntimeError(
                    f"vmap: inplace arithmetic({op.name}) is not possible because the tensor that "
                    "is written to has no batch, and what is written to it has; use an "
                    "out-of-place op"
                )
        if op.draws:
            return self._same(op, args, targets)
        named = RULES.get(op.name) or RULES.get(op.name.partition(".")[0])
        rule = named or KINDS.get(op.kind, each_example)
        return rule(self, op, args, targets)

    def became(self, x: Any, view: Any) -> None:
        if self.owns(x):
            x.value = view.value

    def function(self, cls: Any, args: tuple) -> Any:
        """A custom Function: by its `vmap`, or once for each example."""
        from taimatsu.autograd import Function

        if not self.has_batch(args):
            return self.function_below(cls, args)
        if cls.vmap is not Function.vmap:
            info = VmapInfo(self.size, self.randomness)
            dims = tuple(0 if self.owns(a) else None for a in args)
            values = [a.value if self.owns(a) else a for a in args]
            outputs, out_dims = cls.vmap(info, dims, *values)
            if isinstance(outputs, tuple):
                return tuple(self._moved(y, d) for y, d in zip(outputs, out_dims, strict=True))
            return self._moved(outputs, out_dims)
        if not cls.generate_vmap_rule:
            raise RuntimeError(
                f"vmap: {cls.__name__} has no rule for it; override its vmap staticmethod, or set "
                "generate_vmap_rule=True"
            )
        rows = [self.function_below(cls, _example(self, args, i)) for i in range(self.size)]
        if isinstance(rows[0], tuple):
            return tuple(self.wrap(torch.stack(r)) for r in zip(*rows, strict=True))
        return self.wrap(torch.stack(rows))

    def _moved(self, y: Tensor, dim: int | None) -> Tensor:
        return y if dim is None else self.wrap(y.movedim(dim, 0))

    def _written(self, op: Any, args: tuple) -> list[Tensor]:
        if "!" not in op.schema:
            return []
        return [a for p, a in zip(op.schema.split(","), args, strict=False) if "!" in p]

    def run(self, op: Any, args: Any, targets: tuple | None = None) -> Any:
        """The op below on values; what it gives has the batch in front."""
        if targets is None:
            return self.wrap_all(self.below(op, tuple(args)))
        self.below(op, tuple(args), tuple(t.value for t in targets))
        return targets[0] if len(targets) == 1 else targets

    def _random(self, op: Any, args: tuple) -> Any:
        if self.randomness == "error":
            raise RuntimeError(
                f"vmap: called random operation {op.name} while in randomness error mode. Please "
                "either use the 'same' or 'different' randomness flags on vmap or perform the "
                "randomness operation out of vmap"
            )
        if not self._written(op, args):
            if rule := RULES.get(op.name):
                return rule(self, op, args, None)
            return self.run(op, (
                self.batched(a).contiguous() if isinstance(a, Tensor) else a for a in args
            ))  # fmt: skip
        target = args[0]
        # A fresh tensor: what is filled, and given back, has a number for each example.
        filled = target if self.owns(target) else self.wrap(
            target.new_empty((self.size, *target.shape))
        )  # fmt: skip
        if rule := RULES.get(op.name):
            return rule(self, op, (filled, *args[1:]), None)
        self.below(op, (filled.value, *(self.aligned(a, target.dim()) for a in args[1:])))
        return filled


    def _same(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        """The op on each example with the same random numbers."""
        given = next((a for a in args if isinstance(a, torch.Generator)), None)
        generator = given or torch.default_generator
        start = generator.get_state()
        return each_example(self, op, args, targets, lambda: generator.set_state(start))


# Fresh tensors for what an example has: a batch of them, to be written to.
NEW = frozenset(("new_empty", "new_zeros", "new_ones", "new_full"))

# Composites whose elements tell what is to be computed.
LOOKING = frozenset(("histc", "histogram", "matrix_exp", "embedding_bag", "nonzero_static"))

Rule = Callable[[VMap, Any, tuple, "tuple | None"], Any]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """The rule of ops that their kind says too little about."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def _up(dim: int, rank: int) -> int:
    """Where a dim of an example is in the value."""
    return wrap_dim(dim, rank) + 1


def _named(op: Any, args: tuple) -> dict[str, Any]:
    return dict(zip((p.name for p in op.parsed.params), args, strict=True))


# ---- for each example: any op at all ------------------------------------------------------------


def _example(vm: VMap, x: Any, i: int) -> Any:
    if isinstance(x, (tuple, list)):
        return type(x)(_example(vm, a, i) for a in x)
    return x.value.select(0, i) if vm.owns(x) else x


def each_example(
    vm: VMap, op: Any, args: tuple, targets: tuple | None, before: Callable = lambda: None
) -> Any:
    """Runs the op, and `before` first, once for each example and stacks the results."""
    results = []
    for i in range(vm.size):
        before()
        results.append(vm.below(op, _example(vm, args, i), targets and _example(vm, targets, i)))
    if targets is not None:
        return targets[0] if len(targets) == 1 else targets
    written = vm._written(op, args)
    if written:
        return written[0]
    if isinstance(results[0], (tuple, list)):
        return tuple(vm.wrap(torch.stack(list(r))) for r in zip(*results, strict=True))
    return vm.wrap(torch.stack(results))


RULES["_randperm_"] = each_example  # of vectors only


# ---- pointwise ----------------------------------------------------------------------------------


def _settle(vm: VMap, op: Any, args: list[Any]) -> None:
    """Gives 0-dim examples the say of 0-dim tensors in promotion; their values have a dim."""
    says = [
        i for i, p in enumerate(op.parsed.params)
        if p.tensor and isinstance(args[i], Tensor) and p.name not in op.keep
    ]  # fmt: skip
    zero = [i for i in says if args[i].dim() == 0]
    if not any(vm.owns(args[i]) for i in zero) or len({args[i].dtype for i in says}) == 1:
        return
    common: Any = None
    for i in says:
        shown = torch.empty((1,) * min(args[i].dim(), 1), dtype=args[i].dtype, device="meta")
        common = shown if common is None else torch.empty(
            common.shape or shown.shape, dtype=torch.result_type(common, shown), device="meta"
        )  # fmt: skip
    for i in zero:
        if vm.owns(args[i]):
            args[i] = vm.wrap(args[i].value.to(common.dtype))


def pointwise(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    if any(vm.owns(a) for p, a in zip(op.parsed.params, args, strict=True) if p.name in op.single):
        return each_example(vm, op, args, targets)
    args_ = list(args)
    if targets is None and op.promote != "none":
        _settle(vm, op, args_)
    rank = max((a.dim() for a in args_ if isinstance(a, Tensor)), default=0)
    return vm.run(op, [vm.aligned(a, rank) for a in args_], targets)


# ---- rows ---------------------------------------------------------------------------------------

# Of the whole tensor: the op along a dim. Ties share the gradient in both.
_WHOLE: dict[str, Any] = {"prod": torch.prod, "max": torch.amax, "min": torch.amin}


def _entry(name: str) -> Any:
    from taimatsu.ops.table import ENTRIES

    if name not in _entries:
        _entries.update((op.name, op) for op in reversed(ENTRIES))
    return _entries[name]


_entries: dict[str, Any] = {}


def row(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    spec, named = op.row_spec, _named(op, args)
    x = args[0]
    if not vm.owns(x):
        x = named["self"] = vm.wrap(vm.batched(x))
    if spec == "all" and op.name in _WHOLE and targets is None:
        options = {k: v for k, v in named.items() if k != "self"}
        return vm.wrap(_WHOLE[op.name](x.value.reshape(vm.size, -1), 1, **options))
    if isinstance(spec, int):
        return _folded(vm, op, tuple(named.values()), targets)
    if isinstance(spec, tuple) and spec[0] == "trailing":
        return _trailing(vm, op, named, targets)
    if not isinstance(spec, str) or spec not in named or any(
        vm.owns(a) for a in args[1:]
    ):  # fmt: skip
        return each_example(vm, op, tuple(named.values()), targets)
    value, rank = x.value, x.dim()
    if rank == 0:
        value = value.unsqueeze(1)
    dim = named[spec]
    listed = op.parsed.params[op.parsed.position(spec)].length is not None
    if dim is None and not listed:
        value, dim = value.reshape(vm.size, -1), 0
        if named.get("keepdim"):
            return each_example(vm, op, args, targets)
        rank = 1
    dims = [dim] if isinstance(dim, int) else list(dim or ())
    moved: Any = [_up(d, rank) for d in dims] or [*range(1, max(rank, 1) + 1)]
    named["self"], named[spec] = value, moved if listed else moved[0]
    results = vm.below(op, tuple(named.values()))
    if x.dim() == 0:  # of a row that the example has not, nothing is left
        several = isinstance(results, (tuple, list))
        kept = [r.reshape(vm.size) for r in (results if several else (results,))]
        results = tuple(kept) if several else kept[0]
    if targets is None:
        return vm.wrap_all(results)
    for target, result in zip(
        targets, results if isinstance(results, (tuple, list)) else (results,), strict=True
    ):
        target.value.copy_(result)
    return targets[0] if len(targets) == 1 else targets


def _trailing(vm: VMap, op: Any, named: dict[str, Any], targets: tuple | None) -> Any:
    """Normalisation over the last dims; a weight for each example is applied afterwards."""
    shared = {k: v for k, v in named.items() if k in ("weight", "bias") and vm.owns(v)}
    if targets is not None or not shared:
        return vm.run(op, [a.value if vm.owns(a) else a for a in named.values()], targets)
    weight, bias = named.get("weight"), named.get("bias")
    named.update(dict.fromkeys(("weight", "bias") if "bias" in named else ("weight",)))
    found = vm.run(op, [a.value if vm.owns(a) else a for a in named.values()])
    y, *stats = found if isinstance(found, tuple) else (found,)
    with vm:
        y = y if weight is None else y * weight
        y = y if bias is None else y + bias
    return (y, *stats) if stats else y


def _folded(vm: VMap, op: Any, args: tuple, targets: tuple | None, only: tuple = ()) -> Any:
    """The batch is folded into dim 0 of the tensors, where the op treats each by itself."""
    if targets is not None:
        return each_example(vm, op, args, targets)
    folded = []
    for i, a in enumerate(args):
        if isinstance(a, Tensor) and (not only or i in only):
            value = vm.batched(a)
            folded.append(value.reshape(-1, *value.shape[2:]))
        else:
            folded.append(a)
    results = vm.below(op, tuple(folded))
    several = isinstance(results, (tuple, list))
    split = [
        vm.wrap(r.reshape(vm.size, r.size(0) // vm.size, *r.shape[1:]))
        for r in (results if several else (results,))
    ]
    return tuple(split) if several else split[0]


@rule("multinomial")
def _multinomial(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    """Rows of weights, of all examples."""
    weights = vm.batched(args[0])
    drawn = vm.below(op, (weights.reshape(-1, weights.size(-1)), *args[1:]))
    return vm.wrap(drawn.reshape(*weights.shape[:-1], drawn.size(-1)))


@rule("_batch_norm_train", "_batch_norm_eval")
def _batch_norm(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    """Each example's channels are channels of their own."""
    x, *rest = args
    value = vm.batched(x).movedim(0, 1)  # (N, batch, C, ...)
    n, shape = value.size(0), value.shape[2:]
    channels = vm.size * shape[0]
    results = vm.below(op, (
        value.reshape(n, channels, *shape[1:]),
        *(vm.batched(a).reshape(-1) if isinstance(a, Tensor) else a for a in rest),
    ))  # fmt: skip
    several = isinstance(results, (tuple, list))
    y, *cells = results if several else (results,)
    y = vm.wrap(y.reshape(n, vm.size, *shape).movedim(1, 0))
    return (y, *(vm.wrap(c.reshape(vm.size, -1)) for c in cells)) if several else y


# ---- views --------------------------------------------------------------------------------------

_DIM_PARAMS = frozenset(("dim", "dim0", "dim1", "dim2", "dims", "dimension"))


def view(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    """Dims move up by one."""
    x, rank = args[0], args[0].dim()
    if rank == 0 and op.name in ("transpose", "squeeze.dim", "squeeze.dims", "permute", "slice"):
        return vm.wrap(x.value[...])
    named = _named(op, (x.value, *args[1:]))
    extra = op.name == "unsqueeze"
    for name, value in named.items():
        if name in _DIM_PARAMS:
            named[name] = (
                _up(value, rank + extra) if isinstance(value, int)
                else [_up(d, rank + extra) for d in value]
            )  # fmt: skip
    if op.name == "permute":
        named["dims"] = [0, *named["dims"]]
    return vm.run(op, named.values())


@rule("alias", "view.dtype", "view_as_real", "view_as_complex", "mT")
def _unchanged(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    return vm.run(op, (args[0].value, *args[1:]))


@rule("view", "reshape")
def _resized(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    x, size = args[0], list(args[1])
    if -1 in size:  # of an example: the batch may have no elements
        known = math.prod(s for s in size if s != -1)
        if known:
            size[size.index(-1)] = x.numel() // known
    return vm.run(op, (x.value, [vm.size, *size]))


@rule("expand")
def _expand(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    x, size = args
    return vm.run(op, (vm.aligned(x, len(size)), [vm.size, *size]))


@rule("flatten")
def _flatten(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    x, start, end = args
    if x.dim() == 0:
        return vm.wrap(x.value.unsqueeze(1))
    return vm.run(op, (x.value, _up(start, x.dim()), _up(end, x.dim())))


@rule("squeeze")
def _squeeze(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    if op.name != "squeeze":
        return view(vm, op, args, targets)
    x = args[0]
    dims = [d + 1 for d, n in enumerate(x.shape) if n == 1]
    return vm.wrap(x.value.squeeze(dims) if dims else x.value[...])


@rule("t")
def _t(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    x = args[0]
    if x.dim() > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {x.dim()}D")
    return vm.wrap(x.value.transpose(1, 2) if x.dim() == 2 else x.value[...])


@rule("as_strided")
def _as_strided(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    x, size, stride, offset = args
    value = x.value
    start = value.storage_offset() + (offset or 0)
    return vm.run(op, (value, [vm.size, *size], [value.stride(0), *stride], start))


@rule("_basic_index")
def _basic_index(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    x, key = args
    key = key if isinstance(key, tuple) else (key,)
    return vm.run(op, (x.value, (slice(None), *key)))


# ---- natives ------------------------------------------------------------------------------------


@rule("empty_like", "zeros_like", "ones_like", "full_like", "clone", "fill_", "zero_")
def _like(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    result = vm.run(op, (args[0].value, *args[1:]))
    return args[0] if op.name.endswith("_") else result


@rule("copy_")
def _copy(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    target, source, *rest = args
    vm.below(op, (target.value, vm.aligned(source, target.dim()), *rest))
    return target


@rule("cat")
def _cat(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    tensors, dim = args
    sized = [t for t in tensors if t.dim() != 1 or t.numel()] or tensors[:1]
    return vm.run(op, ([vm.batched(t) for t in sized], _up(dim, sized[0].dim())), targets)


@rule("gather", "scatter", "scatter_add", "scatter.value", "_scatter_fold")
def _along(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    """Position for position: examples are one more dim of all tensors."""
    x, dim, *rest = args
    if x.dim() == 0 or targets is not None:
        return each_example(vm, op, args, targets)
    rest = [vm.batched(a) if isinstance(a, Tensor) else a for a in rest]
    return vm.run(op, (vm.batched(x), _up(dim, x.dim()), *rest))


@rule("index_select", "index_add", "index_copy", "_index_fold")
def _slices(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    """Whole slices: where all examples have one index, they are one more dim."""
    x, dim, index, *rest = args
    if x.dim() == 0 or vm.owns(index) or targets is not None:
        return each_example(vm, op, args, targets)
    rest = [vm.batched(a) if isinstance(a, Tensor) else a for a in rest]
    return vm.run(op, (vm.batched(x), _up(dim, x.dim()), index, *rest))


def _shifted(vm: VMap, x: Any, indices: list) -> list | None:
    """The indices behind the dim of the examples; None if they have index dims in front of it."""
    at = [d for d, i in enumerate(indices) if i is not None]
    apart = at[-1] - at[0] + 1 > len(at)
    if not vm.owns(x) or apart or any(i is not None and vm.owns(i) for i in indices):
        return None
    return [None, *indices]


@rule("_index")
def _index(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    x, indices = args
    shifted = _shifted(vm, x, indices)
    if shifted is None:
        return each_example(vm, op, args, targets)
    return vm.run(op, (x.value, shifted))


@rule("_index_put_")
def _index_put(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    x, indices, values, accumulate = args
    shifted = _shifted(vm, x, indices)
    if shifted is None:
        return each_example(vm, op, args, targets)
    if vm.owns(values):
        index_dims = max(i.dim() for i in indices if i is not None)
        wide = x.dim() - sum(i is not None for i in indices) + index_dims
        values = vm.aligned(values, wide)
    vm.below(op, (x.value, shifted, values, accumulate))
    return x


@rule("flip")
def _flip(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    x, dims = args
    return vm.run(op, (x.value, [_up(d, x.dim()) for d in dims] if x.dim() else []))


@rule("_recurrence")
def _recurrence(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    a, b, dim, reverse = args
    if a.dim() == 0:
        return each_example(vm, op, args, targets)
    return vm.run(op, (vm.batched(a), vm.batched(b), _up(dim, a.dim()), reverse))


@rule("tril", "triu")
def _triangle(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    if args[0].dim() < 2 or targets is not None:
        return each_example(vm, op, args, targets)
    return vm.run(op, (args[0].value, *args[1:]))


@rule("embedding")
def _embedding(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    table, index, *options = args
    if vm.owns(table):
        return each_example(vm, op, args, targets)
    return vm.run(op, (table, vm.batched(index), *options))


@rule("mm", "bmm")
def _matrices(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    if targets is not None:
        return each_example(vm, op, args, targets)
    a, b = (vm.aligned(x, 2 if op.name == "mm" else 3) for x in args)
    return vm.wrap(torch.matmul(a, b))


@rule("matmul", "mv")
def _matmul(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    if targets is not None:
        return each_example(vm, op, args, targets)
    a, b = args
    first, second = a.dim() == 1, b.dim() == 1
    with vm:  # examples' vectors as matrices
        a = a.unsqueeze(0) if first else a
        b = b.unsqueeze(1) if second else b
    rank = max(a.dim(), b.dim())
    product = torch.matmul(vm.aligned(a, rank), vm.aligned(b, rank))
    if first:
        product = product.squeeze(-2)
    return vm.wrap(product.squeeze(-1) if second else product)


@rule("dot")
def _dot(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    with vm:
        return (args[0] * args[1]).sum(-1)


@rule("addmm", "baddbmm")
def _addmm(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    if targets is not None:
        return each_example(vm, op, args, targets)
    x, a, b, beta, alpha = args
    with vm:
        product = torch.matmul(a, b)
        product = product if alpha == 1 else product * alpha
        return product if beta == 0 else product + (x if beta == 1 else x * beta)


@rule("linear")
def _linear(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    x, weight, bias = args
    if not vm.owns(weight) and not vm.owns(bias):
        return vm.run(op, (x.value, weight, bias))
    with vm:
        product = torch.matmul(x, weight.mT if weight.dim() > 1 else weight)
        return product if bias is None else product + bias


@rule("_cholesky", "_lu_factor", "_lu_solve", "_solve", "_solve_triangular", "_qr", "_svd",
      "_eigh", "_eig")  # fmt: skip
def _lapack(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    """These take any number of leading dims, alike in all operands."""
    if targets is not None or len({a.dim() for a in args if isinstance(a, Tensor)}) > 1:
        return each_example(vm, op, args, targets)
    return vm.run(op, [vm.batched(a) if isinstance(a, Tensor) else a for a in args])


@rule("sort", "topk", "kthvalue", "median.dim", "nanmedian.dim", "mode")
def _sorted(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    named = _named(op, args)
    x = named["self"]
    if x.dim() == 0 or targets is not None:
        return each_example(vm, op, args, targets)
    named["self"], named["dim"] = x.value, _up(named["dim"], x.dim())
    return vm.run(op, named.values())


@rule("_nonzero", "masked_select", "_rows_where", "_unique", "_unique_consecutive",
      "_unique_rows")  # fmt: skip
def _of_data(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    raise RuntimeError(
        f"vmap: It looks like you're attempting to use {op.name.strip('_')}, whose output sizes "
        "depend on the elements and differ from example to example; use a mask instead"
    )


@rule("convolution")
def _convolution(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    """The batch joins the input's; of weights it becomes groups."""
    x, weight, bias, *options, groups = args
    if not vm.owns(weight) and not vm.owns(bias):
        return _folded(vm, op, args, targets, only=(0,))
    value, n = vm.batched(x).movedim(0, 1), x.size(0)
    value = value.reshape(n, vm.size * x.size(1), *x.shape[2:])
    weights = vm.batched(weight)
    weights = weights.reshape(-1, *weights.shape[2:])
    biases = None if bias is None else vm.batched(bias).reshape(-1)
    y = vm.below(op, (value, weights, biases, *options, groups * vm.size))
    return vm.wrap(y.reshape(n, vm.size, -1, *y.shape[2:]).movedim(1, 0))


@rule("_max_pool2d", "_avg_pool2d", "_adaptive_avg_pool2d")
def _pool(vm: VMap, op: Any, args: tuple, targets: tuple | None) -> Any:
    return _folded(vm, op, args, targets, only=(0,))


KINDS: dict[str, Rule] = {"pointwise": pointwise, "row": row, "view": view}
