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
    function = compiled(kernel, precision(state), None)
    y = empty((T, M), x.dtype)
    checkpoints = empty((-(-T // every), len(state), M), state.dtype)
    vectors = numbers(params, precision(state))
    for first, last in _chunks(x, every):
        x_rows, y_rows = _wide(rows(x[first:last])), _wide_like(y[first:last])
        after = empty(state.shape, state.dtype)
        a = [a.numpy() for a in (x_rows, state, y_rows, after, checkpoints[first // every : -(-last // every)])]
        share(functools.partial(function, a[0], a[1], vectors, *a[2:], every), last - first, M)
        if y_rows.dtype != y.dtype:
            y[first:last] = y_rows
        state = after
    return y, state, checkpoints


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
    function = compiled(kernel, real, wanted)
    grad_y, grad_state = grads
    grad_x = empty((T, M), x.dtype)
    grad_params = torch.zeros((sum(wanted), M), dtype=checkpoints.dtype)
    vectors = numbers(params, real)
    surrogate = np.array(list(kernel.surrogate.params.values()) or [0.0], dtype=real)
    grad_state = grad_state.contiguous()
    for first, last in reversed(_chunks(x, every)):
        pieces = (_wide(rows(x[first:last])), checkpoints[first // every : -(-last // every)])
        g_rows, out = _wide(rows(grad_y[first:last])), _wide_like(grad_x[first:last])
        before = empty(grad_state.shape, grad_state.dtype)
        a = [piece.numpy() for piece in (*pieces, g_rows, grad_state, out, before, grad_params)]
        share(functools.partial(function, a[0], a[1], vectors, surrogate, *a[2:], every), last - first, M)
        if out.dtype != grad_x.dtype:
            grad_x[first:last] = out
        grad_state = before
    return grad_x, grad_state, grad_params


def stepper(kernel: Kernel, params: Sequence[Tensor]) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Return a function that runs a neuron for one step, on numpy's arrays and with little around the kernel.

    It takes input [M] and states [S, M], float32, and returns output and states of the same shapes; `params` are as in
    `forward`.
    """
    function = compiled(kernel, "float32", None)
    vectors = numbers([p.float() for p in params], "float32")

    def step(x: Any, state: Any) -> tuple[Any, Any]:
        y, after = np.empty_like(x), np.empty_like(state)
        function(x[None], state, vectors, y[None], after, np.empty((1, *state.shape), state.dtype), 1, 0, len(x))
        return y, after

    return step


@functools.cache
def compiled(kernel: Kernel, real: str, wanted: tuple[bool, ...] | None) -> Callable[..., None]:
    import numba

    direction = "forward" if wanted is None else "backward"
    facts = [fingerprint(), numba.__version__, kernel.neuron.digest, real, str(wanted)]
    if wanted is not None:
        facts += [kernel.surrogate.digest, str(kernel.detach_reset)]
    module = cache.load(f"{kernel.neuron.name}_{direction}", repr(facts), lambda: source(kernel, real, wanted))
    return getattr(module, direction)


def precision(tensor: Tensor) -> str:
    return "float64" if tensor.dtype == torch.float64 else "float32"


def numbers(params: Sequence[Tensor], real: str) -> tuple[Any, ...]:
    plain = [p.detach() if p.requires_grad else p for p in params]
    return tuple(p.contiguous().numpy() for p in plain) or (np.zeros(1, dtype=real),)


def _chunks(x: Tensor, every: int) -> list[tuple[int, int]]:
    """Split time where half precision has to be widened, at checkpoints; else one piece."""
    T, M = x.shape
    if x.dtype not in (torch.float16, torch.bfloat16):
        return [(0, T)]
    steps = max(1, _CHUNK // max(1, M * every)) * every
    return [(first, min(T, first + steps)) for first in range(0, T, steps)]


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _wide_like(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=torch.float32) if x.dtype in (torch.float16, torch.bfloat16) else x


def share(run: Callable[[int, int], None], T: int, M: int) -> None:
    """Run a kernel over all neurons, split between threads where there is enough to do."""
    split(run, M, most=1 if T * M <= _SMALL else None, grain=64, piece=BLOCK)
