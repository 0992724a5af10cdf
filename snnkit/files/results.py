"""Recordings and results in files: what a network did, and what was measured.

Beside what every file has (`snnkit.files.tree`), a recording holds `/traces/<name>`, such as `/traces/1.v`, with time
as the first axis and the batch as the second, and results hold `/results` with a dataset for each array, number and
text, and a group for each mapping. Large arrays are compressed by HDF5 itself, and spikes are bytes before that, so
that `h5py.File("run.h5")["traces/1"][()]` gives them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from snnkit.errors import InputError
from snnkit.files import codec, container
from snnkit.files.metadata import to_json
from snnkit.files.schema import UnfitError, exactly
from snnkit.files.tree import Array, Tree, read_tree, refusing, write_tree

_DEEPEST = 8
_SCALARS = {bool: "bool", int: "int64", float: "float64"}


def save_recording(
    path: str | Path, traces: Mapping[str, Tensor], *, metadata: Mapping[str, Any] | None = None
) -> None:
    """Store what a network did in a file, whole or not at all.

    Args:
        path: the file, such as `run.h5`; one that is there is replaced when the new one is complete.
        traces: name to sequence [T, B, features…], such as `net.record` returns; every type of torch that is real.
        metadata: notes for `snnkit.files.about`: text, finite numbers, lists and dicts of them.
    Raises:
        InputError: a trace or note that files do not keep.
        FileError: the file cannot be written.

    Example:
        >>> save_recording("run.h5", net.record(x, ["1", "1.v"]))
    """
    tree: Tree = {}
    for name, trace in traces.items():
        if not isinstance(trace, Tensor) or trace.ndim < 2:
            came = f"of shape {list(trace.shape)}" if isinstance(trace, Tensor) else f"{trace!r:.40}"
            raise InputError(f"trace {name!r} is {came}; needed is a tensor [T, B, features…]")
        tree[_checked(name)] = _encode(name, trace)
    content = write_tree("recording", {"traces": tree}, metadata=to_json(metadata), compress=True)
    container.write_file(path, content)


def load_recording(path: str | Path, *, limit: int = container.LIMIT) -> dict[str, Tensor]:
    """Return the traces of a file, on the CPU, bit for bit as they were saved and in their order.

    Args:
        path: a file of `save_recording`.
        limit: most bytes that the file, and its traces, may have.
    Raises:
        FileError: missing, damaged, no recording, or larger than the limit.

    Example:
        >>> load_recording("run.h5")["1.v"].shape
        torch.Size([16, 8, 128])
    """
    tree = _load(path, "recording", "traces", limit)
    with refusing(str(path)):
        traces = {}
        for name, item in tree.items():
            if not isinstance(item, Array) or item.values.ndim < 2:
                raise UnfitError(f"trace {name!r:.80} is not an array [T, B, features…]")
            traces[name] = codec.to_tensor(item)
    return traces


def save_results(path: str | Path, results: Mapping[str, Any], *, metadata: Mapping[str, Any] | None = None) -> None:
    """Store results in a file, whole or not at all.

    Args:
        path: the file, such as `results.h5`; one that is there is replaced when the new one is complete.
        results: name to number, truth value, text, array, tensor, list of numbers or of texts, or a mapping of
            the same kind; a table is a mapping from its columns' names.
        metadata: notes for `snnkit.files.about`: text, finite numbers, lists and dicts of them.
    Raises:
        InputError: a result or note that files do not keep.
        FileError: the file cannot be written.

    Example:
        >>> save_results("results.h5", {"accuracy": 0.97, "loss": [0.9, 0.4], "confusion": torch.eye(10)})
    """
    tree = {"results": _tree(results, "results", _DEEPEST)}
    content = write_tree("results", tree, metadata=to_json(metadata), compress=True)
    container.write_file(path, content)


def load_results(path: str | Path, *, limit: int = container.LIMIT) -> dict[str, Any]:
    """Return the results of a file in their order.

    Args:
        path: a file of `save_results`.
        limit: most bytes that the file, and its arrays, may have.
    Returns:
        Name to float, int, bool, text, NumPy array (from arrays, tensors and lists of numbers), list of texts,
        or a dict of the same kind.
    Raises:
        FileError: missing, damaged, no results, or larger than the limit.

    Example:
        >>> load_results("results.h5")["accuracy"]
        0.97
    """
    tree = _load(path, "results", "results", limit)
    with refusing(str(path)):
        return {name: _value(item) for name, item in tree.items()}


def _load(path: str | Path, kind: str, group: str, limit: int) -> Tree:
    content = container.read_file(path, limit=limit)
    _, tree = read_tree(content, kind, where=str(path), depth=_DEEPEST + 1, limit=limit)
    with refusing(str(path)):
        exactly(tree, (group,))
        if not isinstance(tree[group], dict):
            raise UnfitError(f"/{group} is not a group")
        return tree[group]


def _tree(results: Mapping[str, Any], path: str, depth: int) -> Tree:
    if depth <= 0:
        raise InputError(f"{path} is nested deeper than {_DEEPEST}; make it flatter")
    return {_checked(name): _item(value, f"{path}/{name}", depth) for name, value in results.items()}


def _item(value: Any, path: str, depth: int) -> Any:
    if isinstance(value, Mapping):
        return _tree(value, path, depth - 1)
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, list | tuple):
        if value and all(isinstance(element, str) for element in value):
            return tuple(_text(element, path) for element in value)
        value = _numbers(value, path)
    elif type(value) in _SCALARS:
        value = _numbers(value, path).astype(_SCALARS[type(value)])
    elif isinstance(value, np.generic):
        value = np.asarray(value)
    elif not isinstance(value, Tensor | np.ndarray):
        raise InputError(
            f"{path} is {value!r:.60}; needed is a number, text, array, list of numbers or of texts, or a mapping"
        )
    return _encode(path, value)


def _numbers(value: Any, path: str) -> np.ndarray:
    try:
        return np.asarray(value, dtype=np.int64 if type(value) is int else None)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path} is {value!r:.60}, which is no array of numbers: {error}") from None


def _encode(name: str, values: Tensor | np.ndarray) -> Array:
    try:
        return codec.encode(values, compact=True)
    except UnfitError as error:
        raise InputError(f"{name!r} holds {error}") from None


def _value(item: Any) -> Any:
    if isinstance(item, Mapping):
        return {name: _value(inner) for name, inner in item.items()}
    if isinstance(item, tuple):
        return list(item)
    if isinstance(item, Array):
        values = codec.to_numpy(item)
        return values.item() if values.ndim == 0 else values
    return item


def _text(value: str, path: str) -> str:
    if "\0" in value or not _encodes(value):
        raise InputError(f"{path} is {value!r:.60}; a text in a file has no zero character and is UTF-8")
    return value


def _checked(name: Any) -> str:
    fits = isinstance(name, str) and 0 < len(name) <= 200 and not set(name) & {"/", "\0"}
    if not fits or name in (".", "..") or not _encodes(name):
        raise InputError(f"{name!r:.80} cannot name a dataset; use 1 to 200 characters without '/'")
    return name


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
