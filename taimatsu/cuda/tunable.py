"""``cuda.tunable``: PyTorch's search for the quickest of a library's matrix products.

Here cuBLASLt's own choice is kept for each product, and `backends.cuda` says what it may round. So
settings are remembered for programs that make them, and there are no results.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "enable", "get_filename", "get_max_tuning_duration", "get_max_tuning_iterations", "get_results",
    "get_rotating_buffer_size", "get_validators", "is_enabled", "mgpu_tune_gemm_in_file",
    "read_file", "record_untuned_enable", "record_untuned_is_enabled", "set_filename",
    "set_max_tuning_duration", "set_max_tuning_iterations", "set_numerical_check_tolerances",
    "set_rotating_buffer_size", "tune_gemm_in_file", "tuning_enable", "tuning_is_enabled",
]  # fmt: skip

_settings: dict[str, Any] = {}


def _pair(setter: str, getter: str, otherwise: Any, what: str) -> tuple[Any, Any]:
    def set_to(value: Any = True) -> None:
        _settings[getter] = value

    def get() -> Any:
        return _settings.get(getter, otherwise)

    set_to.__name__ = set_to.__qualname__ = setter
    get.__name__ = get.__qualname__ = getter
    set_to.__doc__ = f"Remembers {what}; nothing is tuned."
    get.__doc__ = f"{what[0].upper()}{what[1:]}, as it was set."
    return set_to, get


enable, is_enabled = _pair("enable", "is_enabled", False, "whether tuned products are used")
tuning_enable, tuning_is_enabled = _pair(
    "tuning_enable", "tuning_is_enabled", True, "whether products are tuned"
)
record_untuned_enable, record_untuned_is_enabled = _pair(
    "record_untuned_enable", "record_untuned_is_enabled", False,
    "whether products that are not tuned are written down",
)  # fmt: skip
set_max_tuning_duration, get_max_tuning_duration = _pair(
    "set_max_tuning_duration", "get_max_tuning_duration", 30, "the milliseconds for a product"
)
set_max_tuning_iterations, get_max_tuning_iterations = _pair(
    "set_max_tuning_iterations", "get_max_tuning_iterations", 100, "the tries for a product"
)
set_rotating_buffer_size, get_rotating_buffer_size = _pair(
    "set_rotating_buffer_size", "get_rotating_buffer_size", 0, "the MiB between tries"
)


def set_filename(filename: str, insert_device_ordinal: bool = False) -> None:
    """Remembers where results would be; none are written."""
    _settings["filename"] = filename


def get_filename() -> str:
    """What `set_filename` has set."""
    return _settings.get("filename", "tunableop_results.csv")


def set_numerical_check_tolerances(enable: bool, atol: float = 1e-5, rtol: float = 1e-5) -> None:
    """Kept for programs that call it."""


def get_results() -> tuple:
    """None: the empty tuple."""
    return ()


def get_validators() -> tuple:
    """None: the empty tuple."""
    return ()


def read_file(filename: str | None = None) -> bool:
    """False: there are no results to use."""
    return False


def tune_gemm_in_file(filename: str) -> None:
    """Kept for programs that call it: nothing is tuned."""


def mgpu_tune_gemm_in_file(filename_pattern: str, num_gpus: int) -> None:
    """Kept for programs that call it: nothing is tuned."""
