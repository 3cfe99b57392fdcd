"""`DTensor`: a tensor that lies on a mesh of processes, in parts or in copies.

A DTensor *is* its local tensor, for storage, tape and optimizers, with a `Spec` that tells of what
it is the part. Functions that get one come to `__torch_function__`: operands are put as `_rules`
says, the function is called with the local tensors, and its result is a DTensor again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core
from taimatsu.utils import _pytree as pytree

from .. import collectives as dist
from ..device_mesh import DeviceMesh
from ..placements import Partial, Placement, Replicate, Shard
from . import _rules
from ._redistribute import Spec, convert, dual, local_shape, normalized, redistribute, summed

__all__ = ["DTensor", "distribute_module", "distribute_tensor", "implicit_replication"]

# About the tensor itself: the local one's answer is the answer.
_DIRECT = {
    "__get__", "__set__", "as_subclass", "is_complex", "is_floating_point", "register_hook",
    "requires_grad_", "retain_grad", "register_post_accumulate_grad_hook", "get_device", "dim",
    "element_size", "is_contiguous", "is_signed", "__hash__", "is_pinned",
}  # fmt: skip
_implicit = False


class implicit_replication:
    """Inside, tensors that aren't DTensors count as replicated."""

    def __enter__(self) -> None:
        global _implicit
        self._before, _implicit = _implicit, True

    def __exit__(self, *exc: object) -> None:
        global _implicit
        _implicit = self._before


@functools.cache
def _kinds() -> dict[str, str]:
    from taimatsu.ops.table import ENTRIES

    return {op.name.partition(".")[0]: op.kind for op in ENTRIES}


def _kind(name: str) -> str | None:
    kinds = _kinds()
    return kinds.get(name) or kinds.get(name.removesuffix("_")) or kinds.get(name.strip("_"))


def wrap(local: Tensor, spec: Spec) -> DTensor:
    """The DTensor whose part here is ``local``."""
    made = local.as_subclass(DTensor)
    made._spec = spec
    return made


