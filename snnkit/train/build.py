"""A network from the layers of a recipe: names from a list, arguments checked against what each layer takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from snnkit import synapse
from snnkit.errors import RecipeError, SnnkitError, nearest
from snnkit.network import Network
from snnkit.neuron import FAMILIES, Surrogate
from snnkit.neuron.surrogate import SURROGATES
from snnkit.spiking import layer
from snnkit.synapse import Recurrent
from snnkit.train.recipe import NetworkSettings

_TORCH = (
    *("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d"),
    *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm", "GroupNorm"),
    *("AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d"),
    *("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d"),
    *("Dropout", "Dropout1d", "Dropout2d", "Flatten", "Unflatten", "Identity", "ReLU"),
)
_DELAYS = ("DelayLinear", "DelayConv1d", "DelayConv2d")
_SHORT = {"in": ("in_features", "in_channels", "n_inputs"), "out": ("out_features", "out_channels", "n_outputs")}


def build_network(settings: NetworkSettings, *, seed: int = 0) -> Network:
    """Make the network that a recipe describes, its first weights a function of the seed.

    A layer is a table with a `type`: a torch layer such as Linear (`in` and `out` stand for its sizes), one with
    delays such as DelayLinear, a neuron such as LIF with its options and parameters (`surrogate` is a name or a table
    with a name), Recurrent with a `layer` and a `connection`, or Network with `layers`.

    Args:
        settings: the section [network].
        seed: of the first weights; the global random state is left as it was.
    Returns:
        The network, on the CPU.
    Raises:
        RecipeError: an unknown type or argument, or a value that the layer refuses.

    Example:
        >>> layers = ({"type": "Linear", "in": 64, "out": 10}, {"type": "LIF", "tau": 2.0, "learn": ["tau"]})
        >>> net = build_network(NetworkSettings(layers=layers))
        >>> net[0].in_features
        64
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _network(settings.layers, "layer ")


def _network(specifications: Any, where: str) -> Network:
    return Network(*(_layer(specification, f"{where}{k}") for k, specification in enumerate(specifications)))


def _layer(specification: Any, where: str) -> nn.Module:
    """Make one layer; `where` names it in messages."""
    if not isinstance(specification, Mapping) or not isinstance(specification.get("type"), str):
        raise RecipeError(f'[network] {where} is {specification!r}; needed is e.g. {{type = "LIF", tau = 2.0}}')
    kind = specification["type"]
    arguments = {key: value for key, value in specification.items() if key != "type"}
    where = f"{where} ({kind})"
    if kind == "Network":
        return _network(_taken(arguments, where, layers=list)["layers"], f"{where}, layer ")
    if kind == "Recurrent":
        parts = _taken(arguments, where, layer=Mapping, connection=Mapping)
        made = {name: _layer(part, f"{where}, {name}") for name, part in parts.items()}
        return _made(Recurrent, made, where)
    if kind in FAMILIES:
        return _made(layer(kind), _neuron_arguments(arguments, where), where)
    if kind in (*_TORCH, *_DELAYS):
        constructor = getattr(synapse if kind in _DELAYS else nn, kind)
        return _made(constructor, _torch_arguments(constructor, arguments, where), where)
    known = (*_TORCH, *_DELAYS, *FAMILIES, "Recurrent", "Network")
    raise RecipeError(f"[network] {where}: no such type{_nearest_type(kind, known)}")


def _nearest_type(kind: str, known: tuple[str, ...]) -> str:
    """Return the type that is meant, else all types; a layer of torch that recipes do not have resembles none."""
    same = [name for name in known if name.lower() == kind.lower()]
    if same:
        return f"; did you mean {same[0]!r}?"
    if hasattr(nn, kind):
        return f", though torch has one; known: {', '.join(known)}"
    return nearest(kind, known) or f"; known: {', '.join(known)}"


def _made(constructor: Callable[..., nn.Module], arguments: Mapping[str, Any], where: str) -> nn.Module:
    try:
        return constructor(**arguments)
    except SnnkitError as error:
        raise RecipeError(f"[network] {where}: {error}") from None
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecipeError(f"[network] {where} refuses {dict(arguments)}: {reason}") from None


def _taken(arguments: Mapping[str, Any], where: str, **needed: type) -> dict[str, Any]:
    """Return the arguments where they are exactly those needed, of their types."""
    for name in arguments:
        if name not in needed:
            raise RecipeError(f"[network] {where} has no {name!r}{nearest(name, needed)}; it takes {', '.join(needed)}")
    for name, kind in needed.items():
        if not isinstance(arguments.get(name), kind):
            form = "[{type = …}, …]" if kind is list else "{type = …}"
            raise RecipeError(f"[network] {where} needs {name}: type {name} = {form}")
    return dict(arguments)


def _torch_arguments(constructor: type[nn.Module], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    parameters = inspect.signature(constructor).parameters
    taken = [
        name
        for name, parameter in parameters.items()
        if name not in ("device", "dtype") and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    short = {key: name for key, names in _SHORT.items() for name in names if name in taken}
    arguments = {}
    for key, value in given.items():
        name = short.get(key, key)
        if name not in taken:
            known = [*short, *taken]
            takes = f"it takes {', '.join(known)}" if known else "it takes nothing"
            raise RecipeError(f"[network] {where} has no {key!r}{nearest(key, known)}; {takes}")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    for name in taken:
        if parameters[name].default is inspect.Parameter.empty and name not in arguments:
            key = next((key for key, full in short.items() if full == name), name)
            raise RecipeError(f"[network] {where} needs {key}: type e.g. {key} = 64")
    return arguments


def _neuron_arguments(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    arguments = dict(given)
    if not isinstance(arguments.get("detach_reset", True), bool):
        raise RecipeError(f"[network] {where}: detach_reset is {given['detach_reset']!r}; type true or false")
    if "surrogate" in arguments:
        arguments["surrogate"] = _surrogate(arguments["surrogate"], where)
    return arguments


def _surrogate(given: Any, where: str) -> Surrogate:
    table = {"name": given} if isinstance(given, str) else dict(given) if isinstance(given, Mapping) else {}
    name = str(table.pop("name", None))
    constructor: Callable[..., Surrogate] | None = SURROGATES.get(name)
    if constructor is None:
        raise RecipeError(
            f"[network] {where}: surrogate is {given!r}{nearest(name, SURROGATES)}; "
            f'needed is one of {", ".join(SURROGATES)}, or a table such as {{name = "atan", alpha = 2.0}}'
        )
    try:
        return constructor(**table)
    except (TypeError, SnnkitError) as error:
        raise RecipeError(f"[network] {where}: surrogate {name} refuses {table}: {error}") from None
