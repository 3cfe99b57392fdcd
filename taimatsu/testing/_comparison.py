"""`assert_close`: whether values are equal up to rounding, and if not, where they differ most."""

from __future__ import annotations

import cmath
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

__all__ = ["assert_allclose", "assert_close", "default_tolerances"]

# Relative, absolute. Other dtypes are compared exactly.
TOLERANCES = {
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float32: (1.3e-6, 1e-5),
    torch.float64: (1e-7, 1e-7),
    torch.complex64: (1.3e-6, 1e-5),
    torch.complex128: (1e-7, 1e-7),
}


def default_tolerances(*values: Any) -> tuple[float, float]:
    """The (rtol, atol) of tensors' or dtypes' least precise one."""
    dtypes = [v.dtype if isinstance(v, Tensor) else v for v in values]
    pairs = [TOLERANCES.get(t, (0.0, 0.0)) for t in dtypes]
    return max(r for r, _ in pairs), max(a for _, a in pairs)


_DTYPES = {
    bool: torch.bool, int: torch.int64, float: torch.float64, complex: torch.complex128,
}  # fmt: skip

Message = str | Callable[[str], str] | None


class _Rules:
    """The options of one comparison."""

    def __init__(self, rtol: float | None, atol: float | None, **options: Any):
        if (rtol is None) != (atol is None):
            given, other = ("atol", "rtol") if rtol is None else ("rtol", "atol")
            raise ValueError(
                f"rtol and atol must both be specified or both be unspecified, but got no {other} "
                f"and {given}={atol if rtol is None else rtol}"
            )
        self.rtol, self.atol = rtol, atol
        self.equal_nan: bool = options["equal_nan"]
        self.check_device: bool = options["check_device"]
        self.check_dtype: bool = options["check_dtype"]
        self.check_layout: bool = options["check_layout"]
        self.check_stride: bool = options["check_stride"]
        self.allow_subclasses: bool = options["allow_subclasses"]
        self.msg: Message = options["msg"]

    def fail(self, text: str, where: str) -> None:
        if where:
            text += f"\n\nThe failure occurred for item {where}"
        if self.msg is not None:
            text = self.msg(text) if callable(self.msg) else self.msg
        raise AssertionError(text)

    def tolerances(self, *values: Any) -> tuple[float, float]:
        if self.rtol is None or self.atol is None:
            return default_tolerances(*values)
        return self.rtol, self.atol

    # ---- trees -------------------------------------------------------------------------------

    def compare(self, actual: Any, expected: Any, where: str = "") -> None:
        if isinstance(actual, Mapping) and isinstance(expected, Mapping):
            if actual.keys() != expected.keys():
                missing = sorted(map(str, expected.keys() - actual.keys()))
                surplus = sorted(map(str, actual.keys() - expected.keys()))
                self.fail(
                    "The keys of the mappings do not match:\n"
                    f"Missing keys in the actual mapping: {missing}\n"
                    f"Additional keys in the actual mapping: {surplus}", where)  # fmt: skip
            for key in actual:
                self.compare(actual[key], expected[key], f"{where}[{key!r}]")
        elif _is_sequence(actual) and _is_sequence(expected):
            if len(actual) != len(expected):
                self.fail(
                    f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", where
                )
            for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
                self.compare(a, e, f"{where}[{i}]")
        elif actual is None or expected is None:
            if actual is not expected:
                self.fail(f"None mismatch: {actual!r} is not {expected!r}", where)
        elif isinstance(actual, bool) and isinstance(expected, bool):
            if actual is not expected:
                self.fail(f"Booleans mismatch: {actual} is not {expected}", where)
        elif _is_number(actual) and _is_number(expected):
            self._numbers(actual, expected, where)
        else:
            self._tensors(*self._as_tensors(actual, expected, where), where)

    def _as_tensors(self, actual: Any, expected: Any, where: str) -> tuple[Tensor, Tensor]:
        related = isinstance(actual, type(expected)) or isinstance(expected, type(actual))
        same = related if self.allow_subclasses else type(actual) is type(expected)
        both = isinstance(actual, Tensor) and isinstance(expected, Tensor)
        if not same and not (both and self.allow_subclasses):
            raise TypeError(
                f"No comparison pair was able to handle inputs of type {type(actual)} and "
                f"{type(expected)}." + (f"\n\nFor item {where}" if where else "")
            )
        if both:
            return actual, expected
        try:
            return torch.as_tensor(actual), torch.as_tensor(expected)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"No comparison pair was able to handle inputs of type {type(actual)} and "
                f"{type(expected)}."
            ) from error

    # ---- values ------------------------------------------------------------------------------

    def _numbers(self, actual: Any, expected: Any, where: str) -> None:
        if self.check_dtype and type(actual) is not type(expected):
            self.fail(f"The (d)types do not match: {type(actual)} != {type(expected)}.", where)
        rtol, atol = self.tolerances(*(_DTYPES[type(v)] for v in (actual, expected)))
        if actual == expected or (self.equal_nan and actual != actual and expected != expected):
            return
        difference = abs(actual - expected)
        if difference <= atol + rtol * abs(expected) and cmath.isfinite(expected):
            return
        if rtol == atol == 0:
            absolute = relative = ""
            verdict = "equal"
        else:
            absolute, relative = f" (up to {atol} allowed)", f" (up to {rtol} allowed)"
            verdict = "close"
        self.fail(
            f"Scalars are not {verdict}!\n\nExpected {expected} but got {actual}.\n"
            f"Absolute difference: {difference}{absolute}\n"
            f"Relative difference: {_relative(difference, expected)}{relative}",
            where,
        )

    def _tensors(self, actual: Tensor, expected: Tensor, where: str) -> None:
        for name, checked in (
            ("shape", True), ("layout", self.check_layout), ("device", self.check_device),
            ("dtype", self.check_dtype),
        ):  # fmt: skip
            a, e = getattr(actual, name), getattr(expected, name)
            if checked and a != e:
                a, e = (tuple(a), tuple(e)) if name == "shape" else (a, e)
                self.fail(f"The values for attribute '{name}' do not match: {a} != {e}.", where)
        if self.check_stride and actual.stride() != expected.stride():
            self.fail(
                "The values for attribute 'stride()' do not match: "
                f"{actual.stride()} != {expected.stride()}.", where)  # fmt: skip
        if actual.layout is not torch.strided or expected.layout is not torch.strided:
            return self._sparse(actual, expected, where)
        rtol, atol = self.tolerances(actual, expected)
        a, e = actual.detach(), expected.detach().to(actual.device)
        if a.dtype != e.dtype:
            common = torch.promote_types(a.dtype, e.dtype)
            a, e = a.to(common), e.to(common)
        if a.is_meta or e.is_meta:
            raise NotImplementedError("assert_close: tensors on the meta device have no values")
        wrong = ~torch.isclose(a, e, rtol=rtol, atol=atol, equal_nan=self.equal_nan)
        if bool(wrong.any()):
            self.fail(_report(a, e, wrong, rtol, atol), where)


    def _sparse(self, actual: Tensor, expected: Tensor, where: str) -> None:
        """Part by part, the indices exactly; of different layouts all elements."""
        if actual.layout is not expected.layout:
            return self._tensors(actual.to_dense(), expected.to_dense(), where)
        if actual.is_sparse and actual.is_coalesced() is not expected.is_coalesced():
            actual, expected = actual.coalesce(), expected.coalesce()
        name = str(actual.layout).removeprefix("torch.sparse_").upper()
        first, second = _core.sparse_parts(actual), _core.sparse_parts(expected)
        for what, a, e in (
            ("sparse dimensions", actual.sparse_dim(), expected.sparse_dim()),
            ("specified values", first.nnz, second.nnz),
        ):
            if a != e:
                self.fail(
                    f"The number of {what} in sparse {name} tensors does not match: {a} != {e}",
                    where,
                )
        *indices, values = zip(first.tensors(), second.tensors(), strict=True)
        for a, e in indices:
            if not torch.equal(a.long(), e.long()):
                self.fail(f"Sparse {name} indices of tensor-likes are not equal!", where)
        self._tensors(*values, where)


