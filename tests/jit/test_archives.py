"""TorchScript archives: written, read, exchanged with PyTorch, and what their code may not do."""

from __future__ import annotations

import io
import zipfile

import pytest

import taimatsu as torch
import taimatsu.nn.functional as F
from taimatsu import nn
from taimatsu.jit.aten import operator_of
from taimatsu.jit.language import Code


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
            nn.MaxPool2d(2), nn.ConvTranspose2d(4, 4, 2, stride=2), nn.InstanceNorm2d(4),
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return F.log_softmax(self.head(F.pad(self.features(x), (1, -1))), dim=-1)


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.lstm = nn.LSTM(8, 6)
        self.norm = nn.GroupNorm(3, 6)
        self.register_buffer("scale", torch.arange(6.0))
        self.unregistered = torch.tensor([2.0])

    def forward(self, ids, extra):
        y, (h, _) = self.lstm(self.layer(self.embedding(ids)))
        y = self.norm(y.transpose(1, 2))[:, :, None, -1].clone()
        y[0] = 1
        y[y > 1.5] = 0.5
        y += extra["shift"]
        low, high = y.chunk(2)
        top, _ = y.max(-1)
        return {
            "a": F.normalize(y[..., 0] * self.scale) * self.unregistered,
            "b": torch.cat([low, high]).clamp(min=0).softmax(-1).to(torch.float64),
            "c": top.masked_fill(top > 1, 0.0) + h.sum(),
        }


def convolutions():
    return Convolutions().eval(), (torch.randn(2, 3, 8, 8),)


def sequences():
    return Sequences().eval(), (torch.randint(0, 7, (2, 4)), {"shift": torch.ones(1)})


def function():
    return (lambda x, y: (x @ y).relu() + y.T.sum()), (torch.randn(2, 3), torch.randn(3, 2))


def leaves(result):
    return list(result.values()) if isinstance(result, dict) else [result]


@pytest.mark.parametrize("make", [convolutions, sequences, function])
def test_a_traced_module_computes_the_same_and_so_does_its_archive(make, tmp_path):
    model, args = make()
    traced = torch.jit.trace(model, args)
    path = tmp_path / "model.pt"
    traced.save(path)
    loaded = torch.jit.load(path)
    loaded.save(path)
    for again in (traced, loaded, torch.jit.load(path)):
        for want, got in zip(leaves(model(*args)), leaves(again(*args)), strict=True):
            assert torch.equal(want, got)
    if isinstance(model, nn.Module):
        assert list(loaded.state_dict()) == list(model.state_dict())
        assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in model.named_parameters()]


def test_a_traced_module_shares_its_parameters_and_learns():
    model = nn.Linear(2, 1)
    traced = torch.jit.trace(model, torch.ones(1, 2))
    traced(torch.ones(3, 2)).sum().backward()
    assert model.weight.grad.tolist() == [[3.0, 3.0]] and traced.weight is model.weight
    assert "torch.linear(input, self.weight, self.bias)" in traced.code
    assert traced.original_name == "Linear" and not traced.eval().training


def test_branches_are_those_of_the_example():
    traced = torch.jit.trace(lambda x: x + 1 if x.sum() > 0 else x - 1, torch.ones(2))
    assert traced(-torch.ones(2)).tolist() == [0.0, 0.0]


def test_extra_files_and_what_is_no_archive(tmp_path):
    traced, path = torch.jit.trace(nn.Linear(1, 1), torch.ones(1, 1)), tmp_path / "model.pt"
    torch.jit.save(traced, path, _extra_files={"note": "7"})
    found = {"note": ""}
    torch.jit.load(path, _extra_files=found)
    assert found == {"note": b"7"}
    with pytest.raises(RuntimeError, match="TorchScript"):
        torch.load(path)
    with pytest.warns(UserWarning, match="TorchScript"):
        assert torch.load(path, weights_only=False).weight.shape == (1, 1)
    with pytest.raises(ValueError, match="does not exist"):
        torch.jit.load(tmp_path / "none.pt")
    torch.save({}, path)
    with pytest.raises(RuntimeError, match=r"torch\.load"):
        torch.jit.load(path)
    with pytest.raises(RuntimeError, match="no TorchScript archive"):
        torch.jit.load(io.BytesIO(b"nothing"))
    with pytest.raises(TypeError, match=r"jit\.trace"):
        torch.jit.save(nn.Linear(1, 1), path)
    with pytest.raises(RuntimeError, match="infer type"):
        torch.jit.trace(lambda x: object(), torch.ones(1))


SCRIPT = """
class Pair(NamedTuple):
  first : Tensor
  second : int
def helper(x: Tensor, n: int=2) -> Tensor:
  y = x
  i = 0
  _0 = True
  while _0:
    y = torch.mul(y, 2.)
    i = torch.add(i, 1)
    _0 = torch.lt(i, n)
  return y
def main(x: Tensor, flag: Optional[bool]=None) -> Dict[str, Tensor]:
  if torch.__isnot__(flag, None):
    flag0 = unchecked_cast(bool, flag)
    out = __torch__.script.helper(x, 3, )
  else:
    out = torch.to(x, 7)
  pair = __torch__.script.Pair(out, torch.len([1, 2]))
  found = annotate(Dict[str, Tensor], {})
  torch._set_item(found, torch.format("{}-{}", "n", pair.second), (pair).first)
  for i in range(torch.size(x, 0)):
    torch._set_item(found, str(i), torch.select(x, 0, i))
  if isinstance(x, int):
    ops.prim.RaiseException("never", "builtins.ValueError")
  else:
    pass
  return found
"""


