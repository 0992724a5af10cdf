"""Our NIR files in the hands of other frameworks: run there, compared with here, refused with the reason.

| layer                       | SpikingJelly 2.0       | snnTorch 1.0         | Norse 1.1                 |
|-----------------------------|------------------------|----------------------|---------------------------|
| Linear                      | yes                    | yes                  | yes                       |
| Conv1d                      | yes                    | no node              | no node, passes it by     |
| Conv2d, square, one group   | yes                    | yes                  | yes                       |
| Conv2d of other kinds       | the check of nir fails | the same             | the same                  |
| AvgPool2d                   | yes                    | yes                  | no node, passes it by     |
| SumPool2d                   | no padding             | no padding           | no padding                |
| Flatten                     | yes                    | flattens the batch   | flattens the batch        |
| IF(v_reset=0)               | yes                    | reads Leaky(0.9)     | yes                       |
| LIF, input_decay            | yes                    | yes                  | yes                       |
| LIF, not input_decay        | yes                    | yes                  | drops r                   |
| CubaLIF, not input_decay    | yes                    | yes                  | yes                       |
| CubaLIF, input_decay        | no r                   | no r                 | yes                       |
| v_reset other than 0        | starts there           | drops it             | drops it                  |
| v_rest other than 0         | not without v_reset    | no v_leak            | starts there              |
| a tau for each neuron       | no                     | not input_decay      | yes                       |
| a theta for each neuron     | no                     | no                   | yes                       |
| Readout                     | no node                | no node              | no node, passes it by     |
| delays                      | no node                | no node              | no node                   |
| Recurrent of Linear         | yes                    | feeds input to the weights | yes                 |
| dt                          | any, given to it       | 1e-4                 | any, given to it          |

A line with `yes` is checked by spikes in the tests, every other is refused by `verify` with this reason. Soft resets
are hard for all three.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnkit.convert.package import package
from snnkit.convert.probe import differing, probes
from snnkit.deploy.nir import file as nir_file
from snnkit.deploy.nir.graph import Graph, read_graph
from snnkit.deploy.nir.store import load
from snnkit.errors import InputError, SnnkitError, nearest
from snnkit.files import container

_SNNTORCH_DT = 1e-4
_NEURONS = ("IF", "LIF", "CubaLIF")


def verify(path: str | Path, reader: str) -> None:
    """Read one of our files with another framework's own reader, run both, and compare the spikes.

    Args:
        path: a file of `save`.
        reader: `spikingjelly`, `snntorch` or `norse`.
    Raises:
        InputError: what that framework reads otherwise, or cannot read, with the reason; or spikes that differ.
        MissingPackageError: it is not installed.
        FileError: as `load`.

    Example:
        >>> snnkit.deploy.nir.save(net, "net.nir", dt=1e-4)
        >>> snnkit.deploy.nir.verify("net.nir", "snntorch")
    """
    if reader not in READERS:
        raise InputError(f"reader is {reader!r:.80}{nearest(str(reader), READERS)}; known: {', '.join(READERS)}")
    tree, _ = nir_file.from_bytes(container.read_file(path), str(path))
    graph = read_graph(tree)
    if "dt" not in graph.notes:
        raise InputError(f"{path} does not say its dt; verify takes a file of snnkit.deploy.nir.save")
    ours = load(path)
    title, make, reasons = READERS[reader]
    for reason in reasons(graph):
        raise InputError(f"{title} does not read {path} as it is meant: {reason}")
    dt = float(graph.notes["dt"])
    shape = next(node for node in graph.nodes.values() if node.kind == "Input").fields["shape"]
    for name, x in probes(tuple(int(size) for size in shape)).items():
        with _quiet():
            try:
                theirs = _run(make(path, dt), x)
            except SnnkitError:
                raise
            except Exception as error:
                text = " ".join(str(error).split()) or type(error).__name__
                raise InputError(f"{title} does not read {path}: {text:.200}") from None
        with torch.no_grad():
            y = ours(x)
        count = differing(y, theirs)
        if count:
            raise InputError(f"{title} reads {path} otherwise: on {name}, {count:,} of {y.numel():,} outputs differ")


def _run(model: Any, x: Tensor) -> Tensor:
    """Return the outputs of a step-by-step model that takes and returns state."""
    found, state = [], None
    with torch.no_grad():
        for x_t in x.unbind(0):
            result = model(x_t) if state is None else model(x_t, state)
            y, state = result if isinstance(result, tuple) else (result, None)
            found.append(y)
    return torch.stack(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what peers print and warn of to themselves."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


def _spikingjelly(path: str | Path, dt: float) -> Any:
    exchange = package("spikingjelly.activation_based.nir_exchange", extra="interop")
    return exchange.import_from_nir(str(path), dt=dt)


def _snntorch(path: str | Path, dt: float) -> Any:
    return package("snntorch.import_nir", extra="interop").import_from_nir(package("nir").read(path))


def _norse(path: str | Path, dt: float) -> Any:
    return package("norse.torch", extra="interop").from_nir(package("nir").read(path), dt=dt, ignore_warnings=True)


def _soft(graph: Graph) -> Iterator[str]:
    for name, node in graph.nodes.items():
        if node.notes.get("reset") == "soft":
            yield f"node {name!r} resets softly, which NIR does not say"


def _lacks(graph: Graph, *kinds: str) -> Iterator[str]:
    for name, node in graph.nodes.items():
        if node.kind in kinds:
            yield f"it has no {node.kind}, node {name!r}"


def _flat(graph: Graph) -> Iterator[str]:
    for name, node in graph.nodes.items():
        if node.kind == "Flatten":
            yield f"it flattens the batch too, node {name!r}; flatten the input and use Linear only"


def _starts(graph: Graph, field: str) -> Iterator[str]:
    for name, node in graph.nodes.items():
        if node.kind in _NEURONS and np.any(node.fields.get(field, 0.0)):
            yield f"the membrane of {node.kind} {name!r} starts at {field} there, and at 0 here"


def _drops(graph: Graph, kind: str, field: str, value: float) -> Iterator[str]:
    for name, node in graph.nodes.items():
        if node.kind == kind and not np.allclose(node.fields[field], value, rtol=1e-6):
            yield f"it leaves out {field}, which is not {value:g} in {kind} {name!r}"


def _pads(graph: Graph) -> Iterator[str]:
    for name, node in graph.nodes.items():
        if node.kind == "SumPool2d" and node.fields["padding"].any():
            yield f"it leaves out the padding of SumPool2d {name!r}"


def _spikingjelly_reasons(graph: Graph) -> Iterator[str]:
    yield from _soft(graph)
    yield from _pads(graph)
    yield from _starts(graph, "v_reset")
    yield from _lacks(graph, "Delay", "LI", "CubaLI", "I", "Threshold", "Scale")


def _snntorch_reasons(graph: Graph) -> Iterator[str]:
    if not np.isclose(float(graph.notes["dt"]), _SNNTORCH_DT, rtol=1e-9):
        yield f"its step is {_SNNTORCH_DT:g} s whatever the file says ({graph.notes['dt']:g}); save with dt=1e-4"
    yield from _soft(graph)
    yield from _pads(graph)
    yield from _flat(graph)
    for name, node in graph.nodes.items():
        if node.kind == "IF":
            yield f"it makes a Leaky of decay 0.9 of IF {name!r}"
        if node.kind == "LIF" and np.ptp(node.fields["r"] / node.fields["tau"]) > 1e-6 * node.fields["r"].max():
            yield f"it scales the thresholds of LIF {name!r} by r / tau of one neuron, and they differ"
        if node.kind in _NEURONS and _looped(graph, name):
            yield f"it feeds the input to the recurrent weights of {name!r} in place of the neuron"
    yield from (reason for kind in _NEURONS for reason in _drops(graph, kind, "v_reset", 0.0))
    yield from _lacks(graph, "Delay", "LI", "CubaLI", "I", "Threshold", "Scale", "Conv1d")


def _norse_reasons(graph: Graph) -> Iterator[str]:
    yield from _soft(graph)
    yield from _pads(graph)
    yield from _flat(graph)
    yield from _drops(graph, "LIF", "r", 1.0)
    yield from (reason for kind in _NEURONS for reason in _drops(graph, kind, "v_reset", 0.0))
    yield from _starts(graph, "v_leak")
    yield from _lacks(graph, "Delay", "LI", "CubaLI", "I", "Threshold", "Scale", "AvgPool2d", "Conv1d")


def _looped(graph: Graph, name: str) -> bool:
    return any(name in graph.targets(target) for target in graph.targets(name))


Reader = tuple[str, Callable[[str | Path, float], Any], Callable[[Graph], Iterator[str]]]

READERS: Mapping[str, Reader] = {
    "spikingjelly": ("SpikingJelly", _spikingjelly, _spikingjelly_reasons),
    "snntorch": ("snnTorch", _snntorch, _snntorch_reasons),
    "norse": ("Norse", _norse, _norse_reasons),
}
"""Frameworks with a reader of their own: title, what reads a file, and why it would read ours otherwise."""
