"""``__torch_dispatch__``: classes of tensors and modes that carry ops out below the tape.

Each program takes the package that it is run with: what it gives is compared with PyTorch's where
that is installed.
"""

from __future__ import annotations

import copy
from importlib import import_module

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu._subclasses import fake_tensor
from taimatsu.utils._mode_utils import no_dispatch
from taimatsu.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from taimatsu.utils._pytree import tree_map_only


def wrapper_of(T, log):
    """The class of a tensor around another, which names the ops that it sees."""
    tree_map_only = import_module(f"{T.__name__}.utils._pytree").tree_map_only

    class Wrapper(T.Tensor):
        @staticmethod
        def __new__(cls, elem, requires_grad=False):
            return T.Tensor._make_wrapper_subclass(
                cls, elem.size(), strides=elem.stride(), dtype=elem.dtype, device=elem.device,
                requires_grad=requires_grad,
            )  # fmt: skip

        def __init__(self, elem, requires_grad=False):
            self.elem = elem

        def __repr__(self):
            return f"Wrapper({self.elem.tolist()})"

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            log.append(str(func))
            args, kwargs = tree_map_only(cls, lambda t: t.elem, (args, kwargs or {}))
            return tree_map_only(T.Tensor, cls, func(*args, **kwargs))

    return Wrapper


def forward_program(T):
    """What a wrapper sees of functions, operators, views, indexing and in-place writes."""
    log = []
    Wrapper = wrapper_of(T, log)
    x = Wrapper(T.arange(12.0).view(3, 4))
    w, b = T.ones(5, 4), T.zeros(5)
    results = [
        x + 1, 1 + x, 2 - x, 2 / (x + 1), x * x, x**2, x > 3, x == x, x.exp().log1p(), -x,
        x.sum(), x.sum(1), x.sum((0, 1), keepdim=True), x.mean(), x.mean(-1), x.max(),
        x.max(1)[1], x.argmax(1), x.amax(0), x.softmax(1), x.any(1), x.std(1), x.clamp(min=2),
        T.where(x > 3, x, 0.0), T.maximum(x, x), x.t(), x.transpose(0, 1), x.reshape(4, 3),
        x.t().reshape(-1), x.flatten(), x.unsqueeze(0), x.expand(2, 3, 4), x[1], x[:, 1:3],
        x[None, ..., 0], x[T.tensor([0, 2])], x[x > 3], T.cat([x, x]), x.mm(x.t()), x @ x.t(),
        x @ T.ones(4), T.nn.functional.linear(x, w, b), T.nn.functional.linear(x, w),
        T.nn.functional.relu(x), T.nn.functional.gelu(x), x.to(T.float64), x.clone(), x.detach(),
        T.zeros_like(x), x.new_zeros(2), T.ones_like(x), x.cumsum(0), x.gather(1, T.tensor([[0]])),
        x.sort(1)[0], x.topk(2)[0], x.unbind(1)[0], x.split(2)[1], x.split([1, 2])[0], x.tril(),
        T.nn.functional.embedding(T.tensor([1, 0]), x), x.masked_fill(x > 3, 0.0),
    ]  # fmt: skip
    y = Wrapper(T.zeros(3, 4))
    y.add_(1).mul_(2)
    y[1].zero_()
    y[:, 0] += 1
    y.copy_(y + 1)
    T.add(y, 1, out=Wrapper(T.zeros(3, 4)))
    assert all(type(r) is Wrapper for r in results)
    return log, [r.elem.tolist() for r in results], y.elem.tolist(), x.sum().item()


