"""Replays of composites: what is repeated without Python does what Python does."""

from __future__ import annotations

import contextlib
import warnings

import pytest

import taimatsu as torch
from taimatsu import _core
from taimatsu.ops.table import Op

from .samples import PUBLIC, each, samples, snapshot, tensors
from .test_values import supported

COMPOSITES = sorted(
    n for n, op in PUBLIC.items()
    if op.kind == "composite" and op.replayed
    and "empty" not in n and n != "chalf"  # any elements; a dtype that NumPy lacks
)


@contextlib.contextmanager
def replays(on: bool):
    before = _core.set_replays(on)
    try:
        yield
    finally:
        _core.set_replays(before)


def outcome(op, args, kwargs, gradients: bool):
    """All that a call does: results, gradients, what it wrote to, or the error."""
    torch.manual_seed(0)
    if gradients:
        args, kwargs = each((args, kwargs), differentiable)
    given = tensors((args, kwargs))
    try:
        result = op(*args, **kwargs)
    except Exception as error:
        return type(error), str(error)
    found = [snapshot(result), type(result), snapshot(given)]
    wanted = [y for y in tensors(result) if y.requires_grad]
    if gradients and wanted:
        inputs = [x for x in given if x.requires_grad]
        total = sum((y.abs() if y.is_complex() else y).sum() for y in wanted)
        found.append(snapshot(torch.autograd.grad(total, inputs, allow_unused=True)))
    return found


def differentiable(x):
    x = x.clone()  # which keeps the layout where it has no gaps
    return x.requires_grad_() if x.dtype.is_floating_point or x.dtype.is_complex else x


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("name", COMPOSITES)
def test_replays(name, gradients):
    op = PUBLIC[name]
    dtype = next(d for d in (torch.float32, *supported(name)) if d in supported(name))
    for layout in ("contiguous", "transposed"):
        rounds = []  # the first leaves recipes, the others find them: with other elements
        for seed in range(3):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                both = [samples(name, dtype, layout, seed=seed) for _ in range(2)]
                for (args, kwargs), (same_args, same_kwargs) in zip(*both, strict=True):
                    with replays(False):
                        expected = outcome(op, args, kwargs, gradients)
                    with replays(True):
                        rounds.append((outcome(op, same_args, same_kwargs, gradients), expected))
        for found, expected in rounds:
            assert found == expected


# ---- which runs leave a recipe, and for which arguments ------------------------------------------


def counted(function, schema="_counted(Tensor self, Any other=None) -> Tensor"):
    """A composite, and a list with an item for each run of its function."""
    runs = []

    def noted(*args):
        runs.append(None)
        return function(*args)

    return Op(schema, "composite", noted, module=None, method=False, doc="Counts."), runs


def twice(op, runs, first, second):
    """The result of the second call, and whether Python ran for it."""
    op(*first)
    before = len(runs)
    return op(*second), len(runs) > before


X, Y = torch.arange(6.0).view(2, 3), torch.arange(6.0, 12.0).view(2, 3)


def test_python_runs_once():
    op, runs = counted(lambda x, _: (x.unsqueeze(0) * 2).squeeze(0) + x.size(0))
    result, ran = twice(op, runs, (X,), (Y,))
    assert not ran and result.tolist() == (Y * 2 + 2).tolist()


@pytest.mark.parametrize("other", [
    Y.double(), Y[:1], Y.t(), Y.clone().requires_grad_(), Y.to("meta"),
], ids=["dtype", "sizes", "strides", "requires_grad", "device"])  # fmt: skip
def test_other_tensors_are_run_anew(other):
    op, runs = counted(lambda x, _: x * x.size(0))
    assert twice(op, runs, (X,), (other,))[1]


def test_an_offset_makes_no_difference():
    op, runs = counted(lambda x, _: x.view(3) * 2)
    result, ran = twice(op, runs, (X[0],), (X[1],))
    assert not ran and result.tolist() == [6, 8, 10]


@pytest.mark.parametrize(("first", "second", "same"), [
    (1, 1, True), (1, 2, False), (1, True, False), (1, 1.0, False), (0.0, -0.0, False),
    ("a", "a", True), ("a", "b", False), ((1, 2), (1, 2), True), ((1, 2), [1, 2], False),
    ([1, [2]], [1, [3]], False), (None, None, True), (None, 0, False), (object(), object(), False),
])  # fmt: skip
def test_other_arguments(first, second, same):
    op, runs = counted(lambda x, other: x * (2 if other else 3))
    result, ran = twice(op, runs, (X, first), (X, second))
    assert ran != same
    assert result.tolist() == (X * (2 if second else 3)).tolist()


