"""Update rules of optimizers: what one step makes of each element of a parameter and its state.

An output carries the name of the tensor that it replaces. ``weight_decay`` is None where there is
none; ``maximize`` climbs. Bias corrections are numbers that the optimizer computes once a step.
"""

from __future__ import annotations

from .arithmetic import abs_, clamp, maximum, rsqrt, sign, sqrt
from .comparison import where
from .table import pointwise


def _rule(schema: str):
    return pointwise(schema, module="optim", method=False)


_COMMON = "float? weight_decay=None, bool maximize=False"


def _direction(param, grad, weight_decay, maximize):
    """The gradient to go against."""
    grad = -grad if maximize else grad
    return grad if weight_decay is None else grad + weight_decay * param


def _decayed(param, lr, weight_decay):
    """Decoupled weight decay: the parameter shrinks, whatever its gradient."""
    return param if weight_decay is None else param * (1 - lr * weight_decay)


def _lerp(start, end, weight):
    return start + weight * (end - start)


@_rule(f"sgd(Tensor param, Tensor grad, *, float lr, {_COMMON}) -> (Tensor param)")
def sgd(param, grad, *, lr, weight_decay, maximize):
    """p - lr g."""
    return param - lr * _direction(param, grad, weight_decay, maximize)


@_rule(
    "sgd_momentum(Tensor param, Tensor grad, Tensor momentum_buffer, *, float lr, float momentum, "
    f"float dampening, bool nesterov, bool first, {_COMMON})"
    " -> (Tensor param, Tensor momentum_buffer)"
)
def sgd_momentum(
    param, grad, buffer, *, lr, momentum, dampening, nesterov, first, weight_decay, maximize
):
    """b' = momentum b + (1 - dampening) g, the first time g; p - lr b', or - lr (g + momentum b').

    Sutskever et al., 2013.
    """
    grad = _direction(param, grad, weight_decay, maximize)
    buffer = grad if first else momentum * buffer + (1 - dampening) * grad
    return param - lr * (grad + momentum * buffer if nesterov else buffer), buffer


_ADAM = (
    "float lr, float beta1, float beta2, float eps, float correction1, float correction2, "
    f"bool decoupled, {_COMMON}"
)


def _adam_moments(param, grad, mean, square, o):
    """The parameter after decoupled decay, and the moving averages of g and g^2."""
    decay = o["weight_decay"]
    grad = _direction(param, grad, None if o["decoupled"] else decay, o["maximize"])
    param = _decayed(param, o["lr"], decay if o["decoupled"] else None)
    mean = _lerp(mean, grad, 1 - o["beta1"])
    square = o["beta2"] * square + (1 - o["beta2"]) * grad * grad
    return param, grad, mean, square


@_rule(
    "adam(Tensor param, Tensor grad, Tensor exp_avg, Tensor exp_avg_sq, *, "
    f"{_ADAM}) -> (Tensor param, Tensor exp_avg, Tensor exp_avg_sq)"
)
def adam(param, grad, mean, square, **o):
    """p - lr (m / correction1) / (sqrt(v / correction2) + eps); Kingma and Ba, 2015.

    ``decoupled``: the weight decay is that of AdamW (Loshchilov and Hutter, 2019).
    """
    param, grad, mean, square = _adam_moments(param, grad, mean, square, o)
    return _adam_step(param, mean, square, o), mean, square


@_rule(
    "adam_amsgrad(Tensor param, Tensor grad, Tensor exp_avg, Tensor exp_avg_sq, "
    f"Tensor max_exp_avg_sq, *, {_ADAM})"
    " -> (Tensor param, Tensor exp_avg, Tensor exp_avg_sq, Tensor max_exp_avg_sq)"
)
def adam_amsgrad(param, grad, mean, square, largest, **o):
    """`adam` divided by the largest v so far (Reddi et al., 2018)."""
    param, grad, mean, square = _adam_moments(param, grad, mean, square, o)
    largest = maximum(largest, square)
    return _adam_step(param, mean, largest, o), mean, square, largest


def _adam_step(param, mean, square, o):
    denominator = sqrt(square) / o["correction2"] ** 0.5 + o["eps"]
    return param - o["lr"] / o["correction1"] * mean / denominator


