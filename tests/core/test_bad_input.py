"""What is wrong in a call is said as PyTorch says it, and leaves every tensor as it was."""

import builtins
import dataclasses
import re
import types

import pytest

import taimatsu

SHAPE_OVERFLOW = "Storage size calculation overflowed"


def make_tensors(torch):
    """Tensors of every kind that the cases below mention; nothing may change them."""
    x = torch.arange(6.0).reshape(2, 3)
    return types.SimpleNamespace(
        x=x,
        square=torch.arange(9.0).reshape(3, 3),
        vector=torch.arange(6.0),
        scalar=torch.tensor(2.0),
        empty=torch.empty(0, 3),
        ints=torch.arange(6).reshape(2, 3),
        bools=torch.tensor([True, False, True]),
        complexes=torch.zeros(2, 3, dtype=torch.complex64),
        index=torch.tensor([0, 1]),
        outside=torch.tensor([0, 7]),
        images=torch.arange(50.0).reshape(1, 2, 5, 5),
        meta=torch.empty(2, 3, device="meta"),
        leaf=torch.ones(2, 3, requires_grad=True),
        result=torch.ones(2, 3, requires_grad=True) * 2,
        repeated=torch.zeros(1).expand(4),
        windows=torch.arange(6.0).as_strided((4, 3), (1, 1)),
        transposed=x.t(),
        made_for_inference=torch.inference_mode()(torch.ones)(2),
    )


def fingerprint(t):
    """All that a failed call could have changed."""
    values = None if t.is_meta else t.detach().numpy().tobytes()
    return (values, t.shape, t.stride(), t.storage_offset(), t.dtype, t.requires_grad, t.grad_fn,
            t.grad, None if t.is_inference() else t._version, t.data_ptr())


@dataclasses.dataclass
class Case:
    call: object  # of the module and the tensors
    error: str  # an exception of Python, or of the module
    message: str = ""  # a part of what is said
    prefix: bool = True  # the message has the form "op: ..."; not where the words are PyTorch's
    parity: bool = True  # PyTorch raises the same


def case(text, error, message="", **more):
    """`text` is the call, and the test's name."""
    call = eval(f"lambda torch, t: {text}")
    return pytest.param(Case(call, error, message, **more), id=text)


