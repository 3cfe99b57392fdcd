"""`CheckpointException`."""

from __future__ import annotations

__all__ = ["CheckpointException"]


class CheckpointException(BaseException):
    """What went wrong in some of the processes, by rank."""

    def __init__(self, msg: str, failures: dict[int, BaseException]):
        super().__init__(msg, failures)
        self._failures = failures

    @property
    def failures(self) -> dict[int, BaseException]:
        """The errors."""
        return self._failures

    def __str__(self) -> str:
        ranks = ", ".join(f"rank {r}: {type(e).__name__}: {e}" for r, e in self._failures.items())
        return f"CheckpointException ranks:{list(self._failures)}\n{ranks}"
