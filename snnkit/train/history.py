"""What training did, epoch by epoch."""

from __future__ import annotations

import csv
import dataclasses
import io
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data.

    Args:
        epoch: number, from 1.
        step: optimiser steps so far.
        lr: learning rate of the last step.
        train_loss: mean over the epoch's samples while training, the firing-rate penalty left out.
        train_accuracy: share of right predictions while training, 0..1.
        validation_loss, validation_accuracy: after the epoch; None without validation data.
        seconds: wall time of the epoch, of all its parts where it was interrupted.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float

    @property
    def merit(self) -> tuple[float, float]:
        """What the best epoch has most of: validation accuracy, then less validation loss."""
        return self.validation_accuracy or 0.0, -(self.validation_loss or 0.0)


@dataclass(frozen=True)
class History:
    """All epochs of a run.

    Args:
        epochs: in order.
        best: number of the epoch whose weights the network has; the last one without validation data.
        stopped: why training ended: "epochs" or "patience"; "" while it runs.

    Example:
        >>> History((Epoch(1, 10, 0.1, 0.5, 0.8, None, None, 2.0),), best=1, stopped="epochs")["train_loss"]
        [0.5]
    """

    epochs: tuple[Epoch, ...] = ()
    best: int = 0
    stopped: str = ""

    def __str__(self) -> str:
        if not self.epochs:
            return "no epochs yet"
        best = next((epoch for epoch in self.epochs if epoch.epoch == self.best), self.epochs[-1])
        read = best.train_accuracy if best.validation_accuracy is None else best.validation_accuracy
        which = "training" if best.validation_accuracy is None else "validation"
        seconds = sum(epoch.seconds for epoch in self.epochs)
        text = f"{len(self.epochs)} epochs in {seconds:.2g} s; best {best.epoch}: {which} accuracy {100 * read:.1f} %"
        return f"{text}; stopped early" if self.stopped == "patience" else text

    def __getitem__(self, column: str) -> list[Any]:
        """Return one column, such as "validation_accuracy", over the epochs."""
        return [getattr(epoch, column) for epoch in self.epochs]

    def __len__(self) -> int:
        return len(self.epochs)

    def to_csv(self) -> str:
        """Return a CSV table with one row per epoch."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(field.name for field in dataclasses.fields(Epoch))
        writer.writerows(dataclasses.astuple(epoch) for epoch in self.epochs)
        return text.getvalue()
