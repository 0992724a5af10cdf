"""A graph that is no row of our layers, and a network that NIR has no words for, are refused by name."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import InputError, MissingPackageError

nir = pytest.importorskip("nir", reason="nir is not installed")

IN, OUT = nir.Input({"input": np.array([2])}), nir.Output({"output": np.array([2])})
WEIGHT = np.array([[1.0, 0.5], [0.25, -1.0]])
LIF = nir.LIF(*(np.full(2, v) for v in (4e-3, 1.0, 0.0, 0.5, 0.0)))


def network() -> snnkit.Network:
    return snnkit.Network(nn.Linear(4, 6), snnkit.LIF(tau=3.0, theta=0.3, reset="hard"), nn.Linear(6, 3))


def graph(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    return nir.NIRGraph({"input": IN, **nodes, "output": OUT}, edges, type_check=False)


def chain(*nodes: Any) -> Any:
    names = [f"n{k}" for k in range(len(nodes))]
    way = ["input", *names, "output"]
    return graph(dict(zip(names, nodes, strict=True)), list(itertools.pairwise(way)))


LINEAR, AFFINE = nir.Linear(WEIGHT), nir.Affine(WEIGHT, np.ones(2))
LOOP = [("input", "n"), ("n", "w"), ("w", "n"), ("n", "output")]
CONV = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": np.ones(2)}
GRAPHS: dict[str, tuple[Any, str]] = {
    "two inputs": (
        graph({"again": IN, "a": LINEAR}, [("input", "a"), ("again", "a"), ("a", "output")]),
        "has 2 nodes of kind Input",
    ),
    "no layer": (graph({}, [("input", "output")]), "leads from the input to the output without a layer"),
    "dead end": (graph({"a": LINEAR}, [("input", "a")]), "node 'a' leads nowhere"),
    "aside": (graph({"a": LINEAR, "b": LIF}, [("input", "a"), ("a", "output")]), "'b' lies on no way from the input"),
    "skip": (
        graph({"a": LINEAR, "b": LIF}, [("input", "a"), ("a", "b"), ("a", "output"), ("b", "output")]),
        "node 'a' leads to 'b', 'output': only branches of Delay and Linear that meet again are read",
    ),
    "sum": (
        graph(
            {"a": LIF, "b": LINEAR, "c": LIF, "d": LINEAR},
            [("input", "a"), ("a", "b"), ("b", "c"), ("c", "d"), ("d", "c"), ("d", "b"), ("c", "output")],
        ),
        "node 'b' also gets input from 'd'",
    ),
    "loop of itself": (
        graph({"n": LIF}, [("input", "n"), ("n", "n"), ("n", "output")]),
        r"node 'n' \(LIF\) leads to itself; a neuron may, through Linear",
    ),
    "loop of Linear": (graph({"n": AFFINE, "w": LINEAR}, LOOP), r"node 'n' \(Affine\) leads to itself"),
    "sizes": (
        graph(
            {"a": LINEAR, "b": nir.Linear(np.ones((3, 2)))},
            [("input", "a"), ("input", "b"), ("a", "output"), ("b", "output")],
        ),
        "what follows 'input' sums branches of different sizes",
    ),
    "late bias": (chain(AFFINE, nir.Delay(np.full(2, 2e-3)), LIF), "has a bias before a delay, which would start late"),
    "part of a step": (
        chain(nir.Delay(np.full(2, 1.5e-3)), LINEAR),
        "delays by 0.0015, which is no whole number",
    ),
    "delays": (chain(nir.Delay(np.full(3, 1e-3)), LINEAR), "has 3 delays for 2 features"),
    "delay alone": (chain(nir.Delay(np.full(2, 1e-3)), LIF), "node 'n0', a Delay, is read only beside Linear"),
    "short": (
        chain(nir.LIF(*(np.full(2, v) for v in (5e-4, 1.0, 0.0, 0.5, 0.0)))),
        "tau is 0.0005 and a step is",
    ),
    "rank": (chain(nir.Linear(np.ones((2, 2, 2)))), r"has weights and bias of shape \[2, 2, 2\] and None"),
    "conv": (
        chain(nir.Conv2d(None, np.ones((2, 2, 3)), **CONV)),
        r"weights and bias have shapes \[2, 2, 3\] and",
    ),
    "stride": (chain(nir.Conv1d(None, np.ones((2, 2, 3)), **CONV | {"stride": 0})), "are no 1 sizes of at least 1"),
    "groups": (chain(nir.Conv1d(None, np.ones((2, 2, 3)), **CONV | {"groups": 3})), "must be divisible by groups"),
    "shape": (chain(nir.Linear(np.ones((2, 3)))), r"layer '0' \(Linear\) does not take inputs of shape \[2\]"),
    "neurons": (chain(nir.IF(np.ones(3), np.ones(3))), r"layer '0' has \[3\] neurons and gets \[2\]"),
    "nan": (chain(nir.Linear(WEIGHT * np.nan)), "weight of node 'n0' holds NaN or infinity"),
    "nowhere": (
        graph({"a": LINEAR}, [("input", "a"), ("a", "ouput")]),
        "an edge names 'ouput', which is no node",
    ),
    "twice": (graph({"a": LINEAR}, [("input", "a"), ("input", "a"), ("a", "output")]), "an edge occurs twice"),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_graph_that_is_no_row_of_layers_is_refused(kind: str) -> None:
    theirs, reason = GRAPHS[kind]
    with pytest.raises(InputError, match=f"this graph cannot be read: .*{reason}"):
        snnkit.deploy.nir.from_graph(theirs, dt=1e-3)


def tree(**changes: Any) -> dict[str, Any]:
    nodes = {
        "input": {"type": "Input", "shape": np.array([2])},
        "a": {"type": "Linear", "weight": WEIGHT},
        "output": {"type": "Output", "shape": np.array([2])},
    }
    return {"type": "NIRGraph", "nodes": nodes, "edges": [("input", "a"), ("a", "output")], **changes}


class Tree:
    def __init__(self, content: Any) -> None:
        self.to_dict = lambda: content


def with_node(**fields: Any) -> dict[str, Any]:
    found = tree()
    found["nodes"]["a"] = fields
    return found


TREES: dict[str, tuple[Any, str]] = {
    "no graph": (3, "the graph is no NIRGraph, or nested more than 8 deep"),
    "no edges": ({"type": "NIRGraph", "nodes": {}}, "the graph has no nodes or no edges"),
    "odd edges": (tree(edges=[("a",)]), "the edges of the graph are no list of pairs of names"),
    "metadata": (tree(metadata=3), "the metadata of the graph is no mapping"),
    "kind": (with_node(type="Lineer"), "node 'a' is a 'Lineer'; did you mean 'Linear'"),
    "field": (with_node(type="Linear", weight=WEIGHT, bais=1), "node 'a', a Linear, has no 'bais'"),
    "lacks": (with_node(type="Affine", weight=WEIGHT), "node 'a', a Affine, lacks 'bias'"),
    "text": (with_node(type="Linear", weight="x"), "weight of node 'a' is <U1 of shape .*; needed are numbers"),
    "ragged": (with_node(type="Linear", weight=[[1], [1, 2]]), "weight of node 'a' is no array of numbers"),
    "half": (with_node(type="Flatten", start_dim=0.5, end_dim=-1), "start_dim of node 'a' is .*; needed are whole"),
    "name": (tree(nodes={"": {}}), "the graph has a node named ''"),
    "within": (with_node(**{**tree(), "nodes": {}, "edges": []}), "graph 'a' has 0 inputs and 0 outputs; one of each"),
}


@pytest.mark.parametrize("kind", TREES)
def test_what_is_no_graph_is_refused(kind: str) -> None:
    content, reason = TREES[kind]
    with pytest.raises(InputError, match=f"this graph cannot be read: {reason}"):
        snnkit.deploy.nir.from_graph(Tree(content), dt=1e-3)


def test_a_graph_within_a_graph_is_opened() -> None:
    inner = nir.NIRGraph(
        {"in": IN, "n": LIF, "w": nir.Linear(WEIGHT / 2), "out": OUT},
        [("in", "n"), ("n", "w"), ("w", "n"), ("n", "out")],
        type_check=False,
    )
    net = snnkit.deploy.nir.from_graph(chain(AFFINE, inner, nir.Linear(WEIGHT)), dt=1e-3)
    assert [type(layer).__name__ for layer in net] == ["Linear", "Recurrent", "Linear"]


def test_wrong_calls_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_graph, from_graph = snnkit.deploy.nir.to_graph, snnkit.deploy.nir.from_graph
    net = network()
    snnkit.deploy.nir.save(net, tmp_path / "net.nir")
    for call, reason in (
        (lambda: to_graph(nn.Linear(2, 2)), r"NIR takes a snnkit\.Network, not Linear; type snnkit\.Network"),
        (lambda: to_graph(net, dt=0), "dt is 0; seconds for one step are needed, such as dt=1e-3"),
        (lambda: to_graph(net, soft_reset="keep"), "soft_reset is 'keep'; known: refuse, metadata"),
        (lambda: from_graph(3, dt=1e-3), r"from_graph takes a nir\.NIRGraph, not int; load takes a path"),
        (lambda: from_graph(chain(LINEAR), dt=-1), "dt is -1; seconds for one step are needed"),
        (lambda: from_graph(chain(LINEAR), dt=1e-3, writer="snntoch"), "writer is 'snntoch'; did you mean 'snntorch'"),
        (
            lambda: snnkit.deploy.nir.load(tmp_path / "net.nir", dt=1e-4),
            "says dt=0.001, and dt=0.0001 was given; leave dt= out",
        ),
    ):
        with pytest.raises(InputError, match=reason):
            call()
    exported = to_graph(net)
    exported.metadata["scheme"] = "exponential"
    with pytest.raises(InputError, match="its scheme is 'exponential' with recurrence 'one step', which is not known"):
        from_graph(exported)

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r"nir is needed here: pip install 'snnkit\[nir\]'"):
        to_graph(net)


def spiking(**options: Any) -> snnkit.Spiking:
    return snnkit.LIF(reset="hard", **options)


UNFIT: dict[str, tuple[Any, str, Any]] = {
    "no shape": (
        lambda: [nn.Conv2d(1, 1, 3)],
        r"does not tell the shape of the input; give it, such as shape=",
        None,
    ),
    "other shape": (lambda: [nn.Linear(3, 2)], r"layer '0' \(Linear\) does not take inputs of shape \[2\]", (2,)),
    "maximum": (lambda: [nn.MaxPool2d(2)], "layer '0': NIR has no node for MaxPool2d; use AvgPool2d", (1, 4, 4)),
    "adaptive": (
        lambda: [nn.AdaptiveAvgPool2d(2)],
        "no node for AdaptiveAvgPool2d; use AvgPool2d with",
        (1, 4, 4),
    ),
    "relu": (lambda: [nn.Linear(2, 2), nn.ReLU()], "layer '1': NIR has no node for ReLU; use a spiking layer", None),
    "delay conv": (lambda: [snnkit.DelayConv1d(1, 1, 3)], "no node for DelayConv1d; DelayLinear is the lay", (1, 5)),
    "gelu": (lambda: [nn.Linear(2, 2), nn.GELU()], "layer '1': NIR has no node for GELU$", None),
    "channels": (
        lambda: [nn.Linear(3, 2)],
        r"Linear takes features, not \[2, 3\]; put nn\.Flatten",
        (2, 3),
    ),
    "padding": (
        lambda: [nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")],
        "pads with 'circular'; NIR",
        (1, 5),
    ),
    "batch": (lambda: [nn.Flatten(0)], "layer '0' flattens the batch; give start_dim=1", (2,)),
    "ceil": (
        lambda: [nn.AvgPool2d(2, ceil_mode=True)],
        "NIR's pooling has no ceil_mode, counts padding",
        (1, 4, 4),
    ),
    "uncounted": (
        lambda: [nn.AvgPool2d(2, padding=1, count_include_pad=False)],
        "NIR's pooling has no ceil_mode",
        (1, 4, 4),
    ),
    "divisor": (lambda: [nn.AvgPool2d(2, divisor_override=3)], "divides by the window or by 1", (1, 4, 4)),
    "tail": (lambda: [snnkit.DelayLinear(2, 2, tail=3)], "layer '0' has tail=3, steps that NIR does not have", None),
    "delays twice": (
        lambda: [snnkit.DelayLinear(4, 4, max_delay=9), snnkit.DelayLinear(4, 2)],
        "layer '1': NIR's graph cannot tell delays that directly follow delays; put a neuron between",
        None,
    ),
    "recurrent conv": (
        lambda: [snnkit.Recurrent(spiking(), nn.Conv1d(1, 1, 3, padding=1))],
        r"NIR takes a recurrent Linear or DelayLinear over features, not Conv1d over \[1, 5\]",
        (1, 5),
    ),
    "double": (
        lambda: [nn.Linear(2, 2).double()],
        r"holds torch\.float64; NIR is written from float32",
        None,
    ),
    "norm": (
        lambda: [nn.Linear(2, 2), spiking(), nn.BatchNorm1d(2)],
        "layer '2' .BatchNorm1d. does not follow",
        None,
    ),
    "statistics": (
        lambda: [nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)],
        "layer '1' has no running statistics; make it with track_running_stats=True",
        None,
    ),
    "start": (
        lambda: [nn.Linear(2, 2), started()],
        r"layer '1' starts at \{'v': 0\.5\}, and NIR's neurons",
        None,
    ),
    "wide": (lambda: [nn.ConvTranspose2d(1, 64, 3)], "NIR has no node for ConvTranspose2d", (1, 8, 8)),
    "huge": (
        lambda: [nn.Conv2d(1, 4096, 1)],
        "gives 4,294,967,296 features; at most 268,435,456",
        (1, 1024, 1024),
    ),
    "nan": (lambda: [endless()], "on spikes of size 1, the network gives NaN or infinity|became NaN or infinite", None),
}


def started() -> snnkit.Spiking:
    described = snnkit.neuron.lif(reset="hard").to_dict() | {"states": {"v": 0.5}}
    return snnkit.Spiking(snnkit.neuron.Neuron.from_dict(described))


def endless() -> nn.Linear:
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, 3e38)
    return layer


@pytest.mark.parametrize("kind", UNFIT)
def test_what_nir_cannot_say_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    make, reason, shape = UNFIT[kind]
    net = snnkit.Network(*make()).eval()
    with pytest.raises(InputError, match=reason):
        snnkit.deploy.nir.save(net, tmp_path / "net.nir", shape=shape)
    assert not list(tmp_path.iterdir())


def many(count: int) -> Any:
    return graph({f"a{k}": LINEAR for k in range(count)}, [])


def ours(edit: Any) -> Any:
    found = snnkit.deploy.nir.to_graph(network())
    edit(found)
    return found


def soften(found: Any) -> None:
    found.nodes["1"].metadata["reset"] = "soft"
    found.nodes["1"].r = np.full(6, 0.7)


def test_rarer_refusals(tmp_path: Path) -> None:
    each = nir.IF(np.ones(2), np.ones(2), np.array([0.1, 0.2]))
    branches = {f"a{k}": LINEAR for k in range(65)} | {"d": nir.Delay(np.full(2, 1e-3)), "w": LINEAR}
    ways = [way for k in range(65) for way in (("input", f"a{k}"), (f"a{k}", "output"))]
    for theirs, options, reason in (
        (many(20_001), {}, "it has 20,003 nodes and 0 edges; at most 20,000 are read"),
        (ours(soften), {"dt": None}, "no neuron of ours resets softly with the parameters of this LIF"),
        (chain(each), {"writer": "spikingjelly"}, "its neurons start at their own v_reset; one for all is read"),
        (
            graph(branches, [*ways, ("input", "d"), ("d", "w"), ("w", "output")]),
            {},
            "66 branches reach the same synapse; at most 64 are read",
        ),
        (
            graph({"input": nir.Input({"input": np.array([0])}), "a": LINEAR}, [("input", "a"), ("a", "output")]),
            {},
            r"its input has the shape \[0\]",
        ),
    ):
        with pytest.raises(InputError, match=reason):
            snnkit.deploy.nir.from_graph(theirs, **{"dt": 1e-3, **options})
    nir.write(tmp_path / "theirs.nir", chain(LINEAR))
    with pytest.raises(InputError, match=r"does not say its dt; verify takes a file of snnkit\.deploy\.nir\.save"):
        snnkit.deploy.nir.verify(tmp_path / "theirs.nir", "norse")
    net = snnkit.Network()
    net.add_module("a/b", nn.Linear(2, 2))
    with pytest.raises(InputError, match="a layer named 'a/b' cannot be a node; name it otherwise"):
        snnkit.deploy.nir.to_graph(net)


def test_folding_that_changes_spikes_is_refused(tmp_path: Path) -> None:
    """A membrane on its threshold passes it or not by the rounding of a product."""
    net = snnkit.Network(nn.Linear(1, 64), nn.BatchNorm1d(64), snnkit.IF(reset="hard")).eval()
    norm = net[1]
    norm.running_mean.uniform_(0.5, 1.0)
    norm.running_var.uniform_(0.3, 0.9)
    with torch.no_grad():
        # the input 8 lands on the threshold, up to rounding
        before = net[0](torch.full((1, 1), 8.0))[0]
        norm.bias.copy_(1 - (before - norm.running_mean) * (norm.running_var + norm.eps).rsqrt())
    with pytest.raises(InputError, match=r"folding BatchNorm or PLIF rounds, .* neurons 0 .give snnkit"):
        snnkit.deploy.nir.save(net, tmp_path / "net.nir")
    snnkit.deploy.nir.save(snnkit.deploy.nir.fold(net), tmp_path / "net.nir")
