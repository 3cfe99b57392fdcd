"""What surrounds a model: guards for devices, jit, compile, profiler, hub, ops of one's own."""

import copy
import pathlib

import torch
import torch.distributed as dist
import torch.nn as nn
from torch.optim.swa_utils import AveragedModel
from torch.profiler import ProfilerActivity, profile, record_function, schedule
from torch.utils.benchmark import Compare, Timer
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)
torch.backends.cudnn.benchmark = True
torch.set_float32_matmul_precision("high")

# ---- Devices --------------------------------------------------------------------------------
device = torch.accelerator.current_accelerator() or torch.device("cpu")
if torch.cuda.is_available():
    torch.cuda.manual_seed_all(0)
    torch.cuda.synchronize()
torch.cuda.empty_cache()
rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
assert isinstance(torch.ones(2), torch.FloatTensor) and torch.LongTensor([1]).dtype == torch.int64
try:
    torch.ones(1).cuda()
except (AssertionError, RuntimeError) as error:
    print("no GPU:", type(error).__name__)
model = nn.DataParallel(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
assert next(iter(model.state_dict())) == "module.0.weight"
x = torch.randn(3, 4)


# ---- Compilers ------------------------------------------------------------------------------
@torch.jit.script
def scripted(x: torch.Tensor, n: int = 2) -> torch.Tensor:
    for _ in range(n):
        x = x.relu() + 1
    return x


class Branching(nn.Module):
    @torch.jit.export
    def twice(self, x):
        return 2 * x

    @torch.jit.unused
    def show(self):
        return "eager"

    def forward(self, x):
        if not torch.jit.is_scripting():
            assert self.show() == "eager"
        return self.twice(x) if x.sum() > 0 else x


assert torch.equal(scripted(x), x.relu() + 1 + 1)
assert torch.equal(torch.jit.script(Branching())(x.abs()), 2 * x.abs())
traced = torch.jit.trace(model, x)
assert torch.equal(traced(x), model(x))


@torch.compile(mode="default")
def compiled(x, y):
    return torch.sin(x) + torch.cos(y)


torch._dynamo.config.suppress_errors = False
assert torch.allclose(torch.compiler.disable(compiled)(x, x), x.sin() + x.cos())

# ---- Around a model -------------------------------------------------------------------------
y = checkpoint(model, x.requires_grad_(), use_reentrant=False).sum()
y.backward()
average = AveragedModel(model)
average.update_parameters(copy.deepcopy(model))
assert torch.allclose(average(x), model(x))

steps = []
waiting = schedule(wait=1, warmup=1, active=2, repeat=1)
with profile(
    activities=[ProfilerActivity.CPU], schedule=waiting, record_shapes=True,
    on_trace_ready=lambda p: steps.append(p.step_num),
) as prof:  # fmt: skip
    for _ in range(5):
        with record_function("my block"):
            model(x)
        prof.step()
events = {e.key: e.count for e in prof.key_averages()}
assert steps == [4] and events["my block"] == 2, (steps, events)
prof.export_chrome_trace("trace.json")

settings = {"globals": {"x": x}, "label": "product"}
timed = [Timer("x @ x.T", description=d, **settings).timeit(20) for d in "ab"]
print("product" in str(Compare(timed)))

pathlib.Path("hubconf.py").write_text(
    "import torch\ndependencies = ['torch']\n\n"
    "def small(width, **kw):\n    '''A small model.'''\n    return torch.nn.Linear(width, 1)\n"
)
assert torch.hub.load(".", "small", 5, source="local").in_features == 5


# ---- Ops of one's own -----------------------------------------------------------------------
@torch.library.custom_op("mylib::scale", mutates_args=())
def scale(x: torch.Tensor, factor: float = 2.0) -> torch.Tensor:
    return torch.from_numpy(x.numpy() * factor)


@scale.register_fake
def _(x, factor=2.0):
    return torch.empty_like(x)


def setup_context(ctx, inputs, output):
    ctx.factor = inputs[1]


scale.register_autograd(lambda ctx, g: (g * ctx.factor, None), setup_context=setup_context)
z = torch.ones(3, requires_grad=True)
torch.ops.mylib.scale(z, 3.0).sum().backward()
assert z.grad.tolist() == [3, 3, 3]
assert scale(torch.empty(2, device="meta")).shape == (2,)
torch.library.opcheck(scale, (torch.randn(3, requires_grad=True),))
lib = torch.library.Library("mylib", "FRAGMENT")
lib.define("add_one(Tensor x, *, int times=1) -> Tensor")
lib.impl("add_one", lambda x, *, times=1: x + times, "CompositeImplicitAutograd")
assert torch.ops.mylib.add_one(torch.zeros(1), times=2).item() == 2
assert torch.ops.aten.add.Tensor(torch.ones(1), 1).item() == 2
print("done")