class DTensor(Tensor):
    """A tensor that lies on a `DeviceMesh`: on each of its dims replicated, divided or partial.

    `distribute_tensor` and `from_local` make them. Functions of tensors take them, and give what
    they would of the whole tensors; `shape` is the whole's. A function gets DTensors only
    (RuntimeError else), and numbers, and tensors without dims.

    >>> mesh = init_device_mesh("cpu", (1,))
    >>> x = distribute_tensor(torch.ones(4, 2), mesh, [Shard(0)])
    >>> (x * 2).sum().full_tensor()
    tensor(16.)
    """

    _spec: Spec
    _is_param: bool

    @staticmethod
    def from_local(
        local_tensor: Tensor, device_mesh: DeviceMesh | None = None,
        placements: Sequence[Placement] | None = None, *, run_check: bool = False,
        shape: Any = None, stride: Any = None, grad_placements: Any = None,
    ) -> DTensor:  # fmt: skip
        """The DTensor whose parts are the processes' tensors. Gradients flow to them.

        ``run_check``: replicated ones are made to be those of the first process. ``shape``: the
        whole's sizes, needed where the parts are of different sizes.
        """
        mesh = device_mesh or _default_mesh()
        found = normalized(mesh, placements, local_tensor.dim())
        if shape is None:
            sizes = list(local_tensor.shape)
            for i, p in enumerate(found):
                if isinstance(p, Shard):
                    sizes[p.dim] *= mesh.size(i)
            shape = sizes
        spec = Spec(mesh, found, tuple(shape))
        if run_check:
            with torch.no_grad():
                for i, p in enumerate(found):
                    if isinstance(p, Replicate):
                        dist.broadcast(local_tensor, group=mesh.get_group(i), group_src=0)
        given = dual(spec.placements) if grad_placements is None else grad_placements
        return wrap(summed(local_tensor, spec, given), spec)

    # ---- what it is
    @property
    def _local_tensor(self) -> Tensor:
        return self.as_subclass(Tensor)

    @property
    def device_mesh(self) -> DeviceMesh:
        """Where it lies."""
        return self._spec.mesh

    @property
    def placements(self) -> tuple[Placement, ...]:
        """How it lies, on each dim of the mesh."""
        return self._spec.placements

    @property
    def shape(self) -> torch.Size:  # type: ignore[override]
        """The whole's sizes."""
        return torch.Size(self._spec.shape)

    def size(self, dim: int | None = None) -> Any:
        """The whole's sizes, or one of them."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """The number of the whole's elements."""
        return self.shape.numel()

    nelement = numel

    def stride(self, dim: int | None = None) -> Any:
        """The strides of a whole without gaps."""
        return torch.empty(self.shape, device="meta").stride(*(() if dim is None else (dim,)))

    def __len__(self) -> int:
        return self.shape[0]

    @property  # type: ignore[override]
    def grad(self) -> DTensor | None:
        """The gradient, which lies as the tensor does."""
        found = _grad.__get__(self)
        return None if found is None or isinstance(found, DTensor) else wrap(found, self._spec)

    @grad.setter
    def grad(self, value: Any) -> None:
        if isinstance(value, DTensor):
            value = value.redistribute(placements=self.placements)._local_tensor
        _grad.__set__(self, value)

    @property  # type: ignore[override]
    def data(self) -> DTensor:
        """The tensor without history, over the same memory."""
        return wrap(_data.__get__(self), self._spec)

    @data.setter
    def data(self, value: DTensor) -> None:
        _data.__set__(self, value._local_tensor)
        self._spec = value._spec

    T = property(lambda self: torch.permute(self, tuple(reversed(range(self.dim())))))
    mT = property(lambda self: self.transpose(-1, -2))

    # ---- from one way of lying to another
    def to_local(self, *, grad_placements: Sequence[Placement] | None = None) -> Tensor:
        """This process's part. ``grad_placements``: how its gradients will lie, if not alike."""
        if grad_placements is None:
            return self._local_tensor
        given = normalized(self.device_mesh, grad_placements, self.dim())
        return summed(self._local_tensor, self._spec, given)

    def redistribute(
        self, device_mesh: DeviceMesh | None = None,
        placements: Sequence[Placement] | None = None, *, async_op: bool = False,
        forward_dtype: Any = None, backward_dtype: Any = None,
    ) -> DTensor:  # fmt: skip
        """The tensor, lying otherwise on its mesh. RuntimeError to make it partial."""
        mesh = device_mesh or self.device_mesh
        if placements is None:
            raise RuntimeError("placements is needed for redistribute!")
        if mesh != self.device_mesh:
            raise NotImplementedError("Cross device mesh comm not supported yet!")
        target = normalized(mesh, placements, self.dim())
        if any(isinstance(t, Partial) and t != p
               for p, t in zip(self.placements, target, strict=True)):  # fmt: skip
            raise RuntimeError("Can not redistribute to Partial, redistributing to Partial is for "
                               "internal use only!")  # fmt: skip
        local = self._local_tensor
        if forward_dtype is not None:
            local = local.to(forward_dtype)
        return wrap(redistribute(local, self._spec, target), self._spec.lying(target))

    def full_tensor(self, *, grad_placements: Sequence[Placement] | None = None) -> Tensor:
        """The whole tensor, in every process."""
        whole = self.redistribute(placements=[Replicate()] * self.device_mesh.ndim)
        return whole.to_local(grad_placements=grad_placements)

    def backward(self, gradient: Any = None, *args: Any, **kwargs: Any) -> None:
        """`Tensor.backward`, of the whole."""
        if gradient is not None:
            gradient = gradient.redistribute(placements=dual(self.placements))._local_tensor
        whole = self
        if gradient is None and any(not isinstance(p, Replicate) for p in self.placements):
            whole = self.redistribute(placements=[Replicate()] * self.device_mesh.ndim)
        whole._local_tensor.backward(gradient, *args, **kwargs)

    def item(self) -> Any:
        """The whole's element."""
        return self.full_tensor().item()

    def tolist(self) -> Any:
        """The whole's elements."""
        return self.full_tensor().tolist()

    def __bool__(self) -> bool:
        return bool(self.full_tensor())

    def __float__(self) -> float:
        return float(self.full_tensor())

    def __int__(self) -> int:
        return int(self.full_tensor())

    def numpy(self, **options: Any) -> Any:
        """RuntimeError: take `full_tensor` or `to_local` first."""
        raise RuntimeError(
            ".numpy() is not supported for DTensor; use full_tensor().numpy() or to_local().numpy()"
        )

    def __deepcopy__(self, memo: dict) -> DTensor:
        if id(self) not in memo:
            local = self._local_tensor.detach().clone()
            made = wrap(local, self._spec).requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                made._is_param = True
            memo[id(self)] = made
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return _rebuilt, (self._local_tensor.detach(), self._spec, self.requires_grad)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return (
            f"DTensor(local_tensor={self._local_tensor}, device_mesh={self.device_mesh}, "
            f"placements={self.placements})"
        )

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func.__name__ in _DIRECT:
            with _core.DisableTorchFunctionSubclass():
                result = func(*args, **(kwargs or {}))
            return result
        return _dispatch(func, func.__name__, args, kwargs or {})


