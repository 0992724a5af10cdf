"""Which samples of a part go into which split, as its card says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from snnkit.data.card import Card, Part
from snnkit.errors import DataError


def cuts(
    card: Card, part: Part, labels: np.ndarray, *, groups: Sequence[str] = (), lists: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Return split name to sample indices: disjoint cuts of the part in its declared order.

    A stratified order sorts by a sample's relative rank within its class, so that every cut holds each class
    in proportion. Shuffled ranks follow the SHA-256 of `<data set>/<part>/<index>`: the same on every machine
    and version, and independent of any random generator.

    Args:
        card, part: what is declared.
        labels: class of each sample.
        groups: speaker or person of each sample, for the order `groups`.
        lists: split of each sample by the authors' lists, for the order `listed`.
    Raises:
        DataError: where groups or lists are not those of the card.
    """
    if part.order == "groups":
        return _held_out(card, part, groups)
    if part.order == "listed":
        return _listed(card, part, lists)
    order = np.arange(len(labels))
    if part.order != "file":
        if part.order == "stratified-shuffled":
            keys = [hashlib.sha256(f"{card.name}/{part.name}/{index}".encode()).digest() for index in order]
            order = np.array(sorted(order, key=keys.__getitem__))
        rank = np.empty(len(labels))
        for label in np.unique(labels):
            members = order[labels[order] == label]
            rank[members] = (np.arange(len(members)) + 0.5) / len(members)
        order = order[np.lexsort((labels[order], rank[order]))]
    ends = np.cumsum(list(part.splits.values()))
    return dict(zip(part.splits, np.split(order, ends[:-1]), strict=True))


def _held_out(card: Card, part: Part, groups: Sequence[str]) -> dict[str, np.ndarray]:
    found = np.array(groups, dtype=object)
    known = sorted(set(groups))
    for name in (name for names in part.groups.values() for name in names):
        if name not in known:
            raise DataError(
                f"{card.name}: part {part.name!r} has no samples of {name!r}, whom its card holds out; "
                f"found: {', '.join(known) or 'nobody'}"
            )
    named = [name for names in part.groups.values() for name in names]
    chosen = {split: np.isin(found, names) for split, names in part.groups.items()}
    chosen |= {split: ~np.isin(found, named) for split, names in part.groups.items() if not names}
    for split, mask in chosen.items():
        if not mask.any():
            raise DataError(
                f"{card.name}: part {part.name!r} leaves no samples for {split}; its card holds out everybody"
            )
    return {split: np.flatnonzero(mask) for split, mask in chosen.items()}


def _listed(card: Card, part: Part, lists: Sequence[str]) -> dict[str, np.ndarray]:
    found = np.array(lists, dtype=object)
    cut = {split: np.flatnonzero(found == split) for split in part.splits}
    for split, count in part.splits.items():
        if len(cut[split]) != count:
            raise DataError(
                f"{card.name}: the lists of part {part.name!r} put {len(cut[split]):,} samples into {split}; "
                f"its card says {count:,}"
            )
    return cut
