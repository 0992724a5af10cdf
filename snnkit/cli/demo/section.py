"""One part of the demo: what it computes for each seed, which figures it prints, and how the report shows it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnkit.cli.demo.job import Run
    from snnkit.cli.demo.plan import Plan

NETWORKS = {"snn": "SNN", "delays": "SNN with delays", "ann": "ANN"}
"""Name of each network, in `Run.networks` and in results, to its heading, in the order of tables."""


@dataclass(frozen=True)
class Row:
    """A line of the printed table, found in the section's results at the names of the networks.

    Args:
        label: what it is.
        key: its name in the results of each network; a network without it gets a dash.
        unit: written after the number.
        scale: by which the number is multiplied first.
        digits: after the decimal point.
    """

    label: str
    key: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 0

    def written(self, values: Sequence[float | None]) -> str:
        """Return the mean over seeds, with the standard deviation between them where they differ."""
        numbers = [self.scale * value for value in values if value is not None]
        if not numbers:
            return "–"
        text = f"{statistics.fmean(numbers):,.{self.digits}f}"
        spread = statistics.stdev(numbers) if len(numbers) > 1 else 0.0
        if not math.isclose(spread, 0.0, abs_tol=0.5 * 10**-self.digits):
            text += f" ± {spread:,.{self.digits}f}"
        return f"{text}{'' if self.unit == '%' else ' '}{self.unit}" if self.unit else text


@dataclass(frozen=True)
class Section:
    """A part of the demo and of its report. Listing it in `sections.SECTIONS` is all that adds it.

    Args:
        key: name of its group in results.h5, and of its place in the report.
        title: its heading in the report.
        compute: from the networks of one seed to what results.h5 keeps: numbers, texts, arrays, mappings of them.
        render: from all seeds to the report's pieces of HTML, made by `snnkit.report.page`.
        rows: what the table prints; `compute` puts the numbers under the names of `NETWORKS`.
    """

    key: str
    title: str
    compute: Callable[[Run], Mapping[str, Any]]
    render: Callable[[Demo], Sequence[str]]
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, eq=False)
class Demo:
    """All that sections may show: the networks of every seed, and what each section computed from them.

    Args:
        sections: what is computed, printed and shown, in order.
        plan: the settings.
        runs: one for each seed.
        results: for each seed, key of a section to what it computed.
        command: what was typed.
        seconds: that everything took so far.
    """

    sections: tuple[Section, ...]
    plan: Plan
    runs: tuple[Run, ...]
    results: tuple[Mapping[str, Mapping[str, Any]], ...]
    command: str
    seconds: float

    def numbers(self, section: str, network: str, key: str) -> list[float | None]:
        """Return one number of a section for every seed; None where a network does not have it."""
        return [result[section].get(network, {}).get(key) for result in self.results]

    def table(self) -> list[tuple[str, ...]]:
        """Return all sections' rows: label, and the text of each network."""
        rows = [(section.key, row) for section in self.sections for row in section.rows]
        return [(row.label, *self.written(key, row.key).values()) for key, row in rows]

    def written(self, section: str, key: str) -> dict[str, str]:
        """Return one row's text of each network."""
        row = next(row for part in self.sections if part.key == section for row in part.rows if row.key == key)
        return {network: row.written(self.numbers(section, network, key)) for network in NETWORKS}

    def mean(self, section: str, network: str, key: str) -> float:
        """Return the mean over seeds of one number of a section."""
        return statistics.fmean(value for value in self.numbers(section, network, key) if value is not None)
