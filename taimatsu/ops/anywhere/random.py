"""Random numbers by counting: Philox4x32-10 (Salmon et al., 2011), a formula over a counter.

Four words of 32 bits come from a key, the generator's seed, and a counter: element i of a call has
word i % 4 of counter offset + i // 4. PyTorch's CUDA generator is Philox too, but which thread of
which launch has which element isn't documented, so the numbers of a seed differ from PyTorch's;
their laws don't. They don't depend on the device, the launch or anything but seed and offset.
"""

from __future__ import annotations

import math

import taimatsu as torch
from taimatsu.codegen.lang import cast

from ..table import pointwise
from . import computes
from .formulas import _HIDDEN
from .lines import find, iota, rows, sort_rows

_ROUNDS = 10
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85


@pointwise("_philox(Tensor counter, Tensor|Number key) -> (Tensor, Tensor, Tensor, Tensor)",
           inplace=False, **_HIDDEN)  # fmt: skip
def philox(counter, key):
    """Four words of 32 bits, in int64, for each counter of 64 bits."""
    mask = 0xFFFFFFFF
    low, high = key & mask, (key >> 32) & mask
    words = [counter & mask, (counter >> 32) & mask, 0 * counter, 0 * counter]
    for i in range(_ROUNDS):
        keys = (low + i * _WEYL[0]) & mask, (high + i * _WEYL[1]) & mask
        (a, b), (c, d) = (
            _wide_product(words[2 * j], m) for j, m in enumerate(_MULTIPLIERS)
        )
        words = [c ^ words[1] ^ keys[0], d, a ^ words[3] ^ keys[1], b]
    return tuple(words)


def _wide_product(x, m: int):
    """The high and the low word of a product of two words."""
    product = cast(x, "u64") * cast(m, "u64")
    return cast(product >> 32, "i64"), cast(product & 0xFFFFFFFF, "i64")


def _seed(generator, device, count: int) -> tuple:
    """The key, and the first of `count` counters that nobody else has: ints of 64 bits, or tensors
    of one where the draw is recorded, to be another one at each replay.

    A generator that counts (`take_counters`) tells; else one draw of the CPU's makes a key.
    """
    if device.type == "cuda":
        from taimatsu.cuda.random import take_counters

        return take_counters(generator, device, count)
    take = getattr(generator, "take_counters", None)
    if take is not None:
        return take(count)
    fresh = torch.empty([1], dtype=torch.int64).random_(generator=generator)
    return int(fresh), 0


def signed(n: int) -> int:
    """64 bits as int64 has them."""
    return n - (1 << 64) if n >= 1 << 63 else n