def test_the_modes_are_part_of_it():
    op, runs = counted(lambda x, _: x + 1 if torch.is_grad_enabled() else x)
    op(X)
    with torch.no_grad():
        assert op(X) is X
    assert len(runs) == 2


@pytest.mark.parametrize("look", [
    lambda x: x.sum().item(), lambda x: x.tolist(), lambda x: bool(x[0, 0] > 3),
    lambda x: x.numpy(),
    lambda x: int(x[0, 0]), lambda x: x.nonzero(), lambda x: x[x > 3], lambda x: x.data_ptr(),
    lambda x: torch.equal(x, X), lambda x: [*memoryview(x.view(-1))],
], ids=["item", "tolist", "bool", "numpy", "int", "nonzero", "mask", "data_ptr", "equal",
        "buffer"])  # fmt: skip
def test_who_looks_at_elements_is_run_each_time(look):
    def chosen(x, _):
        look(x)
        return x * 2

    op, runs = counted(chosen)
    assert twice(op, runs, (X,), (Y,))[1]


def test_a_tensor_from_nowhere():
    op, runs = counted(lambda x, _: x + torch.tensor(float(len(runs))))
    result, ran = twice(op, runs, (X,), (X,))
    assert ran and result.tolist() == (X + 2).tolist()
    kept = _core.constant(torch.tensor(5.0))
    op, runs = counted(lambda x, _: x + kept)
    assert not twice(op, runs, (X,), (X,))[1]


def test_one_tensor_in_two_places():
    op, runs = counted(lambda x, y: x - y, "_counted(Tensor self, Tensor other) -> Tensor")
    for _ in range(2):
        assert op(X, X).sum() == 0
        assert op(X, Y).tolist() == (X - Y).tolist()
    assert len(runs) == 2


def test_history_and_views():
    op, runs = counted(lambda x, _: x.t()[1:].exp())
    for _ in range(2):
        x = torch.tensor(X.tolist(), requires_grad=True)
        y = op(x)
        y.sum().backward()
        assert x.grad.tolist() == torch.cat([torch.zeros(2, 1), X[:, 1:].exp()], 1).tolist()
    assert len(runs) == 1
    op, runs = counted(lambda x, _: x[1])
    op(X)
    z = X.clone()
    op(z).zero_()
    assert z[1].sum() == 0 and len(runs) == 1


def test_writes_and_no_grad_inside():
    def step(x, _):
        with torch.no_grad():
            x.mul_(2)
        return x.detach() + 1

    op, runs = counted(step)
    x, y = X.clone().requires_grad_(), Y.clone().requires_grad_()
    (result, ran), version = twice(op, runs, (x,), (y,)), y._version
    assert not ran and version == 1 and not result.requires_grad
    assert result.tolist() == (2 * Y + 1).tolist() == (y + 1).tolist()


def test_random_numbers_go_on():
    op, runs = counted(lambda x, _: x + torch.rand(3))
    torch.manual_seed(1)
    expected = [(X + torch.rand(3)).tolist() for _ in range(3)]
    torch.manual_seed(1)
    assert [op(X).tolist() for _ in range(3)] == expected and len(runs) == 1


def test_errors_are_those_of_the_call():
    schema = "_counted(Tensor self, Tensor i) -> Tensor"
    op, runs = counted(lambda x, i: x.index_select(0, i), schema)
    op(X, torch.tensor([1]))
    with pytest.raises(IndexError, match="index_select"):
        op(X, torch.tensor([2]))
    assert op(X, torch.tensor([0])).tolist() == [[0, 1, 2]] and len(runs) == 1


def test_subclasses_and_modes_see_every_op():
    seen = []

    class Noisy(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append(func)
            return super().__torch_function__(func, types, args, kwargs)

    F = torch.nn.functional
    x = torch.rand(1, 1, 4, 4)
    for _ in range(2):
        F.max_pool2d(x, 2)
    F.max_pool2d(x.as_subclass(Noisy), 2)
    assert seen
    batched = torch.func.vmap(lambda v: F.avg_pool2d(v, 2))(torch.stack([x, x]))
    assert batched.tolist() == [F.avg_pool2d(x, 2).tolist()] * 2


def test_many_kinds_of_arguments():
    """Where hardly a recipe is used again, none are made."""
    op, runs = counted(lambda x, _: x + 1)
    for n in range(200):
        assert op(torch.zeros(n)).shape == (n,)
    assert len(runs) == 200
