"""nn.Module: registration, iteration, state dicts, hooks, conversion."""

import copy
import gc
import pickle
import weakref
from collections import OrderedDict

import pytest

import taimatsu as torch
from taimatsu import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 2, bias=False)
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("cache", torch.zeros(1), persistent=False)

    def forward(self, x, *, factor=1.0):
        return self.second(self.first(x)) * self.scale * factor


NAMES = ["scale", "first.weight", "first.bias", "second.weight"]


# ---- registration -------------------------------------------------------------------------------


def test_a_wrapper_may_give_the_attributes_of_what_it_wraps():
    class Wrapper(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base
            self.second = nn.ReLU()  # the wrapped module has one too

        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.base, name)

    wrapper = Wrapper(Net())
    assert wrapper.first is wrapper.base.first
    assert isinstance(wrapper.second, nn.ReLU)


def test_getattr_of_the_base_gives_members_to_subclasses_that_ask_it():
    net = Net()
    for name in ("first", "scale", "count"):
        assert net.__getattr__(name) is getattr(net, name)
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'third'"):
        net.__getattr__("third")


def test_names_come_in_order_of_registration_own_ones_first():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_buffers()] == ["count", "cache"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "second"]
    assert list(net.state_dict()) == ["scale", "count", *NAMES[1:]]
    assert [n for n, _ in net.named_parameters(prefix="m", recurse=False)] == ["m.scale"]


def test_shared_parameters_are_listed_once_unless_asked():
    net = nn.Module()
    net.a = nn.Linear(2, 2, bias=False)
    net.b = nn.Linear(2, 2, bias=False)
    net.b.weight = net.a.weight
    assert len(list(net.parameters())) == 1
    assert len(list(net.named_parameters(remove_duplicate=False))) == 2
    assert list(net.state_dict()) == ["a.weight", "b.weight"]


@pytest.mark.parametrize("kind", ["_parameters", "_buffers", "_modules"])
def test_a_registry_and_the_attributes_are_one(kind):
    value = {"_parameters": nn.Parameter(torch.ones(1)), "_buffers": torch.ones(1),
             "_modules": nn.ReLU()}[kind]  # fmt: skip
    module = nn.Module()
    registry = getattr(module, kind)
    registry["x"] = value
    assert module.x is value
    assert registry.pop("x") is value
    assert not hasattr(module, "x")
    registry.update(x=value, y=value)
    assert module.y is value
    del registry["y"]
    assert not hasattr(module, "y")
    registry.setdefault("z", value)
    registry.popitem()
    assert not hasattr(module, "z")
    registry.clear()
    assert not hasattr(module, "x")
    setattr(module, kind, {"w": value})
    assert module.w is value
    getattr(module, kind)["forward"] = value  # a class's own names are not shadowed
    assert module.forward is not value


def test_assignment_keeps_the_kind_of_a_name():
    net = Net()
    with pytest.raises(TypeError, match="as parameter 'scale'"):
        net.scale = torch.ones(2)
    with pytest.raises(TypeError, match="as child module 'first'"):
        net.first = 3
    with pytest.raises(TypeError, match="as buffer 'count'"):
        net.count = 3
    net.scale = None
    assert net.scale is None
    assert "scale" not in dict(net.named_parameters())
    net.count = torch.ones(3)
    assert net.count.shape == (3,)


def test_a_name_moves_from_one_registry_to_another():
    net = nn.Module()
    net.x = 3
    net.x = nn.Parameter(torch.ones(1))
    assert list(net._parameters) == ["x"]
    net.x = nn.ReLU()
    assert not net._parameters and list(net._modules) == ["x"]
    del net.x
    assert not net._modules and not hasattr(net, "x")
    with pytest.raises(AttributeError):
        del net.x


def test_registration_errors():
    net = nn.Module()
    param = nn.Parameter(torch.ones(1))
    with pytest.raises(KeyError, match='contain "."'):
        net.register_parameter("a.b", param)
    with pytest.raises(KeyError, match="empty string"):
        net.register_buffer("", torch.ones(1))
    with pytest.raises(KeyError, match="already exists"):
        net.add_module("forward", nn.ReLU())
    with pytest.raises(TypeError, match="should be a string"):
        net.register_buffer(1, torch.ones(1))
    with pytest.raises(TypeError, match="object to parameter 'x'"):
        net.register_parameter("x", torch.ones(1))
    with pytest.raises(ValueError, match="must be a leaf"):
        computed = nn.Parameter(torch.ones(1))
        net.register_parameter("x", _as_parameter(computed * 2))
    with pytest.raises(TypeError, match="is not a Module"):
        net.add_module("m", torch.ones(1))


