"""The inside of every file: a tree of arrays and texts in HDF5, with where it came from.

The root group has the attributes `format` ("snnkit" and what it is, such as "snnkit network"), `version`, `snnkit`,
`torch` and `created` (UTC), and a text `metadata` in JSON. Each array is a dataset with the attributes `units`
("steps", or "1" for a plain number) and `dtype`, the type that its values stand for where HDF5 has none (bfloat16 is
kept as float32, bool and whole spikes as uint8). Parameters also have `trainable`, 0 or 1.

Reading takes nothing for granted: links, types, shapes, filters and sizes are checked before a value is read, so
no other file is followed, no plugin loaded, and no memory taken that the file does not account for.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import h5py
import numpy as np
import torch

import snnkit
from snnkit.errors import FileError, SnnkitError
from snnkit.files import container
from snnkit.files.metadata import About
from snnkit.files.schema import UnfitError, exactly

KINDS = {
    "network": ("a network", "is", "snnkit.load"),
    "recording": ("a recording", "is", "snnkit.files.load_recording"),
    "results": ("results", "are", "snnkit.files.load_results"),
    "integer network": ("an integer network", "is", "snnkit.deploy.load"),
    "netx network": ("a network of NetX", "is", "snnkit.deploy.netx.load"),
}
"""Kinds of file, with how to speak of each and what opens it."""

STORED = {"<f2", "<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8"}
"""NumPy codes of the numbers that datasets hold."""

# HDF5 1.10 put a checksum on every structure that these files use, and reads them since 2016.
VERSIONS = ("v110", "v110")
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}
_LONGEST_TEXT = 1 << 24
_LONGEST_ATTRIBUTE = 256
_LARGEST_CHUNK = 1 << 30
_WORTH_COMPRESSING = 4096
EXPANSION = 1100
"""Deflate makes at most 1032 bytes of one."""
_MOST_OBJECTS = 100_000
_ROOT = ("format", "version", "snnkit", "torch", "created")
LIBRARY_ERRORS = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
    SystemError,
)
"""What h5py raises on files that it cannot read."""


@dataclass(frozen=True, eq=False)
class Array:
    """An array of a file.

    Args:
        values: as they are stored.
        dtype: the type that they stand for, such as "bfloat16".
        units: "steps", or "1".
        trainable: whether it is a parameter that training changes; None where that has no meaning.
    """

    values: np.ndarray
    dtype: str
    units: str = "1"
    trainable: bool | None = None


Tree = dict[str, Any]
"""Name to Array, text, tuple of texts, or the Tree of a group."""


def write_tree(kind: str, tree: Tree, *, metadata: str, compress: bool, created: datetime | None = None) -> bytes:
    """Return the bytes of a whole file; the same arguments give the same bytes under one version of HDF5."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=VERSIONS, userblock_size=container.HEADER, track_order=True) as file:
        _set_text(file, "format", f"snnkit {kind}")
        file.attrs["version"] = np.int64(container.FORMAT)
        _set_text(file, "snnkit", snnkit.__version__)
        _set_text(file, "torch", torch.__version__)
        _set_text(file, "created", (created or datetime.now(UTC)).isoformat(timespec="seconds"))
        _write(file, {"metadata": metadata, **tree}, compress)
    with buffer.getbuffer() as view:
        container.seal(view)
    return buffer.getvalue()


def read_tree(content: bytes, kind: str, *, where: str, depth: int, limit: int) -> tuple[About, Tree]:
    """Verify a file and return what it holds.

    Args:
        content: the bytes of the file.
        kind: what it must be, such as "network".
        where: its name, for messages.
        depth: deepest nesting of groups.
        limit: most bytes that its arrays may take.
    Raises:
        FileError: damaged, of another kind, or not what snnkit writes.
    """
    with _opened(content, where) as file:
        about = _about(file)
        if about.kind != kind:
            (found, _, loader), (wanted, verb, _) = KINDS[about.kind], KINDS[kind]
            raise FileError(f"{where} holds {found} where {wanted} {verb} needed; open it with {loader}")
        compressed = len(content) * EXPANSION if kind != "network" else len(content)
        budget = _Budget(min(limit, compressed + _WORTH_COMPRESSING), compressed=kind != "network")
        tree = _read(file, "", depth, budget)
    del tree["metadata"]
    return about, tree


