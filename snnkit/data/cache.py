"""Decoded images of data sets kept in HDF5, with where they came from; whole or absent, never half-written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np

from snnkit.data import formats, store
from snnkit.data.card import Card, Part

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
    decoder = f"pillow {version('pillow')}" if card.format == "image-tar" else "snnkit"
    stamp = store.stamp(card, part, paths, decoder)
    path = location(card, part)
    kept = _load(path, stamp, (part.count, *card.shape))
    if kept is not None:
        return kept
    made = formats.read(card, part, paths)
    with store.written(path) as file:
        file.attrs.update({**stamp, **_digests(made)})
        for name, values in zip(("images", "labels"), made, strict=True):
            file.create_dataset(name, data=values)
    return made


def location(card: Card, part: Part) -> Path:
    """Return where a part's cache lies."""
    return store.location(card, part, LAYOUT)


def _load(path: Path, stamp: Mapping[str, str], shape: tuple[int, ...]) -> formats.Arrays | None:
    """Return the cached arrays, or None where they are absent or damaged or their files have changed."""
    try:
        with h5py.File(path, "r") as file:
            found = _values(file, "images", shape), _values(file, "labels", shape[:1])
            return found if dict(file.attrs) == dict(stamp) | _digests(found) else None
    except (OSError, KeyError, ValueError, RuntimeError):
        return None


def _values(file: h5py.File, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a stored array of bytes; raises ValueError where it is not what was written."""
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.shape != shape or found.dtype != np.uint8:
        raise ValueError(f"{name} is {found!r}")
    return found[()]


def _digests(made: formats.Arrays) -> dict[str, str]:
    """Return the hashes that tell an array from a damaged one: HDF5 reads a lost block as zeros."""
    names = ("images_sha256", "labels_sha256")
    pairs = zip(names, made, strict=True)
    return {name: hashlib.sha256(np.ascontiguousarray(values).data).hexdigest() for name, values in pairs}
