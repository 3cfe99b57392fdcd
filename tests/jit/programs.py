"""Programs for `torch.jit.script`: functions, and the arguments to call them with."""
# ruff: noqa  (as programs are written)


import enum
from dataclasses import dataclass
import math
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import taimatsu as torch
import taimatsu.nn.functional as F
from taimatsu import Tensor

FUNCTIONS: list[tuple[Any, list[tuple]]] = []


def runs(*calls: tuple):
    """Registers a program with the arguments of its calls."""

    def keep(function):
        FUNCTIONS.append((function, list(calls)))
        return function

    return keep


X = torch.arange(12.0).reshape(3, 4) - 5
Y = torch.tensor([0.5, -1.0, 2.0, 3.0])


# ---- Control flow -------------------------------------------------------------------------------
@runs((X, 0), (X, 3), (X, 10))
def loops(x, n: int):
    total = x
    for i in range(n):
        if i == 7:
            break
        if i % 2 == 1:
            continue
        total = total + i
    k = n
    while k > 0:
        k -= 2
        total = total * 1.5
    return total, k


@runs((X, 1), (X, -1), (X, 5))
def early(x, n: int) -> Tensor:
    if n < 0:
        return x - 1
    for i in range(n):
        if i == 3:
            return x + i
    return x * 2


@runs((1,), (6,), (-3,))
def searched(n: int) -> int:
    for i in range(10):
        for j in range(10):
            if i * j == n:
                return i + j
            elif j > 7:
                break
    return -1


@runs((X, True), (X, False))
def branches(x, c: bool):
    if c:
        y, n = x + 1, 2
    else:
        y, n = x - 1, 3
    z = y if not c else y * 2
    return z, n, (1 if c and n > 1 else 0)


@runs((X,), (X[:0],))
def on_tensors(x):
    if x.sum() > 0:
        x = -x
    while bool(x.numel() > 2) and x.size(0) > 1:
        x = x[1:]
    return x


@runs((1, 2, 3), (3, 2, 1))
def chained(a: int, b: int, c: int):
    return a < b < c, a != b, not a > b, a == 1 or b == 2 and c == 3


# ---- Numbers and strings ------------------------------------------------------------------------
@runs((7, 2), (-7, 2), (7, -3))
def integers(a: int, b: int):
    return a / b, a // b, a % b, -a, a * b, abs(a), min(a, b), max(a, b), a & b, a | b, a ^ b


@runs((2.5, 2), (-1.5, 3))
def floats(x: float, n: int):
    y = math.exp(x) + math.sin(x) + math.sqrt(x * x) + math.pi
    return y, x + n, x * n, x ** 2, x // 1.0, int(x), float(n), bool(n), math.floor(x), round(x)


@runs((3, 2.5, "a b c"))
def strings(n: int, x: float, s: str):
    parts = s.split(" ")
    t = "-".join(parts) + s[0] + s[1:] + s.upper() + str(n)
    u = "{} and {}".format(n, s) + f"{n}:{t}" + "%d %s" % (n, s)
    return t, u, len(s), "b" in s, s.replace("a", "z"), s.find("b"), s.startswith("a"), ord(s[0])


# ---- Containers ---------------------------------------------------------------------------------
@runs(([3, 1, 2],), ([5],))
def lists(a: List[int]):
    b = list(a)
    b.append(7)
    b.extend([8, 9])
    b.insert(0, -1)
    c = b.pop()
    b[0] = 5
    b += [c]
    d = [v * 2 for v in b]
    e = sorted(d)
    b.reverse()
    b.sort()
    return b, c, d[1:], d[-1], e, 3 in a, len(b), sum(b), max(b), min(b), [0] * 3, a.index(a[0])


@runs(({"a": 1, "b": 2},))
def dicts(d: Dict[str, int]):
    found: Dict[str, float] = {}
    for k, v in d.items():
        found[k + "x"] = float(v)
    keys = [k for k in d.keys()]
    total = 0
    for v in d.values():
        total += v
    for k in d:
        total += len(k)
    got = d.get("zzz", 4)
    present = "a" in d
    del found["ax"]
    e = {i: i * i for i in [1, 2]}
    return found, keys, total, got, present, e, len(d), d["b"]


