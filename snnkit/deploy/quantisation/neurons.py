"""Which neurons chips have, and what those are in the chip's terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snnkit.convert.rows import tau_of
from snnkit.convert.snntorch import LATE
from snnkit.errors import InputError
from snnkit.neuron import FAMILIES, Neuron, variants
from snnkit.spiking import Spiking

APPROXIMATIONS = {
    "hard_reset": "the membrane is set to 0 where the network subtracts the threshold",
    "clamp_delays": "delays longer than the chip's longest are cut to it",
    "early_bias": "biases are whole weights that act from the chip's first step on, from a membrane at its reset, as "
    "files of NetX have them",
}
"""What may be asked for where the chip cannot do what the network does, and what it means."""


@dataclass(frozen=True, eq=False)
class Dynamics:
    """A neuron as chips have it: `u = keep_u u + gain x`, `v = keep_v v + u + drift`, reset to 0.

    The membrane is counted from the value that it is reset to. All are float64, scalars or shaped like the features.

    Args:
        keep_u, keep_v: what a step leaves of current and membrane, 0..1.
        gain: by which input is multiplied.
        theta: threshold; None where the neuron does not fire.
        drift: added in every step.
        start: the membrane before the first step.
        zero: the network's membrane that is 0 here.
    """

    keep_u: Tensor
    keep_v: Tensor
    gain: Tensor
    theta: Tensor | None
    drift: Tensor
    start: Tensor
    zero: Tensor


def dynamics(layer: Spiking, *, where: str) -> Dynamics:
    """Return what a layer is on the chip.

    Args:
        layer: of neurons.
        where: its name, for messages.
    Raises:
        InputError: a neuron that chips do not have, or a threshold that is not above the reset.
    """
    if _subtracts(layer.neuron):
        raise InputError(
            f"layer {where!r} ({layer.neuron.name}) subtracts its threshold when it fires, and chips set the membrane "
            "to 0: build it with reset='hard' (in snnTorch reset_mechanism='zero') and train, or accept the difference "
            "with approximate=('hard_reset',); snnkit.deploy.fine_tune then wins back what is lost"
        )
    known = _KNOWN.get(layer.neuron.digest)
    first = dict(layer.neuron.states)
    begin = first.pop("v", 0.0)
    if known is None or any(first.values()):
        raise InputError(
            f"layer {where!r} is of {layer.neuron.name}, which chips do not have; they have IF, LIF, PLIF and "
            "CubaLIF with reset='hard', and Readout at the end: train with one of these"
        )
    family, options = known
    values = {name: value.detach().double().cpu() for name, value in layer.values().items()}
    found = _RULES[family](values, options.get("input_decay", True))
    found = replace(found, start=found.start + begin)
    if found.theta is not None and not bool((found.theta > 0).all()):
        raise InputError(
            f"layer {where!r} ({layer.neuron.name}) has a threshold of {float(found.theta.min()):g} above its reset; "
            "chips need one above 0: raise theta, or lower v_reset"
        )
    return found


def hardened(layer: Spiking) -> Spiking:
    """Return a layer with a hard reset to 0 in place of a soft one, and the same parameters; others as they are."""
    if not _subtracts(layer.neuron):
        return layer
    values = {name: value.detach().cpu() for name, value in layer.values().items()}
    if layer.neuron.digest == LATE.digest:
        neuron = FAMILIES["LIF"](reset="hard", input_decay=False)
        values["tau"] = tau_of(values.pop("beta").clamp(max=1 - 2**-16))
    else:
        family, options = _KNOWN[layer.neuron.digest]
        neuron = FAMILIES[family](**(options | {"reset": "hard"}))
    made = Spiking(
        neuron,
        learn=tuple("tau" if name == "beta" else name for name in layer.learn),
        surrogate=layer.surrogate,
        detach_reset=layer.detach_reset,
        backend=layer.backend,
        **values,
    )
    return made.to(next(iter(layer.values().values())).device).train(layer.training)


def _subtracts(neuron: Neuron) -> bool:
    options = _KNOWN.get(neuron.digest, ("", {}))[1]
    return options.get("reset") == "soft" or neuron.digest == LATE.digest


def _known() -> dict[str, tuple[str, dict]]:
    found = {}
    for family in _RULES:
        for options, neuron in variants(FAMILIES[family]):
            found[neuron.digest] = (family, options)
    return found


def _shifted(keep_u: Tensor, keep_v: Tensor, gain: Tensor, drift: Tensor, values: dict[str, Tensor]) -> Dynamics:
    """Return the dynamics with the membrane counted from its reset value."""
    reset = values.get("v_reset", torch.zeros((), dtype=torch.float64))
    theta = values["theta"] - reset if "theta" in values else None
    return Dynamics(keep_u, keep_v, gain, theta, drift - (1 - keep_v) * reset, -reset, reset)


def _leaky(values: dict[str, Tensor], leak: Tensor, input_decay: bool) -> Dynamics:
    zero = torch.zeros_like(leak)
    gain = leak if input_decay else torch.ones_like(leak)
    return _shifted(zero, 1 - leak, gain, leak * values.get("v_rest", zero), values)


def _integrate_fire(values: dict[str, Tensor], _: bool) -> Dynamics:
    return _leaky(values, torch.zeros_like(values["theta"]), False)


def _lif(values: dict[str, Tensor], input_decay: bool) -> Dynamics:
    return _leaky(values, 1 / values["tau"], input_decay)


def _plif(values: dict[str, Tensor], input_decay: bool) -> Dynamics:
    return _leaky(values, values["w"].sigmoid(), input_decay)


def _cuba_lif(values: dict[str, Tensor], input_decay: bool) -> Dynamics:
    leak = 1 / values["tau_mem"]
    gain = leak if input_decay else torch.ones_like(leak)
    return _shifted(1 - 1 / values["tau_syn"], 1 - leak, gain, torch.zeros_like(leak), values)


_RULES: dict[str, Callable[[dict[str, Tensor], bool], Dynamics]] = {
    "IF": _integrate_fire,
    "LIF": _lif,
    "PLIF": _plif,
    "CubaLIF": _cuba_lif,
    "Readout": _lif,
}
_KNOWN: dict[str, tuple[str, dict]] = _known()