_grad: Any = vars(Tensor)["grad"]
_data: Any = vars(Tensor)["data"]


def _rebuilt(local: Tensor, spec: Spec, requires_grad: bool) -> DTensor:
    return wrap(local, spec).requires_grad_(requires_grad)


def _default_mesh() -> DeviceMesh:
    from ..device_mesh import init_device_mesh

    return init_device_mesh("cpu", (dist.get_world_size(),))


# ---- calls --------------------------------------------------------------------------------------
def _specs(name: str, leaves: list[Any]) -> tuple[DeviceMesh, dict[int, Spec]]:
    """The mesh, and the specs of the tensors among the arguments, by position."""
    mesh = next(x.device_mesh for x in leaves if isinstance(x, DTensor))
    specs = {}
    for i, x in enumerate(leaves):
        if isinstance(x, DTensor):
            if x.device_mesh != mesh:
                raise RuntimeError(
                    f"{name}: DTensors of different meshes: {mesh} and {x.device_mesh}"
                )
            specs[i] = x._spec
        elif isinstance(x, Tensor):
            if x.dim() and not _implicit:
                raise RuntimeError(
                    f"{name}: got mixed torch.Tensor and DTensor, need to convert all torch.Tensor "
                    "to DTensor before calling distributed operators!"
                )
            specs[i] = Spec(mesh, (Replicate(),) * mesh.ndim, tuple(x.shape))
    return mesh, specs


def _whole_shapes(func: Callable, leaves: list[Any], specs: dict[int, Spec], tree: Any) -> Any:
    """The sizes of the results, of the whole operands."""
    meta = list(leaves)
    for i, spec in specs.items():
        meta[i] = torch.empty(spec.shape, dtype=leaves[i].dtype, device="meta")
    args, kwargs = pytree.tree_unflatten(meta, tree)
    with torch.no_grad():
        result = func(*args, **kwargs)
    return pytree.tree_map(lambda t: tuple(t.shape) if isinstance(t, Tensor) else None, result)


