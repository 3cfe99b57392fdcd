"""Recurrent layers against loops in NumPy, and against PyTorch where it is installed."""

import copy

import numpy as np
import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.autograd import grad
from taimatsu.nn.utils import rnn as sequences
from tests.ops.families import rnn as oracle

KINDS = {
    "RNN": "rnn_tanh", "RNN relu": "rnn_relu", "LSTM": "lstm", "GRU": "gru", "LSTM proj": "lstm",
}  # fmt: skip


def layers(kind, *sizes, **options):
    """The module; float64, so that NumPy's result is the same to 12 digits."""
    name, _, more = kind.partition(" ")
    options |= {"relu": {"nonlinearity": "relu"}, "proj": {"proj_size": 2}}.get(more, {})
    torch.manual_seed(0)
    return getattr(nn, name)(*sizes, dtype=torch.float64, **options)


def expected(kind, module, batch, hx=None):
    """(outputs of each sequence, last states), by NumPy."""
    count = len(module._all_weights)
    if hx is None:
        sizes = [module.proj_size or module.hidden_size, module.hidden_size]
        hx = [np.zeros((count, len(batch), n)) for n in sizes[: 2 if "LSTM" in kind else 1]]
    weights = [w.detach().numpy() for w in module.parameters()]
    return oracle.stack(KINDS[kind], batch, hx, weights, module.bias, module.num_layers,
                        module.bidirectional)


def close(found, wanted):
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-11, atol=1e-12)