def bits(n: int, generator, device):
    """n words of 32 bits, in int64."""
    count = -(-n // 4)
    key, offset = _seed(generator, device, count)
    if isinstance(key, int):
        key, offset = signed(key), signed(offset)
    words = philox(iota(count, device) + offset, key)
    return torch.stack(words, 1).reshape(-1)[:n]


_DIGITS = {torch.float16: 11, torch.bfloat16: 8, torch.float32: 24, torch.float64: 53}


def uniform(n: int, dtype, generator, device):
    """n numbers in [0, 1): as many binary digits as the dtype has, in f32 or f64."""
    digits = _DIGITS[dtype]
    if digits <= 32:
        wide = torch.float32
        return (bits(n, generator, device) >> (32 - digits)).to(wide) * 2.0**-digits
    low, high = bits(2 * n, generator, device).reshape(2, n).unbind(0)
    return ((high << 21) ^ (low >> 11)).to(torch.float64) * 2.0**-digits


def _real(dtype):
    return torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32


def normal(n: int, dtype, generator, device):
    """n numbers of the standard normal distribution, by pairs (Box and Muller, 1958)."""
    half = -(-n // 2)
    u, v = uniform(2 * half, _real(dtype), generator, device).reshape(2, half).unbind(0)
    radius, angle = (-2 * torch.log1p(-u)).sqrt(), 2 * math.pi * v
    return torch.cat([radius * angle.cos(), radius * angle.sin()])[:n]


def _shaped(x, self):
    return x.reshape(self.shape).to(self.dtype)


def _check(cond: bool, message: str) -> None:
    if not cond:
        raise RuntimeError(message)


@computes("uniform_")
def _(self, low, high, generator):
    _check(low <= high, f"uniform_ expects to return a [from, to) range, but found from={low} > "
                        f"to={high}")  # fmt: skip
    u = uniform(self.numel(), self.dtype, generator, self.device)
    return _shaped(u * (high - low) + low, self)


@computes("normal_")
def _(self, mean, std, generator):
    _check(std >= 0, f"normal expects std >= 0.0, but found std {std}")
    n = self.numel()
    if self.is_complex():  # each part has half of the variance
        z = normal(2 * n, self.dtype, generator, self.device) * (std * math.sqrt(0.5))
        return _shaped(torch.complex(z[:n] + mean, z[n:]), self)
    return _shaped(normal(n, self.dtype, generator, self.device) * std + mean, self)


def _drawn(self, generator):
    return uniform(self.numel(), _real(self.dtype), generator, self.device)


@computes("exponential_")
def _(self, lambd, generator):
    _check(lambd > 0, f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return _shaped(-torch.log1p(-_drawn(self, generator)) / lambd, self)


@computes("geometric_")
def _(self, p, generator):
    _check(0 < p < 1, f"geometric_ expects p to be in (0, 1), but got p={p}")
    trials = (torch.log1p(-_drawn(self, generator)) / math.log1p(-p)).ceil()
    return _shaped(trials.clamp(min=1), self)


@computes("cauchy_")
def _(self, median, sigma, generator):
    angle = math.pi * (_drawn(self, generator) - 0.5)
    return _shaped(angle.tan() * sigma + median, self)


@computes("log_normal_")
def _(self, mean, std, generator):
    _check(std > 0, f"log_normal_ expects std > 0.0, but found std={std}")
    z = normal(self.numel(), self.dtype, generator, self.device)
    return _shaped((z * std + mean).exp(), self)


def _integers(self, low: int, count: int, generator):
    """low + (64 random bits) % count; small ranges take 32 bits."""
    n = self.numel()
    if count <= 1 << 32:
        x = bits(n, generator, self.device) % count
    else:
        a, b = bits(2 * n, generator, self.device).reshape(2, n).unbind(0)
        x = (a << 31) ^ (b >> 1)  # 63 bits, so that no sign is in the way
        x = x % count if count < 1 << 63 else x
    return _shaped(x + low, self)


@computes("random_.from")
def _(self, low, high, generator):
    high = _counted_to(self.dtype) + 1 if high is None else high
    return _integers(self, low, high - low, generator)


@computes("random_.to")
def _(self, high, generator):
    return _integers(self, 0, high, generator)


def _counted_to(dtype) -> int:
    """The largest integer up to which the dtype has all."""
    if dtype.is_floating_point:
        return 1 << _DIGITS[dtype]
    return 1 if dtype == torch.bool else torch.iinfo(dtype).max


@computes("random_")
def _(self, generator):
    return _integers(self, 0, _counted_to(self.dtype) + 1, generator)


@computes("bernoulli_.Tensor")
def _(self, p, generator):
    u = uniform(self.numel(), torch.float32, generator, self.device).reshape(self.shape)
    return (u < p).to(self.dtype)


@computes("bernoulli_.float")
def _(self, p, generator):
    _check(0 <= p <= 1, f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return _shaped(uniform(self.numel(), torch.float32, generator, self.device) < p, self)


@computes("_randperm_")
def _(self, generator):
    """The order of random keys: of 63 bits, so that none are alike but once in centuries."""
    n = self.numel()
    a, b = bits(2 * n, generator, self.device).reshape(2, n).unbind(0)
    return _shaped(sort_rows(((a << 31) ^ (b >> 1)).unsqueeze(0))[1], self)


@computes("multinomial")
def _(self, num_samples, replacement, generator):
    p = rows(self, -1)
    wide = _real(p.dtype)
    p = p.to(wide)
    good = bool((p >= 0).all()) and bool(p.isfinite().all())
    _check(good, "probability tensor contains either `inf`, `nan` or element < 0")
    _check(bool((p.sum(1) > 0).all()),
           "invalid multinomial distribution (sum of probabilities <= 0)")  # fmt: skip
    count = p.size(0)
    if replacement:
        reached = p.cumsum(1)
        u = uniform(count * num_samples, wide, generator, p.device).reshape(count, num_samples)
        found = find(reached, u * reached[:, -1:], True)
        last = p.size(1) - 1 - (p > 0).flip([1]).to(torch.int64).argmax(1, keepdim=True)
        found = torch.minimum(found, last)
    else:  # the first of races whose times are exponential with rates p
        _check(bool(((p > 0).sum(1) >= num_samples).all()),
               "invalid multinomial distribution (with replacement=False, not enough non-negative "
               "category to sample)")  # fmt: skip
        u = uniform(p.numel(), wide, generator, p.device).reshape(p.shape)
        found = sort_rows(-torch.log1p(-u) / p)[1][:, :num_samples]
    return found.reshape(*self.shape[:-1], num_samples).contiguous()
