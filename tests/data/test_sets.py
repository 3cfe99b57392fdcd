"""Shared lists and dicts, data sets that are read from files, the progress bar."""

import gc
import gzip
import io
import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest

import taimatsu as torch
from taimatsu.utils import data
from taimatsu.utils.data import datasets, shared
from taimatsu.utils.progress import progress


# ---- shared --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "items",
    [
        ["a", "", "ü\udc80", "long" * 99],
        [b"", b"\0x"],
        [1, "a", None, {"k": [1.5]}],
        [{"path": "x", "label": 3}] * 3,
        [],
    ],
)
def test_shared_lists_read_like_lists(items):
    there = shared(items)
    assert there == items and list(there) == items and len(there) == len(items)
    assert there[1:] == items[1:] and there[::-2] == items[::-2]
    for i in range(-len(items), len(items)):
        assert there[i] == items[i]
    for i in (len(items), -len(items) - 1):
        with pytest.raises(IndexError):
            there[i]
    if items:
        assert items[0] in there and there.index(items[-1]) == items.index(items[-1])
    with pytest.raises(TypeError):
        there[0] = 1
    assert shared(there) is there and pickle.loads(pickle.dumps(there)) == items
    assert there != [*items, 0] and repr(there).startswith(f"SharedList of {len(items)} ")


def test_shared_dicts_read_like_dicts():
    plain = {"b": 1, "a": [2], 3: "three", b"a": None, "": 0, -5: 1}
    there = shared(plain)
    assert dict(there) == plain and list(there) == list(plain) and len(there) == 6
    assert list(there.items()) == list(plain.items()) and there["a"] == [2] and there[3] == "three"
    assert "zz" not in there and "3" not in there and 1.5 not in there and there.get("x", 7) == 7
    with pytest.raises(KeyError, match="zz"):
        there["zz"]
    with pytest.raises(TypeError, match="keys are strings, bytes or integers; got tuple"):
        shared({(1, 2): 3})
    assert there == plain


def test_other_shared_data():
    x = torch.ones(3)
    assert shared(x) is x and x.is_shared()
    array = np.arange(3)
    assert shared(array).is_shared() and shared(array).tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match="set"):
        shared({1, 2})


class Names(data.Dataset):
    def __init__(self, names):
        self.names = names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, i):
        return len(self.names[i])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_shared_lists(method):
    names = shared([f"{i:05d}" for i in range(10)])
    dataset = data.TensorDataset(torch.arange(10))
    dataset.names = names
    stacked = data.StackDataset(dataset, names)
    loader = data.DataLoader(stacked, 5, num_workers=1, multiprocessing_context=method)
    assert [batch[1] for batch in loader][1] == tuple(names[5:])


