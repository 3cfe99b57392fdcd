"""`Fuzzer`: random sizes and tensors, for measurements over many of them."""

from __future__ import annotations

import itertools
import math
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import taimatsu as torch

__all__ = [
    "FuzzedParameter", "FuzzedSparseTensor", "FuzzedTensor", "Fuzzer", "ParameterAlias",
]  # fmt: skip

Number = int | float


class ParameterAlias:
    """Among a distribution's values: that of another parameter."""

    def __init__(self, alias_to: str):
        self.alias_to = alias_to

    def __repr__(self) -> str:
        return f"ParameterAlias[alias_to: {self.alias_to}]"


class FuzzedParameter:
    """A random number, or a value of some.

    ``distribution``: "uniform" or "loguniform" from ``minval`` to ``maxval``, both included (whole
    numbers if they are), or the values with their probabilities.
    """

    def __init__(
        self, name: str, minval: Number | None = None, maxval: Number | None = None,
        distribution: str | dict[Any, float] | None = None, strict: bool = False,
    ):  # fmt: skip
        self._name, self._minval, self._maxval = name, minval, maxval
        self.strict = strict
        if isinstance(distribution, dict):
            total = sum(distribution.values())
            if abs(total - 1) > 1e-6 or min(distribution.values()) < 0:
                raise ValueError(f"{name}: probabilities have to sum to 1; got {total}")
        elif distribution not in ("uniform", "loguniform"):
            raise ValueError(f"Unknown distribution: {distribution}")
        elif minval is None or maxval is None:
            raise ValueError(f"{name}: a {distribution} distribution needs minval and maxval")
        self._distribution = distribution

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    def sample(self, state: np.random.RandomState) -> Any:
        """A value."""
        if isinstance(self._distribution, dict):
            values = list(self._distribution)
            at = state.choice(len(values), p=list(self._distribution.values()))
            return values[int(at)]
        low, high = self._minval, self._maxval
        assert low is not None and high is not None
        whole = isinstance(low, int) and isinstance(high, int)
        if self._distribution == "uniform":
            if whole:
                return int(state.randint(int(low), int(high) + 1))
            return float(state.uniform(low, high))
        value = 2.0 ** state.uniform(math.log2(low), math.log2(high))
        return min(max(round(value), int(low)), int(high)) if whole else value