def _as_parameter(tensor):
    tensor._is_param = True
    return tensor


def test_assignment_before_init_is_an_error():
    class Early(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(torch.ones(1))

    with pytest.raises(AttributeError, match="before Module.__init__"):
        Early()


def test_init_takes_no_arguments_unless_super_init_is_called():
    with pytest.raises(TypeError, match="takes no arguments"):
        nn.Module(3)

    class Mixin:
        def __init__(self, extra=None):
            self.extra = extra

    class Both(nn.Module, Mixin):
        call_super_init = True

    assert Both(extra=5).extra == 5


def test_marked_tensors_count_as_parameters_and_buffers():
    assert isinstance(nn.Parameter(torch.ones(1)), nn.Parameter)
    assert not isinstance(torch.ones(1), nn.Parameter)
    buffer = nn.Buffer(torch.ones(2), persistent=False)
    assert isinstance(buffer, nn.Buffer) and type(buffer) is torch.Tensor
    module = nn.Module()
    module.b = buffer
    assert [n for n, _ in module.named_buffers()] == ["b"]
    assert not module.state_dict()


def test_parameter_shares_memory_and_deepcopy_does_not():
    data = torch.zeros(3)
    param = nn.Parameter(data)
    data[0] = 1.0
    assert param.tolist() == [1.0, 0.0, 0.0]
    copied = copy.deepcopy(param)
    data[0] = 2.0
    assert type(copied) is nn.Parameter and copied.tolist() == [1.0, 0.0, 0.0]
    assert repr(nn.Parameter(torch.zeros(1))).startswith("Parameter containing:\ntensor([0.]")


def test_a_module_is_freed_with_its_last_reference():
    gc.disable()
    try:
        net = Net()
        ref = weakref.ref(net)
        del net
        assert ref() is None
    finally:
        gc.enable()


# ---- access by path -----------------------------------------------------------------------------


def test_access_by_path():
    net = nn.Sequential(Net())
    assert net.get_submodule("0.first") is net[0].first
    assert net.get_submodule("") is net
    assert net.get_parameter("0.first.weight") is net[0].first.weight
    assert net.get_buffer("0.count") is net[0].count
    with pytest.raises(AttributeError, match="has no attribute `third`"):
        net.get_submodule("0.third")
    with pytest.raises(AttributeError, match="is not an nn.Module"):
        net.get_submodule("0.scale")
    with pytest.raises(AttributeError, match="is not an nn.Parameter"):
        net.get_parameter("0.count")
    with pytest.raises(AttributeError, match="is not a buffer"):
        net.get_buffer("0.scale")
    net.set_submodule("0.first", nn.Identity())
    assert isinstance(net[0].first, nn.Identity)


# ---- calling and hooks --------------------------------------------------------------------------


def test_call_without_forward():
    with pytest.raises(NotImplementedError, match='missing the required "forward"'):
        nn.Module()(1)


def test_forward_hooks_in_order_and_with_replacements():
    calls = []
    identity = nn.Identity()
    identity.register_forward_pre_hook(lambda m, a: calls.append("pre"))
    identity.register_forward_pre_hook(lambda m, a: (a[0] + 1,))
    identity.register_forward_pre_hook(lambda m, a: calls.append("first"), prepend=True)
    handle = identity.register_forward_hook(lambda m, a, out: out * 10)
    identity.register_forward_hook(lambda m, a, out: calls.append(out))
    assert identity(1) == 20
    assert calls == ["first", "pre", 20]
    handle.remove()
    assert identity(1) == 2


def test_hooks_with_keyword_arguments():
    net = Net()
    seen = {}
    net.register_forward_pre_hook(lambda m, a, k: (a, {"factor": 2.0}), with_kwargs=True)
    net.register_forward_hook(lambda m, a, k, out: seen.update(k), with_kwargs=True)
    x = torch.ones(1, 3)
    doubled = net(x)
    assert seen == {"factor": 2.0}
    net._forward_pre_hooks.clear()
    assert torch.equal(doubled, net(x) * 2)
    net.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        net(x)


def test_always_call_hooks_run_after_a_failure():
    class Fails(nn.Module):
        def forward(self):
            raise ZeroDivisionError

    calls = []
    module = Fails()
    module.register_forward_hook(lambda m, a, out: calls.append("never"))
    module.register_forward_hook(lambda m, a, out: calls.append(out), always_call=True)
    with pytest.raises(ZeroDivisionError):
        module()
    assert calls == [None]


def test_hooks_on_all_modules():
    calls = []
    with nn.hooks.register_module_forward_hook(lambda m, a, out: calls.append(type(m).__name__)):
        nn.Sequential(nn.ReLU())(torch.ones(1))
    assert calls == ["ReLU", "Sequential"]
    nn.ReLU()(torch.ones(1))
    assert len(calls) == 2


def test_registration_hooks():
    names = []
    with nn.hooks.register_module_parameter_registration_hook(lambda m, n, p: names.append(n)):
        nn.Linear(1, 1)
    nn.Linear(1, 1)
    assert names == ["weight", "bias"]


def test_full_backward_hooks_see_and_replace_gradients():
    linear = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[3.0, 5.0]]))
    seen = {}

    def hook(module, grad_input, grad_output):
        seen["in"], seen["out"] = grad_input[0].tolist(), grad_output[0].tolist()
        return (grad_input[0] * 10,)

    linear.register_full_backward_hook(hook)
    x = torch.tensor([[1.0, 1.0]], requires_grad=True)
    (linear(x) * 2).sum().backward()
    assert seen == {"in": [[6.0, 10.0]], "out": [[2.0]]}
    assert x.grad.tolist() == [[60.0, 100.0]]
    assert linear.weight.grad.tolist() == [[2.0, 2.0]]


