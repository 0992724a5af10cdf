"""What is common to models of other frameworks: rows of layers, torch's own among them, compared by spikes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from snnkit.convert.probe import differing, outputs, probes
from snnkit.convert.shapes import after, first_shape, layers
from snnkit.errors import InputError, SnnkitError
from snnkit.files.layers import LAYERS
from snnkit.files.schema import UnfitError
from snnkit.network import Network, row
from snnkit.neuron import Neuron
from snnkit.spiking import Spiking
from snnkit.train.layers import neuron_layer

ROUNDED = 1e-4
"""Share of outputs that may differ, because another way to write a decay rounds otherwise."""

UNPRUNE = "torch.nn.utils.prune.remove(layer, 'weight') for pruned layers"
"""What makes our own networks ones that can be copied."""

_CLOSE = 1e-4

Model = TypeVar("Model", bound=nn.Module)

Make = Callable[[nn.Module], list[nn.Module]]
"""Returns our layers for one of theirs, or raises InputError."""


def rows(model: nn.Module, within: str = "", *, kinds: tuple[type, ...] = ()) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of `nn.Sequential`, or of other kinds that are like it, those of inner ones in their place."""
    if type(model) not in (nn.Sequential, *kinds):
        raise InputError(
            f"a row of layers is read, such as nn.Sequential, not {type(model).__name__}; where its forward is one "
            "layer after the other, put them in nn.Sequential, else go through NIR"
        )
    for name, module in row(model):
        if type(module) in (nn.Sequential, *kinds):
            yield from rows(module, f"{within}{name}.", kinds=kinds)
        elif not isinstance(module, nn.Identity):
            yield f"{within}{name}", module


def network(title: str, model: nn.Module, make: Make, *, kinds: tuple[type, ...] = ()) -> Network:
    """Return our network for a model of theirs; raises InputError with the name of a layer that has no counterpart."""
    if not isinstance(model, nn.Module):
        raise InputError(f"a model of {title} is a torch module, not {type(model).__name__}")
    found: list[nn.Module] = []
    for name, module in rows(model, kinds=kinds):
        try:
            found += make(module)
        except SnnkitError as error:
            raise InputError(f"layer {name!r} of the {title} model: {error}") from None
    if not found:
        raise InputError(f"the {title} model has no layers")
    return Network(*found).train(model.training)


def exported(title: str, net: Network, make: Callable[[nn.Module], nn.Module]) -> list[nn.Module]:
    """Return their layers for those of our network; raises InputError with the name of one without a counterpart."""
    if not isinstance(net, Network):
        raise InputError(f"a snnkit.Network is exported, not {type(net).__name__}; type snnkit.Network(*layers)")
    found = []
    for name, module in layers(net):
        try:
            found.append(make(module))
        except SnnkitError as error:
            raise InputError(f"layer {name!r}, to {title}: {error}") from None
    return found


def torch_layer(module: nn.Module, known: Mapping[str, type[nn.Module]] | None = None, **more: Any) -> nn.Module | None:
    """Return a copy of a layer of torch, or None where it is none.

    Args:
        module: of torch, or of a class that is named and made as torch's.
        known: name to the class that is wanted, in place of torch's own.
        more: further arguments of that class.
    """
    base = next((kind for kind in type(module).__mro__ if kind.__name__ in LAYERS and _torch(kind)), None)
    if base is None:
        return None
    described = LAYERS[base.__name__]
    try:
        arguments = described.check(described.describe(module))
    except UnfitError as error:
        raise InputError(str(error)) from None
    wanted = base if known is None else known.get(base.__name__)
    if wanted is None:
        return None
    layer = wanted(**arguments, **more)
    layer.load_state_dict(module.state_dict())
    return layer.train(module.training)


def _torch(kind: type) -> bool:
    return kind.__module__.startswith("torch.nn.modules.")


def agree(title: str, net: Network, theirs: Callable[[Tensor], Tensor], shape: Sequence[int] | None) -> None:
    """Raise InputError unless our network and theirs give the same spikes for inputs drawn at random.

    Args:
        title: of the framework.
        net: ours.
        theirs: returns the outputs [T, B, features…] of the evaluated model for an input, from fresh state.
        shape: features of one step of the input, where the first layer does not tell them.
    """
    last = neuron_layer(net[-1])
    spiking = last is not None and last.neuron.spiking
    refusals: list[InputError] = []
    start = at = first_shape(net, shape)
    for name, module in layers(net):
        at = after(module, at, name)
    inputs = probes(start)
    for name, x in inputs.items():
        try:
            ours = outputs(net, x)[-1]
        except InputError as error:
            # neurons that run away by design do so for large inputs
            refusals.append(error)
            continue
        with torch.no_grad():
            found = theirs(x)
        count = differing(ours, found)
        scale = float(ours.abs().max())
        if not spiking and ours.shape == found.shape:
            count = int(((ours - found).abs() > _CLOSE * scale + 1e-6).sum())
        if count > ROUNDED * ours.numel():
            raise InputError(
                f"on {name}, {count:,} of {ours.numel():,} outputs differ from those of {title}: the model does more "
                "than its layers tell, or a membrane lies where the two are known to differ"
            )
    if len(refusals) == len(inputs):
        raise refusals[0]


def copied(model: Model, remedy: str) -> Model:
    """Return a copy of a model; raises InputError where it holds what torch does not copy, with what to type."""
    try:
        return copy.deepcopy(model)
    except RuntimeError:
        raise InputError(
            f"the model holds state with a gradient, so it cannot be copied; type {remedy} first"
        ) from None


def scalar(value: Any, name: str) -> float:
    """Return the one number that a parameter has for all neurons; raises InputError where it has more."""
    values = torch.as_tensor(value).detach().double().reshape(-1)
    if not bool((values == values[0]).all()):
        raise InputError(f"{name} has a value for each neuron, and theirs is one number")
    return float(values[0])


def above(threshold: Any) -> Tensor:
    """Return the smallest float32 above a threshold: where they fire above theirs, we fire at this."""
    return _next(threshold, math.inf)


def below(theta: Any) -> Tensor:
    """Return the largest float32 below a threshold: where we fire at ours, they fire above this."""
    return _next(theta, -math.inf)


def _next(value: Any, towards: float) -> Tensor:
    start = torch.as_tensor(value).detach().float().cpu()
    return torch.nextafter(start, torch.full_like(start, towards))


def decay_of(tau: Any) -> Tensor:
    """Return the factor 1 - 1 / tau that a step leaves."""
    return (1 - 1 / torch.as_tensor(tau).detach().double()).float()


def tau_of(decay: Any) -> Tensor:
    """Return the time constant 1 / (1 - decay) in steps; raises InputError unless the decay is in 0..1, 1 excluded."""
    value = torch.as_tensor(decay).detach().double()
    if not bool(((value >= 0) & (value < 1)).all()):
        raise InputError(f"a decay of {value.reshape(-1)[:3].tolist()} is not in 0..1, 1 excluded")
    return (1 / (1 - value)).float()


def same_equations(module: nn.Module, neuron: Neuron) -> bool:
    """Return whether a layer is one of neurons with these equations, and starts as they do."""
    inner = module if isinstance(module, Spiking) else None
    return inner is not None and inner.neuron.digest == neuron.digest and inner.neuron.states == neuron.states


def started(neuron: Neuron, **states: float) -> Neuron:
    """Return a neuron with other start values."""
    data = neuron.to_dict()
    return Neuron.from_dict({**data, "states": {**data["states"], **states}})
