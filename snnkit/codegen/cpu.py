"""The CPU backend: one numba function per direction, fused over time, in blocks of neurons, on torch's threads.

The backward pass keeps no membrane sequence: it starts each stretch of time from a checkpoint of the states, runs
it forward again, and then backward, inside one block that stays in the cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnkit.arrays import empty, rows
from snnkit.codegen import cache
from snnkit.codegen.cpu_source import BLOCK, source
from snnkit.codegen.kernel import Kernel, fingerprint
from snnkit.threads import split

_SMALL = 1 << 15
"""Neuron-steps below which one thread is faster than several."""

_HALF = (torch.float16, torch.bfloat16)

_CHUNK = 1 << 20
"""Neuron-steps of half precision that are widened at a time."""


def forward(
    kernel: Kernel, x: Tensor, state: Tensor, params: Sequence[Tensor], every: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a neuron over time.

    Args:
        kernel: what to run.
        x: input [T, M], fp32, fp64, bf16 or fp16; an expanded time axis is read in place.
        state: states before the first step [S, M].
        params: one vector per parameter, of length 1 or of a divisor of M (neuron m takes element m % length).
        every: steps between two checkpoints of the states.
    Returns:
        Output [T, M] as `x`, states after the last step [S, M], checkpoints [ceil(T / every), S, M].
    """
    T, M = x.shape
    real = precision(state)
    run = functools.partial(_forward, compiled(kernel, real, None, shared(params, M)), numbers(params, real), every)
    y = empty((T, M), x.dtype)
    checkpoints = empty((-(-T // every), len(state), M), state.dtype)
    if x.dtype not in _HALF:
        return y, run(rows(x), state, y, checkpoints), checkpoints
    for steps, stretches in _pieces(T, M, every):
        out = torch.empty(y[steps].shape)
        state = run(rows(x[steps]).float(), state, out, checkpoints[stretches])
        y[steps] = out
    return y, state, checkpoints


def _forward(
    function: Callable[..., None], vectors: tuple[Any, ...], every: int, x: Tensor, state: Tensor, *outputs: Tensor
) -> Tensor:
    """Run a kernel over inputs in its own precision, write output and checkpoints, and return the last states."""
    y, checkpoints = (tensor.numpy() for tensor in outputs)
    after = empty(state.shape, state.dtype)
    arrays = x.numpy(), state.numpy(), vectors, y, after.numpy(), checkpoints, every
    share(functools.partial(function, *arrays), *y.shape)
    return after


def backward(
    kernel: Kernel,
    x: Tensor,
    checkpoints: Tensor,
    params: Sequence[Tensor],
    grads: tuple[Tensor, Tensor],
    every: int,
    wanted: tuple[bool, ...],
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a neuron backward over time.

    Args:
        kernel, x, checkpoints, params, every: as in `forward`.
        grads: gradient of the output [T, M] and of the last states [S, M].
        wanted: which parameters need a gradient.
    Returns:
        Gradients of the input [T, M], of the first states [S, M], of the wanted parameters [P, M].
    """
    T, M = x.shape
    real = precision(checkpoints)
    surrogate = np.array(list(kernel.surrogate.params.values()) or [0.0], dtype=real)
    fixed = compiled(kernel, real, wanted, shared(params, M)), numbers(params, real), surrogate, every
    grad_y, grad_state = grads[0], grads[1].contiguous()
    grad_x = empty((T, M), x.dtype)
    totals = torch.zeros((sum(wanted), M), dtype=checkpoints.dtype)
    run = functools.partial(_backward, *fixed, totals)
    if x.dtype not in _HALF:
        return grad_x, run(rows(x), checkpoints, rows(grad_y), grad_state, grad_x), totals
    for steps, stretches in reversed(_pieces(T, M, every)):
        out = torch.empty(grad_x[steps].shape)
        x_rows, g_rows = rows(x[steps]).float(), rows(grad_y[steps]).float()
        grad_state = run(x_rows, checkpoints[stretches], g_rows, grad_state, out)
        grad_x[steps] = out
    return grad_x, grad_state, totals


def _backward(
    function: Callable[..., None],
    vectors: tuple[Any, ...],
    surrogate: np.ndarray,
    every: int,
    totals: Tensor,
    *tensors: Tensor,
) -> Tensor:
    """Run a kernel backward in its own precision, write the input's gradient, and return the first states'."""
    x, checkpoints, grad_y, grad_after, grad_x = (tensor.numpy() for tensor in tensors)
    before = empty(grad_after.shape, totals.dtype)
    arrays = x, checkpoints, vectors, surrogate, grad_y, grad_after, grad_x, before.numpy(), totals.numpy(), every
    share(functools.partial(function, *arrays), *grad_x.shape)
    return before


def stepper(kernel: Kernel, params: Sequence[Tensor]) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Return a function that runs a neuron for one step, on numpy's arrays and with little around the kernel.

    It takes input [M] and states [S, M], float32, and returns output and states of the same shapes; `params` are as in
    `forward`.
    """
    function = compiled(kernel, "float32", None, all(len(p) == 1 for p in params))
    vectors = numbers([p.float() for p in params], "float32")

    def step(x: Any, state: Any) -> tuple[Any, Any]:
        y, after = np.empty_like(x), np.empty_like(state)
        function(x[None], state, vectors, y[None], after, np.empty((1, *state.shape), state.dtype), 1, 0, len(x))
        return y, after

    return step


@functools.cache
def compiled(kernel: Kernel, real: str, wanted: tuple[bool, ...] | None, shared: bool = False) -> Callable[..., None]:
    """Return the function of a kernel; arguments as in `cpu_source.source`."""
    import numba

    direction = "forward" if wanted is None else "backward"
    facts = [fingerprint(), numba.__version__, kernel.neuron.digest, real, str(wanted), str(shared)]
    if wanted is not None:
        facts += [kernel.surrogate.digest, str(kernel.detach_reset)]
    text = functools.partial(source, kernel, real, wanted=wanted, shared=shared)
    module = cache.load(f"{kernel.neuron.name}_{direction}", repr(facts), text)
    return getattr(module, direction)


def precision(tensor: Tensor) -> str:
    return "float64" if tensor.dtype == torch.float64 else "float32"


def shared(params: Sequence[Tensor], neurons: int) -> bool:
    """Return whether every parameter is one number for all of several neurons."""
    return neurons > 1 and all(len(p) == 1 for p in params)


def numbers(params: Sequence[Tensor], real: str) -> tuple[Any, ...]:
    plain = [p.detach() if p.requires_grad else p for p in params]
    return tuple(p.contiguous().numpy() for p in plain) or (np.zeros(1, dtype=real),)


def _pieces(T: int, M: int, every: int) -> list[tuple[slice, slice]]:
    """Return pieces of time for half precision, which has to be widened: their steps, and their checkpoints."""
    count = max(1, _CHUNK // max(1, M * every))
    return [(slice(k * every, (k + count) * every), slice(k, k + count)) for k in range(0, -(-T // every), count)]


def share(run: Callable[[int, int], None], T: int, M: int) -> None:
    """Run a kernel over all neurons, split between threads where there is enough to do."""
    split(run, M, most=1 if T * M <= _SMALL else None, grain=64, piece=BLOCK)
