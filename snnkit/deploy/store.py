"""Integer networks in files.

Beside what every file has (`snnkit.files.tree`), there are `/inputs`, `/read`, `/target`, `/scale`; a group for each of
`/populations/<name>` and `/connections/<name>`, in order, with the fields of `snnkit.deploy.integer` as datasets; and
in a connection the group `synapses` with a text `kind`, "Dense", "Sparse" or "Conv". A field that is None is left out.
Delays and weights are int32, row by row, so `h5py` alone reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from snnkit.deploy.integer import Connection, IntegerNetwork, Population
from snnkit.deploy.synapses import Conv, Dense, Sparse
from snnkit.errors import InputError
from snnkit.files import codec, container
from snnkit.files.metadata import to_json
from snnkit.files.schema import UnfitError
from snnkit.files.tree import Array, Tree, read_tree, refusing, write_tree

KIND = "integer network"
_SYNAPSES = {kind.__name__: kind for kind in (Dense, Sparse, Conv)}
_DEPTH = 4


def save(chip: IntegerNetwork, path: str | Path, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Store an integer network in a file, whole or not at all.

    Args:
        chip: what `snnkit.deploy.quantise` returns.
        path: the file, such as `chip.h5`; one that is there is replaced when the new one is complete.
        metadata: notes for `snnkit.files.about`: text, finite numbers, lists and dicts of them.
    Raises:
        InputError: no integer network, or a note that files do not keep.
        FileError: the file cannot be written.
    """
    if not isinstance(chip, IntegerNetwork):
        raise InputError(f"deploy.save keeps integer networks, not {type(chip).__name__}; snnkit.save keeps networks")
    tree = _group(chip, skip=("populations", "connections"))
    tree["populations"] = {part.name: _group(part, skip=("name",)) for part in chip.populations}
    tree["connections"] = {
        part.name: _group(part, skip=("name", "synapses"))
        | {"synapses": {"kind": type(part.synapses).__name__, **_group(part.synapses)}}
        for part in chip.connections
    }
    container.write_file(path, write_tree(KIND, tree, metadata=to_json(metadata), compress=True))


def load(path: str | Path, *, limit: int = container.LIMIT) -> IntegerNetwork:
    """Return the integer network of a file.

    Args:
        path: a file of `save`.
        limit: most bytes that the file, and its arrays, may have.
    Raises:
        FileError: missing, damaged, no integer network, or larger than the limit.
    """
    content = container.read_file(path, limit=limit)
    _, tree = read_tree(content, KIND, where=str(path), depth=_DEPTH, limit=limit)
    with refusing(str(path)):
        try:
            return _network(tree)
        except InputError as error:
            raise UnfitError(str(error)) from None


def _group(part: Any, skip: tuple[str, ...] = ()) -> Tree:
    values = {field.name: getattr(part, field.name) for field in fields(part) if field.name not in skip}
    return {name: _item(value) for name, value in values.items() if value is not None}


def _item(value: Any) -> Any:
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    return codec.encode(array.astype(np.int64) if array.dtype == np.bool_ else array, compact=False)


def _network(tree: Tree) -> IntegerNetwork:
    populations = [Population(name=name, **_read(Population, part)) for name, part in _groups(tree, "populations")]
    connections = []
    for name, part in _groups(tree, "connections"):
        inner = part.pop("synapses", None)
        kind = inner.pop("kind", None) if isinstance(inner, dict) else None
        if kind not in _SYNAPSES:
            raise UnfitError(f"connection {name!r} has no synapses of a known kind")
        synapses = _SYNAPSES[kind](**_read(_SYNAPSES[kind], inner))
        connections.append(Connection(name=name, synapses=synapses, **_read(Connection, part)))
    return IntegerNetwork(populations=tuple(populations), connections=tuple(connections), **_read(IntegerNetwork, tree))


def _groups(tree: Tree, name: str) -> list[tuple[str, Tree]]:
    group = tree.pop(name, None)
    if not isinstance(group, dict) or not all(isinstance(part, dict) for part in group.values()):
        raise UnfitError(f"{name} is no group of groups")
    return [(key, dict(part)) for key, part in group.items()]


def _read(kind: type, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass that a group holds, each of the type that it is declared with."""
    known = {field.name: str(field.type) for field in fields(kind)}
    found = {}
    for name, item in tree.items():
        if name not in known:
            raise UnfitError(f"{kind.__name__} has no {name!r:.80}")
        found[name] = _field(known[name], item, f"{name} of {kind.__name__}")
    needed = {"read", "target", "scale", "shape", "inputs", "source", "weight", "start", "n_inputs", "du", "dv", "vth"}
    missing = sorted(needed & set(known) - set(found))
    if missing:
        raise UnfitError(f"{kind.__name__} lacks {', '.join(missing)}")
    return found


def _field(declared: str, item: Any, what: str) -> Any:
    if declared == "str":
        if not isinstance(item, str):
            raise UnfitError(f"{what} is no text")
        return item
    if not isinstance(item, Array):
        raise UnfitError(f"{what} is no array")
    values = codec.to_numpy(item)
    if declared.startswith("np.ndarray"):
        return values
    if declared.startswith("tuple") and values.ndim == 1 and values.dtype.kind in "iu" and len(values) < 16:
        return tuple(int(n) for n in values)
    if values.ndim == 0 and values.dtype.kind in "iuf":
        number = values.item()
        if declared == "bool" and number in (0, 1):
            return bool(number)
        if declared in ("int", "float") and isinstance(number, int if declared == "int" else float):
            return number
    raise UnfitError(f"{what} does not fit {declared}")
