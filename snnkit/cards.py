"""Cards: the TOML declarations of `datasets/` and `hardware/`, in a checkout or an installed wheel."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import snnkit
from snnkit.errors import DataError, nearest


def folder(kind: str) -> Path:
    """Return the folder of all cards of a kind, `datasets` or `hardware`.

    An installed wheel carries them in the package. In a checkout they lie beside it and `pyproject.toml`;
    asking for that file keeps out folders of the same name that other packages install.
    """
    package = Path(snnkit.__file__).resolve().parent
    carried = package / "_cards" / kind
    if carried.is_dir():
        return carried
    beside = package.parent / kind
    if (package.parent / "pyproject.toml").is_file() and beside.is_dir():
        return beside
    raise DataError(f"the {kind} cards are neither in {carried} nor in {beside}; install snnkit again")


def parse(path: Path) -> dict[str, Any]:
    """Return a card's tables; raises DataError where the file is missing or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"the card {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"the card {path} is not TOML: {error}") from error


def check(table: Mapping[str, Any], known: Mapping[str, type], where: str, *, optional: tuple[str, ...] = ()) -> None:
    """Raise DataError where a table has an unknown key, lacks a needed one, or holds a wrong type."""
    if not isinstance(table, Mapping):
        raise DataError(f"{where} is {table!r}; a table is needed")
    for key in table:
        if key not in known:
            raise DataError(f"{where} has the unknown key {key!r}{nearest(key, known)}; known: {', '.join(known)}")
    missing = [key for key in known if key not in table and key not in optional]
    if missing:
        raise DataError(f"{where} lacks {', '.join(missing)}")
    for key, value in table.items():
        kind = known[key]
        accepted = (int, float) if kind is float else kind
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise DataError(f"{where} has {key} = {value!r}; a value of type {kind.__name__} is needed")
