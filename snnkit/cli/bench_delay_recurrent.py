"""What layers that hear themselves cost, against the loop over their steps and against SpikingJelly's container."""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from rich.table import Table
from torch import Tensor, nn

import snnkit
from snnkit.errors import SnnkitError

T, B, N = 100, 64, 256
"""Steps, batch and neurons of the comparison."""

WINDOWS = (8, 100)
"""Longest delays of the comparison."""

AHEAD = "nn.Linear, another ahead of the layer"

Linear = TypeVar("Linear", nn.Linear, snnkit.DelayLinear)


@dataclass(frozen=True)
class Contender:
    """Something that takes x [T, B, N] to spikes of the same shape.

    Args:
        run: what is timed.
        learnt: its parameters, each with a row for each neuron.
        like: the contender with the same equations and the same values, whose spikes have to be equal; None for the
            first of its kind.
    """

    run: Callable[[Tensor], Tensor]
    learnt: tuple[Tensor, ...]
    like: str | None = None


def contenders() -> dict[str, Contender]:
    """Return layers whose steps run in one operation, and after each whoever computes the same."""
    torch.manual_seed(0)
    found = {}
    for name, connection in _connections().items():
        layer, learnt = snnkit.Recurrent(_lif(), connection), tuple(connection.parameters())
        found[name] = Contender(layer, learnt)
        found[f"{name}, step by step"] = Contender(functools.partial(_walk, layer), learnt, name)
    ahead, back = _rounded(nn.Linear(N, N)), _rounded(nn.Linear(N, N, bias=False))
    layer = snnkit.Recurrent(_lif(), back)
    found[AHEAD] = Contender(lambda x: layer(ahead(x)), (ahead.weight, back.weight, ahead.bias))
    return found | _peer(ahead, back)


def _connections() -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {"nn.Linear": _rounded(nn.Linear(N, N))}
    for longest in WINDOWS:
        found[f"DelayLinear 0..{longest}"] = _rounded(snnkit.DelayLinear(N, N, max_delay=longest, kernel="linear"))
    return found


def _lif() -> snnkit.Spiking:
    return snnkit.LIF(tau=2.0, reset="hard", surrogate=snnkit.surrogate.atan(2.0))


def _rounded(connection: Linear) -> Linear:
    """Make weights multiples of 1/256 and delays of 1/2, so that sums are exact in any order."""
    with torch.no_grad():
        for name, values in connection.named_parameters():
            unit = 2 if name == "delay" else 256
            values.copy_((values * unit).round() / unit)
    return connection


def _walk(layer: snnkit.Recurrent, x: Tensor) -> Tensor:
    """Run a layer step by step, as is done where nothing is fused."""
    state, outputs = None, []
    for x_t in x.unbind(0):
        y, state = layer.step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs)


def _peer(ahead: nn.Linear, back: nn.Linear) -> dict[str, Contender]:
    """Return SpikingJelly's container, whose one linear layer reads the input beside the last output."""
    try:
        from spikingjelly.activation_based import functional, neuron, surrogate
        from spikingjelly.activation_based.layer import LinearRecurrentContainer
    except ImportError:
        return {}
    node = neuron.LIFNode(tau=2.0, v_reset=0.0, detach_reset=True, surrogate_function=surrogate.ATan(2.0))
    peer = LinearRecurrentContainer(node, N, N, step_mode="m")
    with torch.no_grad():
        peer.rc.weight.copy_(torch.cat([ahead.weight, back.weight], 1))
        peer.rc.bias.copy_(ahead.bias)

    def run(x: Tensor) -> Tensor:
        functional.reset_net(peer)
        return peer(x)

    return {"SpikingJelly LinearRecurrentContainer": Contender(run, (peer.rc.weight, peer.rc.bias), AHEAD)}


def gate() -> dict[str, int]:
    """Compare spikes and gradients of everyone with those of the layer of ours that has the same equations.

    Returns:
        Contender to the number of spikes compared.
    Raises:
        SnnkitError: where a spike differs, or a gradient by more than float32 explains.
    """
    found = {}
    generator = torch.Generator().manual_seed(0)
    x, grad = 3 * torch.rand(20, 4, N, generator=generator), torch.randn(20, 4, N, generator=generator)
    x = (256 * x).round() / 256 * (x > 1.5)
    outcomes = {}
    for name, contender in contenders().items():
        spikes, *gradients = outcomes[name] = _outcome(contender, x, grad)
        if contender.like is None:
            continue
        expected, *others = outcomes[contender.like]
        if not torch.equal(spikes, expected):
            differing = int((spikes != expected).sum())
            raise SnnkitError(f"{name!r} and {contender.like!r} differ in {differing} of {spikes.numel()} outputs")
        pairs = zip(gradients, others, strict=True)
        worst = max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-3)) for a, b in pairs)
        if worst > 1e-3:
            raise SnnkitError(
                f"a gradient of {name!r} differs from that of {contender.like!r} by {worst:.1e} of the largest value"
            )
        found[name] = int(spikes.sum())
    return found


def _outcome(contender: Contender, x: Tensor, grad: Tensor) -> list[Tensor]:
    """Return spikes, the gradient of the input, and those of all parameters side by side."""
    inputs = x.clone().requires_grad_()
    y = contender.run(inputs)
    to_input, *learnt = torch.autograd.grad(y, [inputs, *contender.learnt], grad)
    return [y.detach(), to_input, torch.cat([part.reshape(N, -1) for part in learnt], 1)]


def measure(chosen: Mapping[str, Contender], repeat: int) -> dict[str, tuple[float, float]]:
    """Return the seconds of everyone, forward, and forward with backward: the best of rounds that each takes part in.

    Args:
        chosen: contenders by name.
        repeat: rounds, after one that is not counted.
    """
    x, grad = (2 * torch.rand(T, B, N)).requires_grad_(), torch.randn(T, B, N)
    found = dict.fromkeys(chosen, (float("inf"), float("inf")))
    for round_ in range(repeat + 1):
        gc.collect()
        for name, contender in chosen.items():
            once, twice = _seconds(contender, x, grad)
            if round_:
                found[name] = min(found[name][0], once), min(found[name][1], twice)
    return found


def _seconds(contender: Contender, x: Tensor, grad: Tensor) -> tuple[float, float]:
    started = time.perf_counter()
    with torch.no_grad():
        contender.run(x)
    middle = time.perf_counter()
    torch.autograd.grad(contender.run(x), [x, *contender.learnt], grad)
    return middle - started, time.perf_counter() - middle


def table(where: str, repeat: int) -> Table:
    """Return the table of one number of threads."""
    chosen = contenders()
    seconds = measure(chosen, repeat)
    made = Table(title=f"layers that hear themselves, {where}: {N} LIF neurons, B={B}, T={T}", title_justify="left")
    made.add_column("connection")
    for column in ("forward ms", "of the fused", "with backward ms", "of the fused"):
        made.add_column(column, justify="right")
    for name, contender in chosen.items():
        row = [name if contender.like else f"fused, {name}"]
        for taken, other in zip(seconds[name], seconds[contender.like or name], strict=True):
            row += [f"{1e3 * taken:.1f}", f"{taken / other:.1f}" if contender.like else ""]
        made.add_row(*row)
    return made
