"""``python -m taimatsu.as_torch``: what `import torch` means, there and in subprocesses."""

import subprocess
import sys

from .conftest import ROOT


def test_every_name_of_torch_is_the_module_of_this_package(run):
    out = run("""
        import torch
        import torch.nn as nn, torch.nn.functional as F
        from torch.optim import Adam
        from torch.nn.modules.conv import _ConvNd
        import torch.utils.data.dataset
        import taimatsu
        assert torch is taimatsu and nn is taimatsu.nn and F is taimatsu.nn.functional
        assert Adam is taimatsu.optim.Adam and issubclass(nn.Conv2d, _ConvNd)
        assert torch.utils.data.dataset is taimatsu.utils.data.dataset
        assert nn.__spec__.name == "taimatsu.nn"
        print(torch.__name__, type(torch.ones(1)).__module__)
    """)
    assert out == "torch torch\n"


def test_optimizers_are_in_modules_of_their_own(run):
    run("""
        from torch.optim.adamw import AdamW
        from torch.optim.radam import RAdam
        from torch.optim.rmsprop import RMSprop
        assert AdamW.__module__ == "torch.optim.adamw"
    """)


def test_functorch_is_there_too(run):
    run("""
        from functorch import make_functional, vmap
        import torch._functorch.vmap as steps
        assert vmap is steps.vmap is __import__("torch").vmap
    """)


def test_submodules_are_attributes_without_an_import(run):
    run("""
        import torch
        assert torch.cuda.amp.common.amp_definitely_not_available() != torch.cuda.is_available()
        assert torch.utils.data.distributed.DistributedSampler
        assert torch.distributed.fsdp.wrap.ModuleWrapPolicy
        assert not torch._C._functorch.is_batchedtensor(torch.ones(1))
    """)


def test_what_is_missing_is_missing_under_the_name_that_was_asked_for(run):
    run("""
        import torch
        try:
            import torch.no_such_module
        except ModuleNotFoundError as error:
            assert error.name == "torch.no_such_module", error.name
        else:
            raise AssertionError
        assert not hasattr(torch, "no_such_name")
    """)


def test_the_version_is_that_of_the_interface(run):
    out = run("""
        import torch, importlib.metadata
        from taimatsu.version import __version__, torch_api
        assert torch.__version__ >= (2, 6) and torch.__version__ > "2.2"
        assert torch.__version__.endswith("+taimatsu." + __version__)
        assert importlib.metadata.version("torch") == torch_api
        print(torch.version.cuda)
    """)
    assert out == "None\n"


def test_arguments_main_and_the_folder_of_the_script(run, tmp_path):
    (tmp_path / "beside.py").write_text("import torch\nvalue = torch.tensor(3)\n")
    out = run(
        """
        import sys, beside
        if __name__ == "__main__":
            print(sys.argv[1:], beside.value.item())
        """,
        "--epochs", "3",
    )  # fmt: skip
    assert out == "['--epochs', '3'] 3\n"


def test_modules_run_too(tmp_path):
    (tmp_path / "job.py").write_text("import sys, torch\nprint(sys.argv[1:], torch.ones(2))\n")
    command = [sys.executable, "-m", "taimatsu.as_torch", "-m", "job", "x"]
    env = {"PYTHONPATH": str(ROOT)}
    out = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert out.stdout == "['x'] tensor([1., 1.])\n"


def test_subprocesses_inherit_it(run):
    out = run("""
        import subprocess, sys
        code = "import torch.nn as nn, torch; print(nn.Linear.__module__, torch.__name__)"
        print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
    """)
    assert out.split() == ["torch.nn.modules.linear", "torch"]


def test_a_process_that_is_given_the_search_path_finds_it(run):
    out = run("""
        import subprocess, sys
        code = f"import sys; sys.path[:] = {sys.path!r}; import torch; print(torch.__version__)"
        print(subprocess.run([sys.executable, "-c", code], env={}, capture_output=True).stdout)
    """)
    assert "taimatsu" in out


def test_another_torch_that_is_imported_already_is_an_error():
    code = (
        "import sys, types\n"
        "sys.modules['torch'] = other = types.ModuleType('torch')\n"
        "other.__file__ = 'elsewhere'\n"
        "try:\n"
        "    import taimatsu.as_torch\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    env = {"PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "imported already, from elsewhere" in out.stdout


def test_checkpoints_name_pytorch_s_classes(run):
    run("""
        import torch, pickletools, zipfile
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
        torch.save(model, "model.pt")
        archive = zipfile.ZipFile("model.pt")
        names = {str(v) for _, v, _ in pickletools.genops(archive.read("model/data.pkl")) if v}
        assert not any("taimatsu" in name for name in names), names
        again = torch.load("model.pt", weights_only=False)
        x = torch.ones(1, 2)
        assert torch.equal(again(x), model(x))
    """)


def test_classes_say_where_pytorch_has_them(run):
    run(
        """
        import inspect, pickle, torch
        from torch import nn

        places = {
            nn.Linear: "nn.modules.linear", nn.BatchNorm2d: "nn.modules.batchnorm",
            nn.LazyConv1d: "nn.modules.conv", nn.Upsample: "nn.modules.upsampling",
            nn.MultiheadAttention: "nn.modules.activation", nn.Parameter: "nn.parameter",
            torch.optim.RMSprop: "optim.rmsprop", torch.optim.Adam: "optim.adam",
            torch.utils.data.DataLoader: "utils.data.dataloader",
        }
        for kind, place in places.items():
            assert kind.__module__ == "torch." + place, kind
            assert pickle.loads(pickle.dumps(kind)) is kind
        assert str(torch.dtype) == "<class 'torch.dtype'>"
        assert repr(torch.ones(1, 2).max(1)).startswith("torch.return_types.max(")
        assert "class Linear(" in inspect.getsource(nn.Linear)
        """
    )
