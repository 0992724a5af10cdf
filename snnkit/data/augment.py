"""Augmentation: recordings and frames varied as other speakers would vary them; every draw from a generator."""

from __future__ import annotations

import dataclasses
import math
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from snnkit.data.events import Events
from snnkit.errors import InputError


def jitter_times(events: Events, *, std: float, generator: torch.Generator) -> Events:
    """Move every event in time by a normal draw; what would come before the start comes at 0.

    Args:
        events: recordings.
        std: of the draw, in microseconds.
        generator: on the CPU; its state moves on by one draw per event.
    Returns:
        The recordings, sorted again.
    Raises:
        InputError: std below 0.

    Example:
        >>> events = Events.build([([0, 5000], [0, 1])], [0], shape=(2,), classes=("a", "b"))
        >>> jitter_times(events, std=100.0, generator=torch.Generator().manual_seed(0)).times.tolist()
        [154, 4971]
    """
    moved = np.maximum(events.times + _normal(len(events.times), std, generator), 0)
    recordings = np.repeat(np.arange(len(events)), np.diff(events.offsets))
    order = np.lexsort((moved, recordings))
    return dataclasses.replace(events, times=moved[order], addresses=events.addresses[order])


def jitter_channels(events: Events, *, std: float, generator: torch.Generator) -> Events:
    """Move every event to a neighbour by a rounded normal draw; what would leave the sensor is lost.

    Args:
        events: recordings.
        std: of the draw, in channels, or in pixels along each of the last two axes of an image.
        generator: on the CPU; its state moves on by one draw per event and axis.
    Returns:
        The recordings, with as many events or fewer.
    Raises:
        InputError: std below 0.

    Example:
        >>> events = Events.build([([0, 5000], [10, 20])], [0], shape=(40,), classes=("a", "b"))
        >>> jitter_channels(events, std=2.0, generator=torch.Generator().manual_seed(0)).addresses.tolist()
        [13, 19]
    """
    counts = (len(events.addresses), len(_moving(events)))
    return _moved(events, _normal(math.prod(counts), std, generator).reshape(counts[::-1]))


def shift_channels(events: Events, *, most: int, generator: torch.Generator) -> Events:
    """Move all events of a recording by the same number of channels; what would leave the sensor is lost.

    Args:
        events: recordings.
        most: channels up or down at most, each number as likely; or pixels, along each of the last two axes of an
            image.
        generator: on the CPU; its state moves on by one draw per recording and axis.
    Returns:
        The recordings, with as many events or fewer.
    Raises:
        InputError: most below 1.

    Example:
        >>> events = Events.build([([0, 5000], [10, 20])], [0], shape=(40,), classes=("a", "b"))
        >>> shift_channels(events, most=5, generator=torch.Generator().manual_seed(1)).addresses.tolist()
        [5, 15]

    Source: Nowotny, Turner & Knight, Loss shaping enhances exact gradient learning with Eventprop, 2025
    (arXiv 2212.01232).
    """
    if isinstance(most, bool) or not isinstance(most, Integral) or most < 1:
        raise InputError(f"most is {most!r}; a whole number of channels of at least 1 is needed, e.g. most=20")
    size = (len(_moving(events)), len(events))
    by = torch.randint(-int(most), int(most) + 1, size, generator=generator).numpy()
    return _moved(events, np.repeat(by, np.diff(events.offsets), axis=1))


def mask_time(x: Tensor, lengths: Tensor, *, longest: int, chance: float, generator: torch.Generator) -> Tensor:
    """Silence a stretch of time in some samples.

    Args:
        x: frames [T, B, …].
        lengths: valid steps of each sample [B].
        longest: most steps that fall silent, at least 1; how many is drawn evenly from 1 up to it.
        chance: that a sample is masked, 0..1.
        generator: on the CPU.
    Returns:
        New frames.
    Raises:
        InputError: a longest below 1 or a chance outside 0..1.

    Example:
        >>> x = mask_time(torch.ones(6, 1, 1), torch.tensor([6]), longest=3, chance=1.0, generator=torch.Generator())
        >>> int(x.sum()) in (3, 4, 5)
        True
    """
    start, size = _stretches(lengths, longest, chance, generator)
    step = torch.arange(x.shape[0])[:, None]
    return _silenced(x, (step >= start) & (step < start + size), 2)


