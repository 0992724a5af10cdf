"""The one suite that every neuron, surrogate and backend passes; a new neuron joins by being in the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import snnkit
from snnkit.codegen import reference
from snnkit.codegen.kernel import Kernel
from snnkit.neuron import FAMILIES, Neuron, Surrogate, surrogate, variants
from snnkit.neuron.expression import Call, Expression

TRANSCENDENTAL = {"exp", "log", "sin", "cos", "tanh", "atan", "erf"}
"""Operations whose last bit differs between mathematical libraries; everything else is exact."""

SHAPES = [(T, B, N) for T in (1, 7, 100) for B, N in ((1, 1), (3, 63), (2, 500))]

STEP_ERROR = {torch.float32: 2e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10, torch.float64: 1e-12}
"""Relative spacing of each type, or a few of them where sums are long."""


@dataclass(frozen=True)
class Case:
    """One neuron with one surrogate and one way to treat the reset."""

    neuron: Neuron
    surrogate: Surrogate
    detach_reset: bool
    label: str


def catalogue() -> Iterator[tuple[str, Neuron]]:
    """Yield every variant of every neuron of the package with a readable label."""
    for name, family in FAMILIES.items():
        for options, neuron in variants(family):
            text = ",".join(str(v) if isinstance(v, str) else k for k, v in options.items() if v)
            yield f"{name}({text})", neuron


def cases() -> list[Case]:
    """Return neuron x surrogate x {hard, soft reset} x {detached, not}.

    A readout has neither spike nor reset. The other form of the input's decay runs with one surrogate.
    """
    found = []
    for label, neuron in catalogue():
        several = neuron.spiking and not (label.startswith(("LIF", "PLIF", "Cuba")) and "input_decay" in label)
        for name, make in surrogate.SURROGATES.items() if several else [("atan", surrogate.atan)]:
            for detach in (True, False) if neuron.spiking else (True,):
                text = f"{label}-{name}-{'detached' if detach else 'attached'}"
                found.append(Case(neuron, make(), detach, text))
    return found


def mixed(case: Case) -> bool:
    """Return whether a case has parameters of one value per neuron; where all are numbers, another kernel runs."""
    return len(case.label) % 2 == 0


def drive(neuron: Neuron, shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return an input that makes the neuron fire now and then, for any neuron in the units of its threshold."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(shape, generator=generator)
    scale = neuron.params["theta"].default if "theta" in neuron.params else 1.0
    return ((0.4 + 0.6 * noise) * scale if scale < 10 else 8.0 + 6.0 * noise).to(dtype)


def check_backend(case: Case, backend: str, dtype: torch.dtype, shape: tuple[int, int, int], seed: int = 0) -> None:
    """Compare outputs, final state and every gradient of a backend with the reference."""
    device = "cuda" if backend == "cuda" else "cpu"
    expected = _run(case, "reference", dtype, shape, seed, "cpu")
    found = _run(case, backend, dtype, shape, seed, device)
    exact = not uses(case.neuron, TRANSCENDENTAL)
    magnitude = max(1.0, *(float(v.abs().max()) for name, v in expected.items() if name.startswith("state")))
    for name, value in expected.items():
        other = found[name].cpu()
        assert other.dtype == value.dtype and other.shape == value.shape, name
        if exact and not name.startswith("grad"):
            assert torch.equal(other, value), f"{name}: {int((other != value).sum())} of {value.numel()} differ"
            continue
        kind = value.dtype if name in ("output", "grad input") else torch.float32
        # A gradient may be too large for half precision; it is so in both.
        finite = value.isfinite()
        assert torch.equal(other.isfinite(), finite), f"{name} is infinite in other places"
        # A sum over time keeps the rounding of its terms, which are of the order of the states, where they cancel.
        size = max(float(value[finite].abs().max()), magnitude)
        error = _apart(other, value, finite) / size
        # Where the last bit of a function differs, the sums that a gradient is made of start from other terms.
        steps = 8 if exact else 64
        if error <= steps * STEP_ERROR[kind]:
            continue
        # Long sums of large terms that cancel: both round, and the backend may be no worse than the reference.
        truth = _run(case, "reference", dtype, shape, seed, "cpu", wider=True)[name]
        ours, theirs = (_apart(v, truth, finite) / size for v in (other, value))
        assert ours <= 4 * theirs, f"{name} is off by {ours:.1e} of its largest value, the reference by {theirs:.1e}"


def _apart(a: Tensor, b: Tensor, where: Tensor) -> float:
    return float((a[where].double() - b[where].double()).abs().max())


def _run(
    case: Case,
    backend: str,
    dtype: torch.dtype,
    shape: tuple[int, int, int],
    seed: int,
    device: str,
    wider: bool = False,
) -> dict[str, Tensor]:
    """Return everything that comes out of a run; `wider` computes it in float64 from the same numbers."""
    _, B, N = shape
    generator = torch.Generator().manual_seed(seed + 1)
    params: dict[str, Any] = {}
    for name, p in case.neuron.params.items():
        spread = 1 + 0.05 * torch.rand(N, generator=generator)
        several = mixed(case) and len(name) % 2 == 1
        params[name] = (torch.tensor(p.default) * spread).clamp(p.low, p.high) if several else p.default
    layer = snnkit.Spiking(
        case.neuron,
        learn=tuple(case.neuron.params),
        surrogate=case.surrogate,
        detach_reset=case.detach_reset,
        backend=backend,
        **params,
    ).to(device)
    wide = torch.float64 if wider or dtype == torch.float64 else torch.float32
    inner = torch.float64 if wider else dtype
    x = drive(case.neuron, shape, seed, dtype).to(device, inner).requires_grad_()
    start = {
        name: (value + 0.1 * torch.rand(B, N, generator=generator)).to(device, wide).requires_grad_()
        for name, value in case.neuron.states.items()
    }
    y, after = layer.run(x, start)
    upstream = torch.randn(shape, generator=generator).to(dtype).to(device, inner)
    last = [torch.randn(B, N, generator=generator).to(device, wide) for _ in after]
    torch.autograd.backward([y, *after.values()], [upstream, *last])
    result = {"output": y.detach(), **{f"state {k}": v.detach() for k, v in after.items()}}
    result["grad input"] = x.grad if x.grad is not None else torch.zeros_like(x)
    for name, value in start.items():
        result[f"grad state {name}"] = value.grad if value.grad is not None else torch.zeros_like(value)
    for name, value in layer.named_parameters():
        result[f"grad {name}"] = value.grad if value.grad is not None else torch.zeros_like(value)
    return result


def uses(neuron: Neuron, operations: set[str]) -> bool:
    """Return whether any equation of a neuron uses one of these operations."""

    def found(expression: Expression) -> bool:
        if not isinstance(expression, Call):
            return False
        return expression.function in operations or any(found(argument) for argument in expression.arguments)

    equations = neuron.equations
    return any(found(e) for e in [e for _, e in equations.update + equations.reset] + list(equations.spike))


def check_finite_differences(case: Case, seed: int = 0, T: int = 7, M: int = 6) -> None:
    """Compare the reference's gradients with finite differences of its smooth twin, in float64."""
    kernel = Kernel(case.neuron, case.surrogate, case.detach_reset)
    generator = torch.Generator().manual_seed(seed)
    x = drive(case.neuron, (T, M), seed, torch.float64)
    state = torch.stack([torch.full((M,), v, dtype=torch.float64) for v in case.neuron.states.values()])
    state = state + 0.1 * torch.rand(state.shape, generator=generator, dtype=torch.float64)
    params = [torch.tensor([inside(p)], dtype=torch.float64) for p in case.neuron.params.values()]
    inputs = [x, state, *params]
    weights = [
        torch.randn(T, M, generator=generator, dtype=torch.float64),
        torch.randn(state.shape, generator=generator),
    ]

    def loss(values: list[Tensor], frozen: Tensor | None) -> Tensor:
        y, after, _ = reference.forward(
            kernel, values[0], values[1], values[2:], smooth=True, reset_spikes=frozen if case.detach_reset else None
        )
        return (y * weights[0]).sum() + (after * weights[1]).sum()

    with torch.no_grad():
        frozen = reference.forward(kernel, *inputs[:2], inputs[2:], smooth=True)[0]
    leaves = [value.clone().requires_grad_() for value in inputs]
    grads = torch.autograd.grad(loss(leaves, None), leaves, allow_unused=True)
    for k, value in enumerate(inputs):
        direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        epsilon = 1e-6
        with torch.no_grad():
            pair = [
                loss([v + sign * epsilon * direction if j == k else v for j, v in enumerate(inputs)], frozen)
                for sign in (1, -1)
            ]
        numeric = float(pair[0] - pair[1]) / (2 * epsilon)
        analytic = float((grads[k] * direction).sum()) if grads[k] is not None else 0.0
        scale = max(abs(numeric), abs(analytic), 1.0)
        assert abs(numeric - analytic) <= 2e-5 * scale, f"input {k}: {analytic} by autograd, {numeric} by differences"


def inside(p: Any) -> float:
    """Return a parameter's default, moved off its bounds so that it can be varied both ways."""
    return p.default + 0.01 if p.default <= p.low else p.default - 0.01 if p.default >= p.high else p.default
