"""The comparison with tolerances, random tensors of bounds, and checks of texts."""

import pytest

import taimatsu as torch
from taimatsu.testing import FileCheck, assert_close, make_tensor


def test_tolerances_follow_the_dtype():
    assert_close(torch.tensor(1.0), torch.tensor(1.0 + 1e-6))
    with pytest.raises(AssertionError, match="not close"):
        assert_close(torch.tensor(1.0).double(), torch.tensor(1.0).double() + 1e-6)
    assert_close(torch.tensor(1.0).half(), torch.tensor(1.0).half() + 1e-3)
    with pytest.raises(AssertionError, match=r"not equal(.|\n)*1 / 2 \(50.0%\)(.|\n)*\(1,\)"):
        assert_close(torch.tensor([1, 2]), torch.tensor([1, 3]))
    with pytest.raises(ValueError, match="both"):
        assert_close(1.0, 1.0, rtol=0.1)


def test_attributes_trees_numbers_and_messages():
    x = torch.ones(2)
    for other, what in ((torch.ones(3), "shape"), (x.double(), "dtype"), (1.0, None)):
        with pytest.raises((AssertionError, TypeError), match=what):
            assert_close(x, other)
    assert_close(x, x.double(), check_dtype=False)
    assert_close({"a": [x, 1, None]}, {"a": [x, 1, None]})
    with pytest.raises(AssertionError, match=r"item \['a'\]\[1\]"):
        assert_close({"a": [x, 1]}, {"a": [x, 2]})
    with pytest.raises(AssertionError, match="keys"):
        assert_close({"a": 1}, {"b": 1})
    with pytest.raises(AssertionError, match="mine"):
        assert_close(1.0, 2.0, msg="mine")
    nan = torch.tensor(float("nan"))
    assert_close(nan, nan, equal_nan=True)
    with pytest.raises(AssertionError):
        assert_close(nan, nan)


DTYPES = ("bool", "uint8", "int8", "int64", "float16", "float32", "complex64")


@pytest.mark.parametrize("name", DTYPES)
def test_make_tensor_stays_within_its_bounds(name):
    dtype = getattr(torch, name)
    x = make_tensor(20, 3, dtype=dtype)
    assert x.dtype == dtype and x.shape == (20, 3)
    assert not make_tensor((4, 4), dtype=dtype, noncontiguous=True).is_contiguous()
    assert bool((make_tensor((50,), dtype=dtype, exclude_zero=True) != 0).all())
    if dtype not in (torch.bool, torch.complex64):
        x = make_tensor((100,), dtype=dtype, low=2, high=4)
        assert bool(((x >= 2) & (x <= 4)).all())
    with pytest.raises(ValueError, match="less than"):
        make_tensor((1,), dtype=dtype, low=5, high=1)


def test_file_check():
    FileCheck().check("a").check_not("c").check_count("b", 2).check_same("d").run("a b b d\nc")
    FileCheck().check("a").check_next("b").check_dag("d").check_dag("c").run("a\nb\nc d")
    for check, text in (
        (FileCheck().check("x"), "y"), (FileCheck().check("a").check("b"), "b a"),
        (FileCheck().check("a").check_not("b").check("c"), "a b c"),
        (FileCheck().check("a").check_next("b"), "a b"),
        (FileCheck().check_count("a", 1, exactly=True), "a a"),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="FileCheck"):
            check.run(text)
