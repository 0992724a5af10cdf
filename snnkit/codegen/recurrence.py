"""A neuron whose output comes back through weights a step later, over time on the CPU in one operation.

The steps have to follow each other, but nothing else has to: no graph is built for each of them, their inputs and a
few states are kept, and the gradient of the weights is one product over all steps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from snnkit.codegen import cpu
from snnkit.codegen.kernel import Kernel
from snnkit.codegen.operators import check_outcome, sums


def run(
    kernel: Kernel, x: Tensor, connection: tuple[Any, Any], start: tuple[Tensor, Tensor], params: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Run a neuron that hears its own last output.

    Args:
        kernel: what to run.
        x: input [T, B, N], fp32 or fp64.
        connection: weights [N, N] and bias [N] or None, from output to input.
        start: the output before the first step [B, N], and the states [S, B * N].
        params: as for `cpu.forward`.
    Returns:
        Output [T, B, N], and states after the last step [S, B * N].
    """
    wanted = tuple(int(p.requires_grad) for p in params)
    return _Recurrence.apply(x, *connection, *start, kernel, wanted, *params)


class _Recurrence(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Any:
        output, state, kernel, wanted, *params = rest
        T, B, N = x.shape
        every = max(1, math.isqrt(T))
        inputs, y = torch.empty_like(x, memory_format=torch.contiguous_format), torch.empty((T, B, N), dtype=x.dtype)
        saved = state.new_empty((-(-T // every), *state.shape))
        step = _Stepper(kernel, params, state)
        now, last = state.contiguous(), output
        for t, (given, a, out) in enumerate(zip(x.unbind(0), inputs.unbind(0), y.unbind(0), strict=True)):
            if t % every == 0:
                saved[t // every] = now
            torch.add(given, linear(last, weight, bias), out=a)
            now, last = step.forward(a, now, out), out
        check_outcome(kernel, x.flatten(1), state, now)
        ctx.kernel, ctx.wanted, ctx.every = kernel, wanted, every
        ctx.save_for_backward(inputs, y, weight, output, saved, *params)
        ctx.has_bias = bias is not None
        ctx.set_materialize_grads(False)
        return y, now

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        inputs, y, weight, output, saved, *params = ctx.saved_tensors
        T, B, N = inputs.shape
        outer = torch.zeros(()).expand(T, B, N) if grads[0] is None else grads[0]
        grad_state = torch.zeros_like(saved[0]) if grads[1] is None else grads[1].contiguous()
        grad_inputs = torch.empty_like(inputs)
        step = _Stepper(ctx.kernel, params, grad_state, ctx.wanted)
        back = torch.zeros((B, N), dtype=inputs.dtype)
        for first in range((T - 1) // ctx.every * ctx.every, -1, -ctx.every):
            states = _states(ctx.kernel, inputs[first : first + ctx.every], saved[first // ctx.every], params)
            for t in range(min(T, first + ctx.every) - 1, first - 1, -1):
                upstream = torch.add(outer[t], back)
                grad_state = step.backward(inputs[t], states[t - first], upstream, grad_state, grad_inputs[t])
                back = grad_inputs[t] @ weight
        before = torch.cat([output.unsqueeze(0), y[:-1]]).flatten(0, 1)
        rows = grad_inputs.flatten(0, 1)
        grad_weight = rows.t() @ before if ctx.needs_input_grad[1] else None
        grad_bias = rows.sum(0) if ctx.has_bias and ctx.needs_input_grad[2] else None
        found = grad_inputs, grad_weight, grad_bias, back, grad_state
        return *found, None, None, *sums(step.totals, params, ctx.wanted)


class _Stepper:
    """A kernel taken one step at a time, forward or backward, with what its calls share."""

    def __init__(
        self, kernel: Kernel, params: Sequence[Tensor], state: Tensor, wanted: Sequence[int] | None = None
    ) -> None:
        self.real = cpu.precision(state)
        self.flags = None if wanted is None else tuple(bool(flag) for flag in wanted)
        self.function = cpu.compiled(kernel, self.real, self.flags)
        self.vectors = cpu.numbers(params, self.real)
        self.surrogate = np.array(list(kernel.surrogate.params.values()) or [0.0], dtype=self.real)
        self.totals = state.new_zeros((sum(wanted or ()), state.shape[1]))
        self.unused = np.empty((1, *state.shape), self.real)

    def forward(self, a: Tensor, state: Tensor, out: Tensor) -> Tensor:
        """Write the output of inputs [B, N] from states [S, B * N] to `out`; return the states after the step."""
        after = torch.empty_like(state)
        arrays = _row(a), state.numpy(), self.vectors, _row(out), after.numpy(), self.unused, 1
        cpu.share(functools.partial(self.function, *arrays), 1, state.shape[1])
        return after

    def backward(self, a: Tensor, state: Tensor, grad: Tensor, grad_state: Tensor, out: Tensor) -> Tensor:
        """Write the gradient of inputs [B, N] to `out`; return that of the states before the step."""
        before = torch.empty_like(grad_state)
        arrays = [_row(a), state.numpy()[None], self.vectors, self.surrogate, _row(grad), grad_state.numpy()]
        arrays += [_row(out), before.numpy(), self.totals.numpy(), 1]
        cpu.share(functools.partial(self.function, *arrays), 1, state.shape[1])
        return before


def _states(kernel: Kernel, inputs: Tensor, state: Tensor, params: Sequence[Tensor]) -> Tensor:
    """Return the states before each of some steps [steps, S, B * N] whose inputs [steps, B, N] are known."""
    return cpu.forward(kernel, inputs.flatten(1), state, params, 1)[2]


def _row(x: Tensor) -> np.ndarray:
    return x.numpy().reshape(1, -1)