def test_full_backward_pre_hook_scales_everything_behind():
    linear = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        linear.weight.fill_(3.0)
    linear.register_full_backward_pre_hook(lambda m, grad_output: (grad_output[0] * 2,))
    x = torch.ones(1, 1, requires_grad=True)
    linear(x).sum().backward()
    assert x.grad.item() == 6.0 and linear.weight.grad.item() == 2.0


def test_full_backward_hook_without_an_input_that_requires_grad():
    linear = nn.Linear(1, 1)
    seen = []
    linear.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].item())))
    linear(torch.ones(1, 1)).sum().backward()
    assert seen == [((None,), 1.0)]


# ---- state --------------------------------------------------------------------------------------


def test_state_dict_round_trip():
    one, two = Net(), Net()
    with torch.no_grad():
        one.scale.fill_(7.0)
    result = two.load_state_dict(one.state_dict())
    assert str(result) == "<All keys matched successfully>"
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
    assert two.scale is not one.scale and not one.state_dict()["scale"].requires_grad
    assert one.state_dict(keep_vars=True)["scale"] is one.scale
    assert next(iter(one.state_dict(prefix="a."))) == "a.scale"
    assert one.state_dict()._metadata["first"] == {"version": 1}


def test_load_state_dict_tells_all_that_is_wrong():
    state = Net().state_dict()
    state["extra"] = state.pop("scale")
    state["first.bias"] = torch.zeros(5)
    state["second.weight"] = 3
    with pytest.raises(RuntimeError) as error:
        Net().load_state_dict(state)
    text = str(error.value)
    assert 'Missing key(s) in state_dict: "scale"' in text
    assert 'Unexpected key(s) in state_dict: "extra"' in text
    assert "size mismatch for first.bias" in text
    assert "expected torch.Tensor" in text
    state["first.bias"], state["second.weight"] = torch.zeros(4), torch.zeros(2, 4)
    result = Net().load_state_dict(state, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["scale"], ["extra"])
    with pytest.raises(TypeError, match="dict-like"):
        Net().load_state_dict([1])


def test_load_state_dict_by_assignment():
    net, state = Net(), Net().state_dict()
    state["scale"] = torch.ones(2, dtype=torch.float64)
    net.load_state_dict(state, assign=True)
    assert net.scale.dtype == torch.float64 and isinstance(net.scale, nn.Parameter)
    assert net.count is state["count"]
    state["scale"][0] = 5.0
    assert net.scale[0].item() == 5.0


def test_extra_state():
    class Counter(nn.Module):
        n = 0

        def get_extra_state(self):
            return {"n": self.n}

        def set_extra_state(self, state):
            self.n = state["n"]

    one, two = nn.Sequential(Counter()), nn.Sequential(Counter())
    one[0].n = 4
    assert one.state_dict() == OrderedDict({"0._extra_state": {"n": 4}})
    two.load_state_dict(one.state_dict())
    assert two[0].n == 4
    with pytest.raises(RuntimeError, match="_extra_state"):
        two.load_state_dict({})


