"""Extensions: built from C++ and C, loaded, called; what is wrong in them is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import taimatsu as torch
from taimatsu.utils import cpp_extension

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    not cpp_extension.check_compiler_ok_for_platform(cpp_extension.get_cxx_compiler()),
    reason="no C++ compiler",
)


@pytest.fixture(scope="module")
def ext(tmp_path_factory):
    folder = tmp_path_factory.mktemp("functions")
    return cpp_extension.load("ext", str(HERE / "functions.cpp"), build_directory=str(folder))


def test_a_model_of_several_ops(ext):
    torch.manual_seed(0)
    x, h, cell = torch.randn(3, 4), torch.randn(3, 5), torch.randn(3, 5)
    weights, bias = torch.randn(15, 9), torch.randn(1, 15)
    new_h, new_cell = ext.lltm(x, weights, bias, h, cell)
    i, o, c = (torch.cat([h, x], 1) @ weights.T + bias).chunk(3, 1)
    expected = cell + torch.nn.functional.elu(c) * i.sigmoid()
    torch.testing.assert_close(new_cell, expected)
    torch.testing.assert_close(new_h, expected.tanh() * o.sigmoid())


def test_gradients_flow_through_the_ops(ext):
    x = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ext.arithmetic, (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memory_and_threads(ext, dtype):
    a, b = torch.randn(1000, 30, dtype=dtype).t(), torch.randn(30, 1000, dtype=dtype)
    assert torch.equal(ext.axpy(a, b, 0.5), a + 0.5 * b)
    assert torch.equal(ext.axpy(a, b=b, more=a), a + 2 * b + a)
    assert ext.axpy.__doc__ == "a + scale b"
    assert ext.__doc__ == "Functions to test with."


def test_numbers_lists_and_tuples(ext):
    assert ext.trace(torch.eye(3)[:, :2]) == 2.0
    x = torch.arange(24.0).view(2, 3, 4)
    total, size, text = ext.several(x, [0, 2], True, "text")
    assert torch.equal(total, x.sum([0, 2], True)) and (size, text) == (4, "text!")


def test_what_is_written_counts_as_a_change(ext):
    x = torch.zeros(3)
    version = x._version
    assert ext.fill(x, 2) is None
    assert x.tolist() == [2, 2, 2] and x._version > version


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: e.axpy(torch.ones(2), torch.ones(3)), RuntimeError, r"\[2\] and \[3\]"),
        (lambda e: e.axpy(torch.ones(2).int(), torch.ones(2).int()), NotImplementedError, "'Int'"),
        (lambda e: e.axpy(torch.ones(2)), TypeError, "missing 1 required"),
        (lambda e: e.axpy(1, 2), TypeError, "must be Tensor"),
        (lambda e: e.trace(torch.eye(2).double()), RuntimeError, "expected scalar type Float"),
        (lambda e: e.trace(torch.ones(2)), RuntimeError, "expected 2 dims"),
        (lambda e: e.late(torch.ones(2)), IndexError, "out of range"),
        (lambda e: e.unknown(torch.ones(2)), RuntimeError, "no_such_function"),
        (lambda e: e.broken(torch.ones(2)), RuntimeError, "a C\\+\\+ exception"),
    ],
)
def test_errors_are_pythons(ext, call, error, message):
    with pytest.raises(error, match=message):
        call(ext)


def test_ops_of_a_library(ext):
    a, b = torch.randn(3), torch.randn(3)
    torch.library.register_autograd(
        "taimatsu_test::axpy",
        lambda ctx, g: (g, ctx.scale * g, None, None),
        setup_context=lambda ctx, inputs, output: setattr(ctx, "scale", inputs[2]),
    )
    torch.library.register_fake("taimatsu_test::axpy", lambda a, b, scale, more=None: a.clone())
    op = torch.ops.taimatsu_test.axpy
    assert torch.equal(op(a, b, 3.0), a + 3 * b)
    inputs = [x.double().requires_grad_() for x in (a, b)]
    assert torch.autograd.gradcheck(lambda a, b: op(a, b, 3.0), inputs)
    assert op(a.to("meta"), b.to("meta"), 3.0).shape == (3,)


def test_the_c_interface(tmp_path):
    ext = cpp_extension.load("plain", str(HERE / "plain.c"), build_directory=str(tmp_path))
    x = torch.tensor([1.0, -1.0, 2.0, 0.0], dtype=torch.float64)
    assert ext.count_positive(x) == 2 and ext.count_positive(x[::2]) == 2
    assert torch.equal(ext.negated(x), -x)
    with pytest.raises(TypeError, match="vector of float64"):
        ext.count_positive(torch.ones(2))


def test_an_extension_built_against_the_first_header(tmp_path):
    (tmp_path / "release_1.h").write_bytes((HERE / "taimatsu_release_1.h").read_bytes())
    dlpack = Path(cpp_extension.include_paths()[0]) / "taimatsu" / "dlpack.h"
    (tmp_path / "dlpack.h").write_bytes(dlpack.read_bytes())
    text = (HERE / "plain.c").read_text()
    assert "<taimatsu/taimatsu.h>" in text
    source = tmp_path / "first.c"
    source.write_text(text.replace("<taimatsu/taimatsu.h>", '"release_1.h"'))
    ext = cpp_extension.load("first", str(source), build_directory=str(tmp_path))
    x = torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64)
    assert ext.count_positive(x) == 2 and torch.equal(ext.negated(x), -x)


def test_only_what_changed_is_built_again(tmp_path):
    header, folder = tmp_path / "value.h", tmp_path / "build"
    (tmp_path / "one.c").write_text(
        '#include <taimatsu/taimatsu.h>\n#include "value.h"\n'
        "static int32_t f(void* c, const tm_value* a, tm_value* r) {\n"
        "  r[0].tag = TM_INT; r[0].as.i = VALUE; return 0;\n}\n"
        "int32_t tm_extension(const tm_api* api) {\n"
        '  return api->define("f(Tensor x) -> int", "", f, 0);\n}\n'
    )
    (tmp_path / "two.c").write_text("int unrelated(void) { return 2; }\n")
    sources = [str(tmp_path / name) for name in ("one.c", "two.c")]

    def built() -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.o")}

    def load(value: int):
        header.write_text(f"#define VALUE {value}\n")
        return cpp_extension.load("changing", sources, build_directory=str(folder))

    first = load(1)
    before = built()
    os.utime(header, ns=(0, 0))
    again = cpp_extension.load("changing", sources, build_directory=str(folder))
    assert again.__file__ == first.__file__
    assert built() == before
    second = load(2)
    x = torch.ones(1)
    assert (first.f(x), second.f(x)) == (1, 2)  # what is loaded stays what it is
    after = built()
    assert sorted(n for n in after if after[n] != before[n])[0].startswith("one-")
    assert sum(after[n] != before[n] for n in after) == 1


def test_the_compilers_message(tmp_path):
    with pytest.raises(RuntimeError, match="(?s)Error building extension 'bad'.*nonsense"):
        cpp_extension.load_inline("bad", "nonsense", functions=["f"], build_directory=str(tmp_path),
                                  no_implicit_headers=True)  # fmt: skip


def test_what_is_refused(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="CUDA"):
        cpp_extension.load("x", "kernel.cu")
    with pytest.raises(ValueError, match="identifier"):
        cpp_extension.load("not-a-name", "a.cpp")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match="there is no compiler"):
        cpp_extension.load("plain", str(HERE / "plain.c"), build_directory=str(tmp_path))
    with pytest.raises(RuntimeError, match="load_extension"):
        torch._core.load_extension(str(HERE / "plain.c"))


def test_a_module_built_by_setuptools(tmp_path):
    pytest.importorskip("setuptools")
    source = tmp_path / "double_it.cpp"
    source.write_text(
        "#include <torch/extension.h>\n"
        "torch::Tensor twice(torch::Tensor x) { return x * 2; }\n"
        'PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("twice", &twice); }\n'
    )
    (tmp_path / "setup.py").write_text(
        "from setuptools import setup\n"
        "from taimatsu.utils.cpp_extension import BuildExtension, CppExtension\n"
        "setup(name='double_it', ext_modules=[CppExtension('double_it', ['double_it.cpp'])],\n"
        "      cmdclass={'build_ext': BuildExtension})\n"
    )
    root = str(Path(torch.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, str(tmp_path)])}
    for command in (
        ["setup.py", "-q", "build_ext", "--inplace"],
        ["-c", "import taimatsu, double_it; print(double_it.twice(taimatsu.ones(2)).tolist())"],
    ):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=env,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert done.stdout == "[2.0, 2.0]\n"
    shutil.rmtree(tmp_path / "build")
