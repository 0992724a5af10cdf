"""Events: recordings of any length, each a list of (time, address), in one flat set of arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnkit.errors import DataError, InputError

if TYPE_CHECKING:
    from torch import Tensor

    Indices = Sequence[int] | np.ndarray | Tensor | slice

Recording = tuple[np.ndarray, np.ndarray]
"""Times int64 `[E]` in microseconds, sorted and not negative, and addresses int32 `[E]`."""


@dataclass(frozen=True, eq=False)
class Events:
    """A set of event recordings with their classes, recording after recording.

    Attributes:
        times: int64 `[total]`, in microseconds from the start of a recording, sorted within it.
        addresses: int32 `[total]`, flat index into `shape`.
        offsets: int64 `[N + 1]`; recording `i` is `times[offsets[i]:offsets[i + 1]]`. It may be empty.
        labels: int64 `[N]`, index into `classes`.
        groups: int32 `[N]`, who spoke or moved, index into `group_names`; -1 where that is not known.
        shape: of one frame, such as `(700,)` channels or `(2, 34, 34)` for polarity, row and column.
        classes: their names.
        group_names: names of the groups.
    Raises:
        DataError: where the arrays do not fit each other.
    """

    times: np.ndarray
    addresses: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    group_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        total, count = int(self.offsets[-1]) if len(self.offsets) else -1, len(self.offsets) - 1
        found = [len(self.times), len(self.addresses), len(self.labels), len(self.groups)]
        if found != [total, total, count, count]:
            raise DataError(
                f"times, addresses, labels and groups have lengths {found}; the offsets of {count} recordings "
                f"ask for {[total, total, count, count]}; Events.build makes offsets that fit"
            )

    @classmethod
    def build(
        cls,
        recordings: Iterable[tuple[Any, Any]],
        labels: Any,
        *,
        shape: Sequence[int],
        classes: Sequence[str],
        groups: Any = None,
        group_names: Sequence[str] = (),
    ) -> Events:
        """Check recordings and put them together.

        Args:
            recordings: for each its times, whole microseconds, sorted and not negative, and its addresses,
                flat indices into `shape`. A recording may be empty.
            labels: class of each recording, index into `classes`.
            shape: of one frame.
            classes: their names.
            groups: index into `group_names` of each recording, or -1; -1 for all where it is not given.
            group_names: names of the groups.
        Returns:
            The set.
        Raises:
            DataError: times that are negative, unsorted or no whole numbers; addresses, labels or groups out of range;
                lengths that differ.

        Example:
            >>> events = Events.build([([0, 1500], [2, 0]), ([], [])], [1, 0], shape=(3,), classes=("no", "yes"))
            >>> len(events), events.recording(0)[0].tolist()
            (2, [0, 1500])
        """
        size = math.prod(shape)
        checked = [check(*pair, size, f"recording {index}") for index, pair in enumerate(recordings)]
        offsets = np.zeros(len(checked) + 1, np.int64)
        np.cumsum([len(times) for times, _ in checked], out=offsets[1:])
        unknown = np.full(len(checked), -1, np.int32)
        return cls(
            times=np.concatenate([np.empty(0, np.int64), *(times for times, _ in checked)]),
            addresses=np.concatenate([np.empty(0, np.int32), *(addresses for _, addresses in checked)]),
            offsets=offsets,
            labels=indices(labels, (0, len(classes)), len(checked), "labels").astype(np.int64),
            groups=unknown
            if groups is None
            else indices(groups, (-1, len(group_names)), len(checked), "groups").astype(np.int32),
            shape=tuple(int(axis) for axis in shape),
            classes=tuple(classes),
            group_names=tuple(group_names),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def recording(self, index: int) -> Recording:
        """Return the times and addresses of one recording, without a copy; IndexError where there is none."""
        place = range(len(self))[index]
        part = slice(int(self.offsets[place]), int(self.offsets[place + 1]))
        return self.times[part], self.addresses[part]

    def select(self, indices: Indices) -> Events:
        """Return the recordings of these indices, in their order, as a set of its own.

        Args:
            indices: whole numbers, a mask `[N]` of booleans, or a slice.
        Raises:
            InputError: indices beyond the set, or that are none.

        Example:
            >>> events = Events.build([([5], [0]), ([7], [1])], [0, 1], shape=(2,), classes=("no", "yes"))
            >>> events.select(events.labels == 1).times.tolist()
            [7]
        """
        chosen = places(indices, len(self))
        pairs = [self.recording(int(index)) for index in chosen]
        offsets = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum([len(times) for times, _ in pairs], out=offsets[1:])
        return Events(
            times=np.concatenate([np.empty(0, np.int64), *(times for times, _ in pairs)]),
            addresses=np.concatenate([np.empty(0, np.int32), *(addresses for _, addresses in pairs)]),
            offsets=offsets,
            labels=self.labels[chosen],
            groups=self.groups[chosen],
            shape=self.shape,
            classes=self.classes,
            group_names=self.group_names,
        )


def places(indices: Indices, count: int) -> np.ndarray:
    """Return what chooses among `count` recordings as whole numbers; raises InputError where it cannot."""
    found = indices if isinstance(indices, slice) else np.atleast_1d(np.asarray(indices))
    if isinstance(found, np.ndarray) and not found.size:
        return np.empty(0, np.int64)
    try:
        return np.arange(count)[found]
    except IndexError as error:
        raise InputError(
            f"the indices do not choose among {count} recordings ({error}); type e.g. indices=[0, 1] or a mask "
            f"of {count} booleans"
        ) from None


def check(times: Any, addresses: Any, size: int, where: str, *, sort: bool = False) -> Recording:
    """Return one recording as arrays of the right types.

    Args:
        times: in microseconds.
        addresses: of the same length.
        size: addresses lie below it.
        where: what the recording is called in an error.
        sort: put unsorted events in order, those of the same time as they come, and raise no error.
    Raises:
        DataError: unsorted, negative or fractional times, addresses out of range, lengths that differ.
    """
    when, who = np.asarray(times), np.asarray(addresses)
    if when.ndim != 1 or who.shape != when.shape:
        raise DataError(
            f"{where} has times of shape {list(when.shape)} and addresses of shape {list(who.shape)}; "
            "one time and one address for each event are needed"
        )
    if not len(when):
        return np.empty(0, np.int64), np.empty(0, np.int32)
    for name, values in (("times", when), ("addresses", who)):
        if values.dtype.kind not in "iu":
            raise DataError(
                f"{where} has {name} of type {values.dtype}; whole numbers are needed: times in microseconds, "
                "such as (1e6 * seconds).round().astype('int64')"
            )
    when = when.astype(np.int64, copy=False)
    if sort:
        order = np.argsort(when, kind="stable")
        when, who = when[order], who[order]
    if when.min() < 0:
        raise DataError(f"{where} has the negative time {when.min()}; times count microseconds from its start")
    steps_back = np.flatnonzero(when[1:] < when[:-1])
    if len(steps_back):
        place = int(steps_back[0])
        raise DataError(
            f"{where} has unsorted times: {when[place + 1]} follows {when[place]} at event {place + 1}; sort them "
            "first, or type sort = true under [options] of the card if the data set is like that"
        )
    low, high = int(who.min()), int(who.max())
    if low < 0 or high >= size:
        raise DataError(f"{where} has addresses from {low} to {high}; the shape has room for 0 to {size - 1}")
    return when, who.astype(np.int32, copy=False)


def indices(values: Any, bounds: tuple[int, int], count: int, what: str) -> np.ndarray:
    """Return labels or groups as an array; raises DataError unless there are `count`, in `bounds[0]..bounds[1] - 1`."""
    found = np.asarray(values)
    if found.shape != (count,) or (count and found.dtype.kind not in "iu"):
        raise DataError(
            f"{what} have shape {list(found.shape)} and type {found.dtype}; "
            f"one whole number for each of {count} recordings is needed"
        )
    low, high = bounds
    if count and (found.min() < low or found.max() >= high):
        raise DataError(f"{what} run from {found.min()} to {found.max()}; their names allow {low} to {high - 1}")
    return found
