"""`utils.benchmark`: random tensors, counts; what steers compilers; switches of autograd."""

import pytest

import taimatsu as torch
from taimatsu.codegen.cache import Cache
from taimatsu.compiler import _artifacts
from taimatsu.utils import benchmark as bench


def test_the_fuzzer():
    def made(seed):
        return bench.Fuzzer(
            [
                bench.FuzzedParameter("n", 2, 16, "loguniform"),
                bench.FuzzedParameter("m", distribution={3: 0.5, bench.ParameterAlias("n"): 0.5}),
            ],
            [
                bench.FuzzedTensor("x", ("n", "m"), steps=(1, 2), probability_contiguous=0,
                                   max_elements=60),
                bench.FuzzedSparseTensor("s", ("n", "m")),
            ],
            constraints=[lambda params: params["n"] > 2], seed=seed,
        )  # fmt: skip

    fuzzer = made(1)
    samples = list(fuzzer.take(5))
    for tensors, facts, params in samples:
        assert tensors["x"].shape == (params["n"], params["m"]) and params["n"] > 2
        assert tensors["x"].numel() <= 60 and params["m"] in (3, params["n"])
        assert facts["x"]["steps"] == (1, 2) and tensors["s"].is_sparse
    assert 0 <= fuzzer.rejection_rate < 1
    again = [params for _, _, params in made(1).take(5)]
    assert again == [params for _, _, params in samples]
    with pytest.raises(ValueError, match="1000"):
        next(bench.Fuzzer([], [], [lambda params: False]).take(1))
    with pytest.raises(ValueError, match="differ"):
        bench.Fuzzer([], [bench.FuzzedTensor("x", (1,)), bench.FuzzedTensor("x", (1,))])


def test_counts_of_functions():
    a = bench.FunctionCounts._from_dict({"f.c:f": 10, "g.c:g": 3}, False)
    b = bench.FunctionCounts._from_dict({"f.c:f": 4}, False)
    assert (a - b).sum() == 9 and (a + b)[0] == (14, "f.c:f") and len(a[:1]) == 1
    assert a.transform(lambda name: "all").sum() == 13
    assert [c.function for c in a.filter(lambda name: "g" in name)] == ["g.c:g"]
    assert bench.ordered_unique([2, 1, 2]) == [2, 1]
    before = torch.get_num_threads()
    with bench.set_torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_kernels_as_bytes(tmp_path, monkeypatch):
    caches = [Cache(str(tmp_path / name)) for name in "ab"]
    caches[0].put("ab12", {"x": 1}, b"code")
    (tmp_path / "a" / "ab" / "no key").write_bytes(b"")
    monkeypatch.setattr(_artifacts, "cache", lambda: caches[0])
    data, info = torch.compiler.save_cache_artifacts()
    assert info.artifacts == ["ab12"]
    monkeypatch.setattr(_artifacts, "cache", lambda: caches[1])
    assert torch.compiler.save_cache_artifacts() is None
    assert torch.compiler.load_cache_artifacts(data).artifacts == ["ab12"]
    assert caches[1].get("ab12") == ({"x": 1}, b"code")
    assert torch.compiler.load_cache_artifacts(b"none") is None
    assert torch.compiler.skip_all_guards_unsafe([1, 2]) == [False, False]


def test_nested_functions_and_switches():
    class Both(torch.autograd.NestedIOFunction):
        def forward_extended(self, x, pair):
            self.save_for_backward(x)
            return {"product": x * pair[0], "sum": x + pair[1]}

        def backward_extended(self, grads):
            (x,) = self.saved_tensors
            return grads["product"] * 2 + grads["sum"], (grads["product"] * x, grads["sum"])

    x, a, b = (torch.tensor(v, requires_grad=True) for v in (3.0, 2.0, 5.0))
    out = Both.apply(x, (a, b))
    (out["product"] + 10 * out["sum"]).backward()
    assert (x.grad, a.grad, b.grad) == (12, 3, 10)
    with torch.autograd.set_multithreading_enabled(False):
        assert not torch.autograd.set_multithreading_enabled._value
    assert torch.autograd.set_multithreading_enabled._value
    with pytest.raises(ValueError, match=r"torch\.tensor"):
        torch.autograd.variable(1)
