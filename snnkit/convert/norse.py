"""Models of Norse 1.1 in and out, layer by layer.

| Norse                                     | here                                                                 |
|-------------------------------------------|----------------------------------------------------------------------|
| torch's layers in SequentialState         | the same                                                             |
| LIFBoxCell(reset_value or reset_subtract) | LIF(reset="hard" or "soft", v_rest=v_leak), which starts at v_leak   |
| LIFCell, v_leak 0                         | CubaLIF(reset="hard", input_decay=True)                              |
| LIFRecurrentCell, v_leak 0                | Linear, then Recurrent(CubaLIF, Linear); only in                     |
| IAFCell                                   | IF(reset="hard"), which starts at v_reset                            |
| LIBoxCell, v_leak 0                       | Readout(tau)                                                         |

Norse steps by `dt` seconds with inverse time constants, so `tau = 1 / (dt * tau_inv)` in steps. It fires strictly above
its threshold and we at ours, so `theta` is the next float32 above `v_th`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snnkit import neuron as ours
from snnkit.convert.package import package
from snnkit.convert.rows import above, agree, below, exported, network, same_equations, scalar, started, torch_layer
from snnkit.errors import InputError
from snnkit.network import Network, row
from snnkit.neuron import Neuron, Surrogate, surrogate
from snnkit.spiking import Spiking
from snnkit.synapse import Recurrent

_TITLE = "Norse"
_CELLS = ("LIFBoxCell", "LIFCell", "LIFRecurrentCell", "IAFCell", "LIBoxCell")
_ZERO = torch.zeros(())
_SUPER = surrogate.fast_sigmoid(1.0)


def from_norse(model: nn.Module, *, shape: Sequence[int] | None = None, surrogate: Surrogate | None = None) -> Network:
    """Return the network of a Norse model, once both give the same spikes.

    Args:
        model: norse.torch.SequentialState, or nn.Sequential, of torch's layers and Norse's cells; it stays as it is.
        shape: features of one step of the input, where the first layer does not tell them.
        surrogate: for cells whose `method` is not `super`.
    Raises:
        InputError: a layer without a counterpart, by name, or spikes that differ.
        MissingPackageError: Norse is not installed.

    Example:
        >>> net = snnkit.convert.from_norse(norse.SequentialState(nn.Linear(4, 3), norse.LIFBoxCell()))
    """
    norse = package("norse.torch", extra="interop")

    def make(module: nn.Module) -> list[nn.Module]:
        kind = type(module).__name__
        if kind in _CELLS and type(module).__module__.startswith("norse."):
            return _cell(module, kind, surrogate)
        layer = torch_layer(module) if type(module).__module__.startswith("torch.nn.") else None
        if layer is None:
            raise InputError(f"{kind} has no counterpart; {', '.join(_CELLS)} and torch's layers have one")
        return [layer]

    net = network(_TITLE, model, make, kinds=(norse.SequentialState,))
    ran = (
        model if isinstance(model, norse.SequentialState) else norse.SequentialState(*(part for _, part in row(model)))
    )
    agree(_TITLE, net, lambda x: _run(copy.deepcopy(ran), x), shape)
    return net


def to_norse(net: Network, *, dt: float = 1e-3, shape: Sequence[int] | None = None) -> Any:
    """Return the norse.torch.SequentialState of a network, once both give the same spikes.

    Args:
        net: layers in a row: torch's, LIF(input_decay=True), CubaLIF(reset="hard", input_decay=True), IF(reset="hard"),
            Readout.
        dt: seconds for one step.
        shape: features of one step of the input, where the first layer does not tell them.
    Raises:
        InputError: a layer without a counterpart, by name, or spikes that differ.
        MissingPackageError: Norse is not installed.

    Example:
        >>> model = snnkit.convert.to_norse(net, dt=1e-3)
    """
    norse = package("norse.torch", extra="interop")

    def make(module: nn.Module) -> nn.Module:
        if isinstance(module, Spiking):
            return _their_cell(norse, module, dt)
        layer = torch_layer(module) if type(module).__module__.startswith("torch.nn.") else None
        if layer is None:
            raise InputError(f"Norse has no {type(module).__name__} of ours; it has torch's layers and cells")
        return layer

    model = norse.SequentialState(*exported(_TITLE, net, make)).train(net.training)
    agree(_TITLE, net, lambda x: _run(copy.deepcopy(model), x), shape)
    return model


def _run(model: nn.Module, x: Tensor) -> Tensor:
    state, found = None, []
    model.eval()
    for x_t in x.unbind(0):
        y, state = model(x_t, state)
        found.append(y)
    return torch.stack(found)


def _cell(cell: Any, kind: str, given: Surrogate | None) -> list[nn.Module]:
    parameters = cell.p
    if kind == "LIBoxCell":
        _needs_rest(parameters, kind)
        return [Spiking(ours.readout(), learn=(), tau=_tau(parameters.tau_mem_inv, cell.dt))]
    options: dict[str, Any] = {"learn": (), "surrogate": given or _surrogate(parameters)}
    options["detach_reset"] = kind == "LIFRecurrentCell"
    values: dict[str, Any] = {"theta": above(parameters.v_th)}
    if kind == "LIFBoxCell":
        soft = parameters.reset_method.__name__ == "reset_subtract"
        if not soft and parameters.reset_method.__name__ != "reset_value":
            raise InputError(f"reset_method {parameters.reset_method.__name__} has no counterpart")
        values |= {"tau": _tau(parameters.tau_mem_inv, cell.dt), "v_rest": parameters.v_leak}
        values |= {} if soft else {"v_reset": parameters.v_reset}
        neuron = _started(ours.lif(reset="soft" if soft else "hard"), parameters.v_leak, "v_leak")
        return [Spiking(neuron, **options, **values)]
    values["v_reset"] = parameters.v_reset
    if kind == "IAFCell":
        return [
            Spiking(_started(ours.integrate_fire(reset="hard"), parameters.v_reset, "v_reset"), **options, **values)
        ]
    _needs_rest(parameters, kind)
    values |= {name: _tau(getattr(parameters, f"{name}_inv"), cell.dt) for name in ("tau_syn", "tau_mem")}
    layer = Spiking(ours.cuba_lif(reset="hard", input_decay=True), **options, **values)
    if kind == "LIFCell":
        return [layer]
    weights = [cell.input_weights, cell.recurrent_weights]
    inside, back = (nn.Linear(weight.shape[1], weight.shape[0], bias=False) for weight in weights)
    with torch.no_grad():
        inside.weight.copy_(weights[0])
        back.weight.copy_(weights[1])
        if not cell.autapses:
            back.weight.fill_diagonal_(0.0)
    return [inside, Recurrent(layer, back)]


def _started(neuron: Neuron, start: Any, name: str) -> Neuron:
    """Return a neuron that starts where theirs does."""
    return started(neuron, v=scalar(start, name)) if bool((torch.as_tensor(start) != 0).any()) else neuron


def _starts(layer: Spiking, neuron: Neuron, start: Tensor, name: str) -> bool:
    """Return whether a layer has these equations; raises InputError where it does not start as theirs will."""
    if layer.neuron.digest != neuron.digest:
        return False
    if bool((start != layer.neuron.states["v"]).any()):
        came = layer.neuron.states["v"]
        raise InputError(f"theirs starts at {name}={float(start.abs().max()):g}, and this one at {came:g}")
    return True


def _tau(inverse: Any, dt: float) -> Tensor:
    return (1 / (torch.as_tensor(inverse).detach().double() * dt)).float()


def _needs_rest(parameters: Any, kind: str) -> None:
    if bool((torch.as_tensor(parameters.v_leak) != 0).any()):
        raise InputError(f"{kind} rests at v_leak={float(torch.as_tensor(parameters.v_leak).max()):g}, and ours at 0")


def _surrogate(parameters: Any) -> Surrogate:
    if parameters.method != "super":
        raise InputError(f"surrogate {parameters.method!r} has no counterpart ('super' has one); give surrogate=")
    return _SUPER


def _their_cell(norse: Any, layer: Spiking, dt: float) -> nn.Module:
    values = {name: value.detach().clone() for name, value in layer.values().items()}
    inverse = {name: 1 / (value.double() * dt) for name, value in values.items() if name.startswith("tau")}
    if same_equations(layer, ours.readout()):
        module = package("norse.torch.functional.leaky_integrator_box", extra="interop")
        parameters = module.LIBoxParameters(tau_mem_inv=inverse["tau"].float(), v_leak=torch.tensor(0.0))
        return norse.LIBoxCell(parameters, dt=dt)
    if layer.neuron.spiking and layer.surrogate != _SUPER:
        raise InputError(f"Norse has no surrogate as {layer.surrogate!r}; it has snnkit.surrogate.fast_sigmoid(1.0)")
    common = {"method": "super"}
    if _starts(layer, ours.integrate_fire(reset="hard"), values.get("v_reset", _ZERO), "v_reset"):
        module = package("norse.torch.functional.iaf", extra="interop")
        cell = package("norse.torch.module.iaf", extra="interop").IAFCell
        return cell(module.IAFParameters(v_th=below(values["theta"]), v_reset=values["v_reset"], **common), dt=dt)
    for reset in ("hard", "soft"):
        if _starts(layer, ours.lif(reset=reset), values.get("v_rest", _ZERO), "v_leak"):
            how = package("norse.torch.functional.reset", extra="interop")
            method = how.reset_value if reset == "hard" else how.reset_subtract
            parameters = norse.LIFBoxParameters(
                tau_mem_inv=inverse["tau"].float(),
                v_leak=values["v_rest"],
                v_th=below(values["theta"]),
                v_reset=values.get("v_reset", torch.tensor(0.0)),
                reset_method=method,
                **common,
            )
            return norse.LIFBoxCell(parameters, dt=dt)
    if same_equations(layer, ours.cuba_lif(reset="hard", input_decay=True)):
        parameters = norse.LIFParameters(
            tau_syn_inv=inverse["tau_syn"].float(),
            tau_mem_inv=inverse["tau_mem"].float(),
            v_leak=torch.tensor(0.0),
            v_th=below(values["theta"]),
            v_reset=values["v_reset"],
            **common,
        )
        return norse.LIFCell(parameters, dt=dt)
    raise InputError(
        f"Norse has no cell with the equations of {layer.neuron.name!r} and its options; LIF(input_decay=True), "
        "CubaLIF(reset='hard', input_decay=True), IF(reset='hard') and Readout(input_decay=True) have one"
    )
