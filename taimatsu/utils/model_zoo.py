"""``utils.model_zoo``: the old place of `hub.load_state_dict_from_url`."""

from __future__ import annotations

from typing import Any

from taimatsu.hub import load_state_dict_from_url as load_url

__all__ = ["load_url"]


def __getattr__(name: str) -> Any:
    if name == "tqdm":  # other packages import it from here
        from tqdm import tqdm

        return tqdm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
