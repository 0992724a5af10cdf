"""Find dead, saturated and exploding layers, and say what to type about each."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from snnkit.train.layers import Passed, mean_over_steps, neuron_layer, passed, undisturbed
from snnkit.train.losses import loss_function

_SATURATED_RATE = 0.95
_MANY_SILENT = 0.5
_MANY_SATURATED = 0.1
_EXPLODING_STATE = 100.0
_EXPLODING_GRADIENT = 1e3
_VANISHING_GRADIENT = 1e-4

_FIXES = {
    "dead": "raise its drive: type snnkit.initialise(net, x), or lower its threshold",
    "saturated": "lower its drive: type snnkit.initialise(net, x, rate=0.1), or train with rate_regulariser",
    "exploding": "leak more or weigh less: type a smaller tau, or snnkit.initialise(net, x)",
    "no gradient": "make neurons fire or widen the surrogate: type snnkit.initialise(net, x), "
    "or surrogate=snnkit.surrogate.atan(1.0)",
    "vanishing gradient": "widen the surrogate or shorten the way: type surrogate=snnkit.surrogate.atan(1.0), "
    "or use fewer layers",
    "exploding gradient": "type gradient_clip=1.0 and detach_reset=True, or snnkit.initialise(net, x)",
}


@dataclass(frozen=True)
class Health:
    """Measurements of one layer; None where they do not apply.

    Args:
        name: in the network.
        kind: neuron or class.
        rate: mean, in spikes per step and neuron.
        silent: share of neurons without a spike, 0..1.
        saturated: share of neurons with 0.95 spikes per step or more, 0..1.
        membrane: largest absolute state, in the neuron's own units.
        scale: `membrane` over the largest of the neuron's constants (parameters and start values, at least 1).
        gradient: norm of the loss's gradient with respect to the layer's parameters.
    """

    name: str
    kind: str
    rate: float | None = None
    silent: float | None = None
    saturated: float | None = None
    membrane: float | None = None
    scale: float | None = None
    gradient: float | None = None


@dataclass(frozen=True)
class Finding:
    """Something wrong with a layer, and what to do about it.

    Args:
        layer: its name.
        problem: "dead", "saturated", "exploding", "no gradient", "vanishing gradient" or "exploding gradient".
        detail: the measurement.
        fix: what to type.
    """

    layer: str
    problem: str
    detail: str
    fix: str


@dataclass(frozen=True)
class Diagnosis:
    """What was measured and what is wrong; prints as a table.

    Args:
        layers: all layers with neurons or parameters, in order.
        findings: what is wrong, none where all is well.
    """

    layers: tuple[Health, ...]
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __rich__(self) -> Group:
        table = Table("layer", "kind", "rate", "silent", "saturated", "largest state", "gradient")
        for health in self.layers:
            shares = ("" if share is None else f"{share:.0%}" for share in (health.silent, health.saturated))
            table.add_row(
                health.name,
                health.kind,
                _number(health.rate),
                *shares,
                _number(health.membrane),
                _number(health.gradient),
            )
        lines = [
            Text(f"layer {finding.layer}: {finding.problem} ({finding.detail}); {finding.fix}")
            for finding in self.findings
        ]
        return Group(table, *(lines or [Text("nothing wrong found")]))

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=120, color_system=None, force_terminal=False)
        with console.capture() as text:
            console.print(self)
        return text.get()


def diagnose(
    net: nn.Module, x: Tensor, target: Tensor | None = None, *, loss: str = "rate", lengths: Tensor | None = None
) -> Diagnosis:
    """Run a network forwards and backwards once and report on every layer; nothing about it changes.

    Args:
        net: a `snnkit.Network`.
        x: typical inputs [T, B, features…].
        target: class of each sample [B] for the loss; without it the loss is the mean square of the outputs.
        loss: "rate", "last", "max" or "first_spike".
        lengths: valid steps of each sample [B]; padding then counts for nothing.
    Returns:
        Rates, shares of silent and saturated neurons, sizes of states and gradients, and findings with fixes.
    Raises:
        InputError: another kind of module, inputs or labels that do not fit.

    Example:
        >>> net = snnkit.Network(nn.Linear(4, 8), snnkit.LIF(tau=2.0), nn.Linear(8, 2), snnkit.Readout(tau=2.0))
        >>> found = diagnose(net, torch.zeros(10, 3, 4))
        >>> found.findings[0].problem
        'dead'
    """
    with undisturbed(net), torch.enable_grad():
        layers = list(passed(net, x, lengths))
        y = layers[-1].outputs
        value = y.float().square().mean() if target is None else loss_function(loss)(y, target, lengths=lengths)
        gradients = _gradients(layers, value)
        healths = tuple(_health(layer, gradients.get(layer.name), lengths) for layer in layers)
    healths = tuple(health for health in healths if health.membrane is not None or health.gradient is not None)
    return Diagnosis(healths, tuple(_findings(healths)))


def _gradients(layers: list[Passed], value: Tensor) -> dict[str, float]:
    """Return the norm of the gradient of each layer that has parameters to learn."""
    owned = {
        layer.name: [parameter for parameter in layer.module.parameters() if parameter.requires_grad]
        for layer in layers
    }
    parameters = [parameter for group in owned.values() for parameter in group]
    if not parameters or not value.requires_grad:
        return {name: 0.0 for name, group in owned.items() if group}
    found = iter(torch.autograd.grad(value, parameters, allow_unused=True))
    norms = {}
    for name, group in owned.items():
        squares = [0.0 if (g := next(found)) is None else g.double().square().sum().item() for _ in group]
        if group:
            norms[name] = math.sqrt(sum(squares))
    return norms


def _health(layer: Passed, gradient: float | None, lengths: Tensor | None) -> Health:
    neurons = neuron_layer(layer.module)
    if neurons is None:
        return Health(layer.name, layer.kind, gradient=gradient)
    _, _, traces = layer.module.trace(layer.inputs.detach())  # pyright: ignore[reportCallIssue]
    membrane = max(trace.abs().max().item() for trace in traces.values())
    constants = [1.0, *map(abs, neurons.neuron.states.values())]
    constants += [value.detach().abs().max().item() for value in neurons.values().values()]
    spikes: dict[str, float] = {}
    if layer.spiking:
        rates = mean_over_steps(layer.outputs.detach(), lengths)
        spikes = {
            "rate": rates.mean().item(),
            "silent": (rates == 0).float().mean().item(),
            "saturated": (rates >= _SATURATED_RATE).float().mean().item(),
        }
    scale = membrane / max(constants)
    return Health(layer.name, layer.kind, membrane=membrane, scale=scale, gradient=gradient, **spikes)


def _findings(healths: tuple[Health, ...]) -> Iterator[Finding]:
    largest = max((health.gradient or 0.0 for health in healths), default=0.0)
    for health in healths:
        for problem, detail in _problems(health, largest):
            yield Finding(health.name, problem, detail, _FIXES[problem])


def _problems(health: Health, largest: float) -> Iterator[tuple[str, str]]:
    if health.silent is not None and health.silent >= _MANY_SILENT:
        yield "dead", f"{health.silent:.0%} of its neurons never fire"
    if health.saturated is not None and health.saturated >= _MANY_SATURATED:
        yield "saturated", f"{health.saturated:.0%} of its neurons fire at nearly every step"
    if health.scale is not None and not health.scale < _EXPLODING_STATE:
        yield "exploding", f"a state reaches {health.membrane:.3g}"
    if health.gradient is None:
        return
    if not health.gradient < _EXPLODING_GRADIENT:
        yield "exploding gradient", f"norm {health.gradient:.3g}"
    elif health.gradient == 0:
        yield "no gradient", "the loss does not depend on its parameters"
    elif health.gradient < _VANISHING_GRADIENT * largest:
        yield "vanishing gradient", f"norm {health.gradient:.3g}, the largest is {largest:.3g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
