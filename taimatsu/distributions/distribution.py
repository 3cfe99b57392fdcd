"""The base of all distributions."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu import Size, Tensor

from . import constraints
from .utils import all_numbers, broadcast_all, lazy_property

__all__ = ["Distribution"]


class Distribution:
    """A probability distribution, or a batch of them.

    batch_shape   independent distributions, of different parameters
    event_shape   the shape of one draw of one of them

    `sample(s)` has shape s + batch_shape + event_shape, `log_prob(x)` that of `x` without the event
    shape. Arguments are checked unless ``validate_args=False``: ValueError for parameters or values
    outside of their constraints.

    A subclass tells its parameters by `arg_constraints`; representation, validation and `expand`
    follow from it. `_kept` names what else a copy needs, `_nested` distributions within.
    """

    has_rsample = False
    has_enumerate_support = False
    arg_constraints: Any = NotImplemented  # on the class or an instance: {name: constraint}
    _validate_args = __debug__
    _kept: tuple[str, ...] = ()
    _nested: tuple[str, ...] = ()

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether arguments are checked where ``validate_args`` isn't given; True at first."""
        if value not in [True, False]:
            raise ValueError(f"set_default_validate_args: needs a bool; got {value!r}")
        Distribution._validate_args = value

    def __init__(
        self,
        batch_shape: Any = Size(),  # noqa: B008
        event_shape: Any = Size(),  # noqa: B008
        validate_args: bool | None = None,
    ):
        self._batch_shape = Size(batch_shape)
        self._event_shape = Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._validate_parameters()

    def _parametrise(self, validate_args: bool | None, **parameters: Any) -> None:
        """Sets parameters of univariate distributions, broadcast against one another."""
        tensors = broadcast_all(*parameters.values())
        self.__dict__.update(zip(parameters, tensors, strict=True))
        shape = Size() if all_numbers(*parameters.values()) else tensors[0].shape
        Distribution.__init__(self, shape, validate_args=validate_args)

    def _validate_parameters(self) -> None:
        try:
            arg_constraints = self.arg_constraints
        except NotImplementedError:
            arg_constraints = NotImplemented
        if arg_constraints is NotImplemented:
            return
        for name, constraint in arg_constraints.items():
            if constraints.is_dependent(constraint):
                continue
            if name not in self.__dict__ and isinstance(getattr(type(self), name), lazy_property):
                continue
            value = getattr(self, name)
            if not constraint.check(value).all():
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape "
                    f"{tuple(value.shape)}) of distribution {self!r} to satisfy the constraint "
                    f"{constraint!r}, but found invalid values:\n{value}"
                )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its batch expanded to `batch_shape`; parameters are views."""
        new = self._copy(_instance)
        batch_shape = Size(batch_shape)
        for name, constraint in self.arg_constraints.items():
            if isinstance(value := self.__dict__.get(name), Tensor):
                event = value.shape[value.dim() - constraint.event_dim :]
                new.__dict__[name] = value.expand(batch_shape + event)
        for name in self._nested:
            nested = self.__dict__[name]
            extra = nested.batch_shape[len(self.batch_shape) :]
            new.__dict__[name] = nested.expand(batch_shape + extra)
        new._batch_shape = batch_shape
        return new

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        """What the `expand` of `cls` fills: `_instance`, or a new one of the same class.

        NotImplementedError for a subclass whose own ``__init__`` sets what `expand` can't know.
        """
        if _instance is not None:
            return _instance
        kind = type(self)
        if kind.__init__ is not cls.__init__:
            raise NotImplementedError(
                f"expand: {kind.__name__} defines an __init__ of its own, so it has to define an "
                f"expand too; that of {cls.__name__} can't copy it"
            )
        return kind.__new__(kind)

    def _copy(self, instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), instance)
        for name in (*self._kept, "_batch_shape", "_event_shape", "_validate_args"):
            if name in self.__dict__:
                new.__dict__[name] = self.__dict__[name]
        return new

    @property
    def batch_shape(self) -> Size:
        """The shape of the parameters' batch."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one draw."""
        return self._event_shape

    @property
    def support(self) -> Any:
        """The constraint that values satisfy."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """A value of highest density."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008
        """Independent draws, without gradient: sample_shape + batch_shape + event_shape."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008
        """Draws through which gradients flow to the parameters, where `has_rsample` says so."""
        raise NotImplementedError

    def sample_n(self, n: int) -> Tensor:
        """Deprecated: `sample((n,))`."""
        import warnings

        warnings.warn(
            "sample_n will be deprecated. Use .sample((n,)) instead", UserWarning, stacklevel=2
        )
        return self.sample(Size((n,)))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density, or of the probability, at `value`."""
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a draw up to `value`."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of a discrete distribution along a new first dim.

        ``expand``: as many copies as the batch has; else those dims have size 1.
        """
        raise NotImplementedError

    def _enumerated(self, values: Tensor, expand: bool) -> Tensor:
        values = values.reshape(-1, *[1] * len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values

    def entropy(self) -> Tensor:
        """The (differential) entropy in nats."""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """exp(entropy)."""
        return torch.exp(self.entropy())

    def _extended_shape(self, sample_shape: Any = Size()) -> Size:  # noqa: B008
        return Size(sample_shape) + self._batch_shape + self._event_shape

    def _validate_sample(self, value: Tensor) -> None:
        """ValueError unless `value` is a draw: by its type, its shape and the support."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        event = value.dim() - len(self.event_shape)
        if value.shape[event:] != self.event_shape:
            raise ValueError(
                "The right-most size of value must match event_shape: "
                f"{value.size()} vs {self.event_shape}."
            )
        expected = self.batch_shape + self.event_shape
        for given, wanted in zip(reversed(value.shape), reversed(expected), strict=False):
            if given != 1 and wanted != 1 and given != wanted:
                raise ValueError(
                    "Value is not broadcastable with batch_shape+event_shape: "
                    f"{value.size()} vs {expected}."
                )
        try:
            support = self.support
        except NotImplementedError:
            return
        if support is not None and not support.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) "
                f"to be within the support ({support!r}) of the distribution {self!r}, but found "
                f"invalid values:\n{value}"
            )

    def _checked(self, value: Any) -> Any:
        """`value`, once it is valid or not to be checked."""
        if self._validate_args:
            self._validate_sample(value)
        return value

    def _validating(self, validate: bool) -> Any:
        """Itself, with arguments checked or not from now on."""
        self._validate_args = validate
        return self

    def __repr__(self) -> str:
        names = [n for n in self.arg_constraints if n in self.__dict__]
        values = [self.__dict__[n] for n in names]
        shown = [v if math.prod(v.shape) == 1 else v.shape for v in values]
        arguments = ", ".join(f"{n}: {v}" for n, v in zip(names, shown, strict=True))
        return f"{type(self).__name__}({arguments})"
