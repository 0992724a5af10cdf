"""Decoded parts of data sets kept in HDF5, with where they came from; whole or absent, never half-written."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np

from snnkit import settings
from snnkit.data import formats
from snnkit.data.card import Card, Part
from snnkit.errors import FileError

LAYOUT = 1


def arrays(card: Card, part: Part, paths: Mapping[str, Path]) -> formats.Arrays:
    """Return a part's images and labels, from the cache where it was made from these very files.

    The files are verified and decoded once; afterwards their size and time of change are compared.

    Raises:
        DataError: where the files do not fit the card.
        FileError: where the cache cannot be written.
    """
    if card.format in formats.BUNDLED:
        return formats.read(card, part, paths)
    stamp = _stamp(card, part, paths)
    path = location(card, part)
    kept = _load(path, stamp, (part.count, *card.shape))
    if kept is not None:
        return kept
    made = formats.read(card, part, paths)
    try:
        _store(path, stamp, made)
    except OSError as error:
        raise FileError(
            f"the data cache {path} cannot be written ({error}); set SNNKIT_CACHE to a folder that can"
        ) from error
    return made


def location(card: Card, part: Part) -> Path:
    """Return where a part's cache lies; the name changes with everything that its content depends on."""
    facts = [LAYOUT, card.format, card.shape, card.classes, part.count, [asdict(file) for file in part.files]]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return settings.cache_dir() / "data" / f"{card.name}-{part.name}-{digest}.h5"


def _stamp(card: Card, part: Part, paths: Mapping[str, Path]) -> dict[str, str]:
    """Return the provenance of a part as it would be written now."""
    files = []
    for file in part.files:
        status = paths[file.name].stat()
        files.append(asdict(file) | {"packed_size": status.st_size, "changed_ns": status.st_mtime_ns})
    return {
        "name": card.name,
        "part": part.name,
        "source": card.source,
        "licence": card.licence,
        "citation": card.citation,
        "files": json.dumps(files),
        "decoder": f"pillow {version('pillow')}" if card.format == "image-tar" else "snnkit",
    }


def _load(path: Path, stamp: Mapping[str, str], shape: tuple[int, ...]) -> formats.Arrays | None:
    """Return the cached arrays, or None where they are absent or damaged or their files have changed."""
    try:
        with h5py.File(path, "r") as store:
            found = _values(store, "images", shape), _values(store, "labels", shape[:1])
            return found if dict(store.attrs) == dict(stamp) | _digests(found) else None
    except (OSError, KeyError, ValueError, RuntimeError):
        return None


def _values(store: h5py.File, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a stored array of bytes; raises ValueError where it is not what was written."""
    found = store[name]
    if not isinstance(found, h5py.Dataset) or found.shape != shape or found.dtype != np.uint8:
        raise ValueError(f"{name} is {found!r}")
    return found[()]


def _digests(made: formats.Arrays) -> dict[str, str]:
    """Return the hashes that tell an array from a damaged one: HDF5 reads a lost block as zeros."""
    names = ("images_sha256", "labels_sha256")
    pairs = zip(names, made, strict=True)
    return {name: hashlib.sha256(np.ascontiguousarray(values).data).hexdigest() for name, values in pairs}


def _store(path: Path, stamp: Mapping[str, str], made: formats.Arrays) -> None:
    """Write a cache file beside its place, then move it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}-{uuid.uuid4().hex}.part")
    try:
        with unfinished.open("x+b") as stream:
            with h5py.File(stream, "w") as store:
                store.attrs.update({**stamp, **_digests(made)})
                for name, values in zip(("images", "labels"), made, strict=True):
                    store.create_dataset(name, data=values)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
