"""Compare a layer with the same neuron in another framework: equal spikes, equal states, equal gradients.

In float32 a pair's two texts are evaluated in the same order, so outputs and states have to be bit-equal. Where the
orders differ by a rounding (a library's `exp`, `beta * v` against `v - v / tau`), the pair runs in float64: spikes
have to be equal, which fails only for a membrane within some 1e-15 of its threshold, and states agree to 1e-11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import snnkit
from snnkit import Spiking
from snnkit.neuron import Neuron, Surrogate, surrogate

STEPS, BATCH, WIDTH = 60, 3, 17
SEEDS = (0, 1, 2)
BACKENDS = ("cpu", "reference")


@dataclass(frozen=True)
class Theirs:
    """What a peer made of an input.

    Args:
        outputs: [T, B, N].
        after: states after the last step [B, N], under our names.
        learnt: our parameter to the peer's tensor, and to the derivative of theirs by ours.
    """

    outputs: Tensor
    after: Mapping[str, Tensor] = field(default_factory=dict)
    learnt: Mapping[str, tuple[Tensor, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """One of our neurons and one of theirs that have to agree.

    Args:
        neuron, values, surrogate, detach_reset: our layer.
        peer: takes an input [T, B, N] and start states [B, N] under our names.
        dtype: float32 where the texts have the same order, else float64.
        drive: mean and deviation of the input.
        still: states that start at their start value; the others start a little above it.
        gradients: whether the peer's backward pass is meant to be ours.
    """

    neuron: Neuron
    peer: Callable[[Tensor, dict[str, Tensor]], Theirs]
    values: Mapping[str, float] = field(default_factory=dict)
    surrogate: Surrogate = field(default_factory=surrogate.atan)
    detach_reset: bool = True
    dtype: torch.dtype = torch.float32
    drive: tuple[float, float] = (0.5, 0.7)
    still: tuple[str, ...] = ()
    gradients: bool = True


def check(pair: Pair) -> None:
    """Run both sides of a pair on random inputs and compare all that they have in common."""
    for seed in SEEDS:
        x, start = _inputs(pair, seed)
        theirs = pair.peer(x, start)
        rate = float((theirs.outputs != 0).double().mean())
        assert 0.02 < rate < 0.9 or not pair.neuron.spiking, f"{rate:.0%} of the steps spike: the input shows nothing"
        expected: dict[str, Tensor] = {}
        if pair.gradients:
            _backward(theirs.outputs, theirs.after, seed)
            expected = _gradients(x, start) | {k: leaf.grad * slope for k, (leaf, slope) in theirs.learnt.items()}
            assert "x" in expected
        for backend in BACKENDS:
            _compare(pair, backend, seed, theirs, expected)


def _compare(pair: Pair, backend: str, seed: int, theirs: Theirs, expected: Mapping[str, Tensor]) -> None:
    where = f"{backend}, seed {seed}"
    exact = pair.dtype == torch.float32
    x, start = _inputs(pair, seed)
    layer = snnkit.Spiking(
        pair.neuron,
        # in float32 all of them, as the suite of conformance does, so that both use the same compiled kernels
        learn=tuple(pair.neuron.params if exact else theirs.learnt),
        surrogate=pair.surrogate,
        detach_reset=pair.detach_reset,
        backend=backend,
    )
    y, after = fill(layer.to(pair.dtype), **pair.values).run(x, start)
    if exact or pair.neuron.spiking:
        differ = int((y != theirs.outputs).sum())
        assert differ == 0, f"{where}: {differ} of {y.numel()} outputs differ"
    else:
        close(y, theirs.outputs, 1e-11, f"{where}: outputs")
    for name, value in theirs.after.items():
        close(after[name], value, 0.0 if exact else 1e-11, f"{where}: state {name!r}")
    if not expected:
        return
    _backward(y, {name: after[name] for name in theirs.after}, seed)
    grads = _gradients(x, start) | {name: getattr(layer, f"param_{name}").grad for name in theirs.learnt}
    for name, value in expected.items():
        close(grads[name], value, 2e-5 if exact else 1e-10, f"{where}: gradient of {name!r}")


def fill(layer: Spiking, **values: float) -> Spiking:
    """Set parameters in place, so that a float64 layer holds these doubles and not float32 roundings of them."""
    with torch.no_grad():
        for name, value in values.items():
            getattr(layer, f"param_{name}").fill_(value)
    return layer


def close(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Assert that two tensors differ by at most `tolerance` of the largest expected value."""
    size = float(expected.detach().abs().max())
    error = float((found.detach().double() - expected.detach().double()).abs().max())
    assert error <= tolerance * size, f"{what} is off by {error:.2e}, and its largest value is {size:.2e}"


