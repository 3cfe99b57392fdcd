"""Every op in a captured graph: the graph computes what the call computed."""

import pytest

import taimatsu as torch
from taimatsu.fx.capture import capture
from taimatsu.utils import _pytree as pytree

from .samples import PUBLIC, samples
from .test_values import supported

# Results of no value; bounds in the wrong order, which the function refuses and the op doesn't.
LEFT_OUT = {"empty", "empty_like", "empty_permuted", "empty_strided", "nn.functional.hardtanh"}


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - LEFT_OUT))
def test_graph(name):
    takes = supported(name)
    dtype = torch.float32 if torch.float32 in takes else takes[-1]
    for args, kwargs in list(samples(name, dtype))[:2]:

        def call(*args, **kwargs):
            return PUBLIC[name](*args, **kwargs)

        tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        torch.manual_seed(5)
        graph, _ = capture(call, args, kwargs)
        got = graph(*(x.clone() for x in tensors))
        torch.manual_seed(5)
        expected = pytree.tree_leaves(call(*args, **kwargs))
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            if isinstance(b, torch.Tensor) and b.layout is torch.strided:
                torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
