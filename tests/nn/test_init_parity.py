"""One seed, one network: the layers' first parameters, dropout masks and the order of data."""

import numpy as np
import pytest

import taimatsu

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

LAYERS = {
    "Linear": (6, 4), "Bilinear": (3, 4, 5), "Embedding": (10, 4), "EmbeddingBag": (10, 4),
    "Conv1d": (4, 6, 3), "Conv2d": (4, 6, 3), "Conv3d": (2, 3, 2), "ConvTranspose1d": (4, 6, 3),
    "ConvTranspose2d": (4, 6, 3), "ConvTranspose3d": (2, 3, 2), "BatchNorm1d": (4,),
    "BatchNorm2d": (4,), "BatchNorm3d": (4,), "LayerNorm": (4,), "RMSNorm": (4,),
    "GroupNorm": (2, 4), "PReLU": (4,), "AdaptiveLogSoftmaxWithLoss": (16, 20, [5, 10]),
    "RNN": (4, 6, 2), "LSTM": (4, 6, 2), "GRU": (4, 6, 2), "RNNCell": (4, 6), "LSTMCell": (4, 6),
    "GRUCell": (4, 6), "MultiheadAttention": (8, 2), "TransformerEncoderLayer": (8, 2, 16),
    "TransformerDecoderLayer": (8, 2, 16), "Transformer": (8, 2, 1, 1, 16),
    "CrossMapLRN2d": (3,),
}  # fmt: skip
INITIALISERS = {
    "uniform_": (-1.0, 2.0), "normal_": (0.5, 0.2), "trunc_normal_": (0.0, 1.0, -1.0, 1.5),
    "trunc_normal_ ": (0.5, 2.0, 0.0, 1.0),  # few are inside
    "xavier_uniform_": (1.3,), "xavier_normal_": (1.3,), "kaiming_uniform_": (0.2,),
    "kaiming_normal_": (0.2,), "orthogonal_": (1.5,), "sparse_": (0.3,), "eye_": (),
    "constant_": (0.3,),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_first_parameters(name):
    """Bit for bit, and the generator is then in the same state."""
    if not hasattr(taimatsu.nn, name):
        pytest.skip("not there")
    states, after = [], []
    for library in (torch, taimatsu):
        library.manual_seed(17)
        layer = getattr(library.nn, name)(*LAYERS[name])
        states.append({k: v.numpy() for k, v in layer.state_dict().items()})
        after.append(library.rand(4).tolist())
    theirs, ours = states
    assert list(ours) == list(theirs)
    for key, expected in theirs.items():
        np.testing.assert_array_equal(ours[key], expected, err_msg=key)
    assert after[0] == after[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", INITIALISERS)
def test_initialisers(name, dtype):
    found = []
    for library in (torch, taimatsu):
        library.manual_seed(18)
        weight = library.empty(12, 20, dtype=getattr(library, dtype))
        getattr(library.nn.init, name.strip())(weight, *INITIALISERS[name])
        found.append([weight.numpy(), library.rand(3).tolist()])
    (theirs, theirs_after), (ours, ours_after) = found
    assert ours_after == theirs_after
    if name == "orthogonal_":  # through LAPACK
        rtol = 2e-5 if dtype == "float32" else 1e-11
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)
    else:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("Dropout", (5, 40)), ("Dropout1d", (3, 4, 6)), ("Dropout2d", (3, 4, 6, 2)),
     ("Dropout3d", (3, 4, 2, 2, 3)), ("AlphaDropout", (5, 40)),
     ("FeatureAlphaDropout", (3, 4, 6, 2)), ("RReLU", (5, 40))],
)  # fmt: skip
@pytest.mark.parametrize("inplace", [False, True])
def test_masks(name, sizes, inplace):
    found = []
    values = np.random.default_rng(0).standard_normal(sizes).astype(np.float32)
    for library in (torch, taimatsu):
        library.manual_seed(19)
        layer = getattr(library.nn, name)(inplace=inplace)
        x = library.from_numpy(values.copy()).requires_grad_()
        y = layer(x.clone())
        y.sum().backward()
        found.append((y.detach().numpy(), x.grad.numpy()))
    for expected, got in zip(*found, strict=True):
        np.testing.assert_array_equal(got, expected)


# Each gives lists of indices, from the library's `utils.data`.
def loader(library, **options):
    data = library.utils.data.TensorDataset(library.arange(23))
    batches = library.utils.data.DataLoader(data, **options)
    return [[b[0].tolist() for b in batches] for _ in range(2)]


SAMPLERS = {
    "shuffle": lambda l: loader(l, batch_size=4, shuffle=True),
    "shuffle, generator": lambda l: loader(
        l, batch_size=4, shuffle=True, generator=l.Generator().manual_seed(4)
    ),
    "in order": lambda l: loader(l, batch_size=5, drop_last=True),
    "random": lambda l: list(l.utils.data.RandomSampler(range(40))),
    "random, more than there are": lambda l: list(
        l.utils.data.RandomSampler(range(7), num_samples=20)
    ),
    "random, replacing": lambda l: list(
        l.utils.data.RandomSampler(range(40), replacement=True, num_samples=70)
    ),
    "subset": lambda l: list(l.utils.data.SubsetRandomSampler([3, 9, 4, 8, 2])),
    "weighted": lambda l: list(l.utils.data.WeightedRandomSampler([0.1, 0.5, 2.0, 1.0], 30)),
    "weighted, not replacing": lambda l: list(
        l.utils.data.WeightedRandomSampler([0.1, 0.5, 2.0, 1.0], 3, replacement=False)
    ),
    "batches": lambda l: list(
        l.utils.data.BatchSampler(l.utils.data.RandomSampler(range(11)), 3, False)
    ),
    "random_split": lambda l: [
        list(part.indices) for part in l.utils.data.random_split(range(20), [0.5, 0.3, 0.2])
    ],
    "random_split, generator": lambda l: [
        list(part.indices)
        for part in l.utils.data.random_split(range(9), [4, 5], l.Generator().manual_seed(2))
    ],
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_order_of_data(name):
    found = []
    for library in (torch, taimatsu):
        library.manual_seed(20)
        found.append((SAMPLERS[name](library), library.rand(3).tolist()))
    assert found[0] == found[1]


def test_one_seed_one_training_run():
    """Initial values, order of data and dropout together: losses step by step."""
    losses = []
    values = np.random.default_rng(1).standard_normal((60, 8)).astype(np.float32)
    for library in (torch, taimatsu):
        library.manual_seed(21)
        nn = library.nn
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 3))
        x = library.from_numpy(values)
        data = library.utils.data.TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())
        train, _ = library.utils.data.random_split(data, [50, 10])
        optimizer = library.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
        losses.append([])
        for _ in range(3):
            for batch, target in library.utils.data.DataLoader(train, 10, shuffle=True):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(batch), target)
                loss.backward()
                optimizer.step()
                losses[-1].append(loss.item())
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
