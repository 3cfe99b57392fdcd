"""The version, read by the build and shown as `taimatsu.__version__`; what the build has."""

__version__ = "0.1.0"
torch_api = "2.13.0"  # the release of PyTorch whose documented behaviour this one follows

# Toolkits that PyTorch's builds are made with. Here none: drivers are found when a program runs.
cuda = hip = rocm = xpu = None
debug = False
git_version = "unknown"
