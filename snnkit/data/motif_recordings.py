"""Motifs as recordings of events, so that a card and a recipe can name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from snnkit.data import motifs
from snnkit.data.card import Card, Part
from snnkit.data.recordings import Sample, Source, options
from snnkit.errors import DataError, InputError

STEP = 1000
"""Microseconds of a step."""


def motif_events(card: Card, part: Part, paths: Mapping[str, Path]) -> Source:
    """Draw the motifs of a card, one for each class in channels of its shape, and samples of them for each split.

    The options are those of `snnkit.data.motifs.draw`, and a seed that all draws follow from.

    Raises:
        DataError: a card whose shape or options do not hold together.
    """
    found = options(card, steps=int, spacing=int, background=int, jitter=int, seed=int)
    if len(card.shape) != 1 or part.order != "file":
        raise DataError(
            f"{card.name} has the shape {list(card.shape)} and the order {part.order!r}; motifs need one number of "
            "channels and 'file'"
        )
    generator = torch.Generator().manual_seed(found["seed"])
    given = {name: found[name] for name in ("steps", "spacing", "background", "jitter")}
    try:
        task = motifs.draw(len(card.classes), card.shape[0], generator=generator, **given)
    except InputError as error:
        raise DataError(f"{card.name}: options: {error}") from None
    return Source(_samples(task, part, generator))


def _samples(task: motifs.Motifs, part: Part, generator: torch.Generator) -> Iterator[Sample]:
    for count in part.splits.values():
        x, labels = task.sample(count, generator=generator)
        for spikes, label in zip(x.numpy().transpose(1, 0, 2), labels.tolist(), strict=True):
            steps, channels = np.nonzero(spikes)
            yield Sample(label, (steps * STEP, channels.astype(np.int32)))
