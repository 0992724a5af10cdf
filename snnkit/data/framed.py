"""Event recordings as a data set to train on: frames are made when a batch is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from snnkit.data.binning import BINNINGS, frames
from snnkit.data.events import Events
from snnkit.data.signals import Signals
from snnkit.errors import InputError, nearest

Vary = Callable[[Events, torch.Generator], Events]
"""Changes recordings before they are binned, as `augment.jitter_times` does."""

VaryFrames = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""Changes frames [T, B, …] of lengths [B], as `augment.mask_time` does."""

Mix = Callable[[Tensor, Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""Changes frames [T, B, …] of lengths [B] and labels [B] together; returns frames and targets, as `augment.blend`."""


class _Padded(Dataset, ABC):
    """Recordings of any length, which are read several at a time."""

    vary_frames: VaryFrames | None
    mix: Mix | None
    silence: int

    def __post_init__(self) -> None:
        if isinstance(self.silence, bool) or not isinstance(self.silence, Integral) or self.silence < 0:
            raise InputError(f"silence is {self.silence!r}; a whole number of steps of at least 0 is needed")

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return samples [B, T, …], labels [B] or targets [B, C], and lengths [B]."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return one sample [T, …], its label and its length."""
        x, labels, lengths = self.batch(torch.tensor([range(len(self))[index]]))
        return x[0], labels[0], lengths[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return some samples, padded to the longest of them, so that torch's DataLoader can stack them."""
        return list(zip(*self.batch(torch.tensor(indices)), strict=True))

    def _finished(
        self, x: Tensor, lengths: Tensor, labels: np.ndarray, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return frames [T, B, …] varied, mixed and followed by silence: samples [B, T, …], targets, lengths."""
        x = self.vary_frames(x, lengths, generator) if self.vary_frames else x
        target = torch.from_numpy(labels)
        if self.mix is not None:
            x, target = self.mix(x, lengths, target, generator)
        if self.silence:
            x = torch.cat([x, x.new_zeros((self.silence, *x.shape[1:]))])
        return x.transpose(0, 1), target, lengths + self.silence


@dataclass(frozen=True, eq=False)
class FramedEvents(_Padded):
    """Recordings as samples of frames, label and length; only the batch at hand is in memory as frames.

    `snnkit.train.fit` and `evaluate` take it as it is, and pass the lengths on.

    Args:
        events: recordings.
        step: width of a bin, in microseconds.
        steps: T; the longest recording of a batch unless given.
        pool, binning, binary: as `frames` takes them.
        vary: changes the recordings of a batch before they are binned; None leaves them.
        vary_frames: changes the frames; None leaves them.
        mix: changes frames and labels together after that, such as
            `lambda x, lengths, labels, g: augment.blend(x, lengths, labels, classes=20, chance=0.5, generator=g)`;
            None leaves them. Give these three to training data alone.
        silence: steps after a recording's last event that belong to it, through which delayed spikes arrive; beyond
            `steps`, where those are given.
    Raises:
        InputError: an unknown binning, a silence below 0; the others come from `frames`, with the first batch.

    Example:
        >>> events = Events.build([([0], [0]), ([2500], [1])], [0, 1], shape=(2,), classes=("a", "b"))
        >>> x, labels, lengths = FramedEvents(events, step=1000).batch(torch.tensor([0, 1]))
        >>> list(x.shape), labels.tolist(), lengths.tolist()
        ([2, 3, 2], [0, 1], [1, 3])
    """

    events: Events
    step: int
    steps: int | None = None
    pool: int = 1
    binning: str = "uniform"
    binary: bool = False
    vary: Vary | None = None
    vary_frames: VaryFrames | None = None
    mix: Mix | None = None
    silence: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.binning not in BINNINGS:
            guess = nearest(self.binning, BINNINGS)
            raise InputError(f"no binning {self.binning!r}{guess}; known: {', '.join(BINNINGS)}")

    def __len__(self) -> int:
        return len(self.events)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return frames [B, T, …], labels [B] or targets [B, C], and lengths [B]; draws come from torch's own state."""
        generator = _generator(self.vary, self.vary_frames, self.mix)
        settings = {"pool": self.pool, "binning": self.binning, "binary": self.binary}
        varied = None if self.vary is None else self.vary(self.events.select(indices), generator)
        source, chosen = (self.events, indices) if varied is None else (varied, None)
        x, lengths = frames(source, chosen, step=self.step, steps=self.steps, **settings)
        return self._finished(x, lengths, self.events.labels[indices.numpy()], generator)


@dataclass(frozen=True, eq=False)
class FramedSignals(_Padded):
    """Signals as samples of values, label and length, for `snnkit.train`.

    Args:
        signals: recordings.
        vary_frames, mix, silence: as of `FramedEvents`; silence is values of 0.

    Example:
        >>> none = np.full(2, -1, np.int32)
        >>> signals = Signals(np.ones((3, 4), np.float32), np.array([0, 1, 3]), np.array([0, 1]), none, ("a", "b"))
        >>> x, labels, lengths = FramedSignals(signals).batch(torch.tensor([0, 1]))
        >>> list(x.shape), lengths.tolist()
        ([2, 2, 4], [1, 2])
    """

    signals: Signals
    vary_frames: VaryFrames | None = None
    mix: Mix | None = None
    silence: int = 0

    def __len__(self) -> int:
        return len(self.signals)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values [B, T, channels], labels [B] or targets [B, C], and lengths [B]."""
        x, lengths = self.signals.batch(indices)
        generator = _generator(self.vary_frames, self.mix)
        return self._finished(x, lengths, self.signals.labels[indices.numpy()], generator)


def _generator(*hooks: Callable | None) -> torch.Generator:
    """Return a generator seeded from torch's own state; nothing is drawn from that where there are no hooks."""
    generator = torch.Generator()
    return generator.manual_seed(int(torch.randint(2**62, ()))) if any(hooks) else generator
