"""Networks as users write them, each with what a workload calls: `train_step`, `decode`."""

from __future__ import annotations


def trained(torch, model, loss, optimizer="Adam", **options):
    """A step of training: `loss()` of the model, backward, and the optimizer."""
    update = getattr(torch.optim, optimizer)(model.parameters(), **options)

    def train_step():
        update.zero_grad()
        loss().backward()
        update.step()

    return {"model": model, "update": update, "forward": loss, "train_step": train_step}


def mlp(torch, widths=(64, 128, 128, 10), batch=32, optimizer="SGD", **options):
    """A classifier of linear layers with relu between them."""
    nn = torch.nn
    layers = []
    for features, width in zip(widths[:-2], widths[1:-1], strict=True):
        layers += [nn.Linear(features, width), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(*widths[-2:]))
    x, target = torch.randn(batch, widths[0]), torch.randint(0, widths[-1], (batch,))
    return trained(torch, model, lambda: nn.functional.cross_entropy(model(x), target), optimizer,
                   **options)


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
    images, target = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))
    return trained(torch, model, lambda: nn.functional.cross_entropy(model(images), target), "SGD",
                   lr=0.1, momentum=0.9)


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

    def loss():
        y, mean, log_var = model(x)
        likelihood = F.binary_cross_entropy(y, x, reduction="sum")
        return likelihood - 0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum()

    return trained(torch, model, loss)


def char_lstm(torch, layers=1, size=256, batch=32, steps=64, vocabulary=65):
    """The next character from an embedding and LSTM layers."""
    nn = torch.nn

    class CharLSTM(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Embedding(vocabulary, 64)
            self.lstm = nn.LSTM(64, size, layers, batch_first=True)
            self.head = nn.Linear(size, vocabulary)

        def forward(self, tokens):
            return self.head(self.lstm(self.token(tokens))[0])

    model = CharLSTM()
    text = torch.randint(0, vocabulary, (batch, steps + 1))

    def loss():
        scores = model(text[:, :-1])
        return nn.functional.cross_entropy(scores.flatten(0, 1), text[:, 1:].flatten())

    return trained(torch, model, loss)


def recurrent(torch, kind, features, size, batch, steps, **options):
    """A recurrent layer on random sequences, and the gradient of everything."""
    layer = getattr(torch.nn, kind)(features, size, **options)
    x = torch.randn(steps, batch, features, requires_grad=True)
    g = torch.randn_like(layer(x)[0])
    gradient, weights = torch.autograd.grad, [x, *layer.parameters()]
    return locals()


def gpt(torch, width=256, heads=8, layers=4, context=128, vocabulary=65):
    """Causal attention before a network of two layers, each added to what came in."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x, cache=None):
            n, t, _ = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, heads, -1).permute(2, 0, 3, 1, 4)
            if cache is not None:
                k, v = cache(k, v)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
            x = x + self.out(y.transpose(1, 2).reshape(n, t, width))
            return x + self.mlp(self.norm2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

        def forward(self, tokens, caches=(None,) * layers, start=0):
            x = self.token(tokens) + self.place.weight[start : start + tokens.shape[1]]
            for block, cache in zip(self.blocks, caches, strict=True):
                x = block(x, cache)
            return self.head(self.norm(x))

    return GPT()


def gpt_training(torch, batch=8, context=128):
    model = gpt(torch, context=context)
    text = torch.randint(0, 65, (batch, context + 1))

    def loss():
        scores = model(text[:, :-1])
        return torch.nn.functional.cross_entropy(scores.flatten(0, 1), text[:, 1:].flatten())

    return trained(torch, model, loss, "AdamW")


def decoding(torch, context=128):
    """Characters one after another, keys and values of those before kept for each block."""
    model = gpt(torch, context=context).eval()

    class Growing:
        """The cache is made anew with each character."""

        def __init__(self):
            self.kept = None

        def __call__(self, k, v):
            if self.kept is not None:
                k, v = torch.cat([self.kept[0], k], 2), torch.cat([self.kept[1], v], 2)
            self.kept = k, v
            return k, v

    class Preallocated:
        """The cache has room for the whole context."""

        def __init__(self):
            self.kept, self.length = torch.zeros(2, 1, 8, context, 32), 0

        def __call__(self, k, v):
            end = self.length + k.shape[2]
            self.kept[0, :, :, self.length : end] = k
            self.kept[1, :, :, self.length : end] = v
            self.length = end
            return self.kept[0, :, :, :end], self.kept[1, :, :, :end]

    @torch.no_grad()
    def decode(cache):
        caches, token = [cache() for _ in model.blocks], torch.zeros(1, 1, dtype=torch.int64)
        for place in range(context):
            token = model(token, caches, place)[:, -1].argmax(-1, keepdim=True)
        return token

    return locals()


def encoder(torch, width=256, heads=8, batch=8, steps=128):
    """A transformer encoder layer that learns to give its input back."""
    layer = torch.nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, batch_first=True)
    x = torch.randn(batch, steps, width)
    return trained(torch, layer, lambda: torch.nn.functional.mse_loss(layer(x), x))
