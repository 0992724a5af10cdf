"""A graph of NIR as a network: a row of layers, with its delays and recurrent connections found in the edges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from snnkit.convert.rows import started
from snnkit.convert.shapes import Shape, after
from snnkit.deploy.nir.delays import Branch, delayed, linear, parameter, whole_steps
from snnkit.deploy.nir.forms import FIELDS, neuron_of, to_steps
from snnkit.deploy.nir.graph import Graph, Node
from snnkit.errors import InputError
from snnkit.files.schema import UnfitError
from snnkit.network import Network
from snnkit.spiking import Spiking
from snnkit.synapse import Recurrent

_LINEAR = ("Linear", "Affine")
_LONGEST_PATH = 8
_LARGEST = 1 << 28


@dataclass(frozen=True)
class Convention:
    """What a writer means by its numbers, where that is not what NIR says.

    Args:
        at_threshold: it fires at the threshold, too.
        times_dt: its time constants are multiplied by dt once too often.
        per_step: `r` of its IF is for a step, and a spike adds 1 to the current of its CubaLIF, whatever `w_in`.
        start: the parameter where its membranes start, in place of 0.
    """

    at_threshold: bool = False
    times_dt: bool = False
    per_step: bool = False
    start: str = ""


WRITERS: Mapping[str, Convention] = {
    "nir": Convention(),
    "snntorch": Convention(),
    "spikingjelly": Convention(at_threshold=True, start="v_reset"),
    "norse": Convention(times_dt=True, per_step=True, start="v_leak"),
}
"""Known writers; `nir` is one that means what NIR says, as we do."""


def build(graph: Graph, dt: float, convention: Convention, *, ours: bool) -> tuple[Network, Shape]:
    """Return the network of a graph, and the shape of its input.

    Args:
        graph: checked.
        dt: the step, in the unit of the graph's times.
        convention: of its writer.
        ours: whether the notes in it are ours.
    Raises:
        UnfitError: a graph that is not a row of layers, or a layer that we do not have.
    """
    return _Row(graph, dt, convention, ours=ours).network()


class _Row:
    """The walk from the input to the output."""

    def __init__(self, graph: Graph, dt: float, convention: Convention, *, ours: bool) -> None:
        self.graph, self.dt, self.convention, self.ours = graph, dt, convention, ours
        self.layers: list[nn.Module] = []
        self.sizes: dict[nn.Module, Shape] = {}
        self.used: set[str] = set()

    def network(self) -> tuple[Network, Shape]:
        """Walk it."""
        name, end = self._only("Input"), self._only("Output")
        first = tuple(int(size) for size in self.graph.nodes[name].fields["shape"].reshape(-1))
        self.used.add(name)
        while name != end:
            name = self._forward(name)
        left = sorted(set(self.graph.nodes) - self.used)
        if left:
            raise UnfitError(f"node {left[0]!r:.80} lies on no way from the input to the output")
        if not self.layers:
            raise UnfitError("it leads from the input to the output without a layer")
        return Network(*self.layers).eval(), self._shape(first)

    def _only(self, kind: str) -> str:
        found = [name for name, node in self.graph.nodes.items() if node.kind == kind]
        if len(found) != 1:
            raise UnfitError(f"it has {len(found)} nodes of kind {kind}; one is read")
        return found[0]

    def _shape(self, first: Shape) -> Shape:
        """Return the shape of the input, without the batch of one that some writers put before it."""
        errors = []
        for shape in (first, first[1:]) if len(first) > 1 and first[0] == 1 else (first,):
            if min(shape) < 1 or math.prod(shape) > _LARGEST:
                raise UnfitError(f"its input has the shape {list(shape)}")
            try:
                at = shape
                for k, module in enumerate(self.layers):
                    if self.sizes.get(module, at) != at:
                        raise InputError(f"layer {str(k)!r} has {list(self.sizes[module])} neurons and gets {list(at)}")
                    at = after(module, at, str(k))
                return shape
            except InputError as error:
                errors.append(str(error))
        raise UnfitError(errors[-1])

    def _forward(self, name: str) -> str:
        """Add the layers between a node and the next, and return where that led."""
        paths = [path for path in map(self._path, self.graph.targets(name)) if path[-1] != name]
        if not paths:
            raise UnfitError(f"node {name!r:.80} leads nowhere")
        lengths = [self._length(path) for path in paths]
        if len(paths) == 1:
            if lengths[0] == 0:
                return self._take(paths[0][0], [name])
            branch = paths[0][: lengths[0]]
            self.layers.append(self._connection([branch], name))
            return branch[-1]
        target = paths[0][-1]
        if any(path[-1] != target or k != len(path) - 1 for path, k in zip(paths, lengths, strict=True)):
            ends = ", ".join(sorted({repr(path[-1]) for path in paths}))
            raise UnfitError(
                f"node {name!r:.80} leads to {ends:.200}: only branches of Delay and Linear that meet again are read, "
                "no other splits, skips and sums"
            )
        branches = [path[:-1] for path in paths]
        self.layers.append(self._connection(branches, name))
        return self._take(target, [branch[-1] for branch in branches])

    def _take(self, name: str, came: list[str]) -> str:
        """Add the layer of a node that has its input from some nodes, and from itself if it is recurrent."""
        node = self.graph.nodes[name]
        loops = [path[:-1] for path in map(self._path, self.graph.targets(name)) if path[-1] == name]
        known = [*came, *(path[-1] if path else name for path in loops)]
        if sorted(self.graph.sources(name)) != sorted(known) or name in self.used:
            others = ", ".join(sorted(map(repr, set(self.graph.sources(name)) - set(known)))) or "itself"
            raise UnfitError(
                f"node {name!r:.80} also gets input from {others:.200}: only delayed branches of one node, and a "
                "neuron's own output through Linear, are summed"
            )
        self.used.add(name)
        if node.kind == "Output":
            return name
        layer = self._layer(name, node)
        if loops:
            known = all(path and self._length([*path, name]) == len(path) for path in loops)
            if not isinstance(layer, Spiking) or not known:
                raise UnfitError(f"node {name!r:.80} ({node.kind}) leads to itself; a neuron may, through Linear")
            layer = Recurrent(layer, self._connection(loops, name))
        size = np.broadcast_shapes(*(value.shape for value in node.fields.values())) if node.kind in FIELDS else ()
        if math.prod(size) > 1:
            self.sizes[layer] = size
        self.layers.append(layer)
        return name

    def _path(self, start: str) -> list[str]:
        """Return the nodes from a branch's first to the node that it ends in; one that is no branch ends at once."""
        path = [start]
        while self._inner(path[-1]) and len(path) < _LONGEST_PATH:
            path.append(self.graph.targets(path[-1])[0])
        return path

    def _inner(self, name: str) -> bool:
        """Return whether a node is Delay or Linear with one way in and one out."""
        single = len(self.graph.sources(name)) == 1 and len(self.graph.targets(name)) == 1
        return self.graph.nodes[name].kind in (*_LINEAR, "Delay") and single

    def _length(self, path: list[str]) -> int:
        """Return how many nodes at the start of a path make a branch: [Delay] Linear [Delay]; 0 where none does."""
        nodes = [self.graph.nodes[name] for name in path[:-1]]
        kinds = [*(node.kind for node in nodes), "", "", ""]
        before = int(kinds[0] == "Delay")
        if kinds[before] not in _LINEAR:
            return 0
        noted = nodes[before].notes.get("kind") if self.ours else None
        # a delay between two Linears goes with the second, unless we wrote it for the first
        behind = kinds[before + 1] == "Delay" and (noted == "dendritic" or kinds[before + 2] not in _LINEAR)
        return before + 1 + int(behind)

    def _connection(self, branches: list[list[str]], name: str) -> nn.Module:
        where = f"what follows {name!r:.80}"
        self.used.update(*branches)
        return delayed([self._branch(branch, where) for branch in branches], where)

    def _branch(self, names: list[str], where: str) -> Branch:
        nodes = [self.graph.nodes[name] for name in names]
        middle = next(k for k, node in enumerate(nodes) if node.kind in _LINEAR)
        weight, bias = self._weight(names[middle], nodes[middle])
        before, behind = (
            whole_steps(nodes[k].fields["delay"], self.dt, count, where) if 0 <= k < len(nodes) else None
            for k, count in ((middle - 1, weight.shape[1]), (middle + 1, weight.shape[0]))
        )
        return Branch(weight, bias, before, behind, nodes[middle].notes if self.ours else {})

    def _weight(self, name: str, node: Node) -> tuple[np.ndarray, np.ndarray | None]:
        weight, bias = node.fields["weight"], node.fields.get("bias")
        if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
            sizes = f"{list(weight.shape)} and {None if bias is None else list(bias.shape)}"
            raise UnfitError(f"node {name!r:.80}, a {node.kind}, has weights and bias of shape {sizes}")
        return weight, bias

    def _layer(self, name: str, node: Node) -> nn.Module:
        try:
            if node.kind in FIELDS:
                return self._neuron(node)
            if node.kind in _LINEAR:
                return linear(*self._weight(name, node))
            if node.kind in _PLAIN:
                return _PLAIN[node.kind](node)
        except (InputError, ValueError, RuntimeError, TypeError, OverflowError) as error:
            raise UnfitError(f"node {name!r:.80}, a {node.kind}: {str(error)[:300]}") from None
        raise UnfitError(f"node {name!r:.80}, a {node.kind}, is read only beside Linear")

    def _neuron(self, node: Node) -> Spiking:
        fields, dt = dict(node.fields), self.dt
        if self.convention.times_dt:
            dt = dt * dt
        if self.convention.per_step and node.kind == "IF":
            fields["r"] = fields["r"] / dt
        if self.convention.per_step and node.kind == "CubaLIF":
            fields["w_in"] = np.asarray(fields["tau_syn"], np.float64) / dt
        values = to_steps(node.kind, fields, dt, at_threshold=self.convention.at_threshold)
        soft = self.ours and node.notes.get("reset") == "soft"
        neuron, found = neuron_of(node.kind, values, soft=soft)
        start = values.get(self.convention.start, np.zeros(1)).reshape(-1)
        if start.any():
            if np.ptp(start):
                raise InputError(f"its neurons start at their own {self.convention.start}; one for all is read")
            neuron = started(neuron, v=float(start[0]))
        params: dict[str, Any] = {name: _parameter(value) for name, value in found.items()}
        return Spiking(neuron, learn=(), **params)