SHAPES = [
    case("torch.add(t.x, t.square)", "RuntimeError", "(3)"),
    case("t.x + t.vector", "RuntimeError", "must match"),
    case("t.x.add_(torch.ones(4, 2, 3))", "RuntimeError", "[2, 3]"),
    case("t.x @ t.x", "RuntimeError", "2x3"),
    case("torch.mm(t.x, t.vector)", "RuntimeError"),
    case("torch.bmm(t.x, t.x)", "RuntimeError"),
    case("t.vector @ t.x", "RuntimeError"),
    case("torch.nn.functional.linear(t.x, t.x.t())", "RuntimeError"),
    case("t.x.view(4)", "RuntimeError", "invalid for input of size 6"),
    case("t.x.view(-1, -1)", "RuntimeError", "only one dimension can be inferred"),
    case("t.x.view(-2, 3)", "RuntimeError", "-2"),
    case("t.transposed.view(6)", "RuntimeError", "reshape", prefix=False),
    case("t.x.reshape(5, -1)", "RuntimeError", "[5, -1]"),
    case("t.empty.reshape(-1, 0)", "RuntimeError", "ambiguous"),
    case("t.x.expand(2, 4)", "RuntimeError", "4"),
    case("t.x.expand(3)", "RuntimeError"),
    case("t.x.view(torch.float64)", "RuntimeError", "divisible by 2"),
    case("t.transposed.view(torch.uint8)", "RuntimeError", "self.stride(-1) must be 1"),
    case("t.scalar.view(torch.float64)", "RuntimeError", "self.dim() cannot be 0"),
    case("torch.cat([t.x, t.square], 1)", "RuntimeError"),
    case("torch.cat([])", "ValueError"),
    case("torch.stack([t.x, t.square])", "RuntimeError", prefix=False),
    case("t.x.split([1, 3], 1)", "RuntimeError", "[1, 3]", prefix=False),
    case("t.x.split([2**62] * 4, 1)", "RuntimeError", prefix=False),
    case("torch.where(t.bools, t.ints, torch.ones(4))", "RuntimeError"),
    case("torch.linalg.cholesky(t.x)", "RuntimeError", prefix=False),
    case("torch.linalg.solve(t.square, t.x)", "RuntimeError", prefix=False),
    case("torch.nn.functional.conv2d(t.images, torch.ones(1, 3, 2, 2))", "RuntimeError"),
    case("torch.nn.functional.conv2d(t.images, torch.ones(1, 2, 7, 7))", "RuntimeError"),
    case("torch.nn.functional.max_pool2d(t.images, 9)", "RuntimeError"),
    case("torch.nn.functional.layer_norm(t.x, (4,))", "RuntimeError"),
    case("torch.nn.functional.cross_entropy(t.x, torch.zeros(3, dtype=torch.int64))",
         "ValueError", prefix=False),
    case("t.empty.argmin(0)", "IndexError"),
    case("torch.tensor([[1, 2], [3]])", "ValueError", prefix=False),
    case("t.x.copy_(t.square)", "RuntimeError"),
    case("t.x.masked_fill(t.index == 0, 1.0)", "RuntimeError"),
    case("t.x.item()", "RuntimeError", prefix=False),
    case("bool(t.x)", "RuntimeError", prefix=False),
    case("t.x.backward()", "RuntimeError", prefix=False),
    case("t.result.backward()", "RuntimeError", prefix=False),
    case("t.scalar.diagonal()", "IndexError"),
    case("torch.amax(t.empty, 0, out=t.x)", "IndexError"),  # nor is the target resized
    case("torch.max(t.empty[:, 0], out=t.x)", "RuntimeError", parity=False),
    case("torch.nn.functional.nll_loss(t.vector, t.index)", "ValueError", prefix=False),
    case("torch.nn.functional.nll_loss(t.scalar, t.index)", "ValueError", prefix=False),
    case("torch.broadcast_shapes((-1,))", "ValueError"),
    case("t.x.as_strided((100,), (1,))", "RuntimeError", "out of bounds"),
    case("t.x.as_strided((2,), (1, 1))", "RuntimeError"),
    case("t.x.as_strided((2,), (-1,))", "RuntimeError"),
    case("t.x.as_strided((2,), (1,), -1)", "RuntimeError"),
    case("t.x.as_strided((2,), (4611686018427387904,))", "RuntimeError"),
    case("t.x.unfold(0, 3, 1)", "RuntimeError"),
    case("t.x.unfold(0, 1, 0)", "RuntimeError"),
    case("t.x.repeat(2)", "RuntimeError"),
]
DTYPES = [
    case("t.ints.add_(1.5)", "RuntimeError", "can't be cast"),
    case("torch.nn.functional.cross_entropy(t.x, t.index.int())", "RuntimeError", "Long",
         prefix=False),
    case("t.x.add_(t.complexes)", "RuntimeError", "can't be cast"),
    case("torch.add(t.x, 1, out=t.ints)", "RuntimeError", "can't be cast"),
    case("t.ints.mean()", "RuntimeError"),
    case("torch.softmax(t.ints, 0)", "RuntimeError"),
    case("t.x & t.x", "RuntimeError"),
    case("t.complexes < t.complexes", "RuntimeError"),
    case("t.bools - t.bools", "RuntimeError"),
    case("-t.bools", "RuntimeError"),
    case("t.x @ t.ints.t()", "RuntimeError"),
    case("torch.nn.functional.embedding(t.x, t.x)", "RuntimeError", prefix=False),
    case("t.x.gather(0, t.x)", "RuntimeError", prefix=False),
    case("t.x.index_select(0, t.x[0])", "RuntimeError", prefix=False),
    case("t.ints.requires_grad_()", "RuntimeError", prefix=False),
    case("torch.ones(2, dtype=torch.int64, requires_grad=True)", "RuntimeError", prefix=False),
    case("t.complexes.float().to('no such dtype')", "RuntimeError", prefix=False),
    case("torch.zeros(2, dtype='float32')", "TypeError", prefix=False),
    case("torch.tensor('a')", "TypeError", prefix=False),
    case("torch.tensor([1, 'a'])", "TypeError", prefix=False),
    case("torch.tensor([None])", "RuntimeError", prefix=False),
    case("t.x.view_as_real()", "AttributeError", prefix=False),
    case("torch.view_as_real(t.x)", "RuntimeError"),
    case("torch.view_as_complex(t.x)", "RuntimeError"),
    case("torch.linalg.cholesky(t.ints)", "RuntimeError", prefix=False),
    case("t.ints.uniform_()", "RuntimeError"),
    case("t.x.masked_fill(t.bools, t.vector[:1])", "RuntimeError", "0-dimensional"),
    case("t.x.masked_fill_(t.bools, t.x)", "RuntimeError", "0-dimensional"),
    case("t.x.masked_fill(t.bools, 1j)", "RuntimeError", "complex"),
    case("~t.x", "TypeError", "float32"),
    case("~t.complexes", "TypeError", "complex64"),
    case("t.ints**-1", "RuntimeError", "negative integer powers"),
    case("t.ints.pow_(-2)", "RuntimeError", "negative integer powers"),
    case("t.ints.div_(2, rounding_mode=None)", "RuntimeError", "can't be cast"),
    case("t.x.float_power_(2)", "RuntimeError", "Double"),
    case("torch.float_power(t.x, 2, out=torch.empty(2, 3))", "RuntimeError", "Double"),
    case("torch.frexp(t.ints)", "RuntimeError"),
    case("torch.zeros(3, dtype=torch.float64, out=t.vector)", "RuntimeError", "does not match"),
]
DEVICES = [
    case("t.x + t.meta", "RuntimeError", "same device"),
    case("t.meta.item()", "RuntimeError", prefix=False),
    case("t.meta.numpy()", "TypeError", prefix=False),
    case("t.meta.tolist()", "NotImplementedError", prefix=False),
    case("torch.zeros(2, device='nowhere')", "RuntimeError", "nowhere", prefix=False),
    case("torch.zeros(2, device='cpu:-2')", "RuntimeError", prefix=False),
    case("torch.zeros(2, device=1.5)", "TypeError", prefix=False),
    case("torch.nonzero(t.meta)", "NotImplementedError"),
    case("torch.add(t.x, 1, out=t.meta)", "RuntimeError", "same device"),
    case("torch.mean(t.x, out=t.meta)", "RuntimeError", "same device", parity=False),
    case("torch.linalg.svd(t.x, out=(t.meta,) * 3)", "RuntimeError", "same device"),
    case("torch.add(t.meta, 1, out=t.x)", "RuntimeError", "same device", parity=False),
]
DIMS = [
    case("t.x.sum(5)", "IndexError", "[-2, 1], but got 5"),
    case("t.x.sum((0, 0))", "RuntimeError"),
    case("t.x.mean(-3)", "IndexError", "got -3"),
    case("t.x.max(2)", "IndexError"),
    case("t.x.softmax(2)", "IndexError"),
    case("t.x.cumsum(2)", "IndexError"),
    case("t.x.sort(2)", "IndexError"),
    case("t.x.topk(4)", "RuntimeError"),
    case("t.x.topk(-1)", "RuntimeError"),
    case("t.x.transpose(0, 2)", "IndexError"),
    case("t.x.permute(0, 0)", "RuntimeError", "[0, 0]"),
    case("t.x.permute(0)", "RuntimeError", prefix=False),
    case("t.x.unsqueeze(4)", "IndexError"),
    case("t.x.squeeze(3)", "IndexError"),
    case("t.x.flatten(1, 0)", "RuntimeError", prefix=False),
    case("t.x.select(0, 2)", "IndexError"),
    case("t.x.narrow(0, 1, 2)", "RuntimeError"),
    case("t.x.narrow(0, 3, 0)", "IndexError"),
    case("t.x.chunk(0)", "RuntimeError", prefix=False),
    case("t.x.diagonal(0, 1, 1)", "RuntimeError", prefix=False),
    case("t.x.flip(0, 0)", "RuntimeError"),
    case("t.x.size(2)", "IndexError", prefix=False),
    case("torch.cat([t.x, t.x], 2)", "IndexError"),
    case("t.scalar.sum(1)", "IndexError"),
    case("t.scalar.unbind()", "IndexError"),
    case("t.x.narrow(0, torch.tensor(True), 1)", "RuntimeError", "integral", prefix=False),
    case("t.x.unsqueeze(torch.tensor(True))", "TypeError", prefix=False),
    case("t.x.unsqueeze(torch.tensor([1]))", "TypeError", prefix=False),
]
INDICES = [
    case("t.x[2]", "IndexError", "index 2", prefix=False),
    case("t.x[-3]", "IndexError", prefix=False),
    case("t.x[0, 0, 0]", "IndexError", "too many indices", prefix=False),
    case("t.x[::-1]", "ValueError", prefix=False),
    case("t.x[::0]", "ValueError", prefix=False),
    case("t.x['a']", "TypeError", prefix=False),
    case("t.x.__setitem__(b'a', 1)", "TypeError", prefix=False),
    case("t.x[1.5]", "IndexError", prefix=False),
    case("t.x[t.x]", "IndexError", prefix=False),
    case("t.x[t.outside]", "IndexError", "7", prefix=False),
    case("t.x[:, t.outside]", "IndexError", "7", prefix=False),
    case("t.x[t.bools]", "IndexError", prefix=False),
    case("t.x[t.index, t.ints]", "IndexError", prefix=False),
    case("t.x[2**63 - 1]", "IndexError", prefix=False),
    case("t.scalar[0]", "IndexError", prefix=False),
    case("t.scalar[:]", "IndexError", prefix=False),
    case("t.x.__setitem__(t.outside, 1.0)", "IndexError", "7", prefix=False),
    case("t.x.__setitem__((0, t.outside), torch.ones(2))", "IndexError", "7", prefix=False),
    case("t.x.__setitem__(0, torch.ones(4))", "RuntimeError", prefix=False),
    case("t.x.__setitem__(0, 'a')", "TypeError", prefix=False),
    case("t.x.__setitem__(slice(0, 5), t.square)", "RuntimeError", prefix=False),
    case("t.x.__setitem__(0, 1j)", "RuntimeError", prefix=False),
    case("t.x.gather(0, torch.tensor([[5]]))", "RuntimeError", "out of bounds"),
    case("t.x.gather(0, t.index)", "RuntimeError"),
    case("t.x.scatter_(0, torch.tensor([[5]]), 1.0)", "RuntimeError", "5"),
    case("t.x.scatter_add_(0, torch.tensor([[5]]), t.square[:2])", "RuntimeError", "out of bounds",
         prefix=False),
    case("t.x.index_select(0, t.outside)", "IndexError", prefix=False),
    case("t.x.index_add_(0, t.outside, torch.ones(2, 3))", "RuntimeError", prefix=False),
    case("t.x.index_fill_(0, t.outside, 1.0)", "IndexError"),
    case("t.x.index_copy_(0, t.outside, t.square[:2])", "IndexError", "7"),
    case("t.x.take(t.outside)", "IndexError", prefix=False),
    case("torch.nn.functional.embedding(t.outside, t.x)", "IndexError", prefix=False),
    case("torch.nn.functional.nll_loss(t.x, t.outside)", "IndexError", prefix=False),
]
OVERLAPS = [
    case(f"t.repeated.{call}", "RuntimeError", "refers to a single memory location")
    for call in (
        "add_(1)", "mul_(t.scalar)", "relu_()", "clamp_(0)", "cumsum_(0)", "copy_(torch.ones(4))",
        "random_()", "uniform_()", "normal_()", "bernoulli_()", "exponential_()",
        "scatter_(0, t.index, torch.ones(2))",
        "scatter_add_(0, t.index, torch.ones(2))", "index_add_(0, t.index, torch.ones(2))",
        "index_copy_(0, t.index, torch.ones(2))", "put_(t.index, torch.ones(2))",
    )
] + [
    case("torch.add(torch.ones(4), 1, out=t.repeated)", "RuntimeError", "single memory location"),
    case("t.windows.add_(1)", "RuntimeError", "single memory location", parity=False),
    case("t.vector[1:].add_(t.vector[:-1])", "RuntimeError", "single memory location"),
    case("torch.add(t.vector[:-1], 1, out=t.vector[1:])", "RuntimeError", "single memory location"),
    case("t.square.add_(t.square.t())", "RuntimeError", "single memory location"),
    case("torch.cumsum(t.vector[:-1], 0, out=t.vector[1:])", "RuntimeError", "single memory"),
    case("torch.cat([t.x, t.x], out=t.x)", "RuntimeError", "single memory"),
    case("torch.cat([t.square[:1], t.square[2:]], out=t.square[:2])", "RuntimeError", "single"),
    case("torch.masked_select(t.vector, t.vector > 1, out=t.vector)", "RuntimeError", "single"),
    case("torch.kthvalue(t.vector, 5, out=(t.vector, t.index[0]))", "RuntimeError", "single"),
    case("torch.sum(t.square, 0, out=t.square)", "RuntimeError", "single", parity=False),
    case("torch.max(t.square, 0, out=(t.square, t.ints))", "RuntimeError", "single",
         parity=False),
    case("torch.index_select(t.x, 0, t.index, out=t.x[:])", "RuntimeError"),
    case("torch.index_select(t.x, 1, t.index, out=t.repeated)", "RuntimeError", "single"),
    case("torch.aminmax(t.vector, out=(t.scalar, t.scalar))", "RuntimeError", "single",
         parity=False),
    case("torch.max(t.square, 0, out=(t.vector[:3], t.vector[2:5].view(torch.int32)))",
         "RuntimeError"),
    # Strides 3 and 2: offsets 0, 2, 3, 5 and 1, 3, 4, 6 meet though they differ by less than both.
    case("t.square.as_strided((2, 2), (3, 2)).add_(t.square.as_strided((2, 2), (3, 2), 1))",
         "RuntimeError", "single memory", parity=False),
]
VALUES = [
    case("torch.arange(0, float('inf'))", "RuntimeError", "inf"),
    case("torch.arange(0, float('nan'))", "RuntimeError", "nan"),
    case("torch.arange(0, 1, 0)", "RuntimeError"),
    case("torch.arange(0, 1, -1)", "RuntimeError"),
    case("torch.linspace(0, 1, -1)", "RuntimeError"),
    case("torch.eye(-1)", "RuntimeError"),
    case("torch.randint(3, 3, (2,))", "RuntimeError", prefix=False),
    case("torch.randperm(-1)", "RuntimeError"),
    case("torch.zeros(2, -1)", "RuntimeError", "negative dimension -1"),
    case("torch.empty(1.5)", "TypeError", prefix=False),
    case("torch.zeros(float('nan'))", "TypeError", prefix=False),
    case("t.x.reshape(2.0, 3.0)", "TypeError", prefix=False),
    case("torch.nn.functional.dropout(t.x, 1.5)", "ValueError", "1.5", prefix=False),
    case("t.x.bernoulli_(2.0)", "RuntimeError", prefix=False),
    case("t.x.normal_(0, -1)", "RuntimeError"),
    case("t.x.uniform_(1, 0)", "RuntimeError", prefix=False),
    case("t.ints // 0", "RuntimeError", "ZeroDivisionError", prefix=False),
    case("t.ints % torch.zeros_like(t.ints)", "RuntimeError", "ZeroDivisionError", prefix=False),
    # The zero comes last: in place and with out=, what was divided before must not stay.
    case("t.ints.__ifloordiv__(0)", "RuntimeError", "ZeroDivisionError", prefix=False),
    case("t.ints.remainder_(5 - t.ints)", "RuntimeError", "ZeroDivisionError", prefix=False),
    case("t.ints[:, 1:].fmod_(5 - t.ints[:, 1:])", "RuntimeError", "ZeroDivisionError",
         prefix=False),
    case("torch.floor_divide(t.ints + 1, 5 - t.ints, out=t.ints)", "RuntimeError",
         "ZeroDivisionError", prefix=False),
    case("torch.full((2,), 300, dtype=torch.uint8)", "RuntimeError", prefix=False),
    case("torch.tensor(2**64)", "ValueError"),
    case("torch.linalg.cholesky(-t.square)", "LinAlgError"),
    case("torch.nn.functional.conv2d(t.images, torch.ones(1, 2, 2, 2), stride=0)", "RuntimeError"),
    case("torch.nn.functional.conv2d(t.images, torch.ones(1, 2, 2, 2), padding=-1)",
         "RuntimeError"),
    case("torch.nn.functional.conv2d(t.images, torch.ones(1, 2, 2, 2), groups=0)", "RuntimeError"),
    case("torch.nn.functional.max_pool2d(t.images, 2, stride=-1)", "RuntimeError"),
    case("torch.nn.functional.max_pool2d(t.images, 2, padding=2)", "RuntimeError"),
    case("t.x.repeat(-1, 1)", "RuntimeError"),
    case("torch.tril(t.vector)", "RuntimeError"),
    case("torch.arange(0, 64, 0.5, dtype=torch.int64)", "ValueError", "nonzero"),
    case("torch.combinations(t.vector, 10**12, True)", "RuntimeError", "too many"),
    case("torch.combinations(torch.arange(1000.0), 500)", "RuntimeError", "too many"),
    case("torch.histogramdd(t.x, [2, 2])", "RuntimeError", "expected 3"),
    case("torch.hash_tensor(t.empty)", "RuntimeError", "non-zero"),
    case("torch.range(0, 1, 0)", "RuntimeError"),
]
MEMORY = [
    case("torch.empty(2**60)", "OutOfMemoryError", "4.00 EiB", parity=False),
    case("torch.zeros(2**44)", "OutOfMemoryError", "64.00 TiB", parity=False),
    case("torch.ones(2**44)", "OutOfMemoryError", parity=False),
    case("torch.rand(2**45)", "OutOfMemoryError", parity=False),
    case("torch.arange(0, 1e18)", "OutOfMemoryError", parity=False),
    case("t.repeated.expand(2**44, 4).clone()", "OutOfMemoryError", parity=False),
    case("t.repeated.expand(2**44, 4) + 1", "OutOfMemoryError", parity=False),
    case("t.x.new_empty(2**50)", "OutOfMemoryError", parity=False),
    case("torch.ones(2**20, 1) @ torch.ones(1, 2**26)", "OutOfMemoryError", parity=False),
    case("torch.nn.functional.pad(t.x, (2**50, 2**50))", "OutOfMemoryError", parity=False),
    case("torch.nn.functional.interpolate(t.images, size=(2**30, 2**30))", "RuntimeError",
         parity=False),
    case("torch.nn.functional.adaptive_avg_pool2d(t.images, (2**30, 2**20))",
         "OutOfMemoryError", parity=False),
    case("torch.empty(2**63 - 1)", "RuntimeError", SHAPE_OVERFLOW),
    case("torch.zeros(2**40, 2**40)", "RuntimeError", SHAPE_OVERFLOW),
    case("torch.zeros(0, 2**40, 2**40)", "RuntimeError", SHAPE_OVERFLOW, parity=False),
    case("torch.empty(2**63)", "RuntimeError", prefix=False, parity=False),
    case("torch.empty_strided((3,), (2**62,))", "RuntimeError", SHAPE_OVERFLOW),
    case("t.repeated.expand(2**62, 4).contiguous()", "RuntimeError", SHAPE_OVERFLOW),
    case("t.x.repeat(2**40, 2**40)", "RuntimeError", SHAPE_OVERFLOW),
]
KEYWORDS = [
    case("torch.add(t.x)", "TypeError", prefix=False),
    case("torch.add(t.x, 1, 2, 3, 4)", "TypeError", prefix=False),
    case("torch.add(t.x, other=t.x, beta=1)", "TypeError", "beta", prefix=False),
    case("t.x.sum(dims=0)", "TypeError", "dims", prefix=False),
    case("t.x.sum('a')", "TypeError", prefix=False),
    case("torch.zeros(2, dtyp=torch.int64)", "TypeError", "dtyp", prefix=False),
    case("torch.relu('a')", "TypeError", prefix=False),
    case("torch.relu()", "TypeError", prefix=False),
    case("t.x + 'a'", "TypeError", prefix=False),
    case("t.x + None", "TypeError", prefix=False),
    case("t.x.view()", "TypeError", prefix=False),
    case("t.x.view('a')", "TypeError", prefix=False),
    case("torch.softmax(t.x)", "TypeError", "dim", prefix=False),
    case("torch.cat(t.x, t.x)", "TypeError", prefix=False),
    case("torch.cat([t.x, 1])", "TypeError", prefix=False),
    case("t.x.clamp()", "RuntimeError"),
    case("torch.tensor([1.0], requires_grad=1)", "TypeError", "must be bool", prefix=False),
    case("torch.set_grad_enabled('a')", "TypeError", "must be bool", prefix=False),
    case("torch.nn.functional.gelu(t.x, approximate='none such')", "RuntimeError", "none such"),
    case("torch.nn.functional.mse_loss(t.x, t.x, reduction='all')",
         "ValueError", "all", prefix=False),
]
HISTORY = [
    case("t.leaf.add_(1)", "RuntimeError", "a leaf Variable that requires grad", prefix=False),
    case("t.leaf[0].zero_()", "RuntimeError", "a view of a leaf", prefix=False),
    case("torch.add(t.leaf, 1, out=t.x)", "RuntimeError", "automatic differentiation"),
    case("t.leaf.numpy()", "RuntimeError", "detach()", prefix=False),
    case("t.result.requires_grad_(False)", "RuntimeError", prefix=False),
    case("t.x.sum().backward()", "RuntimeError", "does not require grad", prefix=False),
    case("t.leaf.resize_(3)", "RuntimeError", prefix=False),
    case("t.leaf.set_(t.vector)", "RuntimeError", "a leaf Variable", prefix=False),
    case("torch.rand(2, 3, out=t.leaf)", "RuntimeError", "automatic differentiation"),
    case("torch.stack([t.leaf, t.leaf], out=t.x)", "RuntimeError", "automatic differentiation"),
    case("torch.sort(t.x, out=(t.square, t.leaf))", "RuntimeError", prefix=False),
    case("t.made_for_inference._version", "RuntimeError", "version counter", prefix=False),
]
CASES = [*SHAPES, *DTYPES, *DEVICES, *DIMS, *INDICES, *OVERLAPS, *VALUES, *MEMORY, *KEYWORDS,
         *HISTORY]


def exception(name, torch):
    return getattr(torch.linalg if name == "LinAlgError" else torch, name, None) or \
        getattr(builtins, name)


@pytest.mark.parametrize("wrong", CASES)
def test_wrong_calls_change_nothing(wrong):
    tensors = make_tensors(taimatsu)
    before = {name: fingerprint(t) for name, t in vars(tensors).items()}
    with pytest.raises(exception(wrong.error, taimatsu)) as caught:
        wrong.call(taimatsu, tensors)
    assert wrong.message in str(caught.value)
    if wrong.prefix:  # "op: the rule; what was given; what to do"
        assert re.match(r"[\w.]+(\(\))?: \S", str(caught.value))
    for name, t in vars(tensors).items():
        assert fingerprint(t) == before[name], name


@pytest.mark.parity
@pytest.mark.parametrize("wrong", [c for c in CASES if c.values[0].parity])
def test_pytorch_raises_the_same(wrong):
    torch = pytest.importorskip("torch")
    with pytest.raises(exception(wrong.error, torch)):
        wrong.call(torch, make_tensors(torch))
