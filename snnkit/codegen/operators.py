"""The operators that torch sees: one forward, one backward, for every neuron and every compiled backend."""

# Annotations stay objects here: torch reads the schema from them.

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snnkit.codegen.kernel import Kernel, known
from snnkit.errors import BackendError, InputError
from snnkit.settings import check_finite


def _backend(name: str) -> Any:
    if name == "cpu":
        from snnkit.codegen import cpu

        return cpu
    from snnkit.codegen import cuda

    return cuda


@torch.library.custom_op("snnkit::neuron", mutates_args=())
def neuron(
    x: Tensor, state: Tensor, params: Sequence[Tensor], key: str, backend: str, every: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Run kernel `key` over x [T, M] from state [S, M]; see `cpu.forward` for shapes."""
    kernel = known(key)
    result = _backend(backend).forward(kernel, x, state, params, every)
    if backend == "cpu" and check_finite() and not bool(torch.isfinite(result[1]).all()):
        raise InputError(_not_finite(kernel, x, state))
    return result


@neuron.register_fake
def _(
    x: Tensor, state: Tensor, params: Sequence[Tensor], key: str, backend: str, every: int
) -> tuple[Tensor, Tensor, Tensor]:
    checkpoints = state.new_empty((x.shape[0] + every - 1) // every, *state.shape)
    return x.new_empty(x.shape), torch.empty_like(state), checkpoints


@torch.library.custom_op("snnkit::neuron_backward", mutates_args=())
def neuron_backward(
    x: Tensor,
    checkpoints: Tensor,
    params: Sequence[Tensor],
    grad_y: Tensor,
    grad_after: Tensor,
    key: str,
    backend: str,
    every: int,
    wanted: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Run kernel `key` backward; see `cpu.backward` for shapes."""
    flags = tuple(bool(flag) for flag in wanted)
    return _backend(backend).backward(known(key), x, checkpoints, params, (grad_y, grad_after), every, flags)


@neuron_backward.register_fake
def _(
    x: Tensor,
    checkpoints: Tensor,
    params: Sequence[Tensor],
    grad_y: Tensor,
    grad_after: Tensor,
    key: str,
    backend: str,
    every: int,
    wanted: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), torch.empty_like(grad_after), grad_after.new_empty(sum(wanted), grad_after.shape[1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, _, params, ctx.key, ctx.backend, ctx.every = inputs
    checkpoints = output[2]
    ctx.save_for_backward(x, checkpoints, *params)
    ctx.mark_non_differentiable(checkpoints)


def _backward(ctx: Any, grad_y: Tensor, grad_after: Tensor, _: Tensor) -> tuple[Any, ...]:
    x, checkpoints, *params = ctx.saved_tensors
    wanted = [int(need) for need in ctx.needs_input_grad[2]]
    grad_x, grad_state, totals = neuron_backward(
        x, checkpoints, params, grad_y, grad_after, ctx.key, ctx.backend, ctx.every, wanted
    )
    rows = iter(totals.unbind(0))
    grads = [next(rows).reshape(-1, len(p)).sum(0) if want else None for p, want in zip(params, wanted, strict=True)]
    return grad_x, grad_state, grads, None, None, None


def _refuse_second(ctx: Any, *grads: Tensor) -> Any:
    raise BackendError(
        "the compiled kernels have no second derivative; build the layer with backend='reference' for double backward"
    )


neuron.register_autograd(_backward, setup_context=_setup)
neuron_backward.register_autograd(_refuse_second)


@neuron.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, ...]:
    x, state, params, key, backend, every = args
    if any(dim is not None for dim in in_dims[2]):
        raise BackendError(
            "vmap over a neuron's parameters is not possible in the compiled kernels; "
            "build the layer with backend='reference', or make the parameter a tensor with one value per neuron"
        )
    V = info.batch_size
    x = _fold(x, in_dims[0], V)
    y, after, checkpoints = neuron(x, _fold(state, in_dims[1], V), params, key, backend, every)
    unfolded = (a.unflatten(-1, (V, -1)).movedim(-2, 0) for a in (y, after, checkpoints))
    return tuple(unfolded), (0, 0, 0)


def _fold(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """Put a mapped dimension in front of the neurons: [T, M] becomes [T, V * M]."""
    tensor = tensor.unsqueeze(0).expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return tensor.movedim(0, 1).flatten(1)


def _not_finite(kernel: Kernel, x: Tensor, state: Tensor) -> str:
    for name, tensor in (("input", x), ("start state", state)):
        bad = ~torch.isfinite(tensor)
        if bool(bad.any()):
            where = f"{'step' if name == 'input' else 'state'} {int(bad.nonzero()[0, 0])}"
            return (
                f"the {name} of {kernel.neuron.name} holds NaN or infinity, first at {where}; "
                "clean the data, or set SNNKIT_CHECK_FINITE=0 to let it through"
            )
    return (
        f"a state of {kernel.neuron.name} became NaN or infinite within {len(x)} steps though its input is finite; "
        "use smaller inputs or parameters (see snnkit.diagnose), or set SNNKIT_CHECK_FINITE=0 to let it through"
    )
