"""What a chip's card says: what its operations cost, and how each figure is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnkit import cards
from snnkit.errors import DataError, InputError, nearest

UNITS = {"pJ": 1e-12, "mW": 1e-3}
HOW = ("measured", "simulated", "estimated")


@dataclass(frozen=True)
class Figure:
    """A number with its unit (`pJ` or `mW`), its source, and how it is known: measured, simulated, estimated."""

    value: float
    unit: str
    how: str
    source: str

    @property
    def si(self) -> float:
        """The value in joules or watts."""
        return self.value * UNITS[self.unit]


@dataclass(frozen=True)
class Chip:
    """A chip as declared in `hardware/<chip>/spec.toml`.

    `costs` maps a precision to operations and what one costs; the first precision is the default.
    """

    name: str
    title: str
    node: str
    citation: str
    notes: str
    costs: Mapping[str, Mapping[str, Figure]]
    power: Mapping[str, Figure]

    def at(self, precision: str | None = None) -> tuple[str, Mapping[str, Figure]]:
        """Return a precision, the card's first if none is given, and its costs; raises InputError if unknown."""
        chosen = next(iter(self.costs)) if precision is None else precision
        if chosen not in self.costs:
            known = ", ".join(self.costs)
            raise InputError(f"{self.name} has no precision {chosen!r}{nearest(chosen, self.costs)}; known: {known}")
        return chosen, self.costs[chosen]


def names() -> tuple[str, ...]:
    """Return the names of all chips that have a card."""
    return tuple(sorted(path.parent.name for path in cards.folder("hardware").glob("*/spec.toml")))


def read(name: str | Path) -> Chip:
    """Read and check a chip's card.

    Args:
        name: a known name, or the path of a `spec.toml` of one's own.
    Returns:
        The chip.
    Raises:
        InputError: where no chip has that name.
        DataError: where the card has unknown or missing keys or impossible values.

    Example:
        >>> read("cmos45").costs["fp32"]["accumulate"].value
        0.9
    """
    if isinstance(name, Path) or name.endswith(".toml"):
        return _chip(cards.parse(Path(name)), str(name))
    if name not in names():
        known = ", ".join(names())
        raise InputError(f"no chip {name!r}{nearest(name, names())}; known: {known}, or the path of a spec.toml")
    path = cards.folder("hardware") / name / "spec.toml"
    chip = _chip(cards.parse(path), str(path))
    if chip.name != name:
        raise DataError(f"{path} has name = {chip.name!r}; it lies in the folder {name!r}")
    return chip


def _chip(table: Mapping[str, Any], where: str) -> Chip:
    """Return the chip that a table describes."""
    text = ("name", "title", "node", "citation", "notes")
    cards.check(table, dict.fromkeys(text, str) | {"costs": dict, "power": dict}, where, optional=("notes", "power"))
    if not table["costs"]:
        raise DataError(f"{where} has no costs; at least one precision is needed")
    costs = {
        precision: _figures(figures, "pJ", f"{where}: costs.{precision}")
        for precision, figures in table["costs"].items()
    }
    for precision, figures in costs.items():
        if "accumulate" not in figures or not {"neuron_update", "state_update"} & set(figures):
            raise DataError(f"{where}: costs.{precision} needs accumulate, and neuron_update or state_update")
    power = _figures(table.get("power", {}), "mW", f"{where}: power")
    return Chip(**{key: table.get(key, "") for key in text}, costs=costs, power=power)


def _figures(table: Mapping[str, Any], unit: str, where: str) -> dict[str, Figure]:
    """Return the figures of a table, all of one unit."""
    cards.check(table, dict.fromkeys(table, dict), where)
    return {name: _figure(figure, unit, f"{where}.{name}") for name, figure in table.items()}


def _figure(table: Mapping[str, Any], unit: str, where: str) -> Figure:
    """Return the figure that a table describes."""
    cards.check(table, {"value": float, "unit": str, "how": str, "source": str}, where)
    if table["unit"] != unit:
        raise DataError(f"{where} has unit = {table['unit']!r}; {unit!r} is needed")
    if table["how"] not in HOW:
        raise DataError(f"{where} has how = {table['how']!r}{nearest(table['how'], HOW)}; known: {', '.join(HOW)}")
    if not 0 <= table["value"] < float("inf") or not table["source"]:
        raise DataError(f"{where} needs a value of at least 0 and a source")
    return Figure(**table)
