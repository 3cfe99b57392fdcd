"""Compiled functions give what eager ones give, bit for bit: `compile` puts calls off and fuses."""

import os
import random
import threading

import numpy as np
import pytest

import taimatsu as torch
from taimatsu.graph import fuse

F = torch.nn.functional
DEVICE = os.environ.get("TAIMATSU_TEST_DEVICE", "cpu")  # tests/cuda/test_double.py: "cuda"


@pytest.fixture(autouse=True)
def _device():
    torch.set_default_device(None if DEVICE == "cpu" else DEVICE)
    yield
    torch.set_default_device(None)


@pytest.fixture
def kernels(monkeypatch):
    """The calls of each kernel that plans made in the test put together."""
    found = []
    build = fuse.Builder.build

    def noted(self):
        made = build(self)
        found.append([self.calls[m].nest.name for m in self.unit.members])
        return made

    monkeypatch.setattr(fuse.Builder, "build", noted)
    return found


def tensors_of(x):
    if isinstance(x, torch.Tensor):
        return [x]
    return [t for item in x for t in tensors_of(item)]


def same(function, *args, times=3):
    """Calls it eagerly and compiled, several times: the first runs one by one, then come plans."""
    compiled = torch.compile(function)
    for seed in range(times):
        torch.manual_seed(seed)
        expected = tensors_of(function(*args))
        torch.manual_seed(seed)
        got = tensors_of(compiled(*args))
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            assert (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)
            assert torch.equal(a, b) or torch.equal(a.isnan(), b.isnan())


def numbers(*sizes, dtype=torch.float32):
    torch.manual_seed(17)
    return torch.randn(*sizes).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
def test_a_chain_is_one_kernel(kernels, dtype):
    def chain(x, y):
        for _ in range(4):
            x = (x * y + 0.5).sin() - y
        return x

    same(chain, numbers(33, 7, dtype=dtype), numbers(33, 7, dtype=dtype))
    assert len(kernels) == 1 and len(kernels[0]) == 16


def test_what_one_kernel_cannot_take_is_split(kernels):
    def chain(x, y):  # more numbers than a kernel is given
        for i in range(40):
            x = x * y + i
        return x

    def many(*args):  # more operands
        total = args[0]
        for x in args[1:]:
            total = total * 0.5 + x
        return total

    same(chain, numbers(8, 8), numbers(8, 8))
    assert 2 <= len(kernels) <= 4
    del kernels[:]
    same(many, *(numbers(8, 8) + i for i in range(40)))
    assert 2 <= len(kernels) <= 6


def test_memory_that_is_not_needed_any_more_is_given_up():
    def chain(x):
        for _ in range(200):
            x = x + 1
        return x

    compiled, x = torch.compile(chain), torch.zeros(1 << 20)
    for _ in range(3):  # the calls one by one, then a plan
        torch._core.reset_peak_memory_stats()
        before = torch._core.memory_stats()["allocated"]
        assert compiled(x)[0] == 200
        assert torch._core.memory_stats()["peak_allocated"] - before < 20 * x.nbytes


def test_rows_take_in_what_is_before_and_after(kernels):
    def normalised(x, w):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w

    same(normalised, numbers(40, 70), numbers(70))
    assert len(kernels) == 1 and kernels[0][0] == "mean"
    same(lambda x: torch.softmax(x * 2 + 1, -1) * 3, numbers(5, 3, 16))
    assert len(kernels) == 2
    same(lambda x: (x.relu() + 1).sum(0) / 3, numbers(50, 20))
    assert len(kernels) == 3


def test_long_rows(kernels):
    x = numbers(3, 100_000)
    same(lambda x: (x * x + 1).sum(), x)
    same(lambda x: (lambda y: (y, y.sum()))(x * x), x)
    same(lambda x: (x * 2).sum(1) / 3, x)


def test_broadcasting_and_orders_of_dims():
    x, row, column = numbers(6, 8), numbers(8), numbers(6, 1)
    same(lambda x, r, c: ((x + r) * c).exp() - r, x, row, column)
    same(lambda x, r, c: (x.t() + c.t()) * 2, x, row, column)
    same(lambda x, r, c: (r * 2 + 1) * x.sum(1, keepdim=True), x, row, column)
    image = numbers(2, 3, 4, 5).to(memory_format=torch.channels_last)
    same(lambda x: (x * 2).relu() + x.mean((2, 3), keepdim=True), image)
    same(lambda x: x.permute(0, 2, 3, 1).softmax(-1).sum((0, 1)), image)


