"""What a file says of a network is checked before anything is built, and what it could not say is not saved."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from corruption import edited
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import snnkit
from snnkit import files
from snnkit.errors import FileError, InputError
from snnkit.files.codec import encode
from snnkit.files.describe import describe
from snnkit.files.parameters import collect
from snnkit.files.tree import Array, write_tree
from snnkit.neuron import Neuron


def example() -> snnkit.Network:
    torch.manual_seed(0)
    return snnkit.Network(
        nn.Linear(3, 2),
        snnkit.LIF(tau=2.0, learn=("tau",)),
        snnkit.Network(nn.BatchNorm1d(2), nn.Dropout(0.25), nn.Flatten()),
        snnkit.Recurrent(snnkit.Readout(), nn.Linear(2, 2)),
    )


NET = example()
GRAPH = describe(NET)
PARAMETERS = collect(NET)


def content(graph: Any, parameters: Any) -> bytes:
    text = graph if isinstance(graph, str) else json.dumps(graph)
    tree = {"graph": text, "parameters": parameters}
    return write_tree("network", tree, metadata="{}", compress=False)


def changed(path: tuple[Any, ...], value: Any) -> Any:
    graph = copy.deepcopy(GRAPH)
    node = graph
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return graph


def nested(depth: int) -> Any:
    graph: Any = {"type": "Linear", "training": True, "arguments": GRAPH["layers"][0]["arguments"]}
    for _ in range(depth):
        graph = {"type": "Network", "training": True, "layers": [graph]}
    return graph


LINEAR, LIF, NORM = ("layers", 0), ("layers", 1), ("layers", 2, "layers", 0, "arguments")
TAU, UPDATE = (*LIF, "neuron", "params", "tau"), (*LIF, "neuron", "update")
BUILDS_NOT: list[tuple[Any, str]] = [
    ("[", "/graph is no JSON that snnkit writes: Expecting value"),
    (changed(LINEAR, 3), "layer 0 is 3; needed is a mapping with its type"),
    (changed((*LINEAR, "type"), "LSTM"), "layer 0 is a 'LSTM'; files store no such layer.*; known: Network, Seq"),
    (changed((*LINEAR, "type"), "Linea"), "files store no such layer; did you mean 'Linear'"),
    (changed((*LINEAR, "training"), 1), "training of layer 0 is 1; needed is true or false"),
    (changed((*LINEAR, "bias"), True), "layer 0: unknown key 'bias'.*; known: type, training, arguments"),
    (changed((*LINEAR, "arguments"), []), r"layer 0: arguments is \[\]; needed is a mapping of in_features"),
    (changed((*LINEAR, "arguments"), {"bias": True}), "layer 0: arguments: 'in_features' is missing; needed are in"),
    (changed((*LINEAR, "arguments", "in_features"), 0), "in_features is 0; needed is a whole number from 1 to 2147"),
    (changed((*LINEAR, "arguments", "in_features"), True), "in_features is True; needed is a whole number"),
    (changed((*LINEAR, "arguments", "in_features"), 10**9), r"0/weight has shape \[2, 3\]; needed is \[2, 1000000"),
    (changed((*LINEAR, "arguments", "device"), "cuda"), "layer 0: arguments: unknown key 'device'"),
    (changed(("layers", 2, "layers"), {}), "layers of layer 2 is {}; needed is a list"),
    (changed((*NORM, "eps"), -1), "layer 2.0: arguments: eps is -1; needed is a finite number from 0 to 1"),
    (changed(("layers", 2, "layers", 1, "arguments", "p"), 1.5), "p is 1.5; needed is a finite number from 0 to 1"),
    (changed((*NORM, "momentum"), "x"), "momentum is 'x'; needed is a finite number from 0 to 1, or null"),
    (changed(("layers", 3, "layer"), GRAPH["layers"][0]), "layer 3 is not a spiking layer with a layer of torch for"),
    (changed(("layers", 3, "connection"), GRAPH["layers"][1]), "layer 3 is not a spiking layer with a layer of torch"),
    (changed((*LIF, "backend"), "gpu"), "layer 1: backend is 'gpu'; needed is one of 'auto', 'reference', 'cpu'"),
    (changed((*LIF, "learn"), ["tua"]), "layer 1: lif cannot learn 'tua'; did you mean 'tau'"),
    (changed((*LIF, "learn"), "tau"), "learn is 'tau'; needed is a list of 0 to 256"),
    (changed((*LIF, "detach_reset"), None), "detach_reset is None; needed is true or false"),
    (changed((*LIF, "neuron", "name"), 7), "layer 1: neuron: name is 7; needed is text of at most 200 characters"),
    (changed((*LIF, "neuron", "states"), ["v"]), r"states is \['v'\]; needed is a mapping of at most 64"),
    (changed((*LIF, "neuron", "states", "v"), "0"), "states: v is '0'; needed is a finite number from -inf to inf"),
    (changed((*TAU, "low"), "a"), "neuron: params: tau: low is 'a'; needed is a finite .*or null for no bound"),
    (changed((*TAU, "max"), 1), "neuron: params: tau: unknown key 'max'"),
    (changed((*TAU, "low"), 3.0), r"layer 1: default 2.0 is outside the bounds \[3.0, inf\]"),
    (changed(UPDATE, ["v = v + y"]), "layer 1: neuron 'lif': 'y' is not defined"),
    (changed(UPDATE, ["v = " + "v" * 3000]), "update is .*; needed is a list, each text of at most 2000"),
    (changed(UPDATE, ["v = " + "(" * 6 + "v" + ")**16" * 6]), "comes to more than 4096 operations"),
    (changed(UPDATE, ["v = v" + ".a" * 900]), "is nested too deep; use a local variable"),
    (changed(UPDATE, ["v = v"] * 257), "needed is a list of 0 to 256"),
    (changed((*LIF, "surrogate", "derivative"), "z.real"), "layer 1: .*which an equation cannot"),
    (changed((*LIF, "surrogate", "params"), {"alpha": -1.0}), "alpha is a positive number, not -1.0"),
    (GRAPH["layers"][0], "/graph describes a Linear; needed is a Network"),
    (nested(17), "is one too many: at most 10,000 layers, nested 16 deep"),
]  # fmt: skip


@pytest.mark.parametrize(("graph", "reason"), BUILDS_NOT, ids=[reason[:40] for _, reason in BUILDS_NOT])
def test_a_graph_that_does_not_hold_together_is_refused(graph: Any, reason: str) -> None:
    with pytest.raises(FileError, match=f"net.h5 is refused: .*{reason}"):
        files.from_bytes(content(graph, PARAMETERS), where="net.h5")


def test_no_more_layers_are_built_than_a_network_has(monkeypatch) -> None:
    monkeypatch.setattr("snnkit.files.describe._MOST_LAYERS", 20)
    with pytest.raises(FileError, match="layer 19 is one too many: at most 20 layers, nested 16 deep"):
        files.from_bytes(content(changed(("layers",), [nested(0)] * 20), {}))


CONV = {
    "in_channels": 4, "out_channels": 4, "kernel_size": [3], "stride": 1, "padding": "same", "dilation": [1],
    "groups": 1, "bias": True, "padding_mode": "zeros",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"groups": 3}, "layer 0: Conv1d cannot be made: in_channels must be divisible by groups"),
        (
            {"padding": "full"},
            "padding is 'full'; needed is one of 'valid', 'same', or a whole number .*, or a list of 1 to 1",
        ),
        (
            {"kernel_size": [3, 3]},
            r"kernel_size is \[3, 3\]; needed is a whole number from 1 to 65536, or a list of 1 to 1",
        ),
        ({"padding_mode": "mirror"}, "padding_mode is 'mirror'; needed is one of 'zeros', 'reflect'"),
    ],
)
def test_arguments_of_layers_are_checked(change: dict[str, Any], reason: str) -> None:
    layer = {"type": "Conv1d", "training": True, "arguments": CONV | change}
    graph = {"type": "Network", "training": True, "layers": [layer]}
    with pytest.raises(FileError, match=reason):
        files.from_bytes(content(graph, {}))


def put(path: str, item: Any) -> dict[str, Any]:
    """Return the parameters of the example with one item changed, or removed where it is None."""
    tree = copy.deepcopy(PARAMETERS)
    change(tree, tuple(path.split("/")), "drop" if item is None else "set", item)
    return tree


WEIGHT = torch.zeros(2, 3)
FITS_NOT: list[tuple[str, Any, str]] = [
    ("0/weight", None, "'0/weight' is missing; needed are 0/weight, 0/bias, 1/tau"),
    ("0/wieght", encode(WEIGHT, trainable=True), "unknown key '0/wieght'; did you mean '0/weight'"),
    ("0/weight", "zeros", "0/weight is not an array of numbers"),
    ("0/weight", encode(WEIGHT.T, trainable=True), r"0/weight has shape \[3, 2\]; needed is \[2, 3\]"),
    ("0/weight", encode(WEIGHT.int(), trainable=True), "0/weight is int32; needed is float16, bfloat16, float32"),
    ("0/weight", encode(WEIGHT.log(), trainable=True), "0/weight holds NaN or infinity; needed are finite numbers"),
    ("0/weight", encode(WEIGHT), "0/weight has trainable None; parameters have 0 or 1, buffers have none"),
    (
        "0/weight",
        Array(np.zeros((2, 3), "f4"), "float8", trainable=True),
        "0/weight holds values of type float32 that s",
    ),
    (
        "0/weight",
        Array(np.zeros((2, 3), "f8"), "float32", trainable=True),
        "0/weight holds values of type float64 that",
    ),
    ("1/theta", encode(torch.ones(()), trainable=True), "1/theta has trainable True; parameters have 0 or 1, buffers"),
    ("1/tau", encode(torch.tensor(0.5), trainable=True), r"1/tau is out of its bounds \[1, inf\]"),
    ("1/tau", encode(torch.tensor([]), trainable=True), r"1/tau has shape \[0\]; needed is a number, or one for each"),
    ("1/tau", encode(torch.full((1,) * 9, 2.0), trainable=True), r"1/tau has shape \[1, 1, .*; needed is a number, or"),
    ("2/0/num_batches_tracked", encode(torch.tensor(1.0)), "2/0/num_batches_tracked is float32; needed is int64"),
]


@pytest.mark.parametrize(("path", "item", "reason"), FITS_NOT, ids=[reason[:50] for *_, reason in FITS_NOT])
def test_a_parameter_that_does_not_fit_is_refused(path: str, item: Any, reason: str) -> None:
    with pytest.raises(FileError, match=f"net.h5 is refused: .*{reason}"):
        files.from_bytes(content(GRAPH, put(path, item)), where="net.h5")


def test_the_parts_of_a_file_are_checked(tmp_path) -> None:
    good = content(GRAPH, PARAMETERS)

    def drop(file: h5py.File) -> None:
        del file["graph"]

    def add(file: h5py.File) -> None:
        file.create_group("code")

    def swap(file: h5py.File) -> None:
        del file["parameters"]
        file["parameters"] = np.bytes_("none")

    for edit, reason in (
        (drop, "'graph' is missing"),
        (add, "unknown key 'code'"),
        (swap, "/parameters is not a group"),
    ):
        with pytest.raises(FileError, match=f"is refused: .*{reason}"):
            files.from_bytes(edited(good, tmp_path / "net.h5", edit))


def hooked() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.register_forward_hook(lambda *_: None)
    return layer


def grown() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.extra = nn.Parameter(torch.zeros(1))
    return layer


def tied() -> nn.Module:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    return nn.Sequential(first, second)


def renamed() -> nn.Module:
    net = nn.Sequential()
    net.add_module("first", nn.Linear(2, 2))
    return net


class Own(nn.Linear):
    pass


class OwnNetwork(snnkit.Network):
    pass


def diverged() -> nn.Module:
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.bias, float("nan"))
    return layer


SAVES_NOT: list[tuple[Callable[[], Any], str]] = [
    (lambda: nn.LSTM(2, 2), "layer 0 is a torch.nn.modules.rnn.LSTM; files store no such layer.*; known: .*Identity"),
    (lambda: Own(2, 2), r"layer 0 is a .*\.Own; files store no such layer"),
    (hooked, "layer 0 has a forward hook, which files do not store; remove it"),
    (grown, "unknown key '0/extra'.*; known: 0/weight, 0/bias"),
    (tied, "0.0.weight and 0.1.weight are the same parameter; use copy.deepcopy for one of them"),
    (renamed, r"the layers of layer 0 are named \['first'\]; build it anew, as in snnkit.Network\(\*layers\)"),
    (diverged, "0/bias holds NaN or infinity; needed are finite numbers"),
    (lambda: nn.Linear(2, 2, dtype=torch.complex64), "0/weight holds values of type complex64; files keep float16"),
    (lambda: nn.Linear(2, 2, device="meta"), "0/weight holds a tensor that is sparse or has no values; use .to_dense"),
    (lambda: nn.MaxPool1d(2, return_indices=True), "layer 0: return_indices is True; needed is one of False"),
    (lambda: nn.AvgPool2d(2, stride=(1, 70_000)), r"layer 0: stride is .*, or a list, each a whole number from 1"),
    (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "layer 0 is a .*ParametrizedLinear; files store"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "reason"), SAVES_NOT, ids=[reason[:40] for _, reason in SAVES_NOT])
def test_what_files_cannot_say_is_not_saved(make: Callable[[], Any], reason: str, tmp_path) -> None:
    with pytest.raises(InputError, match=f"this network cannot be saved: {reason}"):
        snnkit.save(snnkit.Network(make()), tmp_path / "net.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("net", [OwnNetwork(), nn.Linear(2, 2), None], ids=repr)
def test_only_networks_are_saved(net: Any) -> None:
    with pytest.raises(InputError, match=r"cannot be saved: it is a .*; save its layers as snnkit\.Network\(…\)"):
        files.to_bytes(net)


def test_a_layer_that_occurs_twice_is_not_saved() -> None:
    layer = snnkit.LIF()
    with pytest.raises(InputError, match=r"0 and 1\.0 are the same layer; use copy.deepcopy for one of them"):
        files.to_bytes(snnkit.Network(layer, snnkit.Network(layer)))


def test_a_neuron_that_could_not_be_read_is_not_saved() -> None:
    neuron = Neuron("long", {"v": 0.0}, {}, [f"a{k} = v" for k in range(300)] + ["v = v + x"])
    with pytest.raises(
        InputError, match=r"cannot be saved: layer 0: neuron: update is .*; needed is a list of 0 to 256"
    ):
        files.to_bytes(snnkit.Network(snnkit.Spiking(neuron)))


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in plain data."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def change(node: Any, path: tuple[Any, ...], how: str, value: Any) -> None:
    """Set, drop or add something in plain data, where the path is still there."""
    *inner, last = path
    for key in inner:
        found = isinstance(node, dict) and key in node
        if not found and not (isinstance(node, list) and isinstance(key, int) and key < len(node)):
            return
        node = node[key]
    if isinstance(node, dict):
        node.pop(last, None)
        if how != "drop":
            node[last if how == "set" else str(value)[:20]] = value
    elif isinstance(node, list) and isinstance(last, int):
        node[last : last + (how != "add")] = [] if how == "drop" else [value]


PLACES = list(places(GRAPH))
WORDS = ["v", "x", "s", "tau", "Spiking", "Network", "same", "v = v + x", "v ** 16", "exp(v)", "__import__('os')", "é"]
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0, 1, 2, 3, -1, 2**31, 10**400])
PARTS = st.sampled_from([GRAPH, *GRAPH["layers"]]).map(copy.deepcopy)
LEAVES = st.none() | st.booleans() | NUMBERS | st.sampled_from(WORDS) | st.text(max_size=9) | PARTS
VALUES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.sampled_from(WORDS), LEAVES, max_size=2)
CHANGES = st.tuples(st.sampled_from(PLACES), st.sampled_from(["set", "drop", "add"]), VALUES)


@settings(max_examples=300)
@given(st.lists(CHANGES, min_size=1, max_size=2))
def test_any_graph_builds_or_is_refused(changes: list[tuple[tuple[Any, ...], str, Any]]) -> None:
    graph = copy.deepcopy(GRAPH)
    for path, how, value in changes:
        change(graph, path, how, value)
    try:
        net = files.from_bytes(content(graph, PARAMETERS))
    except FileError as error:
        assert len(str(error)) < 3000
    else:
        assert files.to_bytes(net)


CODES = st.sampled_from(["f2", "f4", "f8", "i4", "i8", "u1"])
SHAPES = st.sampled_from([(), (1,), (2,), (2, 2), (2, 3), (0,), (3, 0)])
DTYPES = st.sampled_from(["float32", "bfloat16", "float16", "float64", "int64", "bool", "complex64", "", "__class__"])
ARRAYS = st.builds(
    Array,
    st.builds(np.ones, SHAPES, CODES),
    DTYPES,
    st.sampled_from(["1", "steps", "", "é"]),
    st.sampled_from([None, True, False]),
)
SLOTS = ["0/weight", "0/bias", "1/tau", "1/theta", "2/0/running_var", "2/0/num_batches_tracked", "3/layer/tau"]


@settings(max_examples=200)
@given(st.sampled_from(SLOTS), ARRAYS | st.just("text") | st.just(("a", "b")))
def test_any_parameter_fits_or_is_refused(path: str, item: Any) -> None:
    try:
        net = files.from_bytes(content(GRAPH, put(path, item)))
    except FileError as error:
        assert path in str(error)
    else:
        assert files.to_bytes(net)