@_rule(
    "nadam(Tensor param, Tensor grad, Tensor exp_avg, Tensor exp_avg_sq, *, float grad_rate, "
    f"float mean_rate, {_ADAM}) -> (Tensor param, Tensor exp_avg, Tensor exp_avg_sq)"
)
def nadam(param, grad, mean, square, **o):
    """`adam` with Nesterov's momentum: the gradient and the mean each with a rate (Dozat, 2016)."""
    param, grad, mean, square = _adam_moments(param, grad, mean, square, o)
    denominator = sqrt(square / o["correction2"]) + o["eps"]
    step = (o["grad_rate"] * grad + o["mean_rate"] * mean) / denominator
    return param - step, mean, square


@_rule(
    "radam(Tensor param, Tensor grad, Tensor exp_avg, Tensor exp_avg_sq, *, float? rectification, "
    f"{_ADAM}) -> (Tensor param, Tensor exp_avg, Tensor exp_avg_sq)"
)
def radam(param, grad, mean, square, **o):
    """`adam`, but without the division while the variance of v can't be rectified.

    Liu et al., 2020.
    """
    param, grad, mean, square = _adam_moments(param, grad, mean, square, o)
    step = o["lr"] / o["correction1"] * mean
    if o["rectification"] is not None:
        adapted = o["correction2"] ** 0.5 / (sqrt(square) + o["eps"])
        step = step * adapted * o["rectification"]
    return param - step, mean, square


@_rule(
    "adamax(Tensor param, Tensor grad, Tensor exp_avg, Tensor exp_inf, *, float lr, float beta1, "
    f"float beta2, float eps, float correction1, {_COMMON})"
    " -> (Tensor param, Tensor exp_avg, Tensor exp_inf)"
)
def adamax(
    param, grad, mean, largest, *, lr, beta1, beta2, eps, correction1, weight_decay, maximize
):
    """`adam` with the infinity norm in place of the mean of squares."""
    grad = _direction(param, grad, weight_decay, maximize)
    mean = _lerp(mean, grad, 1 - beta1)
    largest = maximum(beta2 * largest, abs_(grad) + eps)
    return param - lr / correction1 * mean / largest, mean, largest


_RMSPROP = f"float lr, float alpha, float eps, {_COMMON}"


def _rmsprop_square(param, grad, square, o):
    grad = _direction(param, grad, o["weight_decay"], o["maximize"])
    return grad, o["alpha"] * square + (1 - o["alpha"]) * grad * grad


@_rule(
    f"rmsprop(Tensor param, Tensor grad, Tensor square_avg, *, {_RMSPROP})"
    " -> (Tensor param, Tensor square_avg)"
)
def rmsprop(param, grad, square, **o):
    """p - lr g / (sqrt(v) + eps), v a moving average of g^2 (Tieleman and Hinton, 2012)."""
    grad, square = _rmsprop_square(param, grad, square, o)
    return param - o["lr"] * grad / (sqrt(square) + o["eps"]), square


@_rule(
    "rmsprop_momentum(Tensor param, Tensor grad, Tensor square_avg, Tensor momentum_buffer, *, "
    f"float momentum, {_RMSPROP}) -> (Tensor param, Tensor square_avg, Tensor momentum_buffer)"
)
def rmsprop_momentum(param, grad, square, buffer, **o):
    """`rmsprop` with momentum on the scaled gradient."""
    grad, square = _rmsprop_square(param, grad, square, o)
    buffer = o["momentum"] * buffer + grad / (sqrt(square) + o["eps"])
    return param - o["lr"] * buffer, square, buffer


@_rule(
    "rmsprop_centered(Tensor param, Tensor grad, Tensor square_avg, Tensor grad_avg, *, "
    f"{_RMSPROP}) -> (Tensor param, Tensor square_avg, Tensor grad_avg)"
)
def rmsprop_centered(param, grad, square, mean, **o):
    """`rmsprop` divided by the root of the variance, not of the mean square (Graves, 2013)."""
    grad, square = _rmsprop_square(param, grad, square, o)
    mean = _lerp(mean, grad, 1 - o["alpha"])
    step = o["lr"] * grad / (sqrt(square - mean * mean) + o["eps"])
    return param - step, square, mean


