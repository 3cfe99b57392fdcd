"""Train steps of small real models, and optimizers on many parameters."""

from __future__ import annotations

from functools import partial

from .table import Group, Workload, workloads


def resnet(torch, blocks=1):
    """ResNet-8 (a block for each width; ResNet-20 has three) on 32 images of 3 x 32 x 32."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, channels, features, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
            self.norm1 = nn.BatchNorm2d(features)
            self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(features)
            self.short = (
                nn.Identity()
                if channels == features
                else nn.Sequential(
                    nn.Conv2d(channels, features, 1, stride, bias=False), nn.BatchNorm2d(features)
                )
            )

        def forward(self, x):
            y = self.norm1(self.conv1(x)).relu()
            return (self.norm2(self.conv2(y)) + self.short(x)).relu()

    layers, channels = [], 16
    for width in (16, 32, 64):
        for i in range(blocks):
            layers.append(Block(channels, width, 2 if i == 0 and width > 16 else 1))
            channels = width
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *layers,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    update = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    images, target = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))

    def train_step():
        update.zero_grad()
        nn.functional.cross_entropy(model(images), target).backward()
        update.step()

    return locals()


def vae(torch):
    """784-400-20-400-784 with Adam on a batch of 128."""
    nn, F = torch.nn, torch.nn.functional

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode = nn.Linear(784, 400)
            self.mean, self.log_var = nn.Linear(400, 20), nn.Linear(400, 20)
            self.decode = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))

        def forward(self, x):
            h = self.encode(x).relu()
            mean, log_var = self.mean(h), self.log_var(h)
            z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
            return self.decode(z).sigmoid(), mean, log_var

    model, x = VAE(), torch.rand(128, 784)
    update = torch.optim.Adam(model.parameters(), lr=1e-3)

    def train_step():
        update.zero_grad()
        y, mean, log_var = model(x)
        loss = F.binary_cross_entropy(y, x, reduction="sum")
        loss = loss - 0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum()
        loss.backward()
        update.step()

    return locals()


def many(torch, count):
    """`count` parameters of 4 x 4, with gradients."""
    parameters = [torch.randn(4, 4).requires_grad_() for _ in range(count)]
    for p in parameters:
        p.grad = torch.randn(4, 4)
    adam, sgd = torch.optim.Adam(parameters), torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    clip = torch.nn.utils.clip_grad_norm_
    return locals()


def updates(count: int) -> Group:
    return Group(
        f"{count:,} parameters of 4 x 4",
        partial(many, count=count),
        (
            *workloads(
                Adam="adam.step()",
                SGD="sgd.step()",
                clip_grad_norm_="clip(parameters, 1.0)",
                zero_grad="adam.zero_grad(set_to_none=False)",
            ),
        ),
        floor=5,
    )


def steps(name: str, operands, floor: float) -> Group:
    return Group(name, operands, (Workload("train step", "train_step()"),), floor=floor)


GROUPS = (
    steps("ResNet-8, 32 x 3 x 32 x 32", resnet, 1.2),
    steps("ResNet-20, 32 x 3 x 32 x 32", partial(resnet, blocks=3), 1.2),
    steps("VAE, 784-400-20, batch 128", vae, 1.5),
    updates(64),
    updates(1024),
)
