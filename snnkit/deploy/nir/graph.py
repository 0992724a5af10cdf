"""A graph of NIR as plain data, checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from snnkit.errors import nearest
from snnkit.files.schema import UnfitError

_MOST_NODES = 20_000
_MOST_EDGES = 50_000
_DEEPEST_GRAPH = 8
_LONGEST_NAME = 200
_DEEPEST_ARRAY = 6

_NUMBERS, _WHOLE, _WHOLE_OR_TEXT, _SHAPE = "numbers", "whole numbers", "whole numbers or a text", "a shape or nothing"
_CONV = {
    "weight": _NUMBERS,
    "bias": _NUMBERS,
    "stride": _WHOLE,
    "padding": _WHOLE_OR_TEXT,
    "dilation": _WHOLE,
    "groups": _WHOLE,
    "input_shape": _SHAPE,
}
_POOL = {"kernel_size": _WHOLE, "stride": _WHOLE, "padding": _WHOLE}
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "Input": {"shape": _WHOLE},
    "Output": {"shape": _WHOLE},
    "Linear": {"weight": _NUMBERS},
    "Affine": {"weight": _NUMBERS, "bias": _NUMBERS},
    "Conv1d": _CONV,
    "Conv2d": _CONV,
    "SumPool2d": _POOL,
    "AvgPool2d": _POOL,
    "Flatten": {"start_dim": _WHOLE, "end_dim": _WHOLE, "input_type": _SHAPE},
    "Delay": {"delay": _NUMBERS},
    **{kind: dict.fromkeys(("tau", "r", "v_leak"), _NUMBERS) for kind in ("LI", "LIF")},
    **{kind: dict.fromkeys(("tau_syn", "tau_mem", "r", "v_leak", "w_in"), _NUMBERS) for kind in ("CubaLI", "CubaLIF")},
    "I": {"r": _NUMBERS},
    "IF": {"r": _NUMBERS},
    "Threshold": {"threshold": _NUMBERS},
    "Scale": {"scale": _NUMBERS},
}
_FIRES = ("LIF", "CubaLIF", "IF")
_DEFAULTS: Mapping[str, Any] = {"w_in": 1.0, "v_reset": 0.0, "input_shape": None, "input_type": None}


def fields_of(kind: str) -> Mapping[str, str]:
    """Return the fields of a kind of node, each with what it holds."""
    fires = dict.fromkeys(("v_threshold", "v_reset"), _NUMBERS) if kind in _FIRES else {}
    return {**_FIELDS[kind], **fires}


@dataclass(frozen=True, eq=False)
class Node:
    """A node: its kind, its fields (arrays, texts, or None), and what its writer noted."""

    kind: str
    fields: Mapping[str, Any]
    notes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes by name, edges from one to another, and what the writer noted."""

    nodes: Mapping[str, Node]
    edges: tuple[tuple[str, str], ...]
    notes: Mapping[str, Any]

    def targets(self, name: str) -> list[str]:
        """Return the nodes that a node leads to."""
        return self._ways[0].get(name, [])

    def sources(self, name: str) -> list[str]:
        """Return the nodes that lead to a node."""
        return self._ways[1].get(name, [])

    @cached_property
    def _ways(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        targets: dict[str, list[str]] = {}
        sources: dict[str, list[str]] = {}
        for first, last in self.edges:
            targets.setdefault(first, []).append(last)
            sources.setdefault(last, []).append(first)
        return targets, sources


def read_graph(tree: Any) -> Graph:
    """Return the graph of nested mappings, such as `nir.NIRGraph.to_dict()` or a file's groups.

    Graphs within it become part of it, their nodes named `outer.inner`.

    Raises:
        UnfitError: a node of a kind that we do not know, a field that is missing or of another type, numbers that are
            not finite, an edge to nowhere, or too much of anything.
    """
    nodes, edges = _flat(tree, "", _DEEPEST_GRAPH)
    if len(nodes) > _MOST_NODES or len(edges) > _MOST_EDGES:
        raise UnfitError(f"it has {len(nodes):,} nodes and {len(edges):,} edges; at most {_MOST_NODES:,} are read")
    for first, last in edges:
        for name in (first, last):
            if name not in nodes:
                raise UnfitError(f"an edge names {name!r:.80}, which is no node{nearest(name[:80], nodes)}")
    if len(set(edges)) != len(edges):
        raise UnfitError("an edge occurs twice")
    return Graph(nodes, tuple(edges), _notes(tree.get("metadata"), "the graph"))


def _flat(tree: Any, prefix: str, depth: int) -> tuple[dict[str, Node], list[tuple[str, str]]]:
    where = f"graph {prefix[:-1]!r}" if prefix else "the graph"
    if not isinstance(tree, Mapping) or tree.get("type") != "NIRGraph" or depth < 0:
        raise UnfitError(f"{where} is no NIRGraph, or nested more than {_DEEPEST_GRAPH} deep")
    if not isinstance(tree.get("nodes"), Mapping) or "edges" not in tree:
        raise UnfitError(f"{where} has no nodes or no edges")
    nodes: dict[str, Node] = {}
    edges = [(prefix + first, prefix + last) for first, last in _edges(tree["edges"], where)]
    for name, inner in tree["nodes"].items():
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
            raise UnfitError(f"{where} has a node named {name!r:.80}; a text of at most {_LONGEST_NAME} is needed")
        if isinstance(inner, Mapping) and inner.get("type") == "NIRGraph":
            inner_nodes, inner_edges = _flat(inner, f"{prefix}{name}.", depth - 1)
            edges = _spliced(prefix + name, edges, inner_nodes, inner_edges)
            nodes |= {key: node for key, node in inner_nodes.items() if node.kind not in ("Input", "Output")}
        else:
            nodes[prefix + name] = _node(inner, f"node {prefix + name!r}")
    return nodes, edges


def _spliced(
    name: str, edges: list[tuple[str, str]], nodes: Mapping[str, Node], inner: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the edges with those of a graph in the place of one of the nodes."""
    entries = [key for key, node in nodes.items() if node.kind == "Input"]
    exits = [key for key, node in nodes.items() if node.kind == "Output"]
    if len(entries) != 1 or len(exits) != 1:
        raise UnfitError(f"graph {name!r} has {len(entries)} inputs and {len(exits)} outputs; one of each is read")
    heads = [last for first, last in inner if first == entries[0]]
    tails = [first for first, last in inner if last == exits[0]]
    kept = [edge for edge in inner if edge[0] != entries[0] and edge[1] != exits[0]]
    for first, last in edges:
        befores = tails if first == name else [first]
        afters = heads if last == name else [last]
        kept += [(one, other) for one in befores for other in afters]
    return kept


def _edges(edges: Any, where: str) -> list[tuple[str, str]]:
    pairs = [tuple(pair) for pair in edges] if isinstance(edges, list | tuple) else None
    if pairs is None or not all(len(p) == 2 and all(isinstance(end, str) for end in p) for p in pairs):
        raise UnfitError(f"the edges of {where} are no list of pairs of names")
    return [(str(first), str(last)) for first, last in pairs]


def _node(tree: Any, where: str) -> Node:
    kind = tree.get("type") if isinstance(tree, Mapping) else None
    if not isinstance(kind, str) or kind not in _FIELDS:
        known = ", ".join(_FIELDS)
        raise UnfitError(f"{where} is a {kind!r:.80}{nearest(str(kind)[:80], _FIELDS)}; known: {known}")
    fields = fields_of(kind)
    for name in tree:
        if name not in fields and name not in ("type", "metadata"):
            raise UnfitError(f"{where}, a {kind}, has no {name!r:.80}{nearest(str(name)[:80], fields)}")
    found = {}
    for name, holds in fields.items():
        if name not in tree and name not in _DEFAULTS:
            raise UnfitError(f"{where}, a {kind}, lacks {name!r}")
        found[name] = _field(tree.get(name, _DEFAULTS.get(name)), holds, f"{name} of {where}")
    return Node(kind, found, _notes(tree.get("metadata"), where))


def _field(value: Any, holds: str, where: str) -> Any:
    if holds == _SHAPE and value is None:
        return None
    if holds == _WHOLE_OR_TEXT and isinstance(value, str) and value in ("same", "valid"):
        return value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        raise UnfitError(f"{where} is no array of numbers") from None
    if array.dtype.kind not in "fiu" or array.ndim > _DEEPEST_ARRAY or array.size == 0:
        raise UnfitError(f"{where} is {array.dtype} of shape {list(array.shape)}; needed are {holds}")
    if holds == _NUMBERS:
        if not np.isfinite(array).all():
            raise UnfitError(f"{where} holds NaN or infinity; needed are finite numbers")
        return array
    whole = array.astype(np.int64) if np.isfinite(array).all() and (np.abs(array) < 2**31).all() else None
    if whole is None or (whole != array).any():
        raise UnfitError(f"{where} is {array!r:.80}; needed are {holds}")
    return whole


def _notes(notes: Any, where: str) -> dict[str, Any]:
    """Return a writer's notes: texts and numbers as they are, what is neither left out."""
    if notes is None:
        return {}
    if not isinstance(notes, Mapping):
        raise UnfitError(f"the metadata of {where} is no mapping")
    found = {}
    for name, value in notes.items():
        if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
            value = value.item()
        if isinstance(value, str | int | float):
            found[str(name)] = value
    return found
