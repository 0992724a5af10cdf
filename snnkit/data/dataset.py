"""Data sets by name, as tensors, in the splits that their cards declare."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snnkit import settings
from snnkit.data import cache, formats
from snnkit.data.card import Card, Part, read
from snnkit.errors import DataError, nearest


@dataclass(frozen=True, eq=False)
class Split:
    """Samples with their classes: images `[B, channels, height, width]` float32 0..1, labels `[B]` int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set whose splits are read when they are first asked for.

    Attributes:
        card: what is known about it: source, licence, citation, shape, classes.
        paths: file name to the file that is read.
        train: samples to learn from.
        validation: samples to choose a model by.
        test: samples to report on, once.
    Raises:
        DataError: from a split, where a file is damaged or is not the one on the card.
        FileError: from a split, where the cache cannot be written.
    """

    card: Card
    paths: dict[str, Path]

    @cached_property
    def train(self) -> Split:
        return self._split("train")

    @cached_property
    def validation(self) -> Split:
        return self._split("validation")

    @cached_property
    def test(self) -> Split:
        return self._split("test")

    def _split(self, name: str) -> Split:
        part = self.card.part(name)
        images, labels = cache.arrays(self.card, part, self.paths)
        chosen = cuts(self.card, part, labels)[name]
        scaled = torch.from_numpy(images[chosen]).float().div_(self.card.scale)
        return Split(scaled, torch.from_numpy(labels[chosen]).long())


def load(name: str | Path | Card, root: str | Path | None = None) -> Dataset:
    """Find a data set's files and return its splits as tensors.

    The files are looked for in `<root>/<name>/`, verified against the card's hashes once, and kept decoded
    under `SNNKIT_CACHE`. The digits come with scikit-learn and need no root.

    Args:
        name: a known name such as `mnist`, the path of a `card.toml` of one's own, or a card.
        root: the folder of downloaded data sets; `SNNKIT_DATA` where it is not given.
    Returns:
        The data set; `.train`, `.validation` and `.test` are read when first used.
    Raises:
        DataError: where the name or the card's format is unknown, or files are missing.

    Example:
        >>> load("digits").train.images.shape
        torch.Size([1079, 1, 8, 8])
    """
    card = name if isinstance(name, Card) else read(name)
    if card.format not in formats.READERS:
        guess = nearest(card.format, formats.READERS)
        raise DataError(f"{card.name} has the format {card.format!r}{guess}; known: {', '.join(formats.READERS)}")
    return Dataset(card, {} if card.format in formats.BUNDLED else _find(card, root))


def cuts(card: Card, part: Part, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return split name to sample indices: consecutive, disjoint cuts of the part in its declared order.

    A stratified order sorts by a sample's relative rank within its class, so that every cut holds each class
    in proportion. Shuffled ranks follow the SHA-256 of `<data set>/<part>/<index>`: the same on every machine
    and version, and independent of any random generator.
    """
    order = np.arange(len(labels))
    if part.order != "file":
        if part.order == "stratified-shuffled":
            keys = [hashlib.sha256(f"{card.name}/{part.name}/{index}".encode()).digest() for index in order]
            order = np.array(sorted(order, key=keys.__getitem__))
        rank = np.empty(len(labels))
        for label in np.unique(labels):
            members = order[labels[order] == label]
            rank[members] = (np.arange(len(members)) + 0.5) / len(members)
        order = order[np.lexsort((labels[order], rank[order]))]
    ends = np.cumsum(list(part.splits.values()))
    return dict(zip(part.splits, np.split(order, ends[:-1]), strict=True))


def _find(card: Card, root: str | Path | None) -> dict[str, Path]:
    """Return file name to path; raises DataError where there is no root or a file is missing from it."""
    files = [file for part in card.parts for file in part.files]
    needed = ", ".join(
        f"{file.name} ({file.size:,} bytes{' unpacked' if file.name.endswith('.gz') else ''})" for file in files
    )
    base = settings.data_root() if root is None else Path(root)
    if base is None:
        raise DataError(
            f"{card.name} needs a data root: set SNNKIT_DATA, or give --root (root= in Python), to a folder "
            f"whose {card.name}/ holds {needed}; published at {card.source}"
        )
    paths = {file.name: base / card.name / file.name for file in files}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        raise DataError(
            f"{base / card.name} lacks {', '.join(missing)}; {card.name} needs {needed}; published at "
            f"{card.source}; --root or SNNKIT_DATA names the folder above"
        )
    return paths
