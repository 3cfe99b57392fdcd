"""Hogwild: processes train one model in shared memory, without locks, on handwritten digits.

    python examples/hogwild.py --processes 4

It runs under PyTorch unchanged but for the import.
"""

from __future__ import annotations

import argparse

from sklearn.datasets import load_digits

import taimatsu as torch
import taimatsu.multiprocessing as mp
from taimatsu import nn
from taimatsu.utils.data import DataLoader, TensorDataset, random_split


def digits():
    """Two sets of images and labels, to train on and to test."""
    bunch = load_digits()
    images = torch.tensor(bunch.data, dtype=torch.float32) / 16
    every = TensorDataset(images, torch.tensor(bunch.target, dtype=torch.int64))
    return random_split(every, [0.8, 0.2], generator=torch.Generator().manual_seed(0))


def work(rank, model, processes, epochs):
    """A process: its part of the batches, written to the model that all have."""
    torch.manual_seed(rank)
    torch.set_num_threads(1)
    train, _ = digits()
    part = torch.utils.data.Subset(train, range(rank, len(train), processes))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    for _ in range(epochs):
        for images, labels in DataLoader(part, batch_size=16, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()


def train(processes=4, epochs=10, start_method="spawn"):
    """The accuracy on the test set after training."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model.share_memory()
    mp.start_processes(
        work, (model, processes, epochs), nprocs=processes, start_method=start_method
    )
    images, labels = next(iter(DataLoader(digits()[1], batch_size=1000)))
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    for n in (1, options.processes):
        accuracy = 100 * train(n, options.epochs)
        print(f"{n} process{'es' if n > 1 else ''}: test accuracy {accuracy:.1f} %")
