"""Files of NetX (`.net`), from which lava-dl builds networks for Loihi 2, written and read.

NetX keeps a chain of layers: dense, convolutional, or dense with a connection onto itself, with a delay for each
synapse of a dense layer. It multiplies weights by no power of 2 and picks their width and sign mode by itself, so they
are written as whole numbers that it leaves as they are, and what it would change is refused.

A file is one of snnkit's (`snnkit.files.container`), whose HDF5 body NetX reads: `/layer/<k>` with `type`, `shape`,
`weight`, `weight_rec`, `delay`, `bias`, `stride`, `padding`, `dilation`, `groups` and the group `neuron`.

Source: lava.lib.dl.netx of lava-dl 0.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snnkit.deploy import netx_layers, netx_unsigned
from snnkit.deploy.integer import INPUT, Connection, IntegerNetwork, Population
from snnkit.deploy.synapses import Conv
from snnkit.errors import InputError
from snnkit.files import codec, container
from snnkit.files.metadata import to_json
from snnkit.files.schema import UnfitError
from snnkit.files.tree import Tree, read_tree, refusing, write_tree

KIND = "netx network"
_DEPTH = 4
_NOTED = ("populations", "connections", "read", "target", "scale")


def save(chip: IntegerNetwork, path: str | Path) -> None:
    """Store an integer network as NetX reads it, whole or not at all.

    Args:
        chip: what `snnkit.deploy.quantise` returns: a chain of populations, each with at most one connection onto
            itself.
        path: the file, such as `chip.net`.
    Raises:
        InputError: a part that NetX cannot express, by name, with what to do.
        FileError: the file cannot be written.

    Example:
        >>> snnkit.deploy.netx.save(chip, "chip.net")
        >>> spikes = snnkit.deploy.lava.run_netx("chip.net", x)
    """
    if not isinstance(chip, IntegerNetwork):
        raise InputError(f"netx.save keeps integer networks, not {type(chip).__name__}; quantise the network first")
    layers: list[dict[str, Any]] = [{"type": "input", "shape": np.asarray(chip.inputs)}]
    ordered, flat = [], len(chip.inputs) == 1
    for population, connection, own in chain(chip):
        if not flat and not isinstance(connection.synapses, Conv):
            layers.append({"type": "flatten"})
            flat = True
        if flat and isinstance(connection.synapses, Conv):
            raise InputError(f"connection {connection.name!r} is a Conv behind a dense layer, which NetX keeps flat")
        layers.append(netx_layers.write(population, connection, own))
        ordered.append((population, connection, own))
    noted = {
        "populations": [population.name for population, _, _ in ordered],
        "connections": [[connection.name, own.name if own else None] for _, connection, own in ordered],
        "read": chip.read,
        "target": chip.target,
        "scale": float(chip.scale),
    }
    tree = {"layer": {str(k): _group(layer) for k, layer in enumerate(layers)}}
    container.write_file(path, write_tree(KIND, tree, metadata=to_json(noted), compress=False))


def load(path: str | Path, *, unsigned: bool = False, limit: int = container.LIMIT) -> IntegerNetwork:
    """Return the integer network of a file.

    It has the same spikes, currents and membranes as that which `save` was given; weights are those that the chip used,
    with the smallest width that keeps them.

    Args:
        path: a file of `save`.
        unsigned: read a file that another program wrote, such as slayer; it has no digest, and must be one you trust.
        limit: most bytes that the file, and its arrays, may have.
    Raises:
        FileError: missing, damaged, of another kind, or larger than the limit; or with something that is not kept.
    """
    content = container.read_file(path, limit=limit)
    with refusing(str(path)):
        if unsigned:
            tree, noted = netx_unsigned.read(content, str(path))
        else:
            about, tree = read_tree(content, KIND, where=str(path), depth=_DEPTH, limit=limit)
            noted = about.metadata
        try:
            return _network(tree, noted)
        except InputError as error:
            raise UnfitError(str(error)) from None


def chain(chip: IntegerNetwork) -> list[tuple[Population, Connection, Connection | None]]:
    """Return the populations from the input on, each with its connection from the one before and that onto itself."""
    populations = {population.name: population for population in chip.populations}
    found, source = [], INPUT
    while True:
        outward = [c for c in chip.connections if c.source == source != c.target]
        if not outward:
            break
        if len(outward) > 1 or len(chip.into(outward[0].target)) > 2 or len(found) > len(populations):
            raise InputError(
                f"NetX keeps chains of layers, and {source!r} is not the only one before {outward[0].target!r}, or has "
                "more than that behind it; use snnkit.deploy.nir for such networks"
            )
        target = outward[0].target
        own = [c for c in chip.into(target) if c is not outward[0]]
        if own and own[0].source != target:
            raise InputError(
                f"NetX keeps chains of layers, and {target!r} also hears {own[0].source!r}; use a file of nir, "
                f"or where a bias comes that way {netx_layers.EARLY}"
            )
        found.append((populations[target], outward[0], own[0] if own else None))
        source = target
    if len(found) != len(populations) or source != chip.output.name:
        raise InputError(
            "NetX keeps chains of layers, and a population is not in the chain from the input to the answer"
        )
    return found


def _group(layer: Mapping[str, Any]) -> Tree:
    return {name: _group(item) if isinstance(item, Mapping) else _item(item) for name, item in layer.items()}


def _item(value: Any) -> Any:
    return value if isinstance(value, str) else codec.encode(np.asarray(value, np.int32))


def _network(tree: Tree, noted: Mapping[str, Any]) -> IntegerNetwork:
    layers = tree.pop("layer", None)
    if tree or not isinstance(layers, dict) or list(layers) != [str(k) for k in range(len(layers))] or not layers:
        raise UnfitError("/layer is not the only group, or does not hold layers numbered from 0")
    names, pairs, last = _noted(noted)
    first = netx_layers.Reader(layers["0"], "layer 0")
    if first.text("type") != "input":
        raise UnfitError("layer 0 is not the input")
    inputs = shape = first.shape()
    first.finish()
    populations, connections, source = [], [], INPUT
    for number in range(1, len(layers)):
        reader = netx_layers.Reader(layers[str(number)], f"layer {number}")
        if reader.text("type") == "flatten":
            shape = (int(np.prod(shape)),)
            reader.finish()
            continue
        if len(populations) >= len(names):
            raise UnfitError("there are more layers than names")
        name, (forward, own) = names[len(populations)], pairs[len(populations)]
        population, found = netx_layers.read(reader, name, shape, (source, forward, own))
        populations.append(population)
        connections += found
        source, shape = name, population.shape
    if len(populations) != len(names):
        raise UnfitError("there are fewer layers than names")
    return IntegerNetwork(inputs, tuple(populations), tuple(connections), **last)


def _noted(noted: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, str | None]], dict[str, Any]]:
    """Return the names of populations, those of their connections, and how the network is read."""
    if sorted(noted) != sorted(_NOTED):
        raise UnfitError(f"its metadata are {sorted(noted)!r:.80}; needed are {', '.join(_NOTED)}")
    names, pairs = noted["populations"], noted["connections"]
    lists = isinstance(names, list) and isinstance(pairs, list) and len(names) == len(pairs)
    if not lists or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise UnfitError("its metadata hold no names of populations and connections")
    words = [*names, *(pair[0] for pair in pairs), *(pair[1] for pair in pairs if pair[1] is not None)]
    texts = [*words, noted["read"], noted["target"]]
    if not all(isinstance(word, str) for word in texts) or not isinstance(noted["scale"], float):
        raise UnfitError("its metadata hold a name that is no text, or a scale that is no number")
    return names, [(pair[0], pair[1]) for pair in pairs], {key: noted[key] for key in ("read", "target", "scale")}
