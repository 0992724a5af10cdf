"""Signals: real values over time, recordings of any length in one flat set of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from snnkit.data.events import places
from snnkit.errors import DataError, InputError

if TYPE_CHECKING:
    from snnkit.data.events import Indices


@dataclass(frozen=True, eq=False)
class Signals:
    """A set of sampled signals with their classes, such as spectrograms.

    Attributes:
        values: float32 `[total, channels]`, recording after recording.
        offsets: int64 `[N + 1]`; recording `i` is `values[offsets[i]:offsets[i + 1]]`.
        labels: int64 `[N]`, index into `classes`.
        groups: int32 `[N]`, who spoke, index into `group_names`; -1 where that is not known.
        classes: their names.
        group_names: names of the groups.
    Raises:
        DataError: where the arrays do not fit each other.
    """

    values: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    group_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        total, count = int(self.offsets[-1]) if len(self.offsets) else -1, len(self.offsets) - 1
        found = [len(self.values), len(self.labels), len(self.groups)]
        if self.values.ndim != 2 or found != [total, count, count]:
            raise DataError(
                f"values have shape {list(self.values.shape)}, labels and groups lengths {found[1:]}; the offsets of "
                f"{count} recordings ask for values [{total}, channels] and {count} of each"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Indices | None = None) -> tuple[Tensor, Tensor]:
        """Return recordings as a batch.

        Args:
            indices: which of them, and in which order; all unless given.
        Returns:
            Values float32 `[T, B, channels]`, zero after a recording's end, and lengths int64 `[B]`.
        Raises:
            InputError: no recordings, or indices beyond them.

        Example:
            >>> values, none = np.ones((3, 2), np.float32), np.full(2, -1, np.int32)
            >>> signals = Signals(values, np.array([0, 1, 3]), np.array([0, 1]), none, ("no", "yes"))
            >>> x, lengths = signals.batch()
            >>> x.shape, lengths.tolist()
            (torch.Size([2, 2, 2]), [1, 2])
        """
        chosen = places(slice(None) if indices is None else indices, len(self))
        if not len(chosen):
            raise InputError("there are no recordings to put together; at least one index is needed")
        lengths = (self.offsets[1:] - self.offsets[:-1])[chosen]
        x = np.zeros((int(lengths.max()), len(chosen), self.values.shape[1]), np.float32)
        for place, index in enumerate(chosen):
            x[: lengths[place], place] = self.values[self.offsets[index] : self.offsets[index + 1]]
        return torch.from_numpy(x), torch.from_numpy(lengths)
