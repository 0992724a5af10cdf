"""The data of the experiment on delays: generated motifs, spoken digits by speaker, and the paper's own sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hammouamri_2023_networks import Shape
from torch import Tensor
from torch.utils.data import Dataset

import snnkit
from snnkit.data import motifs, speakers
from snnkit.data.events import Events
from snnkit.data.framed import FramedSignals

_STEP = 10_000
_CHUNK = 512


@dataclass(frozen=True)
class Settings:
    """How a task's networks are built and trained; the paper's where nothing else is said.

    Args:
        hidden, layers, max_delay, tau, dropout, delayed_output: as in `Shape`.
        epochs, batch, lr, delay_lr, weight_decay: of training; the rates are the highest of their schedules.
        delay_anneal, delay_settle: shares of training until the kernel is narrow, and until delays are whole and stay.
        loss: `softmax_sum`, the paper's, or `max`, the largest output over time.
        folds: ways to cut the data.
    """

    hidden: int
    layers: int = 2
    max_delay: int = 24
    tau: float = 1.005
    dropout: float = 0.4
    epochs: int = 30
    batch: int = 64
    lr: float = 5e-3
    delay_lr: float = 0.1
    delay_anneal: float = 0.25
    delay_settle: float = 1.0
    weight_decay: float = 1e-5
    loss: str = "softmax_sum"
    delayed_output: bool = True
    folds: int = 1

    def shape(self, inputs: int, classes: int) -> Shape:
        """Return what the arms are built from."""
        own = (self.hidden, classes, self.layers, self.max_delay)
        return Shape(inputs, *own, tau=self.tau, dropout=self.dropout, delayed_output=self.delayed_output)


SETTINGS = {
    "motifs": Settings(
        hidden=20,
        layers=1,
        tau=1.0,
        dropout=0.0,
        epochs=10,
        lr=1e-2,
        delay_lr=0.2,
        delay_anneal=0.6,
        delay_settle=0.7,
        loss="max",
        delayed_output=False,
    ),
    "fsdd": Settings(hidden=64, folds=5),
    "espeak": Settings(hidden=64),
    "shd": Settings(hidden=256, epochs=150, batch=256),
    "ssc": Settings(hidden=512, layers=3, max_delay=30, tau=1.5, dropout=0.25, epochs=60, batch=128),
    "gsc": Settings(hidden=512, layers=3, max_delay=30, tau=1.5, dropout=0.25, epochs=100, batch=128),
}
"""Settings of every task; of SHD, SSC and GSC they are the paper's."""


@dataclass(frozen=True, eq=False)
class Splits:
    """What a run learns from, chooses its epoch by, and is tested on once.

    Args:
        train, validation, test: as `snnkit.train.fit` takes them.
        inputs, classes: sizes.
        held_out: who is tested, where speakers are held out.
    """

    train: Any
    validation: Any
    test: Any
    inputs: int
    classes: int
    held_out: str = ""


@dataclass(frozen=True, eq=False)
class Frames(Dataset):
    """Recordings binned into counts, each followed by silence through which delayed spikes arrive.

    Args:
        x: counts [N, T, channels], bytes.
        labels, lengths: of the recordings [N].
        silence: steps after the last event that belong to a recording.
    """

    x: Tensor
    labels: Tensor
    lengths: Tensor
    silence: int

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return counts [B, T, channels], labels [B] and lengths [B]."""
        lengths = self.lengths[indices]
        x = self.x[indices, : int(lengths.max())].float()
        return _followed(x, self.silence), self.labels[indices], lengths + self.silence


@dataclass(frozen=True, eq=False)
class Silenced(Dataset):
    """Sampled signals, each followed by silence."""

    signals: FramedSignals
    silence: int

    def __len__(self) -> int:
        return len(self.signals)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values [B, T, channels], labels [B] and lengths [B]."""
        x, labels, lengths = self.signals.batch(indices)
        return _followed(x, self.silence), labels, lengths + self.silence


def binned(events: Events, *, silence: int, steps: int = 100, pool: int = 5) -> Frames:
    """Return recordings in bins of 10 ms, neighbouring channels summed.

    Args:
        events: recordings.
        silence: steps after a recording's last event.
        steps: T at most; what comes later is left out.
        pool: channels that are summed.
    """
    parts, lengths = [], []
    for chunk in torch.arange(len(events)).split(_CHUNK):
        x, ends = snnkit.data.frames(events, chunk, step=_STEP, steps=steps, pool=pool)
        parts.append(x.clamp(max=255).to(torch.uint8).transpose(0, 1))
        lengths.append(ends)
    return Frames(torch.cat(parts), torch.from_numpy(events.labels.copy()), torch.cat(lengths), silence)


def motif_splits(settings: Settings, fold: int, root: Path | None) -> Splits:
    """Return samples of ten motifs; a fold draws other motifs."""
    generator = torch.Generator().manual_seed(1000 + fold)
    task = motifs.draw(10, 20, generator=generator, steps=60, background=8)
    parts = []
    for count in (8000, 500, 1000):
        x, labels = task.sample(count, generator=generator)
        parts.append((_followed(x.transpose(0, 1), settings.max_delay), labels))
    return Splits(*parts, inputs=20, classes=10)


def spoken(name: str) -> Callable[[Settings, int, Path | None], Splits]:
    """Return the reader of a set of which a fold holds one speaker out for the test, and the next for validation."""

    def read(settings: Settings, fold: int, root: Path | None) -> Splits:
        data = snnkit.data.load(name, root)
        events = speakers.joined(data.train, data.validation, data.test)
        cut = speakers.folds(events)[fold]
        frames = binned(events, silence=settings.max_delay)
        parts = [_chosen(frames, indices) for indices in (cut.train, cut.validation, cut.test)]
        return Splits(*parts, inputs=frames.x.shape[2], classes=len(events.classes), held_out=cut.names[0])

    return read


def published(name: str) -> Callable[[Settings, int, Path | None], Splits]:
    """Return the reader of a set with the splits on its card."""

    def read(settings: Settings, fold: int, root: Path | None) -> Splits:
        data = snnkit.data.load(name, root)
        wholes = data.train, data.validation, data.test
        if data.kind == "signals":
            parts = [Silenced(FramedSignals(part), settings.max_delay) for part in wholes]
            return Splits(*parts, inputs=data.train.values.shape[1], classes=len(data.train.classes))
        frames = [binned(part, silence=settings.max_delay) for part in wholes]
        return Splits(*frames, inputs=frames[0].x.shape[2], classes=len(data.train.classes))

    return read


TASKS: dict[str, Callable[[Settings, int, Path | None], Splits]] = {
    "motifs": motif_splits,
    "fsdd": spoken("fsdd"),
    "espeak": published("espeak"),
    "shd": published("shd"),
    "ssc": published("ssc"),
    "gsc": published("gsc35"),
}
"""Every task to what reads its splits."""


def _chosen(frames: Frames, indices: Any) -> Frames:
    chosen = torch.as_tensor(indices)
    return Frames(frames.x[chosen], frames.labels[chosen], frames.lengths[chosen], frames.silence)


def _followed(x: Tensor, steps: int) -> Tensor:
    """Return x [B, T, channels] with steps of zeros after it."""
    return torch.nn.functional.pad(x, (0, 0, 0, steps))