def gradient_program(T):
    """Gradients of wrappers: through formulas, products, views, several uses, writes to views."""
    Wrapper = wrapper_of(T, [])
    x = Wrapper(T.arange(12.0).view(3, 4), requires_grad=True)
    w = T.ones(5, 4).requires_grad_()
    y = T.nn.functional.linear(x, w, T.zeros(5)).tanh()[:, 1:].t()
    loss = (y * 2).sum() + x[1, ::2].exp().sum() + x.expand(2, 3, 4).mean() + (x * x).sum(0).max()
    loss = loss + T.cat([p * i for i, p in enumerate(x.split(2))]).sum() + x.unbind(0)[2].sum()
    loss = loss + T.nn.functional.layer_norm(x, (4,)).square().sum() + x.softmax(1)[0, 0]
    loss.backward()
    z = x * 1
    z[1:, ::2] *= 3
    z.sum().backward()
    (first,) = T.autograd.grad((x.exp() * x).sum(), x, create_graph=True)
    (second,) = T.autograd.grad(first.sum(), x)
    assert type(x.grad) is type(second) is Wrapper and first.requires_grad and w.grad is not None
    return x.grad.elem, getattr(w.grad, "elem", w.grad), second.elem


def training_program(T):
    """A module whose parameters are wrappers: registered, trained, copied."""
    Wrapper = wrapper_of(T, [])
    layer = T.nn.Linear(3, 2)
    for name, p in list(layer.named_parameters()):
        with T.no_grad():
            p.copy_(T.linspace(0, 1, p.numel()).view(p.shape))
        setattr(layer, name, T.nn.Parameter(Wrapper(p.detach())))
    kinds = [(type(p) is Wrapper, isinstance(p, T.nn.Parameter)) for p in layer.parameters()]
    optimizer = T.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(T.ones(4, 3)).square().mean().backward()
        optimizer.step()
    return kinds, [p.detach().elem for p in layer.parameters()]


def mode_program(T):
    """What modes see, of factories and backward too; nested ones, and those turned off."""
    dispatch = import_module(f"{T.__name__}.utils._python_dispatch")
    log = []

    class Log(dispatch.TorchDispatchMode):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            log.append((self.name, str(func)))
            return func(*args, **(kwargs or {}))

    with Log("outer"), Log("inner"):
        x = T.ones(2, 3)
        y = (x + 1).sum(0)
        with dispatch._disable_current_modes():
            y = y * 2
        total = y.sum().item()
        T.empty(2).fill_(1.0)
    w = T.ones(3, 3, requires_grad=True)
    with Log("mode"):
        T.mm(w, w.detach())
    return log, total


def quantized_program(T):
    """Weights of 8 bits with a scale: of ATen only what a linear layer comes down to."""
    aten = T.ops.aten

    class Quantized(T.Tensor):
        @staticmethod
        def __new__(cls, data, scale, shape):
            return T.Tensor._make_wrapper_subclass(cls, shape, dtype=scale.dtype)

        def __init__(self, data, scale, shape):
            self.data_, self.scale = data, scale

        @classmethod
        def of(cls, x):
            scale = x.abs().amax(1, keepdim=True) / 127
            return cls((x / scale).round().to(T.int8), scale, x.shape)

        def dequantize(self):
            return self.data_.to(self.scale.dtype) * self.scale

        def __tensor_flatten__(self):
            return ["data_", "scale"], {}

        @classmethod
        def __tensor_unflatten__(cls, inner, context, size, stride):
            return cls(inner["data_"], inner["scale"], size)

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            if func is aten.detach.default:
                return cls(args[0].data_, args[0].scale, args[0].shape)
            if func is aten.t.default:
                return cls(args[0].data_.t(), args[0].scale.t(), args[0].shape[::-1])
            if func is aten.addmm.default:
                bias, x, weight = args
                return T.addmm(bias, x, weight.dequantize())
            if func is aten.mm.default:
                return args[0] @ args[1].dequantize()
            raise NotImplementedError(f"no {func}")

    layer = T.nn.Linear(4, 3)
    weight = T.arange(12.0).view(3, 4) - 5
    layer.weight = T.nn.Parameter(Quantized.of(weight), requires_grad=False)
    with T.no_grad():
        layer.bias.zero_()
    x = T.ones(2, 4, requires_grad=True)
    layer(x).sum().backward()
    with pytest.raises(NotImplementedError, match="no aten.add.Tensor"):
        layer.weight + 1
    dispatch = import_module(f"{T.__name__}.utils._python_dispatch")
    halves = dispatch.transform_subclass(layer.weight, lambda name, t: t[:2], (2, 4), (4, 1))
    flat = dispatch.is_traceable_wrapper_subclass(layer.weight)
    return layer(x).detach(), x.grad, halves.dequantize(), flat, tuple(halves.shape)


