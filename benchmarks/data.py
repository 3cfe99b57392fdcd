"""Loading data: transforms, collation, worker processes, tensors through queues, memory."""

from __future__ import annotations

import importlib
from types import ModuleType

from .table import Group, Workload, workloads

IMAGES = 2048


class Images:
    """Images of 3 x 32 x 32 with a transform in Python: a random crop, a flip, a normalisation."""

    def __init__(self, torch: ModuleType, size: int = IMAGES):
        self.torch, self.name = torch, torch.__name__
        self.images = torch.randint(0, 256, (size, 3, 40, 40), dtype=torch.uint8)
        self.mean = torch.tensor([0.49, 0.48, 0.45]).reshape(3, 1, 1)
        self.std = torch.tensor([0.25, 0.24, 0.26]).reshape(3, 1, 1)

    def __getstate__(self) -> dict:  # modules aren't pickled
        return {**self.__dict__, "torch": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, torch=importlib.import_module(state["name"]))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int):
        top, left, flip = (int(n) for n in self.torch.randint(0, 8, (3,)))
        image = self.images[i][:, top : top + 32, left : left + 32]
        if flip < 4:
            image = image.flip(2)
        return (image.float() / 255 - self.mean) / self.std, i % 10


class Numbers:
    """The least of a data set."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, i: int) -> int:
        return i


def loaders(torch):
    DataLoader = torch.utils.data.DataLoader
    images = Images(torch)
    here = DataLoader(images, batch_size=32)
    workers = DataLoader(images, batch_size=32, num_workers=2, persistent_workers=True)
    return locals()


def started(torch):
    DataLoader, numbers = torch.utils.data.DataLoader, Numbers()

    def first(method):
        epoch = iter(
            DataLoader(numbers, batch_size=8, num_workers=2, multiprocessing_context=method)
        )
        return next(epoch)

    return locals()


def batches(torch):
    import numpy

    collate = torch.utils.data.default_collate
    small = [torch.rand(3, 32, 32) for _ in range(32)]
    large = [torch.rand(3, 224, 224) for _ in range(32)]
    arrays = [numpy.asarray(x) for x in small]
    labelled = [(x, i) for i, x in enumerate(small)]
    dicts = [{"image": x, "label": i, "name": str(i)} for i, x in enumerate(small)]
    return locals()


def _sender(torch, sent, wanted, megabytes):
    torch.set_num_threads(1)
    while wanted.get() is not None:
        sent.put(torch.zeros(megabytes << 18))


def queues(torch, megabytes=16):
    """A process that sends a new tensor when one is wanted."""
    context = importlib.import_module(f"{torch.__name__}.multiprocessing").get_context("fork")
    sent, wanted = context.Queue(), context.Queue()
    arguments = (torch, sent, wanted, megabytes)
    context.Process(target=_sender, args=arguments, daemon=True).start()
    return locals()


GROUPS = (
    Group(
        f"DataLoader, {IMAGES} images of 3 x 32 x 32, transform in Python",
        loaders,
        workloads(**{"0 workers": "for _ in here: pass", "2 workers": "for _ in workers: pass"}),
        floor=1.5,
    ),
    Group(
        "collating 32 samples",
        batches,
        workloads(
            **{
                "3 x 32 x 32": "collate(small)",
                "3 x 224 x 224": "collate(large)",
                "arrays": "collate(arrays)",
                "with labels": "collate(labelled)",
                "dicts": "collate(dicts)",
            }
        ),
        mean=2,
    ),
    Group(
        "the first batch of 2 workers",
        started,
        workloads(spawn="first('spawn')"),
        floor=5,
    ),
    Group(
        "a new tensor through a queue",
        queues,
        (Workload("16 MB", "wanted.put(1); sent.get()[0]"),),
        floor=2,
    ),
)
