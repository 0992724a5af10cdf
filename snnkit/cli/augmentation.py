"""How the section [data.augment] of a recipe becomes what `FramedEvents` and `FramedSignals` do to a batch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from snnkit.data import Dataset, augment
from snnkit.data.framed import Mix, Vary, VaryFrames
from snnkit.errors import RecipeError
from snnkit.train.augmentation import AugmentSettings
from snnkit.train.recipe import DataSettings

_MOVES = ("jitter_times", "jitter_channels", "shift_channels")
"""Functions that take events."""


@dataclass(frozen=True)
class Variation:
    """What is done to a batch of training data, in this order; None for nothing.

    Attributes:
        vary: to recordings of events.
        vary_frames: to frames.
        mix: to frames and labels together.
    """

    vary: Vary | None = None
    vary_frames: VaryFrames | None = None
    mix: Mix | None = None

    @property
    def of_frames(self) -> dict[str, Any]:
        """The part that does not need events, as arguments of `FramedEvents` and `FramedSignals`."""
        return {"vary_frames": self.vary_frames, "mix": self.mix}


def variation(data: Dataset, settings: AugmentSettings | None) -> Variation:
    """Return what a recipe does to the training data.

    Raises:
        RecipeError: what the data of this kind have no use for, or a shift beyond their channels.
    """
    if settings is None:
        return Variation()
    moves = [name for name in settings.given if name in _MOVES]
    if moves and data.kind != "events":
        raise RecipeError(
            f"[data.augment] {moves[0]} is given, and {data.card.name} holds {data.kind}, which have no events to "
            "move; they take mask_time, mask_channels and blend"
        )
    if settings.shift_channels is not None:
        size = min(data.card.shape[-2:])
        _check_below("shift_channels", "most", settings.shift_channels.most, size, f"{data.card.name} has", "channels")
    masks = settings.mask_time or settings.mask_channels
    classes = len(data.card.classes)
    return Variation(
        vary=partial(_varied, settings, moves) if moves else None,
        vary_frames=partial(_masked, settings) if masks else None,
        mix=None if settings.blend is None else partial(_blended, settings.blend.chance, classes),
    )


def check_masks(settings: DataSettings, x: Tensor, lengths: Tensor | None) -> None:
    """Raise RecipeError where a mask could silence the whole of every sequence of the first ones, x [T, B, …]."""
    found = settings.augment
    if found is not None and found.mask_time is not None:
        steps = (len(x) if lengths is None else int(lengths.max())) - (settings.silence or 0)
        _check_below("mask_time", "longest", found.mask_time.longest, steps, "recordings have", "steps")
    if found is not None and found.mask_channels is not None:
        _check_below("mask_channels", "most", found.mask_channels.most, x.shape[-1], "sequences have", "channels")


def _check_below(section: str, name: str, value: int, size: int, whose: str, what: str) -> None:
    if value >= size:
        raise RecipeError(
            f"[data.augment.{section}] {name} is {value} and {whose} {size} {what}; needed is less: "
            f"type e.g. {name} = {max(1, size // 5)}"
        )


def _varied(settings: AugmentSettings, moves: list[str], events: Any, generator: torch.Generator) -> Any:
    for name in moves:
        events = getattr(augment, name)(events, generator=generator, **dataclasses.asdict(getattr(settings, name)))
    return events


def _masked(settings: AugmentSettings, x: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
    if settings.mask_time is not None:
        x = augment.mask_time(x, lengths, generator=generator, **dataclasses.asdict(settings.mask_time))
    if settings.mask_channels is not None:
        x = augment.mask_channels(x, generator=generator, **dataclasses.asdict(settings.mask_channels))
    return x


def _blended(
    chance: float, classes: int, x: Tensor, lengths: Tensor, labels: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    return augment.blend(x, lengths, labels, classes=classes, chance=chance, generator=generator)