def mask_channels(x: Tensor, *, most: int, chance: float, generator: torch.Generator) -> Tensor:
    """Silence neighbouring channels, for all of a sample's time, in some samples.

    Args:
        x: frames [T, B, …, channels].
        most: channels that fall silent at most, at least 1; how many is drawn evenly from 1 up to it.
        chance: that a sample is masked, 0..1.
        generator: on the CPU.
    Returns:
        New frames.
    Raises:
        InputError: most below 1 or a chance outside 0..1.

    Example:
        >>> x = mask_channels(torch.ones(2, 1, 5), most=1, chance=1.0, generator=torch.Generator())
        >>> x.sum((0, 1)).sort().values.tolist()
        [0.0, 2.0, 2.0, 2.0, 2.0]
    """
    batch, channels = x.shape[1], x.shape[-1]
    start, size = _stretches(torch.full((batch,), channels), most, chance, generator)
    place = torch.arange(channels)
    silent = (place >= start[:, None]) & (place < (start + size)[:, None])
    return x.masked_fill(silent.reshape(1, batch, *[1] * (x.ndim - 3), channels).to(x.device), 0.0)


def blend(
    x: Tensor, lengths: Tensor, labels: Tensor, *, classes: int, chance: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Replace a stretch of time of some samples by the same stretch of another sample, and mix their labels (CutMix).

    Where the other sample is over before the stretch is, a sample's own steps stay.

    Args:
        x: frames [T, B, …].
        lengths: valid steps of each sample [B]; they stay.
        labels: class of each sample [B].
        classes: C.
        chance: that a sample is blended, 0..1.
        generator: on the CPU.
    Returns:
        New frames, and targets float [B, C]: the share of the sample's steps that is each class's.
    Raises:
        InputError: a chance outside 0..1.

    Example:
        >>> x, targets = blend(torch.rand(8, 2, 3), torch.tensor([8, 8]), torch.tensor([0, 1]), classes=2, chance=1.0,
        ...                    generator=torch.Generator().manual_seed(1))
        >>> targets.sum(1).tolist()
        [1.0, 1.0]

    Source: Yun et al., CutMix, 2019 (arXiv 1905.04899), along time.
    """
    batch = x.shape[1]
    start, size = _stretches(lengths, int(lengths.max()), chance, generator)
    partner = torch.randperm(batch, generator=generator)
    step = torch.arange(x.shape[0])[:, None]
    taken = (step >= start) & (step < (start + size).minimum(lengths.cpu()[partner]))
    chosen = taken.reshape(*taken.shape, *[1] * (x.ndim - 2)).to(x.device)
    mixed = torch.where(chosen, x[:, partner.to(x.device)], x)
    share = (taken.sum(0) / lengths.cpu())[:, None]
    own = torch.nn.functional.one_hot(labels.cpu(), classes).float()
    return mixed, ((1 - share) * own + share * own[partner]).to(x.device)


def _moving(events: Events) -> range:
    """Return the axes along which events move: the last two of an image, or the only one."""
    return range(max(0, len(events.shape) - 2), len(events.shape))


def _moved(events: Events, by: np.ndarray) -> Events:
    """Return recordings whose events are moved by so much along each axis [axes, events], those that leave left out."""
    place = np.stack(np.unravel_index(events.addresses, events.shape))
    place[list(_moving(events))] += by
    inside = ((place >= 0) & (place < np.array(events.shape)[:, None])).all(0)
    kept = np.concatenate([[0], np.cumsum(inside)])
    return dataclasses.replace(
        events,
        times=events.times[inside],
        addresses=np.ravel_multi_index(tuple(place[:, inside]), events.shape).astype(np.int32),
        offsets=kept[events.offsets].astype(np.int64),
    )


def _normal(count: int, std: float, generator: torch.Generator) -> np.ndarray:
    """Return rounded normal draws."""
    if not std >= 0:
        raise InputError(f"std is {std}; a number of at least 0 is needed, e.g. std=2.0")
    return torch.normal(0.0, float(std), (count,), generator=generator, dtype=torch.float64).round().numpy().astype(int)


def _stretches(lengths: Tensor, longest: int, chance: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw for each sample where a stretch starts and its size, 0 where the sample is spared."""
    if longest < 1 or not 0 <= chance <= 1:
        raise InputError(
            f"the longest mask is {longest} and its chance {chance}; at least 1 and a chance of 0..1 are needed"
        )
    lengths = lengths.cpu()
    draws = torch.rand((3, len(lengths)), generator=generator, dtype=torch.float64)
    size = (1 + draws[0] * torch.clamp(lengths, max=longest)).long().clamp(max=longest).minimum(lengths)
    start = (draws[1] * (lengths - size + 1)).long()
    return start, torch.where(draws[2] < chance, size, 0)


def _silenced(x: Tensor, silent: Tensor, axes: int) -> Tensor:
    return x.masked_fill(silent.reshape(*silent.shape, *[1] * (x.ndim - axes)).to(x.device), 0.0)