MEMORY = """
import gc, os, sys
from taimatsu.utils import data

class Names(data.Dataset):
    def __init__(self, names):
        self.names = names
    def __len__(self):
        return len(self.names)
    def __getitem__(self, i):
        return len(self.names[i])

class Reporting(Names):
    read = 0
    def __getitem__(self, i):
        self.read = self.read or sum(map(len, self.names))
        return pss()

def pss():
    with open("/proc/self/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))

def together(names):
    loader = data.DataLoader(Reporting(names), num_workers=4, sampler=range(8))
    epoch = iter(loader)
    workers = [next(epoch).item() for _ in range(8)][4:]   # when all have read everything
    return pss() + sum(workers)

n = int(sys.argv[1])
empty = data.shared(["x"])
together(empty)
base = together(empty)
before = pss()
names = [f"images/of/a/folder/{i:08d}.jpg" for i in range(n)]
copy = pss() - before
names = data.shared(names)
gc.collect()
print((together(names) - base) / copy)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux's accounting")
@pytest.mark.skipif(torch._core._sanitized, reason="the sanitizer's memory counts too")
def test_workers_have_one_copy():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    out = subprocess.run(
        [sys.executable, "-c", MEMORY, "100000"],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert float(out.stdout) < 1.3, out.stderr


# ---- data sets -----------------------------------------------------------------------------------
def test_scikit_learn():
    pytest.importorskip("sklearn")
    digits = datasets.sklearn("digits")
    image, label = digits[0]
    assert len(digits) == 1797 and image.shape == (1, 8, 8) and image.max() == 0.9375
    assert label.dtype == torch.int64 and digits.classes == [str(i) for i in range(10)]
    wine = datasets.sklearn("wine", torch.float64)
    assert wine[0][0].dtype == torch.float64 and wine.features[0] == "alcohol"
    assert datasets.sklearn("diabetes").tensors[1].is_floating_point()
    with pytest.raises(ValueError, match="moons"):
        datasets.sklearn("moons")


def test_image_folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name, value in (("dog", 200), ("cat", 10)):
        (tmp_path / name / "more").mkdir(parents=True)
        pixels = np.full((4, 6, 3), value, np.uint8)
        image.fromarray(pixels).save(tmp_path / name / "1.png")
        image.fromarray(pixels[..., 0]).save(tmp_path / name / "more" / "2.PNG")
        (tmp_path / name / "notes.txt").write_text("no image")
    photos = datasets.ImageFolder(tmp_path, transform=lambda x: x.float() / 255)
    assert photos.classes == ["cat", "dog"] and len(photos) == 4 and photos.targets == [0, 0, 1, 1]
    x, y = photos[2]
    assert x.shape == (3, 4, 6) and y == 1 and torch.allclose(x, torch.tensor(200 / 255))
    assert datasets.ImageFolder(tmp_path, mode="L")[0][0].shape == (1, 4, 6)
    batch, labels = next(iter(data.DataLoader(photos, 4, num_workers=1)))
    assert batch.shape == (4, 3, 4, 6) and labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(FileNotFoundError, match="no images"):
        datasets.ImageFolder(tmp_path / "cat" / "more")


def test_csv(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('a,b,name,kind\n1,0.5,"x, y",0\n\n-2,,z,1\n')
    table = datasets.CSV(path)
    assert len(table) == 2 and table[0]["name"] == "x, y" and table[1]["a"] == -2
    assert table.columns["a"].dtype == torch.int64 and table.columns["b"][1].isnan()
    pairs = datasets.CSV(path, columns=["a", "b", "kind"], target="kind")
    x, y = pairs[0]
    assert x.tolist() == [1, 0.5] and y == 0
    with pytest.raises(KeyError, match="zip"):
        datasets.CSV(path, columns=["zip"])
    with pytest.raises(KeyError, match="zip"):
        datasets.CSV(path, target="zip")
    with pytest.raises(TypeError, match="name"):
        datasets.CSV(path, target="kind")
    path.write_text("a,b\n1\n")
    with pytest.raises(ValueError, match="row 2: 1 values, 2 columns"):
        datasets.CSV(path)


def test_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"
    columns = {"a": [1, 2], "b": [0.5, None], "name": ["x", "y"]}
    parquet.write_table(arrow.table(columns), path)
    table = datasets.Parquet(path)
    assert table[0]["name"] == "x" and table.columns["a"].tolist() == [1, 2]
    assert datasets.Parquet(path, ["a", "b"], target="a")[0][0].tolist() == [0.5]


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match="pip install pyarrow"):
        datasets.Parquet(tmp_path / "x")


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_mnist(tmp_path):
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.array([7, 3], np.uint8)))
    digits = datasets.MNIST(tmp_path, target_transform=str)
    x, y = digits[1]
    assert len(digits) == 2 and y == "3" and (x[0].numpy() == images[1]).all()
    with pytest.raises(FileNotFoundError, match="MNIST: t10k-images"):
        datasets.MNIST(tmp_path, train=False)
    (folder / "train-labels-idx1-ubyte").write_bytes(b"hello")
    with pytest.raises(ValueError, match="format"):
        datasets.MNIST(tmp_path)


def test_cifar(tmp_path):
    rows = np.arange(2 * 3072).astype(np.uint8).reshape(2, 3072)
    for i in range(1, 6):
        part = {b"data": rows, b"labels": [i, 0]}
        (tmp_path / f"data_batch_{i}").write_bytes(pickle.dumps(part, protocol=2))
    photos = datasets.CIFAR10(tmp_path)
    assert len(photos) == 10 and photos[2][1] == 2
    assert (photos[1][0].numpy().ravel() == rows[1]).all()
    names = {b"fine_label_names": [b"apple", b"bear"]}
    (tmp_path / "meta").write_bytes(pickle.dumps(names, protocol=2))
    part = {b"data": rows, b"fine_labels": [1, 0]}
    (tmp_path / "test").write_bytes(pickle.dumps(part, protocol=2))
    assert datasets.CIFAR100(tmp_path, train=False).classes == ["apple", "bear"]
    (tmp_path / "test").write_bytes(pickle.dumps(os.system))
    with pytest.raises(pickle.UnpicklingError, match="system"):
        datasets.CIFAR100(tmp_path, train=False)


# ---- progress ------------------------------------------------------------------------------------
def test_progress():
    pytest.importorskip("tqdm")
    text = io.StringIO()
    loader = data.DataLoader(range(10), batch_size=4)
    bar = progress(loader, "epoch 3", file=text, mininterval=0)
    seen = []
    for batch in bar:
        bar.show(loss=batch.float().mean(), step=len(seen))
        seen += batch.tolist()
    assert seen == list(range(10)) and bar.items == 10 and len(bar) == 3
    shown = text.getvalue()
    assert "epoch 3: 100%" in shown and "3/3" in shown and "loss 8.5" in shown
    assert "items/s, data " in shown and ", compute " in shown
    assert bar.waiting > 0 and bar.computing > 0
    stream = progress((x for x in [{"x": torch.ones(3, 2)}]), file=io.StringIO())
    assert len(list(stream)) == 1 and stream.items == 3
    gc.collect()


def test_progress_without_tqdm(monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install tqdm"):
        progress([1])
