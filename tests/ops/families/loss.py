"""Losses that a formula on sampled elements can't check."""

import taimatsu as torch

ELSEWHERE = {"nn.functional.ctc_loss": "tests/nn/test_losses.py: every alignment is summed there"}
HINTS = {
    "nn.functional.ctc_loss": lambda t: [
        (t(4, 2, 3).log_softmax(2), torch.tensor([[1, 2], [2, 0]]), [4, 3], [2, 1])
    ]
}
