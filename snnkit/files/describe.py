"""A network's graph as plain data, and the network of such data. Both ways pass the same checks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from torch import nn

from snnkit.codegen.backends import BACKENDS
from snnkit.errors import SnnkitError, nearest
from snnkit.files.layers import LAYERS
from snnkit.files.schema import (
    NeedError,
    UnfitError,
    choice,
    either,
    exactly,
    flag,
    named,
    real,
    record,
    rows,
    table,
    text,
)
from snnkit.network import Network
from snnkit.neuron import Neuron, Surrogate
from snnkit.spiking import Spiking
from snnkit.synapse import Recurrent

_Result = TypeVar("_Result")

DEEPEST = 16
"""How deep networks nest in a file."""

_MOST_LAYERS = 10_000
_CONTAINERS: Mapping[str, type[nn.Sequential]] = {"Network": Network, "Sequential": nn.Sequential}
_NAME = text(200)
_EQUATION = text(2000)
_EQUATIONS = rows(_EQUATION, most=256)


def _endless(value: Any) -> None:
    if value is not None:
        raise NeedError("null for no bound")


_BOUND = either(real(), _endless)
_NEURON = record(
    name=_NAME,
    states=table(real(), most=64),
    params=table(record(default=real(), low=_BOUND, high=_BOUND, learn=flag), most=256),
    update=_EQUATIONS,
    spike=_EQUATIONS,
    reset=_EQUATIONS,
    reference=text(2000),
)
_SURROGATE = record(
    name=_NAME, params=table(real(), most=64), derivative=_EQUATION, primitive=_EQUATION, reference=text(2000)
)
_SPIKING: Mapping[str, Callable[[Any], Any]] = {
    "neuron": _NEURON,
    "surrogate": _SURROGATE,
    "learn": rows(_NAME, most=256),
    "detach_reset": flag,
    "backend": choice(*BACKENDS),
}
_KEYS = {
    **dict.fromkeys(_CONTAINERS, ("layers",)),
    "Recurrent": ("layer", "connection"),
    "Spiking": tuple(_SPIKING),
}


def describe(net: Network) -> dict[str, Any]:
    """Return a network's graph as plain data; raises UnfitError where files do not store a layer."""
    _check_shared(net)
    return _describe(net, "the network")


def build(graph: Any) -> Network:
    """Return the network of a graph, torch's parameters not yet in memory; raises UnfitError where it is not one."""
    net = _build(graph, "the network", _Count(DEEPEST))
    if not isinstance(net, Network):
        raise UnfitError(f"/graph describes a {type(net).__name__}; needed is a Network")
    return net


