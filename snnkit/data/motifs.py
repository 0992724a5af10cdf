"""Motifs: a generated task whose classes differ in the order of spikes and in nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from snnkit.errors import InputError


@dataclass(frozen=True, eq=False)
class Motifs:
    """Classes of spike patterns; in each of them every channel fires once, no two at the same time.

    All classes use the same times and hand them to the channels in another order. A sample holds one motif, shifted
    as a whole by a random time, and as many background spikes in every channel, at random times. So every channel
    fires equally often in every class, and what happens within one step is equally likely in every class:
    counts say nothing, and nor does anything that looks at one step at a time, however it sums up what it saw.
    Delays that bring the spikes of a motif together say it.

    Attributes:
        templates: int64 `[classes, channels]`, the step of each channel's spike from the start of the motif.
        steps: T, how long a sample is.
        jitter: how many steps, at most, a spike of the motif comes early or late, each number being as likely.
        background: spikes added to each channel.
    Raises:
        InputError: where spikes of a motif could meet, or the motif or the background is too long for the sample.

    Example:
        >>> task = draw(3, 4, generator=torch.Generator().manual_seed(0), steps=12, background=1)
        >>> x, labels = task.sample(5, generator=torch.Generator().manual_seed(1))
        >>> x.shape, x.sum(0).unique().tolist()
        (torch.Size([12, 5, 4]), [2.0])
    """

    templates: Tensor
    steps: int
    jitter: int = 0
    background: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("jitter", 0), ("background", 0)):
            _whole(name, getattr(self, name), least)
        if self.templates.ndim != 2 or self.templates.dtype != torch.int64 or not self.templates.numel():
            raise InputError(
                f"templates have shape {list(self.templates.shape)} and type {self.templates.dtype}; "
                "[classes, channels] of int64 is needed"
            )
        gap = int(self.templates.sort(dim=1).values.diff(dim=1).min()) if self.templates.shape[1] > 1 else self.steps
        if gap <= 2 * self.jitter:
            raise InputError(
                f"spikes of a motif are {gap} steps apart and move by up to {self.jitter}; "
                f"so that none meet, draw the motifs with spacing={2 * self.jitter + 1} or more"
            )
        needed = max(self.span, self.background + 1)
        if int(self.templates.min()) < 0 or self.steps < needed:
            raise InputError(f"samples of {self.steps} steps are too short; {needed} steps or more are needed")

    @property
    def span(self) -> int:
        """Steps from the earliest to the latest spike that a motif can have, both included."""
        return int(self.templates.max()) + 1 + 2 * self.jitter

    def sample(self, count: int, *, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return samples and their classes, each class being as likely.

        Args:
            count: how many.
            generator: what is drawn from, a CPU one.
        Returns:
            Spikes float32 `[T, B, channels]`, 0 or 1, and labels int64 `[B]`.
        """
        _whole("count", count, 1)
        classes, channels = self.templates.shape
        labels = torch.randint(classes, (count,), generator=generator)
        shift = torch.randint(self.steps - self.span + 1, (count, 1), generator=generator)
        moved = torch.randint(2 * self.jitter + 1, (count, channels), generator=generator)
        times = (self.templates[labels] + shift + moved)[..., None]
        # The background takes the steps of the lowest of random numbers, the motif's own step left out.
        order = torch.rand(count, channels, self.steps, generator=generator)
        others = order.scatter_(2, times, 2.0).argsort(dim=2)[..., : self.background]
        spikes = torch.zeros(count, channels, self.steps).scatter_(2, torch.cat([times, others], dim=2), 1.0)
        return spikes.permute(2, 0, 1).contiguous(), labels


def draw(
    classes: int = 10,
    channels: int = 20,
    *,
    generator: Generator,
    steps: int = 60,
    spacing: int = 1,
    background: int = 6,
    jitter: int = 0,
) -> Motifs:
    """Draw the motifs of a task, all of them different.

    Args:
        classes: how many motifs.
        channels: how many channels, and so spikes, a motif has.
        generator: what is drawn from, a CPU one.
        steps: T of a sample.
        spacing: steps between a spike of a motif and the next.
        background, jitter: as in `Motifs`.
    Raises:
        InputError: more classes than there are orders, and what `Motifs` refuses.
    """
    for name, value in {"classes": classes, "channels": channels, "spacing": spacing}.items():
        _whole(name, value, 1)
    found: list[tuple[int, ...]] = []
    for _ in range(100 * classes):
        order = tuple(torch.randperm(channels, generator=generator).tolist())
        found += [] if order in found else [order]
        if len(found) == classes:
            return Motifs(torch.tensor(found) * spacing, steps, jitter, background)
    raise InputError(f"{channels} channels have fewer than {classes} orders; give more channels or fewer classes")


def _whole(name: str, value: int, least: int) -> None:
    """Raise InputError where a value is no whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}; a whole number of at least {least} is needed")