class FuzzedTensor:
    """A tensor of random order in memory, whose sizes are numbers or names of parameters.

    ``steps``: of which a larger tensor it is every n-th element. ``probability_contiguous``: that
    its dims are in order. ``min_elements``, ``max_elements``, ``max_allocation_bytes``: samples
    outside are drawn again. ``dim_parameter``: the parameter with the number of dims.
    """

    def __init__(
        self, name: str, size: tuple[str | int, ...], steps: tuple[str | int, ...] | None = None,
        probability_contiguous: float = 0.5, min_elements: int | None = None,
        max_elements: int | None = None, max_allocation_bytes: int | None = None,
        dim_parameter: str | None = None, roll_parameter: str | None = None,
        dtype: torch.dtype = torch.float32, cuda: bool = False,
        tensor_constructor: Callable | None = None,
    ):  # fmt: skip
        self._name, self._size, self._steps = name, size, steps
        self._probability_contiguous = probability_contiguous
        self._min_elements, self._max_elements = min_elements, max_elements
        self._max_allocation_bytes = max_allocation_bytes
        self._dim_parameter, self._dtype = dim_parameter, dtype
        self._device = "cuda" if cuda else "cpu"
        self._tensor_constructor = tensor_constructor

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @staticmethod
    def default_tensor_constructor(size: Any, dtype: torch.dtype, **kwargs: Any) -> torch.Tensor:
        """Normal numbers, or integers up to 127."""
        if dtype.is_floating_point or dtype.is_complex:
            return torch.randn(size, dtype=dtype, device="cpu")
        return torch.randint(1, 127, size=size, dtype=dtype, device="cpu")

    def _get_size_and_steps(self, params: dict[str, Any]) -> tuple[tuple, tuple, tuple]:
        dims = len(self._size) if self._dim_parameter is None else params[self._dim_parameter]

        def resolve(values: tuple | None) -> tuple[int, ...]:
            found = [params.get(v, v) if isinstance(v, str) else v for v in values or ()]
            return tuple((found + [1] * dims)[:dims])

        size, steps = resolve(self._size), resolve(self._steps)
        return size, steps, tuple(n * s for n, s in zip(size, steps, strict=True))

    def satisfies_constraints(self, params: dict[str, Any]) -> bool:
        """Whether its sizes are within the limits."""
        size, _, allocated = self._get_size_and_steps(params)
        elements, nbytes = math.prod(size), math.prod(allocated) * self._dtype.itemsize
        return not (
            (self._min_elements is not None and elements < self._min_elements)
            or (self._max_elements is not None and elements > self._max_elements)
            or (self._max_allocation_bytes is not None and nbytes > self._max_allocation_bytes)
        )

    def _make_tensor(
        self, params: dict[str, Any], state: np.random.RandomState
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        size, steps, allocated = self._get_size_and_steps(params)
        make = self._tensor_constructor or self.default_tensor_constructor
        dims = len(size)
        order = list(range(dims))
        if dims > 1 and state.rand() > self._probability_contiguous:
            order = state.permutation(dims).tolist()
        raw = make(tuple(allocated[i] for i in order), dtype=self._dtype, **params)
        raw = raw.to(self._device).permute([order.index(i) for i in range(dims)])
        tensor = raw[tuple(slice(0, n * s, s) for n, s in zip(size, steps, strict=True))]
        return tensor, {
            "numel": tensor.numel(), "shape": tensor.size(), "order": np.array(order),
            "steps": steps, "is_contiguous": tensor.is_contiguous(), "dtype": str(self._dtype),
        }  # fmt: skip


class FuzzedSparseTensor(FuzzedTensor):
    """A sparse tensor of coordinates, with ``sparse_dim`` of them and ``nnz`` elements, or
    ``density`` of all; these and ``coalesced`` are names of parameters."""

    def __init__(
        self, name: str, size: tuple[str | int, ...], min_elements: int | None = None,
        max_elements: int | None = None, dim_parameter: str | None = None,
        sparse_dim: str = "sparse_dim", nnz: str = "nnz", density: str = "density",
        coalesced: str = "coalesced", dtype: torch.dtype = torch.float32, cuda: bool = False,
    ):  # fmt: skip
        super().__init__(name, size, min_elements=min_elements, max_elements=max_elements,
                         dim_parameter=dim_parameter, dtype=dtype, cuda=cuda)  # fmt: skip
        self._sparse_dim, self._nnz = sparse_dim, nnz
        self._density, self._coalesced = density, coalesced

    def _make_tensor(
        self, params: dict[str, Any], state: np.random.RandomState
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        size, _, _ = self._get_size_and_steps(params)
        depth = min(params.get(self._sparse_dim, len(size)), len(size))
        cells = math.prod(size[:depth])
        density = params.get(self._density, 0.1)
        nnz = params.get(self._nnz, math.ceil(density * cells))
        values = self.default_tensor_constructor((nnz, *size[depth:]), self._dtype)
        places = torch.from_numpy(state.randint(0, max(cells, 1), size=(nnz,)))
        indices = torch.stack(torch.unravel_index(places, size[:depth]))
        tensor = torch.sparse_coo_tensor(indices, values, size).to(self._device)
        if params.get(self._coalesced, False):
            tensor = tensor.coalesce()
        return tensor, {
            "numel": math.prod(size), "shape": tensor.size(), "is_coalesced": tensor.is_coalesced(),
            "density": density, "sparsity": 1 - density, "sparse_dim": depth,
            "dense_dim": len(size) - depth, "dtype": str(self._dtype),
        }  # fmt: skip


def _flat(values: Iterable) -> list:
    return list(itertools.chain(*(v if isinstance(v, (list, tuple)) else [v] for v in values)))


class Fuzzer:
    """Random tensors: of sizes and other parameters drawn anew for each sample.

    Samples that break a constraint are drawn again. ``seed``: for the same samples each time.

    >>> fuzzer = Fuzzer([FuzzedParameter("n", 1, 8, "uniform")], [FuzzedTensor("x", ("n", 2))])
    >>> [tensors["x"].shape[1] for tensors, _, _ in fuzzer.take(2)]
    [2, 2]
    """

    def __init__(
        self, parameters: list, tensors: list, constraints: list[Callable] | None = None,
        seed: int | None = None,
    ):  # fmt: skip
        self._parameters: list[FuzzedParameter] = _flat(parameters)
        self._tensors: list[FuzzedTensor] = _flat(tensors)
        self._constraints = constraints or []
        self._seed = int(np.random.RandomState().randint(0, 2**31)) if seed is None else seed
        self._accepted = self._generated = 0
        names = [p.name for p in self._parameters] + [t.name for t in self._tensors]
        if len(set(names)) != len(names):
            raise ValueError(f"Fuzzer: names have to differ; got {names}")

    def take(self, n: int) -> Iterator[tuple[dict, dict, dict]]:
        """``n`` samples: the tensors, facts about them, the parameters."""
        state = np.random.RandomState(self._seed)
        torch.manual_seed(state.randint(0, 2**31))
        for _ in range(n):
            params = self._sample(state)
            made = {t.name: t._make_tensor(params, state) for t in self._tensors}
            tensors = {name: tensor for name, (tensor, _) in made.items()}
            facts = {name: fact for name, (_, fact) in made.items()}
            yield tensors, facts, params

    @property
    def rejection_rate(self) -> float:
        """The part of samples that broke a constraint."""
        return 1 - self._accepted / self._generated if self._generated else 0.0

    def _sample(self, state: np.random.RandomState) -> dict[str, typing.Any]:
        for _ in range(1000):
            self._generated += 1
            drawn = {p.name: p.sample(state) for p in self._parameters}
            params = {k: _resolved(drawn, k) for k in drawn}
            if all(f(params) for f in self._constraints) and all(
                t.satisfies_constraints(params) for t in self._tensors
            ):
                self._accepted += 1
                return params
        raise ValueError("Fuzzer: no sample of 1000 meets the constraints; loosen them")


def _resolved(drawn: dict[str, Any], name: str) -> Any:
    seen = set()
    while isinstance(drawn[name], ParameterAlias):
        if name in seen:
            raise ValueError(f"Fuzzer: aliases of {name} lead back to it")
        seen.add(name)
        name = drawn[name].alias_to
    return drawn[name]