def _parameter(value: np.ndarray) -> torch.Tensor:
    """Return one number where all are the same, else one for each neuron."""
    single = value.reshape(-1)[0]
    return torch.from_numpy(np.asarray(single if (value == single).all() else value, np.float32))


def _conv(node: Node) -> nn.Module:
    fields = node.fields
    make = nn.Conv1d if node.kind == "Conv1d" else nn.Conv2d
    axes = 1 if make is nn.Conv1d else 2
    weight, bias = fields["weight"], fields["bias"]
    if weight.ndim != 2 + axes or bias.shape != weight.shape[:1]:
        raise UnfitError(f"weights and bias have shapes {list(weight.shape)} and {list(bias.shape)}")
    groups = int(fields["groups"])
    with torch.device("meta"):
        layer = make(
            weight.shape[1] * groups,
            weight.shape[0],
            tuple(weight.shape[2:]),
            stride=_sizes(fields["stride"], axes, 1),
            padding=fields["padding"] if isinstance(fields["padding"], str) else _sizes(fields["padding"], axes, 0),
            dilation=_sizes(fields["dilation"], axes, 1),
            groups=groups,
            bias=bool(bias.any()),
        )
    layer.weight = parameter(weight)
    if layer.bias is not None:
        layer.bias = parameter(bias)
    return layer


def _pool(node: Node) -> nn.Module:
    window, stride, padding = (
        _sizes(node.fields[name], 2, low) for name, low in (("kernel_size", 1), ("stride", 1), ("padding", 0))
    )
    return nn.AvgPool2d(window, stride, padding, divisor_override=1 if node.kind == "SumPool2d" else None)


def _flatten(node: Node) -> nn.Module:
    start, end = (int(node.fields[name]) for name in ("start_dim", "end_dim"))
    return nn.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end)


def _sizes(value: np.ndarray, axes: int, low: int) -> Any:
    sizes = [int(size) for size in value.reshape(-1)]
    sizes = sizes * axes if len(sizes) == 1 else sizes
    if len(sizes) != axes or min(sizes) < low or max(sizes) > 1 << 16:
        raise ValueError(f"{value!r:.80} are no {axes} sizes of at least {low}")
    return tuple(sizes)


_PLAIN = {"Conv1d": _conv, "Conv2d": _conv, "SumPool2d": _pool, "AvgPool2d": _pool, "Flatten": _flatten}
