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
from snnkit.errors import InputError
from snnkit.settings import check_finite
from snnkit.threads import split

_SMALL = 1 << 15
"""Neuron-steps below which one thread is faster than several."""

_HALF = (torch.float16, torch.bfloat16)

_CHUNK = 1 << 20
"""Neuron-steps of half precision that are widened at a time."""


def forward(
    kernel: Kernel, x: Tensor, state: Tensor | None, params: Sequence[Tensor], every: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a neuron over time, outside autograd.

    Args:
        kernel: what to run.
        x: input [T, …] of M neurons in all samples, fp32, fp64, bf16 or fp16; an expanded time axis is read in place.
        state: states before the first step [S, M]; fresh if None.
        params: one tensor per parameter, of one element or of a divisor of M (neuron m takes element m % length).
        every: steps between two checkpoints of the states.
    Returns:
        Output [T, …] as `x`, states after the last step [S, M], checkpoints [ceil(T / every), S, M].
    Raises:
        InputError: the states after the last step are not finite.
    """
    run = _forward_in_pieces if x.dtype in _HALF else _forward
    y, after, checkpoints, finite = run(kernel, x, state, params, every)
    check_outcome(kernel, x, state, finite=finite)
    return y, after, checkpoints


def _forward(
    kernel: Kernel, x: Tensor, state: Tensor | None, params: Sequence[Tensor], every: int
) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Return what `forward` returns, and whether the last states are finite; x is in the kernel's own precision."""
    T, S, M, real = len(x), len(kernel.neuron.states), x.numel() // len(x), precision(x)
    function = compiled(kernel, real, None, shared(params, M))
    y, after, checkpoints = empty(x.shape, x.dtype), empty((S, M), x.dtype), empty((-(-T // every), S, M), x.dtype)
    start = _fresh(kernel, real) if state is None else state.contiguous().numpy()
    outputs = _matrix(y, M), after.numpy(), checkpoints.numpy()
    arrays = _matrix(rows(x), M), start, numbers(params, real), *outputs
    wrong = share(functools.partial(function, *arrays, every), T, M)
    return y, after, checkpoints, not any(wrong)


def _forward_in_pieces(
    kernel: Kernel, x: Tensor, state: Tensor | None, params: Sequence[Tensor], every: int
) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Run inputs of half precision, widened a piece of time after another."""
    S, M = len(kernel.neuron.states), x.numel() // len(x)
    y, checkpoints = empty(x.shape, x.dtype), empty((-(-len(x) // every), S, M), torch.float32)
    finite, after = True, state
    for steps, stretches in _pieces(len(x), M, every):
        y[steps], after, checkpoints[stretches], fine = _forward(kernel, _widened(x[steps]), after, params, every)
        finite = finite and fine
    assert after is not None
    return y, after, checkpoints, finite


def backward(
    kernel: Kernel,
    x: Tensor,
    checkpoints: Tensor,
    params: Sequence[Tensor],
    grads: tuple[Tensor, Tensor | None],
    every: int,
    wanted: tuple[bool, ...],
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a neuron backward over time, outside autograd.

    Args:
        kernel, x, checkpoints, params, every: as in `forward`.
        grads: gradient of the output [T, …] and of the last states [S, M]; None for zeros.
        wanted: which parameters need a gradient.
    Returns:
        Gradients of the input [T, …], of the first states [S, M], of the wanted parameters [P, M].
    """
    if x.dtype in _HALF:
        return _backward_in_pieces(kernel, x, checkpoints, params, grads, every, wanted)
    (S, M), real = checkpoints.shape[1:], precision(x)
    function = compiled(kernel, real, wanted, shared(params, M))
    grad_x, before = empty(x.shape, x.dtype), empty((S, M), x.dtype)
    totals = torch.zeros((sum(wanted), M), dtype=x.dtype)
    last = _zeros(S, real) if grads[1] is None else grads[1].contiguous().numpy()
    inputs = _matrix(rows(x), M), checkpoints.numpy(), numbers(params, real), _slope(kernel, real)
    arrays = *inputs, _matrix(rows(grads[0]), M), last, _matrix(grad_x, M), before.numpy(), totals.numpy()
    share(functools.partial(function, *arrays, every), len(x), M)
    return grad_x, before, totals


def _backward_in_pieces(
    kernel: Kernel,
    x: Tensor,
    checkpoints: Tensor,
    params: Sequence[Tensor],
    grads: tuple[Tensor, Tensor | None],
    every: int,
    wanted: tuple[bool, ...],
) -> tuple[Tensor, Tensor, Tensor]:
    """Run inputs of half precision, widened a piece of time after another, the last one first."""
    grad_x, (grad_y, before) = empty(x.shape, x.dtype), grads
    totals = checkpoints.new_zeros((sum(wanted), checkpoints.shape[2]))
    for steps, stretches in reversed(_pieces(len(x), checkpoints.shape[2], every)):
        upstream = _widened(grad_y[steps]), before
        found = backward(kernel, _widened(x[steps]), checkpoints[stretches], params, upstream, every, wanted)
        grad_x[steps], before = found[:2]
        totals += found[2]
    assert before is not None
    return grad_x, before, totals


def stepper(kernel: Kernel, params: Sequence[Tensor]) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Return a function that runs a neuron for one step, on numpy's arrays and with little around the kernel.

    It takes input [M] and states [S, M], float32, and returns output and states of the same shapes; `params` are as in
    `forward`.
    """
    function = compiled(kernel, "float32", None, all(p.numel() == 1 for p in params))
    vectors = numbers([p.float() for p in params], "float32")

    def step(x: Any, state: Any) -> tuple[Any, Any]:
        y, after = np.empty_like(x), np.empty_like(state)
        function(x[None], state, vectors, y[None], after, np.empty((1, *state.shape), state.dtype), 1, 0, len(x))
        return y, after

    return step


@functools.cache
def compiled(kernel: Kernel, real: str, wanted: tuple[bool, ...] | None, shared: bool = False) -> Callable[..., int]:
    """Return the function of a kernel, forward or, with `wanted`, backward; arguments as in `cpu_source.source`."""
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
    return neurons > 1 and all(p.numel() == 1 for p in params)


def numbers(params: Sequence[Tensor], real: str) -> tuple[Any, ...]:
    """Return parameters as vectors of numpy; a kernel that has none takes a number that it does not read."""
    return tuple(p.contiguous().numpy().reshape(-1) for p in params) or (np.zeros(1, real),)


@functools.cache
def _fresh(kernel: Kernel, real: str) -> np.ndarray:
    """Return the states before the first step, [S, 1] for all neurons."""
    return np.array([*kernel.neuron.states.values()], dtype=real).reshape(-1, 1)


@functools.cache
def _zeros(states: int, real: str) -> np.ndarray:
    return np.zeros((states, 1), dtype=real)


@functools.cache
def _slope(kernel: Kernel, real: str) -> np.ndarray:
    """Return the parameters of a kernel's surrogate; one that has none takes a number that it does not read."""
    return np.array([*kernel.surrogate.params.values()] or [0.0], dtype=real)


def _widened(x: Tensor) -> Tensor:
    """Return a piece [T, …] in float32; one row is enough where the time axis is expanded."""
    return rows(x).float().expand(x.shape)


def _matrix(x: Tensor, M: int) -> np.ndarray:
    """Return contiguous rows [T, …] as [T, M]."""
    return x.numpy().reshape(-1, M)


def _pieces(T: int, M: int, every: int) -> list[tuple[slice, slice]]:
    """Return pieces of time for half precision, which has to be widened: their steps, and their checkpoints."""
    count = max(1, _CHUNK // max(1, M * every))
    return [(slice(k * every, (k + count) * every), slice(k, k + count)) for k in range(0, -(-T // every), count)]


def share(run: Callable[[int, int], int], T: int, M: int) -> list[int]:
    """Run a kernel over all neurons, split between threads where there is enough to do; return what it returns."""
    return split(run, M, most=1 if T * M <= _SMALL else None, grain=64, piece=BLOCK)


def check_outcome(kernel: Kernel, x: Tensor, state: Tensor | None, *, finite: bool) -> None:
    """Raise InputError where the states after a run are not finite, naming what was not from the start."""
    if not finite and check_finite():
        raise InputError(_not_finite(kernel, x, state))


def _not_finite(kernel: Kernel, x: Tensor, state: Tensor | None) -> str:
    for name, tensor in (("input", x), ("start state", state)):
        bad = torch.zeros(()) if tensor is None else ~torch.isfinite(tensor)
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
