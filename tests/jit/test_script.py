"""`torch.jit.script`: what it compiles computes what Python does, here, from archives, and in
PyTorch; and what it refuses."""

from __future__ import annotations

import copy
import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import taimatsu as torch
from taimatsu import Tensor, nn
from taimatsu.jit.frontend import NotSupportedError, UnsupportedNodeError

from . import models, programs

NAMES = [f.__name__ for f, _ in programs.FUNCTIONS]
CASES = models.cases()
LAYERS = [*models.layers(), *models.attentions(), *models.losses()]


def assert_same(want: Any, got: Any) -> None:
    """Equal to rounding, of the same types; ``got`` may be PyTorch's."""
    if isinstance(want, Tensor):
        array = got.detach().numpy()
        assert want.shape == array.shape
        assert str(want.dtype).rpartition(".")[2] == str(got.dtype).rpartition(".")[2]
        theirs = torch.from_numpy(array.copy())
        torch.testing.assert_close(want.detach(), theirs, rtol=1e-4, atol=1e-5)
    elif isinstance(want, (list, tuple)):
        assert len(want) == len(got)
        for a, b in zip(want, got, strict=True):
            assert_same(a, b)
    elif isinstance(want, dict):
        assert list(want) == list(got)
        assert_same(list(want.values()), list(got.values()))
    else:
        assert type(want) is type(got)
        assert want == pytest.approx(got) if isinstance(want, float) else want == got


def loaded(scripted: Any, load: Callable = torch.jit.load) -> Any:
    return load(io.BytesIO(scripted.save_to_buffer()))


# ---- What is computed ---------------------------------------------------------------------------
@pytest.mark.parametrize(("function", "calls"), programs.FUNCTIONS, ids=NAMES)
def test_a_function_computes_the_same_and_so_does_its_archive(function, calls):
    scripted = torch.jit.script(function)
    assert isinstance(scripted, torch.jit.ScriptFunction)
    again = loaded(scripted)
    for args in calls:
        want = function(*copy.deepcopy(args))
        assert_same(want, scripted(*copy.deepcopy(args)))
        assert_same(want, again(*copy.deepcopy(args)))


@pytest.mark.parametrize("name", CASES)
def test_a_model_computes_the_same_and_so_does_its_archive(name):
    model, calls = CASES[name]
    scripted = torch.jit.script(model)
    assert isinstance(scripted, torch.jit.ScriptModule)
    again = loaded(scripted)
    for args in calls:
        want = model(*args)
        assert_same(want, scripted(*args))
        assert_same(want, again(*args))
    if scripted is not model:
        assert list(scripted.state_dict()) == list(model.state_dict())
        assert [n for n, _ in again.named_parameters()] == [n for n, _ in model.named_parameters()]


@pytest.mark.parametrize(("layer", "given"), LAYERS, ids=lambda x: type(x).__name__)
def test_the_layers(layer, given):
    layer.eval()
    args = given if isinstance(given, tuple) else (given,)
    scripted = torch.jit.script(layer)
    assert_same(layer(*args), scripted(*args))
    assert_same(layer(*args), loaded(scripted)(*args))


def test_training_is_the_models_own():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    scripted, x = torch.jit.script(model), torch.randn(6, 3)
    torch.manual_seed(1)
    want = model(x)
    torch.manual_seed(1)
    assert torch.equal(want, scripted(x)) and model[1].num_batches_tracked == 2
    scripted(x).sum().backward()
    assert model[0].weight.grad is not None
    assert model[0].weight is scripted.get_parameter("0.weight")
    scripted.eval()
    assert not scripted[1].training and torch.equal(scripted(x), scripted(x))


# ---- Its own semantics --------------------------------------------------------------------------
def test_integers_to_a_power_are_floats():
    @torch.jit.script
    def power(n: int):
        return n**2, n ** (-1)

    assert power(2) == (4.0, 0.5) and type(power(2)[0]) is float


