"""The operators that torch sees: one forward, one backward, for every neuron and every compiled backend.

The two kernels are operators of `torch.library`, so that compilers treat each as one node. The autograd functions
around them give gradients, `torch.func.grad` and `vmap`, and refuse what the kernels cannot do.
"""

# Annotations stay objects here: torch reads the operators' schema from them.

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from snnkit.codegen.kernel import known
from snnkit.errors import BackendError


def _backend(name: str) -> Any:
    if name == "cpu":
        from snnkit.codegen import cpu

        return cpu
    from snnkit.codegen import cuda

    return cuda


def _forward(
    x: Tensor, state: Tensor | None, params: Sequence[Tensor], key: str, backend: str, every: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Run kernel `key` over x [T, …] from state [S, M]; see `cpu.forward`."""
    return _backend(backend).forward(known(key), x, state, params, every)


forward_kernel = torch.library.custom_op("snnkit::neuron", _forward, mutates_args=())


@forward_kernel.register_fake
def _(
    x: Tensor, state: Tensor | None, params: Sequence[Tensor], key: str, backend: str, every: int
) -> tuple[Tensor, Tensor, Tensor]:
    after = known(key).fresh(x)
    return x.new_empty(x.shape), after, after.new_empty((x.shape[0] + every - 1) // every, *after.shape)


def _backward(
    x: Tensor,
    checkpoints: Tensor,
    params: Sequence[Tensor],
    grad_y: Tensor,
    grad_after: Tensor | None,
    key: str,
    backend: str,
    every: int,
    wanted: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Run kernel `key` backward; see `cpu.backward`."""
    flags = tuple(map(bool, wanted))
    return _backend(backend).backward(known(key), x, checkpoints, params, (grad_y, grad_after), every, flags)


backward_kernel = torch.library.custom_op("snnkit::neuron_backward", _backward, mutates_args=())


@backward_kernel.register_fake
def _(
    x: Tensor,
    checkpoints: Tensor,
    params: Sequence[Tensor],
    grad_y: Tensor,
    grad_after: Tensor | None,
    key: str,
    backend: str,
    every: int,
    wanted: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    S, M = checkpoints.shape[1:]
    return x.new_empty(x.shape), checkpoints.new_empty(S, M), checkpoints.new_empty(sum(wanted), M)


class _Forward(Function):
    """The forward kernel with its gradient."""

    @staticmethod
    def forward(
        x: Tensor, state: Tensor | None, call: tuple[str, str, int], wanted: tuple[int, ...], *params: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        run = _forward if type(x) is Tensor else forward_kernel
        return run(x, state, params, *call)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, _, ctx.call, ctx.wanted, *params = inputs
        ctx.mark_non_differentiable(output[2])
        # Torch would fill zeros as large as the checkpoints in every backward pass.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, output[2], *params)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        x, checkpoints, *params = ctx.saved_tensors
        grad_y = x.new_zeros(()).expand_as(x) if grads[0] is None else grads[0]
        arguments = x, checkpoints, grad_y, grads[1], ctx.call, ctx.wanted, *params
        differentiated = torch.is_grad_enabled() or torch._C._are_functorch_transforms_active()
        found = _apply(_Backward, *arguments) if differentiated else _Backward.forward(*arguments)
        grad_x, grad_state, totals = found
        first = grad_state if ctx.needs_input_grad[1] else None
        return grad_x, first, None, None, *sums(totals, params, ctx.wanted)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise BackendError(
            "the compiled kernels have no forward-mode derivative; "
            "build the layer with backend='reference' for torch.func.jvp and jacfwd"
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], x: Tensor, state: Tensor | None, call: Any, wanted: Any, *params: Any
    ) -> Any:
        _refuse_mapped(in_dims[4:])
        V = info.batch_size
        y, *states = _apply(_Forward, _among(x, in_dims[0], V), _fold(state, in_dims[1], V), call, wanted, *params)
        return (y, *(_unfold(state, V) for state in states)), (1, 0, 0)


class _Backward(Function):
    """The backward kernel, which is where derivatives end."""

    @staticmethod
    def forward(
        x: Tensor,
        checkpoints: Tensor,
        grad_y: Tensor,
        grad_after: Tensor | None,
        call: tuple[str, str, int],
        wanted: tuple[int, ...],
        *params: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        run = _backward if type(x) is Tensor else backward_kernel
        return run(x, checkpoints, params, grad_y, grad_after, *call, wanted)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise BackendError(
            "the compiled kernels have no second derivative; "
            "build the layer with backend='reference' for double backward"
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> Any:
        *tensors, call, wanted = arguments[:6]
        _refuse_mapped(in_dims[6:])
        V = info.batch_size
        places = (_among, _fold, _among, _fold)
        folded = [place(t, dim, V) for place, t, dim in zip(places, tensors, in_dims[:4], strict=True)]
        grad_x, *states = _apply(_Backward, *folded, call, wanted, *arguments[6:])
        return (grad_x, *(_unfold(state, V) for state in states)), (1, 0, 0)


def _apply(function: type[Function], *arguments: Any) -> Any:
    """Apply an autograd function, without torch's inspection of its signature where no transform needs it."""
    if torch._C._are_functorch_transforms_active():
        return function.apply(*arguments)
    plain: Any = super(Function, function)
    return plain.apply(*arguments)


def neuron(
    x: Tensor, state: Tensor | None, params: Sequence[Tensor], key: str, backend: str, every: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a registered kernel over a sequence [T, …], with gradients; otherwise as `cpu.forward`."""
    if torch.compiler.is_compiling():
        return forward_kernel(x, state, params, key, backend, every)
    wanted = tuple(int(p.requires_grad) for p in params)
    return _apply(_Forward, x, state, (key, backend, every), wanted, *params)


class _Bounded(Function):
    """Clamp; the gradient passes unless it would push further out, so that no parameter sticks to a bound."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, low: float, high: float) -> Tensor:
        return value.clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.low, ctx.high = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (value,) = ctx.saved_tensors
        outward = ((value <= ctx.low) & (grads[0] > 0)) | ((value >= ctx.high) & (grads[0] < 0))
        return grads[0].masked_fill(outward, 0.0), None, None


def bounded(value: Tensor, low: float, high: float) -> Tensor:
    """Return a parameter clamped to its bounds, learnable from either side of them."""
    return _Bounded.apply(value, low, high)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, _, params, *ctx.call = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(x, output[2], *params)


def _differentiate(ctx: Any, grad_y: Tensor, grad_after: Tensor, _: Tensor) -> tuple[Any, ...]:
    x, checkpoints, *params = ctx.saved_tensors
    wanted = [int(need) for need in ctx.needs_input_grad[2]]
    grads = backward_kernel(x, checkpoints, params, grad_y, grad_after, *ctx.call, wanted)
    first = grads[1] if ctx.needs_input_grad[1] else None
    return grads[0], first, sums(grads[2], params, wanted), None, None, None


# A compiler traces the operator with this gradient; it cannot see through one autograd function inside another.
forward_kernel.register_autograd(_differentiate, setup_context=_setup)


def sums(totals: Tensor, params: Sequence[Tensor], wanted: Sequence[int]) -> list[Tensor | None]:
    """Return the gradient of each parameter: the totals [P, M] of its neurons, summed over the batch."""
    if not any(wanted):
        return [None] * len(params)
    rows = iter(totals.unbind(0))
    return [
        next(rows).reshape(-1, p.numel()).sum(0).reshape(p.shape) if w else None
        for p, w in zip(params, wanted, strict=True)
    ]


def _among(sequence: Tensor, dim: int | None, size: int) -> Tensor:
    """Put a mapped dimension of a sequence in front of its samples: [T, V, …]."""
    return sequence.unsqueeze(1).expand(-1, size, *sequence.shape[1:]) if dim is None else sequence.movedim(dim, 1)


def _fold(states: Tensor | None, dim: int | None, size: int) -> Tensor | None:
    """Put a mapped dimension of states in front of the neurons: [S, M] becomes [S, V * M]."""
    if states is None:
        return None
    mapped = states.unsqueeze(0).expand(size, *states.shape) if dim is None else states.movedim(dim, 0)
    return mapped.movedim(0, -2).flatten(-2)


def _unfold(states: Tensor, size: int) -> Tensor:
    return states.unflatten(-1, (size, states.shape[-1] // size)).movedim(-2, 0)


def _refuse_mapped(dims: Sequence[int | None]) -> None:
    if any(dim is not None for dim in dims):
        raise BackendError(
            "vmap over a neuron's parameters is not possible in the compiled kernels; build the layer with "
            "backend='reference', or give the parameter one value per neuron"
        )
