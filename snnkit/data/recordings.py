"""Samples of any length on their way from the files of a data set into its cache, and the formats that give them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snnkit import cards
from snnkit.data.card import Card, Part

EVENTS = {"times": np.dtype(np.int64), "addresses": np.dtype(np.int32)}
"""What a sample of events consists of, and of which type."""

SIGNALS = {"values": np.dtype(np.float32)}
"""What a sampled signal consists of: values `[T, channels]`."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One recording as a reader gives it.

    Attributes:
        label: index into the classes.
        columns: arrays of the same length, in the order of the format's columns.
        group: who spoke or moved; empty where that is not known.
        split: where the authors' lists put it; empty where there are none.
    """

    label: int
    columns: tuple[np.ndarray, ...]
    group: str = ""
    split: str = ""


@dataclass(frozen=True, eq=False)
class Source:
    """An opened part of a data set.

    Attributes:
        samples: one after the other.
        classes: their names; those of the card where there are none.
        close: called when the samples are read, or will not be.
    """

    samples: Iterable[Sample]
    classes: tuple[str, ...] = ()
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Reader:
    """How a format is read: a function that opens a part's files, and the columns of its samples."""

    read: Callable[[Card, Part, Mapping[str, Path]], Source]
    columns: Mapping[str, np.dtype]


def options(card: Card, **kinds: type) -> dict[str, Any]:
    """Return the options of a card whose reader takes these; raises DataError where there is another.

    A value of the wrong type is refused too. Every reader takes `sort`, whether events out of order are put in order;
    it is False unless given.
    """
    known = {"sort": bool} | kinds
    cards.check(card.options, known, f"{card.name}: options", optional=("sort",))
    return {"sort": False} | dict(card.options)
