"""``backends.mkl``: Intel's MKL, which isn't used; linear algebra is OpenBLAS's."""

from __future__ import annotations

__all__ = ["VERBOSE_OFF", "VERBOSE_ON", "is_available", "verbose"]

VERBOSE_OFF, VERBOSE_ON = 0, 1


def is_available() -> bool:
    """False."""
    return False


class verbose:
    """A context in which MKL reports its calls. RuntimeError on entering: there is none."""

    def __init__(self, enable: int):
        self.enable = enable

    def __enter__(self) -> verbose:
        if self.enable != VERBOSE_OFF:
            raise RuntimeError("mkl.verbose: this build uses OpenBLAS, not MKL")
        return self

    def __exit__(self, *exc: object) -> None:
        pass
