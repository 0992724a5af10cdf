"""Take a network apart into populations and what connects them, in real numbers, or say why the chip cannot have it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from snnkit.convert.rows import UNPRUNE, copied
from snnkit.deploy.integer import INPUT
from snnkit.deploy.quantisation.affine import AFFINE, NORMS, NOTHING, SHAPES, Scale, Weights, bias, weights
from snnkit.deploy.quantisation.neurons import APPROXIMATIONS, Dynamics, dynamics, hardened
from snnkit.deploy.synapses import LONGEST
from snnkit.errors import InputError, nearest
from snnkit.network import Network
from snnkit.spiking import Spiking
from snnkit.synapse import Delayed, Recurrent
from snnkit.train.layers import neuron_layer

_ADVICE: dict[type[nn.Module], str] = {
    nn.MaxPool1d: "chips add and do not compare: use nn.AvgPool1d, or a stride",
    nn.MaxPool2d: "chips add and do not compare: use nn.AvgPool2d, or a stride",
    nn.LayerNorm: "its statistics change with every step: use nn.BatchNorm, which is folded into weights",
    nn.GroupNorm: "its statistics change with every step: use nn.BatchNorm, which is folded into weights",
    nn.ReLU: "what passes between layers is spikes: put snnkit.LIF(reset='hard') in its place and train",
}


@dataclass(frozen=True, eq=False)
class Link:
    """Weights into a population, in membrane per spike.

    Args:
        name: of the layer that they come from.
        source: a population, or the input.
        weights: real numbers; the gain of the neurons is in them.
    """

    name: str
    source: str
    weights: Weights


@dataclass(frozen=True, eq=False)
class Stage:
    """A population in real numbers; see `Dynamics`.

    Args:
        name: of the layer of neurons.
        kind: its neuron.
        shape: features.
        links: what arrives.
        keep_u, keep_v: what a step leaves of current and membrane, scalars or [neurons], float64.
        theta: threshold above the reset; None for a readout.
        drive: added to the current in every step, [neurons].
        drift: added to the membrane in every step, [neurons].
        start: the membrane before the first step.
        zero: the membrane of the network that is 0 here.
        early: whether biases are as the approximation `early_bias` has them.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    links: tuple[Link, ...]
    keep_u: np.ndarray
    keep_v: np.ndarray
    theta: np.ndarray | None
    drive: np.ndarray
    drift: np.ndarray
    start: np.ndarray
    zero: np.ndarray
    early: bool = False


def check_approximations(approximate: Collection[str]) -> None:
    """Raise InputError for a name that is not in `APPROXIMATIONS`."""
    for name in approximate:
        if name not in APPROXIMATIONS:
            known = "; ".join(f"{key}: {text}" for key, text in APPROXIMATIONS.items())
            raise InputError(f"no approximation {name!r}{nearest(str(name), APPROXIMATIONS)}; known: {known}")


def approximated(net: Network, approximate: Collection[str]) -> Network:
    """Return a copy of a network with the approximations that are allowed made where they are needed.

    Raises:
        InputError: a network that torch cannot copy.
    """
    net = copied(net, UNPRUNE)
    if "hard_reset" in approximate:
        for parent in list(net.modules()):
            for name, child in parent._modules.items():
                if isinstance(child, Spiking):
                    setattr(parent, name, hardened(child))
    if "clamp_delays" in approximate:
        with torch.no_grad():
            for module in net.modules():
                if isinstance(module, Delayed):
                    module.delay.clamp_(max=LONGEST)
    return net


def lower(net: Network, shape: Sequence[int], *, early: bool = False) -> tuple[Stage, ...]:
    """Return the populations of a network, in order.

    Args:
        net: on the CPU, evaluated with its running statistics.
        shape: features of its input.
        early: whether biases act as the approximation `early_bias` says.
    Raises:
        InputError: what the chip cannot have, by name, with what to do.
    """
    stages: list[Stage] = []
    chain: list[tuple[str, nn.Module]] = []
    features, source = tuple(shape), INPUT
    for name, module in _modules(net, ""):
        if stages and stages[-1].theta is None:
            if isinstance(module, (*SHAPES, *NOTHING)):
                continue
            raise InputError(
                f"the readout {stages[-1].name!r} is followed by {name!r} ({type(module).__name__}), and a membrane "
                "does not travel on the chip: make the readout the last layer, or a spiking layer of it"
            )
        if neuron_layer(module) is None:
            _check_affine(name, module)
            chain.append((name, module))
            continue
        stages.append(_stage(name, module, chain, features, source))
        chain, features, source = [], stages[-1].shape, name
    if not stages or any(not isinstance(module, (*SHAPES, *NOTHING)) for _, module in chain):
        last = chain[-1][0] if chain else "nothing"
        raise InputError(
            f"the network ends with {last!r}, and a chip's answer is that of neurons; add snnkit.Readout() or a "
            "spiking layer"
        )
    return tuple(replace(stage, early=early) for stage in stages)


