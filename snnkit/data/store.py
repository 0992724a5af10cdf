"""Files of prepared data: named after all that they depend on, whole or absent, with where they came from."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py

from snnkit import settings
from snnkit.data.card import Card, Part
from snnkit.errors import FileError
from snnkit.files.container import replacing


def location(card: Card, part: Part, *facts: Any) -> Path:
    """Return where a part's cache lies; the name changes with everything that its content depends on."""
    known = [*facts, card.format, card.shape, card.classes, part.count, [asdict(file) for file in part.files]]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
    return settings.cache_dir() / "data" / f"{card.name}-{part.name}-{digest}.h5"


def stamp(card: Card, part: Part, paths: Mapping[str, Path], decoder: str) -> dict[str, str]:
    """Return the provenance of a part as it would be written now."""
    files = []
    for file in part.files:
        status = paths[file.name].stat()
        found = {"read": paths[file.name].name, "packed_size": status.st_size, "changed_ns": status.st_mtime_ns}
        files.append(asdict(file) | found)
    return {
        "name": card.name,
        "part": part.name,
        "source": card.source,
        "licence": card.licence,
        "citation": card.citation,
        "files": json.dumps(files),
        "options": json.dumps(dict(card.options), sort_keys=True),
        "decoder": decoder,
    }


@contextlib.contextmanager
def written(path: Path) -> Iterator[h5py.File]:
    """Open a new HDF5 file beside its place and move it there when the block ends without an error.

    Raises:
        FileError: where it cannot be written.
    """
    with refused(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream, h5py.File(stream, "w") as store:
            yield store


@contextlib.contextmanager
def refused(path: Path) -> Iterator[None]:
    """Turn what the system says of a cache that cannot be written into a FileError."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            f"the data cache {path} cannot be written ({error}); set SNNKIT_CACHE to a folder that can"
        ) from error