@_rule(
    "rmsprop_centered_momentum(Tensor param, Tensor grad, Tensor square_avg, "
    f"Tensor momentum_buffer, Tensor grad_avg, *, float momentum, {_RMSPROP})"
    " -> (Tensor param, Tensor square_avg, Tensor momentum_buffer, Tensor grad_avg)"
)
def rmsprop_centered_momentum(param, grad, square, buffer, mean, **o):
    """`rmsprop_centered` with momentum on the scaled gradient."""
    grad, square = _rmsprop_square(param, grad, square, o)
    mean = _lerp(mean, grad, 1 - o["alpha"])
    buffer = o["momentum"] * buffer + grad / (sqrt(square - mean * mean) + o["eps"])
    return param - o["lr"] * buffer, square, buffer, mean


@_rule(
    "adagrad(Tensor param, Tensor grad, Tensor sum, *, float lr, float eps, "
    f"{_COMMON}) -> (Tensor param, Tensor sum)"
)
def adagrad(param, grad, total, *, lr, eps, weight_decay, maximize):
    """p - lr g / (sqrt(sum of g^2) + eps) (Duchi et al., 2011)."""
    grad = _direction(param, grad, weight_decay, maximize)
    total = total + grad * grad
    return param - lr * grad / (sqrt(total) + eps), total


@_rule(
    "adadelta(Tensor param, Tensor grad, Tensor square_avg, Tensor acc_delta, *, float lr, "
    f"float rho, float eps, {_COMMON}) -> (Tensor param, Tensor square_avg, Tensor acc_delta)"
)
def adadelta(param, grad, square, changes, *, lr, rho, eps, weight_decay, maximize):
    """The gradient scaled by the ratio of mean squares of changes and gradients (Zeiler, 2012)."""
    grad = _direction(param, grad, weight_decay, maximize)
    square = rho * square + (1 - rho) * grad * grad
    change = sqrt(changes + eps) / sqrt(square + eps) * grad
    changes = rho * changes + (1 - rho) * change * change
    return param - lr * change, square, changes


@_rule(
    "asgd(Tensor param, Tensor grad, Tensor ax, *, float eta, float lambd, float mu, "
    f"{_COMMON}) -> (Tensor param, Tensor ax)"
)
def asgd(param, grad, average, *, eta, lambd, mu, weight_decay, maximize):
    """Gradient descent, and an average of its path (Polyak and Juditsky, 1992)."""
    grad = _direction(param, grad, weight_decay, maximize)
    param = param * (1 - lambd * eta) - eta * grad
    return param, average + mu * (param - average)


@_rule(
    "rprop(Tensor param, Tensor grad, Tensor prev, Tensor step_size, *, float shrink, float grow, "
    "float smallest, float largest, bool maximize=False)"
    " -> (Tensor param, Tensor prev, Tensor step_size)"
)
def rprop(param, grad, previous, size, *, shrink, grow, smallest, largest, maximize):
    """Steps by the sign alone; their size grows while the sign stays (Riedmiller and Braun, 1993).

    Where the sign changed, the step is left out once.
    """
    grad = -grad if maximize else grad
    agreement = grad * previous
    turned = agreement < 0
    size = where(agreement > 0, size * grow, where(turned, size * shrink, size))
    size = clamp(size, smallest, largest)
    grad = where(turned, 0, grad)
    return param - size * sign(grad), grad, size


@_rule("adafactor(Tensor grad, Tensor rows, Tensor columns, *, float eps) -> Tensor")
def adafactor(grad, rows, columns, *, eps):
    """g / sqrt(v), v the product of rows and columns (Shazeer and Stern, 2018)."""
    return grad * rsqrt(maximum(rows * columns, eps * eps))


# ---- limits of gradients ------------------------------------------------------------------------


@_rule("scale(Tensor grad, *, float factor) -> (Tensor grad)")
def scale(grad, *, factor):
    """factor g."""
    return factor * grad


@_rule("limit(Tensor grad, *, float largest) -> (Tensor grad)")
def limit(grad, *, largest):
    """g limited to [-largest, largest]."""
    return clamp(grad, -largest, largest)