def as_list(states):
    return list(states) if isinstance(states, tuple) else [states]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_layers(kind, bias, bidirectional):
    options = {"bias": bias, "bidirectional": bidirectional, "num_layers": 2}
    module = layers(kind, 3, 5, batch_first=True, **options)
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    outputs, last = expected(kind, module, x.numpy())
    output, states = module(x)
    close(output, np.stack(outputs))
    for found, wanted in zip(as_list(states), last, strict=True):
        close(found, wanted)

    steps_first = layers(kind, 3, 5, **options)
    output, _ = steps_first(x.transpose(0, 1), states)
    outputs, last = expected(kind, module, x.numpy(), last)
    close(output, np.stack(outputs, 1))

    one = tuple(s[:, 1] for s in as_list(states))
    output, alone = module(x[1], one if len(one) == 2 else one[0])
    close(output, outputs[1])
    for found, wanted in zip(as_list(alone), last, strict=True):
        close(found, wanted[:, 1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed(kind, enforce_sorted):
    module = layers(kind, 3, 5, num_layers=2, bidirectional=True)
    lengths = [6, 4, 4, 1] if enforce_sorted else [1, 4, 6, 4]
    batch = [torch.randn(n, 3, dtype=torch.float64) for n in lengths]
    packed = sequences.pack_sequence(batch, enforce_sorted)
    outputs, last = expected(kind, module, [x.numpy() for x in batch])
    output, states = module(packed)
    for found, wanted in zip(sequences.unpack_sequence(output), outputs, strict=True):
        close(found, wanted)
    for found, wanted in zip(as_list(states), last, strict=True):
        close(found, wanted)
    _, states = module(packed, states)
    _, last = expected(kind, module, [x.numpy() for x in batch], last)
    for found, wanted in zip(as_list(states), last, strict=True):
        close(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_routine_are_those_of_its_steps(kind):
    """Recorded for another derivative, a layer is unrolled: then the ops' derivatives count."""
    module = layers(kind, 7, 20, bidirectional=True)
    x = torch.randn(9, 7, dtype=torch.float64, requires_grad=True)
    packed = sequences.PackedSequence(x, torch.tensor([4, 3, 1, 1]))
    inputs = [x, *module.parameters()]

    def gradients(create_graph):
        output, states = module(packed)
        loss = (output.data**2).sum() + sum((s**3).sum() for s in as_list(states))
        return grad(loss, inputs, create_graph=create_graph)

    for routine, unrolled in zip(gradients(False), gradients(True), strict=True):
        close(routine, unrolled.detach().numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_for_any_number_of_threads(kind):
    module = layers(kind, 40, 130).float()
    x = torch.randn(5, 33, 40, requires_grad=True)
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        output, _ = module(x)
        results.append([output, *grad((output**2).sum(), [x, *module.parameters()])])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_half_precision():
    for dtype in (torch.bfloat16, torch.float16):
        module = layers("LSTM", 3, 5).to(dtype)
        x = torch.randn(4, 2, 3).to(dtype)
        output, (h, c) = module(x)
        assert output.dtype == h.dtype == c.dtype == dtype
        outputs, _ = expected("LSTM", module.double(), x.double().transpose(0, 1).numpy())
        np.testing.assert_allclose(output.double().detach(), np.stack(outputs, 1), atol=0.01)


def test_dropout_acts_between_layers_in_training():
    module = layers("GRU", 3, 4, num_layers=2, dropout=1.0)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    first = layers("GRU", 3, 4)
    first.load_state_dict({k: v for k, v in module.state_dict().items() if k.endswith("l0")})
    dropped, states = module(x)
    close(states[0], first(x)[1][0].detach().numpy())  # nothing before the first layer
    module.weight_ih_l1.data.zero_()
    close(dropped, module(x)[0].detach().numpy())  # of what the second gets nothing is left
    module.eval()
    outputs, _ = expected("GRU", module, x.transpose(0, 1).numpy())
    close(module(x)[0], np.stack(outputs, 1))


def test_names_and_repr():
    module = nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2)
    ends = ["l0", "l0_reverse", "l1", "l1_reverse"]
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
    assert list(module.state_dict()) == [f"{n}_{end}" for end in ends for n in names]
    assert [w.shape for w in module.all_weights[2]] == [(20, 4), (20, 2), (20,), (20,), (2, 5)]
    assert repr(module) == "LSTM(3, 5, proj_size=2, num_layers=2, bidirectional=True)"
    assert repr(nn.GRU(3, 5, batch_first=True)) == "GRU(3, 5, batch_first=True)"
    assert repr(nn.RNN(3, 5, 2, "relu", dropout=0.5)) == "RNN(3, 5, num_layers=2, dropout=0.5)"
    assert repr(nn.RNNCell(3, 5, False, "relu")) == "RNNCell(3, 5, bias=False, nonlinearity=relu)"
    assert nn.LSTMCell(3, 5, bias=False).bias_ih is None
    module.flatten_parameters()
    x = torch.randn(2, 1, 3)
    assert torch.equal(copy.deepcopy(module)(x)[0], module(x)[0])


def test_no_sequences():
    output, (h, c) = nn.LSTM(3, 5)(torch.zeros(4, 0, 3))
    assert output.shape == (4, 0, 5) and h.shape == c.shape == (1, 0, 5)


def test_cells():
    for name, kind in (("RNNCell", "rnn_tanh"), ("LSTMCell", "lstm"), ("GRUCell", "gru")):
        torch.manual_seed(0)
        cell = getattr(nn, name)(3, 5, dtype=torch.float64)
        weights = [w.detach().numpy() for w in cell.parameters()]
        x = torch.randn(2, 3, dtype=torch.float64)
        count = 2 if kind == "lstm" else 1
        zeros = [np.zeros((2, 5))] * count
        wanted = oracle.CELLS[kind](x.numpy(), zeros, *weights)
        states = as_list(cell(x))
        for found, want in zip(states, wanted, strict=True):
            close(found, want)
        wanted = oracle.CELLS[kind](x.numpy(), wanted, *weights)
        one = [s[0] for s in states]
        one = as_list(cell(x[0], tuple(one) if count == 2 else one[0]))
        for found, want in zip(one, wanted, strict=True):
            close(found, want[0])


def test_options_that_are_refused():
    with pytest.raises(ValueError, match="proj_size"):
        nn.GRU(3, 5, proj_size=2)
    with pytest.raises(ValueError, match="smaller"):
        nn.LSTM(3, 5, proj_size=5)
    with pytest.raises(ValueError, match="nonlinearity"):
        nn.RNN(3, 5, nonlinearity="gelu")
    with pytest.raises(ValueError, match="range"):
        nn.LSTM(3, 5, 2, dropout=1.5)
    with pytest.raises(ValueError, match="num_layers"):
        nn.LSTM(3, 5, 0)
    with pytest.raises(TypeError, match="hidden_size"):
        nn.LSTM(3, 5.0)
    with pytest.raises(TypeError, match="weight_norm"):
        nn.LSTM(3, 5, weight_norm=True)
    with pytest.raises(ValueError, match="mode"):
        nn.RNNBase("FOO", 3, 5)
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        nn.LSTM(3, 5, dropout=0.5)


def test_inputs_that_are_refused():
    z, lstm, gru = torch.zeros, nn.LSTM(3, 5), nn.GRU(3, 5)
    for input, hx, error in (
        (z(3), None, ValueError),
        (z(4, 2, 3).double(), None, ValueError),
        (z(4, 2, 4), None, RuntimeError),
        (z(0, 2, 3), None, RuntimeError),
        (z(4, 2, 3), z(1, 2, 6), RuntimeError),
        (z(4, 2, 3), z(2, 5), RuntimeError),
        (z(4, 3), z(1, 2, 5), RuntimeError),
        (z(4, 2, 3), z(1, 2, 5).double(), RuntimeError),
    ):
        with pytest.raises(error):
            gru(input, hx)
        with pytest.raises(error):
            lstm(input, hx if hx is None else (hx, hx))
    for input, hx, error in ((z(1, 2, 3), None, ValueError), (z(2, 4), None, RuntimeError),
                             (z(2, 3), z(3, 5), RuntimeError), (z(3), z(2, 5), RuntimeError),
                             (z(2, 3), z(5), RuntimeError)):  # fmt: skip
        with pytest.raises(error):
            nn.GRUCell(3, 5)(input, hx)
    with pytest.raises(TypeError):
        nn.LSTMCell(3, 5)(z(2, 3), z(2, 5))
    with pytest.raises(RuntimeError, match="two hidden states"):
        torch.lstm_cell(z(2, 3), [z(2, 5)], z(20, 3), z(20, 5))
    with pytest.raises(RuntimeError, match="number of RNN parameters"):
        torch.gru(z(4, 2, 3), z(1, 2, 5), [z(15, 3)], True, 1, 0.0, False, False, False)
    with pytest.raises(RuntimeError, match="batch_sizes"):
        torch.gru(z(5, 3), torch.tensor([2, 3]), z(1, 2, 5), [z(15, 3), z(15, 5)], False, 1, 0.0,
                  False, False)


# ---- Padding and packing -----------------------------------------------------------------------

BATCH = [[3, 1], [5, 9, 2, 6], [5]]


def as_tensors(lists):
    return [torch.tensor(x) for x in lists]


def test_pad_and_unpad():
    batch = as_tensors(BATCH)
    wanted = [[3, 1, 0, 0], [5, 9, 2, 6], [5, 0, 0, 0]]
    padded = sequences.pad_sequence(batch, batch_first=True)
    assert padded.tolist() == wanted
    assert sequences.pad_sequence(batch).tolist() == np.transpose(wanted).tolist()
    left = sequences.pad_sequence(batch, True, 7, "left")
    assert left.tolist() == [[7, 7, 3, 1], [5, 9, 2, 6], [7, 7, 7, 5]]
    lengths = torch.tensor([2, 4, 1])
    assert [x.tolist() for x in sequences.unpad_sequence(padded, lengths, True)] == BATCH
    assert [x.tolist() for x in sequences.unpad_sequence(padded.T, lengths)] == BATCH
    assert sequences.pad_sequence(torch.ones(2, 3)).shape == (3, 2)
    with pytest.raises(RuntimeError, match="empty list"):
        sequences.pad_sequence([])
    with pytest.raises(RuntimeError, match="padding_side"):
        sequences.pad_sequence(batch, padding_side="top")


def test_pack_and_unpack():
    packed = sequences.pack_sequence(as_tensors(BATCH), enforce_sorted=False)
    assert packed.data.tolist() == [5, 3, 5, 9, 1, 2, 6]
    assert packed.batch_sizes.tolist() == [3, 2, 1, 1]
    assert packed.sorted_indices.tolist() == [1, 0, 2]
    assert packed.unsorted_indices.tolist() == [1, 0, 2]
    assert [x.tolist() for x in sequences.unpack_sequence(packed)] == BATCH
    padded, lengths = sequences.pad_packed_sequence(packed, True, -1, total_length=5)
    assert padded.tolist() == [[3, 1, -1, -1, -1], [5, 9, 2, 6, -1], [5, -1, -1, -1, -1]]
    assert lengths.tolist() == [2, 4, 1]
    with pytest.raises(ValueError, match="total_length"):
        sequences.pad_packed_sequence(packed, total_length=3)
    steps = torch.arange(8).reshape(4, 2)
    for lengths, options, error in (
        ([2, 4], {}, "decreasing"), ([4, 0], {}, "greater than 0"), ([4], {}, "batch_size"),
        ([5, 1], {}, "at most"), (3, {}, "1D"),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=error):
            sequences.pack_padded_sequence(steps, lengths, **options)


def test_packed_sequence_is_a_tuple_of_four():
    packed = sequences.pack_sequence(as_tensors(sorted(BATCH, key=len, reverse=True)))
    data, batch_sizes, *indices = packed
    assert indices == [None, None]
    assert packed.to(torch.int64) is packed and packed.cpu() is packed
    for name, dtype in (("double", torch.float64), ("half", torch.float16), ("byte", torch.uint8)):
        converted = getattr(packed, name)()
        assert isinstance(converted, sequences.PackedSequence)
        assert converted.data.dtype == dtype and converted.batch_sizes is batch_sizes
    assert not packed.is_cuda
    order = torch.tensor([2, 0, 1])
    assert sequences.PackedSequence(data, batch_sizes, order).unsorted_indices.tolist() == [1, 2, 0]
    with pytest.raises(AssertionError, match="list or tuple of length 2"):
        sequences.PackedSequence(data)


def test_gradients_through_packing():
    batch = [torch.randn(n, 2, dtype=torch.float64, requires_grad=True) for n in (2, 4, 1)]

    def through(*batch):
        packed = sequences.pack_sequence(batch, enforce_sorted=False)
        return sequences.pad_packed_sequence(packed, total_length=5)[0]

    assert torch.autograd.gradcheck(through, batch)


# ---- PyTorch -----------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_losses_of_a_few_steps(name):
    """The same seed, the same weights and dropout masks: the same losses."""
    peer = pytest.importorskip("torch")
    losses = []
    for library in (peer, torch):
        library.manual_seed(3)
        model = getattr(library.nn, name)(6, 8, 2, dropout=0.3, bidirectional=True)
        update = library.optim.Adam(model.parameters(), lr=0.01)
        x = library.randn(7, 4, 6)
        for _ in range(3):
            update.zero_grad()
            loss = (model(x)[0] ** 2).mean()
            loss.backward()
            update.step()
            losses.append(loss.item())
    np.testing.assert_allclose(losses[:3], losses[3:], rtol=1e-5)