def read_about(content: bytes, where: str) -> About:
    """Verify a file and return where it came from; raises FileError as `read_tree` does."""
    with _opened(content, where) as file:
        return _about(file)


@contextlib.contextmanager
def refusing(where: str) -> Iterator[None]:
    """Turn what the schema does not allow into FileError."""
    try:
        yield
    except UnfitError as error:
        raise FileError(f"{where} is refused: {error}") from None


@contextlib.contextmanager
def _opened(content: bytes, where: str) -> Iterator[h5py.File]:
    """Open the body of a verified file; what the HDF5 library cannot read becomes FileError."""
    container.verify(content, where)
    try:
        with refusing(where), h5py.File(io.BytesIO(content), "r") as file:
            yield file
    except SnnkitError:
        raise
    except LIBRARY_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileError(f"{where} is refused: its HDF5 body cannot be read ({reason:.120})") from None


def _write(group: h5py.Group, tree: Tree, compress: bool) -> None:
    for name, item in tree.items():
        if isinstance(item, Mapping):
            _write(group.create_group(name, track_order=True), dict(item), compress)
        elif isinstance(item, Array):
            values = item.values.astype(item.values.dtype.newbyteorder("<"), copy=False)
            packed = compress and values.ndim > 0 and _WORTH_COMPRESSING <= values.nbytes <= _LARGEST_CHUNK
            options = {"chunks": values.shape, "compression": "gzip", "shuffle": values.itemsize > 1} if packed else {}
            dataset = group.create_dataset(name, data=values, **options)
            _set_text(dataset, "units", item.units)
            _set_text(dataset, "dtype", item.dtype)
            if item.trainable is not None:
                dataset.attrs["trainable"] = np.uint8(item.trainable)
        else:
            encoded = [text.encode() for text in ([item] if isinstance(item, str) else item)]
            kind = h5py.string_dtype("utf-8", max([1, *map(len, encoded)]))
            data = np.array(encoded[0] if isinstance(item, str) else encoded, kind)
            group.create_dataset(name, data=data, dtype=kind)


def _set_text(item: h5py.HLObject, name: str, value: str) -> None:
    encoded = value.encode()
    item.attrs.create(name, np.bytes_(encoded), dtype=h5py.string_dtype("utf-8", max(1, len(encoded))))


@dataclass
class _Budget:
    """What may still be read."""

    bytes: int
    compressed: bool
    objects: int = field(default=_MOST_OBJECTS)

    def take(self, size: int, path: str) -> None:
        self.bytes -= size
        if self.bytes < 0:
            raise UnfitError(
                f"/{path} takes more memory than allowed; if it is meant to, give a larger limit= in bytes"
            )


def _read(group: h5py.Group, path: str, depth: int, budget: _Budget) -> Tree:
    if path and len(group.attrs):
        raise UnfitError(f"group /{path} has attributes; groups have none")
    budget.objects -= len(group)
    if budget.objects < 0:
        raise UnfitError(f"it holds more than {_MOST_OBJECTS:,} groups and datasets")
    tree: Tree = {}
    for name in map(str, group):
        inner = f"{path}/{name}".lstrip("/")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise UnfitError(f"/{inner:.200} is a link to elsewhere; files hold all that they need")
        item = group[name]
        if isinstance(item, h5py.Group):
            if depth <= 0:
                raise UnfitError(f"/{inner:.200} is nested too deep")
            tree[name] = _read(item, inner, depth - 1, budget)
        elif isinstance(item, h5py.Dataset):
            tree[name] = _item(item, inner, budget)
        else:
            raise UnfitError(f"/{inner:.200} is neither a group nor a dataset")
    return tree


