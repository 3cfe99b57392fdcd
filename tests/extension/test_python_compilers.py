"""Functions that Numba and Cython compile, on tensors' own memory, with gradients."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import taimatsu as torch
from taimatsu.utils import cpp_extension

HERE = Path(__file__).parent


def test_numba():
    numba = pytest.importorskip("numba")

    @numba.njit
    def running_maximum(x, out, where):
        best = 0
        for i in range(x.size):
            if x[i] > x[best]:
                best = i
            out[i], where[i] = x[best], best

    class RunningMaximum(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            out, where = torch.empty_like(x), torch.empty(x.numel(), dtype=torch.int64)
            running_maximum(x.numpy(), out.numpy(), where.numpy())  # no copies
            ctx.save_for_backward(where)
            return out

        @staticmethod
        def backward(ctx, g):
            (where,) = ctx.saved_tensors
            return torch.zeros_like(g).index_add(0, where, g)

    x = torch.tensor([1.0, 3.0, 2.0, 5.0, 4.0], dtype=torch.float64, requires_grad=True)
    assert RunningMaximum.apply(x).tolist() == [1, 3, 3, 5, 5]
    assert torch.autograd.gradcheck(RunningMaximum.apply, (x,))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("Cython")
    if not cpp_extension.check_compiler_ok_for_platform(cpp_extension.get_cxx_compiler()):
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("cython")
    package = Path(torch.__file__).parent.parent
    command = [sys.executable, "-m", "cython", "-I", str(package), "-o", str(folder / "cubes.c")]
    subprocess.run([*command, str(HERE / "cubes.pyx")], check=True)
    return cpp_extension.load(
        "cubes", str(folder / "cubes.c"), build_directory=str(folder),
        extra_include_paths=[sysconfig.get_paths()["include"], str(folder)],
    )  # fmt: skip


def test_cython_takes_tensors_as_memoryviews(built):
    spec = importlib.util.spec_from_file_location("cubes", built.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x = torch.arange(6.0, dtype=torch.float64)
    out = torch.zeros(3, dtype=torch.float64)
    module.cubes(x[::2], out)
    assert out.tolist() == [0, 8, 64]


def test_cython_by_the_c_interface(built):
    op = torch.ops.cython_test.cubed
    torch.library.register_autograd(
        "cython_test::cubed",
        lambda ctx, g: 3 * ctx.saved_tensors[0] ** 2 * g,
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
    )
    x = torch.randn(8, dtype=torch.float64)
    assert torch.allclose(op(x[::2]), x[::2] ** 3)
    assert torch.autograd.gradcheck(op, (x.requires_grad_(),))
    with pytest.raises(TypeError, match="vector of float64"):
        op(torch.ones(2))
