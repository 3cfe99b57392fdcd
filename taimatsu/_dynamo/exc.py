"""Errors of graph capture, for programs that catch them."""

__all__ = ["BackendCompilerFailed", "TorchDynamoException", "Unsupported"]


class TorchDynamoException(RuntimeError):
    """Any error of graph capture."""


class Unsupported(TorchDynamoException):
    """Python that can't be captured."""


class BackendCompilerFailed(TorchDynamoException):
    """An error of a backend."""