def _modules(net: nn.Module, within: str) -> Iterator[tuple[str, nn.Module]]:
    # named_children leaves out what occurs twice.
    for name, module in net._modules.items():
        if isinstance(module, nn.Sequential):
            yield from _modules(module, f"{within}{name}.")
        elif module is not None:
            yield f"{within}{name}", module


def check_parts(net: Network) -> None:
    """Raise InputError for what the chip cannot have, by name, as far as no input is needed to know."""
    for name, module in _modules(net, ""):
        layer = neuron_layer(module)
        if layer is None:
            _check_affine(name, module)
            continue
        dynamics(layer, where=name)
        if isinstance(module, Recurrent):
            _within(module, name)


def _check_finite(name: str, module: nn.Module) -> None:
    for key, value in module.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise InputError(
                f"layer {name!r} ({type(module).__name__}) holds NaN or infinity in its {key}; train it again with a "
                "smaller learning rate, or load what is finite"
            )


def _check_affine(name: str, module: nn.Module) -> None:
    _check_finite(name, module)
    kind = type(module)
    if isinstance(module, NORMS) and module.running_var is None:
        raise InputError(f"layer {name!r} ({kind.__name__}) keeps no running statistics; use track_running_stats=True")
    if not isinstance(module, AFFINE):
        advice = next((text for known, text in _ADVICE.items() if isinstance(module, known)), None)
        known = "Linear, Conv1d, Conv2d, BatchNorm, AvgPool, Flatten, Dropout, and layers with delays"
        raise InputError(f"layer {name!r} is {kind.__name__}; {advice or f'between neurons chips take {known}'}")
    if isinstance(module, Delayed):
        if module.tail:
            raise InputError(
                f"layer {name!r} has tail={module.tail}, and the chip goes on for as long as it is told: build it with "
                "tail=0, and add silent steps to the input"
            )
        longest = int(module.rounded().max())
        if longest > LONGEST:
            raise InputError(
                f"layer {name!r} has delays of up to {longest} steps, and chips take {LONGEST}: train with max_delay="
                f"{LONGEST}, or cut them by approximate=('clamp_delays',)"
            )


def _stage(
    name: str, module: nn.Module, chain: list[tuple[str, nn.Module]], shape: tuple[int, ...], source: str
) -> Stage:
    layer = neuron_layer(module)
    assert layer is not None
    rules = dynamics(layer, where=name)
    _check_finite(name, module)
    arrives = bias(chain, shape)
    features = tuple(arrives.shape)
    links = [_link(_named(chain, name), source, [*(part for _, part in chain), _gain(rules)], shape)]
    drive = arrives
    if isinstance(module, Recurrent):
        inner = _within(module, name)
        drive = drive + bias(inner, features)
        links.append(_link(f"{name}.connection", name, [*(part for _, part in inner), _gain(rules)], features))
    return Stage(
        name=name,
        kind=layer.neuron.name,
        shape=features,
        links=tuple(part for link in links for part in link),
        keep_u=_flat(rules.keep_u, features),
        keep_v=_flat(rules.keep_v, features),
        theta=None if rules.theta is None else _flat(rules.theta, features),
        drive=_each(drive * rules.gain, features),
        drift=_each(rules.drift, features),
        start=_flat(rules.start, features),
        zero=_flat(rules.zero, features),
    )


def _within(module: Recurrent, name: str) -> list[tuple[str, nn.Module]]:
    """Return the modules from a layer's output to its input."""
    if not module.layer.neuron.spiking:
        raise InputError(
            f"the readout {name!r} hears its own membrane, and a membrane does not travel on the chip: take a layer "
            "that spikes, or the readout alone"
        )
    path = f"{name}.connection"
    connection = module.connection
    inner = list(_modules(connection, f"{path}.")) if isinstance(connection, nn.Sequential) else [(path, connection)]
    for where, part in inner:
        if neuron_layer(part) is not None:
            raise InputError(f"layer {where!r} is of neurons within a recurrent connection; chips take weights there")
        _check_affine(where, part)
    return inner


def _named(chain: Sequence[tuple[str, nn.Module]], neurons: str) -> str:
    """Return the name of the last layer with weights, or of the last layer, or one after the neurons."""
    weighted = [name for name, module in chain if any(True for _ in module.parameters())]
    others = [name for name, module in chain if not isinstance(module, (*SHAPES, *NOTHING))]
    return (weighted or others or [f"{neurons}.in"])[-1]


def _link(name: str, source: str, chain: Sequence[nn.Module], shape: Sequence[int]) -> list[Link]:
    found = weights(chain, shape, where=name, longest=LONGEST)
    return [Link(name if k == 0 else f"{name}.more{k}", source, part) for k, part in enumerate(found)]


def _gain(rules: Dynamics) -> Scale:
    return Scale(rules.gain)


def _flat(value: Tensor, shape: Sequence[int]) -> np.ndarray:
    """Return a parameter as a scalar, or as one number for each neuron."""
    return value.reshape(()).numpy() if value.numel() == 1 else _each(value, shape)


def _each(value: Tensor, shape: Sequence[int]) -> np.ndarray:
    return value.expand(tuple(shape)).reshape(-1).numpy().copy()
