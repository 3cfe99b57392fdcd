"""``python -m taimatsu.utils.collect_env``: what to tell in a bug report."""

from __future__ import annotations

import platform
import sys
from importlib import import_module, metadata

from taimatsu.version import __version__

__all__ = ["get_pretty_env_info", "main"]


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def get_pretty_env_info() -> str:
    """Versions, the machine, and what the build consists of, as text."""
    config = import_module("taimatsu.__config__")
    lines = [
        f"Taimatsu version: {__version__}",
        f"OS: {platform.platform()}",
        f"Python version: {sys.version}",
        f"CPU: {platform.processor() or platform.machine()}",
        *(f"{package}: {_installed(package)}" for package in ("numpy", "llvmlite")),
        config.show(),
        config.parallel_info(),
    ]
    return "\n".join(lines)


def main() -> None:
    """Prints it."""
    print(get_pretty_env_info())


if __name__ == "__main__":
    main()
