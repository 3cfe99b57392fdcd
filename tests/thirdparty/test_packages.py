"""Packages made for PyTorch, where they are installed: what they compute, unchanged."""


def test_einops(run):
    run(
        """
        import torch, numpy as np
        from einops import rearrange, reduce, repeat, einsum, pack, unpack
        from einops.layers.torch import Rearrange, Reduce

        x = torch.arange(24.0).reshape(2, 3, 4).requires_grad_()
        n = x.detach().numpy()
        assert torch.equal(rearrange(x, "a b c -> c (a b)"), x.permute(2, 0, 1).reshape(4, 6))
        assert np.array_equal(reduce(x, "a b c -> b", "max").detach(), n.max((0, 2)))
        assert repeat(x, "a b c -> a b c r", r=5).shape == (2, 3, 4, 5)
        ours = einsum(x, x, "a b c, a d c -> b d")
        assert torch.allclose(ours, torch.einsum("abc,adc->bd", x, x))
        packed, shapes = pack([x, x[:, 0]], "a * c")
        assert torch.equal(unpack(packed, shapes, "a * c")[0], x)
        layers = torch.nn.Sequential(
            Rearrange("a b c -> a (b c)"), Reduce("a (b c) -> a b", "mean", b=3)
        )
        layers(x).sum().backward()
        assert torch.allclose(x.grad, torch.full_like(x, 0.25))
        """,
        needs=("einops",),
    )  # fmt: skip


def test_safetensors(run):
    run(
        """
        import torch
        from safetensors import safe_open
        from safetensors.torch import load_file, save_file, save_model, load_model

        state = {"a": torch.randn(2, 3), "b": torch.arange(4), "c": torch.ones(2).bfloat16()}
        save_file(state, "state.safetensors")
        again = load_file("state.safetensors")
        assert all(torch.equal(state[k], again[k]) for k in state)
        assert all(state[k].dtype == again[k].dtype for k in state)
        with safe_open("state.safetensors", "pt") as file:
            assert torch.equal(file.get_slice("a")[:, 1], state["a"][:, 1])
        model, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        save_model(model, "model.safetensors")
        load_model(other, "model.safetensors")
        assert torch.equal(model.weight, other.weight)
        """,
        needs=("safetensors",),
    )


def test_torchdiffeq(run):
    run(
        """
        import torch
        from torchdiffeq import odeint, odeint_adjoint

        class Decay(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.rate = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

            def forward(self, t, y):
                return -self.rate * y

        t = torch.linspace(0, 2, 5, dtype=torch.float64)
        y0 = torch.ones(3, dtype=torch.float64)
        exact = torch.exp(-0.5 * t)[:, None].expand(5, 3)
        for solve in (odeint, odeint_adjoint):
            for method in ("dopri5", "rk4", "adaptive_heun"):
                f = Decay()
                y = solve(f, y0, t, method=method)
                assert torch.allclose(y, exact, atol=1e-4), (method, y)
                y[-1].sum().backward()
                # d/dr of 3 exp(-2 r)
                assert abs(f.rate.grad.item() + 6 * exact[-1, 0].item()) < 1e-2
        """,
        needs=("torchdiffeq",),
    )


def test_transformers(run):
    run(
        """
        import torch, warnings
        warnings.simplefilter("ignore")
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(
            vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=37, max_position_embeddings=64,
        ))
        ids = torch.randint(3, 99, (2, 7))
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
        model.eval()
        options = dict(max_new_tokens=5, do_sample=False, pad_token_id=0)
        with_cache = model.generate(ids, **options)
        without = model.generate(ids, use_cache=False, **options)
        assert torch.equal(with_cache, without)
        """,
        needs=("transformers", "safetensors"),
    )  # fmt: skip


def test_timm(run):
    run(
        """
        import torch, timm, warnings
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        for name, size in (("resnet18", 64), ("vit_tiny_patch16_224", 224)):
            model = timm.create_model(name, num_classes=5)
            loss = model(torch.randn(2, 3, size, size)).logsumexp(1).sum()
            loss.backward()
            assert all(torch.isfinite(p.grad).all() for p in model.parameters())
            other = timm.create_model(name, num_classes=5)
            other.load_state_dict(model.state_dict())
            x = torch.randn(1, 3, size, size)
            assert torch.equal(model.eval()(x), other.eval()(x))
        """,
        needs=("timm", "torchvision"),
    )


def test_tensorboard(run):
    run(
        """
        import torch
        from torch.utils.tensorboard import SummaryWriter
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        with SummaryWriter("logs") as writer:
            for step in range(3):
                writer.add_scalar("loss", torch.tensor(1.0 / (step + 1)), step)
            writer.add_histogram("weights", torch.randn(100), 0)
            writer.add_text("note", "hello")
            writer.add_image("picture", torch.rand(3, 4, 5))
        seen = EventAccumulator("logs")
        seen.Reload()
        assert [e.value for e in seen.Scalars("loss")] == [1.0, 0.5, seen.Scalars("loss")[2].value]
        assert seen.Histograms("weights")[0].histogram_value.num == 100
        assert seen.Images("picture")[0].width == 5
        """,
        needs=("tensorboard", "PIL"),
    )
