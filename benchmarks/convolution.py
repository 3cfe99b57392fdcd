"""Convolutions of a ResNet and what stands between them: forward and both gradients."""

from __future__ import annotations

from .table import Group, Workload

BATCH = 8
LAYERS = {  # name: (channels, features, size of the image, kernel, stride, groups)
    "3x3 64, 56": (64, 64, 56, 3, 1, 1),
    "3x3 128, 28": (128, 128, 28, 3, 1, 1),
    "3x3 256, 14": (256, 256, 14, 3, 1, 1),
    "3x3 512, 7": (512, 512, 7, 3, 1, 1),
    "3x3 64 to 128, /2": (64, 128, 56, 3, 2, 1),
    "1x1 64 to 256": (64, 256, 56, 1, 1, 1),
    "1x1 256 to 512, /2": (256, 512, 56, 1, 2, 1),
    "7x7 stem, /2": (3, 64, 112, 7, 2, 1),
    "depthwise 3x3 128": (128, 128, 28, 3, 1, 128),
    "3x3 16, 32": (16, 16, 32, 3, 1, 1),
}


def layers(torch, last):
    """F, `last`, and of each layer the input, the weight and the padding."""
    layout = torch.channels_last if last else torch.contiguous_format
    names = {"F": torch.nn.functional}
    for i, (c, f, size, k, _, groups) in enumerate(LAYERS.values()):
        names[f"x{i}"] = torch.randn(BATCH, c, size, size).contiguous(memory_format=layout)
        names[f"w{i}"] = torch.randn(f, c // groups, k, k).contiguous(memory_format=layout)
    return names


def convolutions() -> tuple[Workload, ...]:
    out = []
    for i, (name, (_, _, _, k, stride, groups)) in enumerate(LAYERS.items()):
        conv = f"F.conv2d({{}}, {{}}, None, {stride}, {k // 2}, 1, {groups})"
        out.append(Workload(name, conv.format(f"x{i}", f"w{i}")))
        for what in "xw":
            if what == "x" and "stem" in name:  # images have no gradient
                continue
            operands = [f"{n}{i}" if n != what else "a" for n in "xw"]
            setup = f"""
a = {what}{i}.clone().requires_grad_()
out = {conv.format(*operands)}
g = torch.ones_like(out.detach())
"""
            statement = "torch.autograd.grad(out, a, g, retain_graph=True)"
            out.append(Workload(f"{name}: d{what}", statement, setup))
    return tuple(out)


def norms(torch):
    F = torch.nn.functional
    x = torch.randn(32, 64, 32, 32)
    weight, bias, mean, var = torch.rand(64), torch.rand(64), torch.zeros(64), torch.ones(64)
    return locals()


BATCH_NORM = "F.batch_norm({}, mean, var, weight, bias, {})"


GROUPS = (
    Group(
        "convolution", lambda torch: layers(torch, False) | {"torch": torch}, convolutions(),
        floor=0.95,
    ),
    Group(
        "convolution, channels last", lambda torch: layers(torch, True) | {"torch": torch},
        convolutions(), floor=0.95,
    ),
    Group(
        "batch_norm and pooling, 32 x 64 x 32 x 32",
        norms,
        (
            Workload("batch_norm, training", BATCH_NORM.format("x", True)),
            Workload("batch_norm, evaluation", BATCH_NORM.format("x", False)),
            Workload(
                "batch_norm, backward",
                "torch.autograd.grad(out, (a, w, b), g, retain_graph=True)",
                """
a, w, b = (t.clone().requires_grad_() for t in (x, weight, bias))
out = F.batch_norm(a, mean, var, w, b, True)
g = torch.ones_like(out.detach())
""",
            ),
            Workload("max_pool2d", "F.max_pool2d(x, 2)"),
            Workload("avg_pool2d", "F.avg_pool2d(x, 2)"),
            Workload("mean of images", "x.mean((2, 3))"),
        ),
        floor=0.95,
    ),
)
