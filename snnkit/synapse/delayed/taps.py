"""Delayed sums by the lags alone: compiled kernels with their gradients, as one operator of torch."""

# Annotations stay objects here: torch reads the operators' schema from them.

import importlib
from typing import Any

import torch
from torch import Tensor

from snnkit.codegen.backends import cupy_found
from snnkit.synapse.delayed.problem import Problem

_RATE = {"cpu": 5.5e10, "cuda": 6e12}
"""Floating-point operations a second of the tap kernels, on one thread or one GPU."""

_MOVED = 4e-9
"""Seconds for a value to be brought into the kernels' layout and back, on one thread."""

_ADDED = 1.2e-9
"""Seconds for a spike to be added to one output, on one thread."""


def _kernels(x: Tensor) -> Any:
    return importlib.import_module(f"snnkit.synapse.delayed.{x.device.type}")


@torch.library.custom_op("snnkit::delayed", mutates_args=())
def kernel(x: Tensor, coefs: Tensor, lags: Tensor, past: int, reach: int, live: int, size: int) -> Tensor:
    """Return the sum over the taps that have weight: those whose place in a group of `size` is a bit of `live`."""
    chosen = _live(live, size, coefs.shape[3])
    return _kernels(x).forward(x, coefs[..., chosen], lags[..., chosen], past, reach)


@kernel.register_fake
def _(x: Tensor, coefs: Tensor, lags: Tensor, past: int, reach: int, live: int, size: int) -> Tensor:
    return x.new_empty((x.shape[0] - past, x.shape[1], coefs.shape[0] * coefs.shape[1]))


@torch.library.custom_op("snnkit::delayed_backward_input", mutates_args=())
def backward_input(grad: Tensor, coefs: Tensor, lags: Tensor, past: int, reach: int, live: int, size: int) -> Tensor:
    """Return the input's gradient."""
    chosen = _live(live, size, coefs.shape[3])
    return _kernels(grad).backward_input(grad, coefs[..., chosen], lags[..., chosen], past, reach)


@backward_input.register_fake
def _(grad: Tensor, coefs: Tensor, lags: Tensor, past: int, reach: int, live: int, size: int) -> Tensor:
    return grad.new_empty((past + grad.shape[0], grad.shape[1], coefs.shape[0] * coefs.shape[2]))


@torch.library.custom_op("snnkit::delayed_backward_coefs", mutates_args=())
def backward_coefs(grad: Tensor, x: Tensor, lags: Tensor, past: int, reach: int) -> Tensor:
    """Return the gradient of the coefficients."""
    return _kernels(x).backward_coefs(grad, x, lags, past, reach)


@backward_coefs.register_fake
def _(grad: Tensor, x: Tensor, lags: Tensor, past: int, reach: int) -> Tensor:
    return x.new_empty(lags.shape)


def _live(live: int, size: int, taps: int) -> list[int] | slice:
    """Return which taps have weight; all of them as a slice, which copies nothing."""
    if live + 1 == 1 << size:
        return slice(None)
    return [k for k in range(taps) if live >> (k % size) & 1]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, coefs, lags, *ctx.facts = inputs
    ctx.save_for_backward(x, coefs, lags)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, coefs, lags = ctx.saved_tensors
    past, reach, live, size = ctx.facts
    need_x, need_coefs = ctx.needs_input_grad[:2]
    grad_x = backward_input(grad, coefs, lags, past, reach, live, size) if need_x else None
    grad_coefs = backward_coefs(grad, x, lags, past, reach) if need_coefs else None
    return grad_x, grad_coefs, None, None, None, None, None


kernel.register_autograd(_differentiate, setup_context=_setup)


def run(problem: Problem) -> Tensor:
    """Return the sum, with gradients."""
    coefs, lags = problem.coefs()
    size = problem.taps.lags.shape[-1]
    live = sum(1 << k for k in range(*problem.taps.live.indices(size)))
    # The kernels compute in the type of x; half precision is widened.
    wide = torch.promote_types(problem.x.dtype, torch.float32)
    y = kernel(problem.x.to(wide), coefs.to(wide), lags, problem.past, problem.reach, live, size)
    return y.to(problem.x.dtype)


def cost(problem: Problem) -> float | None:
    device = problem.x.device.type
    if device not in _RATE or (device == "cuda" and (not cupy_found() or problem.x.dtype == torch.float64)):
        return None
    moved = (problem.x.numel() + problem.steps * problem.x.shape[1] * problem.weight.shape[:2].numel()) * _MOVED
    return 2 * problem.products * problem.live / _RATE[device] + (moved if device == "cpu" else 0.0)


def run_events(problem: Problem) -> Tensor:
    """Return the sum, spike by spike, without gradients."""
    coefs, lags = problem.coefs()
    wide = torch.promote_types(problem.x.dtype, torch.float32)
    arguments = problem.x.to(wide), coefs[0, :, :, 0].to(wide), lags[0, :, :, 0], problem.past, problem.reach
    return _kernels(problem.x).events(*arguments).to(problem.x.dtype)


def events_cost(problem: Problem) -> float | None:
    """Count the spikes, and return None where the method does not apply; a compiler cannot count them."""
    x = problem.x
    if torch.compiler.is_compiling():
        return None
    taps = problem.weight.shape[0] * problem.weight.shape[3] * problem.taps.lags.shape[-1]
    if problem.learning or x.device.type != "cpu" or taps != 1:
        return None
    seconds = int(torch.count_nonzero(x)) * problem.weight.shape[1] * _ADDED + x.numel() * _MOVED
    return seconds if bool(((x == 0) | (x == 1)).all()) else None
