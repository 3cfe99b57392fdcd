"""Attention: the function over shapes and masks, and the modules around it."""

from __future__ import annotations

from .table import Group, Workload

SHAPES = {  # name: (batch, heads, length, width)
    "4 x 8 x 512 x 64": (4, 8, 512, 64),
    "1 x 8 x 2048 x 64": (1, 8, 2048, 64),
    "8 x 8 x 64 x 64": (8, 8, 64, 64),
}
KINDS = {"": "", ", causal": ", is_causal=True", ", allowed": ", attn_mask=allowed{n}",
         ", added": ", attn_mask=added{n}"}


def gradients(name: str, call: str, inputs: str) -> tuple[Workload, ...]:
    """Forward without a tape, and the gradients of all inputs."""
    setup = f"""
a = tuple(t.clone().requires_grad_() for t in ({inputs},))
({inputs},) = a
out = {call}
g = torch.ones_like(out.detach())
"""
    backward = "torch.autograd.grad(out, a, g, retain_graph=True)"
    return Workload(name, call), Workload(f"{name}, backward", backward, setup)


def operands(torch):
    names = {"torch": torch, "F": torch.nn.functional}
    for batch, heads, length, width in SHAPES.values():
        names |= {f"{t}{length}": torch.randn(batch, heads, length, width) for t in "qkv"}
        names[f"allowed{length}"] = torch.rand(length, length) > 0.3
        names[f"added{length}"] = torch.randn(batch, 1, 1, length)
    names |= {"k2": torch.randn(4, 2, 512, 64), "v2": torch.randn(4, 2, 512, 64)}
    names["q1"] = torch.randn(4, 8, 1, 64)
    return names


def functions() -> tuple[Workload, ...]:
    out = []
    for name, (_, _, n, _) in SHAPES.items():
        for kind, options in KINDS.items():
            call = f"F.scaled_dot_product_attention(q{n}, k{n}, v{n}{options.format(n=n)})"
            out += gradients(name + kind, call, f"q{n}, k{n}, v{n}")
    grouped = "F.scaled_dot_product_attention(q512, k2, v2, enable_gqa=True)"
    out += gradients("8 heads share 2", grouped, "q512, k2, v2")
    decoded = "F.scaled_dot_product_attention(q1, k512, v512)"
    out += gradients("one query, 512 keys", decoded, "q1, k512, v512")
    return tuple(out)


def modules(torch):
    nn = torch.nn
    attention = nn.MultiheadAttention(512, 8, batch_first=True)
    layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True)
    evaluated = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True).eval()
    x, y = torch.randn(4, 128, 512), torch.randn(8, 64, 256)
    return locals()


def module(name: str, call: str, owner: str, x: str) -> tuple[Workload, ...]:
    setup = f"""
a = ({x}.clone().requires_grad_(), *{owner}.parameters())
out = {call.format("a[0]")}
g = torch.ones_like(out.detach())
"""
    backward = "torch.autograd.grad(out, a, g, retain_graph=True)"
    return Workload(name, call.format(x)), Workload(f"{name}, backward", backward, setup)


GROUPS = (
    Group("attention", operands, functions(), floor=1.0),
    Group(
        "attention, modules",
        modules,
        module("MultiheadAttention", "attention({0}, {0}, {0}, need_weights=False)[0]",
               "attention", "x")
        + module("MultiheadAttention, weights", "attention({0}, {0}, {0})[0]", "attention", "x")
        + module("TransformerEncoderLayer", "layer({})", "layer", "y")
        + module("TransformerEncoderLayer, evaluation", "evaluated({})", "evaluated", "y"),
        floor=1.0,
    ),
)
