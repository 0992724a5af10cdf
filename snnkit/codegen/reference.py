"""The reference backend: the equations in plain torch, a step at a time. It defines what a neuron means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from snnkit.codegen.kernel import Kernel
from snnkit.neuron.expression import Call, Expression, Name, Number
from snnkit.neuron.surrogate import Surrogate


def _indicator(compare: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: compare(a, b).to(a.dtype)


OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "atan": torch.atan,
    "erf": torch.erf,
    "sign": torch.sign,
    "floor": torch.floor,
    "max": lambda a, b: torch.where(a >= b, a, b),
    "min": lambda a, b: torch.where(a <= b, a, b),
    "where": lambda c, a, b: torch.where(c != 0, a, b),
    "ge": _indicator(torch.ge),
    "gt": _indicator(torch.gt),
    "le": _indicator(torch.le),
    "lt": _indicator(torch.lt),
}
"""What each operation means."""


def evaluate(expression: Expression, values: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """Return the value of an expression; `like` gives type and device to its numbers."""
    match expression:
        case Name(name):
            return values[name]
        case Number(value):
            return torch.full((), value, dtype=like.dtype, device=like.device)
        case Call(function, arguments):
            return OPERATIONS[function](*(evaluate(argument, values, like) for argument in arguments))
    raise TypeError(expression)


class _Spike(torch.autograd.Function):
    """The step function, or its smooth twin, with the surrogate's derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, surrogate: Surrogate, smooth: bool) -> Tensor:
        if smooth:
            return evaluate(surrogate.equations[1], {"z": z, **_constants(surrogate, z)}, z)
        return (z >= 0).to(z.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])
        ctx.surrogate = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * _slope(ctx), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        return tangents[0] * _slope(ctx)


def _slope(ctx: Any) -> Tensor:
    (z,) = ctx.saved_tensors
    return evaluate(ctx.surrogate.equations[0], {"z": z, **_constants(ctx.surrogate, z)}, z)


def forward(
    kernel: Kernel,
    x: Tensor,
    state: Tensor,
    params: Sequence[Tensor],
    *,
    smooth: bool = False,
    reset_spikes: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a neuron over time.

    Args:
        kernel: what to run.
        x: input [T, M].
        state: states before the first step [S, M].
        params: one tensor per parameter, of one element or of a divisor of M.
        smooth: whether the spike is the surrogate's primitive, so that finite differences see the gradient.
        reset_spikes: what the reset reads in place of the spike [T, M]; the twin of a detached reset.
    Returns:
        Output [T, M], states after the last step [S, M], states before every step [T, S, M].
    """
    step, spike = kernel.step, kernel.neuron.spike or ()
    wide = state.dtype
    fixed = {
        name: p.reshape(-1).repeat(state.shape[1] // p.numel()) for name, p in zip(step.params, params, strict=True)
    }
    values = list(state.unbind(0))
    outputs, trace = [], []
    for t, x_t in enumerate(x.to(wide).unbind(0)):
        trace.append(torch.stack(values))
        scope = {"x": x_t, **fixed, **dict(zip(step.before, values, strict=True))}
        for line in step.body:
            if line.target == step.spike and isinstance(line.expression, Call):
                distances = [evaluate(argument, scope, x_t) for argument in line.expression.arguments]
                fired = [_Spike.apply(z, kernel.surrogate, smooth) for z in distances]
                scope[line.target] = fired[0] if len(spike) == 1 else torch.stack(fired).sum(0)
            elif line.target == step.held:
                scope[line.target] = _held(scope[str(step.spike)], kernel, reset_spikes, t)
            else:
                scope[line.target] = evaluate(line.expression, scope, x_t)
        outputs.append(scope[step.output].expand_as(x_t))
        values = [scope[name].expand_as(x_t) for name in step.after]
    return torch.stack(outputs).to(x.dtype), torch.stack(values), torch.stack(trace).detach()


def _held(spike: Tensor, kernel: Kernel, reset_spikes: Tensor | None, t: int) -> Tensor:
    if reset_spikes is not None:
        return reset_spikes[t]
    return spike.detach() if kernel.detach_reset else spike


def _constants(surrogate: Surrogate, like: Tensor) -> dict[str, Tensor]:
    return {name: torch.full_like(like, value) for name, value in surrogate.params.items()}
