"""Compiled functions: `torch.compile` on both sides, after some calls."""

from __future__ import annotations

from .table import Group, workloads


def functions(torch):
    """Functions as programs write them, compiled, and called often enough to be so."""
    gelu = torch.nn.functional.gelu

    def chain(x, y):
        for _ in range(4):
            x = (x * y + 0.5).sin() - y
        return x

    def norm(x, w):
        centred = x - x.mean(-1, keepdim=True)
        return centred * (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * w

    def attention_weights(x, mask):
        return torch.softmax(x * 0.125 + mask, -1)

    def bias_gelu(x, b, residual):
        return gelu(x + b) + residual

    def loss(x, y):
        return ((x - y).square() * 0.5 + (x - y).abs()).mean()

    eager = {f.__name__: f for f in (chain, norm, attention_weights, bias_gelu, loss)}
    compiled = {name: torch.compile(f) for name, f in eager.items()}
    operands = {}
    for name, sizes in (("small", (16, 64)), ("middle", (256, 512)), ("large", (2048, 1024))):
        x, y = torch.randn(*sizes), torch.randn(*sizes)
        w = torch.randn(sizes[-1])
        operands[name] = (x, y, w)
        for _ in range(3):
            compiled["chain"](x, y)
            compiled["norm"](x, w)
            compiled["attention_weights"](x, y)
            compiled["bias_gelu"](x, w, y)
            compiled["loss"](x, y)
    return {**compiled, **operands}


def training(torch):
    """A loss whose function is compiled; the backward pass follows."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(64, 256), nn.GELU(), nn.LayerNorm(256), nn.Linear(256, 256), nn.GELU(),
        nn.Linear(256, 10),
    )  # fmt: skip
    x, target = torch.randn(64, 64), torch.randint(0, 10, (64,))
    loss = torch.compile(lambda x, y: torch.nn.functional.cross_entropy(model(x), y))
    for _ in range(3):
        loss(x, target).backward()
    return locals()


def over(size: str) -> Group:
    return Group(
        f"compiled, {size}",
        functions,
        workloads(
            chain=f"chain(*{size}[:2])",
            norm=f"norm({size}[0], {size}[2])",
            attention_weights=f"attention_weights(*{size}[:2])",
            bias_gelu=f"bias_gelu({size}[0], {size}[2], {size}[1])",
            loss=f"loss(*{size}[:2])",
        ),
        mean=1,
    )


GROUPS = (
    over("small"),
    over("middle"),
    over("large"),
    Group("compiled loss", training, workloads(step="loss(x, target).backward()"), mean=1),
)
