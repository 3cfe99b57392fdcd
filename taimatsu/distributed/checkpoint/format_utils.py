"""From checkpoints of several files to one of `save`, and back."""

from __future__ import annotations

import os

import taimatsu as torch

from .default_planner import _EmptyStateDictLoadPlanner
from .state_dict_loader import _load_state_dict_from_keys
from .state_dict_saver import save

__all__ = ["_EmptyStateDictLoadPlanner", "dcp_to_torch_save", "torch_save_to_dcp"]


def dcp_to_torch_save(dcp_checkpoint_dir: str | os.PathLike, torch_save_path: str | os.PathLike):
    """Writes what a folder holds into one file, as `taimatsu.save` does."""
    torch.save(_load_state_dict_from_keys(checkpoint_id=dcp_checkpoint_dir), torch_save_path)


def torch_save_to_dcp(torch_save_path: str | os.PathLike, dcp_checkpoint_dir: str | os.PathLike):
    """Writes what a file of `taimatsu.save` holds into a folder."""
    state = torch.load(torch_save_path, weights_only=False)
    save(state, checkpoint_id=dcp_checkpoint_dir, no_dist=True)
