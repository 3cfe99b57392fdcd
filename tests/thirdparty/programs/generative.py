"""A variational autoencoder, and a generator against a discriminator."""

import torch
from torch import nn, optim
from torch.nn import functional as F

torch.manual_seed(0)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.fc21 = nn.Linear(32, 4)
        self.fc22 = nn.Linear(32, 4)
        self.fc3 = nn.Linear(4, 32)
        self.fc4 = nn.Linear(32, 64)

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        return mu + torch.randn_like(std) * std

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, 64))
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


def vae_loss(recon, x, mu, logvar):
    bce = F.binary_cross_entropy(recon, x.view(-1, 64), reduction="sum")
    return bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


data = (torch.rand(256, 1, 8, 8) * torch.linspace(0, 1, 8)).clamp(0, 1)
vae = VAE()
optimizer = optim.Adam(vae.parameters(), lr=1e-2)
losses = []
for _ in range(20):
    total = 0.0
    for batch in data.split(64):
        optimizer.zero_grad()
        loss = vae_loss(*(lambda r, m, v: (r, batch, m, v))(*vae(batch)))
        loss.backward()
        total += loss.item()
        optimizer.step()
    losses.append(total / len(data))
print(f"vae: {losses[0]:.2f} {losses[-1]:.2f}")
assert losses[-1] < losses[0] - 2


def weights_init(m):
    name = m.__class__.__name__
    if name.find("Conv") != -1:
        torch.nn.init.normal_(m.weight, 0.0, 0.02)
    elif name.find("BatchNorm") != -1:
        torch.nn.init.normal_(m.weight, 1.0, 0.02)
        torch.nn.init.zeros_(m.bias)


generator = nn.Sequential(
    nn.ConvTranspose2d(8, 16, 4, 1, 0, bias=False), nn.BatchNorm2d(16), nn.ReLU(True),
    nn.ConvTranspose2d(16, 1, 4, 2, 1, bias=False), nn.Sigmoid(),
).apply(weights_init)  # fmt: skip
discriminator = nn.Sequential(
    nn.Conv2d(1, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(16, 1, 4, 1, 0, bias=False), nn.Sigmoid(), nn.Flatten(0),
).apply(weights_init)  # fmt: skip
criterion = nn.BCELoss()
step_d = optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
step_g = optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
for i, real in enumerate(data.split(32)):
    discriminator.zero_grad()
    label = torch.full((real.size(0),), 1.0)
    loss_real = criterion(discriminator(real), label)
    loss_real.backward()
    fake = generator(torch.randn(real.size(0), 8, 1, 1))
    label.fill_(0.0)
    loss_fake = criterion(discriminator(fake.detach()), label)
    loss_fake.backward()
    step_d.step()
    generator.zero_grad()
    label.fill_(1.0)
    loss_g = criterion(discriminator(fake), label)
    loss_g.backward()
    step_g.step()
    print(f"gan {i}: {loss_real.item():.3f} {loss_fake.item():.3f} {loss_g.item():.3f}")
