"""What a data set's card says: where the data come from, which files hold them, how they are split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnkit import cards
from snnkit.errors import DataError, nearest

SPLITS = ("train", "validation", "test")
ORDERS = ("file", "stratified", "stratified-shuffled")
HOLDS = ("images", "labels", "both")


@dataclass(frozen=True)
class File:
    """One file of a data set; size and hash are of the unpacked bytes where the name ends in `.gz`."""

    name: str
    holds: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """Files that belong together, and the splits that are cut from their samples, one after the other.

    `order` is the order in which they are cut: `file`, or `stratified` (every cut has each class in
    proportion, in file order), or `stratified-shuffled` (the same, each class in the order of a hash).
    """

    name: str
    order: str
    splits: Mapping[str, int]
    files: tuple[File, ...]

    @property
    def count(self) -> int:
        """How many samples the part has."""
        return sum(self.splits.values())


@dataclass(frozen=True)
class Card:
    """A data set as declared in `datasets/<name>/card.toml`.

    `shape` is that of one image, channels first; `scale` is the stored pixel value that counts as 1.0.
    """

    name: str
    title: str
    format: str
    source: str
    licence: str
    citation: str
    notes: str
    shape: tuple[int, ...]
    scale: int
    classes: tuple[str, ...]
    parts: tuple[Part, ...]

    def part(self, split: str) -> Part:
        """Return the part from which a split is cut; raises DataError where there is no such split."""
        for part in self.parts:
            if split in part.splits:
                return part
        raise DataError(f"{self.name} has no split {split!r}{nearest(split, SPLITS)}; known: {', '.join(SPLITS)}")


def names() -> tuple[str, ...]:
    """Return the names of all data sets that have a card."""
    return tuple(sorted(path.parent.name for path in cards.folder("datasets").glob("*/card.toml")))


def read(name: str | Path) -> Card:
    """Read and check a data set's card.

    Args:
        name: a known name, or the path of a `card.toml` of one's own.
    Returns:
        The card.
    Raises:
        DataError: where the name is unknown, or the card has unknown or missing keys or impossible values.

    Example:
        >>> read("digits").shape
        (1, 8, 8)
    """
    if isinstance(name, Path) or name.endswith(".toml"):
        return _card(cards.parse(Path(name)), str(name))
    if name not in names():
        raise DataError(
            f"no data set {name!r}{nearest(name, names())}; known: {', '.join(names())}, or the path of a card.toml"
        )
    path = cards.folder("datasets") / name / "card.toml"
    card = _card(cards.parse(path), str(path))
    if card.name != name:
        raise DataError(f"{path} has name = {card.name!r}; it lies in the folder {name!r}")
    return card


def _card(table: Mapping[str, Any], where: str) -> Card:
    """Return the card that a table describes."""
    text = ("name", "title", "format", "source", "licence", "citation", "notes")
    kinds = dict.fromkeys(text, str) | {"shape": list, "scale": int, "classes": list, "parts": dict}
    cards.check(table, kinds, where, optional=("notes",))
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", table["name"]):
        raise DataError(f"{where} has name = {table['name']!r}; lower-case letters, digits, - and _ are needed")
    if not table["shape"] or not all(_count(axis) for axis in table["shape"]) or not _count(table["scale"]):
        raise DataError(f"{where} has a shape or scale that is not made of whole numbers of at least 1")
    classes = table["classes"]
    if not all(isinstance(word, str) for word in classes) or not 2 <= len(set(classes)) == len(classes) <= 256:
        raise DataError(f"{where} has classes = {classes}; 2 to 256 different strings are needed")
    parts = tuple(_part(name, part, f"{where}: parts.{name}") for name, part in table["parts"].items())
    found = sorted(split for part in parts for split in part.splits)
    if found != sorted(SPLITS):
        raise DataError(f"{where} has the splits {found}; {', '.join(SPLITS)} are needed, each once")
    fields = {key: table.get(key, "") for key in text}
    shape = tuple(table["shape"])
    return Card(**fields, shape=shape, scale=table["scale"], classes=tuple(classes), parts=parts)


def _part(name: str, table: Mapping[str, Any], where: str) -> Part:
    """Return the part that a table describes."""
    cards.check(table, {"order": str, "splits": dict, "files": list}, where)
    _choice(table["order"], ORDERS, f"{where}: order")
    if not table["splits"] or not all(_count(count) for count in table["splits"].values()):
        raise DataError(f"{where} has splits = {table['splits']}; names with whole numbers of at least 1 are needed")
    files = tuple(_file(file, f"{where}: file {index}") for index, file in enumerate(table["files"], 1))
    if sorted(file.holds for file in files) not in (["both"], ["images", "labels"]):
        raise DataError(f"{where} needs one file that holds both, or one of images and one of labels")
    return Part(name, table["order"], dict(table["splits"]), files)


def _file(table: Mapping[str, Any], where: str) -> File:
    """Return the file that a table describes."""
    cards.check(table, {"name": str, "holds": str, "size": int, "sha256": str}, where)
    _choice(table["holds"], HOLDS, f"{where}: holds")
    if not _count(table["size"]) or not re.fullmatch(r"[0-9a-f]{64}", table["sha256"]):
        raise DataError(f"{where} needs a size in bytes and a sha256 of 64 hexadecimal digits")
    if table["name"] != Path(table["name"]).name:
        raise DataError(f"{where} has name = {table['name']!r}; a file name without a folder is needed")
    return File(**table)


def _choice(value: str, known: tuple[str, ...], where: str) -> None:
    """Raise DataError where a value is not one of the known ones."""
    if value not in known:
        raise DataError(f"{where} is {value!r}{nearest(value, known)}; known: {', '.join(known)}")


def _count(value: Any) -> bool:
    """Return whether a value is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
