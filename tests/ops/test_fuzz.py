"""Any arguments at all: every op of the table gives a result or says what is wrong.

Tensors of random sizes, dtypes, layouts and devices, attributes in and out of range or of another
type, results in place and in `out`, which may be an operand or overlap one. Neither may the process
die (AddressSanitizer looks on in `make sanitize`), nor may a call that fails, or one that isn't in
place, change what it was given. FUZZ_EXAMPLES sets how many calls are tried for each op.
"""

import faulthandler
import os
import resource

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taimatsu as torch
from taimatsu.ops.schema import REQUIRED

from .samples import DTYPES, PUBLIC, each, raw, tensors

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
MEMORY = 3 << 30  # bytes that a call may take on top of what the process has
SECONDS = 300  # until a call that doesn't come back is taken for hanging, and all ends

# What a user can be told; anything else is a defect of ours.
EXPECTED = (RuntimeError, TypeError, ValueError, IndexError, OverflowError)
LAYOUTS = ("contiguous", "transposed", "stepped", "offset", "expanded", "channels last", "windows")
OUTS = ("other", "empty", "operand", "overlapping", "expanded", "integers", "leaf", "meta")
JUNK = (None, "no such thing", 1.5, 1j, 10**30, True, [], [1, "a"], (2**70,), slice(2), object())
STRINGS = ("mean", "sum", "none", "prod", "amax", "floor", "trunc", "reflect", "linear", "ij",
           "fro", "reduced", "valid", "same", "no such mode")  # fmt: skip

small = st.integers(-3, 6)
integers = st.one_of(small, small, small, st.sampled_from((2**31, -(2**31), 2**62, -(2**63))))
floats = st.one_of(st.floats(-3, 3), st.sampled_from((0.0, -0.0, 1e30, np.inf, -np.inf, np.nan)))
dtypes = st.sampled_from(DTYPES)


@st.composite
def some_tensors(draw, sizes, dtype, index=False):
    """A tensor, mostly of these sizes or ones that broadcast to them, and of this dtype."""
    shape = draw(st.sampled_from((
        sizes, sizes, sizes, [min(n, 1) for n in sizes], sizes[1:], sizes[::-1], [], None,
    )))  # fmt: skip
    if shape is None:
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = torch.int64 if index else dtype
    if draw(st.integers(0, 5)) == 0:
        dtype = draw(dtypes)
    random = np.random.default_rng(draw(st.integers(0, 99)))
    values = random.integers(0, 4, shape) if index else random.uniform(-3, 3, shape)
    if dtype.is_floating_point and draw(st.integers(0, 5)) == 0:
        values = np.where(random.uniform(size=shape) < 0.3, draw(floats), values)
    if not dtype.is_floating_point and not dtype.is_complex and not dtype.is_signed:
        values = np.abs(values)
    return _laid_out(torch.tensor(values).to(dtype), draw(st.sampled_from(LAYOUTS)))


def _laid_out(x, layout):
    if not x.dim() or layout == "contiguous":
        return x
    if layout == "transposed":
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "stepped":
        wide = x.new_zeros([*x.shape[:-1], 2 * x.shape[-1]])
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "offset":
        whole = x.new_zeros([x.numel() + 3])
        whole[3:] = x.reshape(-1)
        return whole[3:].view(x.shape)
    if layout == "channels last":
        return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
    if layout == "windows":  # rows that overlap
        memory = x.new_ones([sum(n - 1 for n in x.shape) + 1 if x.numel() else 0])
        return memory.as_strided(x.shape, [1] * x.dim())
    return x[..., :1].expand(x.shape)


def attribute(param, names_sizes):
    """Values for a parameter that is no tensor."""
    number = small if names_sizes else integers
    scalars = {
        "int": number, "float": floats, "bool": st.booleans(), "str": st.sampled_from(STRINGS),
        "Number": st.one_of(number, floats), "ScalarType": dtypes,
        "MemoryFormat": st.sampled_from((torch.contiguous_format, torch.channels_last)),
        "Device": st.sampled_from(("cpu", "meta")), "Layout": st.just(torch.strided),
        "Generator": st.none(), "Any": st.one_of(small, st.none()),
    }  # fmt: skip
    values = scalars[param.type]
    if param.length is not None:
        values = st.one_of(values, st.lists(values, max_size=4))
    return st.integers(0, 15).flatmap(lambda n: values if n else st.sampled_from(JUNK))


