"""``backends.quantized``: libraries of quantized kernels: none."""

engine = "none"
supported_engines = ["none"]