def test_state_dict_hooks():
    net = nn.Linear(1, 1)
    net.register_state_dict_post_hook(lambda m, sd, prefix, meta: sd.pop(prefix + "bias") and None)
    assert list(net.state_dict()) == ["weight"]

    def rename(module, state_dict, prefix, *rest):
        state_dict[prefix + "bias"] = state_dict.pop(prefix + "shift")

    other = nn.Sequential(nn.Linear(1, 1))
    other[0].register_load_state_dict_pre_hook(rename)
    other.load_state_dict({"0.weight": torch.ones(1, 1), "0.shift": torch.ones(1)})
    assert other[0].bias.item() == 1.0
    keys = []
    other.register_load_state_dict_post_hook(lambda m, found: keys.append(list(found)))
    other.load_state_dict({"0.weight": torch.ones(1, 1), "0.shift": torch.ones(1)})
    assert keys == [[[], []]]


def test_old_batch_norm_checkpoints_lack_the_count():
    norm = nn.BatchNorm1d(2)
    state = norm.state_dict()
    del state["num_batches_tracked"]
    del state._metadata
    assert not norm.load_state_dict(state).missing_keys


# ---- mode, conversion, copies -------------------------------------------------------------------


def test_train_eval_requires_grad_zero_grad():
    net = nn.Sequential(nn.Dropout(0.5), Net())
    assert net.eval() is net and not net[1].first.training
    assert net.train()[0].training
    with pytest.raises(ValueError, match="expected to be boolean"):
        net.train(1)
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(torch.ones(1, 3)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net[1].scale.grad.tolist() == [0.0, 0.0]
    net.zero_grad()
    assert net[1].scale.grad is None


def test_conversion_keeps_parameters_and_leaves_integers():
    norm = nn.BatchNorm1d(2)
    weight = norm.weight
    norm(torch.ones(3, 2)).sum().backward()
    norm.double()
    assert norm.weight is weight and weight.dtype == torch.float64
    assert weight.grad.dtype == torch.float64
    assert norm.running_mean.dtype == torch.float64
    assert norm.num_batches_tracked.dtype == torch.int64
    assert norm.to(torch.float32).weight.dtype == torch.float32
    assert norm.to(torch.ones(1, dtype=torch.float64)).weight.dtype == torch.float64
    assert norm.half().weight.dtype == torch.float16
    assert norm.to("cpu", torch.float32).weight.dtype == torch.float32
    with pytest.raises(TypeError, match="only accepts floating point"):
        norm.to(torch.int32)


def test_apply_visits_children_first():
    names = []
    nn.Sequential(nn.ReLU(), nn.Tanh()).apply(lambda m: names.append(type(m).__name__))
    assert names == ["ReLU", "Tanh", "Sequential"]


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_independent_and_whole(clone):
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net[0].register_forward_hook(_double)
    x = torch.ones(1, 2)
    before = net(x)
    other = clone(net)
    assert torch.equal(other(x), before)
    with torch.no_grad():
        other[0].weight.zero_()
    assert other[0]._parameters["weight"] is other[0].weight
    assert torch.equal(net(x), before)
    other[0].weight = nn.Parameter(torch.ones(2, 2))
    assert other[0]._parameters["weight"] is other[0].weight


def _double(module, args, output):
    return output * 2


def test_repr():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Sequential(nn.Linear(1, 2), nn.ReLU())

        def extra_repr(self):
            return "kind=2"

    assert repr(Two()) == (
        "Two(\n"
        "  kind=2\n"
        "  (a): Sequential(\n"
        "    (0): Linear(in_features=1, out_features=2, bias=True)\n"
        "    (1): ReLU()\n"
        "  )\n"
        ")"
    )
    assert repr(nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])) == (
        "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n)"
    )


def test_compile_of_a_module_in_place():
    layer = nn.Linear(2, 1)
    layer.compile(mode="default")
    x = torch.ones(3, 2)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_a_getattr_of_ones_own_is_asked_for_members():
    asked = []

    class Asking(nn.Linear):
        def __getattr__(self, name):
            asked.append(name)
            return super().__getattr__(name)

    layer = Asking(2, 3, bias=False)
    layer.inner = nn.ReLU()
    layer.register_buffer("seen", torch.zeros(1))
    asked.clear()
    assert layer.weight is layer._parameters["weight"] and layer.bias is None
    assert layer.inner is layer._modules["inner"] and layer.seen is layer._buffers["seen"]
    assert asked == ["weight", "bias", "inner", "seen"]
    assert {"weight", "inner", "seen"} <= set(dir(layer))
    assert layer(torch.ones(1, 2)).shape == (1, 3)
    assert copy.deepcopy(layer).inner is not layer.inner
