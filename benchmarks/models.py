"""Small models, where the cost of calls and of the tape dominates."""

from __future__ import annotations

from .table import Group, Workload, workloads


def linear(torch):
    layer, x = torch.nn.Linear(4, 4), torch.randn(4, 4)
    return locals()


def mlp(torch, optimizer="SGD", **options):
    """A classifier 64-128-128-10 with relu, on a batch of 32, and `train_step`."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    update = getattr(torch.optim, optimizer)(model.parameters(), **options)
    x, target = torch.randn(32, 64), torch.randint(0, 10, (32,))

    def forward():
        return nn.functional.cross_entropy(model(x), target)

    def train_step():
        update.zero_grad()
        forward().backward()
        update.step()

    return locals()


def trained_with(name: str, mean: float, **options) -> Group:
    return Group(
        f"MLP 64-128-128-10, batch 32, {name}",
        lambda torch: mlp(torch, name, **options),
        (Workload("train step", "train_step()"),),
        mean=mean,
    )


def parts(torch):
    names = mlp(torch, "SGD", lr=0.01)
    adam = torch.optim.Adam(names["model"].parameters())
    names["loss"] = names["forward"]()
    names["loss"].backward(retain_graph=True)
    return names | {"adam": adam}


GROUPS = (
    Group("nn.Linear(4, 4)", linear, workloads(call="layer(x)"), mean=5),
    trained_with("SGD", 3, lr=0.01),
    trained_with("Adam", 4, lr=1e-3),
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
)
