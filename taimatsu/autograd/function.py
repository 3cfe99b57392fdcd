"""Functions with a backward of one's own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from taimatsu import _core
from taimatsu._core import Tensor, no_grad
from taimatsu._interpreter import apply_function, frames

__all__ = [
    "Function", "FunctionCtx", "InplaceFunction", "NestedIOFunction", "once_differentiable",
]  # fmt: skip


class FunctionCtx(_core.FunctionNode):
    """The ``ctx`` of a Function, which is the tape's node of the call.

    Its methods: ``save_for_backward``, ``mark_dirty``, ``mark_non_differentiable``,
    ``set_materialize_grads``; in backward ``saved_tensors`` and ``needs_input_grad``. Other values
    are kept by setting attributes.
    """


class Function(FunctionCtx):
    """An operation given by a pair of functions: what it computes, and its vector-Jacobian product.

    A subclass defines ``forward(ctx, *args)``, or ``forward(*args)`` and
    ``setup_context(ctx, inputs, output)``; and ``backward(ctx, *grads)``, which takes one gradient
    for each output and gives one for each argument of forward (None for those that have none).
    Call it by ``apply``. Inside forward nothing is recorded; backward is, if the gradient is to be
    differentiated again.

    >>> class Exp(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         y = x.exp()
    ...         ctx.save_for_backward(y)
    ...         return y
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (y,) = ctx.saved_tensors
    ...         return g * y
    >>> x = torch.zeros(2, requires_grad=True)
    >>> Exp.apply(x).sum().backward()
    >>> x.grad
    tensor([1., 1.])
    """

    generate_vmap_rule = False
    _separate_context = False  # whether setup_context is defined, and forward takes no ctx
    _backward_cls: type[FunctionCtx]  # the type of its nodes

    def __new__(cls, *args: Any, **kwargs: Any) -> Function:
        raise RuntimeError(
            f"{cls.__name__}: a Function is not instantiated; call {cls.__name__}.apply(...)"
        )

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        own = cls.__dict__
        if "vjp" in own and "backward" not in own:
            cls.backward = own["vjp"]  # type: ignore[method-assign]
        elif "vjp" in own:
            raise RuntimeError(
                f"{cls.__name__}: implementing both 'backward' and 'vjp' for a custom Function is "
                "not allowed; they are two names for one method"
            )
        cls._separate_context = cls.setup_context is not Function.setup_context
        cls._backward_cls = type(
            cls.__name__ + "Backward",
            (FunctionCtx,),
            {"_forward_cls": cls, "__module__": cls.__module__},
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """What the Function computes; to be overridden."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """What to keep for backward, where forward takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of forward's arguments from those of its outputs; to be overridden."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The forward-mode derivative; to be overridden."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with "
            "forward mode AD."
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple, *args: Any) -> Any:
        """The batched function for ``vmap``; to be overridden."""
        raise NotImplementedError(
            "To use autograd.Function with vmap, you must either override the vmap static method "
            "or set generate_vmap_rule=True."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Compute ``forward(*args)`` and put the call on the tape."""
        if kwargs:
            raise TypeError(
                f"{cls.__name__}.apply: takes no keyword arguments; got {', '.join(kwargs)}"
            )
        if frames():
            return apply_function(cls, args)
        return _core.apply_function(cls, *args)


class InplaceFunction(Function):
    """A Function that may write to its input; kept for programs that derive from it."""


class NestedIOFunction(Function):
    """A Function whose arguments and results may be containers of tensors; superseded by Function.

    A subclass defines ``forward_extended(self, *args)`` and ``backward_extended(self, *grads)``,
    which takes gradients in the containers of the results.
    """

    _nested: type[Function]

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls._nested = _flat(cls)

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Compute ``forward_extended`` of the containers and put the call on the tape."""
        from taimatsu.utils import _pytree

        leaves, spec = _pytree.tree_flatten(args)
        shape: dict[str, Any] = {}
        outputs = cls._nested.apply(spec, shape, *leaves)
        return _pytree.tree_unflatten(outputs, shape["outputs"])

    def forward_extended(self, *input: Any) -> Any:
        """What the Function computes; to be overridden."""
        raise NotImplementedError

    def backward_extended(self, *grad_output: Any) -> Any:
        """The gradients of the arguments; to be overridden."""
        raise NotImplementedError


def _flat(nested: type[NestedIOFunction]) -> type[Function]:
    """A Function of the leaves of the containers."""
    from taimatsu.utils import _pytree

    class Flat(Function):
        @staticmethod
        def forward(ctx, spec, shape, *leaves):
            outputs = nested.forward_extended(ctx, *_pytree.tree_unflatten(leaves, spec))
            flat, shape["outputs"] = _pytree.tree_flatten(outputs)
            ctx.spec = shape["outputs"]
            return tuple(flat)

        @staticmethod
        def backward(ctx, *grads):
            nest = _pytree.tree_unflatten(grads, ctx.spec)
            found = nested.backward_extended(ctx, *(nest if isinstance(nest, tuple) else (nest,)))
            found = found if isinstance(found, tuple) else (found,)
            # None is a container without leaves, and a gradient here.
            leaves = _pytree.tree_leaves(found, is_leaf=lambda x: x is None)
            return None, None, *leaves

    Flat.__name__ = nested.__name__
    return Flat


class _NotTwice(Function):
    """The identity whose gradient is an error."""

    @staticmethod
    def forward(ctx, *tensors):
        return tuple(t.detach() for t in tensors)

    @staticmethod
    def backward(ctx, *grads):
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


def once_differentiable(backward: Callable) -> Callable:
    """Declare that a Function's ``backward`` is not differentiable itself.

    It then runs unrecorded, and a second derivative through it is a RuntimeError.
    """

    @functools.wraps(backward)
    def wrapper(ctx, *grads):
        with no_grad():
            results = backward(ctx, *grads)
        if not _core.is_grad_enabled():
            return results
        # What the gradients would depend on; a leaf of its own stands for saved tensors too.
        if not any(isinstance(g, Tensor) and g.requires_grad for g in grads):
            return results
        single = not isinstance(results, tuple)
        values = [results] if single else list(results)
        positions = [
            i for i, v in enumerate(values) if isinstance(v, Tensor) and v.is_floating_point()
        ]
        inputs = [values[i].detach().requires_grad_() for i in positions]
        for i, t in zip(positions, _NotTwice.apply(*inputs), strict=True):
            values[i] = t
        return values[0] if single else tuple(values)

    return wrapper