def test_scripting_is_known_inside():
    @torch.jit.script
    def inside(x):
        if not torch.jit.is_scripting():
            return x.nothing_of_the_kind()  # not compiled
        return x

    assert inside(torch.ones(1)) == 1 and not torch.jit.is_scripting()


def test_errors_of_the_program():
    @torch.jit.script
    def checked(n: int) -> int:
        assert n != 0, f"no {n}"
        if n < 0:
            raise ValueError(f"negative: {n}")
        return n

    assert checked(3) == 3
    with pytest.raises(torch.jit.Error, match="AssertionError: no 0"):
        checked(0)
    with pytest.raises(torch.jit.Error, match=r"builtins\.ValueError: negative: -1"):
        checked(-1)


def test_arguments_from_python():
    @torch.jit.script
    def f(x: Tensor, n: float = 2, names: list[str] | None = None) -> float:
        return float(x.sum()) * n

    assert f(torch.ones(2), 3) == 6.0 and f(x=torch.ones(2)) == 4.0
    with pytest.raises(RuntimeError, match=r"expected a value of type 'Tensor'|Expected a value"):
        f([1.0])
    with pytest.raises(RuntimeError, match="missing value for argument 'x'"):
        f()
    with pytest.raises(RuntimeError, match="at most 3 argument"):
        f(torch.ones(1), 1, None, 2)
    with pytest.raises(RuntimeError, match="keyword argument 'y'"):
        f(torch.ones(1), y=2)
    assert f.schema == (
        "f(Tensor x, float n=2.0, str[]? names=None) -> (float)"
    )


class Left(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls: list[str] = []

    @torch.jit.ignore
    def outside(self, x: Tensor) -> Tensor:
        self.seen = x.numpy().tolist()
        return x + 1

    @torch.jit.unused
    def never(self, x: Tensor) -> Tensor:
        return undefined(x)  # noqa: F821

    def forward(self, x: Tensor, how: int) -> Tensor:
        if how == 0:
            return self.outside(x)
        return self.never(x)


def test_what_stays_in_python():
    model = Left()
    scripted = torch.jit.script(model)
    assert scripted(torch.ones(1), 0) == 2 and model.seen == [1.0]
    with pytest.raises(torch.jit.Error, match="unused"):
        scripted(torch.ones(1), 1)
    with pytest.raises(RuntimeError, match="Python function"):
        scripted.save_to_buffer()


def test_attributes_change():
    class Counting(nn.Module):
        limit: torch.jit.Final[int] = 3
        kinds: set[str] = {"no type of the language"}  # noqa: RUF012  (nothing asks for it)

        def __init__(self):
            super().__init__()
            self.count = 0
            self.seen: list[int] = []
            self.names = torch.jit.Attribute({}, dict[str, int])

        @property
        def doubled(self) -> int:
            return 2 * self.count

        @torch.jit.export
        def reset(self, to: int = 0):
            self.count = to
            self.seen.clear()

        def forward(self, x):
            self.count += 1
            self.seen.append(self.count)
            self.names["last"] = self.count
            return x * min(self.count, self.limit) + self.doubled

    model = Counting()
    model.__class__.__annotations__ = {"limit": torch.jit.Final[int], "seen": list[int]}
    scripted = torch.jit.script(model)
    assert scripted(torch.ones(1)) == 3 and scripted.count == 1 and scripted.names == {"last": 1}
    again = loaded(scripted)
    assert again.count == 1 and again(torch.ones(1)) == 6 and again.seen == [1, 2]
    again.reset()
    assert again.count == 0 and scripted.doubled == 2 and again.doubled == 0


def test_a_script_module_is_a_module():
    model = models.ResNet()
    scripted = torch.jit.script(model)
    assert scripted.original_name == "ResNet" and "def forward(self" in scripted.code
    assert "RecursiveScriptModule(original_name=Conv2d)" in repr(scripted)
    assert [n for n, _ in scripted.named_modules()] == [n for n, _ in model.named_modules()]
    for copied in (copy.deepcopy(scripted), copy.copy(scripted)):
        assert torch.equal(copied.fc.weight, scripted.fc.weight)
    assert copy.deepcopy(scripted).fc.weight is not scripted.fc.weight
    assert scripted.fc.in_features == 8 and len(scripted.layer1) == 2
    double = copy.deepcopy(scripted).double()
    assert double(torch.randn(1, 3, 32, 32, dtype=torch.float64)).dtype == torch.float64
    assert model.fc.weight.dtype == torch.float32
    calls = []
    scripted.register_forward_hook(lambda module, args, out: calls.append(out))
    out = scripted(torch.randn(1, 3, 32, 32))
    assert calls[0] is out
    scripted.load_state_dict(models.ResNet().state_dict())


def test_modules_of_one_kind_share_their_code():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 3)))
    assert type(scripted[0]) is type(scripted[1]) and type(scripted[0]) is not type(scripted[2])