def _dispatch(func: Callable, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
    if name in _WHOLE:
        return _WHOLE[name](*args, **kwargs)
    leaves, tree = pytree.tree_flatten((args, kwargs))
    mesh, specs = _specs(name, leaves)
    kind = _kind(name)
    shaped = name in _rules.SHAPED
    target = _whole_shapes(func, leaves, specs, tree) if shaped else None
    wanted: list[list[Placement]] = []
    results: list[Placement] = []
    for d in range(mesh.ndim):
        operands = [_rules.Operand(s.shape, s.placements[d]) for s in specs.values()]
        call = _rules.Call(name, operands, args, kwargs, mesh.size(d))
        where, out = _rules.decide(call, kind, target)
        wanted.append(where)
        results.append(out)
    inplace = name.endswith("_") and not name.endswith("__")
    if inplace and tuple(results) != args[0].placements:
        raise RuntimeError(
            f"{name}: in-place operations that require placement changes are not supported; "
            f"the tensor lies as {args[0].placements}, the result as {tuple(results)}"
        )
    itself = args[0]
    for k, i in enumerate(specs):
        leaves[i] = _operand(leaves[i], specs[i], tuple(w[k] for w in wanted), results)
    args, kwargs = pytree.tree_unflatten(leaves, tree)
    if shaped and any(isinstance(p, Shard) for p in results):
        spec = Spec(mesh, tuple(results), tuple(target or ()))
        return wrap(args[0].reshape(local_shape(spec)[0]), spec)
    value = func(*args, **kwargs)
    if inplace:
        return itself
    whole = None
    if any(isinstance(p, Shard) for p in results):
        if _rules.is_elementwise(name, kind):
            sizes = tuple(torch.broadcast_shapes(*(s.shape for s in specs.values())))
            whole = pytree.tree_map(lambda _: sizes, value)
        else:
            whole = _whole_shapes(func, leaves, specs, tree)
    return _wrapped(value, whole, mesh, tuple(results))


def _operand(x: Any, spec: Spec, target: tuple, results: list[Placement]) -> Tensor:
    """The local tensor of an operand, put as the op needs it. Where it is replicated and the
    result isn't, each process sees a part of its gradient only: they are summed."""
    local = x._local_tensor if isinstance(x, DTensor) else x
    local = redistribute(local, spec, target)
    if not local.requires_grad:
        return local
    given = tuple(
        Partial() if isinstance(t, Replicate) and not isinstance(out, Replicate) else d
        for t, d, out in zip(target, dual(target), results, strict=True)
    )
    return summed(local, spec.lying(target), given)


def _wrapped(value: Any, whole: Any, mesh: DeviceMesh, placements: tuple) -> Any:
    if isinstance(value, Tensor):
        return wrap(value, Spec(mesh, placements, tuple(value.shape) if whole is None else whole))
    if isinstance(value, (tuple, list)):
        parts = [
            _wrapped(v, None if whole is None else whole[i], mesh, placements)
            for i, v in enumerate(value)
        ]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _vector_norm(x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, **options: Any):
    """Of the whole tensor, by the norms of its parts."""
    how = {float("inf"): "max", float("-inf"): "min"}.get(float(ord), "sum")
    if dim is not None or ord == 0 or (x.requires_grad and torch.is_grad_enabled()) or any(
        isinstance(p, Partial) for p in x.placements
    ):  # fmt: skip
        whole = x.redistribute(placements=[Replicate()] * x.device_mesh.ndim)
        found = torch.linalg.vector_norm(whole._local_tensor, ord, dim, keepdim, **options)
        return wrap(found, Spec(x.device_mesh, whole.placements, tuple(found.shape)))
    local = x._local_tensor
    norm = torch.linalg.vector_norm(local, ord, **options) if local.numel() else local.new_tensor(
        float("inf") if how == "min" else 0.0
    )  # fmt: skip
    power = norm if how != "sum" else norm**ord
    parts = tuple(Partial(how) if isinstance(p, Shard) else p for p in x.placements)
    spec = Spec(x.device_mesh, parts, ())
    whole = convert(power, spec, [Replicate()] * x.device_mesh.ndim)
    result = whole if how != "sum" else whole ** (1 / ord)
    return wrap(result, spec.lying([Replicate()] * x.device_mesh.ndim))


_WHOLE: dict[str, Callable] = {"vector_norm": _vector_norm}


# ---- making them --------------------------------------------------------------------------------
def distribute_tensor(
    tensor: Tensor, device_mesh: DeviceMesh | None = None,
    placements: Sequence[Placement] | None = None, *, src_data_rank: int | None = 0,
) -> DTensor:  # fmt: skip
    """A tensor that every process has, as a `DTensor`; a leaf, that requires grad as it does.

    The elements are those of the process ``src_data_rank`` on each dim of the mesh; None: each
    process takes its part of its own. RuntimeError for a partial placement, or a tensor that isn't
    a leaf.
    """
    mesh = device_mesh or _default_mesh()
    if isinstance(tensor, DTensor):
        return tensor.redistribute(mesh, placements)
    if not tensor.is_leaf:
        raise RuntimeError("`distribute_tensor` should be used to distribute leaf tensors! but "
                           "found non-leaf tensor!")  # fmt: skip
    found = normalized(mesh, placements, tensor.dim())
    if any(isinstance(p, Partial) for p in found):
        raise RuntimeError("Trying to distribute a leaf tensor but found a Partial placement")
    whole = tensor.detach()
    if src_data_rank is not None:
        whole = whole.contiguous().clone() if mesh.size() > 1 else whole
        for i in range(mesh.ndim):
            if mesh.size(i) > 1:
                dist.broadcast(whole, group=mesh.get_group(i), group_src=src_data_rank)
    spec = Spec(mesh, (Replicate(),) * mesh.ndim, tuple(tensor.shape))
    local = convert(whole, spec, found)
    return wrap(local.detach(), spec.lying(found)).requires_grad_(tensor.requires_grad)


def distribute_module(
    module: Any, device_mesh: DeviceMesh | None = None, partition_fn: Callable | None = None,
    input_fn: Callable | None = None, output_fn: Callable | None = None,
) -> Any:  # fmt: skip
    """Makes a module's parameters and buffers DTensors.

    ``partition_fn(name, module, mesh)`` does it for each submodule; what it leaves is replicated.
    ``input_fn(module, inputs, mesh)`` and ``output_fn(module, outputs, mesh)`` are called around
    the module's forward.
    """
    from taimatsu.nn import Parameter

    mesh = device_mesh or _default_mesh()
    for name, part in list(module.named_modules()):
        if partition_fn is not None:
            partition_fn(name, part, mesh)
        for key, param in list(part.named_parameters(recurse=False)):
            if not isinstance(param, DTensor):
                whole = distribute_tensor(param.detach(), mesh)
                part.register_parameter(key, Parameter(whole, param.requires_grad))
        for key, buffer in list(part.named_buffers(recurse=False)):
            if not isinstance(buffer, DTensor):
                part._buffers[key] = distribute_tensor(buffer, mesh)
    if input_fn is not None:
        module.register_forward_pre_hook(lambda m, inputs: input_fn(m, inputs, mesh))
    if output_fn is not None:
        module.register_forward_hook(lambda m, _, outputs: output_fn(m, outputs, mesh))
    return module
