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
            writer.add_hparams({"lr": 0.1, "name": "adam", "x": None}, {"best": 0.5}, run_name="h")
            for wrong, error in (([1.0], NotImplementedError), (torch.ones(2), AssertionError)):
                try:
                    writer.add_scalar("loss", wrong)
                except error:
                    continue
                raise AssertionError(wrong)
        writer.flush()  # after it was closed: Lightning does
        seen = EventAccumulator("logs")
        seen.Reload()
        assert [e.value for e in seen.Scalars("loss")] == [1.0, 0.5, seen.Scalars("loss")[2].value]
        assert seen.Histograms("weights")[0].histogram_value.num == 100
        assert seen.Images("picture")[0].width == 5
        from tensorboard.plugins.hparams import metadata
        run = EventAccumulator("logs/h")
        run.Reload()
        assert run.Scalars("best")[0].value == 0.5
        start = metadata.parse_session_start_info_plugin_data(
            run.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        )
        assert start.hparams["lr"].number_value == 0.1 and "x" not in start.hparams
        """,
        needs=("tensorboard", "PIL"),
    )


def test_lightning(run):
    run(
        """
        import logging, torch, warnings
        warnings.simplefilter("ignore")
        import lightning as L
        from lightning.pytorch.callbacks import ModelCheckpoint
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

        class Classifier(L.LightningModule):
            def __init__(self, lr=1e-2):
                super().__init__()
                self.save_hyperparameters()
                self.net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))

            def training_step(self, batch, index):
                loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
                self.log("train_loss", loss)
                return loss

            def validation_step(self, batch, index):
                self.log("accuracy", (self.net(batch[0]).argmax(-1) == batch[1]).float().mean())

            def configure_optimizers(self):
                return torch.optim.Adam(self.parameters(), self.hparams.lr)

        L.seed_everything(0)
        x = torch.randn(256, 4)
        data = TensorDataset(x, (x.sum(-1) > 0).long())
        best = ModelCheckpoint("kept", monitor="accuracy", mode="max")
        trainer = L.Trainer(
            max_epochs=3, accelerator="cpu", logger=False, callbacks=[best],
            enable_progress_bar=False, gradient_clip_val=1.0,
        )
        trainer.fit(Classifier(), DataLoader(data, 32, shuffle=True), DataLoader(data, 64))
        assert trainer.callback_metrics["accuracy"] > 0.9
        again = Classifier.load_from_checkpoint(best.best_model_path)
        assert again.hparams.lr == 1e-2
        """,
        needs=("lightning",),
    )  # fmt: skip


def test_accelerate(run):
    run(
        """
        import torch
        from accelerate import Accelerator
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        x = torch.randn(64, 4)
        data = DataLoader(TensorDataset(x, (x.sum(-1) > 0).long()), 8, shuffle=True)
        model, optimizer, data = accelerator.prepare(model, optimizer, data)
        losses = []
        for _ in range(3):
            for inputs, targets in data:
                with accelerator.accumulate(model):
                    loss = nn.functional.cross_entropy(model(inputs), targets)
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
                    losses.append(loss.item())
        assert sum(losses[-8:]) < sum(losses[:8])
        accelerator.save_state("state")
        accelerator.load_state("state")
        """,
        needs=("accelerate",),
    )


def test_gpytorch(run):
    run(
        """
        import gpytorch, torch

        class Model(gpytorch.models.ExactGP):
            def __init__(self, x, y, likelihood):
                super().__init__(x, y, likelihood)
                self.mean = gpytorch.means.ConstantMean()
                self.kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())

            def forward(self, x):
                return gpytorch.distributions.MultivariateNormal(self.mean(x), self.kernel(x))

        x = torch.linspace(0, 1, 30)
        y = torch.sin(6 * x)
        likelihood = gpytorch.likelihoods.GaussianLikelihood()
        model = Model(x, y, likelihood)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        bound = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
        for _ in range(40):
            optimizer.zero_grad()
            loss = -bound(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval(), likelihood.eval()
        with torch.no_grad():
            found = likelihood(model(torch.tensor([0.25, 0.75])))
        assert torch.allclose(found.mean, torch.sin(6 * torch.tensor([0.25, 0.75])), atol=0.1)
        """,
        needs=("gpytorch",),
    )


def test_skorch(run):
    run(
        """
        import numpy as np, torch
        from skorch import NeuralNetClassifier
        from sklearn.model_selection import cross_val_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rng = np.random.default_rng(0)
        x = rng.normal(size=(200, 4)).astype("float32")
        y = (x[:, 0] > 0).astype("int64")
        torch.manual_seed(0)
        net = NeuralNetClassifier(
            lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(),
                                        torch.nn.Linear(8, 2), torch.nn.Softmax(-1)),
            max_epochs=15, lr=0.5, verbose=0,
        )
        assert cross_val_score(make_pipeline(StandardScaler(), net), x, y, cv=2).mean() > 0.85
        """,
        needs=("skorch", "sklearn"),
    )  # fmt: skip