def test_units_of_text():
    unit = torch.jit.CompilationUnit("def f(a: int) -> int:\n    return a + 1\n")
    assert unit.f(2) == 3
    assert torch.jit.export_opnames(unit.f) == ["aten::add"]
    with pytest.raises(AttributeError):
        unit.g  # noqa: B018


def test_methods_traced_together():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return self.conv(x)

        def weighted(self, weight):
            return weight * self.conv.weight + torch.ones(3)

    net, x, w = Net(), torch.rand(1, 1, 3, 3), torch.rand(1, 1, 3, 3)
    both = loaded(torch.jit.trace_module(net, {"forward": x, "weighted": w}))
    assert torch.equal(both(x), net(x)) and torch.equal(both.weighted(w), net.weighted(w))


# ---- What is refused ----------------------------------------------------------------------------
G = torch.ones(2)
REFUSED: list[tuple[str, type, str]] = [
    ("return undefined(x)", RuntimeError, "undefined value undefined"),
    ("yield x", UnsupportedNodeError, "Yield"),
    ("import os", UnsupportedNodeError, "import statements"),
    ("y = lambda z: z", UnsupportedNodeError, "Lambda"),
    ("try:\n  y = 1\nexcept ValueError:\n  pass", UnsupportedNodeError, "try blocks"),
    ("class A:\n  pass", UnsupportedNodeError, "class definitions"),
    ("return [y for y in x if y > 0]", NotSupportedError, "Comprehension ifs"),
    ("return f'{x:.2f}'", NotSupportedError, "formatting"),
    ("return x + G", RuntimeError, "python value of type 'Tensor'"),
    ("return x.foo()", RuntimeError, "no attribute or method 'foo'"),
    ("return x.numpy()", RuntimeError, "no attribute or method 'numpy'"),
    ("return torch.relu(x, 1, 2)", RuntimeError, "Expected at most 1 arguments"),
    ("if n > 1:\n  y = 1\nelse:\n  y = 'a'\nreturn y", RuntimeError, "Type mismatch: y"),
    ("if n > 1:\n  y = 1\nreturn y", RuntimeError, "y is not defined in the false branch"),
    ("for i in range(n):\n  y = i\nreturn y", RuntimeError, "undefined value y"),
    ("y = None\nif n > 1:\n  y = x\nreturn y", RuntimeError, "previously had type NoneType"),
    ("n = 'a'\nif n == 'a':\n  n = 3", RuntimeError, "previously had type str"),
    ("y = [1]\ny.append('a')", RuntimeError, "append of a List"),
    ("z: Optional[int] = n\nreturn z + 1", RuntimeError, "no operator '\\+'"),
    ("y = (1, 'a')\nreturn y[n]", RuntimeError, "tuple index"),
    ("with open('f') as h:\n  pass", RuntimeError, "builtin"),
    ("if n > 1:\n  return 1\nreturn 'a'", RuntimeError, "Previous return statement"),
    ("return n.bit_length()", RuntimeError, "'int' object has no attribute"),
    ("return {**{}}", UnsupportedNodeError, "Dict"),
    ("y: Dict[List[int], int] = {}", RuntimeError, "Cannot create dict"),
    ("return print(*n)", RuntimeError, "only tuples"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "why"), REFUSED, ids=[r[0][:30] for r in REFUSED])
