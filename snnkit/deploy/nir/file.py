"""NIR files: HDF5 as `nir.write` lays it out, behind the header of snnkit's files where we wrote it.

HDF5 leaves the first 512 bytes of a file to its user, so `nir.read` and h5py open ours as they open any. The digest
there (`snnkit.files.container`) is checked before the HDF5 library sees the file. The files of others have none: links,
types, filters and sizes are checked before a value is read, but a file that was made to harm the HDF5 library itself
reaches it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import h5py
import h5py.h5o
import numpy as np

from snnkit.errors import FileError, SnnkitError
from snnkit.files import container
from snnkit.files.schema import UnfitError
from snnkit.files.tree import EXPANSION, LIBRARY_ERRORS, VERSIONS

LIMIT = 1 << 32
"""Files with more bytes, or whose arrays take more, are refused unless a larger limit is given."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_LZF, h5py.h5z.FILTER_FLETCHER32}
_WORTH_COMPRESSING = 4096
_MOST_ITEMS = 500_000
_MOST_TEXTS = 200_000
_LONGEST_TEXT = 1 << 16
_DEEPEST = 40
Tree = dict[str, Any]
"""Name to array, text, or the Tree of a group."""


def to_bytes(tree: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file for a graph as nested mappings, as of `nir.NIRGraph.to_dict()`."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=VERSIONS, userblock_size=container.HEADER, track_order=True) as file:
        file.create_dataset("version", data=version("nir"), dtype=h5py.string_dtype())
        _write(file.create_group("node", track_order=True), tree)
    with buffer.getbuffer() as view:
        container.seal(view)
    return buffer.getvalue()


def from_bytes(content: bytes, where: str, *, limit: int = LIMIT) -> tuple[Tree, bool]:
    """Return what a file holds as nested mappings, and whether a digest vouches for it.

    Args:
        content: a whole file.
        where: its name, for messages.
        limit: most bytes that its arrays may take.
    Raises:
        FileError: damaged, no HDF5, or not what a NIR file holds.
    """
    signed = _verify(content, where)
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            node = file["node"] if isinstance(file.get("node", getlink=True), h5py.HardLink) else None
            if not isinstance(node, h5py.Group):
                raise FileError(f"{where} is HDF5 without the group /node, so it is no NIR file")
            budget = _Budget(min(limit, len(content) * EXPANSION))
            return _read(node, "node", _DEEPEST, budget), signed
    except SnnkitError:
        raise
    except UnfitError as error:
        raise FileError(f"{where} is refused: {error}") from None
    except LIBRARY_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileError(f"{where} is refused: it cannot be read as HDF5 ({reason:.120})") from None


def _verify(content: bytes, where: str) -> bool:
    """Check the digest where there is one; raises FileError."""
    if content.startswith(_HDF5):
        return False
    if not content.startswith(container.MAGIC):
        raise FileError(f"{where} is no NIR file: it starts with {content[:8]!r} and HDF5 with {_HDF5!r}")
    container.verify(content, where)
    return True


def _write(group: h5py.Group, tree: Mapping[str, Any]) -> None:
    for name, item in tree.items():
        if isinstance(item, Mapping):
            if item or name != "metadata":
                _write(group.create_group(name, track_order=True), item)
        elif isinstance(item, str):
            group.create_dataset(name, data=item, dtype=h5py.string_dtype())
        else:
            # the branches of delays are mostly zeros
            packed = isinstance(item, np.ndarray) and item.ndim > 0 and item.nbytes >= _WORTH_COMPRESSING
            options = {"compression": "gzip", "shuffle": True} if packed else {}
            group.create_dataset(name, data=item, **options)


class _Budget:
    """What may still be read."""

    def __init__(self, size: int) -> None:
        self.bytes = size
        self.items = _MOST_ITEMS
        self.texts = _MOST_TEXTS
        self.seen: set[int] = set()

    def take(self, path: str, *, size: int = 0, items: int = 0, texts: int = 0) -> None:
        self.bytes -= size
        self.items -= items
        self.texts -= texts
        if min(self.bytes, self.items, self.texts) < 0:
            raise UnfitError(f"/{path:.200} takes more than allowed; if it is meant to, give a larger limit= in bytes")


def _read(group: h5py.Group, path: str, depth: int, budget: _Budget) -> Tree:
    if depth < 0:
        raise UnfitError(f"/{path:.200} is nested too deep")
    place = h5py.h5o.get_info(group.id).addr
    if place in budget.seen:
        raise UnfitError(f"/{path:.200} is a group that has another name too; a NIR file is a tree")
    budget.seen.add(place)
    budget.take(path, items=len(group))
    tree: Tree = {}
    for name in map(str, group):
        inner = f"{path}/{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise UnfitError(f"/{inner:.200} is a link to elsewhere; a NIR file holds all that it needs")
        item = group[name]
        if isinstance(item, h5py.Group):
            tree[name] = _read(item, inner, depth - 1, budget)
        elif isinstance(item, h5py.Dataset):
            tree[name] = _item(item, inner, budget)
        else:
            raise UnfitError(f"/{inner:.200} is neither a group nor a dataset")
    return tree


def _item(dataset: h5py.Dataset, path: str, budget: _Budget) -> Any:
    kind, shape = dataset.dtype, dataset.shape
    if not isinstance(shape, tuple):
        raise UnfitError(f"/{path:.200} holds nothing")
    _check_storage(dataset, path)
    text = h5py.check_string_dtype(kind)
    if text is None:
        if kind.kind not in "fiub":
            raise UnfitError(f"/{path:.200} holds {kind}; needed are numbers or text")
        budget.take(path, size=math.prod(shape) * kind.itemsize)
        values = np.asarray(dataset[()])
        return values.astype(np.uint8) if kind.kind == "b" else values.astype(kind.newbyteorder("="))
    count = math.prod(shape)
    if len(shape) not in (0, 2) or (shape and shape[1] != 2):
        raise UnfitError(f"/{path:.200} holds texts of shape {list(shape)}; needed is one, or pairs")
    budget.take(path, texts=count, size=count * (text.length or 0))
    if not shape:
        return _text(dataset[()], path)
    # one row at a time, because nothing tells the lengths of texts before they are read
    return [tuple(_text(end, path) for end in dataset[row]) for row in range(shape[0])]


def _text(value: Any, path: str) -> str:
    if not isinstance(value, bytes) or len(value) > _LONGEST_TEXT:
        raise UnfitError(f"/{path:.200} is no text of at most {_LONGEST_TEXT:,} bytes")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UnfitError(f"/{path:.200} is not text in UTF-8") from None


def _check_storage(dataset: h5py.Dataset, path: str) -> None:
    """Raise UnfitError unless the values are in the file itself, plain or through known filters."""
    how = dataset.id.get_create_plist()
    layouts = (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)
    known = all(how.get_filter(k)[0] in _FILTERS for k in range(how.get_nfilters()))
    if how.get_external_count() or how.get_layout() not in layouts or not known:
        raise UnfitError(f"/{path:.200} keeps its values elsewhere, or packed in a way that is not known")
