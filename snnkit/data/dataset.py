"""Data sets by name, as tensors, in the splits that their cards declare."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnkit.data import cache, event_cache, event_formats, formats, sources
from snnkit.data.card import Card, read
from snnkit.data.events import Events
from snnkit.data.signals import Signals
from snnkit.data.splits import cuts
from snnkit.errors import DataError, nearest


@dataclass(frozen=True, eq=False)
class Split:
    """Samples with their classes: images `[B, channels, height, width]` float32 0..1, labels `[B]` int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split(images={list(self.images.shape)}, labels={list(self.labels.shape)})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set whose splits are read when they are first asked for.

    A split is a `Split` of images, `Events` or `Signals`, as the card's format holds them.

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

    def __repr__(self) -> str:
        return f"Dataset({self.card.name!r}: {self.card.title}; {self.kind}; .train, .validation, .test, .card)"

    @property
    def kind(self) -> str:
        """What the splits hold: `images`, `events` or `signals`."""
        reader = event_formats.READERS.get(self.card.format)
        return "images" if reader is None else "events" if "times" in reader.columns else "signals"

    @cached_property
    def train(self) -> Any:
        return self._split("train")

    @cached_property
    def validation(self) -> Any:
        return self._split("validation")

    @cached_property
    def test(self) -> Any:
        return self._split("test")

    def _split(self, name: str) -> Split | Events | Signals:
        if self.card.format in event_formats.READERS:
            return event_cache.split(self.card, name, self.paths)
        part = self.card.part(name)
        images, labels = cache.arrays(self.card, part, self.paths)
        chosen = cuts(self.card, part, labels)[name]
        scaled = torch.from_numpy(images[chosen]).float().div_(self.card.scale)
        return Split(scaled, torch.from_numpy(labels[chosen]).long())


def load(name: str | Path | Card, root: str | Path | None = None) -> Dataset:
    """Find a data set's files and return its splits.

    The files are looked for in `<root>/<name>/`, verified against what the card knows of them once, and kept decoded
    under `SNNKIT_CACHE`. Nothing is downloaded. The digits come with scikit-learn and need no root.

    Args:
        name: a known name such as `mnist` or `shd`, the path of a `card.toml` of one's own, or a card.
        root: the folder of downloaded data sets; `SNNKIT_DATA` where it is not given.
    Returns:
        The data set; `.train`, `.validation` and `.test` are read when first used. Images are a `Split` of tensors,
        events an `Events`, sampled signals a `Signals`.
    Raises:
        DataError: where the name or the card's format is unknown, or files are missing.

    Example:
        >>> load("digits").train.images.shape
        torch.Size([1079, 1, 8, 8])
    """
    card = name if isinstance(name, Card) else read(name)
    known = [*formats.READERS, *event_formats.READERS]
    if card.format not in known:
        guess = nearest(card.format, known)
        raise DataError(f"{card.name} has the format {card.format!r}{guess}; known: {', '.join(known)}")
    fetched = card.format not in formats.BUNDLED | event_formats.MADE
    return Dataset(card, sources.find(card, root) if fetched else {})
