"""Train steps of small models, recurrent layers, and decoding with a cache."""

from __future__ import annotations

from functools import partial

from . import networks
from .table import Group, Workload, workloads


def linear(torch):
    layer, x = torch.nn.Linear(4, 4), torch.randn(4, 4)
    return locals()


def parts(torch):
    names = networks.mlp(torch, lr=0.01)
    adam = torch.optim.Adam(names["model"].parameters())
    names["loss"] = names["forward"]()
    names["loss"].backward(retain_graph=True)
    return names | {"adam": adam}


def step(name: str, network, floor: float, **options) -> Group:
    workload = Workload("train step", "train_step()")
    return Group(name, partial(network, **options), (workload,), floor=floor)


def recurrent(kind: str, features: int, size: int, batch: int, steps: int, **options) -> Group:
    more = "".join(f", {k}={v}" for k, v in options.items())
    return Group(
        f"{kind}({features}, {size}{more}), {steps} x {batch}",
        partial(networks.recurrent, kind=kind, features=features, size=size, batch=batch,
                steps=steps, **options),
        workloads(
            forward="layer(x)",
            forward_and_backward="gradient(layer(x)[0], weights, g)",
        ),
        floor=1,
    )  # fmt: skip


TRAINED = (
    step("MLP 784-512-512-10, batch 128, Adam", networks.mlp, 1, widths=(784, 512, 512, 10),
         batch=128, optimizer="Adam"),
    step("ResNet-8, 32 x 3 x 32 x 32", networks.resnet, 1.2),
    step("ResNet-20, 32 x 3 x 32 x 32", networks.resnet, 1.2, blocks=3),
    step("GPT, 4 layers of 256, 8 x 128 tokens", networks.gpt_training, 1.3),
    step("transformer encoder layer of 256, 8 x 128", networks.encoder, 1),
    step("char-LSTM of 256, 32 x 64 characters", networks.char_lstm, 1.1),
    step("char-LSTM, 2 layers of 128, 16 x 32", networks.char_lstm, 1.1, layers=2, size=128,
         batch=16, steps=32),
    step("VAE, 784-400-20, batch 128", networks.vae, 1.5),
)  # fmt: skip

GROUPS = (
    Group("nn.Linear(4, 4)", linear, workloads(call="layer(x)"), mean=5),
    step("MLP 64-128-128-10, batch 32, SGD", networks.mlp, 3, lr=0.01),
    step("MLP 64-128-128-10, batch 32, Adam", networks.mlp, 4, optimizer="Adam"),
    Group(
        "MLP, the parts of a step",
        parts,
        workloads(
            forward="forward()",
            backward="loss.backward(retain_graph=True)",
            SGD_step="update.step()",
            Adam_step="adam.step()",
        ),
    ),
    *TRAINED,
    Group(
        "128 tokens by a GPT of 4 layers of 256",
        networks.decoding,
        workloads(
            growing_cache="decode(Growing)",
            preallocated_cache="decode(Preallocated)",
        ),
        floor=2,
    ),
    recurrent("LSTM", 32, 64, 8, 32),
    recurrent("LSTM", 128, 256, 32, 50),
    recurrent("LSTM", 512, 512, 16, 32),
    recurrent("LSTM", 64, 128, 1, 100),
    recurrent("LSTM", 128, 128, 16, 32, num_layers=2, bidirectional=True),
    recurrent("GRU", 32, 64, 8, 32),
    recurrent("GRU", 128, 256, 32, 50),
    recurrent("RNN", 128, 256, 32, 50),
)
