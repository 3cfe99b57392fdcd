"""SciPy and scikit-learn on tensors, through the array API standard: as on NumPy's arrays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCIPY = """
import numpy as np
import scipy.cluster.vq, scipy.fft, scipy.integrate, scipy.optimize, scipy.signal, scipy.special
import scipy.stats
import taimatsu as torch

def same(function, *arrays):
    expected = function(*arrays)
    found = function(*map(torch.from_numpy, arrays))
    pick = lambda r: getattr(r, "statistic", r[0] if isinstance(r, tuple) else r)
    assert type(pick(found)) is torch.Tensor, function
    np.testing.assert_allclose(pick(found).numpy(), pick(expected), rtol=1e-10, atol=1e-12)

x = np.random.default_rng(0).normal(size=(20, 3))
y = x[:, 0].copy()
same(scipy.stats.zscore, x)
same(scipy.stats.skew, x)
same(lambda x: scipy.stats.ttest_1samp(x, 0.0), x)
same(scipy.stats.pearsonr, x[:, 1].copy(), y)
same(lambda x: scipy.stats.rankdata(x, axis=0), x)
same(lambda x: scipy.special.logsumexp(x, axis=0), x)
same(lambda x: scipy.special.softmax(x, axis=1), x)
same(scipy.special.gammaln, np.abs(x))
same(scipy.fft.rfftn, x)
same(scipy.fft.dct, x)
same(scipy.signal.hilbert, y)
same(scipy.signal.fftconvolve, y, y)
same(scipy.cluster.vq.vq, x, x[:3].copy())
same(scipy.optimize.rosen, y)
same(scipy.integrate.cumulative_trapezoid, y)

t = torch.from_numpy(y).requires_grad_()
assert torch.autograd.gradcheck(lambda t: scipy.special.logsumexp(t, axis=0), (t,))
"""

SKLEARN = """
import numpy as np
import sklearn
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import confusion_matrix, r2_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler
import taimatsu as torch

x = np.random.default_rng(0).normal(size=(40, 3))
labels = (x[:, 0] + x[:, 1] > 0).astype(np.int64)

def same(function, *arrays):
    expected = function(*arrays)
    with sklearn.config_context(array_api_dispatch=True):
        found = function(*map(torch.from_numpy, arrays))
    assert type(found) is torch.Tensor, function
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-8, atol=1e-10)

for scaler in (MinMaxScaler, PolynomialFeatures, StandardScaler):
    same(lambda x: scaler().fit_transform(x), x)
same(lambda x: abs(PCA(2, svd_solver="full").fit_transform(x)), x)
same(lambda x, y: LinearDiscriminantAnalysis().fit(x, y).predict(x), x, labels)
same(lambda x, y: GaussianNB().fit(x, y).predict(x), x, labels)
same(lambda x, y: Ridge(solver="svd").fit(x, y).predict(x), x, x[:, 0].copy())
same(rbf_kernel, x)
same(confusion_matrix, labels, labels[::-1].copy())
with sklearn.config_context(array_api_dispatch=True):
    assert r2_score(torch.from_numpy(x), torch.from_numpy(x)) == 1
"""


@pytest.mark.parametrize("library, program", [("scipy", SCIPY), ("sklearn", SKLEARN)])
def test_results_are_those_on_arrays(library, program):
    pytest.importorskip(library)
    path = os.pathsep.join(filter(None, sys.path))
    # SciPy looks at the variable when it is imported.
    environment = {**os.environ, "PYTHONPATH": path, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
