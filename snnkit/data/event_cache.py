"""Recordings of data sets kept in HDF5, split by split, and read through the file without a copy in memory."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from snnkit.data import event_formats, sources, store
from snnkit.data.card import Card, Part
from snnkit.data.events import Events
from snnkit.data.recordings import Sample
from snnkit.data.signals import Signals
from snnkit.data.splits import cuts
from snnkit.errors import DataError

LAYOUT = 1
_OWN = {"offsets": np.dtype(np.int64), "labels": np.dtype(np.int64), "groups": np.dtype(np.int32)}


def split(card: Card, name: str, paths: Mapping[str, Path]) -> Events | Signals:
    """Return a split, from the cache where it was made from these very files.

    The files are verified and read once; afterwards their size and time of change are compared, and the hash of what is
    kept. The arrays lie in the file: the system reads what is used.

    Raises:
        DataError: where the files do not fit the card.
        FileError: where the cache cannot be written.
    """
    part = card.part(name)
    path = store.location(card, part, LAYOUT, part.order, dict(part.splits), dict(part.groups), dict(card.options))
    stamp = store.stamp(card, part, paths, "snnkit")
    kept = _load(path, stamp, name, card)
    if kept is None:
        _make(card, part, paths, path, stamp)
        kept = _load(path, stamp, name, card)
    if kept is None:
        raise DataError(f"the data cache {path} changes while it is read; prepare {card.name} again")
    return kept


@dataclass
class _Read:
    """What is known of the samples once all are read; their columns lie in files."""

    lengths: list[int]
    labels: list[int]
    groups: list[str]
    lists: list[str]
    columns: Mapping[str, np.dtype]
    widths: dict[str, tuple[int, ...]]
    classes: tuple[str, ...]


def _make(card: Card, part: Part, paths: Mapping[str, Path], path: Path, stamp: Mapping[str, str]) -> None:
    """Read a part's files and write its cache."""
    for file in part.files:
        sources.verify(card, file, paths[file.name])
    with store.refused(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="reading-") as folder:
        read = _spool(card, part, paths, Path(folder))
        indices = cuts(card, part, np.array(read.labels), groups=read.groups, lists=read.lists)
        with store.written(path) as file:
            file.attrs.update(stamp)
            for name, chosen in indices.items():
                _write(file.create_group(name), read, chosen, Path(folder))


def _spool(card: Card, part: Part, paths: Mapping[str, Path], folder: Path) -> _Read:
    """Read all samples, one after the other, and put their columns end to end into files of the folder."""
    reader = event_formats.READERS[card.format]
    source = reader.read(card, part, paths)
    read = _Read([], [], [], [], reader.columns, {}, source.classes or card.classes)
    streams = {name: (folder / name).open("wb") for name in reader.columns}
    try:
        for sample in sources.shown(source.samples, f"{card.name}: {part.name}", part.count):
            _check(card, part, read, sample)
            for (name, stream), values in zip(streams.items(), sample.columns, strict=True):
                read.widths.setdefault(name, values.shape[1:])
                stream.write(np.ascontiguousarray(values, reader.columns[name]).data)
    finally:
        source.close()
        for stream in streams.values():
            stream.close()
    if len(read.labels) != part.count:
        raise DataError(
            f"{card.name}: part {part.name!r} has {len(read.labels):,} samples; its card says {part.count:,}; "
            f"fetch its files again from {card.places}"
        )
    return read


def _check(card: Card, part: Part, read: _Read, sample: Sample) -> None:
    """Note a sample's facts; raises DataError where its label is beyond the card."""
    if not 0 <= sample.label < len(read.classes):
        raise DataError(
            f"{card.name}: part {part.name!r} has the label {sample.label} at sample {len(read.labels)}; "
            f"its card names {len(read.classes)} classes, 0 to {len(read.classes) - 1}"
        )
    read.lengths.append(len(sample.columns[0]))
    read.labels.append(sample.label)
    read.groups.append(sample.group)
    read.lists.append(sample.split)


def _write(group: h5py.Group, read: _Read, chosen: np.ndarray, folder: Path) -> None:
    """Write one split, with the hash of each of its arrays."""
    starts = np.concatenate([[0], np.cumsum(read.lengths)]).astype(np.int64)
    lengths = np.array(read.lengths, np.int64)[chosen]
    names = sorted({read.groups[index] for index in chosen} - {""})
    number = {name: place for place, name in enumerate(names)} | {"": -1}
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    own = {
        "offsets": offsets,
        "labels": np.array(read.labels, np.int64)[chosen],
        "groups": np.array([number[read.groups[index]] for index in chosen], np.int32),
    }
    for name, values in own.items():
        group.create_dataset(name, data=values)
        group.attrs[f"{name}_sha256"] = hashlib.sha256(values.data).hexdigest()
    words = json.dumps({"classes": read.classes, "group_names": names})
    group.create_dataset("names", data=words)
    group.attrs["names_sha256"] = hashlib.sha256(words.encode()).hexdigest()
    for name, width in read.widths.items():
        whole = _mapped(folder / name, read.columns[name], 0, (int(starts[-1]), *width))
        made = group.create_dataset(name, (int(offsets[-1]), *width), read.columns[name])
        digest = hashlib.sha256()
        for index, start in zip(chosen, offsets[:-1], strict=True):
            values = whole[starts[index] : starts[index + 1]]
            if len(values):
                made[start : start + len(values)] = values
            digest.update(np.ascontiguousarray(values).data)
        group.attrs[f"{name}_sha256"] = digest.hexdigest()


def _mapped(path: Path, kind: np.dtype, start: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array that lies in a file; the system reads the parts of it that are used."""
    if not math.prod(shape):
        return np.empty(shape, kind)
    return np.asarray(np.memmap(path, kind, "r", start, shape))


def _load(path: Path, stamp: Mapping[str, str], name: str, card: Card) -> Events | Signals | None:
    """Return a split, or None where the cache is absent or damaged or its files have changed."""
    columns = event_formats.READERS[card.format].columns
    try:
        with h5py.File(path, "r") as file:
            group: Any = file[name]
            found = {key: _values(path, group, key, kind) for key, kind in {**columns, **_OWN}.items()}
            words = group["names"].asstr()[()]
            digests = {f"{key}_sha256": hashlib.sha256(values.data).hexdigest() for key, values in found.items()}
            digests["names_sha256"] = hashlib.sha256(words.encode()).hexdigest()
            if dict(file.attrs) != dict(stamp) or dict(group.attrs) != digests:
                return None
        return _set(found | {key: tuple(names) for key, names in json.loads(words).items()}, card)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError):
        return None


def _values(path: Path, group: Any, name: str, kind: np.dtype) -> np.ndarray:
    """Return a stored array as it lies in the file; raises ValueError where it is not what was written."""
    found = group[name]
    if not isinstance(found, h5py.Dataset) or found.dtype != kind or found.chunks is not None:
        raise ValueError(f"{name} is {found!r}")
    return _mapped(path, kind, found.id.get_offset() or 0, found.shape)


def _set(fields: dict[str, Any], card: Card) -> Events | Signals:
    return Events(**fields, shape=card.shape) if "times" in fields else Signals(**fields)
