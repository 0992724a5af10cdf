"""First weights under which every spiking layer fires at a wanted rate on real inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snnkit.errors import InputError
from snnkit.network import Network, row
from snnkit.train.layers import mean_over_steps, neuron_layer, run_layer, undisturbed

_DOUBLINGS = 30
_HALVINGS = 40
_CLOSE = 0.01


@dataclass(frozen=True)
class Gain:
    """What was done to one layer of weights.

    Args:
        weights: name of the layer whose weights were scaled.
        neurons: name of the spiking layer that it drives.
        factor: by which the weights were multiplied.
        rate: spikes per step and neuron of that layer afterwards.
    """

    weights: str
    neurons: str
    factor: float
    rate: float


def initialise(net: nn.Module, x: Tensor, *, rate: float = 0.1, lengths: Tensor | None = None) -> tuple[Gain, ...]:
    """Scale the weights before each spiking layer, in order, so that it fires at a rate on given inputs.

    Only weights are multiplied, each layer's by one number; biases and everything else stay. Where several layers
    of weights come before a spiking layer, the last of them is scaled, a normalisation's included.

    Args:
        net: a `snnkit.Network`; its weights change in place.
        x: typical inputs [T, B, features…].
        rate: wanted mean, in spikes per step and neuron, above 0.
        lengths: valid steps of each sample [B]; padding then counts for nothing.
    Returns:
        What was done to each layer, with the rate reached.
    Raises:
        InputError: silent inputs, or a rate that cannot be reached; the weights are then as before.

    Example:
        >>> net = Network(nn.Linear(64, 128), snnkit.LIF(tau=2.0), nn.Linear(128, 10), snnkit.Readout(tau=2.0))
        >>> gains = initialise(net, torch.rand(20, 16, 64), rate=0.1)
        >>> [(gain.weights, gain.neurons, round(gain.rate, 2)) for gain in gains]
        [('0', '1', 0.1)]

    Source: the aim is that of Rossbroich, Gygax & Zenke, Fluctuation-driven initialization, 2022; here the gain is
        measured on inputs, not derived.
    """
    if not 0 < rate < math.inf:
        raise InputError(f"rate is {rate}; needed is a number above 0, in spikes per step and neuron, e.g. rate=0.1")
    kept = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    try:
        with torch.no_grad(), undisturbed(net):
            return _scaled(list(_leaves(net)), x, rate, lengths)
    except BaseException:
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter.copy_(kept[name])
        raise


def _leaves(net: nn.Module, within: str = "") -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(net, Network):
        raise InputError(f"this {type(net).__name__} has no layers in order; type snnkit.Network(nn.Linear(…), …)")
    for name, module in row(net):
        if isinstance(module, Network):
            yield from _leaves(module, f"{within}{name}.")
        else:
            yield f"{within}{name}", module


def _scaled(
    leaves: Sequence[tuple[str, nn.Module]], x: Tensor, rate: float, lengths: Tensor | None
) -> tuple[Gain, ...]:
    gains, waiting, scaled = [], [], {}
    for name, module in leaves:
        waiting.append((name, module))
        layer = neuron_layer(module)
        if layer is None or not layer.neuron.spiking:
            continue
        weighted = [
            k for k, (_, part) in enumerate(waiting[:-1]) if isinstance(getattr(part, "weight", None), nn.Parameter)
        ]
        if weighted:
            weights, layer = waiting[weighted[-1]]
            if layer in scaled:
                raise InputError(
                    f"layers {scaled[layer]!r} and {weights!r} are the same, so one gain would have to do for both; "
                    "use copy.deepcopy for one of them"
                )
            scaled[layer] = weights
            for _, part in waiting[: weighted[-1]]:
                x = run_layer(part, x, lengths)
            waiting = waiting[weighted[-1] :]
            gains.append(_gain(waiting, x, rate, lengths))
        for _, part in waiting:
            x = run_layer(part, x, lengths)
        waiting = []
    return tuple(gains)


def _gain(parts: Sequence[tuple[str, nn.Module]], x: Tensor, rate: float, lengths: Tensor | None) -> Gain:
    """Scale the weights of the first part so that the last one fires at the rate."""
    (weights, first), (neurons, _) = parts[0], parts[-1]
    if not x.any():
        raise InputError(
            f"the input of layer {weights!r} is silent: all {x.numel()} values are 0; "
            "give inputs that are not, e.g. x = snnkit.encode.rate(images, steps=…, generator=…)"
        )
    weight = first.get_parameter("weight")
    original = weight.detach().clone()

    def measured(factor: float) -> float:
        weight.copy_(original * factor)
        y = x
        for _, part in parts:
            y = run_layer(part, y, lengths)
        return mean_over_steps(y, lengths).mean().item()

    at_rest = measured(0.0)
    if at_rest >= rate:
        raise InputError(
            f"layer {neurons!r} fires at {at_rest:.3g} with all weights of layer {weights!r} at 0, so no gain gives "
            f"{rate:g}; type bias=False, raise its threshold, or ask for a rate above {at_rest:.3g}"
        )
    low, high = _bracket(measured, rate, neurons)
    factor = math.sqrt(low * high)
    for _ in range(_HALVINGS):
        found = measured(factor)
        if abs(found - rate) <= _CLOSE * rate:
            break
        low, high = (factor, high) if found < rate else (low, factor)
        factor = math.sqrt(low * high)
    return Gain(weights, neurons, factor, measured(factor))


def _bracket(measured: Callable[[float], float], rate: float, neurons: str) -> tuple[float, float]:
    """Return a gain with less than the rate and one with at least the rate."""
    low = high = 1.0
    reached = measured(1.0)
    most = reached
    if reached >= rate:
        while measured(low) >= rate and low > 2.0**-_DOUBLINGS:
            low /= 2
        return low, high
    for _ in range(_DOUBLINGS):
        low, high = high, high * 2
        found = measured(high)
        most = max(most, found)
        if found >= rate:
            return low, high
    raise InputError(
        f"layer {neurons!r} fires at {most:.3g} at most, whatever the gain, and {rate:g} is asked for; "
        f"type rate={most / 2:.2g}, or give inputs that drive more of it"
    )
