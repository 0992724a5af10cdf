"""NIR files of networks: written when they have been read back and give the same spikes; read with their dt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnkit.convert.fold import fold
from snnkit.convert.probe import differing, outputs, probes
from snnkit.convert.rows import UNPRUNE, copied
from snnkit.convert.shapes import Shape, first_shape
from snnkit.deploy.nir import file as nir_file
from snnkit.deploy.nir.build import WRITERS, Convention, build
from snnkit.deploy.nir.export import FORMAT, RECURRENCE, SCHEME, to_graph
from snnkit.deploy.nir.graph import Graph, read_graph
from snnkit.errors import FileError, InputError, nearest
from snnkit.files import container
from snnkit.files.schema import UnfitError
from snnkit.network import Network


def save(
    net: Network, path: str | Path, *, dt: float = 1e-3, shape: Sequence[int] | None = None, soft_reset: str = "refuse"
) -> None:
    """Write a network as a NIR file, once the file has been read back and gives the same spikes.

    The file is that of `to_graph`, with a digest in front of it that `load` checks; `nir.read` opens it as any other.

    Args:
        net, dt, shape, soft_reset: as in `to_graph`.
        path: the file, such as `net.nir`; one that is there is replaced when the new one is complete.
    Raises:
        InputError: a layer that NIR has no node for, or spikes that differ after reading back.
        FileError: the file cannot be written.
        MissingPackageError: nir is not installed.

    Example:
        >>> snnkit.deploy.nir.save(net, "net.nir", dt=1e-3)
    """
    if isinstance(net, Network):
        net = copied(net, UNPRUNE).cpu()
    graph = to_graph(net, dt=dt, shape=shape, soft_reset=soft_reset)
    content = nir_file.to_bytes(graph.to_dict())
    again = _network(content, str(path), dt)
    check(net, again, first_shape(net, shape))
    container.write_file(path, content)


def load(path: str | Path, *, dt: float | None = None, writer: str = "nir", limit: int = nir_file.LIMIT) -> Network:
    """Return the network of a NIR file, on the CPU.

    Our own files say their dt. Others do not: NIR is in seconds and leaves the step to who runs it. Nor do they say
    what NIR has no word for: snnTorch writes its soft resets as hard ones, so `snnkit.convert.from_snntorch` takes such
    models themselves.

    Args:
        path: a file of `save`, or of another tool.
        dt: seconds for one step; needed where the file does not say it.
        writer: `norse` or `spikingjelly` for a file of theirs, whose numbers do not mean what NIR says (see
            `snnkit.deploy.nir.build.Convention`); `nir` for all others.
        limit: most bytes that the file, and its arrays, may have.
    Raises:
        FileError: missing, damaged, no NIR file, or a graph that is no row of layers.
        InputError: dt is missing, or not that of the file.

    Example:
        >>> net = snnkit.deploy.nir.load("theirs.nir", dt=1e-4)
    """
    content = container.read_file(path, limit=limit)
    return _network(content, str(path), dt, writer=writer, limit=limit)


def from_graph(graph: Any, *, dt: float | None = None, writer: str = "nir") -> Network:
    """Return the network of a `nir.NIRGraph`.

    Args:
        graph: such as `nir.read` or another framework's export returns.
        dt, writer: as in `load`.
    Raises:
        InputError: a graph that is no row of layers; dt is missing, or not that of the graph.
    """
    if not callable(getattr(graph, "to_dict", None)):
        raise InputError(f"from_graph takes a nir.NIRGraph, not {type(graph).__name__}; load takes a path")
    try:
        found = read_graph(graph.to_dict())
        return build_with(found, dt, writer, "the graph", ours=_format(found) is not None)
    except UnfitError as error:
        raise InputError(f"this graph cannot be read: {error}") from None


def check(net: Network, again: Network, shape: Shape) -> None:
    """Raise InputError unless two networks give the same outputs, bit for bit, on spikes and numbers drawn at random.

    Folding rounds weights and time constants: all spikes have to be those of the network that was given, and what a
    readout gives that of `fold(net)`.
    """
    exported = fold(net)
    for name, x in probes(shape).items():
        ours, theirs = outputs(exported, x), outputs(again, x)
        if not bool(torch.isfinite(ours[-1]).all()):
            raise InputError(f"on {name}, the network gives NaN or infinity, so there is nothing to compare")
        for k, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            _same(one, other, f"on {name}, layer of neurons {k} gives other outputs after reading back")
        for k, (one, other) in enumerate(zip(outputs(net, x)[:-1], ours, strict=False)):
            what = f"on {name}, folding BatchNorm or PLIF rounds, and changes spikes of layer of neurons {k}"
            _same(one, other, f"{what} (give snnkit.deploy.nir.fold(net) if these are the spikes that count)")


def build_with(graph: Graph, dt: float | None, writer: str, where: str, *, ours: bool) -> Network:
    """Return the network of a checked graph.

    Raises:
        InputError: dt is missing or another than noted; an unknown writer.
        UnfitError: a graph that is no row of layers.
    """
    if writer not in WRITERS:
        raise InputError(f"writer is {writer!r:.80}{nearest(str(writer), WRITERS)}; known: {', '.join(WRITERS)}")
    convention = Convention() if ours else WRITERS[writer]
    return build(graph, _step(graph.notes if ours else {}, dt, where), convention, ours=ours)[0]


def _network(
    content: bytes, where: str, dt: float | None, *, writer: str = "nir", limit: int = nir_file.LIMIT
) -> Network:
    tree, signed = nir_file.from_bytes(content, where, limit=limit)
    try:
        graph = read_graph(tree)
        kind = _format(graph)
        if kind is not None and not signed:
            raise UnfitError("snnkit wrote it, and the digest that came with it is gone; use another copy")
        return build_with(graph, dt, writer, where, ours=kind is not None)
    except UnfitError as error:
        raise FileError(f"{where} is refused: {error}") from None


def _format(graph: Graph) -> str | None:
    """Return that a graph is ours, if it is; raises UnfitError where its scheme is not one that we know."""
    if graph.notes.get("format") != FORMAT:
        return None
    scheme, recurrence = graph.notes.get("scheme"), graph.notes.get("recurrence")
    if (scheme, recurrence) != (SCHEME, RECURRENCE):
        raise UnfitError(f"its scheme is {scheme!r:.40} with recurrence {recurrence!r:.40}, which is not known")
    return FORMAT


def _step(notes: Mapping[str, Any], dt: float | None, where: str) -> float:
    noted = notes.get("dt")
    if dt is not None and (not isinstance(dt, int | float) or not 1e-9 <= dt <= 1e3):
        raise InputError(f"dt is {dt!r}; seconds for one step are needed, such as dt=1e-3")
    if not isinstance(noted, float) or not 1e-9 <= noted <= 1e3:
        if dt is None:
            raise InputError(
                f"{where} does not say how long a step is; give dt= in seconds: snnTorch, SpikingJelly and Lava's "
                "scripts write dt=1e-4, Norse dt=1e-3"
            )
        return float(dt)
    if dt is not None and abs(dt - noted) > 1e-9 * noted:
        raise InputError(f"{where} says dt={noted:g}, and dt={dt:g} was given; leave dt= out")
    return noted


def _same(one: Tensor, other: Tensor, what: str) -> None:
    count = differing(one, other)
    if count:
        raise InputError(f"{what}: {count:,} of {one.numel():,}; nothing was written")
