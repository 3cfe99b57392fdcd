"""How a layer is divided: what becomes of its parameters, its inputs and its outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from taimatsu import Tensor, nn

from ...device_mesh import DeviceMesh
from ...placements import Placement, Replicate, Shard
from .._api import DTensor, distribute_module, distribute_tensor

__all__ = [
    "ColwiseParallel", "ParallelStyle", "PrepareModuleInput", "PrepareModuleInputOutput",
    "PrepareModuleOutput", "RowwiseParallel", "SequenceParallel",
]  # fmt: skip


class ParallelStyle(ABC):
    """A way to divide a module; a subclass defines `_apply`."""

    src_data_rank: int | None = 0

    @abstractmethod
    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module: ...


def _placed(x: Any, mesh: DeviceMesh, given: Placement, wanted: Placement) -> Any:
    """A tensor as a DTensor: what isn't one lies as ``given``; then as ``wanted``."""
    if not isinstance(x, DTensor):
        x = DTensor.from_local(x, mesh, (given,))
    return x if x.placements == (wanted,) else x.redistribute(placements=(wanted,))


def _local(x: Any, mesh: DeviceMesh, wanted: Placement, use_local: bool) -> Any:
    if isinstance(x, DTensor) and x.placements != (wanted,):
        x = x.redistribute(placements=(wanted,))
    return x.to_local() if use_local and isinstance(x, DTensor) else x


class _Layer(ParallelStyle):
    """A layer with one input and one output."""

    enters: Placement  # how the input has to lie

    def __init__(self, input_layouts: Placement, output_layouts: Placement, use_local_output: bool):
        self.input_layouts, self.output_layouts = input_layouts, output_layouts
        self.use_local_output = use_local_output

    def _divide(self, name: str, module: Any, mesh: DeviceMesh) -> None:
        for key, param in list(module.named_parameters(recurse=False)):
            where = self._place(module, key, param)
            whole = distribute_tensor(param.detach(), mesh, [where],
                                      src_data_rank=self.src_data_rank)  # fmt: skip
            module.register_parameter(key, nn.Parameter(whole, param.requires_grad))

    def _place(self, module: Any, key: str, param: Tensor) -> Placement:
        raise NotImplementedError

    def _entering(self, module: Any) -> Placement:
        return self.enters

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def prepare(module: Any, inputs: tuple, mesh: DeviceMesh) -> tuple:
            first = _placed(inputs[0], mesh, self.input_layouts, self._entering(module))
            return first, *inputs[1:]

        def finish(module: Any, outputs: Any, mesh: DeviceMesh) -> Any:
            return _local(outputs, mesh, self.output_layouts, self.use_local_output)

        return distribute_module(module, device_mesh, self._divide, prepare, finish)


class ColwiseParallel(_Layer):
    """A `Linear` or `Embedding` divided by its outputs.

    The input is replicated (``input_layouts`` tells how it comes), the output is divided along its
    last dim (``output_layouts``), and a local tensor unless ``use_local_output`` is False.

    >>> parallelize_module(layer, mesh, ColwiseParallel())  # doctest: +SKIP
    """

    enters = Replicate()

    def __init__(
        self, *, input_layouts: Placement | None = None, output_layouts: Placement | None = None,
        use_local_output: bool = True,
    ):  # fmt: skip
        super().__init__(input_layouts or Replicate(), output_layouts or Shard(-1),
                         use_local_output)  # fmt: skip

    def _place(self, module: Any, key: str, param: Tensor) -> Placement:
        if isinstance(module, nn.Linear):
            return Shard(0)
        if isinstance(module, nn.Embedding):
            return Shard(1)
        raise NotImplementedError("ColwiseParallel currently only support nn.Linear and "
                                  f"nn.Embedding; got {type(module).__name__}")  # fmt: skip


class RowwiseParallel(_Layer):
    """A `Linear` or `Embedding` divided by its inputs.

    The input is divided along its last dim; the output is the sum over the processes, replicated
    or as ``output_layouts`` says.
    """

    def __init__(
        self, *, input_layouts: Placement | None = None, output_layouts: Placement | None = None,
        use_local_output: bool = True,
    ):  # fmt: skip
        super().__init__(input_layouts or Shard(-1), output_layouts or Replicate(),
                         use_local_output)  # fmt: skip

    def _entering(self, module: Any) -> Placement:
        return Shard(-1) if isinstance(module, nn.Linear) else Replicate()

    def _place(self, module: Any, key: str, param: Tensor) -> Placement:
        if isinstance(module, nn.Linear):
            return Shard(1) if key == "weight" else Replicate()
        if isinstance(module, nn.Embedding):
            return Shard(0)
        raise NotImplementedError("RowwiseParallel currently only support nn.Linear and "
                                  f"nn.Embedding; got {type(module).__name__}")  # fmt: skip