def _item(dataset: h5py.Dataset, path: str, budget: _Budget) -> Array | str | tuple[str, ...]:
    kind = dataset.dtype
    shape = dataset.shape
    if not isinstance(shape, tuple) or dataset.maxshape != shape or (kind.str not in STORED and kind.kind != "S"):
        raise UnfitError(f"/{path} holds {kind} of shape {shape}; needed are numbers or fixed-length text")
    size = math.prod(shape) * kind.itemsize
    budget.take(size, path)
    _check_storage(dataset, path, shape, budget.compressed)
    if kind.kind == "S":
        return _texts(dataset, path, size)
    attributes = _attributes(dataset, path, 3)
    exactly(attributes, ("units", "dtype", "trainable") if "trainable" in attributes else ("units", "dtype"))
    units, dtype, trainable = (attributes.get(name) for name in ("units", "dtype", "trainable"))
    if not isinstance(units, str) or not isinstance(dtype, str) or trainable not in (None, 0, 1):
        raise UnfitError(f"/{path} has units {units!r:.40}, dtype {dtype!r:.40}, trainable {trainable!r:.40}")
    return Array(np.asarray(dataset[()]), dtype, units, None if trainable is None else bool(trainable))


def _check_storage(dataset: h5py.Dataset, path: str, shape: tuple[int, ...], compressed: bool) -> None:
    """Raise UnfitError unless all the values are in the file itself, plain or through known filters."""
    size = math.prod(shape) * dataset.dtype.itemsize
    how = dataset.id.get_create_plist()
    layout = how.get_layout()
    if how.get_external_count() or layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
        raise UnfitError(f"/{path} keeps its values elsewhere; files hold all that they need")
    if layout == h5py.h5d.CONTIGUOUS:
        whole = dataset.id.get_storage_size() == size and how.get_nfilters() == 0
    else:
        # One chunk needs no index: the library can hang or crash on an index that was made to harm.
        known = all(how.get_filter(k)[0] in _FILTERS for k in range(how.get_nfilters()))
        one = dataset.chunks == shape and size <= _LARGEST_CHUNK
        whole = compressed and known and one and dataset.id.get_storage_size() > 0
    if not whole:
        raise UnfitError(f"/{path} is not stored as snnkit stores it: its {size:,} bytes are not all there")


def _texts(dataset: h5py.Dataset, path: str, size: int) -> str | tuple[str, ...]:
    if size > _LONGEST_TEXT or dataset.ndim > 1 or len(dataset.attrs):
        raise UnfitError(f"/{path} is not a text, or a list of texts, of at most {_LONGEST_TEXT:,} bytes")
    values = dataset[()]
    try:
        return values.decode() if dataset.ndim == 0 else tuple(value.decode() for value in values.tolist())
    except UnicodeDecodeError:
        raise UnfitError(f"/{path} is not text in UTF-8") from None


def _attributes(item: h5py.HLObject, path: str, most: int) -> dict[str, Any]:
    if len(item.attrs) > most:
        raise UnfitError(f"/{path} has {len(item.attrs)} attributes; at most {most} are known")
    found = {}
    for name in item.attrs:
        stored = item.attrs.get_id(name)
        kind = stored.dtype
        if stored.shape != () or kind.kind not in "Siu" or kind.itemsize > _LONGEST_ATTRIBUTE:
            raise UnfitError(f"attribute {name!r:.40} of /{path} is neither a short text nor a whole number")
        cell = np.empty((), kind)
        stored.read(cell)
        value = cell[()]
        found[name] = value.decode() if isinstance(value, bytes) else int(value)
    return found


def _about(file: h5py.File) -> About:
    found = _attributes(file, "", len(_ROOT))
    exactly(found, _ROOT)
    kind = str(found["format"]).removeprefix("snnkit ")
    if found["format"] != f"snnkit {kind}" or kind not in KINDS or found["version"] != container.FORMAT:
        raise UnfitError(f"its format is {found['format']!r:.40}, version {found['version']!r:.20}")
    noted = file["metadata"] if isinstance(file.get("metadata", getlink=True), h5py.HardLink) else None
    if not isinstance(noted, h5py.Dataset):
        raise UnfitError("/metadata is missing; needed is a text in JSON")
    metadata = _item(noted, "metadata", _Budget(_LONGEST_TEXT, compressed=False))
    return About.read(kind, found, metadata)