@runs((X,))
def tuples(x):
    pair = (x, 2)
    a, b = pair
    (c, d), e = (a, b), 3
    c, d = c + 1, d + 1
    x, y = a, b
    first, *rest = (1, 2, 3)
    sizes = x.shape[:1] + (3,), (2, 3) + x.shape, (1,) * x.dim() + (-1,), x.sum().expand(x.shape[:0])
    return pair[0], pair[-1], c, d, e, y, rest, (1, 2)[0:1], sizes


@runs(([X, X + 1],))
def zipped(xs: List[Tensor]):
    out: List[Tensor] = []
    for i, (a, b) in enumerate(zip(xs, xs)):
        out.append(a * b + i)
    for i, x in enumerate(xs):
        out.append(x - i)
    for x in X.unbind(0) if False else xs:
        out.append(x)
    return out


class Box(NamedTuple):
    corner: Tensor
    scale: float
    label: str = "none"


@runs((X, 2.0))
def named(x, scale: float) -> Tuple[Box, float, Tensor]:
    box = Box(x, scale)
    other = Box(corner=x + 1, scale=scale * 2, label="b")
    corner, _, label = other
    return box, box.scale + other[1], corner if label == "b" else x


class Color(enum.Enum):
    RED = 1
    GREEN = 2


@runs((X, 1), (X, 2))
def enums(x, n: int):
    color = Color.RED if n == 1 else Color.GREEN
    if color == Color.RED:
        x = x + color.value
    return x, color.name


# ---- Optional, Union ----------------------------------------------------------------------------
@runs((X, None), (X, Y))
def optionals(x, y: Optional[Tensor] = None):
    if y is None:
        y = torch.ones(4)
    z: Optional[Tensor] = None
    if x.size(0) > 1:
        z = x * y
    if z is not None and z.dim() == 2:
        x = z + 1
    assert z is not None
    return x + y + z


@runs((None,), (3,))
def refined(n: Optional[int]) -> int:
    if n is None or n > 5:
        return 0
    m = n + 1
    k = n if n is not None else 2
    return m + k


@runs((X, 2), (X, 2.5), (X, "ab"))
def unions(x, v: Union[int, float, str]):
    if isinstance(v, int):
        return x + v
    elif isinstance(v, float):
        return x * v
    else:
        return x - len(v)


@runs((X,))
def declared(x):
    a: Optional[int] = None
    b = torch.jit.annotate(List[int], [])
    c: Dict[str, List[int]] = {}
    c["k"] = b
    b.append(1)
    d: List[Optional[int]] = [1, None]
    e = torch.jit.annotate(Optional[int], 4)
    if torch.jit.isinstance(b, List[int]):
        a = 2
    return x, a, b, c, d, e


# ---- Tensors ------------------------------------------------------------------------------------
@runs((X, 1))
def indexed(x, i: int):
    a = x[i], x[0, 1], x[1:], x[:, 1], x[..., -1], x[None], x[:, None, 1:3], x[i, ...], x[::2]
    index = torch.tensor([0, 2])
    return a, x[index], x[:, index], x[x > 0], x[-1][1:]


@runs((X, 1))
def assigned(x, i: int):
    x = x.clone()
    x[0] = 1
    x[i, 1:] = torch.tensor([4.0, 5.0, 6.0])
    x[x > 3] = 0.5
    x[2] += 1
    x[:, 0] *= 2
    x += 1
    y = x
    y -= 2
    return x, y


@runs((X,))
def arithmetic(x):
    return 1 - x, 2 / (x + 10), x ** 2, 3 * x + x / 2, x // 2, x % 3, -x, x @ x.t(), x > 1, 1 < x, 2 ** x


