"""Errors of exports, for programs that catch them."""

__all__ = ["OnnxExporterError", "OnnxExporterWarning", "UnsupportedOperatorError"]


class OnnxExporterWarning(UserWarning):
    """A warning of an export."""


class OnnxExporterError(RuntimeError):
    """An error of an export."""


class UnsupportedOperatorError(OnnxExporterError):
    """An op that ONNX doesn't have."""