def _is_sequence(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, str)


def _is_number(x: Any) -> bool:
    return type(x) in (bool, int, float, complex)


def _relative(difference: Any, expected: Any) -> Any:
    return difference / abs(expected) if expected else float("inf")


def _report(a: Tensor, e: Tensor, wrong: Tensor, rtol: float, atol: float) -> str:
    exact = rtol == atol == 0
    total, count = wrong.numel(), int(wrong.sum())
    wide = torch.complex128 if a.is_complex() else torch.float64
    difference = (a.to(wide) - e.to(wide)).abs()
    difference = difference.masked_fill(~wrong, 0)
    relative = (difference / e.to(wide).abs()).masked_fill(~wrong, 0)

    def largest(values: Tensor, kind: str, allowed: float) -> str:
        flat = values.reshape(-1)
        at = int(flat.nan_to_num(torch.inf).argmax())
        index = tuple(int(i) for i in torch.unravel_index(torch.tensor(at), tuple(values.shape)))
        place = f" at index {index}" if values.dim() else ""
        limit = "" if exact else f" (up to {allowed} allowed)"
        return f"Greatest {kind} difference: {flat[at].item()}{place}{limit}"

    if a.dim() == 0:
        head = (
            f"Scalars are not {'equal' if exact else 'close'}!\n\n"
            f"Expected {e.item()} but got {a.item()}.\n"
        )
        return (
            head + largest(difference, "absolute", atol).replace("Greatest a", "A") + "\n"
            + largest(relative, "relative", rtol).replace("Greatest r", "R")
        )  # fmt: skip
    return (
        f"Tensor-likes are not {'equal' if exact else 'close'}!\n\n"
        f"Mismatched elements: {count} / {total} ({count / total:.1%})\n"
        f"{largest(difference, 'absolute', atol)}\n{largest(relative, 'relative', rtol)}"
    )


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: Message = None,
) -> None:
    """AssertionError unless ``|actual - expected| <= atol + rtol * |expected|`` everywhere.

    The values are tensors, numbers, or sequences and mappings of them. Without tolerances those of
    the less precise dtype are taken; give both or none. ``msg`` replaces the message, or is a
    function of it. TypeError for what can't be compared.

    >>> torch.testing.assert_close(torch.tensor(1.0), torch.tensor(1.0 + 1e-7))
    """
    rules = _Rules(
        rtol, atol, equal_nan=equal_nan, check_device=check_device, check_dtype=check_dtype,
        check_layout=check_layout, check_stride=check_stride, allow_subclasses=allow_subclasses,
        msg=msg,
    )  # fmt: skip
    rules.compare(actual, expected)


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str = "",
) -> None:
    """The old form of `assert_close`, that takes values of any dtype. Deprecated."""
    warnings.warn(
        "assert_allclose is deprecated; use torch.testing.assert_close", FutureWarning, stacklevel=2
    )
    actual, expected = (v if isinstance(v, Tensor) else torch.tensor(v) for v in (actual, expected))
    if rtol is None and atol is None:
        rtol, atol = default_tolerances(actual, expected)
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True,
                 check_dtype=False, check_stride=False, msg=msg or None)  # fmt: skip