class SequenceParallel(_Layer):
    """A norm or dropout whose input is divided along the sequence, the dim ``sequence_dim``."""

    def __init__(self, *, sequence_dim: int = 1, use_local_output: bool = False):
        self.sequence_sharding = self.enters = Shard(sequence_dim)
        super().__init__(self.enters, self.enters, use_local_output)

    def _place(self, module: Any, key: str, param: Tensor) -> Placement:
        return Replicate()


def _each(values: Any) -> tuple:
    return values if isinstance(values, tuple) else (values,)


class _Inputs:
    """Of each input how it comes, and how it has to lie; None for what isn't a tensor."""

    def __init__(self, given: Any, wanted: Any, named: Any, named_wanted: Any, use_local: bool):
        self.given = None if given is None else _each(given)
        self.wanted = None if wanted is None else _each(wanted)
        self.named, self.named_wanted = named or {}, named_wanted or {}
        self.use_local = use_local
        if self.given is not None and (
            self.wanted is None or len(self.given) != len(self.wanted)
        ):
            raise AssertionError(
                "input_layouts and desired_input_layouts should have same length!"
            )

    def _one(self, x: Any, mesh: DeviceMesh, given: Any, wanted: Any) -> Any:
        if given is None or wanted is None or not isinstance(x, Tensor):
            return x
        x = _placed(x, mesh, given, wanted)
        return x.to_local() if self.use_local else x

    def __call__(self, inputs: tuple, kwargs: dict, mesh: DeviceMesh) -> tuple[tuple, dict]:
        if self.given is not None:
            if len(inputs) != len(self.given):
                raise ValueError("module inputs and input_layouts should have same length!")
            layouts = zip(inputs, self.given, self.wanted or (), strict=True)
            inputs = tuple(self._one(x, mesh, g, w) for x, g, w in layouts)
        return inputs, {
            k: self._one(v, mesh, self.named.get(k), self.named_wanted.get(k))
            for k, v in kwargs.items()
        }


class PrepareModuleInput(ParallelStyle):
    """Puts a module's inputs as they have to lie, before its forward."""

    def __init__(
        self, *, input_layouts: Any = None, desired_input_layouts: Any = None,
        input_kwarg_layouts: dict[str, Placement] | None = None,
        desired_input_kwarg_layouts: dict[str, Placement] | None = None,
        use_local_output: bool = False,
    ):  # fmt: skip
        self._inputs = _Inputs(input_layouts, desired_input_layouts, input_kwarg_layouts,
                               desired_input_kwarg_layouts, use_local_output)  # fmt: skip

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        module.register_forward_pre_hook(
            lambda m, inputs, kwargs: self._inputs(inputs, kwargs, device_mesh), with_kwargs=True
        )
        return module


class PrepareModuleOutput(ParallelStyle):
    """Puts a module's outputs as they have to lie, after its forward."""

    def __init__(
        self, *, output_layouts: Any, desired_output_layouts: Any, use_local_output: bool = True
    ):
        self.given, self.wanted = _each(output_layouts), _each(desired_output_layouts)
        self.use_local = use_local_output
        if len(self.given) != len(self.wanted):
            raise AssertionError(
                "output_layouts and desired_output_layouts should have same length!"
            )

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def finish(m: Any, inputs: Any, outputs: Any) -> Any:
            values = outputs if isinstance(outputs, tuple) else (outputs,)
            if len(values) != len(self.given):
                raise ValueError("module outputs and output_layouts should have same length!")
            results = tuple(
                x if g is None else self._one(x, device_mesh, g, w)
                for x, g, w in zip(values, self.given, self.wanted, strict=True)
            )
            return results if isinstance(outputs, tuple) else results[0]

        module.register_forward_hook(finish)
        return module

    def _one(self, x: Any, mesh: DeviceMesh, given: Placement, wanted: Placement) -> Any:
        return _local(_placed(x, mesh, given, wanted), mesh, wanted, self.use_local)


class PrepareModuleInputOutput(ParallelStyle):
    """`PrepareModuleInput` and `PrepareModuleOutput`."""

    def __init__(
        self, *, input_layouts: Any = None, desired_input_layouts: Any = None,
        input_kwarg_layouts: dict[str, Placement] | None = None,
        desired_input_kwarg_layouts: dict[str, Placement] | None = None,
        use_local_input: bool = False, output_layouts: Any, desired_output_layouts: Any,
        use_local_output: bool = True,
    ):  # fmt: skip
        self.parts: tuple[ParallelStyle, ...] = (
            PrepareModuleInput(
                input_layouts=input_layouts, desired_input_layouts=desired_input_layouts,
                input_kwarg_layouts=input_kwarg_layouts,
                desired_input_kwarg_layouts=desired_input_kwarg_layouts,
                use_local_output=use_local_input,
            ),
            PrepareModuleOutput(
                output_layouts=output_layouts, desired_output_layouts=desired_output_layouts,
                use_local_output=use_local_output,
            ),
        )  # fmt: skip

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        for part in self.parts:
            part._apply(module, device_mesh)
        return module
