"""complex32: pairs of float16, computed as complex64 and rounded once."""

import copy
import io
import pickle

import numpy as np
import pytest

import taimatsu as torch

random = np.random.default_rng(0)


def pairs(*shape: int) -> np.ndarray:
    parts = random.uniform(-4, 4, (*shape, 2)).astype(np.float16).astype(np.float32)
    return parts.view(np.complex64)[..., 0]


def half(z: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(z).to(torch.complex32)


def rounded(z: np.ndarray) -> np.ndarray:
    parts = np.ascontiguousarray(z.astype(np.complex64)).view(np.float32)
    return parts.astype(np.float16).astype(np.float32).view(np.complex64)


def same(t: torch.Tensor, expected: np.ndarray) -> None:
    assert t.dtype is torch.complex32
    np.testing.assert_array_equal(t.to(torch.complex64).numpy(), rounded(expected))


def test_casts():
    z = (random.normal(size=40) + 1j * random.normal(size=40)) * 300
    same(torch.from_numpy(z).chalf(), z)
    x = torch.from_numpy(z).to(torch.complex32)
    assert x.to(torch.complex128).dtype is torch.complex128
    np.testing.assert_array_equal(x.float().numpy(), rounded(z).real)
    np.testing.assert_array_equal(x.real.numpy(), rounded(z).real.astype(np.float16))
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.bool):
        same(torch.arange(5).to(dtype).to(torch.complex32), torch.arange(5).to(dtype)
             .to(torch.float64).numpy().astype(complex))  # fmt: skip
    large = torch.tensor([1e6 + 1j, -1e6 - 2j]).to(torch.complex32)
    assert large.tolist() == [complex(np.inf, 1), complex(-np.inf, -2)]
    assert torch.tensor([1 + 2j], dtype=torch.complex32)[0].item() == 1 + 2j


def test_promotion():
    z = torch.ones(2, dtype=torch.complex32)
    assert (z + 1).dtype is (z * 2.0).dtype is (z - 1j).dtype is torch.complex32
    assert (z + torch.ones(2, dtype=torch.float16)).dtype is torch.complex32
    assert (z + torch.ones(2)).dtype is torch.complex64
    assert (torch.ones(2, dtype=torch.float16) * 1j).dtype is torch.complex32
    assert torch.float16.to_complex() is torch.complex32
    assert torch.complex32.to_real() is torch.float16
    assert torch.finfo(torch.complex32) == torch.finfo(torch.float16)


@pytest.mark.parametrize("op", [np.add, np.subtract, np.multiply])
def test_arithmetic(op):
    a, b = pairs(5, 7), pairs(7)
    x, y = half(a), half(b)
    ours = {np.add: torch.add, np.subtract: torch.sub, np.multiply: torch.mul}[op]
    same(ours(x, y), op(a, b))
    same(ours(x.T.contiguous().T, y), op(a, b))
    same(ours(x, 2.5 - 1j), op(a, np.complex64(2.5 - 1j)))


def test_functions_of_one():
    a = pairs(33)
    x = half(a)
    same(-x, -a)
    same(x.conj().resolve_conj(), a.conj())
    assert x.abs().dtype is torch.float16
    np.testing.assert_allclose(x.abs().numpy(), np.abs(a), rtol=1e-3)
    assert bool((x == x).all()) and not bool((x != x).any())
    same(torch.where(x.real > 0, x, -x), np.where(a.real > 0, a, -a))


def test_parts_are_views():
    parts = torch.tensor(random.normal(size=(6, 2)).astype(np.float16))
    z = torch.view_as_complex(parts)
    assert z.dtype is torch.complex32 and z.data_ptr() == parts.data_ptr()
    assert torch.view_as_real(z).dtype is torch.float16
    z.real[0] = 5
    assert parts[0, 0] == 5
    built = torch.complex(parts[:, 0], parts[:, 1])
    assert built.dtype is torch.complex32 and bool((built == z).all())


def test_moves_copies_and_files():
    a = pairs(4, 6)
    x = half(a)
    same(torch.cat([x, x[:1]]), np.concatenate([a, a[:1]]))
    same(x[torch.tensor([2, 0])][:, ::2], a[[2, 0]][:, ::2])
    same(x.T.contiguous(), a.T)
    y = torch.zeros(3, dtype=torch.complex32)
    y[1] = 1 + 1j
    assert y.tolist() == [0, 1 + 1j, 0]
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    for z in (torch.load(file), pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        same(z, a)
    with pytest.raises(TypeError, match="ComplexHalf"):
        x.numpy()
    assert repr(y) == "tensor([0.+0.j, 1.+1.j, 0.+0.j], dtype=torch.complex32)"


def test_gradients():
    x = half(pairs(4)).requires_grad_()
    w = pairs(4)
    (x * half(w)).real.float().sum().backward()
    same(x.grad, w.conj())


@pytest.mark.parity
def test_arithmetic_equals_pytorch_s():
    theirs = pytest.importorskip("torch")
    a, b = pairs(200), pairs(200)
    x, y = (theirs.from_numpy(z).to(theirs.complex32) for z in (a, b))
    for ours, other in ((half(a) + half(b), x + y), (half(a) - half(b), x - y), (-half(a), -x)):
        np.testing.assert_array_equal(ours.to(torch.complex64).numpy(),
                                      other.to(theirs.complex64).numpy())  # fmt: skip
    np.testing.assert_allclose((half(a) * half(b)).to(torch.complex64).numpy(),
                               (x * y).to(theirs.complex64).numpy(), rtol=2e-3, atol=2e-3)
