"""What a data set's card says: where the data come from, which files hold them, how they are split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snnkit import cards
from snnkit.errors import DataError, nearest

SPLITS = ("train", "validation", "test")
ORDERS = ("file", "stratified", "stratified-shuffled", "groups", "listed")
HOLDS = ("images", "labels", "both")


@dataclass(frozen=True)
class File:
    """One file of a data set, and what is known to tell it from a damaged one.

    Attributes:
        name: as published.
        holds: `images`, `labels` or `both`.
        size: in bytes; 0 where it is not known.
        sha256: empty where it is not known. Where the name ends in `.gz` and not in `.tar.gz`, size and sha256 are of
            the unpacked bytes.
        md5: of the file as it is published; empty where it is not known.
        also: other names under which the content may lie; under another suffix than the name's it is not hashed.
    """

    name: str
    holds: str
    size: int = 0
    sha256: str = ""
    md5: str = ""
    also: tuple[str, ...] = ()

    @property
    def packed(self) -> bool:
        """Whether size and sha256 are of what is in the file, for another program may pack it otherwise."""
        return self.name.endswith(".gz") and not self.name.endswith(".tar.gz")

    @property
    def facts(self) -> str:
        """What is known of the file, for people."""
        size = f"{self.size:,} bytes{' unpacked' if self.packed else ''}"
        known = [size] if self.size else []
        known += [f"md5 {self.md5}"] if self.md5 else []
        known += [f"or as {' or '.join(self.also)}"] if self.also else []
        return f"{self.name} ({', '.join(known)})" if known else self.name


@dataclass(frozen=True)
class Part:
    """Files that belong together, and the splits that are cut from their samples, one after the other.

    `order` is the order in which they are cut: `file`, or `stratified` (every cut has each class in
    proportion, in file order), or `stratified-shuffled` (the same, each class in the order of a hash).
    `listed` takes each sample where the authors' lists put it. `groups` holds out whole speakers or persons: each
    split has the groups that are named for it, and the one with none has all others.
    """

    name: str
    order: str
    splits: Mapping[str, int]
    files: tuple[File, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    total: int = 0

    @property
    def count(self) -> int:
        """How many samples the part has."""
        return self.total or sum(self.splits.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The splits that are cut from the part."""
        return tuple(self.groups or self.splits)


