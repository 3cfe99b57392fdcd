"""Tensors that only know sizes and dtype: here those on the ``meta`` device, of no class of their
own. The names are for `isinstance` and annotations."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["FakeTensor", "FakeTensorMode", "is_fake"]


class FakeTensor:
    """A tensor without data, in PyTorch's compiler: there are none."""


class FakeTensorMode:
    """A context of fake tensors. NotImplementedError: use ``torch.device("meta")`` instead."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise NotImplementedError(
            "FakeTensorMode: make tensors in `with torch.device('meta')`, which have no data"
        )


def is_fake(x: Any) -> bool:
    """Whether a tensor is a `FakeTensor`: False."""
    return False
