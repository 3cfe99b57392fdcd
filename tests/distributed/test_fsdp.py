"""`distributed.fsdp`: parameters that are divided among processes."""

from __future__ import annotations

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    CheckpointWrapper,
    apply_activation_checkpointing,
    checkpoint_wrapper,
    offload_wrapper,
)
from tests.distributed.test_distributed import together


@pytest.mark.parametrize("function, size", [("sharded", 3), ("hybrid", 4), ("wrapped", 2)])
def test_processes(function, size):
    together(function, size, "fsdp_workers")


def test_joins_and_divided_optimizers():
    together("joined_and_divided", 2, "optim_workers")


def test_checkpoint_wrappers():
    layer = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    x = torch.randn(4, 2, requires_grad=True)
    layer(x).sum().backward()
    wanted, x.grad = x.grad, None
    names = list(layer.state_dict())
    apply_activation_checkpointing(layer, check_fn=lambda m: isinstance(m, nn.Linear))
    assert isinstance(layer[0], CheckpointWrapper) and list(layer.state_dict()) == names
    assert [n for n, _ in layer[0].named_parameters()] == ["weight", "bias"]
    for whole in (layer, checkpoint_wrapper(layer, CheckpointImpl.REENTRANT),
                  offload_wrapper(layer)):  # fmt: skip
        x.grad = None
        whole(x).sum().backward()
        assert torch.allclose(x.grad, wanted)
        whole.load_state_dict(layer.state_dict())