def alias_program(T):
    """`return_and_correct_aliasing`: writes give their argument, views share what counts writes."""
    module = import_module(f"{T.__name__}.utils._python_dispatch")
    tree_map_only = import_module(f"{T.__name__}.utils._pytree").tree_map_only

    class Wrapper(wrapper_of(T, [])):
        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            inner, named = tree_map_only(cls, lambda t: t.elem, (args, kwargs or {}))
            out = tree_map_only(T.Tensor, cls, func(*inner, **named))
            return module.return_and_correct_aliasing(func, args, kwargs or {}, out)

    x = Wrapper(T.zeros(2, 3))
    assert x.add_(1) is x
    with T.no_grad():
        row = x[0]
        row.mul_(5)
    schema = T.ops.aten.add_.Tensor._schema
    written = [a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write]
    return x.elem, row._version == x._version, written, schema.is_mutable


PROGRAMS = [
    forward_program, gradient_program, training_program, mode_program, quantized_program,
    alias_program,
]  # fmt: skip


def plain(value):
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.parity
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_programs_do_what_they_do_in_pytorch(program):
    peer = pytest.importorskip("torch")

    def same(a, b):
        if isinstance(a, list):
            assert len(a) == len(b), (a, b)
            for u, v in zip(a, b, strict=True):
                same(u, v)
        elif isinstance(a, float):
            assert a == pytest.approx(b, rel=1e-5, abs=1e-6, nan_ok=True)
        else:
            assert a == b

    same(plain(program(torch)), plain(program(peer)))


def test_a_wrapper_sees_atens_ops_below_the_tape():
    log, _, y, total = forward_program(torch)
    assert total == 66.0 and y[1] == [2.0, 1.0, 1.0, 1.0] and y[0] == y[2] == [4.0, 3.0, 3.0, 3.0]
    assert {"aten.addmm.default", "aten._softmax.default", "aten.slice.Tensor"} <= set(log)
    assert not any(name.startswith("taimatsu") for name in log)
    x = torch.arange(12.0).view(3, 4).requires_grad_()
    gradient, _, second = gradient_program(torch)
    (first,) = torch.autograd.grad((x.exp() * x).sum(), x, create_graph=True)
    (expected,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, expected)
    assert gradient.shape == (3, 4) and gradient.isfinite().all()


@pytest.mark.parametrize("program", PROGRAMS[2:], ids=lambda p: p.__name__)
def test_programs_of_wrappers_and_modes(program):
    assert program(torch)


def test_a_wrapper_has_no_memory():
    x = wrapper_of(torch, [])(torch.ones(2, 2))
    for read in (torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.data_ptr):
        with pytest.raises(RuntimeError):
            read(x)
    with no_dispatch(), pytest.raises(RuntimeError, match="doesn't have storage"):
        x + 1
    with pytest.raises(RuntimeError, match="must define __torch_dispatch__"):
        torch.Tensor._make_wrapper_subclass(type("Plain", (torch.Tensor,), {}), (2,))
    with pytest.raises(TypeError, match="NotImplemented"):
        Refusing = type(
            "Refusing", (torch.Tensor,),
            {"__torch_dispatch__": classmethod(lambda *args, **kwargs: NotImplemented)},
        )  # fmt: skip
        torch.Tensor._make_wrapper_subclass(Refusing, (2,)) + 1


