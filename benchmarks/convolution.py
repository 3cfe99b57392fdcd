"""Convolutions of a ResNet and what stands between them: forward and both gradients."""

from __future__ import annotations

from .table import Group, Workload, workloads

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


def gradients(name: str, call: str, operands: dict[str, str]) -> tuple[Workload, ...]:
    """Workloads of a call whose operands stand in braces: forward, and the gradient by each."""
    out = [Workload(name, call.format(**operands))]
    for what, tensor in operands.items():
        setup = f"""
a = {tensor}.clone().requires_grad_()
out = {call.format(**operands | {what: "a"})}
g = torch.ones_like(out.detach())
"""
        statement = "torch.autograd.grad(out, a, g, retain_graph=True)"
        out.append(Workload(f"{name}: d{what}", statement, setup))
    return tuple(out)


def convolutions() -> tuple[Workload, ...]:
    out = []
    for i, (name, (_, _, _, k, stride, groups)) in enumerate(LAYERS.items()):
        call = f"F.conv2d({{x}}, {{w}}, None, {stride}, {k // 2}, 1, {groups})"
        found = gradients(name, call, {"x": f"x{i}", "w": f"w{i}"})
        out += [w for w in found if not ("stem" in name and w.name.endswith("dx"))]  # of images
    return tuple(out)


OTHERS = {  # name: (call, sizes of x, of w)
    "3x3 with bias": ("F.conv2d({x}, {w}, b64, 1, 1)", (8, 64, 28, 28), (64, 64, 3, 3)),
    "3x3, one image": ("F.conv2d({x}, {w}, None, 1, 1)", (1, 256, 14, 14), (256, 256, 3, 3)),
    "3x3, 32 groups": ("F.conv2d({x}, {w}, None, 1, 1, 1, 32)", (8, 128, 28, 28), (128, 4, 3, 3)),
    "3x3, dilated": ("F.conv2d({x}, {w}, None, 1, 2, 2)", (8, 64, 28, 28), (64, 64, 3, 3)),
    "patches 16x16": ("F.conv2d({x}, {w}, None, 16)", (8, 3, 224, 224), (192, 3, 16, 16)),
    "depthwise 7x7": ("F.conv2d({x}, {w}, None, 1, 3, 1, 96)", (8, 96, 28, 28), (96, 1, 7, 7)),
    "depthwise 3x3, /2": ("F.conv2d({x}, {w}, None, 2, 1, 1, 96)", (8, 96, 56, 56), (96, 1, 3, 3)),
    "5x5 of one channel": ("F.conv2d({x}, {w})", (64, 1, 28, 28), (32, 1, 5, 5)),
    "1d, 10/5 of one channel": ("F.conv1d({x}, {w}, None, 5)", (4, 1, 16000), (512, 1, 10)),
    "one position": ("F.conv_transpose2d({x}, {w})", (32, 100, 1, 1), (100, 256, 4, 4)),
    "1d, 3": ("F.conv1d({x}, {w}, b128, 1, 1)", (8, 64, 1024), (128, 64, 3)),
    "1d, depthwise 31": ("F.conv1d({x}, {w}, None, 1, 15, 1, 64)", (8, 64, 512), (64, 1, 31)),
    "3d, 3x3x3": ("F.conv3d({x}, {w}, None, 1, 1)", (2, 16, 16, 32, 32), (32, 16, 3, 3, 3)),
    "transposed 4x4, /2": ("F.conv_transpose2d({x}, {w}, b64, 2, 1)", (8, 128, 16, 16),
                           (128, 64, 4, 4)),
    "transposed 1d 4, /2": ("F.conv_transpose1d({x}, {w}, None, 2, 1)", (8, 64, 256), (64, 32, 4)),
    "3x3, bfloat16": ("F.conv2d({x}, {w}, None, 1, 1)", (2, 64, 28, 28), (64, 64, 3, 3)),
}


def other_operands(torch):
    names = {"F": torch.nn.functional, "torch": torch}
    names |= {f"b{n}": torch.randn(n) for n in (64, 128)}
    for i, (name, (_, x, w)) in enumerate(OTHERS.items()):
        dtype = torch.bfloat16 if "bfloat16" in name else torch.float32
        names |= {f"x{i}": torch.randn(*x).to(dtype), f"w{i}": torch.randn(*w).to(dtype)}
    return names


def others() -> tuple[Workload, ...]:
    return sum((gradients(name, call, {"x": f"x{i}", "w": f"w{i}"})
                for i, (name, (call, _, _)) in enumerate(OTHERS.items())), ())


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
    Group("convolution, other kinds", other_operands, others(), floor=0.95),
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
            *workloads(
                adaptive_avg_uneven="F.adaptive_avg_pool2d(x, 7)",
                adaptive_max_uneven="F.adaptive_max_pool2d(x, 7)",
                max_pool2d_3="F.max_pool2d(x, 3, 2, 1)",
                avg_pool2d_3="F.avg_pool2d(x, 3, 2, 1)",
                group_norm="F.group_norm(x, 8, weight, bias)",
                instance_norm="F.instance_norm(x)",
                pad_reflect="F.pad(x, (1, 1, 1, 1), mode='reflect')",
                pad_replicate="F.pad(x, (1, 1, 1, 1), mode='replicate')",
                pad_constant="F.pad(x, (1, 1, 1, 1))",
                upsample="F.interpolate(x, scale_factor=2)",
            ),
            *(
                Workload(
                    f"{name}, backward",
                    "torch.autograd.grad(out, a, g, retain_graph=True)",
                    f"a = x.clone().requires_grad_()\nout = {forward}\n"
                    "g = torch.ones_like(out.detach())",
                )
                for name, forward in {
                    "max_pool2d": "F.max_pool2d(a, 2)",
                    "max_pool2d_3": "F.max_pool2d(a, 3, 2, 1)",
                    "avg_pool2d": "F.avg_pool2d(a, 2)",
                    "avg_pool2d_3": "F.avg_pool2d(a, 3, 2, 1)",
                    "group_norm": "F.group_norm(a, 8, weight, bias)",
                    "instance_norm": "F.instance_norm(a)",
                    "pad_reflect": "F.pad(a, (1, 1, 1, 1), mode='reflect')",
                }.items()
            ),
        ),
        floor=0.95,
    ),
)
