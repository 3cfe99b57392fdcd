"""Trains a small GPT, character by character, on English text, and lets it write.

    python examples/chargpt.py [--text FILE] [--steps 800] [--out chargpt] [--resume]

The text is Python's own language reference (`pydoc_data.topics`) unless a file is given. A plain
PyTorch program: it runs unchanged under PyTorch once the import below says `import torch`, and
with one seed both print the same losses. Writes loss.png, sample.txt and checkpoint.pt to the
folder given; Ctrl-C writes them too, and --resume goes on from there as if nothing had happened.
"""

import argparse
import math
import time
from pathlib import Path

import taimatsu as torch

nn, F = torch.nn, torch.nn.functional


class Block(nn.Module):
    """Causal self-attention, then a two-layer network, each added to what came in: (N, T, C)."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def attend(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.dropout(self.out(y.transpose(1, 2).reshape(n, t, c)), self.dropout, self.training)

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Characters (N, T) to scores of the next one at each place (N, T, vocabulary)."""

    def __init__(self, vocabulary, context=128, width=128, heads=4, layers=4, dropout=0.1):
        super().__init__()
        self.context = context
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.token.weight
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif p.dim() == 2:
                # What is added to the residual stream 2 * layers times starts that much smaller.
                residual = name.endswith(("out.weight", "mlp.2.weight"))
                nn.init.normal_(p, std=0.02 / (math.sqrt(2 * layers) if residual else 1))

    def forward(self, tokens):
        x = self.token(tokens) + self.place.weight[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(self.dropout(x))))

    @torch.no_grad()
    def write(self, tokens, count, temperature=0.8, likely=20):
        """`tokens` (N, T) with `count` more, each drawn from the `likely` most probable ones."""
        self.eval()
        for _ in range(count):
            scores = self(tokens[:, -self.context :])[:, -1] / temperature
            best, which = scores.topk(likely)
            drawn = torch.multinomial(best.softmax(-1), 1)
            tokens = torch.cat([tokens, which.gather(1, drawn)], dim=1)
        return tokens


class Text:
    """A text as character numbers: the first nine tenths to train on, the rest to test."""

    def __init__(self, path: Path | None):
        if path is None:
            from pydoc_data.topics import topics

            text = "\n\n".join(topics[name] for name in sorted(topics))
        else:
            text = path.read_text(encoding="utf-8")
        self.characters = sorted(set(text))
        self.number = {c: i for i, c in enumerate(self.characters)}
        numbers = self.encode(text)
        split = len(numbers) * 9 // 10
        self.train, self.test = numbers[:split], numbers[split:]

    def encode(self, text: str):
        return torch.tensor([self.number[c] for c in text])

    def decode(self, numbers) -> str:
        return "".join(self.characters[i] for i in numbers.tolist())


def batch(numbers, size: int, context: int):
    """`size` passages of the text, (size, context), and the same one character later."""
    starts = torch.randint(len(numbers) - context, (size, 1))
    passages = numbers[starts + torch.arange(context + 1)]
    return passages[:, :-1], passages[:, 1:]


def loss_of(model, x, y):
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


@torch.no_grad()
def evaluate(model, numbers, size: int, batches: int = 4) -> float:
    """The loss over fixed passages, evenly spread; no random numbers are drawn."""
    model.eval()
    context, total = model.context, 0.0
    starts = torch.linspace(0, len(numbers) - context - 1, size * batches).long().view(batches, -1)
    for s in starts:
        passages = numbers[s.unsqueeze(1) + torch.arange(context + 1)]
        total += loss_of(model, passages[:, :-1], passages[:, 1:]).item()
    model.train()
    return total / batches


