"""Trains a small convolutional network on scikit-learn's handwritten digits (1797 images, 8 x 8).

    python examples/digits.py [--epochs 40] [--out digits]

A plain PyTorch program: it runs unchanged under PyTorch once the import below says `import torch`.
Writes curves.png, errors.png and model.pt to the folder given, and prints the test accuracy.
"""

import argparse
import time
from pathlib import Path

import taimatsu as torch

nn, F = torch.nn, torch.nn.functional


class Net(nn.Module):
    """Two convolution blocks and two linear layers: (N, 1, 8, 8) -> (N, 10) scores."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classify = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(2 * width * 2 * 2, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, x):
        return self.classify(self.features(x))


def digits():
    """(images in [-1, 1] of shape (N, 1, 8, 8), labels) of all 1797 digits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    return images, torch.tensor(data.target, dtype=torch.int64)


def shifted(images):
    """The batch moved by up to one pixel in each direction, each image by an offset of its own."""
    n = len(images)
    padded = F.pad(images, (1, 1, 1, 1), value=-1.0)
    rows = torch.randint(0, 3, (n, 1, 1)) + torch.arange(8).view(1, 8, 1)
    columns = torch.randint(0, 3, (n, 1, 1)) + torch.arange(8).view(1, 1, 8)
    image = torch.arange(n).view(n, 1, 1)
    return padded[image, 0, rows, columns].unsqueeze(1)


def evaluate(model, loader):
    """(loss, predictions, labels) over all batches, without training."""
    model.eval()
    scores, labels = [], []
    with torch.no_grad():
        for x, y in loader:
            scores.append(model(x))
            labels.append(y)
    scores, labels = torch.cat(scores), torch.cat(labels)
    return F.cross_entropy(scores, labels).item(), scores.argmax(dim=1), labels


def accuracy(predicted, labels):
    return (predicted == labels).float().mean().item()


def train(model, train_loader, test_loader, epochs):
    """Fits the model; gives [(training loss, test loss, test accuracy)], one for each epoch."""
    from tqdm import tqdm

    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=6e-3, total_steps=epochs * len(train_loader)
    )
    history = []
    bar = tqdm(range(epochs), desc="training", unit="epoch")
    for _ in bar:
        model.train()
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(shifted(x)), y, label_smoothing=0.05)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        test_loss, predicted, labels = evaluate(model, test_loader)
        history.append((total / len(train_loader), test_loss, accuracy(predicted, labels)))
        bar.set_postfix(loss=f"{history[-1][0]:.3f}", accuracy=f"{history[-1][2]:.3f}")
    return history


def plot_curves(history, path):
    import matplotlib.pyplot as plt

    train_loss, test_loss, test_accuracy = zip(*history, strict=True)
    epochs = range(1, len(history) + 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.plot(epochs, train_loss, label="training (shifted, smoothed labels)")
    left.plot(epochs, test_loss, label="test")
    left.set(xlabel="epoch", ylabel="cross entropy", yscale="log", title="Loss")
    left.legend()
    right.plot(epochs, [100 * a for a in test_accuracy])
    right.set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(90, 100.5), title="Accuracy")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_errors(images, predicted, labels, path):
    """The confusion matrix, and beside it the digits that were misread."""
    import matplotlib.pyplot as plt

    confusion = torch.zeros(10, 10, dtype=torch.int64)
    for true, guess in zip(labels.tolist(), predicted.tolist(), strict=True):
        confusion[true, guess] += 1
    misread = (predicted != labels).nonzero().flatten().tolist()[:12]
    figure = plt.figure(figsize=(11, 5))
    matrix, gallery = figure.subfigures(1, 2, width_ratios=(1.2, 1))
    axes = matrix.subplots()
    axes.imshow(confusion.float().sqrt().tolist(), cmap="Blues")
    for true in range(10):
        for guess in range(10):
            count = confusion[true, guess].item()
            if count:
                color = "white" if count > 10 else "black"
                axes.text(guess, true, str(count), ha="center", va="center", color=color)
    axes.set(xlabel="read as", ylabel="digit", xticks=range(10), yticks=range(10))
    axes.set_title("Test digits")
    gallery.suptitle(f"Misread: {(predicted != labels).sum().item()} of {len(labels)}")
    for axes, i in zip(gallery.subplots(3, 4).flat, misread + [None] * 12, strict=False):
        axes.axis("off")
        if i is not None:
            axes.imshow(images[i, 0].tolist(), cmap="gray_r", vmin=-1, vmax=1)
            axes.set_title(f"{labels[i].item()} as {predicted[i].item()}")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main():
    import matplotlib

    matplotlib.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("digits"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)

    images, labels = digits()
    data = torch.utils.data.TensorDataset(images, labels)
    train_set, test_set = torch.utils.data.random_split(data, [1437, 360])
    train_loader = torch.utils.data.DataLoader(train_set, batch_size=64, shuffle=True)
    test_loader = torch.utils.data.DataLoader(test_set, batch_size=360)

    model = Net()
    started = time.perf_counter()
    history = train(model, train_loader, test_loader, options.epochs)
    seconds = time.perf_counter() - started

    checkpoint = options.out / "model.pt"
    torch.save(model.state_dict(), checkpoint)
    restored = Net()
    restored.load_state_dict(torch.load(checkpoint))
    _, predicted, expected = evaluate(restored, test_loader)
    if accuracy(predicted, expected) != history[-1][2]:
        raise SystemExit("the restored model reads other digits than the one saved")

    plot_curves(history, options.out / "curves.png")
    test_images = torch.stack([image for image, _ in test_set])
    plot_errors(test_images, predicted, expected, options.out / "errors.png")
    count = sum(p.numel() for p in model.parameters())
    print(f"{count} parameters, {options.epochs} epochs in {seconds:.1f} s; see {options.out}/")
    print(f"test accuracy: {100 * history[-1][2]:.1f} %")


if __name__ == "__main__":
    main()