def test_a_class_with_memory_can_leave_ops_to_its_base():
    seen = []

    class Seen(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            seen.append(func)
            return super().__torch_dispatch__(func, types, args, kwargs)

    x = torch.ones(3).as_subclass(Seen)
    assert type(x + 1) is torch.Tensor and seen[-1] is torch.ops.aten.add.Tensor
    assert (x.mul_(2), x.tolist) and torch.equal(torch.Tensor._make_subclass(torch.Tensor, x), x)


def test_schemas_say_what_is_written_and_what_shares_memory():
    schema = torch.parse_schema("my::op(Tensor(a!) x, *, int n=2) -> (Tensor(a!), Tensor y)")
    x, n = schema.arguments
    assert schema.name == "my::op" and schema.is_mutable and x.is_write and x.alias_info.is_write
    assert (n.name, n.default_value, n.kwarg_only, n.is_write) == ("n", 2, True, False)
    assert schema.returns[0].alias_info == x.alias_info and schema.returns[1].name == "y"
    view, out = torch.ops.aten.view.default, torch.ops.aten.add.out
    assert view.is_view and not view._schema.is_mutable and not torch.ops.aten.mm.default.is_view
    assert [a.name for a in out._schema.arguments if a.is_out] == ["out"]
    with pytest.raises(ValueError, match="schema"):
        torch.parse_schema("no schema")
    with torch._C._DisableTorchDispatch():
        assert torch.ones(2).sum().item() == 2.0


def test_ops_of_programs_are_dispatched():
    @torch.library.custom_op("dispatch_test::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    twice.register_autograd(lambda ctx, g: g * 2)
    twice.register_fake(torch.empty_like)
    log = []
    Wrapper = wrapper_of(torch, log)
    x = Wrapper(torch.ones(2), requires_grad=True)
    twice(x).sum().backward()
    assert "dispatch_test.twice.default" in log and x.grad.elem.tolist() == [2.0, 2.0]
    twice.register_torch_dispatch(Wrapper, lambda cls, func, types, args, kwargs: cls(args[0].elem))
    assert twice(x.detach()).elem.tolist() == [1.0, 1.0]
    with fake_tensor.FakeTensorMode():
        assert twice(torch.ones(3)).shape == (3,)


def test_fake_tensors_run_a_training_step():
    with fake_tensor.FakeTensorMode() as mode:
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(72, 4), nn.Dropout(),
        )  # fmt: skip
        loss = nn.functional.cross_entropy(net(torch.randn(2, 3, 8, 8)), torch.tensor([0, 1]))
        loss.backward()
        torch.optim.Adam(net.parameters()).step()
    assert all(fake_tensor.is_fake(p.grad) for p in net.parameters())
    assert isinstance(net[0].weight, nn.Parameter) and loss.shape == () and loss.requires_grad
    assert copy.deepcopy(net)[0].weight.fake_mode is mode
    with mode:
        x = torch.randn(3, 4, device="cuda:0")
        assert (x @ x.mT).device == torch.device("cuda:0") and x[1:].storage_offset() == 4
        step = torch.tensor(1.0)
        step += 1
        assert step.item() == 2.0  # known, as it came of numbers
        with pytest.raises(fake_tensor.DataDependentOutputException):
            x.sum().item()
        with pytest.raises(fake_tensor.DynamicOutputShapeException):
            x[x > 0]
        with pytest.raises(RuntimeError, match="two different devices"):
            x + torch.ones(4)
    real = torch.ones(2)
    assert mode.from_tensor(real) is mode.from_tensor(real)
    assert repr(mode.from_tensor(real) * 2) == "FakeTensor(..., size=(2,))"
    with mode, pytest.raises(AssertionError, match="allow_non_fake_inputs"):
        real + 1
    with fake_tensor.FakeTensorMode(allow_non_fake_inputs=True):
        assert (real + 1).shape == (2,)


def test_modes_may_replace_results_and_are_left_after_errors():
    class Zeros(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.mul.Tensor:
                raise ValueError("no products")
            out = func(*args, **(kwargs or {}))
            return tree_map_only(torch.Tensor, torch.zeros_like, out)

    x = torch.ones(2, requires_grad=True)
    with Zeros():
        y = x.exp()
        assert y.tolist() == [0.0, 0.0] and type(y.grad_fn).__name__ == "ExpBackward0"
        with pytest.raises(ValueError, match="no products"):
            x * 2
        with _disable_current_modes():
            assert (x * 2).tolist() == [2.0, 2.0]
    assert (x * 2).tolist() == [2.0, 2.0]
    assert torch.vmap(lambda t: t.sum())(torch.ones(2, 3)).tolist() == [3.0, 3.0]
