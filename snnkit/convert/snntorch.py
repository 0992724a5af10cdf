"""Models of snnTorch 1.0 in and out, layer by layer.

| snnTorch, init_hidden=True                             | here                                                        |
|--------------------------------------------------------|-------------------------------------------------------------|
| torch's layers in nn.Sequential                        | the same                                                    |
| Leaky(beta, "zero")                                    | LIF(tau=1 / (1 - beta), reset="hard", input_decay=False)    |
| Leaky(beta, "subtract", reset_delay=False)             | the same with reset="soft"                                  |
| Leaky(beta, "subtract"), its default                   | `LATE` below, which subtracts one step late; only in        |
| Leaky(beta=1)                                          | as above with IF(reset="hard" or "soft")                    |
| Synaptic(alpha, beta, "zero" or "subtract", no delay)  | CubaLIF(tau_syn=1 / (1 - alpha), tau_mem=1 / (1 - beta))    |
| RLeaky(beta, "zero", reset_delay=False), all to all    | Recurrent(LIF, Linear)                                      |

With reset_delay=False and "subtract", snnTorch holds back a membrane that a reset leaves above the threshold, so such
models come over only while no membrane passes two thresholds. snnTorch fires strictly above its threshold and we at
ours, so `theta` is the next float32 above. Its surrogates are closures that cannot be read: give `surrogate=`, or
atan(2.0) is taken, which is its default.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snnkit import neuron as ours
from snnkit.convert.package import package
from snnkit.convert.rows import (
    above,
    agree,
    below,
    copied,
    decay_of,
    exported,
    network,
    same_equations,
    tau_of,
    torch_layer,
)
from snnkit.errors import InputError
from snnkit.network import Network
from snnkit.neuron import Neuron, Param, Surrogate, surrogate
from snnkit.spiking import Spiking
from snnkit.synapse import Recurrent

_TITLE = "snnTorch"
_RESET = "snntorch.utils.reset(model)"
_CELLS = ("Leaky", "Synaptic", "RLeaky")

LATE = Neuron(
    name="leaky_late",
    states={"v": 0.0, "r": 0.0},
    params={"beta": Param(0.9, low=0.0, high=1.0), "theta": Param(1.0)},
    update=["v = beta * v + x - r * theta"],
    spike="v - theta",
    reset=["r = s"],
    reference="Eshraghian et al., Training spiking neural networks, Proc. IEEE 2023",
)
"""Their Leaky as it is by default: what a spike subtracts is taken off the next membrane, after its decay."""


def from_snntorch(
    model: nn.Module, *, shape: Sequence[int] | None = None, surrogate: Surrogate | None = None
) -> Network:
    """Return the network of a snnTorch model, once both give the same spikes.

    Args:
        model: nn.Sequential of torch's layers and snnTorch's with init_hidden=True; it stays as it is.
        shape: features of one step of the input, where the first layer does not tell them.
        surrogate: of all neurons, because theirs cannot be read; atan(2.0) unless given.
    Raises:
        InputError: a layer without a counterpart, by name, or spikes that differ.
        MissingPackageError: snnTorch is not installed.

    Example:
        >>> leaky = snntorch.Leaky(0.75, reset_mechanism="zero", init_hidden=True)
        >>> net = snnkit.convert.from_snntorch(nn.Sequential(nn.Linear(4, 3), leaky))
    """
    package("snntorch", extra="interop")

    def make(module: nn.Module) -> list[nn.Module]:
        kind = type(module).__name__
        if kind in _CELLS and type(module).__module__.startswith("snntorch."):
            return [_cell(module, kind, surrogate)]
        layer = torch_layer(module) if type(module).__module__.startswith("torch.nn.") else None
        if layer is None:
            raise InputError(f"{kind} has no counterpart; {', '.join(_CELLS)} and torch's layers have one")
        return [layer]

    net = network(_TITLE, model, make)
    agree(_TITLE, net, lambda x: _run(copied(model, _RESET), x), shape)
    return net


def to_snntorch(net: Network, *, shape: Sequence[int] | None = None) -> nn.Sequential:
    """Return the snnTorch model of a network, with init_hidden=True, once both give the same spikes.

    Args:
        net: layers in a row: torch's, LIF(input_decay=False), CubaLIF(input_decay=False), IF; v_rest and v_reset 0.
        shape: features of one step of the input, where the first layer does not tell them.
    Raises:
        InputError: a layer without a counterpart, by name, or spikes that differ.
        MissingPackageError: snnTorch is not installed.

    Example:
        >>> model = snnkit.convert.to_snntorch(net)
    """
    theirs = package("snntorch", extra="interop")

    def make(module: nn.Module) -> nn.Module:
        if isinstance(module, Spiking):
            return _their_cell(theirs, module)
        layer = torch_layer(module) if type(module).__module__.startswith("torch.nn.") else None
        if layer is None:
            raise InputError(f"snnTorch has no {type(module).__name__} of ours; it has torch's layers and its own")
        return layer

    model = nn.Sequential(*exported(_TITLE, net, make)).train(net.training)
    agree(_TITLE, net, lambda x: _run(copied(model, _RESET), x), shape)
    return model


def _run(model: nn.Module, x: Tensor) -> Tensor:
    model.eval()
    for module in model.modules():
        for name in ("reset_mem", "reset_hidden"):
            if type(module).__module__.startswith("snntorch.") and hasattr(module, name):
                getattr(module, name)()
                break
    found = [model(x_t) for x_t in x.unbind(0)]
    return torch.stack([y[0] if isinstance(y, tuple) else y for y in found])


def _cell(cell: Any, kind: str, given: Surrogate | None) -> nn.Module:
    if not cell.init_hidden:
        raise InputError(f"{kind} gets its state from a forward of yours; make it with init_hidden=True")
    if cell.inhibition or cell.state_quant or bool((torch.as_tensor(cell.graded_spikes_factor) != 1).any()):
        raise InputError(f"{kind} has inhibition, state_quant or graded_spikes_factor, which have no counterpart")
    mechanism, late = cell.reset_mechanism, bool(cell.reset_delay)
    if mechanism not in ("zero", "subtract"):
        raise InputError(f"{kind} has reset_mechanism={mechanism!r}; 'zero' and 'subtract' have a counterpart")
    options: dict[str, Any] = {"learn": (), "surrogate": given or surrogate.atan(2.0), "detach_reset": late}
    options["theta"] = above(cell.threshold)
    reset: Any = "hard" if mechanism == "zero" else "soft"
    beta = cell.beta.detach().clamp(0, 1)
    if kind == "Synaptic":
        if late:
            raise InputError("Synaptic with reset_delay=True resets after the next input; make it with False")
        options |= {"tau_syn": tau_of(cell.alpha.detach().clamp(0, 1)), "tau_mem": tau_of(beta)}
        return Spiking(ours.cuba_lif(reset=reset), **options)
    if kind == "RLeaky":
        if late or mechanism != "zero" or not cell.all_to_all or not isinstance(cell.recurrent, nn.Linear):
            raise InputError("RLeaky has a counterpart with 'zero', reset_delay=False and linear_features=")
        inner = Spiking(ours.lif(reset="hard", input_decay=False), tau=tau_of(beta), **options)
        return Recurrent(inner, copy.deepcopy(cell.recurrent))
    if late and mechanism == "subtract":
        return Spiking(LATE, beta=beta, **options)
    if bool((beta == 1).all()):
        return Spiking(ours.integrate_fire(reset=reset), **options)
    return Spiking(ours.lif(reset=reset, input_decay=False), tau=tau_of(beta), **options)


def _their_cell(theirs: Any, layer: Spiking) -> nn.Module:
    values = {name: value.detach() for name, value in layer.values().items()}
    for name in ("v_rest", "v_reset"):
        if name in values and bool((values[name] != 0).any()):
            raise InputError(f"snnTorch rests at 0 and resets to 0, and {name} is {float(values[name].max()):g}")
    if layer.surrogate.name not in ("atan", "fast_sigmoid", "sigmoid"):
        raise InputError(f"snnTorch has no surrogate as {layer.surrogate.name!r}; it has atan, fast_sigmoid, sigmoid")
    gradient = getattr(theirs.surrogate, layer.surrogate.name)(layer.surrogate.params["alpha"])
    common = {"threshold": below(values["theta"]), "spike_grad": gradient, "init_hidden": True, "reset_delay": False}
    for reset, mechanism in (("hard", "zero"), ("soft", "subtract")):
        common["reset_mechanism"] = mechanism
        if same_equations(layer, ours.integrate_fire(reset=reset)):  # pyright: ignore[reportArgumentType]
            return theirs.Leaky(beta=1.0, **common)
        if same_equations(layer, ours.lif(reset=reset, input_decay=False)):  # pyright: ignore[reportArgumentType]
            return theirs.Leaky(beta=decay_of(values["tau"]), **common)
        if same_equations(layer, ours.cuba_lif(reset=reset)):  # pyright: ignore[reportArgumentType]
            return theirs.Synaptic(alpha=decay_of(values["tau_syn"]), beta=decay_of(values["tau_mem"]), **common)
    raise InputError(
        f"snnTorch has no neuron with the equations of {layer.neuron.name!r} and its options; IF, "
        "LIF(input_decay=False) and CubaLIF(input_decay=False) have one"
    )
