"""Checkpoints: what goes in comes out, is safe to read, and is the same on both sides."""

import io
import mmap
import os
import pickle
import sys
import zipfile
from collections import OrderedDict

import pytest

import taimatsu as torch
from taimatsu import nn, serialization
from taimatsu.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_unsafe_globals_in_checkpoint,
    safe_globals,
)

DTYPES = ["float32", "float64", "float16", "bfloat16", "complex64", "complex128", "int8", "int16",
          "int32", "int64", "uint8", "bool", "uint16", "uint32", "uint64"]  # fmt: skip


def through_file(obj, **options):
    file = io.BytesIO()
    torch.save(obj, file)
    file.seek(0)
    return torch.load(file, **options)


def bits(tensor):
    """Sizes, strides, dtype and the memory's bytes: what a checkpoint has to keep."""
    size, stride = tuple(tensor.shape), tuple(tensor.stride())
    return size, stride, str(tensor.dtype).rpartition(".")[2], tensor.tolist()


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(name):
    tensor = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(torch, name))
    assert bits(through_file(tensor)) == bits(tensor)


def test_containers_and_scalars():
    obj = OrderedDict(
        i=3, big=2**70, negative=-5, f=0.25, t=True, none=None, s="héllo", c=1 + 2j, b=b"ab",
        array=bytearray(b"x"), set={1, 2}, list=[1, [2, (3,), ()], {}],
        nested={7: {"a": (1, 2, 3, 4)}},
    )  # fmt: skip
    back = through_file(obj)
    assert back == obj and type(back) is OrderedDict
    assert through_file(obj, weights_only=False) == obj


def test_views_share_their_storage_again():
    base = torch.arange(12.0)
    back = through_file({"all": base, "tail": base[6:], "grid": base.reshape(3, 4).t()})
    assert back["grid"].stride() == (1, 4) and back["tail"].storage_offset() == 6
    back["tail"][0] = -1.0
    assert back["all"][6].item() == -1.0 and back["grid"][2, 1].item() == -1.0


def test_a_shared_storage_is_written_once():
    base = torch.zeros(100_000)
    file = io.BytesIO()
    torch.save([base, base[10:], base.view(100, 1000)], file)
    assert len(file.getvalue()) < 1.1 * base.nbytes


def test_storages_viewed_as_two_types_are_refused():
    base = torch.zeros(4)
    with pytest.raises(RuntimeError, match="different types"):
        torch.save([base, base.view(torch.int32)], io.BytesIO())


def test_empty_and_scalar_tensors():
    for tensor in (torch.tensor(2.5), torch.empty(0), torch.empty(3, 0, 2), torch.tensor(True)):
        assert bits(through_file(tensor)) == bits(tensor)


def test_parameters_and_requires_grad():
    param = nn.Parameter(torch.ones(2))
    param.note = "kept"
    back = through_file({"p": param, "g": torch.ones(1, requires_grad=True), "n": torch.ones(1)})
    assert isinstance(back["p"], nn.Parameter) and back["p"].note == "kept"
    assert [back[k].requires_grad for k in "pgn"] == [True, True, False]


def test_dtypes_devices_sizes_layouts():
    obj = [torch.float16, torch.device("cpu"), torch.Size([2, 3]), torch.strided]
    back = through_file(obj)
    assert back == obj and type(back[2]) is torch.Size


def test_meta_tensors_have_no_memory_to_save():
    back = through_file(torch.empty(2, 3, device="meta"))
    assert back.device.type == "meta" and back.shape == (2, 3)


def test_state_dicts_of_modules_and_optimizers(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    path = tmp_path / "model.pt"
    torch.save(model.state_dict(), path)
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    state = torch.load(path)
    assert str(other.load_state_dict(state)) == "<All keys matched successfully>"
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    optimizer = torch.optim.Adam(model.parameters())
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step()
    torch.save(optimizer.state_dict(), path)
    assert torch.load(path)["state"][0]["step"].item() == 1.0


def test_whole_modules_need_trust(tmp_path):
    path = tmp_path / "model.pt"
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    torch.save(model, path)
    with pytest.raises(pickle.UnpicklingError, match="not an allowed global"):
        torch.load(path)
    back = torch.load(path, weights_only=False)
    x = torch.ones(1, 2)
    assert torch.equal(back(x), model(x))


class Code:
    """Runs a function on being unpickled."""

    def __reduce__(self):
        return os.getpid, ()


class Plain:
    def __init__(self, value):
        self.value = value


def test_code_is_refused_and_named():
    file = io.BytesIO()
    torch.save({"a": torch.ones(1), "evil": Code()}, file)
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="getpid.*weights_only=False"):
        torch.load(file)
    file.seek(0)
    assert [n.rpartition(".")[2] for n in get_unsafe_globals_in_checkpoint(file)] == ["getpid"]