def test_views_and_writes():
    def program(x):
        x = x.clone()
        y = x * 2
        x[:, 1:] += 1
        x[0] = y[1] - x[2]
        z = x.view(-1)[3:9].exp_()
        y.mul_(x).add_(z.sum())
        return x, y, z, x.t().contiguous()

    same(program, numbers(5, 6))


def test_a_write_after_a_read_stays_after_it():
    def program(x):
        x = x.clone()
        before = x + 1
        x.zero_()
        x.add_(5)
        return before * 2, x

    same(program, numbers(10, 10))


def test_numbers_are_no_part_of_a_plan(kernels):
    scaled = torch.compile(lambda x, a: (x * a + a).sin())
    x = numbers(100)
    for a in (0.5, 1.5, 2.5, -1.0):
        assert torch.equal(scaled(x, a), (x * a + a).sin())
    assert len(kernels) == 1


def test_calls_move_past_what_commutes_with_them(kernels):
    def gated(x, w, u, d):
        return (F.silu(x @ w) * (x @ u)) @ d

    same(gated, numbers(4, 6), numbers(6, 8), numbers(6, 8), numbers(8, 6))
    assert kernels == [["silu", "mul"]]

    def crossed(x, y, w):  # the second product reads what the call after it overwrites
        a = x.sin()
        b = y @ w
        y.add_(a)
        return a, b, y @ w

    compiled = torch.compile(crossed)
    for _ in range(3):
        y, w = numbers(4, 4), numbers(4, 4)
        expected = crossed(y.cos(), y.clone(), w)
        for a, b in zip(compiled(y.cos(), y.clone(), w), expected, strict=True):
            assert torch.equal(a, b)


def test_dead_results_are_not_stored(kernels):
    x = numbers(1000)
    function = torch.compile(lambda x: ((x + 1) * 2).sin())
    for _ in range(3):
        function(x)
    assert len(kernels) == 1
    kept = []
    function = torch.compile(lambda x: kept.append(x + 1) or (kept[-1] * 2).sin())
    for _ in range(3):
        y = function(x)
        assert torch.equal(kept[-1], x + 1)
        assert torch.equal(y, ((x + 1) * 2).sin())


def test_values_are_there_when_they_are_asked_for():
    x = numbers(30).cpu()  # whose memory arrays share

    def program(x):
        y = x * 2
        if y.sum().item() > 0:  # Python decides
            y = y + 1
        total = float(y.max())
        array = y.numpy()
        array[0] = 7
        return y * total, torch.from_numpy(array) + 1

    same(program, x)
    shared = torch.compile(lambda a: (torch.from_numpy(a) + 1, a.__setitem__(0, 9.0))[0])
    array = np.zeros(100, np.float32)
    for _ in range(3):
        array[0] = 1
        assert shared(array)[0] == 2 and array[0] == 9


def test_random_numbers_come_in_the_order_of_the_calls():
    def program(x):
        a = torch.rand(50) * 2
        torch.manual_seed(3)
        b = torch.randn(50) + a
        state = torch.get_rng_state()
        return a, b, F.dropout(x, 0.5), state

    same(program, numbers(50))


def test_backward_inside_and_outside():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.LayerNorm(16), torch.nn.Linear(16, 4)
    )
    x, target = numbers(32, 8), torch.arange(32) % 4

    def loss(x):
        return F.cross_entropy(model(x), target)

    def step(x):
        model.zero_grad()
        out = loss(x)
        out.backward()
        return [out, *(p.grad for p in model.parameters())]

    same(step, x)
    compiled = torch.compile(loss)
    for _ in range(3):
        expected = step(x)
        model.zero_grad()
        out = compiled(x)
        out.backward()
        for a, b in zip([out, *(p.grad for p in model.parameters())], expected, strict=True):
            assert torch.equal(a.detach(), b.detach())


def test_a_whole_train_step_with_its_optimizer():
    def train(compiled):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 1))
        optimizer = torch.optim.Adam(model.parameters(), 0.01)

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        step = torch.compile(step) if compiled else step
        return [step(numbers(20, 6) + i).item() for i in range(6)]

    assert train(True) == train(False)


