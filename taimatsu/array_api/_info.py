"""What the namespace can do, as the standard has it asked."""

from __future__ import annotations

from typing import Any

import taimatsu as torch

from ._promotion import KINDS, isdtype


class __array_namespace_info__:
    """Capabilities, devices and dtypes.

    >>> x = torch.ones(1)
    >>> x.__array_namespace__().__array_namespace_info__().default_dtypes()["real floating"]
    torch.float32
    """

    def capabilities(self) -> dict[str, Any]:
        """Boolean indexing and results whose sizes depend on data are there."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Any:
        """Where new tensors are."""
        return torch.get_default_device()

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:
        """The dtypes of new tensors."""
        real = torch.get_default_dtype()
        return {
            "real floating": real,
            "complex floating": torch.promote_types(real, torch.complex64),
            "integral": torch.int64,
            "indexing": torch.int64,
        }

    def devices(self) -> list[Any]:
        """The devices that are there."""
        cards = range(torch.cuda.device_count())
        return [torch.device("cpu"), *(torch.device("cuda", i) for i in cards)]

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:
        """The standard's dtypes by name, or those of a kind."""
        every = (*KINDS["bool"], *KINDS["numeric"])
        return {str(d).split(".")[1]: d for d in every if kind is None or isdtype(d, kind)}