def compiled(source):
    return Code({"__torch__/script.py": source}, [], nn.Module).resolve


def test_the_languages_statements():
    main = compiled(SCRIPT)("__torch__.script.main")
    x = torch.tensor([1.0, 2.0])
    found = main(x, True)
    assert {k: v.tolist() for k, v in found.items()} == {"n-2": [8.0, 16.0], "0": 1.0, "1": 2.0}
    assert main(x)["n-2"].dtype == torch.float64


@pytest.mark.parametrize("body", [
    "return x.numpy()", "return x.__class__", "import os", "return torch.save(x, 'f')",
    "return torch.load('f')", "return torch.hub", "return __import__('os')", "return open('f')",
    "return (lambda: x)()", "return eval('1')", "return torch.nn.Linear",
    "return main.__globals__", "return [y for y in (1,)].append.__self__",
    "return getattr(x, 'data')", "raise x", "with x: pass", "global y",
    "return torch.format('{0.__class__}', x).x", "return ops.os.system('true')",
])  # fmt: skip
def test_code_reaches_nothing_but_ops(body):
    source = f"def main(x):\n  {body}\n"
    with pytest.raises((torch.jit.Error, NameError)):
        compiled(source)("__torch__.script.main")(torch.ones(1))


def test_an_archives_class_shows_what_it_declares_only(tmp_path):
    path, evil = tmp_path / "model.pt", tmp_path / "evil.pt"
    torch.jit.trace(nn.Linear(1, 1), torch.ones(1, 1)).save(path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(evil, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name.endswith(".py"):
                text = text.replace(b"self.weight", b"(self).modules().gi_frame.f_builtins")
            new.writestr(name, text)
    with pytest.raises(torch.jit.Error, match="modules"):
        torch.jit.load(evil)(torch.ones(1, 1))


def test_ops_by_atens_name_and_order():
    x = torch.randn(2, 3, 4)
    norm = operator_of("batch_norm")
    mean, var = torch.zeros(3), torch.ones(3)
    want = F.batch_norm(x, mean, var, None, None, False, 0.1, 1e-5)
    assert torch.equal(norm(x, None, None, mean, var, False, 0.1, 1e-5, True), want)
    assert operator_of("add")(2, 3) == 5 and operator_of("floor")(2.5) == 2
    assert operator_of("sum")(x, [0], False, dtype=7).dtype == torch.float64
    assert operator_of("to")(x, torch.device("cpu"), 4, False, False).dtype == torch.int64
    assert torch.equal(operator_of("mse_loss")(x, x + 1, 2), torch.tensor(24.0))


# ---- With PyTorch -------------------------------------------------------------------------------
@pytest.mark.parity
@pytest.mark.parametrize("make", [convolutions, sequences, function])
def test_pytorch_runs_what_is_written_here(make, tmp_path):
    pytorch = pytest.importorskip("torch")
    model, args = make()
    path = str(tmp_path / "model.pt")
    torch.jit.trace(model, args).save(path)

    def theirs(value):
        if isinstance(value, dict):
            return {k: theirs(v) for k, v in value.items()}
        return pytorch.from_numpy(value.numpy())

    results = leaves(pytorch.jit.load(path)(*map(theirs, args)))
    for want, got in zip(leaves(model(*args)), results, strict=True):
        pytorch.testing.assert_close(got.detach(), theirs(want.detach()), rtol=1e-5, atol=1e-5)


PYTORCH_PROGRAM = """
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 6)
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.layers = nn.ModuleList([nn.Linear(5, 5) for _ in range(2)])
        self.tail = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 4), nn.GELU(), nn.LayerNorm(4))
        self.register_buffer("table", torch.arange(4.0))

    def forward(self, ids, lengths: Optional[torch.Tensor] = None):
        y, (h, c) = self.lstm(self.embedding(ids))
        for layer in self.layers:
            y = F.relu(layer(y)) * 2.0
        if lengths is not None:
            y = y * lengths[:, None, None]
        z = self.tail(y[:, -1]) + self.table
        found: Dict[str, torch.Tensor] = {"h": h[0]}
        parts: List[torch.Tensor] = []
        i = 0
        while i < 3:
            parts.append(z * i)
            i += 1
            if i == 2 and z.size(0) > 100:
                break
        found["s"] = torch.stack(parts).sum(0)
        assert z.dim() == 2, f"bad {z.dim()}"
        return z, found
"""


@pytest.mark.parity
def test_what_pytorch_scripted_runs_here(tmp_path):
    pytorch = pytest.importorskip("torch")
    program = tmp_path / "scripted_model.py"
    program.write_text(
        "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
        "from typing import Dict, List, Optional\n" + PYTORCH_PROGRAM
    )
    space: dict = {"__name__": "scripted_model"}
    exec(compile(program.read_text(), str(program), "exec"), space)
    model = space["Model"]().eval()
    path = str(tmp_path / "model.pt")
    pytorch.jit.script(model).save(path)
    ours = torch.jit.load(path)
    ids, lengths = pytorch.randint(0, 10, (2, 4)), pytorch.tensor([1.0, 0.5])
    for given in ((ids,), (ids, lengths)):
        z, found = model(*given)
        got, more = ours(*(torch.from_numpy(g.numpy()) for g in given))
        for want, value in zip((z, *found.values()), (got, *more.values()), strict=True):
            pytorch.testing.assert_close(
                pytorch.from_numpy(value.detach().numpy()), want.detach(), rtol=1e-5, atol=1e-5
            )