def test_what_the_language_does_not_have(body, kind, why, tmp_path):
    path = tmp_path / "program.py"
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    path.write_text(f"import taimatsu as torch\nfrom typing import *\nG = torch.ones(2)\n"
                    f"def f(x, n: int):\n{lines}")  # fmt: skip
    with pytest.raises(kind, match=why) as raised:
        torch.jit.script(imported(path).f)
    assert f'File "{path}", line ' in str(raised.value) and "<--- HERE" in str(raised.value)


def imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"program_{abs(hash(path))}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def test_what_is_no_program():
    with pytest.raises(TypeError, match="int"):
        torch.jit.script(5)
    with pytest.raises(TypeError, match="no Python source"):
        torch.jit.script(max)
    with pytest.raises(RuntimeError, match="passing an instance"):
        torch.jit.script(nn.Linear)

    class Missing(nn.Module):
        def forward(self, x):
            return self.nothing + x

    with pytest.raises(RuntimeError, match="Module 'Missing' has no attribute 'nothing'"):
        torch.jit.script(Missing())


# ---- With PyTorch -------------------------------------------------------------------------------
def theirs(value: Any) -> Any:
    pytorch = sys.modules["torch"]
    if isinstance(value, Tensor):
        return pytorch.from_numpy(value.detach().numpy().copy())
    if isinstance(value, (list, tuple)):
        return type(value)(map(theirs, value))
    return {k: theirs(v) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("function", "calls"), programs.FUNCTIONS, ids=NAMES)
def test_pytorch_runs_our_functions(function, calls):
    pytorch = pytest.importorskip("torch")
    there = loaded(torch.jit.script(function), pytorch.jit.load)
    for args in calls:
        assert_same(function(*copy.deepcopy(args)), there(*theirs(args)))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_pytorch_runs_our_models(name):
    pytorch = pytest.importorskip("torch")
    model, calls = CASES[name]
    there = loaded(torch.jit.script(model), pytorch.jit.load)
    for args in calls:
        assert_same(model(*args), there(*theirs(args)))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("layer", "given"), LAYERS, ids=lambda x: type(x).__name__)
def test_pytorch_runs_our_layers(layer, given):
    pytorch = pytest.importorskip("torch")
    layer.eval()
    args = given if isinstance(given, tuple) else (given,)
    there = loaded(torch.jit.script(layer), pytorch.jit.load)
    assert_same(layer(*args), there(*theirs(args)))


@pytest.fixture(scope="module")
def in_pytorch(tmp_path_factory):
    """The programs and models, written for PyTorch."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("pytorch")
    found = []
    for module in (programs, models):
        text = Path(module.__file__).read_text().replace("taimatsu", "torch")
        path = folder / f"pytorch_{Path(module.__file__).name}"
        path.write_text(text)
        found.append(imported(path))
    return found


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("function", "calls"), programs.FUNCTIONS, ids=NAMES)
def test_what_pytorch_scripted_of_functions_runs_here(function, calls, in_pytorch):
    pytorch = pytest.importorskip("torch")
    there = pytorch.jit.script(getattr(in_pytorch[0], function.__name__))
    buffer = io.BytesIO()
    pytorch.jit.save(there, buffer)
    buffer.seek(0)
    here = torch.jit.load(buffer)
    for args in calls:
        assert_same(function(*copy.deepcopy(args)), here(*copy.deepcopy(args)))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_what_pytorch_scripted_of_models_runs_here(name, in_pytorch):
    pytorch = pytest.importorskip("torch")
    model, calls = in_pytorch[1].cases()[name]
    buffer = io.BytesIO()
    pytorch.jit.save(pytorch.jit.script(model), buffer)
    buffer.seek(0)
    here = torch.jit.load(buffer)
    for args in calls:
        ours = _ours(args)
        assert_same(here(*ours), model(*args))


def _ours(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_ours, value))
    return torch.from_numpy(value.numpy()) if hasattr(value, "numpy") else value
