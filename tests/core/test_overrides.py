"""Who sees calls before they are carried out: classes, function modes, interpreters of ops."""

import pytest

import taimatsu as torch
from taimatsu import overrides
from taimatsu._interpreter import Interpreter, frames
from taimatsu.overrides import TorchFunctionMode, resolve_name


class Log(TorchFunctionMode):
    """Writes down the names of what is called."""

    def __init__(self):
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(resolve_name(func))
        return func(*args, **(kwargs or {}))


class Duck:
    """No tensor, but overrides what it is given to."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return resolve_name(func), types


class Trace(Interpreter):
    """Writes down the ops that reach the tape."""

    def __init__(self):
        self.names = []

    def call(self, op, args, targets):
        self.names.append(op.name)
        if op.kind == "composite":
            return self.descend(op, args, targets)
        return self.below(op, args, targets)


def test_a_mode_sees_functions_operators_methods_attributes_and_conversions():
    with Log() as log:
        x = torch.ones(2)
        y = x + 1
        y.add_(2)
        x[0] = y[1]
        x.shape, x.dim(), x.mT if x.dim() > 1 else None, bool(x[0] > 3), x.tolist()
        y.new_tensor([1.0])
    assert log.names == [
        "torch.ones", "torch.Tensor.add", "torch.Tensor.add_", "torch.Tensor.__getitem__",
        "torch.Tensor.__setitem__", "torch.Tensor.shape.__get__", "torch.Tensor.dim",
        "torch.Tensor.dim", "torch.Tensor.__getitem__", "torch.Tensor.gt",
        "torch.Tensor.__bool__", "torch.Tensor.tolist", "torch.Tensor.new_tensor",
    ]  # fmt: skip
    before = len(log.names)
    torch.ones(2)
    assert len(log.names) == before


def test_modes_nest_and_are_asked_before_classes():
    class Tripled(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return 3 * func(*args, **(kwargs or {}))

    with Log() as outer, Tripled():
        assert torch.ones(2).tolist() == [3.0] * 2 * 3  # tolist is tripled as well
    assert outer.names == ["torch.ones", "torch.Tensor.mul", "torch.Tensor.tolist"]
    with Log() as log:
        assert torch.sin(Duck()) == ("torch.sin", (Duck,))
    assert log.names == ["torch.sin"]


def test_a_mode_is_off_in_its_own_code_unless_it_enters_itself():
    class Again(Log):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is torch.neg:
                with self:
                    torch.abs(args[0])
            torch.sin(args[0])
            return super().__torch_function__(func, types, args, kwargs)

    x = torch.ones(1)
    with Again() as log:
        torch.neg(x)
    assert log.names == ["torch.abs", "torch.neg"]


def test_a_mode_that_raises_leaves_things_as_they_were():
    class Refuses(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"), Log(), Refuses():
        torch.ones(1)
    with Log() as log:
        torch.ones(1)
    assert log.names == ["torch.ones"]


def test_disabling():
    with Log() as log:
        with torch._core.DisableTorchFunction():
            torch.ones(1)
        with torch._core.DisableTorchFunctionSubclass():
            torch.zeros(1)
    assert log.names == ["torch.zeros"]


def test_duck_types_in_any_position():
    x = torch.ones(2)
    assert torch.add(x, Duck()) == ("torch.add", (Duck,))
    assert x * Duck() == ("torch.Tensor.mul", (Duck,))
    assert torch.cat([x, Duck()]) == ("torch.cat", (Duck,))
    assert torch.nn.functional.softplus(Duck())[1] == (Duck,)


def test_subclasses_are_asked_before_their_bases_and_keep_their_type():
    order = []

    class Base(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            order.append(cls)
            if cls is Derived:
                return NotImplemented
            return super().__torch_function__(func, types, args, kwargs)

    class Derived(Base):
        pass

    a, b = torch.ones(2).as_subclass(Base), torch.ones(2).as_subclass(Derived)
    with pytest.raises(TypeError, match="no implementation"):
        torch.add(a, b)
    assert order == [Derived, Base]  # Base knows nothing of Derived
    order.clear()
    assert type(a.sum(0)) is Base and type(a.detach()) is Base and a.dim() == 1
    assert order == [Base] * 3


def test_handle_torch_function_and_its_decorator():
    @overrides.wrap_torch_function(lambda a, b=0: (a, b))
    def both(a, b=0):
        return a + b

    class Mine(Duck):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return func is both, args[1:], kwargs

    assert both(1, 2) == 3
    assert both(1, Mine())[0] is True
    assert overrides.is_tensor_like(Mine()) and not overrides.is_tensor_like(1)

    class Silent:
        @classmethod
        def __torch_function__(cls, *args, **kwargs):
            return NotImplemented

    with pytest.raises(TypeError, match="no implementation found for .*both"):
        both(Silent())


def test_what_can_be_overridden():
    functions = overrides.get_overridable_functions()
    assert torch.add in functions[torch] and torch.Tensor.add in functions[torch.Tensor]
    assert torch.Tensor.shape.__get__ in functions[torch.Tensor]
    assert overrides.is_tensor_method_or_property(torch.Tensor.add)
    assert not overrides.is_tensor_method_or_property(torch.add)
    assert torch.tensor in overrides.get_ignored_functions()
    testing = overrides.get_testing_overrides()
    assert testing[torch.add](1, 2) == -1 and len(testing) == sum(map(len, functions.values()))
    assert resolve_name(torch.nn.functional.elu) == "torch.nn.functional.elu"


def test_every_function_of_the_table_asks_a_duck_type():
    """Whatever its schema says a first argument is, a class with an override is asked."""
    for name, function in torch.ops.namespaces[""].items():
        if function in overrides.get_ignored_functions():
            continue
        try:
            told = function(Duck())
        except TypeError:  # more arguments are required, or the first is no tensor
            continue
        assert told == (f"torch.{name}", (Duck,)) or told[1] == (Duck,), name


def test_interpreters_see_ops_in_place_out_and_backward():
    with Trace() as trace:
        x = torch.ones(2, requires_grad=True)
        y = x * 2
        y.add_(1)
        torch.add(x.detach(), 1, out=torch.empty(0))
        y.sum().backward()
    assert trace.names[:3] == ["ones", "mul", "add"] and "sum_backward" in trace.names
    assert x.grad.tolist() == [2.0, 2.0] and not frames()


def test_interpreters_see_what_composites_are_made_of():
    with Trace() as trace:
        torch.stack([torch.ones(2), torch.zeros(2)])
    assert trace.names == ["ones", "zeros", "stack", "cat", "view"]


def test_interpreters_nest_and_errors_leave_the_stack():
    with Trace() as outer, Trace() as inner:
        torch.ones(1)
        with pytest.raises(RuntimeError):
            torch.ones(2) + torch.ones(3)
    assert outer.names == inner.names == ["ones", "ones", "ones", "add"]
    assert not frames()


def test_out_of_several_results_under_an_interpreter():
    values, indices = torch.empty(0), torch.empty(0, dtype=torch.int64)
    with Trace():
        torch.sort(torch.tensor([2.0, 1.0]), out=(values, indices))
    assert values.tolist() == [1.0, 2.0] and indices.tolist() == [1, 0]


class Name(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func.__name__


def test_operators_are_told_as_the_functions_behind_them():
    x = torch.ones(2).as_subclass(Name)
    assert [x + 1, 1 + x, x - 1, 1 - x, x / 1, 1 / x, x % 2, x**2, x @ x, x < 1, x > 1, -x, +x] == [
        "add", "add", "sub", "__rsub__", "div", "__rdiv__", "remainder", "pow", "matmul", "lt",
        "gt", "neg", "positive",
    ]  # fmt: skip
    assert torch.ones(2) @ x == "matmul" and abs(x) == "abs" and (x // 2) == "__floordiv__"
    x += 1
    assert x == "add_"


def test_len_of_a_subclass_is_its_own():
    class Long(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func is torch.Tensor.__len__:
                return 7
            return super().__torch_function__(func, types, args, kwargs or {})

    assert len(torch.ones(2).as_subclass(Long)) == 7
    assert torch.equal(1 / torch.full((2,), 2.0).as_subclass(Long), torch.full((2,), 0.5))


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (torch.einsum, ("i,i", ..., ...)), (torch.einsum, ("i,i", [..., ...])),
        (torch.broadcast_tensors, (..., ...)), (torch.meshgrid, ([..., ...],)),
        (torch.block_diag, (...,)), (torch.equal, (..., ...)), (torch.allclose, (..., ...)),
        (torch.atleast_1d, (...,)), (torch.svd_lowrank, (...,)),
        (torch.nn.functional.triplet_margin_loss, (..., ..., ...)),
    ],
)  # fmt: skip
def test_functions_in_python_are_overridden_too(function, args):
    class Named:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return func, types

    def put(a):
        return Named() if a is ... else [put(x) for x in a] if isinstance(a, list) else a

    found, types = function(*map(put, args))
    assert found is function and types == (Named,)
