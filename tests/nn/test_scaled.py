"""Products of groups, and of 8-bit floats with scales, against products of all there is."""

import numpy as np
import pytest

import taimatsu as torch
from taimatsu.nn import functional as F

ROW, TENSOR = F.ScalingType.RowWise, F.ScalingType.TensorWise


def test_groups():
    a, b = torch.randn(6, 4, requires_grad=True), torch.randn(3, 4, 5)
    offs = torch.tensor([1, 1, 5], dtype=torch.int32)
    y = F.grouped_mm(a, b, offs=offs)
    wanted = np.zeros((6, 5), np.float32)
    for expert, part in ((0, slice(0, 1)), (2, slice(1, 5))):
        wanted[part] = a.detach().numpy()[part] @ b.numpy()[expert]
    np.testing.assert_allclose(y.detach().numpy(), wanted, rtol=1e-5, atol=1e-6)
    y.sum().backward()
    assert a.grad[5].eq(0).all() and a.grad[0].ne(0).any()
    weights = F.grouped_mm(a.detach().T, torch.ones(6, 2), offs=offs)
    assert weights.shape == (3, 4, 2) and weights[1].eq(0).all()
    columns = F.grouped_mm(torch.ones(3, 2, 4), a.detach().T, offs=offs)
    assert columns.shape == (2, 6) and columns[0, 5] == 0
    assert torch.equal(F.grouped_mm(b, b.mT), b @ b.mT)
    for bad in ((a, b, None), (b, b.mT, offs), (a, b.mT, offs)):
        with pytest.raises(RuntimeError):
            F.grouped_mm(bad[0], bad[1], offs=bad[2])


def swizzled(scales):
    """In the order of NVIDIA's tiles of 128 by 4."""
    rows, columns = scales.shape
    high, wide = -(-rows // 128), -(-columns // 4)
    padded = torch.zeros(high * 128, wide * 4)
    padded[:rows, :columns] = scales
    tiles = padded.view(high, 4, 32, wide, 4).permute(0, 3, 2, 1, 4)
    return tiles.reshape(-1)


def test_scales():
    x, y = (torch.randn(n, 128).to(torch.float8_e4m3fn) for n in (16, 32))
    sx, sy = torch.rand(16, 1), torch.rand(1, 32)
    found = F.scaled_mm(x, y.T, sx, ROW, sy, ROW, output_dtype=torch.float32)
    assert torch.allclose(found, (x.float() * sx) @ (y.float() * sy.T).T, rtol=1e-5, atol=1e-4)
    blocks = F.ScalingType.BlockWise1x32
    mx, my = torch.rand(16, 4), torch.rand(32, 4)
    plain = F.scaled_mm(x, y.T, mx, blocks, my, blocks)
    order = F.SwizzleType.SWIZZLE_32_4_4
    assert torch.equal(
        plain, F.scaled_mm(x, y.T, swizzled(mx), blocks, swizzled(my), blocks, order, order)
    )
    wide = (x.float() * mx.repeat_interleave(32, 1)) @ (y.float() * my.repeat_interleave(32, 1)).T
    assert torch.allclose(plain.float(), wide, rtol=1e-2, atol=1e-1)
    one, half = torch.tensor(1.0), torch.tensor(0.5)
    offs = torch.tensor([16], dtype=torch.int32)
    each = F.scaled_grouped_mm(x, y.T[None], half, TENSOR, one[None], TENSOR, offs=offs)
    assert torch.equal(each, F.scaled_mm(x, y.T, half, TENSOR, one, TENSOR))
    with pytest.raises(ValueError, match="RowWise"):
        F.scaled_mm(x, y.T, sy, ROW, sy, ROW)
    with pytest.raises(ValueError, match="8-bit"):
        F.scaled_mm(x.float(), y.float().T, one, TENSOR, one, TENSOR)
    with pytest.raises(RuntimeError, match="multiplied"):
        F.scaled_mm(x, y, one, TENSOR, one, TENSOR)
