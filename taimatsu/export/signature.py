"""What the inputs and outputs of an exported graph are."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ExportGraphSignature", "InputKind", "InputSpec", "OutputKind", "OutputSpec"]


class InputKind(enum.Enum):
    """Where an input comes from."""

    USER_INPUT = enum.auto()
    PARAMETER = enum.auto()
    BUFFER = enum.auto()
    CONSTANT_TENSOR = enum.auto()


class OutputKind(enum.Enum):
    """What an output is for."""

    USER_OUTPUT = enum.auto()


@dataclass
class InputSpec:
    """An input: the placeholder's name, and the parameter's, buffer's or constant's."""

    kind: InputKind
    name: str
    target: str | None = None
    persistent: bool | None = None


@dataclass
class OutputSpec:
    """An output: the node's name, or a number."""

    kind: OutputKind
    name: Any


@dataclass
class ExportGraphSignature:
    """The inputs of a graph in order, then its outputs."""

    input_specs: list[InputSpec] = field(default_factory=list)
    output_specs: list[OutputSpec] = field(default_factory=list)

    def _inputs(self, kind: InputKind) -> dict[str, Any]:
        return {spec.name: spec.target for spec in self.input_specs if spec.kind is kind}

    @property
    def inputs_to_parameters(self) -> dict[str, str]:
        """Parameters by their placeholders."""
        return self._inputs(InputKind.PARAMETER)

    @property
    def inputs_to_buffers(self) -> dict[str, str]:
        """Buffers by their placeholders."""
        return self._inputs(InputKind.BUFFER)

    @property
    def inputs_to_lifted_tensor_constants(self) -> dict[str, str]:
        """Constants by their placeholders."""
        return self._inputs(InputKind.CONSTANT_TENSOR)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters' names."""
        return tuple(self.inputs_to_parameters.values())

    @property
    def buffers(self) -> tuple[str, ...]:
        """The buffers' names."""
        return tuple(self.inputs_to_buffers.values())

    @property
    def lifted_tensor_constants(self) -> tuple[str, ...]:
        """The constants' names."""
        return tuple(self.inputs_to_lifted_tensor_constants.values())

    @property
    def user_inputs(self) -> tuple[str, ...]:
        """The placeholders of what a call is given."""
        return tuple(self._inputs(InputKind.USER_INPUT))

    @property
    def user_outputs(self) -> tuple[Any, ...]:
        """What a call gives."""
        return tuple(spec.name for spec in self.output_specs)