@st.composite
def calls(draw, op):
    sizes = draw(st.lists(st.integers(0, 4), max_size=4))
    codes = {t.name for t in op.dtypes or ()}
    dtype = draw(st.sampled_from([d for d in DTYPES if d._code in codes] or DTYPES))
    lists = any(o.type.endswith("[]") for o in op.parsed.outputs)  # as many results as asked for
    args, kwargs, named = [], {}, False
    for p in op.parsed.params:
        if p.optional and draw(st.booleans()):
            value = None
        elif p.tensor and p.length is not None:
            value = draw(st.lists(some_tensors(sizes, dtype), max_size=3))
        elif p.number and draw(st.integers(0, 3)) == 0:
            value = draw(st.one_of(small, floats))
        elif p.tensor:
            value = draw(some_tensors(sizes, dtype, p.type == "Index" or "ind" in p.name))
        elif p.default is not REQUIRED and draw(st.booleans()):
            named = True  # left out: what follows goes by name
            continue
        else:
            value = draw(attribute(p, lists))
        if p.keyword_only or named:
            kwargs[p.name] = value
        else:
            args.append(value)
    forms = ["plain", "plain", "plain", "gradient", "gradient", "meta", "keyword"]
    if op.inplace and op.method and isinstance(args[0], torch.Tensor):
        forms += ["inplace"] * 3
    forms += ["out"] * 3 if op.out else []
    form = draw(st.sampled_from(forms))
    if form == "gradient":
        args, kwargs = each((args, kwargs), _requiring)
    elif form == "meta":
        args, kwargs = each((args, kwargs), lambda x: x.to("meta"))
    elif form == "keyword":
        kwargs["no_such_keyword"] = 1
    elif form == "out":
        operands = tensors([args, kwargs])
        outs = tuple(_target(draw(st.sampled_from(OUTS)), operands) for _ in op.parsed.outputs)
        kwargs["out"] = outs if len(outs) > 1 else outs[0]
    return args, kwargs, form


def _target(kind, operands):
    """Somewhere to write results to, by an operand if there is one."""
    x = operands[0] if operands else torch.zeros(2, 3)
    if kind == "operand":
        return x
    if kind == "overlapping":  # one element before, in the operand's memory
        at = x.storage_offset() - 1
        return x.as_strided(x.shape, x.stride(), at) if at >= 0 else x[1:] if x.dim() else x
    if kind == "leaf":
        return torch.zeros(x.shape, requires_grad=True)
    return {
        "other": torch.zeros(2, 3),
        "empty": x.new_empty([0]),
        "expanded": x.new_zeros([]).expand(x.shape),
        "integers": torch.zeros(x.shape, dtype=torch.int32),
        "meta": torch.zeros(x.shape, device="meta"),
    }[kind]


def state(x):
    """All that a call could have changed."""
    return x.shape, x.stride(), x.dtype, x.data_ptr(), x.requires_grad, x.grad_fn, raw(x)


@pytest.fixture(autouse=True, scope="module")
def _bounded():
    """A limit on memory, and an end to a call that hangs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    sanitized = "libasan" in os.environ.get("LD_PRELOAD", "")  # its shadow takes terabytes
    if not sanitized:
        with open("/proc/self/statm") as f:
            used = int(f.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    yield
    faulthandler.cancel_dump_traceback_later()
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("name", sorted(n for n in PUBLIC if not n.startswith("optim.")))
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(data=st.data())
def test_result_or_error(name, data):
    op = PUBLIC[name]
    args, kwargs, form = data.draw(calls(op))
    writes = "(a!)" in op.schema or form in ("inplace", "out")
    operands = tensors([args, kwargs])
    before, versions = [state(x) for x in operands], [x._version for x in operands]
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        result = _carried_out(op, args, kwargs, form)
    except EXPECTED as e:
        assert str(e), type(e)
        assert [state(x) for x in operands] == before
        assert [x._version for x in operands] == versions
        assert form != "keyword" or isinstance(e, TypeError), e
        return
    assert form != "keyword"
    if not writes:
        assert [state(x) for x in operands] == before
    for x in tensors(result):
        if not x.is_meta and x.numel() < 1e6:  # one that is expanded may have more
            x.detach().clone()  # every element is there to be read
    if form == "gradient":
        _differentiated(result)


def _requiring(x):
    return x.detach().requires_grad_() if x.dtype.is_floating_point or x.dtype.is_complex else x


def _carried_out(op, args, kwargs, form):
    if form == "inplace":
        base = op.name.partition(".")[0]
        return getattr(args[0], base + "_")(*args[1:], **kwargs)
    return op(*args, **kwargs)


def _differentiated(result):
    roots = [x for x in tensors(result) if x.requires_grad and not x.is_meta]
    try:
        if roots:
            torch.autograd.backward(roots, [torch.ones_like(x) for x in roots])
    except EXPECTED as e:
        assert str(e), type(e)
