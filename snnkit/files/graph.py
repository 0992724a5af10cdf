"""Networks in files: the graph as text, the parameters as datasets, nothing that runs.

Beside what every file has (`snnkit.files.tree`), the body of a network holds

    /graph                      JSON: layers in order, neurons by their equations, arguments of torch's layers
    /parameters/0/weight        layer 0 is nn.Linear: its weight
    /parameters/1/tau           layer 1 is spiking: its neuron's `tau`, within its bounds, in steps
    /parameters/2/layer/tau     layer 2 is snnkit.Recurrent: its spiking layer
    /parameters/3/0/weight      layer 3 is a network or nn.Sequential: its layer 0

and is read with h5py and json alone:

    with h5py.File("net.h5") as file:
        layers = json.loads(file["graph"][()])["layers"]
        weight = file["parameters/0/weight"][()]

The same network saved twice by the same versions gives the same bytes, but for `created` and the digest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from snnkit.errors import InputError
from snnkit.files import container
from snnkit.files.describe import DEEPEST, build, describe
from snnkit.files.metadata import About, to_json
from snnkit.files.parameters import collect, restore
from snnkit.files.schema import UnfitError, exactly, read_json
from snnkit.files.tree import read_about, read_tree, refusing, write_tree
from snnkit.network import Network


def save(net: Network, path: str | Path, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Store a network in a file, whole or not at all.

    Args:
        net: layers that files know: spiking ones, and those of torch in `snnkit.files.LAYERS`.
        path: the file, such as `net.h5`; one that is there is replaced when the new one is complete.
        metadata: notes for `snnkit.files.about`: text, finite numbers, lists and dicts of them.
    Raises:
        InputError: a layer, parameter or note that files do not store.
        FileError: the file cannot be written.

    Example:
        >>> snnkit.save(net, "net.h5", metadata={"accuracy": 0.97})
    """
    container.write_file(path, to_bytes(net, metadata=metadata))


def load(path: str | Path, *, limit: int = container.LIMIT) -> Network:
    """Return the network of a file, on the CPU; it gives the outputs of the one that was saved, bit for bit.

    The file's digest is checked before anything is parsed, and everything in it before anything is built.
    No code of the file runs: equations pass the parser of `snnkit.neuron`.

    Args:
        path: a file of `snnkit.save`.
        limit: most bytes that the file may have.
    Raises:
        FileError: missing, damaged, no network, or holding what this version does not know.

    Example:
        >>> net = snnkit.load("net.h5")
    """
    return from_bytes(container.read_file(path, limit=limit), where=str(path))


def to_bytes(net: Network, *, metadata: Mapping[str, Any] | None = None, created: datetime | None = None) -> bytes:
    """Return the content of a network's file; `created` is now unless given. Raises InputError as `save` does."""
    noted = to_json(metadata)
    try:
        if type(net) is not Network:
            raise UnfitError(f"it is a {type(net).__name__}; save its layers as snnkit.Network(…)")
        graph = describe(net)
        parameters = collect(net)
        # What could not be read is not written.
        restore(build(graph), parameters)
    except UnfitError as error:
        raise InputError(f"this network cannot be saved: {error}") from None
    content = json.dumps(graph, ensure_ascii=False, indent=1)
    tree = {"graph": content, "parameters": parameters}
    return write_tree("network", tree, metadata=noted, compress=False, created=created)


def from_bytes(content: bytes, *, where: str = "the content", limit: int = container.LIMIT) -> Network:
    """Return the network of a file's content; `where` names it in messages. Raises FileError as `load` does."""
    _, tree = read_tree(content, "network", where=where, depth=DEEPEST + 2, limit=limit)
    with refusing(where):
        exactly(tree, ("graph", "parameters"))
        if not isinstance(tree["graph"], str) or not isinstance(tree["parameters"], dict):
            raise UnfitError("/graph is not a text, or /parameters is not a group")
        net = build(read_json(tree["graph"], "/graph"))
        restore(net, tree["parameters"])
    return net


def about(path: str | Path, *, limit: int = container.LIMIT) -> About:
    """Return where a file came from and the metadata in it.

    Args:
        path: a file of `snnkit.save`, `save_recording` or `save_results`.
        limit: most bytes that the file may have.
    Raises:
        FileError: missing, damaged, or no file of snnkit.

    Example:
        >>> snnkit.files.about("net.h5").metadata["accuracy"]
        0.97
    """
    return read_about(container.read_file(path, limit=limit), str(path))
