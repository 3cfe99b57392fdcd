"""What the tutorials do with derivatives: Functions, hooks, double backward, func, forward mode."""

import numpy as np
import torch
import torch.autograd.forward_ad as fwAD
import torch.nn as nn
import torch.nn.functional as F
import torch.nn.utils.parametrize as parametrize
from torch.autograd import Function, grad, gradcheck
from torch.func import functional_call, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.nn.utils import prune

torch.manual_seed(0)


# ---- Functions ------------------------------------------------------------------------------
class LegendrePolynomial3(Function):
    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return 0.5 * (5 * input**3 - 3 * input)

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        return grad_output * 1.5 * (5 * input**2 - 1)


class NumpyExp(Function):
    @staticmethod
    def forward(x):
        return torch.from_numpy(np.exp(x.numpy()))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


x = torch.randn(5, dtype=torch.double, requires_grad=True)
assert gradcheck(LegendrePolynomial3.apply, (x,)) and gradcheck(NumpyExp.apply, (x,))
(g,) = grad(LegendrePolynomial3.apply(x).sum(), x, create_graph=True)
assert torch.allclose(grad(g.sum(), x)[0], 15 * x)

# ---- Hooks ----------------------------------------------------------------------------------
seen = []
y = x.exp()
y.register_hook(lambda g: seen.append("tensor") or g * 2)
layer = nn.Linear(5, 2).double()
layer.register_full_backward_hook(lambda m, gi, go: seen.append("module"))
layer.register_forward_hook(lambda m, i, o: seen.append("forward"))
layer(y).sum().backward()
assert seen == ["forward", "module", "tensor"], seen
assert torch.allclose(x.grad, 2 * layer.weight.sum(0) * x.exp())

# ---- Forward mode ---------------------------------------------------------------------------
primal, tangent = torch.randn(10, 10), torch.randn(10, 10)
with fwAD.dual_level():
    dual = fwAD.make_dual(primal, tangent)
    assert fwAD.unpack_dual(dual).tangent is tangent
    jvp_by_dual = fwAD.unpack_dual((dual**2).sin()).tangent
assert torch.allclose(jvp_by_dual, jvp(lambda t: (t**2).sin(), (primal,), (tangent,))[1])

# ---- func -----------------------------------------------------------------------------------
weight, bias, v = torch.randn(6, 6), torch.randn(6), torch.randn(6)


def predict(weight, bias, x):
    return F.linear(x, weight, bias).tanh()


forward, reverse = (j(predict, argnums=2)(weight, bias, v) for j in (jacfwd, jacrev))
assert torch.allclose(forward, reverse, atol=1e-6)
_, pull = vjp(lambda x: predict(weight, bias, x), v)
assert torch.allclose(vmap(pull)(torch.eye(6))[0], reverse, atol=1e-6)
h = hessian(lambda x: predict(weight, bias, x).sum())(v)
assert torch.allclose(h, h.T, atol=1e-5)

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
params = {k: p.detach() for k, p in model.named_parameters()}
data, targets = torch.randn(7, 4), torch.randint(0, 3, (7,))


def loss_of_one(params, sample, target):
    out = functional_call(model, params, (sample.unsqueeze(0),))
    return F.cross_entropy(out, target.unsqueeze(0))


per_sample = vmap(torch.func.grad(loss_of_one), in_dims=(None, 0, 0))(params, data, targets)
F.cross_entropy(model(data), targets).backward()
for name, p in model.named_parameters():
    assert torch.allclose(per_sample[name].mean(0), p.grad, atol=1e-6), name


# ---- Parametrizations and pruning -----------------------------------------------------------
class Skew(nn.Module):
    def forward(self, X):
        return X.triu(1) - X.triu(1).transpose(-1, -2)


class CayleyMap(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.register_buffer("Id", torch.eye(n))

    def forward(self, X):
        return torch.linalg.solve(self.Id - X, self.Id + X)


layer = nn.Linear(3, 3)
parametrize.register_parametrization(layer, "weight", Skew())
parametrize.register_parametrization(layer, "weight", CayleyMap(3))
assert torch.allclose(layer.weight @ layer.weight.T, torch.eye(3), atol=1e-5)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
before = layer.weight.detach().clone()
layer(torch.randn(2, 3)).pow(2).sum().backward()
optimizer.step()
assert not torch.equal(before, layer.weight)
assert torch.allclose(layer.weight @ layer.weight.T, torch.eye(3), atol=1e-5)
parametrize.remove_parametrizations(layer, "weight")

conv = nn.Conv2d(1, 6, 3)
prune.l1_unstructured(conv, name="weight", amount=0.5)
assert (conv.weight == 0).sum() == 27 and "weight_mask" in dict(conv.named_buffers())
prune.ln_structured(conv, name="weight", amount=2, n=2, dim=0)
prune.remove(conv, "weight")
assert [n for n, _ in conv.named_parameters()] == ["bias", "weight"]
print("derivatives, parametrizations and pruning agree")
