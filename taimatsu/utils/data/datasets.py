"""Real data sets that need no network: scikit-learn's own, folders of images, tables, and files of
MNIST and CIFAR where the user has them.

What reads a format is imported when it is needed, and named if it isn't installed.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import taimatsu as torch
from taimatsu import Tensor

from .dataset import Dataset, TensorDataset

__all__ = [
    "CIFAR10", "CIFAR100", "CSV", "MNIST", "FashionMNIST", "ImageFolder", "Parquet", "sklearn",
]  # fmt: skip


def _needed(module: str, package: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(f"{what} needs {package}: pip install {package}") from None


def _files(root: str | Path, names: Sequence[str], what: str) -> list[Path]:
    """The files of these names, gzipped or not, somewhere under `root`."""
    found = []
    for name in names:
        matches = sorted(p for n in (name, name + ".gz") for p in Path(root).rglob(n))
        if not matches:
            raise FileNotFoundError(
                f"{what}: {name} is not under {root}; put the data set's files there, they are "
                "not fetched"
            )
        found.append(matches[0])
    return found


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


class _Transformed(Dataset):
    """Samples and targets, each with an optional transform."""

    def __init__(self, transform: Callable | None, target_transform: Callable | None):
        self.transform, self.target_transform = transform, target_transform

    def _pair(self, sample: Any, target: Any) -> tuple[Any, Any]:
        if self.transform is not None:
            sample = self.transform(sample)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return sample, target


# ---- scikit-learn --------------------------------------------------------------------------------
def sklearn(name: str, dtype: Any = None) -> TensorDataset:
    """A data set that scikit-learn ships: "digits", "iris", "wine", "breast_cancer", "diabetes" or
    "linnerud", as rows and targets (classes as int64).

    ``images`` of digits are 1 x 8 x 8 with values from 0 to 1. ``classes`` has the names of the
    classes, ``features`` those of the columns. ValueError for other names.

    >>> iris = sklearn("iris")
    >>> len(iris), iris[0][0].shape, iris.classes
    (150, torch.Size([4]), ['setosa', 'versicolor', 'virginica'])
    """
    names = ("digits", "iris", "wine", "breast_cancer", "diabetes", "linnerud")
    if name not in names:
        raise ValueError(f"sklearn: there is no data set {name!r}; it ships {', '.join(names)}")
    bunch = getattr(_needed("sklearn.datasets", "scikit-learn", "sklearn"), f"load_{name}")()
    dtype = dtype or torch.get_default_dtype()
    rows = torch.tensor(bunch.data, dtype=dtype)
    if name == "digits":
        rows = (rows / 16).reshape(-1, 1, 8, 8)
    classes = getattr(bunch, "target_names", None) if name not in ("diabetes", "linnerud") else None
    kind = torch.int64 if classes is not None else dtype
    dataset: Any = TensorDataset(rows, torch.tensor(bunch.target, dtype=kind))
    dataset.classes = None if classes is None else [str(c) for c in classes]
    dataset.features = [str(f) for f in bunch.feature_names]
    return dataset


# ---- images --------------------------------------------------------------------------------------
def _to_tensor(image: Any) -> Tensor:
    """A Pillow image as uint8 of (channels, height, width)."""
    import numpy

    array = numpy.array(image)
    return torch.from_numpy(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1)


class ImageFolder(_Transformed):
    """Images in a folder for each class: ``root/cat/1.png`` is one of class "cat".

    A sample is an image, uint8 of (3, height, width), and the number of its class among the sorted
    ``classes``. ``transform`` gets the image; ``mode`` is Pillow's, "RGB" or "L". Needs Pillow.
    FileNotFoundError if there are no folders or no images.

    >>> photos = ImageFolder("photos")  # doctest: +SKIP
    """

    extensions = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

    def __init__(
        self, root: str | Path, transform: Callable | None = None,
        target_transform: Callable | None = None, mode: str = "RGB",
    ):  # fmt: skip
        super().__init__(transform, target_transform)
        self.root, self.mode = Path(root), mode
        self.classes = sorted(p.name for p in self.root.iterdir() if p.is_dir())
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        self.samples = [
            (str(path), i)
            for name, i in self.class_to_idx.items()
            for path in sorted((self.root / name).rglob("*"))
            if path.suffix.lower() in self.extensions
        ]
        if not self.samples:
            raise FileNotFoundError(f"ImageFolder: no images in folders of {self.root}")

    @property
    def targets(self) -> list[int]:
        """The class of each image."""
        return [target for _, target in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        with _needed("PIL.Image", "pillow", "ImageFolder").open(path) as image:
            return self._pair(_to_tensor(image.convert(self.mode)), target)


# ---- tables --------------------------------------------------------------------------------------
class _Table(Dataset):
    """Columns by name. A row is a dict; with `target`, a vector of the others and the target."""

    def __init__(self, columns: dict[str, Any], target: str | None):
        if target is not None and target not in columns:
            raise KeyError(f"there is no column {target!r}; the columns are {list(columns)}")
        self.columns, self.target = columns, target
        if target is not None:
            others = {k: v for k, v in columns.items() if k != target}
            if words := [k for k, v in others.items() if not isinstance(v, Tensor)]:
                raise TypeError(f"columns {words} are no numbers; choose columns= without them")
            kind = torch.get_default_dtype()
            self.features = torch.stack([v.to(kind) for v in others.values()], 1)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, index: Any) -> Any:
        if self.target is not None:
            return self.features[index], self.columns[self.target][index]
        return {name: column[index] for name, column in self.columns.items()}


def _column(values: list[str]) -> Any:
    """Numbers as a tensor: int64 if all are integers, else float64 (nan where empty); else text."""
    for convert, dtype in ((int, torch.int64), (float, torch.float64)):
        missing = "nan" if convert is float else None
        try:
            return torch.tensor([convert(v or missing) for v in values], dtype=dtype)
        except (ValueError, TypeError):
            continue
    return values


class CSV(_Table):
    """A table in a text file whose first line names the columns.

    ``columns`` chooses some of them. A column of numbers is a tensor, int64 or float64 (nan where
    empty), any other a list of strings. A row is a dict of its values; with ``target`` it is a
    vector of all other columns, and the target. KeyError for unknown columns.

    >>> table = CSV("iris.csv", target="species")  # doctest: +SKIP
    """

    def __init__(
        self, path: str | Path, columns: Sequence[str] | None = None, target: str | None = None,
        delimiter: str = ",", encoding: str = "utf-8",
    ):  # fmt: skip
        with open(path, newline="", encoding=encoding) as file:
            rows = csv.reader(file, delimiter=delimiter)
            header = next(rows, [])
            lines = [row for row in rows if row]
        for i, row in enumerate(lines, 2):
            if len(row) != len(header):
                raise ValueError(f"CSV: {path}, row {i}: {len(row)} values, {len(header)} columns")
        wanted = _chosen(header, columns)
        at = {name: header.index(name) for name in wanted}
        super().__init__({n: _column([row[at[n]] for row in lines]) for n in wanted}, target)


def _chosen(there: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    wanted = list(there) if columns is None else list(columns)
    if unknown := [name for name in wanted if name not in there]:
        raise KeyError(f"there are no columns {unknown}; the columns are {list(there)}")
    return wanted


class Parquet(_Table):
    """A table in a Parquet file, as `CSV` otherwise. Needs pyarrow."""

    def __init__(
        self, path: str | Path, columns: Sequence[str] | None = None, target: str | None = None
    ):
        reader = _needed("pyarrow.parquet", "pyarrow", "Parquet")
        names = _chosen(reader.read_schema(path).names, columns)
        table = reader.read_table(path, columns=names)
        found = {}
        for name in names:
            array = table.column(name).to_numpy()
            numbers = array.dtype.kind in "biuf"
            found[name] = torch.tensor(array) if numbers else table.column(name).to_pylist()
        super().__init__(found, target)


# ---- MNIST and CIFAR -----------------------------------------------------------------------------
class _Images(_Transformed):
    """Images and targets in memory: ``data`` uint8, ``targets`` int64."""

    data: Tensor
    targets: Tensor
    classes: list[str]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._pair(self.data[index], self.targets[index].item())


def _idx(path: Path) -> Tensor:
    """A file of MNIST's format: bytes after their dimensions."""
    data = _content(path)
    zero, kind, dims = struct.unpack(">HBB", data[:4])
    if zero != 0 or kind != 8:
        raise ValueError(f"{path} is no file of MNIST's format")
    sizes = struct.unpack(f">{dims}I", data[4 : 4 + 4 * dims])
    return torch.frombuffer(bytearray(data[4 + 4 * dims :]), dtype=torch.uint8).reshape(sizes)


