"""Folds that hold out whole speakers, so that a result is of voices that were never heard before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snnkit.data.events import Events
from snnkit.errors import DataError


@dataclass(frozen=True, eq=False)
class Fold:
    """One way to cut a set: indices `[N]` int64 of its splits, and who is held out for which.

    Attributes:
        test: recordings to report on, once, all of one group.
        validation: recordings to choose a model by, all of another.
        train: all others.
        names: of the groups of test and validation.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    names: tuple[str, str]


def folds(events: Events) -> tuple[Fold, ...]:
    """Return a fold for each group, which is that fold's test group; the next one validates.

    Args:
        events: recordings with groups, of three groups or more.
    Returns:
        The folds, in the order of the groups' names in the set.
    Raises:
        DataError: recordings without a group, or fewer than three groups.

    Example:
        >>> one = [([5], [0])] * 4
        >>> names = ("ann", "ben", "cy")
        >>> spoken = Events.build(
        ...     one, [0, 1, 0, 1], shape=(2,), classes=("no", "yes"), groups=[0, 0, 1, 2], group_names=names
        ... )
        >>> fold = folds(spoken)[0]
        >>> fold.names, fold.test.tolist(), fold.validation.tolist(), fold.train.tolist()
        (('ann', 'ben'), [0, 1], [2], [3])
    """
    missing = np.flatnonzero(events.groups < 0)
    if len(missing):
        raise DataError(f"recording {missing[0]} has no group; every recording needs one to hold groups out")
    present = np.unique(events.groups)
    if len(present) < 3:
        raise DataError(f"there are {len(present)} groups; one to train, one to validate and one to test are needed")
    return tuple(
        _fold(events, int(test), int(after)) for test, after in zip(present, np.roll(present, -1), strict=True)
    )


def _fold(events: Events, test: int, validation: int) -> Fold:
    taken = events.groups == test, events.groups == validation
    return Fold(
        train=np.flatnonzero(~(taken[0] | taken[1])),
        validation=np.flatnonzero(taken[1]),
        test=np.flatnonzero(taken[0]),
        names=(events.group_names[test], events.group_names[validation]),
    )


def joined(*sets: Events) -> Events:
    """Return several sets as one: first all of the first; groups of the same name become one.

    Args:
        sets: at least one, of the same shape and classes, such as the splits of a data set.
    Raises:
        DataError: sets that differ in shape or classes, or none.

    Example:
        >>> a, b = (
        ...     Events.build([([5], [0])], [0], shape=(2,), classes=("x", "y"), groups=[0], group_names=(who,))
        ...     for who in ("eve", "bob")
        ... )
        >>> both = joined(a, b)
        >>> both.group_names, both.groups.tolist()
        (('bob', 'eve'), [1, 0])
    """
    if not sets:
        raise DataError("there are no sets to join; at least one is needed")
    first = sets[0]
    for other in sets[1:]:
        if (other.shape, other.classes) != (first.shape, first.classes):
            raise DataError(
                f"sets of shape {list(first.shape)} with {len(first.classes)} classes and of shape "
                f"{list(other.shape)} with {len(other.classes)} cannot be joined; the same of both is needed"
            )
    names = tuple(sorted({name for part in sets for name in part.group_names}))
    groups = [np.array([*map(names.index, part.group_names), -1], np.int32)[part.groups] for part in sets]
    counts = np.concatenate([np.diff(part.offsets) for part in sets])
    return Events(
        times=np.concatenate([part.times for part in sets]),
        addresses=np.concatenate([part.addresses for part in sets]),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        labels=np.concatenate([part.labels for part in sets]),
        groups=np.concatenate(groups),
        shape=first.shape,
        classes=first.classes,
        group_names=names,
    )