@dataclass(frozen=True)
class Card:
    """A data set as declared in `datasets/<name>/card.toml`.

    `shape` is that of one image, channels first, or of one frame; `scale` is the stored pixel value that counts as
    1.0; `mirrors` are further places to fetch the files from; `options` are what the reader of the format takes.
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
    mirrors: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def places(self) -> str:
        """Where the files are published, for people."""
        return f"{self.source}{'; mirrors: ' if self.mirrors else ''}{', '.join(self.mirrors)}"

    def part(self, split: str) -> Part:
        """Return the part from which a split is cut; raises DataError where there is no such split."""
        for part in self.parts:
            if split in part.names:
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
    kinds |= {"mirrors": list, "options": dict}
    cards.check(table, kinds, where, optional=("notes", "scale", "mirrors", "options"))
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", table["name"]):
        raise DataError(f"{where} has name = {table['name']!r}; lower-case letters, digits, - and _ are needed")
    scale, mirrors = table.get("scale", 1), table.get("mirrors", [])
    if not table["shape"] or not all(_count(axis) for axis in table["shape"]) or not _count(scale):
        raise DataError(f"{where} has a shape or scale that is not made of whole numbers of at least 1")
    classes = table["classes"]
    if not all(isinstance(word, str) for word in classes) or not 2 <= len(set(classes)) == len(classes) <= 256:
        raise DataError(f"{where} has classes = {classes}; 2 to 256 different strings are needed")
    if not all(isinstance(address, str) for address in mirrors):
        raise DataError(f"{where} has mirrors = {mirrors}; a list of addresses is needed")
    parts = tuple(_part(name, part, f"{where}: parts.{name}") for name, part in table["parts"].items())
    found = sorted(split for part in parts for split in part.names)
    if found != sorted(SPLITS):
        raise DataError(f"{where} has the splits {found}; {', '.join(SPLITS)} are needed, each once")
    fields: dict[str, Any] = {key: table.get(key, "") for key in text}
    fields |= {"shape": tuple(table["shape"]), "scale": scale, "classes": tuple(classes), "parts": parts}
    return Card(**fields, mirrors=tuple(mirrors), options=dict(table.get("options", {})))


def _part(name: str, table: Mapping[str, Any], where: str) -> Part:
    """Return the part that a table describes."""
    kinds = {"order": str, "splits": dict, "files": list, "groups": dict, "count": int}
    held_out = isinstance(table, Mapping) and table.get("order") == "groups"
    cards.check(table, kinds, where, optional=("splits",) if held_out else ("groups", "count"))
    _choice(table["order"], ORDERS, f"{where}: order")
    unused = ("splits",) if held_out else ("groups", "count")
    for key in unused:
        if key in table:
            raise DataError(f"{where} has {key} and the order {table['order']!r}, which has no use for it")
    splits = table.get("splits", {})
    if not held_out and (not splits or not all(_count(count) for count in splits.values())):
        raise DataError(f"{where} has splits = {splits}; names with whole numbers of at least 1 are needed")
    groups = _groups(table["groups"], table["count"], where) if held_out else {}
    files = tuple(_file(file, f"{where}: file {index}") for index, file in enumerate(table["files"], 1))
    if sorted(file.holds for file in files) not in ([], ["both"], ["images", "labels"]):
        raise DataError(f"{where} needs one file that holds both, or one of images and one of labels, or none at all")
    return Part(name, table["order"], dict(splits), files, groups, table.get("count", 0))


def _groups(table: Mapping[str, Any], count: int, where: str) -> dict[str, tuple[str, ...]]:
    """Return split name to the groups that it holds."""
    named = [name for names in table.values() for name in (names if isinstance(names, list) else [names])]
    lists = all(isinstance(names, list) for names in table.values())
    rest = sum(not names for names in table.values())
    if not lists or not all(isinstance(name, str) for name in named) or len(set(named)) < len(named) or rest != 1:
        raise DataError(
            f"{where} has groups = {table}; for each split a list of names is needed, no name twice, and one list "
            'empty for all others, such as { train = [], validation = ["theo"] }'
        )
    if not _count(count):
        raise DataError(f"{where} has count = {count}; a whole number of at least 1 is needed")
    return {split: tuple(names) for split, names in table.items()}


def _file(table: Mapping[str, Any], where: str) -> File:
    """Return the file that a table describes."""
    kinds = {"name": str, "holds": str, "size": int, "sha256": str, "md5": str, "also": list}
    cards.check(table, kinds, where, optional=("size", "sha256", "md5", "also"))
    _choice(table["holds"], HOLDS, f"{where}: holds")
    if not _count(table.get("size", 1)) or not re.fullmatch(r"[0-9a-f]{64}", table.get("sha256", "0" * 64)):
        raise DataError(f"{where} needs a size in bytes and a sha256 of 64 hexadecimal digits, or neither")
    if not re.fullmatch(r"[0-9a-f]{32}", table.get("md5", "0" * 32)):
        raise DataError(f"{where} has md5 = {table['md5']!r}; 32 hexadecimal digits are needed")
    for name in (table["name"], *table.get("also", ())):
        if not isinstance(name, str) or not name or name != Path(name).name:
            raise DataError(f"{where} has name = {name!r}; a file name without a folder is needed")
    return File(**{**table, "also": tuple(table.get("also", ()))})


def _choice(value: str, known: tuple[str, ...], where: str) -> None:
    """Raise DataError where a value is not one of the known ones."""
    if value not in known:
        raise DataError(f"{where} is {value!r}{nearest(value, known)}; known: {', '.join(known)}")


def _count(value: Any) -> bool:
    """Return whether a value is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
