"""A neuron that hears its own output a step later, or later still, over time on the CPU in one operation.

The steps have to follow each other, but nothing else has to: no graph is built for each of them, and their inputs and
a few states are kept. The connection learns from one pass over all outputs, which are known by then, as if it led
from another layer; only what flows back through the outputs themselves takes the steps again, last one first.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from snnkit.codegen import cpu
from snnkit.codegen.kernel import Kernel
from snnkit.codegen.operators import sums

Step = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class Feedback:
    """A connection from a layer's output to its input.

    Args:
        forward: makes, for a number of steps, the function from a step and the output before it to what that step
            hears; it is called for every step in turn.
        backward: the same with time reversed: from a step, counted from the last, and the gradient of what it hears
            to the gradient of the output before it.
        whole: from the outputs before all steps to what the steps hear, with gradients.
    """

    forward: Callable[[int], Step]
    backward: Callable[[int], Step]
    whole: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Record:
    """What is kept of a run beside its input and some of its states."""

    kernel: Kernel
    feedback: Feedback
    every: int
    ends: Tensor | None


def run(
    kernel: Kernel,
    x: Tensor,
    *,
    feedback: Feedback,
    start: tuple[Tensor, Tensor],
    params: Sequence[Tensor],
    ends: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run a neuron that hears its own output.

    Args:
        kernel: what to run.
        x: input [T, …], fp32 or fp64, of M neurons in all samples.
        feedback: the connection from output to input.
        start: the output before the first step […], and the states [S, M].
        params: as for `cpu.forward`.
        ends: for every neuron, the steps after which its state is asked for […]; T unless given.
    Returns:
        Output [T, …], and states at the ends [S, M].
    """
    output, state = start
    with torch.no_grad():
        every = max(1, math.isqrt(len(x)))
        record = _Record(kernel, feedback, every, ends)
        y, after, *kept = _forward(record, x, start, params)
    if not torch.is_grad_enabled():
        return y, after
    heard = feedback.whole(torch.cat([output.unsqueeze(0), y[:-1]]))
    return _Recurrence.apply(x, heard, state, (y, after, *kept), record, *params)


def _forward(
    record: _Record, x: Tensor, start: tuple[Tensor, Tensor], params: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the output, the states at the ends, the inputs of all steps, and the states before every few."""
    last, state = start
    T, M, kernel = len(x), state.shape[1], record.kernel
    inputs, y = (torch.empty(x.shape, dtype=x.dtype) for _ in range(2))
    saved, now = state.new_empty((-(-T // record.every), *state.shape)), torch.stack([state, state])
    step, hear, after = _stepper(kernel, params, state), record.feedback.forward(T), state
    a_rows, y_rows, states = inputs.view(T, M).numpy(), y.view(T, M).numpy(), now.numpy()
    unused, finished = np.empty((1, *state.shape), states.dtype), _finished(record.ends, T)
    for t, (given, a) in enumerate(zip(x.unbind(0), inputs.unbind(0), strict=True)):
        if t % record.every == 0:
            saved[t // record.every] = now[t % 2]
        torch.add(given, hear(t, last), out=a)
        step(a_rows[t : t + 1], states[t % 2], y_rows[t : t + 1], states[(t + 1) % 2], unused, 1)
        last = y[t]
        if t + 1 in finished:
            after = torch.where(finished[t + 1], now[(t + 1) % 2], after)
    cpu.check_outcome(kernel, x, state, finite=bool(torch.isfinite(after).all()))
    return y, after, inputs, saved


class _Recurrence(Function):
    """The gradients of a run that is done: those of the input, of what was heard, of first states and parameters."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, heard: Tensor, state: Tensor, outcome: Any, record: _Record, *params: Any) -> Any:
        y, after, *kept = outcome
        ctx.record = record
        ctx.save_for_backward(*kept, *params)
        ctx.set_materialize_grads(False)
        return y, after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        inputs, saved, *params = ctx.saved_tensors
        wanted = ctx.needs_input_grad[5:]
        grad_y = inputs.new_zeros(()).expand(inputs.shape) if grads[0] is None else grads[0]
        grad_after = torch.zeros_like(saved[0]) if grads[1] is None else grads[1]
        grad_inputs, grad_state, totals = _backward(ctx.record, (inputs, saved), params, (grad_y, grad_after), wanted)
        return grad_inputs, grad_inputs, grad_state, None, None, *sums(totals, params, wanted)


def _backward(
    record: _Record,
    kept: tuple[Tensor, Tensor],
    params: Sequence[Tensor],
    grads: tuple[Tensor, Tensor],
    wanted: tuple[bool, ...],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the inputs of all steps, of the first states, and of the parameters of every neuron."""
    (inputs, saved), (grad_y, grad_after), every = kept, grads, record.every
    T, M = len(inputs), grad_after.shape[1]
    grad_inputs, upstream = torch.empty_like(inputs), torch.empty_like(inputs[0])
    totals, flow = saved.new_zeros((sum(wanted), M)), saved.new_zeros((2, *grad_after.shape))
    step, hear = _stepper(record.kernel, params, grad_after, wanted), record.feedback.backward(T)
    a_rows, out_rows, up = (a.view(-1, M).numpy() for a in (inputs, grad_inputs, upstream))
    flows, parts, finished = flow.numpy(), totals.numpy(), _finished(record.ends, T)
    back = torch.zeros_like(upstream)
    for first in range((T - 1) // every * every, -1, -every):
        stretch = inputs[first : first + every]
        states = cpu.forward(record.kernel, stretch, saved[first // every], params, 1)[2].numpy()
        for t in range(first + len(stretch) - 1, first - 1, -1):
            now, before = t % 2, (t + 1) % 2
            if t + 1 in finished:
                flow[now] = torch.where(finished[t + 1], grad_after, flow[now])
            torch.add(grad_y[t], back, out=upstream)
            state = states[t - first : t - first + 1]
            step(a_rows[t : t + 1], state, up, flows[now], out_rows[t : t + 1], flows[before], parts, 1)
            back = hear(T - 1 - t, grad_inputs[t])
    return grad_inputs, flow[1], totals


def _stepper(
    kernel: Kernel, params: Sequence[Tensor], state: Tensor, wanted: tuple[bool, ...] | None = None
) -> Callable[..., None]:
    """Return a kernel as a function of the arrays that differ between steps; without `wanted` the forward one."""
    real, neurons = cpu.precision(state), state.shape[1]
    vectors = cpu.numbers(params, real)
    function = cpu.compiled(kernel, real, wanted, cpu.shared(params, neurons))
    fixed: tuple[Any, ...] = (vectors,)
    if wanted is not None:
        fixed += (np.array(list(kernel.surrogate.params.values()) or [0.0], dtype=real),)

    def step(inputs: np.ndarray, state: np.ndarray, *others: Any) -> None:
        cpu.share(functools.partial(function, inputs, state, *fixed, *others), 1, neurons)

    return step


def _finished(ends: Tensor | None, steps: int) -> dict[int, Tensor]:
    """Return, by the number of steps done, which neurons [M] have come to their end."""
    if ends is None:
        return {steps: torch.ones((), dtype=torch.bool)}
    return {end: (ends == end).reshape(-1) for end in ends.unique().tolist()}