def check_recurrent(
    peer: Callable[[Tensor], Tensor], weights: Sequence[Tensor], layer: Callable[[str], Spiking], *, tolerance: float
) -> None:
    """Compare a layer connected to itself, in float64.

    Args:
        peer: takes an input [T, B, N] to outputs.
        weights: the peer's connection, and its bias if it has one.
        layer: makes our layer for a backend.
        tolerance: of the gradients.
    """
    generator = torch.Generator().manual_seed(0)
    x = (0.4 + 0.6 * torch.randn(STEPS, BATCH, WIDTH, generator=generator)).double().requires_grad_()
    expected = peer(x)
    assert 0.02 < float(expected.detach().mean()) < 0.9
    upstream = torch.randn(x.shape, generator=generator).double()
    wanted = torch.autograd.grad((expected * upstream).sum(), [x, *weights])
    for backend in BACKENDS:
        connection = nn.Linear(WIDTH, WIDTH, bias=len(weights) == 2).double()
        with torch.no_grad():
            for mine, theirs in zip(connection.parameters(), weights, strict=True):
                mine.copy_(theirs)
        y = snnkit.Recurrent(layer(backend).double(), connection)(x)
        assert torch.equal(y, expected)
        found = torch.autograd.grad((y * upstream).sum(), [x, *connection.parameters()])
        for name, a, b in zip(("x", "the connection", "the bias"), found, wanted, strict=False):
            close(a, b, tolerance, f"{backend}: gradient of {name}")


def scaled(base: Surrogate, factor: float) -> Surrogate:
    """Return a surrogate of a user: another one times a number."""
    return Surrogate(
        f"scaled_{base.name}",
        {**base.params, "factor": factor},
        derivative=f"factor * ({base.derivative})",
        primitive=f"factor * ({base.primitive})",
        reference=base.reference,
    )


def pointwise(z: Tensor, ours: Surrogate, backend: str = "reference") -> Tensor:
    """Return our derivative of the spike at every z, as the backward pass of a backend computes it."""
    step = Neuron("step", {"v": 0.0}, {}, ["v = x"], "v", reference="a bare threshold")
    x = z.clone().view(1, 1, -1).requires_grad_()
    (grad,) = torch.autograd.grad(snnkit.Spiking(step, surrogate=ours, backend=backend)(x).sum(), x)
    return grad.view(-1)


def theirs_pointwise(z: Tensor, spike: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a peer's derivative of the spike at every z."""
    x = z.clone().requires_grad_()
    (grad,) = torch.autograd.grad(spike(x).sum(), x)
    return grad


def _inputs(pair: Pair, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    mean, deviation = pair.drive
    x = mean + deviation * torch.randn(STEPS, BATCH, WIDTH, generator=generator)
    start = {}
    for name, value in pair.neuron.states.items():
        spread = 0.0 if name in pair.still else 0.2
        state = value + spread * torch.rand(BATCH, WIDTH, generator=generator)
        start[name] = state.to(pair.dtype).requires_grad_()
    return x.to(pair.dtype).requires_grad_(), start


def _backward(outputs: Tensor, after: Mapping[str, Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed + 1000)
    values = [outputs, *after.values()]
    weights = [torch.randn(value.shape, generator=generator).to(value.dtype) for value in values]
    torch.autograd.backward(values, weights)


def _gradients(x: Tensor, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    leaves = {"x": x, **start}
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
