"""Sobol points: SciPy's, and PyTorch's scrambled ones."""

import pytest

import taimatsu as torch
from taimatsu.quasirandom import SobolEngine

pytest.importorskip("scipy")


@pytest.mark.parametrize("dimension", [1, 3, 40])
def test_points_are_scipys(dimension):
    from scipy.stats import qmc

    want = torch.from_numpy(qmc.Sobol(dimension, scramble=False, bits=30).random(16))
    engine = SobolEngine(dimension)
    first = engine.draw(5, dtype=torch.float64)
    rest = engine.fast_forward(2).draw(9, dtype=torch.float64)
    assert torch.equal(torch.cat([first, rest]), torch.cat([want[:5], want[7:]]))
    assert torch.equal(engine.reset().draw_base2(4), want.float())


def test_scrambled_points_are_balanced():
    points = SobolEngine(5, scramble=True, seed=1).draw(64)
    assert points.ge(0).all() and points.lt(1).all()
    for half in (points < 0.5).sum(0).tolist():
        assert half == 32
    assert not torch.equal(points, SobolEngine(5, scramble=True, seed=2).draw(64))


def test_arguments():
    with pytest.raises(ValueError, match="dimensionality"):
        SobolEngine(0)
    engine = SobolEngine(2, scramble=True, seed=3)
    engine.draw(3)
    with pytest.raises(ValueError, match="power of 2"):
        engine.draw_base2(2)
    assert repr(engine) == "SobolEngine(dimension=2, scramble=True, seed=3)"
    out = torch.empty(0)
    assert engine.draw(2, out=out) is out and out.shape == (2, 2)


@pytest.mark.parity
@pytest.mark.parametrize("seed", [0, 7])
def test_scrambled_points_are_pytorchs(seed):
    pytorch = pytest.importorskip("torch")
    want = pytorch.quasirandom.SobolEngine(4, scramble=True, seed=seed).draw(20)
    assert SobolEngine(4, scramble=True, seed=seed).draw(20).tolist() == want.tolist()