class Run:
    """A model with its optimizer and history: what a checkpoint holds."""

    def __init__(self, vocabulary: int, options):
        self.model = GPT(vocabulary, options.context, options.width, options.heads, options.layers)
        matrices = [p for p in self.model.parameters() if p.dim() >= 2]
        vectors = [p for p in self.model.parameters() if p.dim() < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
            lr=options.lr,
            betas=(0.9, 0.99),
        )
        warm, steps = min(100, options.steps // 10), options.steps
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda i: min((i + 1) / (warm + 1), 0.55 + 0.45 * math.cos(math.pi * i / steps)),
        )
        self.losses: list[float] = []
        self.tests: list[tuple[int, float]] = []

    def step(self, x, y) -> float:
        loss = loss_of(self.model, x, y)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.losses.append(loss.item())
        return self.losses[-1]

    def save(self, path: Path):
        """Through a second file: an interrupted write leaves the earlier checkpoint whole."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "losses": self.losses,
            "tests": self.tests,
            "random": torch.get_rng_state(),
        }
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, path: Path):
        state = torch.load(path)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.losses, self.tests = state["losses"], state["tests"]
        torch.set_rng_state(state["random"])


def train(run: Run, text: Text, options):
    from tqdm import tqdm

    bar = tqdm(initial=len(run.losses), total=options.steps, desc="training", unit="step")
    with bar:
        while len(run.losses) < options.steps:
            started = time.perf_counter()
            loss = run.step(*batch(text.train, options.batch, options.context))
            speed = options.batch * options.context / (time.perf_counter() - started)
            done = len(run.losses)
            if done % options.every == 0 or done == options.steps:
                run.tests.append((done, evaluate(run.model, text.test, options.batch)))
                run.save(options.out / "checkpoint.pt")
            test = f"{run.tests[-1][1]:.3f}" if run.tests else "-"
            bar.set_postfix_str(f"loss {loss:.3f}, test {test}, {speed:,.0f} tokens/s")
            bar.update()


def plot(run: Run, path: Path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(range(1, len(run.losses) + 1), run.losses, linewidth=0.7, label="training")
    if run.tests:
        axes.plot(*zip(*run.tests, strict=True), marker=".", label="test")
    axes.set(xlabel="step", ylabel="cross entropy per character (nats)", title="Loss")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, help="a UTF-8 file to learn from")
    parser.add_argument("--out", type=Path, default=Path("chargpt"))
    parser.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.pt")
    parser.add_argument("--prompt", default="The ", help="what the sample begins with")
    parser.add_argument("--sample", type=int, default=400, help="characters to write at the end")
    for name, value in {
        "steps": 800,
        "batch": 16,
        "context": 128,
        "width": 128,
        "heads": 4,
        "layers": 4,
        "every": 100,
        "seed": 0,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lr", type=float, default=2e-3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)

    text = Text(options.text)
    if len(text.test) <= options.context:
        raise SystemExit(f"the text is too short: a tenth of it has to hold {options.context + 1}")
    if unknown := set(options.prompt) - set(text.characters):
        raise SystemExit(f"--prompt has characters that the text has not: {sorted(unknown)}")
    run = Run(len(text.characters), options)
    if options.resume:
        run.load(options.out / "checkpoint.pt")
    count = sum(p.numel() for p in run.model.parameters())
    print(f"{count} parameters, {len(text.train)} characters of {len(text.characters)} kinds")

    started, before = time.perf_counter(), len(run.losses)
    try:
        train(run, text, options)
    except KeyboardInterrupt:
        print(f"stopped after step {len(run.losses)}; --resume goes on from the last checkpoint")
    seconds = time.perf_counter() - started
    plot(run, options.out / "loss.png")

    prompt = text.encode(options.prompt).unsqueeze(0)
    sample = text.decode(run.model.write(prompt, options.sample)[0])
    (options.out / "sample.txt").write_text(sample, encoding="utf-8")
    print(f"{sample}\n\n{len(run.losses) - before} steps in {seconds:.1f} s; see {options.out}/")
    if run.tests:
        print(f"test loss: {run.tests[-1][1]:.3f}")


if __name__ == "__main__":
    main()
