"""Models of SpikingJelly 2 in and out, layer by layer.

| SpikingJelly                                    | here                                                          |
|-------------------------------------------------|---------------------------------------------------------------|
| layer.Linear, Conv1d, Conv2d, BatchNorm, pools  | torch's own                                                   |
| layer.Dropout, Dropout2d                        | torch's own, whose mask is another in every step; only in     |
| IFNode                                          | IF                                                            |
| LIFNode(tau, decay_input)                       | LIF(tau, input_decay=decay_input, v_rest=v_reset or 0)        |
| ParametricLIFNode, v_reset None or 0            | PLIF(w)                                                       |
| QIFNode, EIFNode                                | QuadraticIF, ExponentialIF                                    |
| CUBALIFNode(c_decay, v_decay)                   | CubaLIF(tau_syn=1 / (1 - c_decay), tau_mem=1 / (1 - v_decay)) |

`v_reset=None` is a soft reset. NonSpikingLIFNode takes a whole sequence at once, so it is left out. Their membrane
starts at `v_reset`, so does ours where it came from theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snnkit import neuron as ours
from snnkit.convert.package import package
from snnkit.convert.rows import agree, copied, decay_of, exported, network, scalar, started, tau_of, torch_layer
from snnkit.errors import InputError
from snnkit.network import Network
from snnkit.neuron import Neuron, Surrogate, surrogate
from snnkit.spiking import Spiking

_TITLE = "SpikingJelly"
_ROOT = "spikingjelly.activation_based"
_RESET = f"{_ROOT}.functional.reset_net(model)"

_SURROGATES: Mapping[str, Callable[[Any], Surrogate]] = {
    "ATan": lambda s: surrogate.atan(s.alpha),
    "Sigmoid": lambda s: surrogate.sigmoid(s.alpha),
    "Erf": lambda s: surrogate.erf(s.alpha),
    "PiecewiseQuadratic": lambda s: surrogate.triangle(s.alpha),
    "Rect": lambda s: surrogate.rectangle(1 / s.alpha),
}
_THEIRS = {"atan": "ATan", "sigmoid": "Sigmoid", "erf": "Erf", "triangle": "PiecewiseQuadratic"}


def from_spikingjelly(
    model: nn.Module, *, shape: Sequence[int] | None = None, surrogate: Surrogate | None = None
) -> Network:
    """Return the network of a SpikingJelly model, once both give the same spikes.

    Args:
        model: nn.Sequential of torch's and SpikingJelly's layers; it stays as it is.
        shape: features of one step of the input, where the first layer does not tell them.
        surrogate: for neurons whose surrogate has no counterpart here.
    Raises:
        InputError: a layer without a counterpart, by name, or spikes that differ.
        MissingPackageError: SpikingJelly is not installed.

    Example:
        >>> net = snnkit.convert.from_spikingjelly(nn.Sequential(nn.Linear(4, 3), neuron.IFNode()))
    """
    nodes = package(f"{_ROOT}.neuron", extra="interop")

    def make(module: nn.Module) -> list[nn.Module]:
        if type(module).__module__.startswith(f"{_ROOT}.neuron"):
            return [_neuron(nodes, module, surrogate)]
        if type(module).__module__.startswith(f"{_ROOT}.layer") and type(module).__name__ in _DROPOUTS:
            return [getattr(nn, type(module).__name__)(module.p)]
        layer = torch_layer(module) if type(module).__module__.startswith(("torch.nn.", f"{_ROOT}.layer")) else None
        if layer is None:
            raise InputError(f"{type(module).__name__} has no counterpart; {', '.join(_NODES)} and torch's have one")
        return [layer]

    net = network(_TITLE, model, make)
    agree(_TITLE, net, lambda x: _run(copied(model, _RESET), x), shape)
    return net


def to_spikingjelly(net: Network, *, shape: Sequence[int] | None = None) -> nn.Sequential:
    """Return the SpikingJelly model of a network, in multi-step mode, once both give the same spikes.

    Args:
        net: layers in a row that SpikingJelly has, one value of each parameter for all neurons of a layer.
        shape: features of one step of the input, where the first layer does not tell them.
    Raises:
        InputError: a layer or parameter without a counterpart, by name, or spikes that differ.
        MissingPackageError: SpikingJelly is not installed.

    Example:
        >>> model = snnkit.convert.to_spikingjelly(net)
    """
    nodes = package(f"{_ROOT}.neuron", extra="interop")
    theirs = package(f"{_ROOT}.layer", extra="interop")
    surrogates = package(f"{_ROOT}.surrogate", extra="interop")
    known = {name: getattr(theirs, name) for name in _LAYERS}

    def make(module: nn.Module) -> nn.Module:
        if isinstance(module, Spiking):
            return _node(nodes, surrogates, module)
        layer = torch_layer(module, known, step_mode="m")
        if layer is None:
            raise InputError(f"SpikingJelly has no {type(module).__name__} of ours; it has {', '.join(_LAYERS)}")
        return layer

    model = nn.Sequential(*exported(_TITLE, net, make)).train(net.training)
    agree(_TITLE, net, lambda x: _run(copied(model, _RESET), x), shape)
    return model


_LAYERS = ("Linear", "Conv1d", "Conv2d", "BatchNorm1d", "BatchNorm2d", "AvgPool2d", "MaxPool2d", "Flatten")
_DROPOUTS = ("Dropout", "Dropout2d")
_NODES = ("IFNode", "LIFNode", "ParametricLIFNode", "QIFNode", "EIFNode", "CUBALIFNode")


def _run(model: nn.Module, x: Tensor) -> Tensor:
    functional = package(f"{_ROOT}.functional", extra="interop")
    functional.reset_net(model)
    functional.set_step_mode(model, "s")
    model.eval()
    return torch.stack([model(x_t) for x_t in x.unbind(0)])


def _neuron(nodes: Any, node: Any, given: Surrogate | None) -> Spiking:
    kind = type(node).__name__
    if kind not in _NODES or type(node) is not getattr(nodes, kind):
        raise InputError(f"{kind} has no counterpart; {', '.join(_NODES)} have one")
    hard = node.v_reset is not None
    reset: Any = "hard" if hard else "soft"
    values: dict[str, Any] = {"theta": node.v_threshold, **({"v_reset": node.v_reset} if hard else {})}
    learn: tuple[str, ...] = ()
    if kind == "IFNode":
        neuron = ours.integrate_fire(reset=reset)
    elif kind == "LIFNode":
        neuron = ours.lif(reset=reset, input_decay=bool(node.decay_input))
        values |= {"tau": node.tau, "v_rest": node.v_reset or 0.0}
    elif kind == "ParametricLIFNode":
        if node.v_reset:
            raise InputError(f"ParametricLIFNode rests at v_reset={node.v_reset}, and our PLIF at 0; set v_reset=0.0")
        neuron, learn = ours.plif(reset=reset, input_decay=bool(node.decay_input)), ("w",)
        values |= {"w": node.w}
    elif kind == "QIFNode":
        neuron = ours.quadratic_if(reset=reset)
        values |= {"tau": node.tau, "a0": node.a0, "v_rest": node.v_rest, "v_c": node.v_c}
    elif kind == "EIFNode":
        neuron = ours.exponential_if(reset=reset)
        values |= {"tau": node.tau, "delta_t": node.delta_T, "v_t": node.theta_rh, "v_rest": node.v_rest}
    else:
        neuron = ours.cuba_lif(reset=reset)
        values |= {"tau_syn": tau_of(node.c_decay), "tau_mem": tau_of(node.v_decay)}
    return Spiking(
        started(neuron, v=float(node.v_reset)) if node.v_reset else neuron,
        learn=learn,
        surrogate=given or _surrogate(node.surrogate_function),
        detach_reset=bool(getattr(node, "detach_reset", False)),
        **values,
    )


def _surrogate(theirs: Any) -> Surrogate:
    kind = type(theirs).__name__
    if kind not in _SURROGATES:
        known = ", ".join(_SURROGATES)
        raise InputError(f"surrogate {kind} has no counterpart ({known} have one); give surrogate=")
    return _SURROGATES[kind](theirs)


def _node(nodes: Any, surrogates: Any, layer: Spiking) -> nn.Module:
    neuron, values = layer.neuron, layer.values()
    family, reset = _family(neuron)
    numbers = {name: scalar(value, name) for name, value in values.items()}
    v_reset = numbers["v_reset"] if reset == "hard" else None
    if neuron.states["v"] != (v_reset or 0.0):
        raise InputError(f"theirs starts at v_reset={v_reset}, and this one at {neuron.states['v']:g}")
    common = {
        "v_threshold": numbers["theta"],
        "v_reset": v_reset,
        "surrogate_function": _their_surrogate(surrogates, layer.surrogate),
    }
    if family == "cuba_lif":
        decays = {f"{key}_decay": float(decay_of(numbers[f"tau_{name}"])) for key, name in (("c", "syn"), ("v", "mem"))}
        node = nodes.CUBALIFNode(**decays, **common)
        node.step_mode, node.detach_reset = "m", layer.detach_reset
        return node
    common |= {"detach_reset": layer.detach_reset, "step_mode": "m"}
    if family == "integrate_fire":
        return nodes.IFNode(**common)
    if numbers["v_rest"] != (v_reset or 0.0):
        raise InputError(f"LIFNode rests at its v_reset ({v_reset}), and this one at v_rest={numbers['v_rest']:g}")
    whole = family == "lif, input whole"
    return nodes.LIFNode(tau=numbers["tau"], decay_input=not whole, **common)


_FAMILIES: Mapping[str, tuple[str, str]] = {
    **{ours.integrate_fire(reset=reset).digest: ("integrate_fire", reset) for reset in ("soft", "hard")},
    **{ours.lif(reset=reset).digest: ("lif", reset) for reset in ("soft", "hard")},
    **{ours.lif(reset=reset, input_decay=False).digest: ("lif, input whole", reset) for reset in ("soft", "hard")},
    **{ours.cuba_lif(reset=reset).digest: ("cuba_lif", reset) for reset in ("soft", "hard")},
}


def _family(neuron: Neuron) -> tuple[str, str]:
    if neuron.digest not in _FAMILIES:
        raise InputError(
            f"SpikingJelly has no neuron with the equations of {neuron.name!r} and its options; IF, LIF "
            "and CubaLIF(input_decay=False) have one"
        )
    return _FAMILIES[neuron.digest]


def _their_surrogate(surrogates: Any, mine: Surrogate) -> Any:
    if mine.name == "rectangle":
        return surrogates.Rect(1 / mine.params["width"])
    if mine.name not in _THEIRS:
        raise InputError(f"SpikingJelly has no surrogate as {mine.name!r}; it has {', '.join(_THEIRS)}, rectangle")
    return getattr(surrogates, _THEIRS[mine.name])(mine.params["alpha"])