def test_modules():
    model = torch.nn.Linear(4, 3)
    compiled = torch.compile(model)
    assert isinstance(compiled, torch.nn.Module) and compiled._orig_mod is model
    assert compiled.out_features == 3 and list(compiled.state_dict()) == [
        "_orig_mod.weight", "_orig_mod.bias",
    ]  # fmt: skip
    x = numbers(2, 4)
    for _ in range(3):
        assert torch.equal(compiled(x).detach(), model(x).detach())
    assert torch.compile(F.relu, backend="eager") is F.relu
    as_it_is = torch.compile(model, backend="eager")
    assert type(as_it_is) is type(compiled) and torch.equal(as_it_is(x), model(x))
    assert torch.compile(model, disable=True) is model
    assert torch.equal(compiled.dynamo_ctx(model.forward)(x), model(x))
    assert not compiled.eval()._orig_mod.training


def test_errors_of_shape_come_at_their_line_and_others_by_the_end():
    def wrong(x):
        y = x + 1
        return y @ y

    with pytest.raises(RuntimeError, match="mat"):
        torch.compile(wrong)(numbers(2, 3))

    late = []

    @torch.compile
    def out_of_range(x):
        y = x[torch.tensor([7])]
        late.append(y)
        return y * 2

    with pytest.raises(IndexError):
        out_of_range(numbers(3))
    x = numbers(4)  # and nothing is left over for the next one
    assert torch.equal(torch.compile(lambda x: x + 1)(x), x + 1)


def test_an_exception_leaves_what_was_computed():
    done = []

    @torch.compile
    def program(x):
        done.append(x * 2 + 1)
        raise KeyError("mine")

    x = numbers(100)
    for _ in range(3):
        with pytest.raises(KeyError, match="mine"):
            program(x)
        assert torch.equal(done[-1], x * 2 + 1)


def test_inside_one_another():
    inner = torch.compile(lambda x: x.sin() + 1)
    same(lambda x: inner(x * 2) - 1, numbers(40))


def test_threads_have_their_own_calls():
    failures = []

    @torch.compile
    def work(x):
        y = x
        for _ in range(10):
            y = y * 0.5 + 1
        return y

    def run(i):
        x = torch.full((1000,), float(i))
        expected = x
        for _ in range(10):
            expected = expected * 0.5 + 1
        failures.extend(i for _ in range(30) if not torch.equal(work(x), expected))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures


def random_program(seed):
    """A function of two matrices that makes, changes and drops tensors at random."""
    choices = random.Random(seed)
    steps = [(choices.randrange(14), choices.random(), choices.random()) for _ in range(25)]

    def program(x, y):
        alive = [x.clone(), y.clone()]

        def pick(r):
            return alive[int(r * len(alive))]

        for kind, r, s in steps:
            a, b = pick(r), pick(s)
            if kind < 3:
                alive.append([torch.add, torch.mul, torch.maximum][kind](a, b))
            elif kind < 5:
                alive.append([torch.tanh, torch.relu][kind - 3](a))
            elif kind == 5:
                alive.append(a.softmax(int(s * 2)))
            elif kind == 6:
                alive.append(a - b.mean(int(r * 2), keepdim=True))
            elif kind == 7:
                alive.append(a.t().contiguous())
            elif kind == 8:
                a.mul_(0.5).add_(b.detach().clone())
            elif kind == 9:
                a[1:] = b[:-1] * 2
            elif kind == 10:
                alive.append(a.sum() * b)
            elif kind == 11:
                alive.append((a @ b).tanh())
            elif kind == 12 and len(alive) > 3:
                del alive[int(r * len(alive))]
            elif kind == 13:
                alive.append(torch.rand(8, 8) + a.t())
        return alive

    return program


@pytest.mark.parametrize("seed", range(30))
def test_random_programs(seed):
    same(random_program(seed), numbers(8, 8), numbers(8, 8).t().contiguous())


def test_explain():
    def function(x):
        y = torch.relu(x @ x + 1)
        if y.sum().item() > 0:
            y = torch.softmax(y * 2, -1)
        return y

    found = torch.compiler.explain(function)(torch.ones(4, 4))
    assert [s.kernels for s in found.segments] == [
        [["matmul"], ["add", "relu", "sum"]], [["mul", "softmax"]]]  # fmt: skip
    assert (found.graph_break_count, found.op_count) == (1, 6)
    assert "item() > 0" in found.break_reasons[0] and __file__ in str(found)


def test_explain_a_step():
    model = torch.nn.Linear(4, 4)
    found = torch._dynamo.explain(lambda x: model(x).square().mean().backward())(torch.ones(2, 4))
    assert found.graph_count == 1 and any("mean" in kernel for kernel in found.ops_per_graph)
