"""What a chip's card says: what its operations cost and what fits on it, and how each figure is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnkit import cards
from snnkit.errors import DataError, InputError, nearest

UNITS = {"pJ": 1e-12, "mW": 1e-3}
HOW = ("measured", "simulated", "estimated")
KINDS = ("hard", "soft")
"""A hard limit is the chip's; a soft one is reported, inferred or a convention, and what exceeds it may still run."""

LIMITS = {
    "cores_per_chip": "cores",
    "neurons_per_chip": "neurons",
    "synapses_per_chip": "synapses",
    "neurons_per_core": "neurons",
    "synapse_bits_per_core": "bits",
    "input_axons_per_core": "axons",
    "output_axons_per_core": "axons",
    "accumulators_per_core": "neurons times delay slots",
    "decay_profiles_per_core": "pairs of decays",
    "threshold_profiles_per_core": "thresholds",
    "synapse_formats_per_core": "formats",
    "delay": "steps",
    "weight_bits": "bits, the sign among them",
    "weight_exponent": "of 2",
    "decay_u": "of 4096",
    "decay_v": "of 4096",
    "threshold": "times 64",
    "bias": "before its exponent",
    "bias_exponent": "of 2",
}
"""Limits that a card may state, and what their numbers count."""


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
class Limit:
    """The lowest and highest number that a chip takes, whether that is hard or soft, and the source."""

    low: int
    high: int
    kind: str
    source: str

    def holds(self, least: int, most: int) -> bool:
        """Return whether numbers from `least` to `most` are within it."""
        return self.low <= least and most <= self.high


@dataclass(frozen=True)
class Chip:
    """A chip as declared in `hardware/<chip>/spec.toml`.

    `costs` maps a precision to operations and what one costs; the first precision is the default. `limits` maps
    names of `LIMITS` to what fits.
    """

    name: str
    title: str
    node: str
    citation: str
    notes: str
    costs: Mapping[str, Mapping[str, Figure]]
    power: Mapping[str, Figure]
    limits: Mapping[str, Limit]

    def at(self, precision: str | None = None) -> tuple[str, Mapping[str, Figure]]:
        """Return a precision, the card's first if none is given, and its costs; raises InputError if unknown."""
        if not self.costs:
            raise InputError(
                f"{self.name} has no energy costs: none have been published; use chip='loihi1', whose figures are a "
                "lower bound for an older chip, or chip='cmos45'"
            )
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
    if not isinstance(name, str | Path):
        raise InputError(f"a chip is a name such as 'loihi2', or the path of a spec.toml, not {name!r:.80}")
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
    tables = ("costs", "power", "limits")
    known: dict[str, type] = {**dict.fromkeys(text, str), **dict.fromkeys(tables, dict)}
    cards.check(table, known, where, optional=("notes", *tables))
    if not table.get("costs") and not table.get("limits"):
        raise DataError(f"{where} has no costs; at least one precision is needed, or limits")
    costs = {
        precision: _figures(figures, "pJ", f"{where}: costs.{precision}")
        for precision, figures in table.get("costs", {}).items()
    }
    for precision, figures in costs.items():
        if "accumulate" not in figures or not {"neuron_update", "state_update"} & set(figures):
            raise DataError(f"{where}: costs.{precision} needs accumulate, and neuron_update or state_update")
    power = _figures(table.get("power", {}), "mW", f"{where}: power")
    limits = _limits(table.get("limits", {}), f"{where}: limits")
    return Chip(**{key: table.get(key, "") for key in text}, costs=costs, power=power, limits=limits)


def _limits(table: Mapping[str, Any], where: str) -> dict[str, Limit]:
    """Return the limits of a table."""
    cards.check(table, dict.fromkeys(LIMITS, dict), where, optional=tuple(LIMITS))
    return {name: _limit(limit, f"{where}.{name}") for name, limit in table.items()}


def _limit(table: Mapping[str, Any], where: str) -> Limit:
    """Return the limit that a table describes."""
    cards.check(table, {"low": int, "high": int, "kind": str, "source": str}, where, optional=("low",))
    if table["kind"] not in KINDS:
        raise DataError(f"{where} has kind = {table['kind']!r}{nearest(table['kind'], KINDS)}; known: hard, soft")
    low = table.get("low", 0)
    if low > table["high"] or not table["source"]:
        raise DataError(f"{where} needs a highest number of at least {low}, and a source")
    return Limit(low, table["high"], table["kind"], table["source"])


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