class MNIST(_Images):
    """Handwritten digits, from the files that the user has: ``train-images-idx3-ubyte`` and so on,
    gzipped or not, anywhere under ``root``.

    A sample is uint8 of (1, 28, 28) and its class. FileNotFoundError names what is not there.

    >>> digits = MNIST("~/data", train=False)  # doctest: +SKIP
    """

    classes: ClassVar = [str(i) for i in range(10)]
    folder = ""

    def __init__(
        self, root: str | Path, train: bool = True, transform: Callable | None = None,
        target_transform: Callable | None = None,
    ):  # fmt: skip
        super().__init__(transform, target_transform)
        part, root = "train" if train else "t10k", Path(root).expanduser()
        if self.folder and (root / self.folder).is_dir():
            root = root / self.folder
        names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
        images, labels = _files(root, names, type(self).__name__)
        self.data, self.targets = _idx(images)[:, None], _idx(labels).long()


class FashionMNIST(MNIST):
    """Clothes in MNIST's format; a folder ``FashionMNIST`` under ``root`` is preferred."""

    classes: ClassVar = [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    ]  # fmt: skip
    folder = "FashionMNIST"


class _ArraysOnly(pickle.Unpickler):
    """CIFAR's files are pickles: of arrays, and nothing else is made."""

    allowed = frozenset(("_reconstruct", "ndarray", "dtype", "_frombuffer", "scalar", "encode"))

    def find_class(self, module: str, name: str) -> Any:
        if name in self.allowed and module.split(".")[0] in ("numpy", "_codecs"):
            module = module.replace("numpy.core", "numpy._core")
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"CIFAR: the file wants {module}.{name}; it is not read")