def test_safe_globals():
    with pytest.raises(pickle.UnpicklingError, match="Plain"):
        through_file(Plain(3))
    with safe_globals([Plain]):
        assert through_file(Plain(torch.ones(1))).value.item() == 1.0
    with pytest.raises(pickle.UnpicklingError):
        through_file(Plain(3))
    add_safe_globals([Plain])
    assert through_file(Plain(3)).value == 3
    clear_safe_globals()


def pickled(*opcodes):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + b"".join(opcodes) + b".")
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "opcodes",
    [
        [b"cos\nsystem\n", b"X\x02\x00\x00\x00ls", b"\x85", b"R"],
        [b"cbuiltins\neval\n", b"X\x01\x00\x00\x001", b"\x85", b"R"],
        [b"ctorch\nload\n", b"X\x01\x00\x00\x00a", b"\x85", b"R"],
        [b"ctorch._utils\n_rebuild_tensor_v2\n", b"}", b"b"],  # state on a function
        [b"ctorch\nTensor\n", b"}", b"b"],  # state on a class
        [b"(", b"i", b"os\nsystem\n"],
        [b"K\x01", b")", b"R"],
        [b"R"],
        [b"h\x05"],
    ],
)
def test_pickles_that_do_more_than_build_data(opcodes):
    with pytest.raises(pickle.UnpicklingError):
        torch.load(pickled(*opcodes))


def test_views_beyond_their_storage_are_refused():
    file = io.BytesIO()
    torch.save(torch.arange(4.0), file)
    larger = file.getvalue().replace(b"K\x04\x85q", b"K\x7f\x85q", 1)
    assert larger != file.getvalue()
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        torch.load(io.BytesIO(larger))


def test_damaged_files():
    file = io.BytesIO()
    torch.save(torch.ones(1000), file)
    whole = file.getvalue()
    for cut in (b"", b"PK\x03\x04", b"no checkpoint", whole[: len(whole) // 2]):
        with pytest.raises((RuntimeError, EOFError, pickle.UnpicklingError)):
            torch.load(io.BytesIO(cut))
    with pytest.raises(FileNotFoundError):
        torch.load("there/is/no/such/file.pt")
    with pytest.raises(AttributeError, match="expected a path"):
        torch.load(3)
    with pytest.raises(AttributeError, match="expected a path"):
        torch.save(torch.ones(1), 3)


def test_map_location():
    tensor = torch.ones(2)
    for where in ("cpu", torch.device("cpu"), {"cpu": "cpu"}, lambda storage, location: storage):
        assert through_file(tensor, map_location=where).tolist() == [1.0, 1.0]
    assert through_file(tensor, map_location="meta").device.type == "meta"


def test_mapped_files(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"a": torch.arange(1000.0), "b": torch.ones(3, dtype=torch.int64)}, path)
    back = torch.load(path, mmap=True)
    back["a"][0] = 5.0  # a page of one's own; the file stays
    assert back["b"].tolist() == [1, 1, 1]
    assert torch.load(path)["a"][0].item() == 0.0
    with pytest.raises(ValueError, match="needs a path"):
        torch.load(io.BytesIO(path.read_bytes()), mmap=True)


def test_records_are_aligned():
    file = io.BytesIO()
    torch.save([torch.ones(3), torch.ones(5, dtype=torch.int8)], file)
    data = file.getvalue()
    for info in zipfile.ZipFile(file).infolist():
        at = info.header_offset
        name, extra = (int.from_bytes(data[at + i : at + i + 2], "little") for i in (26, 28))
        assert (at + 30 + name + extra) % 64 == 0, info.filename
        assert info.compress_type == zipfile.ZIP_STORED


# ---- exchange with PyTorch ----------------------------------------------------------------------


def pairs(name, package):
    """The same object in either package."""
    t = package.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(package, name))
    return {"a": t, "view": t[1:, ::2], "list": [t.t(), {"n": 1}], "p": package.nn.Parameter(
        package.ones(2))}  # fmt: skip


