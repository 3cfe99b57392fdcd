"""Parameters that lie in parts on the processes, and are whole where a module needs them.

A `Sharded` holds the parameters of one `fully_shard` call. Around the module's forward they are
gathered, by a Function whose backward reduces the gradients and gives each process its part. What
backward needs of gathered parameters isn't kept, but gathered again (`saved_tensors_hooks`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core, nn
from taimatsu.autograd import Function
from taimatsu.autograd.graph import saved_tensors_hooks
from taimatsu.utils._pytree import tree_map_only

from .. import collectives as dist
from ..device_mesh import DeviceMesh
from ..placements import Replicate, Shard
from ..tensor._api import DTensor, distribute_tensor

__all__ = ["Sharded"]


class Sharded:
    """The parameters of some modules, in parts along the last dim of a mesh."""

    def __init__(
        self, modules: Sequence[nn.Module], mesh: DeviceMesh, reshard: bool, mixed: Any,
        place: Callable | None, ignored: set, skip: Callable[[nn.Module], bool],
    ):  # fmt: skip
        self.mesh, self.reshard_after_forward, self.mixed = mesh, reshard, mixed
        self.group = mesh.get_group(mesh.ndim - 1)
        self.replicas = mesh.get_group(0) if mesh.ndim == 2 else None
        self.requires_sync = self.requires_all_reduce = True
        self.divide_factor: float | None = None
        self.places: list[list[tuple[nn.Module, str]]] = []  # of each parameter
        self.params: list[Any] = []
        self.full: list[Tensor] | None = None
        self.pending: list[Tensor | None] = []
        self.kept = False  # by `unshard`, until `reshard`
        self.in_backward = False
        self._collect(modules, place, ignored, skip)

    def _collect(self, modules: Sequence[nn.Module], place: Any, ignored: set, skip: Any) -> None:
        known: dict[int, int] = {}
        found: list[Any] = []

        def visit(module: nn.Module) -> None:
            for name, param in module._parameters.items():
                if param is None or param in ignored:
                    continue
                if id(param) not in known:
                    known[id(param)] = len(found)
                    found.append(param)
                    self.places.append([])
                self.places[known[id(param)]].append((module, name))
            for child in module.children():
                if not skip(child):
                    visit(child)

        for module in modules:
            visit(module)
        self.params = [self._divided(p, place) for p in found]
        self.pending = [None] * len(found)
        self._put(self.params)

    def _divided(self, param: Any, place: Callable | None) -> Any:
        if isinstance(param, DTensor):
            raise NotImplementedError(
                "fully_shard: a parameter is a DTensor already; apply fully_shard before "
                "parallelize_module, or to parts that it leaves alone"
            )
        where = (place and place(param)) or Shard(0)
        where = Shard(where.dim % param.dim()) if param.dim() else Replicate()
        placements = [Replicate()] * (self.mesh.ndim - 1) + [where]
        whole = distribute_tensor(param.detach(), self.mesh, placements, src_data_rank=None)
        local = whole._local_tensor.clone()  # its own memory: that of the whole is given back
        made = nn.Parameter(DTensor.from_local(local, self.mesh, placements, shape=param.shape),
                            param.requires_grad)  # fmt: skip
        return made

    def _put(self, tensors: Sequence[Any]) -> None:
        """As what the modules see."""
        for places, tensor in zip(self.places, tensors, strict=True):
            for module, name in places:
                module._parameters[name] = tensor

    # ---- flat buffers
    def _dim(self, i: int) -> int | None:
        p = self.params[i].placements[-1]
        return p.dim if isinstance(p, Shard) else None

    def _rows(self, i: int) -> tuple[int, list[int]]:
        """Of a parameter the rows of each part, the last ones filled up, and a row's sizes."""
        sizes = list(self.params[i].shape)
        dim = self._dim(i)
        if dim is None:
            return 1, sizes
        rows = sizes.pop(dim)
        return -(-rows // self.group.size()), sizes

    def _padded(self, x: Tensor, i: int, rows: int) -> Tensor:
        dim = self._dim(i)
        x = x.unsqueeze(0) if dim is None else x.movedim(dim, 0)
        if x.shape[0] < rows:
            x = torch.cat([x, x.new_zeros(rows - x.shape[0], *x.shape[1:])])
        return x.reshape(-1)

    def _dtypes(self, dtype: Any) -> dict[Any, list[int]]:
        found: dict[Any, list[int]] = {}
        for i, p in enumerate(self.params):
            cast = dtype if dtype is not None and p.dtype.is_floating_point else p.dtype
            found.setdefault(cast, []).append(i)
        return found

    @torch.no_grad()
    def gathered(self) -> list[Tensor]:
        """The whole parameters, in the dtype of computing."""
        whole: list[Any] = [None] * len(self.params)
        n = self.group.size()
        for dtype, members in self._dtypes(self.mixed.param_dtype).items():
            mine = torch.cat([
                self._padded(self.params[i]._local_tensor.detach().to(dtype), i, self._rows(i)[0])
                for i in members
            ])  # fmt: skip
            everywhere = mine.new_empty(n * mine.numel())
            dist.all_gather_into_tensor(everywhere, mine, group=self.group)
            by_rank, at = everywhere.view(n, -1), 0
            for i in members:
                rows, sizes = self._rows(i)
                length = rows * torch.Size(sizes).numel()
                part, dim = by_rank[:, at : at + length], self._dim(i)
                at += length
                if dim is None:
                    whole[i] = part[0].reshape(sizes).clone()
                else:
                    stacked = part.reshape(n * rows, *sizes)[: self.params[i].shape[dim]]
                    whole[i] = stacked.movedim(0, dim).contiguous().clone()
        return whole

    def reduced(self, grads: Sequence[Tensor]) -> list[Tensor]:
        """Each process's part of the averages of gradients."""
        parts: list[Any] = [None] * len(grads)
        n = self.group.size()
        for dtype, members in self._dtypes(self.mixed.reduce_dtype).items():
            columns = [
                self._padded(grads[i].to(dtype), i, n * self._rows(i)[0]).view(n, -1)
                if self._dim(i) is not None else grads[i].to(dtype).reshape(1, -1).expand(n, -1)
                for i in members
            ]  # fmt: skip
            flat = torch.cat(columns, 1)
            mine = flat.new_empty(flat.shape[1])
            dist.reduce_scatter_tensor(mine, flat.reshape(-1), group=self.group)
            count = n
            if self.replicas is not None and self.requires_all_reduce:
                dist.all_reduce(mine, group=self.replicas)
                count *= self.replicas.size()
            mine.div_(self.divide_factor or count)
            at = 0
            for i in members:
                rows, sizes = self._rows(i)
                length = rows * torch.Size(sizes).numel()
                part, dim = mine[at : at + length], self._dim(i)
                at += length
                local = self.params[i]._local_tensor
                if dim is None:
                    shaped = part.reshape(local.shape)
                else:
                    shaped = part.reshape(rows, *sizes)[: local.shape[dim]].movedim(0, dim)
                parts[i] = shaped.to(local.dtype).contiguous()
        return parts

    # ---- whole for a while
    def unshard(self) -> list[Tensor]:
        """Gathers the parameters, unless they are whole."""
        if self.full is None:
            self.full = self.gathered()
        return self.full

    def reshard(self) -> None:
        """Gives the whole ones back."""
        self.full, self.kept, self.in_backward = None, False, False
        self._put(self.params)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """The module's forward: its parameters are whole inside."""
        locals_ = [p._local_tensor for p in self.params]
        if not locals_:
            yield
            return
        with contextlib.ExitStack() as stack:
            tensors = _Gather.apply(self, *locals_)
            tensors = tensors if isinstance(tensors, tuple) else (tensors,)
            if self.reshard_after_forward and torch.is_grad_enabled():
                stack.enter_context(self._hooks(tensors))
            self._put(tensors)
            try:
                yield
            finally:
                self._put(self.params if not self.kept else self._whole_parameters())
                if self.reshard_after_forward and not self.kept:
                    self.full = None

    def _whole_parameters(self) -> list[Any]:
        return [
            nn.Parameter(t, p.requires_grad)
            for t, p in zip(self.full or (), self.params, strict=True)
        ]

    def _hooks(self, tensors: Sequence[Tensor]) -> saved_tensors_hooks:
        addresses = {t.untyped_storage().data_ptr(): i for i, t in enumerate(tensors) if t.numel()}

        def pack(t: Tensor) -> Any:
            i = addresses.get(t.untyped_storage().data_ptr()) if t.numel() else None
            return t if i is None else (i, t.shape, t.stride(), t.storage_offset())

        def unpack(kept: Any) -> Tensor:
            if isinstance(kept, Tensor):
                return kept
            i, *layout = kept
            self.before_backward()
            return self.unshard()[i].as_strided(*layout)

        return saved_tensors_hooks(pack, unpack)

    def watch(self, outputs: Any) -> Any:
        """Has the parameters whole again when the backward pass reaches the outputs."""

        def hooked(t: Tensor) -> Tensor:
            if t.requires_grad:
                t.register_hook(lambda g: self.before_backward())
            return t

        return tree_map_only(Tensor, hooked, outputs)

    def before_backward(self) -> None:
        """Gathers: for what backward needs, and what checkpoints compute again."""
        if not (self.kept or self.in_backward) and _core.current_backward():
            self.in_backward = True
            self._put(self._leaves(self.unshard()))
            _core.queue_callback(self.reshard)

    def _leaves(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [
            t.detach().requires_grad_(p.requires_grad)
            for t, p in zip(tensors, self.params, strict=True)
        ]


class _Gather(Function):
    """From this process's parts to the whole parameters; back, the parts of reduced gradients."""

    @staticmethod
    def forward(ctx, state, *parts):
        ctx.state = state
        ctx.set_materialize_grads(False)
        return tuple(t.detach() for t in state.unshard())

    @staticmethod
    def backward(ctx, *grads):
        state: Sharded = ctx.state
        if all(g is None for g in grads):
            return (None, *grads)
        whole = []
        for g, before in zip(grads, state.pending, strict=True):
            if before is not None:
                g = before if g is None else before + g
            whole.append(g)
        if not state.requires_sync:
            state.pending = whole
            return (None, *(None for _ in grads))
        state.pending = [None] * len(whole)
        filled = [
            p._local_tensor.new_zeros(p.shape) if g is None else g
            for g, p in zip(whole, state.params, strict=True)
        ]
        parts = state.reduced(filled)
        if not state.kept:
            state.reshard()
        return (None, *(
            part if p.requires_grad else None
            for part, p in zip(parts, state.params, strict=True)
        ))  # fmt: skip
