"""`DistributedDataParallel`: each process has the model and its part of the data."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import taimatsu as torch
from taimatsu.nn.module import Module

__all__ = ["DistributedDataParallel"]


class GradBucket:
    """Gradients that are averaged together, flat, as a communication hook gets them."""

    def __init__(self, index: int, buffer: Any, parameters: list[Any], last: bool):
        self._index, self._buffer, self._parameters, self._last = index, buffer, parameters, last

    def index(self) -> int:
        """Which bucket it is."""
        return self._index

    def buffer(self) -> Any:
        """The gradients, one after another."""
        return self._buffer

    def set_buffer(self, tensor: Any) -> None:
        """Replaces them."""
        self._buffer = tensor

    def parameters(self) -> list[Any]:
        """Whose they are."""
        return self._parameters

    def gradients(self) -> list[Any]:
        """Views of the buffer by parameter."""
        parts = self._buffer.split([p.numel() for p in self._parameters])
        return [g.view(p.shape) for g, p in zip(parts, self._parameters, strict=True)]

    def is_last(self) -> bool:
        """Whether it is the last one."""
        return self._last


class DistributedDataParallel(Module):
    """A module trained by several processes: gradients are averaged over them in `backward`.

    Parameters and buffers are those of rank 0 at first; buffers again in each training step's
    forward (``broadcast_buffers``). Gradients are averaged in buckets of ``bucket_cap_mb`` as soon
    as they are there, while backward goes on. ``find_unused_parameters``: parameters that the
    output doesn't depend on are allowed; without it, RuntimeError in the next forward.

    >>> model = nn.parallel.DistributedDataParallel(model)  # doctest: +SKIP
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0,
        broadcast_buffers: bool = True, init_sync: bool = True, process_group: Any = None,
        bucket_cap_mb: float | None = None, find_unused_parameters: bool = False,
        check_reduction: bool = False, gradient_as_bucket_view: bool = False,
        static_graph: bool = False, delay_all_reduce_named_params: Any = None,
        param_to_hook_all_reduce: Any = None, mixed_precision: Any = None,
        device_mesh: Any = None, skip_all_reduce_unused_params: bool = False,
    ):  # fmt: skip
        import taimatsu.distributed as dist

        super().__init__()
        trained = [p for p in module.parameters() if p.requires_grad]
        if not trained:
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter "
                "that requires a gradient."
            )
        if device_ids:
            raise ValueError(
                "DistributedDataParallel device_ids and output_device arguments only work with "
                "single-device GPU modules; leave them out on the CPU"
            )
        self.module, self.device = module, trained[0].device
        self.process_group = process_group or dist.group.WORLD
        if self.process_group is None:
            dist.get_rank()  # says that there are no groups
        self.device_ids, self.output_device, self.dim = None, None, dim
        self.static_graph, self.gradient_as_bucket_view = static_graph, gradient_as_bucket_view
        self.broadcast_buffers = broadcast_buffers
        self.find_unused_parameters = find_unused_parameters or static_graph
        self.require_backward_grad_sync = True
        self._hook: tuple[Any, Callable] | None = None
        self._check(trained)
        if init_sync:
            self._from_first(list(module.parameters()))
            self._from_first(list(module.buffers()))
        limit = int((25 if bucket_cap_mb is None else bucket_cap_mb) * 2**20)
        self._buckets = list(_buckets(trained[::-1], limit))
        self._place = {id(p): i for i, bucket in enumerate(self._buckets) for p in bucket}
        self._handles = [p.register_post_accumulate_grad_hook(self._arrived) for p in trained]
        self._in_backward, self._missing = False, ""
        self._reset()

    def _check(self, parameters: list[Any]) -> None:
        import taimatsu.distributed as dist

        shapes: list[Any] = []
        mine = [tuple(p.shape) for p in parameters]
        dist.all_gather_object(shapes, mine, self.process_group)
        if any(s != mine for s in shapes):
            raise RuntimeError(
                f"DDP expects same model across all ranks, but Rank {dist.get_rank()} has "
                f"{len(mine)} params, while others have {[len(s) for s in shapes]}, or of "
                "other sizes."
            )

    def _from_first(self, tensors: list[Any]) -> None:
        with torch.no_grad():
            for tensor in tensors:
                on = self.process_group.on(tensor)
                on.submit(lambda t=tensor, on=on: on.spread(t, 0)).wait()

    # ---- Forward
    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's."""
        synced = torch.is_grad_enabled() and self.require_backward_grad_sync
        if synced and self._join_config is not None:
            self._join_config.notify_join_context(self)
        if synced and self._missing:
            raise RuntimeError(self._missing)
        if self.broadcast_buffers and self.training and self.require_backward_grad_sync:
            self._from_first(list(self.module.buffers()))
        return self.module(*inputs, **kwargs)

    # ---- Data of different lengths
    _join_config: Any = None

    def join(
        self, divide_by_initial_world_size: bool = True, enable: bool = True,
        throw_on_early_termination: bool = False,
    ) -> Any:  # fmt: skip
        """A context in which processes may have data of different lengths: `Join` of this module.

        NotImplementedError for averages over those that have data left.
        """
        from taimatsu.distributed.algorithms.join import Join

        if not divide_by_initial_world_size:
            raise NotImplementedError(
                "DistributedDataParallel.join: gradients are divided by the number of all "
                "processes; leave divide_by_initial_world_size=True"
            )
        joinable: Any = self
        return Join([joinable], enable, throw_on_early_termination)

    def join_hook(self, **kwargs: Any) -> Any:
        """What `Join` does for this module in a process without data."""
        from taimatsu.distributed.algorithms.join import JoinHook

        class Hook(JoinHook):
            def main_hook(hook) -> None:
                self._take_part()

            def post_hook(hook, is_last_joiner: bool) -> None:
                self._from_last(is_last_joiner)

        return Hook()

    @property
    def join_device(self) -> Any:
        """The parameters' device."""
        return self.device

    @property
    def join_process_group(self) -> Any:
        """The processes among which gradients are averaged."""
        return self.process_group

    def _take_part(self) -> None:
        """The collectives of a step, without gradients."""
        if self.broadcast_buffers and self.training:
            self._from_first(list(self.module.buffers()))
        for index, parameters in enumerate(self._buckets):
            flat = torch.cat([torch.zeros_like(p).detach().reshape(-1) for p in parameters])
            self._reduce(self._bucket(index, flat)).wait()
        if self.find_unused_parameters:
            self._used_anywhere([p for bucket in self._buckets for p in bucket])

    def _from_last(self, last: bool) -> None:
        """Takes the parameters of a process that had data to the end."""
        who = torch.tensor([self.process_group.rank() if last else -1], device=self.device)
        on = self.process_group.on(who)
        on.submit(lambda: on.reduce_all(who, 4)).wait()  # the largest
        with torch.no_grad():
            for tensor in (*self.module.parameters(), *self.module.buffers()):
                at = self.process_group.on(tensor)
                at.submit(lambda t=tensor, at=at: at.spread(t, int(who))).wait()

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """A context in which gradients accumulate in each process by itself."""
        before = self.require_backward_grad_sync
        self.require_backward_grad_sync = False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def _get_ddp_logging_data(self) -> dict[str, Any]:
        return {"world_size": self.process_group.size(), "rank": self.process_group.rank()}

    def register_comm_hook(self, state: Any, hook: Callable) -> None:
        """``hook(state, bucket)`` averages a bucket instead, and gives a Future of the result."""
        if self._hook is not None:
            raise RuntimeError("register_comm_hook can only be called once.")
        self._hook = state, hook

    # ---- Backward
    def _reset(self) -> None:
        self._left = [{id(p) for p in bucket} for bucket in self._buckets]
        self._started: list[tuple[GradBucket, Any]] = []
        self._in_backward = False

    def _arrived(self, parameter: Any) -> None:
        if not self.require_backward_grad_sync:
            return
        if not self._in_backward:
            self._in_backward = True
            torch.autograd.Variable._execution_engine.queue_callback(self._finish)
        self._left[self._place[id(parameter)]].discard(id(parameter))
        self._start()

    def _start(self) -> None:
        """Averages the next buckets that are complete: in the same order in all processes."""
        while len(self._started) < len(self._buckets) and not self._left[len(self._started)]:
            self._average(len(self._started))

    def _average(self, index: int) -> None:
        parameters = self._buckets[index]
        with torch.no_grad():
            flat = torch.cat([
                (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters
            ])  # fmt: skip
        bucket = self._bucket(index, flat)
        self._started.append((bucket, self._reduce(bucket)))

    def _bucket(self, index: int, flat: Any) -> GradBucket:
        return GradBucket(index, flat, self._buckets[index], index + 1 == len(self._buckets))

    def _reduce(self, bucket: GradBucket) -> Any:
        """The average of a bucket's gradients over the processes: a Future."""
        if self._hook is not None:
            state, hook = self._hook
            return hook(state, bucket)
        flat = bucket.buffer()
        on = self.process_group.on(flat)
        return on.submit(lambda: on.reduce_all(flat.div_(on.size()), 0)).get_future()

    def _finish(self) -> None:
        unused = [p for bucket, left in zip(self._buckets, self._left, strict=True)
                  for p in bucket if id(p) in left]  # fmt: skip
        if unused and not self.find_unused_parameters:
            self._missing = (
                "Expected to have finished reduction in the prior iteration before starting a new "
                f"one: {len(unused)} parameters were not used in producing loss. Pass "
                "find_unused_parameters=True to DistributedDataParallel, and see that all "
                "outputs of forward take part in the loss"
            )
        while len(self._started) < len(self._buckets):
            self._average(len(self._started))
        used = self._used_anywhere(unused) if self.find_unused_parameters else set()
        with torch.no_grad():
            for bucket, future in self._started:
                result = future.wait()
                bucket.set_buffer(result[0] if isinstance(result, list) else result)
                for p, gradient in zip(bucket.parameters(), bucket.gradients(), strict=True):
                    if p.grad is not None:
                        p.grad.copy_(gradient)
                    elif id(p) in used:
                        p.grad = gradient.clone()
        self._reset()

    def _used_anywhere(self, unused: list[Any]) -> set[int]:
        """Of the parameters that had no gradient here, those that had one in some process."""
        parameters = [p for bucket in self._buckets for p in bucket]
        here = {id(p) for p in unused}
        flags = torch.tensor([id(p) not in here for p in parameters], dtype=torch.int32,
                             device=parameters[0].device)  # fmt: skip
        on = self.process_group.on(flags)
        on.submit(lambda: on.reduce_all(flags, 0)).wait()
        return {id(p) for p, n in zip(parameters, flags.tolist(), strict=True) if n}


def _buckets(parameters: list[Any], limit: int) -> typing.Iterator[list[Any]]:
    """Parameters, the last ones first, in lists of one dtype of so many bytes."""
    bucket: list[Any] = []
    size = 0
    for p in parameters:
        if bucket and (size >= limit or p.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(p)
        size += p.numel() * p.element_size()
    yield bucket
