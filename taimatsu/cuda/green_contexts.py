"""``cuda.green_contexts``: parts of a GPU's multiprocessors, which are not offered."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["GreenContext"]


class GreenContext:
    """A part of a GPU. RuntimeError: all of a GPU's multiprocessors are one context's here."""

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(
            "GreenContext: contexts of a part of a GPU are not supported; streams of a higher "
            "priority (torch.cuda.Stream(priority=-1)) let some work go first"
        )

    @classmethod
    def create(cls, **kwargs: Any) -> NoReturn:
        """RuntimeError: see the class."""
        cls()

    @staticmethod
    def max_workqueue_concurrency(device_id: int | None = None) -> NoReturn:
        """RuntimeError: see the class."""
        GreenContext()