def same(ours, theirs):
    if isinstance(ours, dict):
        return list(ours) == list(theirs) and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bits(ours) == bits(theirs) if hasattr(ours, "stride") else ours == theirs


@pytest.mark.parametrize("name", DTYPES)
def test_torch_reads_what_we_write(name, tmp_path):
    oracle = pytest.importorskip("torch")
    torch.save(pairs(name, torch), tmp_path / "x.pt")
    for options in ({}, {"weights_only": False}, {"mmap": True}):
        back = oracle.load(tmp_path / "x.pt", **options)
        assert same(pairs(name, torch), back)
        assert type(back["p"]) is oracle.nn.Parameter


@pytest.mark.parametrize("name", DTYPES)
def test_we_read_what_torch_writes(name, tmp_path):
    oracle = pytest.importorskip("torch")
    for zipped in (True, False):
        obj = pairs(name, oracle)
        oracle.save(obj, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
        for options in ({}, {"weights_only": False}):
            back = torch.load(tmp_path / "x.pt", **options)
            assert same(pairs(name, torch), back)
            assert isinstance(back["p"], nn.Parameter)
    assert same(pairs(name, torch), torch.load(io.BytesIO((tmp_path / "x.pt").read_bytes())))


def test_an_untyped_storage_is_bytes_and_converts_them():
    storage = torch.tensor([1.0], dtype=torch.float32).untyped_storage()
    assert storage.untyped() is storage and storage.cpu() is storage and not storage.is_cuda
    assert storage.to(device="cpu") is storage and storage.new().nbytes() == 0
    assert storage.type() == "torch.storage.UntypedStorage"
    assert storage.float().tolist() == [0.0, 0.0, 128.0, 63.0] == storage.short().tolist()
    storage.byteswap(torch.float32)
    assert storage.tolist() == [63, 128, 0, 0]
    with pytest.raises(RuntimeError, match="elements"):
        storage.byteswap(torch.float64)


def test_the_older_format_is_written_too(tmp_path):
    shared = torch.arange(6.0)
    saved = {"a": shared, "b": shared[2:].view(2, 2), "c": torch.ones(2, dtype=torch.bfloat16)}
    file = tmp_path / "old.pt"
    torch.save(saved, file, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(file)
    again = torch.load(file)
    assert all(torch.equal(again[k], v) for k, v in saved.items())
    again["a"][2] = 9  # what shared memory shares it again
    assert again["b"][0, 0] == 9


def test_a_package_tells_where_storages_belong(tmp_path):
    seen = []

    def deserializer(storage, location):
        seen.append(location)
        return storage if location == "elsewhere" else None

    options = torch._checkpoint_options
    before = list(options._packages)
    try:
        serialization.register_package(5, lambda s: "elsewhere", deserializer)
        torch.save(torch.ones(2), tmp_path / "x.pt")
        assert torch.load(tmp_path / "x.pt").tolist() == [1, 1] and seen == ["elsewhere"]
    finally:
        options._packages[:] = before
    with pytest.raises(RuntimeError, match="tagged with elsewhere"):
        torch.load(tmp_path / "x.pt")
    assert torch.load(tmp_path / "x.pt", map_location="cpu").tolist() == [1, 1]
    assert serialization.location_tag(torch.ones(1).untyped_storage()) == "cpu"
    with pytest.raises(RuntimeError, match="CUDA"):
        serialization.validate_cuda_device("cuda:99")


def test_options_of_files(tmp_path):
    path = tmp_path / "x.pt"
    with serialization.skip_data():
        torch.save(torch.arange(3.0), path)
    assert torch.load(path).tolist() == [0, 0, 0]
    with serialization.set_default_mmap_options(mmap.MAP_SHARED):
        torch.load(path, mmap=True).fill_(7)
    assert torch.load(path).tolist() == [7, 7, 7]
    assert serialization.get_default_mmap_options() == mmap.MAP_PRIVATE
    torch.save(torch.tensor([1], dtype=torch.int16), path, _disable_byteorder_record=True)
    serialization.set_default_load_endianness(serialization.LoadEndianness.BIG)
    try:
        swapped = [256] if sys.byteorder == "little" else [1]
        assert torch.load(path).tolist() == swapped
    finally:
        serialization.set_default_load_endianness(None)