@runs((X,))
def methods(x):
    a = x.view(4, 3), x.reshape(-1), x.permute(1, 0), x.sum(dim=1, keepdim=True), x.mean(), x.std(0)
    values, indices = x.max(dim=1)
    top = x.topk(2, dim=1)
    low, high = x.chunk(2, dim=1)
    b = x.size(), x.shape[0], x.dim(), x.numel(), x.shape, x.dtype == torch.float32
    c = torch.cat([x, x], dim=0), torch.stack([x, x]), torch.where(x > 0, x, -x), x.float(), x.long()
    d = x.to(torch.float64), x.type_as(c[4]), torch.zeros(2, 3), torch.ones([2]), torch.arange(3)
    e = x.split([1, 3], dim=1), x.expand(2, 3, 4), torch.full([2], 3.0), torch.zeros_like(x)
    f = torch.tensor([1.0, 2.0]), torch.einsum("ij,kj->ik", [x, x]), x.argmax(), x.softmax(-1)
    return a, values, indices, top[0], low, high, b, c, d, e, f


@runs((X, Y))
def in_place(x, y):
    y = y.clone()
    y.resize_as_(x).copy_(x)
    y.unsqueeze_(0).transpose_(0, 1).squeeze_(1).t_()
    y.clip_(0.0, 4.0).negative_().multiply_(2.0)
    return y.fill_diagonal_(3.0)


@runs((X,))
def functional(x):
    y = F.relu(x) + F.gelu(x) + F.leaky_relu(x, 0.2) + F.elu(x) + F.silu(x) + F.softplus(x)
    z = F.softmax(x, dim=1), F.log_softmax(x, 1), F.layer_norm(x, [4]), F.normalize(x, dim=1)
    p = F.pad(x, (1, 2)), F.dropout(x, 0.5, False), F.linear(x, x), F.hardtanh(x), F.one_hot(x.long() + 5)
    loss = F.mse_loss(x, x + 1), F.l1_loss(x, x * 2, reduction="sum"), F.smooth_l1_loss(x, -x)
    classes = torch.tensor([0, 1, 2])
    ce = F.cross_entropy(x, classes), F.nll_loss(x, classes, reduction="none")
    return y, z, p, loss, ce, F.interpolate(x[None], scale_factor=2.0), F.avg_pool2d(x[None], 2)


@runs((X,))
def modes(x):
    with torch.no_grad():
        y = x * 2
    return y, torch.is_grad_enabled()


def doubled(x, factor: float = 2.0, *, shift: int):
    return x * factor + shift


@runs((X,))
def calling(x):
    return doubled(x, shift=1) + doubled(x, 3.0, shift=2)


def worker(x, n: int):
    return x + n


@runs((X,))
def forked(x):
    futures = [torch.jit.fork(worker, x, i) for i in range(2)]
    return [torch.jit.wait(f) for f in futures]


@runs((X,))
def scripting(x):
    if torch.jit.is_scripting():
        return x + 1
    return x + 1


@runs((X, "b"))
def commented(x, s):
    # type: (Tensor, str) -> Tuple[Tensor, List[str]]
    found = torch.jit.annotate(List[str], [])
    found.append(s)
    return x, found


class Counter:
    """A class of TorchScript's."""

    def __init__(self, start: int):
        self.count = start
        self.names: List[str] = []

    def add(self, name: str, by: int = 1) -> int:
        self.count += by
        self.names.append(name)
        return self.count

    def __add__(self, other: int) -> int:
        return self.count + other

    def __len__(self) -> int:
        return len(self.names)


@runs((3,))
def classes(n: int):
    counter = Counter(n)
    counter.add("a")
    total = counter.add("b", 5)
    return total, counter.count, counter.names, counter + 4, len(counter)


@torch.jit.script
@dataclass
class Weighted:
    """A dataclass: its `__init__` is written by Python."""

    value: Tensor
    weight: float = 2.0
    shift: Optional[Tensor] = None

    def total(self) -> Tensor:
        return self.value.sum() * self.weight


@runs((X,))
def dataclasses(x):
    return Weighted(x).total() + Weighted(x, weight=0.5).total(), Weighted(x).shift is None


@torch.jit.interface
class Shape:
    def area(self, scale: float) -> float:
        pass


class Square:
    def __init__(self, side: float):
        self.side = side

    def area(self, scale: float) -> float:
        return self.side * self.side * scale


def total(shape: Shape, scale: float) -> float:
    return shape.area(scale)


@runs((2.0,))
def interfaces(side: float):
    return total(Square(side), 3.0)
