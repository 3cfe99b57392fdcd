"""The classes of ``torch.ops``, by the name that programs import them from."""

from __future__ import annotations

from ._op_namespaces import OpOverload, OpOverloadPacket

__all__ = ["OpOverload", "OpOverloadPacket"]
