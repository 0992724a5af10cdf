"""Binning: events in, frames `[T, B, …]` of counts out, with the length of each recording."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from snnkit.data.events import Events, places
from snnkit.errors import InputError, nearest

if TYPE_CHECKING:
    from snnkit.data.events import Indices

_LARGEST = 1 << 32
"""Values in one batch of frames: 16 GiB."""


def frames(
    events: Events,
    indices: Indices | None = None,
    *,
    step: int,
    steps: int | None = None,
    pool: int = 1,
    binning: str = "uniform",
    binary: bool = False,
) -> tuple[Tensor, Tensor]:
    """Count the events of recordings in bins of time and of neighbouring addresses.

    `uniform` lays a grid from time 0 of the recording: bin `k` holds times from `k * step` up to, and without,
    `(k + 1) * step`, so that silence lasts as long as it lasted.

    `squeezed` is there to reproduce older figures and for nothing else. Each bin starts at the first event after the
    bin before it and reaches to `step` microseconds later, the end included: silent gaps vanish, and with them
    the very delays that a network of delays reads. SpikingJelly binned that way until March 2024, and published
    accuracies on SHD and SSC from before then rest on it.

    Args:
        events: recordings.
        indices: which of them, and in which order; all unless given.
        step: width of a bin, in microseconds.
        steps: T; later events are left out and missing steps are zeros. The longest of these recordings unless given.
        pool: how many neighbours are summed: of the only axis, or of each of the last two of an image. Where it does
            not divide an axis, the last bin of that axis holds fewer.
        binning: `uniform` or `squeezed`.
        binary: whether a bin says only if there was an event, 0 or 1.
    Returns:
        Counts float32 `[T, B, …]`, and lengths int64 `[B]`: bins up to the last event, at most T. A recording without
        events is one step of zeros.
    Raises:
        InputError: numbers below 1, no recordings, an unknown binning, or more frames than memory has room for.

    Example:
        >>> events = Events.build([([0, 900, 2500], [0, 1, 3])], [0], shape=(4,), classes=("a", "b"))
        >>> x, lengths = frames(events, step=1000, pool=2)
        >>> x[:, 0].tolist(), lengths.tolist()
        ([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]], [3])

    Source: lengths and frames as in the SHD experiments of Hammouamri et al. 2024 (arXiv 2306.17670).
    """
    for name, value in {"step": step, "steps": 1 if steps is None else steps, "pool": pool}.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise InputError(f"{name} is {value!r}; a whole number of at least 1 is needed, e.g. step=10_000 for 10 ms")
    if binning not in BINNINGS:
        raise InputError(f"no binning {binning!r}{nearest(binning, BINNINGS)}; known: {', '.join(BINNINGS)}")
    chosen = [events.recording(place) for place in places(slice(None) if indices is None else indices, len(events))]
    if not chosen:
        raise InputError("there are no recordings to bin; at least one index is needed")
    bins = [BINNINGS[binning](times, step) for times, _ in chosen]
    lengths = np.array([int(found[-1]) + 1 if len(found) else 1 for found in bins])
    longest = int(lengths.max()) if steps is None else int(steps)
    channels, shape = _pooled(events.shape, pool)
    _check_room(longest, len(chosen), shape)
    size = math.prod(shape)
    counts = np.zeros((longest, len(chosen), size), np.float32)
    for index, (when, (_, addresses)) in enumerate(zip(bins, chosen, strict=True)):
        kept = when[: np.searchsorted(when, longest)]
        used = int(kept[-1]) + 1 if len(kept) else 0
        cells = kept * size + channels[addresses[: len(kept)]]
        counts[:used, index] = np.bincount(cells, minlength=used * size).reshape(used, size)
    if binary:
        np.minimum(counts, 1, out=counts)
    x = torch.from_numpy(counts.reshape(longest, len(chosen), *shape))
    return x, torch.from_numpy(np.minimum(lengths, longest))


def _uniform(times: np.ndarray, step: int) -> np.ndarray:
    """Return the bin of each event on a grid from time 0."""
    return times // step


def _squeezed(times: np.ndarray, step: int) -> np.ndarray:
    """Return the bin of each event where each bin starts at the first event after the one before."""
    starts = []
    place = 0
    while place < len(times):
        starts.append(place)
        place = int(np.searchsorted(times, times[place] + step, side="right"))
    return np.repeat(np.arange(len(starts)), np.diff([*starts, len(times)]))


BINNINGS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"uniform": _uniform, "squeezed": _squeezed}
"""Name of a binning to the function that gives each event's bin."""


def _pooled(shape: tuple[int, ...], pool: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the pooled place of each address, and the shape after pooling."""
    axes = len(shape) - min(2, len(shape))
    factors = [pool if axis >= axes else 1 for axis in range(len(shape))]
    pooled = tuple(-(-size // factor) for size, factor in zip(shape, factors, strict=True))
    coordinates = np.indices(shape).reshape(len(shape), -1) // np.array(factors)[:, None]
    return np.asarray(np.ravel_multi_index(tuple(coordinates), pooled)), pooled


def _check_room(steps: int, batch: int, shape: tuple[int, ...]) -> None:
    """Raise InputError where frames are larger than what anyone can want: a wrong unit of time, most likely."""
    count = steps * batch * math.prod(shape)
    if count > _LARGEST:
        raise InputError(
            f"frames of [{steps}, {batch}, {', '.join(map(str, shape))}] take {count / 2**28:,.0f} GiB; bin fewer "
            "recordings at a time, or give a larger step, fewer steps or a larger pool; times and step are in "
            "microseconds"
        )