class CIFAR10(_Images):
    """Small photographs, from the files of "CIFAR-10 python version" anywhere under ``root``.

    A sample is uint8 of (3, 32, 32) and its class. FileNotFoundError names what is not there.
    """

    train_files: tuple[str, ...] = tuple(f"data_batch_{i}" for i in range(1, 6))
    test_files: tuple[str, ...] = ("test_batch",)
    labels, meta, names = b"labels", "batches.meta", b"label_names"

    def __init__(
        self, root: str | Path, train: bool = True, transform: Callable | None = None,
        target_transform: Callable | None = None,
    ):  # fmt: skip
        super().__init__(transform, target_transform)
        root, what = Path(root).expanduser(), type(self).__name__
        files = _files(root, self.train_files if train else self.test_files, what)
        parts = [self._unpickled(path) for path in files]
        rows = [torch.tensor(part[b"data"]) for part in parts]
        self.data = torch.cat(rows).reshape(-1, 3, 32, 32)
        self.targets = torch.tensor([label for part in parts for label in part[self.labels]])
        try:
            (meta,) = _files(root, (self.meta,), what)
            self.classes = [name.decode() for name in self._unpickled(meta)[self.names]]
        except FileNotFoundError:
            self.classes = [str(i) for i in range(int(self.targets.max()) + 1)]

    @staticmethod
    def _unpickled(path: Path) -> dict:
        return _ArraysOnly(io.BytesIO(_content(path)), encoding="bytes").load()


class CIFAR100(CIFAR10):
    """As `CIFAR10`, with 100 classes."""

    train_files, test_files = ("train",), ("test",)
    labels, meta, names = b"fine_labels", "meta", b"fine_label_names"