class _Count:
    """How many layers came, and how deep they may still nest."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.layers = 0

    @contextlib.contextmanager
    def inside(self, where: str) -> Iterator[None]:
        self.layers += 1
        if self.layers > _MOST_LAYERS or self.depth < 0:
            raise UnfitError(f"{where} is one too many: at most {_MOST_LAYERS:,} layers, nested {DEEPEST} deep")
        self.depth -= 1
        yield
        self.depth += 1


def _describe(module: nn.Module, where: str) -> dict[str, Any]:
    kind = type(module)
    # torch offers no other way to see hooks, and a hook that is left out could change what a layer does.
    if module._forward_hooks or module._forward_pre_hooks:
        raise UnfitError(f"{where} has a forward hook, which files do not store; remove it")
    head = {"type": kind.__name__, "training": module.training}
    if kind in _CONTAINERS.values() and isinstance(module, nn.Sequential):
        names = [name for name, _ in module.named_children()]
        if names != [str(k) for k in range(len(module))]:
            raise UnfitError(f"the layers of {where} are named {names}; build it anew, as in snnkit.Network(*layers)")
        inner = (_describe(child, _layer(where, name)) for name, child in module.named_children())
        return head | {"layers": list(inner)}
    if kind is Recurrent and isinstance(module, Recurrent):
        return head | {
            "layer": _describe(module.layer, _layer(where, "layer")),
            "connection": _describe(module.connection, _layer(where, "connection")),
        }
    if kind is Spiking and isinstance(module, Spiking):
        return head | {
            "neuron": module.neuron.to_dict(),
            "surrogate": module.surrogate.to_dict(),
            "learn": list(module.learn),
            "detach_reset": module.detach_reset,
            "backend": module.backend,
        }
    if kind.__name__ not in LAYERS or LAYERS[kind.__name__].make is not kind:
        raise UnfitError(f"{where} is a {kind.__module__}.{kind.__name__}; {_known(kind.__name__)}")
    return head | {"arguments": _within(where, lambda: LAYERS[kind.__name__].describe(module))}


def _build(node: Any, where: str, count: _Count) -> nn.Module:
    kind = node.get("type") if isinstance(node, dict) else None
    if not isinstance(kind, str):
        raise UnfitError(f"{where} is {node!r:.80}; needed is a mapping with its type")
    if kind not in _KEYS and kind not in LAYERS:
        raise UnfitError(f"{where} is a {kind!r:.80}; {_known(kind)}")
    _within(where, lambda: exactly(node, ("type", "training", *_KEYS.get(kind, ("arguments",)))))
    with count.inside(where):
        if kind in _CONTAINERS:
            module: nn.Module = _CONTAINERS[kind](*_children(node["layers"], where, count))
        elif kind == "Recurrent":
            module = _recurrent(node, where, count)
        else:
            module = _within(
                where, lambda: _spiking(node) if kind == "Spiking" else LAYERS[kind].build(node["arguments"])
            )
    module.training = named(f"training of {where}", node["training"], flag)
    return module


def _children(nodes: Any, where: str, count: _Count) -> Iterator[nn.Module]:
    if not isinstance(nodes, list):
        raise UnfitError(f"layers of {where} is {nodes!r:.80}; needed is a list")
    return (_build(node, _layer(where, str(k)), count) for k, node in enumerate(nodes))


def _recurrent(node: dict[str, Any], where: str, count: _Count) -> Recurrent:
    layer = _build(node["layer"], _layer(where, "layer"), count)
    connection = _build(node["connection"], _layer(where, "connection"), count)
    if not isinstance(layer, Spiking) or isinstance(connection, Network | Spiking | Recurrent):
        raise UnfitError(f"{where} is not a spiking layer with a layer of torch for its connection")
    return Recurrent(layer, connection)


def _spiking(node: dict[str, Any]) -> Spiking:
    found = {name: named(name, node[name], check) for name, check in _SPIKING.items()}
    return Spiking(
        Neuron.from_dict(found["neuron"]),
        surrogate=Surrogate.from_dict(found["surrogate"]),
        learn=found["learn"],
        detach_reset=found["detach_reset"],
        backend=found["backend"],
    )


def _within(where: str, make: Callable[[], _Result]) -> _Result:
    """Return what a call returns, with the layer's place in its error."""
    try:
        return make()
    except (UnfitError, SnnkitError) as error:
        raise UnfitError(f"{where}: {error}") from None


def _layer(where: str, name: str) -> str:
    return f"layer {name}" if where == "the network" else f"{where}.{name}"


def _known(kind: str) -> str:
    known = (*_KEYS, *LAYERS)
    return f"files store no such layer{nearest(kind, known)}; known: {', '.join(known)}"


def _check_shared(net: Network) -> None:
    """Raise UnfitError where a module or tensor occurs twice: a file would make two of it."""
    for what, members in (
        ("layer", net.named_modules(remove_duplicate=False)),
        ("parameter", net.named_parameters(remove_duplicate=False)),
        ("buffer", net.named_buffers(remove_duplicate=False)),
    ):
        first: dict[int, str] = {}
        for name, member in members:
            if first.setdefault(id(member), name) != name:
                same = f"{first[id(member)]} and {name} are the same {what}"
                raise UnfitError(f"{same}; use copy.deepcopy for one of them")
